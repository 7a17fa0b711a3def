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
    /// Pods stopped to be moved, and whether nobody else left for whom they could wait.
    pub(super) moved: BTreeMap<PodId, bool>,
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
        let mut rest = decisions.iter().peekable();
        while let Some(decision) = rest.next() {
            let Some(mut attempt) = Attempt::begin(decision, self) else {
                self.one(decision, &mut list);
                continue;
            };
            while rest.next_if(|next| attempt.take(next, self)).is_some() {}
            self.attempt(&attempt, &mut list);
        }
        self.gangs(&mut list);
        self.kept_gangs(&mut list);
        self.whole_or_above(&mut list);
        self.order_of_moves(&mut list);
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
