//! Random clusters and what happens to them.
//!
//! A [`History`] holds steps that name objects by position ("the third running pod"), so that it stays meaningful
//! when it shrinks; [`world::World`] turns them into events as it goes.

mod follow;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod restart;
mod setup;
pub(crate) mod world;

use berth_model::{
    DeviceHealth, DeviceStrategy, Millis, NodeSpec, PodOutcome, QueueQuota, Strategy as Preference,
    WorkloadSpec,
};
use proptest::prelude::*;
use proptest::sample::select;

/// How many projects there are; they belong to [`DEPARTMENTS`] departments.
pub(crate) const PROJECTS: u32 = 3;
/// How many departments there are.
pub(crate) const DEPARTMENTS: u32 = 2;

/// One thing that happens. Numbers choose an object among those there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Decide,
    /// With a budget of this many attempts.
    DecideSome(u64),
    Submit(Box<WorkloadSpec>),
    /// One more like an earlier one.
    Again(usize),
    /// More pods, another priority or minimum, preemptible or not, gates gone.
    Change(usize, u32),
    Remove(usize),
    NodeNew(Box<NodeSpec>),
    /// The node becomes like this one.
    NodeLike(usize, Box<NodeSpec>),
    /// The node gets the labels of this one.
    Relabel(usize, Box<NodeSpec>),
    NodeGone(usize),
    Condition(usize, bool, bool),
    Health(usize, usize, DeviceHealth),
    Foreign(usize, usize, i64),
    Ended(usize, PodOutcome),
    /// A pod ends that was never placed.
    Withdrawn(usize, PodOutcome),
    BindFailed(usize),
    /// A pod is told to leave, and has this long.
    Leaving(usize, Millis),
    /// Time passes.
    Later(Millis),
    /// An eviction is carried out: its pod has been told to leave.
    Told(usize),
    /// An eviction that was not yet carried out fails.
    EvictFailed(usize),
    /// A leaving pod is gone.
    Gone(usize),
    Confirmed(usize),
    /// A waiting pod is found on a node.
    Found(usize, usize),
    Quota(usize, usize, QueueQuota),
    /// A project gets another rank or department.
    Project(usize, i32, usize),
    /// A department gets another rank.
    Department(usize, i32),
    /// The node type rule of a department or project comes or goes.
    NodeType(usize, bool),
    Pool(usize, Preference, DeviceStrategy, bool),
    /// A pool takes back on other terms.
    Terms(usize, Terms),
    /// A disruption budget comes, counts anew, or goes.
    Budget(usize, Option<u32>),
}

/// On which terms a pool's workloads are stopped (S20, S26, S27).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) min_runtime: Millis,
    pub(crate) stale_grace: Millis,
    /// At most so many are moved; none = none is.
    pub(crate) moves: Option<u32>,
}

/// A cluster at the start, and what happens then.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) pools: usize,
    pub(crate) quotas: Vec<QueueQuota>,
    /// Of the departments, then of the projects.
    pub(crate) ranks: Vec<i32>,
    pub(crate) terms: Terms,
    pub(crate) steps: Vec<Step>,
}

impl std::fmt::Debug for History {
    /// One step a line; defaults are left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} pools, ranks {:?}, {:?}", self.pools, self.ranks, self.terms)?;
        for quota in &self.quotas {
            writeln!(f, "  {}", json(quota))?;
        }
        for step in &self.steps {
            match step {
                Step::Submit(spec) => writeln!(f, "  Submit {}", json(spec))?,
                Step::NodeNew(spec) => writeln!(f, "  NodeNew {}", json(spec))?,
                Step::NodeLike(at, spec) => writeln!(f, "  NodeLike {at} {}", json(spec))?,
                Step::Relabel(at, spec) => writeln!(f, "  Relabel {at} {:?}", spec.labels)?,
                Step::Quota(queue, pool, quota) => writeln!(f, "  Quota {queue} {pool} {}", json(quota))?,
                other => writeln!(f, "  {other:?}")?,
            }
        }
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Random histories of at most this many steps, in which everything can happen.
pub(crate) fn history(steps: usize) -> BoxedStrategy<History> {
    let nodes = prop::collection::vec(objects::node().prop_map(|n| Step::NodeNew(Box::new(n))), 2..=9);
    let first = prop::collection::vec(submit(), 1..=5);
    told((1..=3usize, quotas(objects::quota())), nodes, first, prop::collection::vec(step(), 1..=steps))
        .boxed()
}

/// Random histories of a few small nodes that many want, with quotas, priorities and time.
pub(crate) fn contest(steps: usize) -> BoxedStrategy<History> {
    let node = objects::small_node().prop_map(|n| Step::NodeNew(Box::new(n)));
    let contender = || objects::contender(PROJECTS).prop_map(|w| Step::Submit(Box::new(w)));
    let which = any::<usize>;
    let step = prop_oneof![
        8 => Just(Step::Decide),
        6 => contender(),
        3 => which().prop_map(Step::Again),
        3 => span().prop_map(Step::Later),
        9 => eviction(),
        2 => pods(),
        1 => nodes(),
        2 => rules(),
    ];
    let pools = prop_oneof![3 => Just(1usize), 1 => Just(2)];
    told(
        (pools, quotas(objects::small_quota())),
        prop::collection::vec(node, 1..=3),
        prop::collection::vec(contender(), 2..=6),
        prop::collection::vec(step, steps / 2..=steps),
    )
    .boxed()
}

fn quotas(quota: impl Strategy<Value = QueueQuota> + 'static) -> BoxedStrategy<Vec<QueueQuota>> {
    prop::collection::vec(quota, ((PROJECTS + DEPARTMENTS) * 3) as usize).boxed()
}

fn told(
    organisation: impl Strategy<Value = (usize, Vec<QueueQuota>)> + 'static,
    nodes: impl Strategy<Value = Vec<Step>> + 'static,
    first: impl Strategy<Value = Vec<Step>> + 'static,
    rest: impl Strategy<Value = Vec<Step>> + 'static,
) -> BoxedStrategy<History> {
    let ranks = prop::collection::vec(rank(), (PROJECTS + DEPARTMENTS) as usize);
    (organisation, ranks, terms(), nodes, first, rest)
        .prop_map(|((pools, quotas), ranks, terms, nodes, first, rest)| {
            let mut steps = nodes;
            steps.extend(first);
            steps.extend(rest);
            steps.push(Step::Decide);
            History { pools, quotas, ranks, terms, steps }
        })
        .boxed()
}

fn rank() -> BoxedStrategy<i32> {
    select(vec![50, 100, 100, 100, 150]).boxed()
}

fn span() -> BoxedStrategy<Millis> {
    select(vec![1, 999, 1000, 29_999, 30_000, 60_000]).prop_map(Millis).boxed()
}

fn terms() -> BoxedStrategy<Terms> {
    let stale = select(vec![-1, 0, 1000, 60_000]);
    let moves = select(vec![None, Some(1), Some(2), Some(16)]);
    (select(vec![0, 0, 1000, 60_000]), stale, moves)
        .prop_map(|(min_runtime, stale_grace, moves)| Terms {
            min_runtime: Millis(min_runtime),
            stale_grace: Millis(stale_grace),
            moves,
        })
        .boxed()
}

fn submit() -> BoxedStrategy<Step> {
    objects::workload(PROJECTS).prop_map(|w| Step::Submit(Box::new(w))).boxed()
}

fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        5 => Just(Step::Decide),
        1 => (0..=3u64).prop_map(Step::DecideSome),
        4 => submit(),
        3 => any::<usize>().prop_map(Step::Again),
        1 => span().prop_map(Step::Later),
        2 => eviction(),
        6 => pods(),
        5 => nodes(),
        4 => rules(),
    ]
    .boxed()
}

/// What becomes of those that were told to leave.
fn eviction() -> BoxedStrategy<Step> {
    let which = any::<usize>;
    prop_oneof![
        3 => which().prop_map(Step::Told),
        1 => which().prop_map(Step::EvictFailed),
        6 => which().prop_map(Step::Gone),
    ]
    .boxed()
}

/// What happens to pods and workloads.
fn pods() -> BoxedStrategy<Step> {
    let which = any::<usize>;
    let outcomes = [PodOutcome::Succeeded, PodOutcome::Failed, PodOutcome::Evicted, PodOutcome::Deleted];
    let outcome = || select(outcomes.to_vec());
    prop_oneof![
        6 => (which(), outcome()).prop_map(|(pod, outcome)| Step::Ended(pod, outcome)),
        1 => (which(), outcome()).prop_map(|(pod, outcome)| Step::Withdrawn(pod, outcome)),
        1 => which().prop_map(Step::BindFailed),
        2 => (which(), span()).prop_map(|(pod, span)| Step::Leaving(pod, span)),
        1 => which().prop_map(Step::Confirmed),
        2 => (which(), which()).prop_map(|(pod, node)| Step::Found(pod, node)),
        3 => (which(), any::<u32>()).prop_map(|(workload, how)| Step::Change(workload, how)),
        3 => which().prop_map(Step::Remove),
    ]
    .boxed()
}

/// What happens to nodes.
fn nodes() -> BoxedStrategy<Step> {
    let which = any::<usize>;
    let node = || objects::node().prop_map(Box::new);
    let health = select(vec![DeviceHealth::Healthy, DeviceHealth::Unhealthy, DeviceHealth::Silent]);
    prop_oneof![
        2 => node().prop_map(Step::NodeNew),
        1 => (which(), node()).prop_map(|(at, node)| Step::NodeLike(at, node)),
        2 => (which(), node()).prop_map(|(at, node)| Step::Relabel(at, node)),
        1 => which().prop_map(Step::NodeGone),
        2 => (which(), any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(at, r, c)| Step::Condition(at, r, c)),
        2 => (which(), which(), health).prop_map(|(at, device, health)| Step::Health(at, device, health)),
        2 => (which(), which(), select(vec![0, 300, 600, 900])).prop_map(|(at, d, m)| Step::Foreign(at, d, m)),
    ].boxed()
}

/// What happens to queues and pools.
fn rules() -> BoxedStrategy<Step> {
    let which = any::<usize>;
    let preference = select(vec![Preference::Binpack, Preference::Binpack, Preference::Spread]);
    let device = select(vec![DeviceStrategy::Binpack, DeviceStrategy::Spread]);
    prop_oneof![
        4 => (which(), which(), objects::quota()).prop_map(|(queue, pool, quota)| Step::Quota(queue, pool, quota)),
        1 => (which(), rank(), which()).prop_map(|(p, rank, d)| Step::Project(p, rank, d)),
        1 => (which(), rank()).prop_map(|(d, rank)| Step::Department(d, rank)),
        1 => (which(), terms()).prop_map(|(pool, terms)| Step::Terms(pool, terms)),
        2 => (which(), prop::option::weighted(0.8, 0..=3u32)).prop_map(|(b, allowed)| Step::Budget(b, allowed)),
        1 => (which(), any::<bool>()).prop_map(|(queue, rule)| Step::NodeType(queue, rule)),
        1 => (which(), preference, device, any::<bool>()).prop_map(|(p, g, d, z)| Step::Pool(p, g, d, z)),
    ].boxed()
}
