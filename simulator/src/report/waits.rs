//! Waiting times of projects put together.

use crate::outcome::{Outcome, ProjectOutcome};
use berth_model::Millis;

/// An outcome keeps at most this many quantiles per project (see [`ProjectOutcome::waits`]).
pub const QUANTILES_MAX: usize = 1000;

/// Weight of one workload: lists that were thinned to quantiles stand for more workloads than they have entries.
const ONE: u64 = 1_000_000;

/// How long workloads waited for their first start, over one or more projects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waits {
    /// Waiting times of those that started, ascending, each with its weight.
    started: Vec<(Millis, u64)>,
    /// Sum of the weights in `started`.
    started_weight: u64,
    /// Weight of those that never started.
    never_weight: u64,
    /// The longest wait so far of those that have not started.
    longest_so_far: Option<Millis>,
}

impl Waits {
    /// Of all projects, and of the workloads that were dropped: they never started.
    pub fn of(outcome: &Outcome) -> Self {
        let mut waits = Self::of_projects(&outcome.projects);
        waits.never_weight += outcome.totals.dropped * ONE;
        waits
    }

    /// Of these projects.
    pub fn of_projects<'a>(projects: impl IntoIterator<Item = &'a ProjectOutcome>) -> Self {
        let mut waits = Self::default();
        for project in projects {
            let (started, never) = numbers(project);
            let each = started * ONE / (project.waits.len() as u64).max(1);
            waits.started.extend(project.waits.iter().map(|wait| (*wait, each)));
            waits.started_weight += each * project.waits.len() as u64;
            waits.never_weight += never * ONE;
            waits.longest_so_far = waits.longest_so_far.max(project.still_waiting.last().copied());
        }
        waits.started.sort_unstable();
        waits
    }

    /// Number of workloads that started.
    pub fn started(&self) -> u64 {
        (self.started_weight + ONE / 2) / ONE
    }

    /// Number of workloads that have not started, dropped ones included.
    pub fn never(&self) -> u64 {
        (self.never_weight + ONE / 2) / ONE
    }

    /// The longest wait so far of those that have not started.
    pub fn longest_so_far(&self) -> Option<Millis> {
        self.longest_so_far
    }

    /// The waiting time that `permille` thousandths of those that started did not exceed (nearest rank).
    pub fn of_started(&self, permille: u32) -> Option<Millis> {
        self.ranked(permille, self.started_weight)
    }

    /// The waiting time that `permille` thousandths of all did not exceed, where those that never started wait for
    /// ever; none if that many have not started, or if there are no workloads.
    pub fn of_all(&self, permille: u32) -> Option<Millis> {
        self.ranked(permille, self.started_weight + self.never_weight)
    }

    fn ranked(&self, permille: u32, total: u64) -> Option<Millis> {
        let rank = (u128::from(total) * u128::from(permille)).div_ceil(1000).max(1);
        let mut seen = 0u128;
        for (wait, weight) in &self.started {
            seen += u128::from(*weight);
            if seen >= rank {
                return Some(*wait);
            }
        }
        None
    }

    /// True if nothing was submitted.
    pub fn is_empty(&self) -> bool {
        self.started_weight + self.never_weight == 0
    }

    /// The share of all workloads that had started after waiting this long: steps of (wait, share), ascending.
    pub fn curve(&self) -> Vec<(Millis, f64)> {
        let total = (self.started_weight + self.never_weight) as f64;
        let mut curve: Vec<(Millis, f64)> = Vec::new();
        let mut seen = 0u64;
        for (wait, weight) in &self.started {
            seen += weight;
            let point = (*wait, seen as f64 / total);
            match curve.last_mut() {
                Some(last) if last.0 == *wait => *last = point,
                _ => curve.push(point),
            }
        }
        curve
    }
}

/// How many workloads of a project started, and how many did not. Exact unless both lists were thinned; then the
/// workloads are divided as the lists are.
fn numbers(project: &ProjectOutcome) -> (u64, u64) {
    let (started, never) = (project.waits.len() as u64, project.still_waiting.len() as u64);
    let (thin_started, thin_never) =
        (project.waits.len() >= QUANTILES_MAX, project.still_waiting.len() >= QUANTILES_MAX);
    let all = project.workloads.max(started + never);
    match (thin_started, thin_never) {
        (false, false) => (started, never),
        (true, false) => (all - never, never),
        (false, true) => (started, all - started),
        (true, true) => (all * started / (started + never), all - all * started / (started + never)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(waits: &[i64], still: &[i64]) -> ProjectOutcome {
        ProjectOutcome {
            workloads: (waits.len() + still.len()) as u64,
            waits: waits.iter().map(|ms| Millis(*ms)).collect(),
            still_waiting: still.iter().map(|ms| Millis(*ms)).collect(),
            ..ProjectOutcome::default()
        }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let waits = Waits::of_projects(&[project(&[1, 2, 3, 4], &[]), project(&[5, 6, 7, 8, 9, 10], &[])]);
        assert_eq!(waits.of_started(500), Some(Millis(5)));
        assert_eq!(waits.of_started(950), Some(Millis(10)));
        assert_eq!(waits.of_started(1000), Some(Millis(10)));
        assert_eq!(Waits::default().of_started(500), None);
    }

    #[test]
    fn those_that_never_start_wait_for_ever() {
        let waits = Waits::of_projects(&[project(&[1, 2, 3], &[50])]);
        assert_eq!(waits.of_all(750), Some(Millis(3)));
        assert_eq!(waits.of_all(760), None);
        assert_eq!((waits.never(), waits.longest_so_far()), (1, Some(Millis(50))));
        assert_eq!(waits.curve().last(), Some(&(Millis(3), 0.75)));
    }

    #[test]
    fn thinned_lists_keep_their_weight() {
        let mut big = project(&[10; QUANTILES_MAX], &[]);
        big.workloads = 9000;
        let waits = Waits::of_projects(&[big, project(&[99; 999], &[])]);
        assert_eq!(waits.started(), 9999);
        assert_eq!(waits.of_started(900), Some(Millis(10)));
        assert_eq!(waits.of_started(950), Some(Millis(99)));
    }

    #[test]
    fn dropped_workloads_never_started() {
        let mut outcome = Outcome { projects: vec![project(&[0], &[])], ..Outcome::default() };
        outcome.totals.dropped = 1;
        assert_eq!(Waits::of(&outcome).of_all(500), Some(Millis(0)));
        assert_eq!(Waits::of(&outcome).of_all(510), None);
    }
}
