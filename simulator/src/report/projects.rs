//! What each project got of what it was due, and how even that is. Floating point, for reading.
//!
//! A project was *due* its fair share, as far as it asked for it: the smallest of fair share, demand (both S7, as the engine
//! has them, summed over the pools) and the GPU share in use or waited for. The last keeps what waits in several pools from
//! counting more than once. Times in which nothing was due do not count.

use super::figures::{gpu_hours, quota, ratio};
use super::series::{self, Steps};
use super::waits::Waits;
use super::words::devices;
use crate::outcome::{Evictions, Outcome, ProjectOutcome, ProjectSample};
use berth_model::{GpuShare, Millis};
use serde::Serialize;

/// One project in single numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectFigures {
    /// Name.
    pub name: String,
    /// Its department.
    pub department: String,
    /// GPU quota over all pools, in GPUs; none if it is unlimited.
    pub quota: Option<f64>,
    /// Fair share over time, in GPUs.
    pub fair_share: Option<f64>,
    /// GPUs in use over time.
    pub used: Option<f64>,
    /// What it got of its fair share as far as it asked for it, 0 to 1, over time.
    pub fair: Option<f64>,
    /// The same of its quota.
    pub honoured: Option<f64>,
    /// Median wait of those that started, milliseconds.
    pub wait_p50: Option<Millis>,
    /// 95th percentile of the wait of those that started, milliseconds.
    pub wait_p95: Option<Millis>,
    /// The longest wait of those that started, milliseconds.
    pub wait_max: Option<Millis>,
    /// Pods evicted, by the rule that evicted them.
    pub evictions: Evictions,
    /// GPU-hours thrown away by evictions.
    pub lost: f64,
}

impl ProjectFigures {
    /// Derives the figures of a project until `end`, in milliseconds.
    pub fn of(project: &ProjectOutcome, end: i64) -> Self {
        let waits = Waits::of_projects([project]);
        let average = |value: fn(&ProjectSample) -> GpuShare| {
            series::average(&super::figures::project_steps(project, value), end)
        };
        Self {
            name: project.name.clone(),
            department: project.department.clone(),
            quota: quota(project),
            fair_share: average(|s| s.fair_share),
            used: average(|s| s.allocated.gpu),
            fair: fair(project, end),
            honoured: honoured(project, end),
            wait_p50: waits.of_started(500),
            wait_p95: waits.of_started(950),
            wait_max: waits.of_started(1000),
            evictions: project.evictions_by_cause,
            lost: gpu_hours(project.lost_share_millis),
        }
    }

    /// Those of every project, in the order of the outcome.
    pub fn all(outcome: &Outcome) -> Vec<Self> {
        outcome.projects.iter().map(|project| Self::of(project, outcome.ended.0)).collect()
    }
}

/// The mean over time of allocated / due, at most 1; none if nothing was ever due.
pub fn fair(project: &ProjectOutcome, end: i64) -> Option<f64> {
    got(project, end, |sample| devices(sample.fair_share))
}

/// As [`fair`], with the quota in place of the fair share.
pub fn honoured(project: &ProjectOutcome, end: i64) -> Option<f64> {
    let quota = quota(project).unwrap_or(f64::INFINITY);
    got(project, end, |_| quota)
}

fn got(project: &ProjectOutcome, end: i64, bound: impl Fn(&ProjectSample) -> f64) -> Option<f64> {
    let part = |sample: &ProjectSample| {
        let due = bound(sample).min(devices(sample.demand)).min(devices(sample.requested));
        ratio(devices(sample.allocated.gpu), due).map(|part| part.min(1.0))
    };
    let steps: Steps = series::steps(&project.samples, |s| s.at.0, part);
    series::average(&steps, end).and_then(|mean| ratio(mean, 1.0))
}

/// Jain's index of [`fair`] over the projects to which anything was due: 1 is even, 1/n is all to one.
pub fn fairness(projects: &[ProjectOutcome], end: i64) -> Option<f64> {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in projects.iter().filter_map(|project| fair(project, end)) {
        n += 1.0;
        sum += share;
        squares += share * share;
    }
    ratio(sum * sum, n * squares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use berth_model::{Amounts, Timestamp};

    /// Samples of ten milliseconds: allocated, fair share, demand, requested, in devices.
    fn project(samples: &[[u32; 4]]) -> ProjectOutcome {
        let sample = |(i, gpus): (i64, &[u32; 4])| {
            let [allocated, fair_share, demand, requested] = gpus.map(GpuShare::devices);
            let allocated = Amounts { gpu: allocated, ..Amounts::default() };
            ProjectSample { at: Timestamp(i * 10), allocated, requested, fair_share, demand }
        };
        ProjectOutcome {
            quotas: vec![("default".into(), samples::quota(4))],
            samples: (0..).zip(samples).map(sample).collect(),
            ..ProjectOutcome::default()
        }
    }

    #[test]
    fn what_was_due_is_the_least_of_share_demand_and_request() {
        for (gpus, expected) in [
            ([2, 4, 8, 8], Some(0.5)),
            ([2, 8, 4, 8], Some(0.5)),
            ([2, 8, 8, 2], Some(1.0)),
            ([6, 4, 8, 8], Some(1.0)),
            ([0, 4, 0, 0], None),
            ([0, 0, 8, 8], None),
        ] {
            assert_eq!(fair(&project(&[gpus]), 10), expected, "{gpus:?}");
        }
    }

    #[test]
    fn means_weigh_by_time_and_leave_out_when_nothing_is_due() {
        let project = project(&[[4, 4, 4, 4], [0, 0, 0, 0], [1, 4, 4, 4], [1, 4, 4, 4]]);
        assert_eq!(fair(&project, 40), Some(0.5));
        assert_eq!(honoured(&project, 40), Some(0.5));
    }

    #[test]
    fn the_quota_is_honoured_when_what_is_asked_of_it_is_there() {
        assert_eq!(honoured(&project(&[[4, 6, 9, 9]]), 10), Some(1.0));
        assert_eq!(fair(&project(&[[4, 8, 9, 9]]), 10), Some(0.5));
    }

    #[test]
    fn fairness_is_one_when_all_get_the_same_part() {
        let (half, all, none) =
            (project(&[[2, 4, 4, 4]]), project(&[[4, 4, 4, 4]]), project(&[[0, 4, 0, 0]]));
        assert_eq!(fairness(&[half.clone(), half.clone(), none.clone()], 10), Some(1.0));
        assert_eq!(fairness(&[half, all], 10), Some(0.9));
        assert_eq!(fairness(&[none], 10), None);
    }
}
