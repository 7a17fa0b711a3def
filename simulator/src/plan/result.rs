//! What a search has found.

use super::goal::Goal;
use super::kind::{Kind, Price};
use std::fmt::Display;

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most nodes of all kinds together.
    pub nodes: u32,
    /// The most simulations.
    pub simulations: u32,
}

/// One simulated plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Number of nodes of each kind.
    pub counts: Vec<u32>,
    /// Price of all of them.
    pub cost: Price,
    /// The metric of each goal, in its unit; none if it does not exist, for example workloads that never start.
    pub values: Vec<Option<i64>>,
    /// Whether each goal holds.
    pub holds: Vec<bool>,
    /// True if those goals hold that more nodes can only help.
    pub enough: bool,
}

impl Point {
    /// True if all goals hold.
    pub fn is_met(&self) -> bool {
        self.holds.iter().all(|holds| *holds)
    }

    /// Nodes of all kinds together.
    pub fn nodes(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// The order of preference: cheapest, then fewest nodes, then fewest of the first kind.
    pub(super) fn rank(&self) -> (Price, u32, &[u32]) {
        (self.cost, self.nodes(), &self.counts)
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What could be bought.
    pub kinds: Vec<Kind>,
    /// What must hold.
    pub goals: Vec<Goal>,
    /// How far the search went.
    pub limits: Limits,
    /// Index in `points` of the cheapest plan that meets the goals.
    pub best: Option<usize>,
    /// All that were simulated, by cost, then number of nodes.
    pub points: Vec<Point>,
    /// What to know about the result, for example that it is not monotone.
    pub notes: Vec<String>,
}

impl Plan {
    /// True if a plan within the limits meets all goals.
    pub fn is_met(&self) -> bool {
        self.best.is_some()
    }

    /// The cheapest plan that meets the goals.
    pub fn best(&self) -> Option<&Point> {
        self.best.map(|i| &self.points[i])
    }

    /// Of the points that are enough, those than which no other is enough with no more nodes of any kind.
    pub fn front(&self) -> Vec<&Point> {
        let enough: Vec<&Point> = self.points.iter().filter(|p| p.enough).collect();
        let beaten = |p: &Point| enough.iter().any(|o| o.counts != p.counts && at_most(&o.counts, &p.counts));
        enough.iter().copied().filter(|p| !beaten(p)).collect()
    }
}

/// A simulation that failed, and of which numbers.
#[derive(Debug, thiserror::Error)]
#[error("simulation with {nodes}: {source}")]
pub struct SimulationError<E: Display> {
    /// The numbers of nodes.
    pub nodes: String,
    /// Why.
    pub source: E,
}

/// `12 × a100 and 3 × l40s`.
pub fn nodes_text(kinds: &[Kind], counts: &[u32]) -> String {
    let parts =
        kinds.iter().zip(counts).filter(|(_, n)| **n > 0).map(|(kind, n)| format!("{n} × {}", kind.name));
    let text = parts.collect::<Vec<_>>().join(" and ");
    if text.is_empty() { "no nodes".into() } else { text }
}

/// True if `a` has at most as many nodes of every kind as `b`.
pub(super) fn at_most(a: &[u32], b: &[u32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b)
}
