//! Events as the judge mirrors them, each as its documentation in [`crate::Event`] says.
//!
//! An event about an object that is gone, or a late one, changes nothing and is no fault. An event that cannot be
//! mirrored, because what it builds on does not exist, is refused and changes nothing. Costs: a pod's event
//! O(log n); a node's, its pods; a pool's, all nodes; a project's new name or department, all workloads.

use super::cluster::{Cluster, Leaving, Pod};
use super::kept::Kept;
use super::ledger::{Bill, Part};
use crate::{Event, GpuGrant, NodeId, Placement, PodId, PodOutcome, PodState, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Why an event cannot be mirrored: the object, and what is wrong.
pub(super) type BadEvent = (String, String);

pub(super) fn bad<T>(object: impl Display, what: impl Display) -> Result<T, BadEvent> {
    Err((object.to_string(), what.to_string()))
}

impl Cluster {
    /// Mirrors an event.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), BadEvent> {
        match event {
            Event::PoolSet(pool) => self.pool_set(pool),
            Event::PoolRemoved(id) => self.pool_removed(*id),
            Event::DepartmentSet(department) => self.department_set(department),
            Event::DepartmentRemoved(id) => return self.department_removed(*id),
            Event::ProjectSet(project) => return self.project_set(project),
            Event::ProjectRemoved(id) => return self.project_removed(*id),
            Event::QuotaSet { queue, pool, quota } => {
                self.ledger.set_quota((*queue, *pool), *quota);
            }
            Event::NodeSet(node) => return self.node_set(node),
            Event::NodeRemoved(id) => self.node_removed(*id),
            Event::NodeCondition { node, ready, unschedulable } => {
                self.change_node(*node, |spec| (spec.ready, spec.unschedulable) = (*ready, *unschedulable));
            }
            Event::DeviceHealth { node, device, health } => {
                self.change_device(*node, *device, |spec| spec.health = *health);
            }
            Event::DeviceForeign { node, device, memory } => {
                self.change_device(*node, *device, |spec| spec.foreign = *memory);
            }
            Event::PodMemory { pod, device, memory } => {
                self.pods.get_mut(pod).and_then(|pod| pod.measured.insert(*device, *memory));
            }
            Event::WorkloadSet(workload) => return self.workload_set(workload),
            Event::WorkloadRemoved(id) => self.workload_removed(*id),
            Event::PodRunning(state) => return self.pod_running(state),
            Event::BudgetSet(budget) => self.budget_set(budget),
            Event::BudgetRemoved(id) => self.budget_removed(*id),
            Event::EvictionsFrom { at } => self.evictions_from = *at,
            Event::PodLeaving { pod, until } => {
                self.leave(*pod, *until, true);
                self.seen_leaving(*pod);
            }
            Event::PodEnded { pod, outcome } => self.pod_ended(*pod, *outcome),
            Event::PodWanted { pod } => {
                if let Some(workload) = self.workloads.get_mut(&pod.workload) {
                    workload.set_ended(*pod, None);
                    self.note(pod.workload);
                }
            }
            Event::PodReserved { pod, at, until } => return self.pod_reserved(*pod, *at, *until),
            Event::EvictFailed { pod } => self.stay(*pod),
            Event::BindFailed { pod, node } => self.bind_failed(*pod, *node),
        }
        Ok(())
    }

    /// A pod will be gone at this time: by its owner's will, or evicted. Of two such times the later one told counts;
    /// one evicted stays evicted. One that was to be moved is not, if its owner stops it.
    pub(super) fn leave(&mut self, id: PodId, until: Timestamp, by_owner: bool) {
        if by_owner && self.is_to_be_moved(id) {
            self.give_up(id);
        }
        self.change(id, |pod| {
            let stopped = pod.leaving.filter(|old| !old.pending);
            let by_owner = stopped.map_or(by_owner, |old| old.by_owner);
            pod.leaving = Some(Leaving { until, by_owner, pending: false });
        });
        self.note(id.workload);
    }

    /// An eviction is not carried out.
    fn stay(&mut self, id: PodId) {
        if self.pods.get(&id).is_some_and(|pod| pod.leaving.is_some_and(|l| !l.by_owner && !l.pending)) {
            self.not_disrupted(id);
            self.change(id, |pod| pod.leaving = None);
            self.forget_kept(id.workload);
            self.note(id.workload);
        }
    }

    /// Room is kept for a pod, as found: one that runs is to be moved.
    fn pod_reserved(&mut self, id: PodId, at: Placement, until: Timestamp) -> Result<(), BadEvent> {
        let shape = self.workloads.get(&id.workload).and_then(|w| w.shapes.get(usize::from(id.role)));
        let Some(shape) = shape.cloned() else {
            return bad(id, "room is kept for it, its workload or role is unknown");
        };
        let Some(node) = self.nodes.get(&at.node) else {
            return bad(id, format!("room is kept for it on {}, which is unknown", at.node));
        };
        let bill = self.bill(id, &shape, node, at.gpus).map(|bill| Bill { part: Part::Kept, ..bill });
        self.give_up(id);
        if self.pods.get(&id).is_some_and(|pod| pod.leaving.is_none()) {
            self.plan_to_move(id, until);
        }
        self.keep(id, Kept { shape, at, bill });
        self.forget_kept(id.workload);
        Ok(())
    }

    fn pod_ended(&mut self, id: PodId, outcome: PodOutcome) {
        self.unseat(id);
        if let Some(workload) = self.workloads.get_mut(&id.workload)
            && outcome != PodOutcome::Evicted
        {
            workload.set_ended(id, Some(outcome));
        }
        self.forget_kept(id.workload);
        self.note(id.workload);
    }

    fn bind_failed(&mut self, id: PodId, node: NodeId) {
        if self.pods.get(&id).is_some_and(|pod| pod.node == node) {
            self.unseat(id);
            self.note(id.workload);
        }
    }

    fn pod_running(&mut self, state: &PodState) -> Result<(), BadEvent> {
        let id = state.pod;
        let Some(w) = self.workloads.get_mut(&id.workload) else {
            return bad(id, "runs, its workload is unknown");
        };
        let Some(shape) = w.shapes.get(usize::from(id.role)).cloned() else {
            return bad(id, "runs, its role is unknown");
        };
        if !self.nodes.contains_key(&state.node) {
            return bad(id, format!("runs on {}, which is unknown", state.node));
        }
        w.set_ended(id, None);
        let by_owner = !state.evicted;
        let leaving = state.leaving.map(|until| Leaving { until, by_owner, pending: false });
        if by_owner && leaving.is_some() && self.is_to_be_moved(id) {
            self.give_up(id);
        }
        let found = Pod {
            shape,
            node: state.node,
            grant: state.gpus,
            since: state.since,
            starting: state.starting,
            leaving,
            measured: BTreeMap::new(),
            bill: None,
        };
        let pod = match self.unseat(id).filter(|pod| pod.node == state.node) {
            Some(decided) => Pod {
                grant: if state.gpus == GpuGrant::None { decided.grant } else { state.gpus },
                since: decided.since.min(state.since),
                leaving: match decided.leaving {
                    Some(decided) if !decided.pending || leaving.is_none() => Some(decided),
                    _ => leaving,
                },
                measured: decided.measured,
                ..found
            },
            None => found,
        };
        self.seat(id, pod);
        self.forget_kept(id.workload);
        self.note(id.workload);
        Ok(())
    }
}
