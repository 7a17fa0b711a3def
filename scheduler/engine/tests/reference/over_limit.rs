//! Pods that use more device memory than they were given (S19), where their pool wants them stopped.

use super::state::{Seat, State};
use berth_model::{Cause, Decision, DeviceIndex, GpuGrant, NodeId, OverLimit, PodId, Priority, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl State {
    /// First those over their limit, then, device by device, the worst as long as what was guaranteed is threatened.
    pub(crate) fn stop_those_over_limit(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let mut devices: BTreeSet<(NodeId, DeviceIndex)> = BTreeSet::new();
        for (pod, device) in self.measured.keys().copied().collect::<Vec<_>>() {
            let Some((node, each, limit)) = self.share_of(pod, device) else { continue };
            let used = self.measured[&(pod, device)].0;
            if used > limit {
                decisions.extend(self.stop_one_over_limit(pod));
            }
            if used > each {
                devices.insert((node, device));
            }
        }
        for (node, device) in devices {
            while self.is_threatened(node, device) {
                let Some(worst) = self.worst_on(node, device) else { break };
                decisions.extend(self.stop_one_over_limit(worst));
            }
        }
        decisions
    }

    /// The node of a pod that has a part of a device, its request and its limit there.
    fn share_of(&self, pod: PodId, device: DeviceIndex) -> Option<(NodeId, i64, i64)> {
        let seat = self.pods.get(&pod)?;
        match seat.gpus {
            GpuGrant::Shared { devices, each, limit } if devices.contains(device) => {
                Some((seat.node, each.0, limit.0))
            }
            _ => None,
        }
    }

    /// Pods that stay on a device, what each asked for and what it uses.
    fn sharers(&self, node: NodeId, device: DeviceIndex) -> Vec<(PodId, i64, i64)> {
        let runs = |seat: &Seat| seat.leaving.is_none() || seat.pending;
        let staying = self.pods.iter().filter(|(_, seat)| seat.node == node && runs(seat));
        staying
            .filter_map(|(pod, _)| {
                let (_, each, _) = self.share_of(*pod, device)?;
                let used = self.measured.get(&(*pod, device)).map_or(0, |used| used.0);
                Some((*pod, each, used))
            })
            .collect()
    }

    fn is_threatened(&self, node: NodeId, device: DeviceIndex) -> bool {
        let spec = &self.nodes[&node].devices[device.index()];
        let sum: i64 = self.sharers(node, device).iter().map(|(_, each, used)| each.max(used)).sum();
        sum > spec.memory.0 - spec.foreign.0
    }

    fn worst_on(&self, node: NodeId, device: DeviceIndex) -> Option<PodId> {
        let above = self.sharers(node, device).into_iter().filter(|(_, each, used)| used > each);
        let may_go = above.filter(|(pod, _, _)| self.goes_with(*pod).is_some());
        let order = |(pod, each, used): &(PodId, i64, i64)| -> (Reverse<i64>, Reverse<Timestamp>, PodId) {
            (Reverse(used - each), Reverse(self.pods[pod].since), *pod)
        };
        may_go.min_by_key(order).map(|(pod, _, _)| pod)
    }

    /// S24: who goes with a pod, if it may go.
    fn goes_with(&self, pod: PodId) -> Option<BTreeSet<PodId>> {
        let workload = &self.workloads[&pod.workload];
        let seat = self.pods.get(&pod).filter(|seat| seat.leaving.is_none() || seat.pending)?;
        let pool = self.pool_of(&self.nodes[&seat.node])?;
        let wanted = match self.pools[&pool].over_limit {
            OverLimit::Report => false,
            OverLimit::EvictPreemptible => workload.preemptible,
            OverLimit::Evict => workload.priority < Priority::SYSTEM_CRITICAL,
        };
        let has_minimum = || (0..workload.roles.len()).all(|role| self.missing(workload, role) == 0);
        let alone = if seat.pending {
            has_minimum()
        } else {
            self.above_minimum(workload, usize::from(pod.role)) > 0
        };
        let unit: BTreeSet<PodId> =
            if alone { [pod].into() } else { self.running(workload.id).into_keys().collect() };
        // The budgets count those that are to be moved already.
        let more = unit.iter().copied().filter(|pod| !self.is_pending(*pod)).collect();
        (wanted && self.may_disrupt(&more)).then_some(unit)
    }

    fn stop_one_over_limit(&mut self, pod: PodId) -> Vec<Decision> {
        let unit = self.goes_with(pod).unwrap_or_default();
        self.evict_all(&unit, None, Cause::OverLimit)
    }
}
