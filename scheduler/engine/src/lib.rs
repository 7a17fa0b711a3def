//! Every scheduling decision of Berth: events in, decisions out; no I/O, no clock, no randomness.
//!
//! The engine is an incremental state machine: [`Engine::apply`] takes in what happened, [`Engine::decide`] gives out
//! what to do, [`Engine::explain`] says why a workload waits. The same events and calls give the same decisions,
//! always; time comes in with the calls, and ties break by identifier.
//!
//! Modules, in reading order:
//!
//! | module | what it holds |
//! |---|---|
//! | `cycle` | one scheduling cycle on one screen (S32) |
//! | `allocate` | the allocation loop: whose turn, which pool, all minimums or nothing (S5, S6, S10) |
//! | `fair_share`, `turns` | who is entitled to what, and whose turn it is (S7 to S9) |
//! | `reserve`, `kept`, `overlap` | room that will be free soon, kept for those it was freed for (S23) |
//! | `hold`, `backfill` | room in time for those who would wait for ever, and who may use it meanwhile (decision 0003) |
//! | `take_back` | the second pass: reclaim, preempt, consolidate, phase by phase (S10, S32) |
//! | `round` | whose turn it is in a phase of it (S8, S25) |
//! | `rest` | whom the second pass does not look at, and until when (S30) |
//! | `victims`, `legal`, `room`, `search` | who may be stopped, which sets are allowed, the best set on a node and over all nodes (S20 to S22) |
//! | `budgets` | how many pods of an application may be stopped at a time (S20) |
//! | `consolidate`, `moves`, `stale`, `starting`, `over_limit`, `warn`, `timer` | moves and their order (S26), stale gangs (S27), what does not start (S5), memory taken from others (S19), warnings (S19, S23), when to look again |
//! | `domains` | gangs that want one topology domain (S31) |
//! | `choose` | which node a pod gets (S12), from a bounded number of candidates |
//! | `profile`, `kinds`, `score`, `remember` | the shapes present, and what a placement would strand of GPU capacity (S12) |
//! | `index`, `state`, `sorted` | free nodes in order, per class and level; those with the same left on them are one state |
//! | `device` | the devices of one node (S13 to S18, S31) |
//! | `neighbours`, `topology` | pods about other pods, and domains (S11, S31) |
//! | `waiting`, `watch`, `park` | who waits, for what, and when a verdict is looked at again (S8, S9, S30) |
//! | `verdict`, `explain` | why a workload waits, from the verdicts of the allocation loop (S29) |
//! | `org`, `pool`, `workload`, `node`, `class`, `shape` | the state |
//! | `apply`, `ask`, `objects`, `pods`, `leaving` | events into state |
//! | `place` | the undo log: putting pods on nodes and taking them off again |
//!
//! Absent on purpose: I/O, clocks, randomness, async, Kubernetes types.

mod allocate;
mod apply;
mod ask;
mod backfill;
mod budgets;
mod choose;
mod class;
mod consolidate;
mod cycle;
mod device;
mod domains;
mod explain;
mod fair_share;
mod hold;
mod index;
mod ix;
mod kept;
mod kinds;
mod leaving;
mod legal;
mod matching;
mod moves;
mod neighbours;
mod node;
mod objects;
mod org;
mod over_limit;
mod overlap;
mod park;
mod place;
mod pods;
mod pool;
mod profile;
mod remember;
mod reserve;
mod rest;
mod room;
mod round;
mod score;
mod search;
mod shape;
mod sorted;
mod stale;
mod starting;
mod state;
mod take_back;
mod timer;
mod topology;
mod truce;
mod turns;
mod usage;
mod verdict;
mod victims;
mod waiting;
mod warn;
mod watch;
mod workload;

use crate::ix::{NodeIx, QueueIx, Slab, WorkloadIx};
use berth_model::{GpuMemoryMib, NodeId, Timestamp, WorkloadId};
use rustc_hash::FxHashMap;

pub use usage::{PoolUsage, QueueUsage};

/// Settings that are the same for the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Foreign memory on a device up to this much counts as reserved; above, no whole-GPU pod goes there (S17).
    pub foreign_allowance: GpuMemoryMib,
}

impl Default for Settings {
    fn default() -> Self {
        Self { foreign_allowance: GpuMemoryMib(512) }
    }
}

/// The engine: an incremental, deterministic state machine.
#[derive(Clone, Debug)]
pub struct Engine {
    settings: Settings,
    now: Timestamp,
    /// Nobody is told to end before (S3).
    evictions_from: Timestamp,
    nodes: Slab<node::Node>,
    node_ids: FxHashMap<NodeId, NodeIx>,
    node_names: FxHashMap<Box<str>, NodeIx>,
    /// Nodes by the value of their hostname label.
    hosts: FxHashMap<Box<str>, Vec<NodeIx>>,
    workloads: Slab<workload::Workload>,
    workload_ids: FxHashMap<WorkloadId, WorkloadIx>,
    pools: pool::Pools,
    org: org::Org,
    /// Stands for all unmanaged namespaces (S3).
    unmanaged: QueueIx,
    names: shape::ResourceNames,
    shapes: shape::Shapes,
    classes: class::Classes,
    index: index::Index,
    profile: profile::Profiles,
    topologies: topology::Topologies,
    neighbours: neighbours::Neighbours,
    templates: workload::Templates,
    waiting: waiting::Waiting,
    reservations: reserve::Reservations,
    shares: fair_share::Shares,
    victims: victims::Victims,
    budgets: budgets::Budgets,
    holds: hold::Holds,
    second: take_back::SecondPass,
    stale: stale::Stale,
    starting: starting::Starting,
    warnings: warn::Warnings,
    excess: over_limit::Excess,
    watches: watch::Watches,
    /// Nodes that have changed since their watchers were last looked at, as they were then.
    changed: park::Changed,
    /// Pods on nodes that use a volume, by its handle.
    mounted: FxHashMap<Box<str>, u32>,
    /// Shapes found not to fit a pool, and the pool's count of gains then.
    misfits: Vec<Vec<u64>>,
    /// Candidates of the last choice; kept for their memory.
    candidates: choose::Candidates,
    /// What the trial under way has done, in order, and how many pods it has taken off their nodes.
    trial: Vec<place::Step>,
    lifted: u32,
    /// What changes now belongs to a trial.
    trying: bool,
    /// How many cycles there have been, and whether one is under way.
    cycle: u64,
    deciding: bool,
}

impl Engine {
    /// An empty cluster. The pool `default` is set by an event like any other.
    pub fn new(settings: Settings) -> Self {
        let mut org = org::Org::default();
        let department = org.add(None, "", None);
        let unmanaged = org.add(None, "", Some(department));
        Self {
            settings,
            now: Timestamp(i64::MIN),
            evictions_from: Timestamp(i64::MIN),
            nodes: Slab::default(),
            node_ids: FxHashMap::default(),
            node_names: FxHashMap::default(),
            hosts: FxHashMap::default(),
            workloads: Slab::default(),
            workload_ids: FxHashMap::default(),
            pools: pool::Pools::default(),
            org,
            unmanaged,
            names: shape::ResourceNames::default(),
            shapes: shape::Shapes::default(),
            classes: class::Classes::default(),
            index: index::Index::default(),
            profile: profile::Profiles::default(),
            topologies: topology::Topologies::default(),
            neighbours: neighbours::Neighbours::default(),
            templates: workload::Templates::default(),
            waiting: waiting::Waiting::default(),
            reservations: reserve::Reservations::default(),
            shares: fair_share::Shares::default(),
            victims: victims::Victims::default(),
            budgets: budgets::Budgets::default(),
            holds: hold::Holds::default(),
            second: take_back::SecondPass::default(),
            stale: stale::Stale::default(),
            starting: starting::Starting::default(),
            warnings: warn::Warnings::default(),
            excess: over_limit::Excess::default(),
            watches: watch::Watches::default(),
            changed: park::Changed::default(),
            mounted: FxHashMap::default(),
            misfits: Vec::new(),
            candidates: Vec::new(),
            trial: Vec::new(),
            lifted: 0,
            trying: false,
            cycle: 0,
            deciding: false,
        }
    }
}
