//! One list of decisions: judged one by one against the picture as the earlier ones leave it, then as a whole.

use super::cluster::{Cluster, Pod};
use super::ledger::{Account, Used};
use super::violation::{Findings, Violation};
use crate::{Decision, GpuMemoryMib, NodeId, PodId, PoolId, Timestamp, WorkloadId};
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
    /// Workloads with a victim, and for whom.
    pub(super) evicted: BTreeMap<WorkloadId, BTreeSet<WorkloadId>>,
    /// Room kept by this list, on each node.
    pub(super) kept: BTreeMap<NodeId, Vec<Pod>>,
    /// Pods for which room is kept.
    pub(super) kept_pods: BTreeSet<PodId>,
    /// Where room is kept for a workload.
    pub(super) kept_in: BTreeMap<WorkloadId, PoolId>,
    /// What the kept room costs.
    pub(super) kept_bills: BTreeMap<Account, Used>,
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
        for decision in decisions {
            match decision {
                Decision::Place { pod, at } => self.place(*pod, *at, &mut list),
                Decision::Evict { pod, grace, beneficiary, .. } => {
                    self.evict(*pod, *grace, *beneficiary, &mut list)
                }
                Decision::Reserve { .. }
                | Decision::Release { .. }
                | Decision::Warn { .. }
                | Decision::Report { .. } => {}
            }
        }
        self.gangs(&mut list);
        self.victims(&mut list);
        for decision in decisions {
            match decision {
                Decision::Reserve { pod, at, until } => self.reserve(*pod, *at, *until, &mut list),
                Decision::Report { workload, .. } => self.report(*workload, &mut list),
                Decision::Place { .. }
                | Decision::Evict { .. }
                | Decision::Release { .. }
                | Decision::Warn { .. } => {}
            }
        }
        self.deciding = false;
        list.out
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
