//! What has come of a simulation.

use super::act::Loss;
use super::run::World;
use super::state::{Job, JobState, PodPhase};
use crate::case::Called;
use crate::outcome::{Outcome, PendingWorkload, PoolOutcome, ProjectOutcome, Totals};
use crate::strategies::strategy_name;
use berth_model::words::Words;
use berth_model::{DeviceMask, Explanation, Millis, NodeId, ReasonKind, Timestamp, WorkloadId};

/// Version of the outcome's format.
const FORMAT: u32 = 1;
/// The most waiting times that are kept of a project.
const QUANTILES_MAX: usize = 1000;
/// For so many pending workloads the engine is asked what would start them; for the others the reason that
/// it gave when it decided is enough.
const EXPLAINED_MAX: usize = 1000;

/// Where a running pod is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodPlace {
    /// Its node.
    pub node: NodeId,
    /// Its devices.
    pub devices: DeviceMask,
}

/// How a workload stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkloadState {
    /// Pods that run.
    pub running: Vec<PodPlace>,
    /// Pods that should run and do not.
    pub pending: u32,
    /// Kind of the dominant reason, if any is known.
    pub reason: Option<ReasonKind>,
}

impl World<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Pods evicted so far.
    pub fn evictions(&self) -> u64 {
        self.counts.evictions.total()
    }

    /// How a workload stands.
    pub fn workload(&self, workload: WorkloadId) -> WorkloadState {
        let (mut running, mut pending) = (Vec::new(), 0);
        for (_, _, index) in self.state.pods_of(workload) {
            let pod = self.state.pods[index];
            match pod.phase {
                PodPhase::Running => running.push(PodPlace { node: NodeId(pod.node), devices: pod.devices }),
                PodPhase::Pending | PodPhase::Evicting | PodPhase::Yielding => pending += 1,
                PodPhase::Leaving | PodPhase::Ended => {}
            }
        }
        let explained = self.engine.explain(workload).and_then(|explanation| explanation.reason);
        let reported = || self.reports.get(workload.index()).and_then(|report| report.as_deref());
        let reason = explained.as_ref().or_else(reported).map(|reason| reason.kind());
        WorkloadState { running, pending, reason }
    }

    /// The outcome. Pools that never had a node, and that nobody asked for, are left out.
    pub fn outcome(mut self) -> Outcome {
        self.lose_what_goes();
        self.last_sample();
        let pending = self.pending();
        let cluster = &self.case.cluster;
        let strategy = cluster.pools.first().map_or("", |pool| strategy_name(pool.gpu));
        let projects = (0..cluster.projects.len()).map(|index| self.project(index)).collect();
        let pools = std::mem::take(&mut self.sampler.pools);
        let mut pools: Vec<_> = cluster
            .pools
            .iter()
            .zip(pools)
            .filter(|(_, samples)| samples.iter().any(|s| s.nodes > 0 || s.requested.0 > 0))
            .map(|(pool, samples)| PoolOutcome {
                name: pool.name.clone(),
                strategy: strategy_name(pool.gpu).to_owned(),
                samples,
            })
            .collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Outcome {
            format: FORMAT,
            name: self.case.name.clone(),
            variant: strategy.to_owned(),
            ended: self.now,
            totals: self.totals(pending.len() as u64),
            pools,
            projects,
            pending,
            violations: None,
        }
    }

    /// What those pods have worked that are being evicted at the end is lost already.
    fn lose_what_goes(&mut self) {
        for workload in (0..self.state.jobs.len() as u64).map(WorkloadId) {
            if self.counts.leaving == 0 || self.state.jobs[workload.index()].placed == 0 {
                continue;
            }
            let pods: Vec<_> = self.state.pods_of(workload).collect();
            for (_, role, index) in pods {
                let pod = self.state.pods[index];
                if pod.phase == PodPhase::Evicting {
                    self.lose_work(workload, role, index, self.now.since(pod.since), Loss::Evicted);
                }
            }
        }
    }

    fn totals(&self, pending: u64) -> Totals {
        let counts = &self.counts;
        Totals {
            workloads: counts.submitted,
            started: counts.started,
            completed: counts.completed,
            pending,
            dropped: counts.dropped,
            placements: counts.placements,
            evictions: counts.evictions.total(),
            evictions_by_cause: counts.evictions,
            cycles: counts.cycles,
            gpu_capacity: self.capacity,
            gpu_allocated: self.allocated,
            gpu_share_millis: counts.share_millis,
            gpu_capacity_millis: counts.capacity_millis,
            gpu_good_millis: counts.share_millis - counts.wasted_share_millis,
        }
    }

    fn project(&mut self, index: usize) -> ProjectOutcome {
        let spec = &self.case.cluster.projects[index];
        let waiting =
            |job: &&Job| job.project == index as u32 && job.state == JobState::Present && !job.started;
        let still_waiting: Vec<i64> =
            self.state.jobs.iter().filter(waiting).map(|job| self.now.since(job.submitted).0).collect();
        let quotas = self.quotas(index);
        let measured = &mut self.measured.projects[index];
        ProjectOutcome {
            name: spec.name.clone(),
            department: self.case.cluster.departments[spec.department.index()].name.clone(),
            quotas,
            workloads: measured.workloads,
            waits: quantiles(std::mem::take(&mut measured.waits)),
            still_waiting: quantiles(still_waiting),
            evictions: measured.evictions.total(),
            evictions_by_cause: measured.evictions,
            lost_share_millis: measured.lost_share_millis,
            samples: std::mem::take(&mut self.sampler.projects[index]),
        }
    }

    /// What waits at the end, in the order of submission.
    fn pending(&self) -> Vec<PendingWorkload> {
        let jobs = self.state.jobs.iter().enumerate();
        let mut waiting: Vec<_> = jobs
            .filter(|(_, job)| job.state == JobState::Present && job.wanted > job.placed)
            .map(|(id, job)| (job.submitted, WorkloadId(id as u64)))
            .collect();
        waiting.sort_unstable();
        let names = self.case.load.names();
        let called = Called { cluster: &self.case.cluster, workloads: &names };
        let words = Words::new(&called);
        (0..)
            .zip(waiting)
            .map(|(position, (submitted, workload))| {
                let explained = if position < EXPLAINED_MAX { self.engine.explain(workload) } else { None };
                let mut pending = self.pending_workload(workload, explained, &words);
                (pending.submitted, pending.name) = (submitted, names.of(workload));
                pending
            })
            .collect()
    }

    /// One workload as it waits.
    pub(super) fn pending_of(&self, workload: WorkloadId) -> PendingWorkload {
        let names = self.case.load.names();
        let called = Called { cluster: &self.case.cluster, workloads: &names };
        let words = Words::new(&called);
        self.pending_workload(workload, self.engine.explain(workload), &words)
    }

    fn pending_workload(
        &self,
        workload: WorkloadId,
        explained: Option<Explanation>,
        words: &Words<'_>,
    ) -> PendingWorkload {
        let state = self.workload_counts(workload);
        let project = self.state.jobs[workload.index()].project as usize;
        let reported = self.reports.get(workload.index()).and_then(|report| report.as_deref());
        let reason = explained.as_ref().and_then(|e| e.reason.as_ref()).or(reported);
        let change = explained.as_ref().and_then(|e| e.change.as_ref());
        PendingWorkload {
            name: String::new(),
            project: self.case.cluster.projects.get(project).map_or_else(String::new, |p| p.name.clone()),
            running: state.0,
            pending: state.1,
            submitted: Timestamp(0),
            kind: reason.map_or_else(String::new, |reason| reason.kind().to_string()),
            reason: reason.map_or_else(String::new, |reason| words.reason(reason)),
            change: change.map_or_else(String::new, |change| words.change(change)),
        }
    }

    /// Pods that run, and pods that wait.
    fn workload_counts(&self, workload: WorkloadId) -> (u32, u32) {
        self.state.pods_of(workload).fold((0, 0), |(running, pending), (_, _, index)| {
            match self.state.pods[index].phase {
                PodPhase::Running => (running + 1, pending),
                PodPhase::Pending | PodPhase::Evicting | PodPhase::Yielding => (running, pending + 1),
                PodPhase::Leaving | PodPhase::Ended => (running, pending),
            }
        })
    }
}

/// The times in ascending order, thinned to quantiles that keep the least and the greatest.
fn quantiles(mut times: Vec<i64>) -> Vec<Millis> {
    times.sort_unstable();
    if times.len() <= QUANTILES_MAX {
        return times.into_iter().map(Millis).collect();
    }
    let last = times.len() - 1;
    (0..QUANTILES_MAX).map(|i| Millis(times[i * last / (QUANTILES_MAX - 1)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_keep_the_ends() {
        let thinned = quantiles((0..10_000).rev().collect());
        assert_eq!((thinned.len(), thinned[0], thinned[999]), (1000, Millis(0), Millis(9999)));
        assert!(thinned.is_sorted());
        assert_eq!(quantiles(vec![3, 1]), [Millis(1), Millis(3)]);
    }
}
