//! The search for the cheapest numbers of nodes.
//!
//! It assumes that more nodes never make waits longer or more workloads pend, and never raise utilisation. Then for
//! one kind the least number is found by doubling and bisection. For two or three kinds all numbers of all kinds but
//! the last are gone through, few first, and the last is bisected; what is known to hold (or to fail) at fewer (or
//! more) nodes is not simulated, nor what costs more than the best so far. As schedulers are not perfectly monotone,
//! the neighbours of the result are simulated too: a cheaper one that meets the goals takes its place, and any
//! that contradict the assumption are noted.

use super::goal::Goal;
use super::kind::{Kind, Price};
use super::line::Line;
use super::result::{Limits, Plan, Point, SimulationError, at_most, nodes_text};
use crate::outcome::Outcome;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Display;

/// Which of the kinds, counted from 0.
pub type KindIndex = usize;

/// Lines that are searched at once. Fixed, so that what is simulated does not depend on the machine.
const LINES: usize = 8;
/// Neighbours simulated on either side of the result, per kind.
const NEIGHBOURS: u32 = 2;
/// How often a cheaper neighbour may take the result's place.
const ROUNDS_MAX: usize = 32;

/// Searches the cheapest numbers of nodes for which all `goals` hold.
///
/// # Errors
///
/// The first simulation that failed, in the order of the search.
pub fn search<E: Display + Send>(
    kinds: &[Kind],
    goals: &[Goal],
    limits: Limits,
    simulate: impl Fn(&[(KindIndex, u32)]) -> Result<Outcome, E> + Sync,
) -> Result<Plan, SimulationError<E>> {
    let mut search = Search { kinds, goals, limits, simulate, points: BTreeMap::new(), cut_short: false };
    search.single_kinds()?;
    if kinds.len() > 1 {
        search.mixtures()?;
    }
    let notes = search.verify()?;
    Ok(search.finish(notes))
}

struct Search<'a, F> {
    kinds: &'a [Kind],
    goals: &'a [Goal],
    limits: Limits,
    simulate: F,
    points: BTreeMap<Vec<u32>, Point>,
    /// True once the limit of simulations was reached.
    cut_short: bool,
}

impl<E: Display + Send, F: Fn(&[(KindIndex, u32)]) -> Result<Outcome, E> + Sync> Search<'_, F> {
    /// The least number of each kind alone.
    fn single_kinds(&mut self) -> Result<(), SimulationError<E>> {
        let zero = vec![0; self.kinds.len()];
        let line = |axis| Line::new(zero.clone(), axis, self.limits.nodes, false);
        self.follow((0..self.kinds.len()).map(line).collect())
    }

    /// Every number of the kinds but the last, with the least number of the last.
    fn mixtures(&mut self) -> Result<(), SimulationError<E>> {
        let axis = self.kinds.len() - 1;
        let mut bases = bases(axis, self.limits.nodes);
        while !self.cut_short {
            let line = |base: Vec<u32>| Some((self.affordable(&base, axis)?, base));
            let lines: Vec<_> = bases.by_ref().filter_map(line).take(LINES).collect();
            if lines.is_empty() {
                break;
            }
            self.follow(lines.into_iter().map(|(max, base)| Line::new(base, axis, max, true)).collect())?;
        }
        Ok(())
    }

    /// The most nodes of the kind `axis` beside `base` that neither the limit nor the best so far rules out.
    fn affordable(&self, base: &[u32], axis: usize) -> Option<u32> {
        let free = self.limits.nodes.checked_sub(base.iter().sum())?;
        let Some(best) = self.best() else { return Some(free) };
        let left = best.cost.0 - self.cost(base).0;
        if left < 0 {
            return None;
        }
        let most = left.checked_div(self.kinds[axis].price.0).unwrap_or(i64::from(free));
        Some(free.min(u32::try_from(most).unwrap_or(free)))
    }

    /// Searches along several lines until each has its least number or none.
    fn follow(&mut self, mut lines: Vec<Line>) -> Result<(), SimulationError<E>> {
        loop {
            lines.iter_mut().for_each(|line| line.learn(|counts| self.known(counts)));
            let probes: Vec<Vec<u32>> = lines.iter().flat_map(Line::probes).collect();
            let before = self.points.len();
            self.evaluate(probes)?;
            // Nothing new: all lines are done, the limit is reached, or what is known contradicts itself.
            if self.points.len() == before {
                break;
            }
        }
        // What was only inferred is simulated after all: other goals may not hold there.
        let found = lines.iter().filter_map(Line::found).collect();
        self.evaluate(found)
    }

    /// Whether the goals that grow hold, as simulated or as inferred from other points.
    fn known(&self, counts: &[u32]) -> Option<bool> {
        if counts.iter().all(|n| *n == 0) {
            return Some(false);
        }
        if let Some(point) = self.points.get(counts) {
            return Some(point.enough);
        }
        let fewer_enough = |p: &Point| p.enough && at_most(&p.counts, counts);
        let more_not = |p: &Point| !p.enough && at_most(counts, &p.counts);
        if self.points.values().any(fewer_enough) {
            return Some(true);
        }
        self.points.values().any(more_not).then_some(false)
    }

    fn cost(&self, counts: &[u32]) -> Price {
        let cost = self.kinds.iter().zip(counts).map(|(kind, n)| kind.price.0.saturating_mul(i64::from(*n)));
        Price(cost.fold(0, i64::saturating_add))
    }

    fn best(&self) -> Option<&Point> {
        self.points.values().filter(|p| p.is_met()).min_by(|a, b| a.rank().cmp(&b.rank()))
    }

    /// Simulates what has not been, in parallel, up to the limit.
    fn evaluate(&mut self, mut wanted: Vec<Vec<u32>>) -> Result<(), SimulationError<E>> {
        wanted.sort();
        wanted.dedup();
        wanted.retain(|counts| !self.points.contains_key(counts));
        let left = self.limits.simulations as usize - self.points.len();
        self.cut_short |= wanted.len() > left;
        wanted.truncate(left);
        let outcome = |counts: &Vec<u32>| {
            let pairs: Vec<(KindIndex, u32)> = counts.iter().copied().enumerate().collect();
            (self.simulate)(&pairs).map(|outcome| self.point(counts, &outcome))
        };
        let results: Vec<_> = wanted.par_iter().map(outcome).collect();
        for (counts, result) in wanted.into_iter().zip(results) {
            let nodes = || nodes_text(self.kinds, &counts);
            let point = result.map_err(|source| SimulationError { nodes: nodes(), source })?;
            self.points.insert(counts, point);
        }
        Ok(())
    }

    fn point(&self, counts: &[u32], outcome: &Outcome) -> Point {
        let values: Vec<Option<i64>> = self.goals.iter().map(|goal| goal.metric.of(outcome)).collect();
        let holds: Vec<bool> =
            self.goals.iter().zip(&values).map(|(goal, value)| goal.holds(*value)).collect();
        let enough = self.goals.iter().zip(&holds).all(|(goal, holds)| *holds || !goal.grows());
        Point { counts: counts.to_vec(), cost: self.cost(counts), values, holds, enough }
    }

    /// Simulates the neighbours of the best until none is better; says what contradicts the assumption.
    fn verify(&mut self) -> Result<Vec<String>, SimulationError<E>> {
        let mut notes = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let Some(best) = self.best().cloned() else { break };
            let (fewer, more) = self.neighbours(&best.counts);
            self.evaluate(fewer.into_iter().chain(more.clone()).collect())?;
            let now = self.best().cloned().unwrap_or_else(|| best.clone());
            if now == best {
                let worse = more.iter().find(|counts| self.points.get(*counts).is_some_and(|p| !p.enough));
                notes.extend(worse.map(|counts| self.not_monotone(&best.counts, counts)));
                break;
            }
            notes.push(format!(
                "not monotone: bisection found {}, but its neighbour {} is enough too",
                nodes_text(self.kinds, &best.counts),
                nodes_text(self.kinds, &now.counts)
            ));
        }
        Ok(notes)
    }

    fn not_monotone(&self, best: &[u32], worse: &[u32]) -> String {
        format!(
            "not monotone: the goals hold with {} but not with {}",
            nodes_text(self.kinds, best),
            nodes_text(self.kinds, worse)
        )
    }

    /// The same with a few less and with a few more of one kind.
    fn neighbours(&self, counts: &[u32]) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        let (mut fewer, mut more) = (Vec::new(), Vec::new());
        let total: u32 = counts.iter().sum();
        for axis in 0..counts.len() {
            for step in 1..=NEIGHBOURS {
                let with = |n: u32| {
                    let mut other = counts.to_vec();
                    other[axis] = n;
                    other
                };
                fewer.extend(counts[axis].checked_sub(step).filter(|_| total > step).map(with));
                more.extend(
                    Some(counts[axis] + step).filter(|_| total + step <= self.limits.nodes).map(with),
                );
            }
        }
        (fewer, more)
    }

    fn finish(self, mut notes: Vec<String>) -> Plan {
        if self.cut_short {
            notes.push(format!(
                "stopped after {} simulations (--max-simulations): a cheaper plan may exist",
                self.limits.simulations
            ));
        }
        let best = self.best().map(|p| p.counts.clone());
        let mut points: Vec<Point> = self.points.into_values().collect();
        points.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let best = best.and_then(|counts| points.iter().position(|p| p.counts == counts));
        let (kinds, goals) = (self.kinds.to_vec(), self.goals.to_vec());
        Plan { kinds, goals, limits: self.limits, best, points, notes }
    }
}

/// All numbers of the first one or two kinds with at most `nodes` in all, few first; the last kind has none.
fn bases(axis: usize, nodes: u32) -> impl Iterator<Item = Vec<u32>> {
    let both = axis > 1;
    (0..=nodes).flat_map(move |total| {
        let first = if both { 0..=total } else { total..=total };
        first.map(move |n| if both { vec![n, total - n, 0] } else { vec![n, 0] })
    })
}
