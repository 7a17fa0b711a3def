//! One list of decisions: judged one by one against the picture as the earlier ones leave it, then as a whole.
//!
//! What was decided for one beneficiary at once, its victims and the room that is reserved, is one attempt and is
//! judged together, see `attempt`. Invariant: decisions come in the order in which they were made, those of one
//! attempt one after the other.

use super::attempt::Attempt;
use super::cluster::Cluster;
use super::demand::Shares;
use super::violation::{Findings, Violation};
use crate::{Decision, GpuMemoryMib, PodId, Timestamp, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered while a list is judged.
#[derive(Default)]
pub(super) struct List {
    pub(super) now: Timestamp,
    pub(super) allowance: GpuMemoryMib,
    /// Workloads with a placement, and whether each had its minimum before.
    pub(super) placed: BTreeMap<WorkloadId, bool>,
    /// Pods placed in this list.
    pub(super) placed_pods: BTreeSet<PodId>,
    /// Workloads with a victim, and of which roles.
    pub(super) lost: BTreeMap<WorkloadId, BTreeSet<u16>>,
    /// Workloads for which this list keeps room.
    pub(super) kept: BTreeSet<WorkloadId>,
    /// Fair shares as they were before the attempt that is judged (S7).
    pub(super) shares: Shares,
    /// Reserved room is given up.
    pub(super) gave_up: bool,
    /// Beneficiaries of victims.
    pub(super) helped: BTreeSet<WorkloadId>,
    pub(super) out: Vec<Violation>,
}

impl List {
    /// Findings about an object.
    pub(super) fn about<'a>(&'a mut self, object: &'a dyn std::fmt::Display) -> Findings<'a> {
        Findings::new(object, &mut self.out)
    }
}

/// What is judged at once.
enum Step<'a> {
    One(&'a Decision),
    Attempt(Attempt),
}

/// The list, its attempts put together.
fn steps(decisions: &[Decision]) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for decision in decisions {
        if let Some(Step::Attempt(attempt)) = steps.last_mut()
            && attempt.take(decision)
        {
            continue;
        }
        steps.push(Attempt::begin(decision).map_or(Step::One(decision), Step::Attempt));
    }
    join(steps)
}

/// Room may be written down before the victims that make it.
fn join(steps: Vec<Step<'_>>) -> Vec<Step<'_>> {
    let mut out: Vec<Step<'_>> = Vec::new();
    for step in steps {
        match (out.last_mut(), step) {
            (Some(Step::Attempt(before)), Step::Attempt(mut new)) if new.completes(before) => {
                before.victims.append(&mut new.victims);
            }
            (_, step) => out.push(step),
        }
    }
    out
}

impl Cluster {
    /// Judges a list and mirrors it.
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        decisions: &[Decision],
        allowance: GpuMemoryMib,
    ) -> Vec<Violation> {
        let mut list = List { now, allowance, ..List::default() };
        self.now = Some(now);
        self.deciding = true;
        for step in steps(decisions) {
            match step {
                Step::One(decision) => self.one(decision, &mut list),
                Step::Attempt(attempt) => self.attempt(&attempt, &mut list),
            }
        }
        self.gangs(&mut list);
        self.kept_gangs(&mut list);
        self.whole_or_above(&mut list);
        self.needless(&mut list);
        for decision in decisions {
            if let Decision::Report { workload, .. } = decision {
                self.report(*workload, &mut list);
            }
        }
        self.deciding = false;
        list.out
    }

    fn one(&mut self, decision: &Decision, list: &mut List) {
        match decision {
            Decision::Place { pod, at } => self.place(*pod, *at, list),
            Decision::Release { pod } => self.release(*pod, list),
            Decision::Warn { pod, warning } => self.warn(*pod, warning, list),
            Decision::Evict { pod, grace, beneficiary, cause } => {
                self.evict(*pod, *grace, (*beneficiary, *cause), list);
            }
            Decision::Reserve { .. } | Decision::Report { .. } => {}
        }
    }

    /// S29: a reason is given for what is pending.
    fn report(&self, workload: WorkloadId, list: &mut List) {
        let mut f = list.about(&workload);
        if !self.workloads.contains_key(&workload) {
            f.add("S29", "a reason is given and the workload is unknown".to_owned());
            return;
        }
        f.want(self.has_pending(workload), "S29", || "a reason is given and no pod is pending".to_owned());
    }
}
