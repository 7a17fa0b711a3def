//! Pods that are bound and do not run in time (S5): what cannot start, for example for want of its image, gives its room
//! back and waits anew.
//!
//! A pod is starting from the decision to place it until it is said to run. Late pods that are above their roles' minimums
//! go alone, any other takes its workload with it (S24). Costs: only workloads with a timeout and starting pods are looked at.

use crate::Engine;
use crate::ix::{PodIx, WorkloadIx};
use crate::workload::{Pod, Stage};
use berth_model::{Cause, Decision, Timestamp, WorkloadId};
use std::collections::BTreeMap;

/// Workloads with a timeout of which some pods may be starting.
pub(crate) type Starting = BTreeMap<WorkloadId, WorkloadIx>;

impl Engine {
    /// A pod is placed; it runs already, or is starting.
    pub(crate) fn note_starting(&mut self, pod: PodIx, starting: bool) {
        self.pod_mut(pod).starting = starting;
        let workload = self.workloads.at(pod.workload.0);
        if starting && workload.start_timeout.is_some() {
            self.starting.insert(workload.id, pod.workload);
        }
    }

    /// When the first of the starting pods of a workload is late; none if there are none, or they may take for ever.
    fn start_due(&self, id: WorkloadId, ix: WorkloadIx) -> Option<Timestamp> {
        let workload = self.workloads.get(ix.0).filter(|workload| workload.id == id)?;
        let timeout = workload.start_timeout?;
        workload.pods.iter().filter(|pod| is_starting(pod)).map(|pod| pod.since.plus(timeout)).min()
    }

    /// Evicts what was bound and does not run in time.
    pub(crate) fn evict_not_started(&mut self, decisions: &mut Vec<Decision>) {
        if self.starting.is_empty() {
            return;
        }
        for (id, ix) in self.starting.clone() {
            let Some(due) = self.start_due(id, ix) else {
                self.starting.remove(&id);
                continue;
            };
            if due > self.now {
                continue;
            }
            let victims = self.late_unit(ix);
            if self.may_disrupt(&victims) {
                self.evict(&victims, None, Cause::NotStarted, decisions);
            }
        }
    }

    /// The late pods of a workload, or all of its placed pods if it needs one of them.
    fn late_unit(&self, ix: WorkloadIx) -> Vec<PodIx> {
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        let timeout = workload.start_timeout.unwrap_or_default();
        let late = |at: &usize| {
            let pod = &workload.pods[*at];
            is_starting(pod) && pod.since.plus(timeout) <= self.now
        };
        let alone = (0..template.roles.len()).all(|role| {
            let first = template.first_of(role) as usize;
            let pods = first..first + template.roles[role].count as usize;
            pods.filter(late).count() as u32 <= self.above_minimum(ix, role)
        });
        let mut unit = self.placed_of(ix);
        if alone {
            unit.retain(|pod| late(&(pod.pod as usize)));
        }
        unit
    }

    /// When the next pod will be late.
    pub(crate) fn start_timer(&self) -> Option<Timestamp> {
        let due = self.starting.iter().filter_map(|(id, ix)| self.start_due(*id, *ix));
        due.filter(|due| *due > self.now).min()
    }
}

fn is_starting(pod: &Pod) -> bool {
    pod.starting && pod.stage == Stage::Placed
}
