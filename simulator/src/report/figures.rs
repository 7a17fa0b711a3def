//! The numbers derived from an outcome. They are floating point and for reading; nothing is decided by them.

use super::projects::{self, ProjectFigures};
use super::series::{self, Steps};
use super::waits::Waits;
use super::words::devices;
use crate::outcome::{Evictions, Outcome, PoolOutcome, PoolSample, ProjectOutcome, ProjectSample};
use berth_model::{GpuShare, Millis, Quota, Timestamp};
use serde::Serialize;

/// Millionths of a device times milliseconds in one GPU-hour.
const GPU_HOUR: f64 = 1e6 * 3_600_000.0;

/// One outcome in single numbers, for tables that put outcomes side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Name of the scenario or trace.
    pub name: String,
    /// What was varied.
    pub variant: String,
    /// Virtual time at the end, milliseconds.
    pub ended: Timestamp,
    /// Workloads submitted.
    pub workloads: u64,
    /// Workloads that started.
    pub started: u64,
    /// Workloads that ran to their end.
    pub completed: u64,
    /// Workloads that wait at the end.
    pub pending: u64,
    /// Workloads dropped because they did not fit.
    pub dropped: u64,
    /// Pods placed, again after an eviction included.
    pub pods_placed: u64,
    /// Pods evicted.
    pub evictions: u64,
    /// The same by the rule that evicted them.
    pub evictions_by_cause: Evictions,
    /// GPU capacity at the end, millionths of a device.
    pub gpu_capacity: GpuShare,
    /// GPU share given out at the end, millionths of a device.
    pub gpu_allocated: GpuShare,
    /// GPU share not given out at the end, millionths of a device.
    pub gpu_unallocated: GpuShare,
    /// Given out / capacity at the end, 0 to 1.
    pub allocation: Option<f64>,
    /// Given out / capacity over time, 0 to 1.
    pub utilisation: Option<f64>,
    /// Free share that the shapes present cannot use at the end, millionths of a device.
    pub gpu_stranded: GpuShare,
    /// The same, average over time, in GPUs.
    pub stranded_average: f64,
    /// Median wait of those that started, milliseconds.
    pub wait_p50: Option<Millis>,
    /// 95th percentile of the wait of those that started, milliseconds.
    pub wait_p95: Option<Millis>,
    /// The longest wait of those that started, milliseconds.
    pub wait_max: Option<Millis>,
    /// GPU-hours of work that was completed, that still runs, or that its owner ended.
    pub goodput: f64,
    /// GPU-hours thrown away by evictions.
    pub lost: f64,
    /// Jain's index over projects of what each got of what it was due: 1 is even, 1/n is all to one.
    pub fairness: Option<f64>,
    /// One per project, in the order of the input.
    pub projects: Vec<ProjectFigures>,
    /// Number of violations found by the checker; none if it was not asked.
    pub violations: Option<u64>,
}

impl Figures {
    /// Derives the figures.
    pub fn of(outcome: &Outcome) -> Self {
        let totals = &outcome.totals;
        let waits = Waits::of(outcome);
        let ended = outcome.ended.0;
        let lost: i128 = outcome.projects.iter().map(|p| p.lost_share_millis).sum();
        Self {
            name: outcome.name.clone(),
            variant: outcome.variant.clone(),
            ended: outcome.ended,
            workloads: totals.workloads,
            started: totals.started,
            completed: totals.completed,
            pending: totals.pending,
            dropped: totals.dropped,
            pods_placed: totals.placements,
            evictions: totals.evictions,
            evictions_by_cause: totals.evictions_by_cause,
            gpu_capacity: totals.gpu_capacity,
            gpu_allocated: totals.gpu_allocated,
            gpu_unallocated: totals.gpu_capacity - totals.gpu_allocated,
            allocation: ratio(totals.gpu_allocated.0 as f64, totals.gpu_capacity.0 as f64),
            utilisation: ratio(totals.gpu_share_millis as f64, totals.gpu_capacity_millis as f64),
            gpu_stranded: GpuShare(outcome.pools.iter().map(|p| last(p).stranded.0).sum()),
            stranded_average: round(outcome.pools.iter().map(|p| PoolFigures::of(p, ended).stranded).sum()),
            wait_p50: waits.of_started(500),
            wait_p95: waits.of_started(950),
            wait_max: waits.of_started(1000),
            goodput: gpu_hours(totals.gpu_good_millis),
            lost: gpu_hours(lost),
            fairness: projects::fairness(&outcome.projects, ended),
            projects: ProjectFigures::all(outcome),
            violations: outcome.violations.as_ref().map(|v| v.len() as u64),
        }
    }
}

/// A pool's averages over time, in GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolFigures {
    /// GPU capacity.
    pub capacity: f64,
    /// Given out.
    pub allocated: f64,
    /// Given out or waited for.
    pub requested: f64,
    /// Free but of no use to the shapes present.
    pub stranded: f64,
}

impl PoolFigures {
    /// Averages until `end`, in milliseconds.
    pub fn of(pool: &PoolOutcome, end: i64) -> Self {
        let average = |value| series::average(&pool_steps(pool, value), end).unwrap_or(0.0);
        Self {
            capacity: average(|s| s.capacity),
            allocated: average(|s| s.allocated),
            requested: average(|s| s.requested),
            stranded: average(|s| s.stranded),
        }
    }
}

/// One of a pool's shares over time, in GPUs.
pub fn pool_steps(pool: &PoolOutcome, value: fn(&PoolSample) -> GpuShare) -> Steps {
    series::steps(&pool.samples, |s| s.at.0, |s| Some(devices(value(s))))
}

/// One of a project's shares over time, in GPUs.
pub fn project_steps(project: &ProjectOutcome, value: fn(&ProjectSample) -> GpuShare) -> Steps {
    series::steps(&project.samples, |s| s.at.0, |s| Some(devices(value(s))))
}

/// The last sample of a pool.
pub fn last(pool: &PoolOutcome) -> PoolSample {
    pool.samples.last().copied().unwrap_or_default()
}

/// A project's GPU quota over all pools, in GPUs; none if it is unlimited in one of them.
pub fn quota(project: &ProjectOutcome) -> Option<f64> {
    project
        .quotas
        .iter()
        .map(|(_, quota)| match quota.gpu.quota {
            Quota::Of(share) => Some(devices(GpuShare(share))),
            Quota::Unmanaged => Some(0.0),
            Quota::Unlimited => None,
        })
        .sum()
}

/// Indexes of the projects by average use, most first; ties keep the order of the input.
pub fn by_use(outcome: &Outcome) -> Vec<usize> {
    let used: Vec<f64> = outcome
        .projects
        .iter()
        .map(|p| series::average(&project_steps(p, |s| s.allocated.gpu), outcome.ended.0).unwrap_or(0.0))
        .collect();
    let mut order: Vec<usize> = (0..used.len()).collect();
    order.sort_by(|a, b| used[*b].total_cmp(&used[*a]));
    order
}

/// `part / whole` rounded to a millionth; none if there is no whole.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| round(part / whole))
}

/// Millionths of a device times milliseconds as GPU-hours.
pub fn gpu_hours(share_millis: i128) -> f64 {
    round(share_millis as f64 / GPU_HOUR)
}

fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn figures_of_nothing_are_absent_not_nan() {
        let figures = Figures::of(&Outcome::default());
        assert_eq!((figures.allocation, figures.utilisation, figures.fairness), (None, None, None));
        assert_eq!(figures.goodput, 0.0);
    }

    #[test]
    fn goodput_is_work_less_losses() {
        let figures = Figures::of(&samples::small());
        assert_eq!((figures.goodput, figures.lost), (9.5, 0.5));
        assert_eq!(figures.utilisation, Some(0.833333));
    }
}
