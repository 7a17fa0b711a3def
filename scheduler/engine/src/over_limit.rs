//! Pods that use more device memory than they were given, where the administrator wants them stopped (S19).
//!
//! First go those over their limit, by id. Then, device by device, while what its pods are guaranteed or use, whichever
//! is more, does not fit: of those above their request the one with the largest excess there, of equal ones the most
//! recently started, then by id. A pod above its workload's minimum goes alone, any other takes its workload with it
//! (S24). Costs: only measurements above a request are kept, and looked at in every cycle.

use crate::Engine;
use crate::ix::{NodeIx, PodIx};
use berth_model::{
    Cause, Decision, DeviceIndex, GpuGrant, GpuMemoryMib, NodeId, OverLimit, PodId, Priority, Timestamp,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Memory as measured, where it is more than the pod asked for.
pub(crate) type Excess = BTreeMap<(PodId, DeviceIndex), GpuMemoryMib>;

impl Engine {
    /// Takes in what a pod uses of a device.
    pub(crate) fn measure_excess(&mut self, pod: PodIx, device: DeviceIndex, used: GpuMemoryMib) {
        let key = (self.pod_id(pod), device);
        match self.pod(pod).gpus {
            GpuGrant::Shared { devices, each, .. } if devices.contains(device) && used > each => {
                self.excess.insert(key, used);
            }
            _ => {
                self.excess.remove(&key);
            }
        }
    }

    /// Forgets what a pod used that has ended.
    pub(crate) fn forget_excess(&mut self, pod: PodIx) {
        if !self.excess.is_empty() {
            let id = self.pod_id(pod);
            self.excess.retain(|(of, _), _| *of != id);
        }
    }

    /// Evicts pods over their limit, and those that threaten what others were guaranteed.
    pub(crate) fn evict_over_limit(&mut self, decisions: &mut Vec<Decision>) {
        if self.excess.is_empty() {
            return;
        }
        let mut devices: BTreeSet<(NodeId, NodeIx, DeviceIndex)> = BTreeSet::new();
        for ((id, device), used) in self.excess.clone() {
            let Ok(pod) = self.find_pod("overLimit", id) else { continue };
            let state = *self.pod(pod);
            let (GpuGrant::Shared { limit, .. }, Some(node)) = (state.gpus, state.node) else { continue };
            if used > limit {
                self.evict_excess(pod, decisions);
            }
            devices.insert((self.nodes.at(node.0).id, node, device));
        }
        for (_, node, device) in devices {
            while self.is_threatened(node, device) {
                let Some(worst) = self.worst_on(node, device) else { break };
                self.evict_excess(worst, decisions);
            }
        }
    }

    /// The pods that stay on a device of which they share, with what each is guaranteed.
    fn sharers(&self, node: NodeIx, device: DeviceIndex) -> impl Iterator<Item = (PodIx, GpuMemoryMib)> + '_ {
        self.nodes.at(node.0).pods.iter().filter_map(move |pod| match self.pod(*pod) {
            state if !state.runs() => None,
            state => match state.gpus {
                GpuGrant::Shared { devices, each, .. } if devices.contains(device) => Some((*pod, each)),
                _ => None,
            },
        })
    }

    /// True if what the pods on a device are guaranteed or use does not fit.
    fn is_threatened(&self, node: NodeIx, device: DeviceIndex) -> bool {
        let used = |pod: PodIx| self.excess.get(&(self.pod_id(pod), device)).copied();
        let sum: i64 = self.sharers(node, device).map(|(pod, each)| used(pod).unwrap_or(each).0).sum();
        let device = self.nodes.at(node.0).devices.get(device);
        sum > i64::from(device.total) - i64::from(device.foreign)
    }

    /// Of the pods above their request on a device that may be stopped, the first to go.
    fn worst_on(&self, node: NodeIx, device: DeviceIndex) -> Option<PodIx> {
        let above = self.sharers(node, device).filter_map(|(pod, each)| {
            let id = self.pod_id(pod);
            let excess = self.excess.get(&(id, device))?.0 - each.0;
            let order: (Reverse<i64>, Reverse<Timestamp>, PodId) =
                (Reverse(excess), Reverse(self.pod(pod).since), id);
            self.excess_unit(pod).map(|_| (order, pod))
        });
        above.min_by_key(|(order, _)| *order).map(|(_, pod)| pod)
    }

    /// The pods that go with one that uses too much; none if it may not be stopped.
    fn excess_unit(&self, pod: PodIx) -> Option<Vec<PodIx>> {
        let state = self.pod(pod);
        let pool = self.nodes.at(state.node?.0).pool?;
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let wanted = match self.pools.spec(pool).over_limit {
            OverLimit::Report => false,
            OverLimit::EvictPreemptible => template.preemptible,
            OverLimit::Evict => template.priority < Priority::SYSTEM_CRITICAL,
        };
        if !wanted || !state.runs() {
            return None;
        }
        let role = template.role_of(pod.pod).0;
        let alone = match state.pending {
            true => !self.workloads.at(pod.workload.0).lacks_minimum(template),
            false => self.above_minimum(pod.workload, role.into()) > 0,
        };
        let unit = if alone { vec![pod] } else { self.running_of(pod.workload) };
        // The budgets count those that are to be moved already.
        let more: Vec<PodIx> = unit.iter().copied().filter(|pod| !self.is_pending(*pod)).collect();
        self.may_disrupt(&more).then_some(unit)
    }

    fn evict_excess(&mut self, pod: PodIx, decisions: &mut Vec<Decision>) {
        if let Some(unit) = self.excess_unit(pod) {
            self.evict(&unit, None, Cause::OverLimit, decisions);
        }
    }
}
