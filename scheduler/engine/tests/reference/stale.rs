//! Gangs that have been below their minimum for too long (S27), and what is only reported (S19, S23).

use super::Reference;
use super::state::State;
use berth_model::{
    Cause, Decision, DeviceIndex, GpuGrant, Millis, PodId, PodOutcome, RoleSpec, Timestamp, Warning,
    WorkloadId, WorkloadSpec,
};
use std::collections::BTreeSet;

/// S23: so long after its grace a pod is reported.
const OUTLIVED: Millis = Millis::from_secs(30);

/// What a pod is warned of: more memory than its limit on a device, or that it is still there.
pub(crate) type Warned = (PodId, Option<DeviceIndex>);

impl State {
    /// Notes who is below its minimum, and stops those that have been for too long.
    pub(crate) fn stop_stale_gangs(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.note_stale();
        let all: Vec<(WorkloadId, Timestamp)> = self.stale.iter().map(|(id, since)| (*id, *since)).collect();
        for (id, since) in all {
            let workload = self.workloads[&id].clone();
            let grace = self.stale_grace(&workload);
            if workload.preemptible && grace >= Millis::ZERO && self.now.since(since) >= grace {
                let pods: BTreeSet<PodId> = self.staying(id).into_keys().collect();
                if !self.may_disrupt(&pods) {
                    continue;
                }
                decisions.extend(self.evict_all(&pods, None, Cause::Stale));
            }
        }
        self.forget_recovered();
        decisions
    }

    /// Notes who is below its minimum, and since when.
    pub(crate) fn note_stale(&mut self) {
        self.forget_recovered();
        let written = std::mem::take(&mut self.stale_written);
        let below: Vec<WorkloadId> =
            self.workloads.values().filter(|w| self.is_below_minimum(w)).map(|w| w.id).collect();
        for id in below {
            self.stale.entry(id).or_insert(written.get(&id).copied().unwrap_or(self.now));
        }
    }

    /// S5: those that were bound and do not run in time.
    pub(crate) fn stop_those_not_started(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for workload in self.workloads.values().cloned().collect::<Vec<_>>() {
            let Some(timeout) = workload.start_timeout else { continue };
            let staying = self.staying(workload.id);
            let late = |pod: &PodId| staying[pod].starting && staying[pod].since.plus(timeout) <= self.now;
            let of_role = |role: usize| {
                staying.keys().filter(|pod| usize::from(pod.role) == role).filter(|pod| late(pod)).count()
            };
            let all: BTreeSet<PodId> = staying.keys().copied().collect();
            let late: BTreeSet<PodId> = all.iter().copied().filter(late).collect();
            let alone =
                (0..workload.roles.len()).all(|role| of_role(role) <= self.above_minimum(&workload, role));
            let victims = if alone { &late } else { &all };
            if !late.is_empty() && self.may_disrupt(victims) {
                decisions.extend(self.evict_all(victims, None, Cause::NotStarted));
            }
        }
        self.forget_recovered();
        decisions
    }

    /// Some pods run, and they are fewer than the minimum. Who is to be moved runs until it is stopped.
    fn is_below_minimum(&self, workload: &WorkloadSpec) -> bool {
        let runs = self.running(workload.id);
        let of_role = |role: usize| runs.keys().filter(|pod| usize::from(pod.role) == role).count();
        let done = |role: usize| {
            let own = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
            self.ended.iter().filter(|(pod, o)| own(pod) && **o == PodOutcome::Succeeded).count()
        };
        let short = |(role, spec): (usize, &RoleSpec)| of_role(role) + done(role) < spec.min as usize;
        workload.roles.iter().enumerate().any(short) && !runs.is_empty()
    }

    /// Whoever has its minimum again, or nothing left, starts anew when it next falls below it.
    pub(crate) fn forget_recovered(&mut self) {
        let known: Vec<WorkloadId> = self.stale.keys().copied().collect();
        for id in known {
            if !self.is_below_minimum(&self.workloads[&id]) {
                self.stale.remove(&id);
            }
        }
    }

    /// Its own, else its pool's.
    fn stale_grace(&self, workload: &WorkloadSpec) -> Millis {
        let pool = self.settled(workload).map(|pool| self.pools[&pool].stale_grace);
        workload.stale_grace.or(pool).unwrap_or_default()
    }
}

impl Reference {
    /// Warnings that begin now: pods that outlive their grace, then pods above their limit.
    pub(crate) fn warnings(&mut self) -> Vec<Decision> {
        let mut all: Vec<(Warned, Warning)> = Vec::new();
        for (pod, seat) in &self.state.pods {
            let leaving = seat.leaving.filter(|_| !seat.pending);
            let late = leaving.filter(|until| self.state.now.since(*until) >= OUTLIVED);
            all.extend(late.map(|until| ((*pod, None), Warning::OutlivesGrace { until })));
        }
        for ((pod, device), used) in &self.state.measured {
            let Some(seat) = self.state.pods.get(pod) else { continue };
            let GpuGrant::Shared { devices, limit, .. } = seat.gpus else { continue };
            if devices.contains(*device) && *used > limit {
                let warning = Warning::OverLimit { device: *device, used: *used, limit };
                all.push(((*pod, Some(*device)), warning));
            }
        }
        let now: BTreeSet<Warned> = all.iter().map(|(what, _)| *what).collect();
        let before = std::mem::replace(&mut self.warned, now);
        let new = all.into_iter().filter(|(what, _)| !before.contains(what));
        new.map(|((pod, _), warning)| Decision::Warn { pod, warning }).collect()
    }
}
