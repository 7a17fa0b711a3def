//! What an administrator should look at: pods over their limit (S19), and pods that outlive their grace (S23).
//!
//! Each is told once when it begins. Costs: pods over their limit and leaving pods are looked at in every cycle.

use crate::Engine;
use crate::ix::PodIx;
use berth_model::{Decision, DeviceIndex, GpuGrant, GpuMemoryMib, Millis, PodId, Timestamp, Warning};
use std::collections::{BTreeMap, BTreeSet};

/// For how long a pod may outlive its grace without a word.
const OVERDUE: Millis = Millis::from_secs(30);

/// What is wrong, and what of it has been told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings {
    /// Memory above the limit, by pod and device, and whether it has been told.
    over: BTreeMap<(PodId, DeviceIndex), (GpuMemoryMib, bool)>,
    /// Pods of which it was told that they outlive their grace.
    overdue: BTreeSet<PodId>,
}

impl Engine {
    /// Takes in what a pod uses of a device.
    pub(crate) fn measure(&mut self, pod: PodIx, device: DeviceIndex, used: GpuMemoryMib) {
        let key = (self.pod_id(pod), device);
        match self.pod(pod).gpus {
            GpuGrant::Shared { devices, limit, .. } if devices.contains(device) && used > limit => {
                self.warnings.over.entry(key).or_insert((used, false)).0 = used;
            }
            _ => {
                self.warnings.over.remove(&key);
            }
        }
    }

    /// Forgets what was wrong with a pod that has ended.
    pub(crate) fn forget_warnings(&mut self, pod: PodIx) {
        let id = self.pod_id(pod);
        self.warnings.overdue.remove(&id);
        if !self.warnings.over.is_empty() {
            self.warnings.over.retain(|(of, _), _| *of != id);
        }
    }

    /// When the first leaving pod of which nothing was told will be overdue.
    pub(crate) fn warning_timer(&self) -> Option<Timestamp> {
        let untold = self.reservations.leaving.iter();
        let untold = untold
            .filter(|pod| !self.is_pending(**pod) && !self.warnings.overdue.contains(&self.pod_id(**pod)));
        untold.map(|pod| self.pod(*pod).until.plus(OVERDUE)).min()
    }

    /// Tells what is wrong and has not been told.
    pub(crate) fn warn(&mut self, decisions: &mut Vec<Decision>) {
        let late = |pod: &&PodIx| !self.is_pending(**pod) && self.pod(**pod).until.plus(OVERDUE) <= self.now;
        let late = self.reservations.leaving.iter().filter(late);
        let late: BTreeMap<PodId, Timestamp> =
            late.map(|pod| (self.pod_id(*pod), self.pod(*pod).until)).collect();
        for (pod, until) in late {
            if self.warnings.overdue.insert(pod) {
                decisions.push(Decision::Warn { pod, warning: Warning::OutlivesGrace { until } });
            }
        }
        let untold: Vec<_> = self
            .warnings
            .over
            .iter()
            .filter(|(_, (_, told))| !told)
            .map(|(key, (used, _))| (*key, *used))
            .collect();
        for ((id, device), used) in untold {
            let pod = self.find_pod("warn", id).ok().map(|pod| self.pod(pod).gpus);
            if let Some(GpuGrant::Shared { limit, .. }) = pod {
                decisions
                    .push(Decision::Warn { pod: id, warning: Warning::OverLimit { device, used, limit } });
            }
            self.warnings.over.insert((id, device), (used, true));
        }
    }
}
