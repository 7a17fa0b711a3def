//! What a log says of the past: the cluster as it was at some time, and the world to lead on from there.
//!
//! The log is read twice. First for its objects, as they are at that time, and for how long workloads ran and took to
//! end, also later; then event by event into a world, with the engine deciding as it did. A workload that has not ended
//! in the log runs for the time it declares, else for ever.

use super::Line;
use super::reader::Reader;
use super::replay::ReplayError;
use crate::case::{Arrival, Case, Cluster, Life, Load, Until};
use crate::world::{FollowError, Options, World};
use berth_engine::Settings;
use berth_model::{
    Decision, DeviceIndex, Event, Millis, PodId, PodOutcome, QueueId, QueueQuota, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Ids may leave out so many others for each line of a log.
const GAPS_MAX: u64 = 64;

/// A log until some time.
pub(crate) struct Past {
    path: PathBuf,
    settings: Settings,
    at: Timestamp,
    /// The objects as they are at that time.
    pub(crate) case: Case,
}

impl Past {
    /// Reads the objects of a log, as they are at `at`; without it, at its end.
    pub(crate) fn read(path: &Path, at: Option<Timestamp>) -> Result<Self, ReplayError> {
        let mut log = Reader::open(path)?;
        let mut scan = Scan { at: at.unwrap_or(Timestamp(i64::MAX)), ..Scan::default() };
        while let Some((number, line)) = log.next()? {
            scan.lines = number;
            scan.take(line);
        }
        let last = scan.now.ok_or_else(|| log.error("has no cycle until the time asked for".into()))?;
        let case = scan.case(log.name()).map_err(|problem| log.error(problem))?;
        Ok(Self { path: path.to_owned(), settings: log.settings(), at: at.unwrap_or(last), case })
    }

    /// The world at that time.
    pub(crate) fn world(&self) -> Result<World<'_>, ReplayError> {
        let mut log = Reader::open(&self.path)?;
        let options = Options { settings: self.settings, ..Options::default() };
        let mut world = World::to_follow(&self.case, options);
        let Load::Listed(arrivals) = &self.case.load else { return Ok(world) };
        let arrival = |workload: WorkloadId| arrivals.get(workload.index()).cloned();
        // What a cycle decided is confirmed at once; what else comes before the next cycle happens when that comes.
        let mut unconfirmed: BTreeSet<PodId> = BTreeSet::new();
        let mut held: Vec<(u64, Event)> = Vec::new();
        let mut is_over = false;
        while let Some((number, line)) = log.next()? {
            let followed = match line {
                Line::Event(event) if confirms(&event, &mut unconfirmed) => world.follow(*event, arrival),
                Line::Event(event) => {
                    held.push((number, *event));
                    continue;
                }
                Line::Decide { now, .. } if now > self.at => {
                    is_over = true;
                    break;
                }
                Line::Decide { now, budget, decisions } => {
                    world.follow_time(now);
                    for (number, event) in held.drain(..) {
                        world.follow(event, arrival).map_err(|e| error(&log, number, e))?;
                    }
                    unconfirmed = decisions.iter().filter_map(decided_about).collect();
                    world.follow_cycle(now, budget, &decisions)
                }
            };
            followed.map_err(|e| error(&log, number, e))?;
        }
        for (number, event) in held.drain(..).filter(|_| !is_over) {
            world.follow(event, arrival).map_err(|e| error(&log, number, e))?;
        }
        world.follow_time(self.at);
        Ok(world)
    }
}

fn error(log: &Reader, line: u64, error: FollowError) -> ReplayError {
    let problem = match error {
        FollowError::Refused(error) => return ReplayError::Refused { line, error },
        FollowError::Different => {
            "the engine decides something else now; allowed: a log that `replay` repeats"
        }
        FollowError::Unknown(object) => return log.error(format!("line {line}: {object} is not there")),
    };
    log.error(format!("line {line}: {problem}"))
}

fn decided_about(decision: &Decision) -> Option<PodId> {
    match decision {
        Decision::Place { pod, .. } | Decision::Evict { pod, .. } => Some(*pod),
        _ => None,
    }
}

/// The event confirms a decision of the cycle before it.
fn confirms(event: &Event, unconfirmed: &mut BTreeSet<PodId>) -> bool {
    match event {
        Event::PodRunning(state) => unconfirmed.remove(&state.pod),
        Event::PodLeaving { pod, .. } => unconfirmed.remove(pod),
        _ => false,
    }
}

/// What has been read.
#[derive(Default)]
struct Scan {
    at: Timestamp,
    lines: u64,
    now: Option<Timestamp>,
    /// Events since the last cycle: they are as late as the next.
    held: Vec<Event>,
    cluster: Cluster,
    specs: BTreeMap<WorkloadId, WorkloadSpec>,
    since: BTreeMap<PodId, Timestamp>,
    ran: BTreeMap<WorkloadId, Millis>,
    /// When pods were told to end.
    told: BTreeMap<PodId, Timestamp>,
    /// How long pods took to end then.
    exits: BTreeMap<WorkloadId, Millis>,
}

impl Scan {
    fn take(&mut self, line: Line) {
        match line {
            Line::Event(event) => self.held.push(*event),
            Line::Decide { now, .. } => {
                let changes = now <= self.at;
                if changes {
                    self.now = Some(now);
                }
                for event in std::mem::take(&mut self.held) {
                    self.event(event, now, changes);
                }
            }
        }
    }

    fn event(&mut self, event: Event, now: Timestamp, changes: bool) {
        match event {
            Event::WorkloadSet(spec) => drop(self.specs.insert(spec.id, spec)),
            Event::PodRunning(state) => drop(self.since.insert(state.pod, state.since)),
            Event::PodLeaving { pod, until } => {
                let grace = self.specs.get(&pod.workload).map_or(Millis::ZERO, sent_grace);
                self.told.insert(pod, Timestamp(until.0 - grace.0));
            }
            Event::PodEnded { pod, outcome: PodOutcome::Succeeded } => self.ended(pod, now),
            Event::PodEnded { pod, .. } => {
                if let Some(told) = self.told.remove(&pod) {
                    self.exits.insert(pod.workload, now.since(told));
                }
            }
            Event::WorkloadRemoved(workload) => {
                let first = PodId { workload, role: 0, index: 0 };
                let after = PodId { workload: WorkloadId(workload.0 + 1), ..first };
                let last = self.since.range(first..after).max_by_key(|(_, since)| **since);
                if let Some((pod, _)) = last.map(|(pod, since)| (*pod, *since)) {
                    self.ended(pod, now);
                }
            }
            other if changes => self.cluster_changes(other),
            _ => {}
        }
    }

    fn ended(&mut self, pod: PodId, now: Timestamp) {
        if let Some(since) = self.since.get(&pod) {
            self.ran.insert(pod.workload, now.since(*since));
        }
    }

    fn cluster_changes(&mut self, event: Event) {
        let Cluster { pools, departments, projects, nodes, .. } = &mut self.cluster;
        match event {
            Event::PoolSet(spec) => put(pools, spec.id.index(), spec, |spec| spec.id.index()),
            Event::DepartmentSet(spec) => put(departments, spec.id.index(), spec, |spec| spec.id.index()),
            Event::ProjectSet(spec) => put(projects, spec.id.index(), spec, |spec| spec.id.index()),
            Event::NodeSet(spec) => put(nodes, spec.id.index(), spec, |spec| spec.id.index()),
            Event::QuotaSet { queue, pool, quota } => self.cluster.set_quota(queue, pool, quota),
            Event::NodeRemoved(id) => {
                nodes.iter_mut().filter(|node| node.id == id).for_each(|node| node.ready = false);
            }
            Event::NodeCondition { node: id, ready, unschedulable } => {
                for node in nodes.iter_mut().filter(|node| node.id == id) {
                    (node.ready, node.unschedulable) = (ready, unschedulable);
                }
            }
            Event::DeviceHealth { node: id, device: DeviceIndex(device), health } => {
                let node = nodes.iter_mut().find(|node| node.id == id);
                if let Some(device) = node.and_then(|node| node.devices.get_mut(usize::from(device))) {
                    device.health = health;
                }
            }
            _ => {}
        }
    }

    /// The objects as a case; else what is wrong with their ids.
    fn case(mut self, name: &str) -> Result<Case, String> {
        for event in std::mem::take(&mut self.held) {
            let (now, is_end) = (self.now.unwrap_or_default(), self.at == Timestamp(i64::MAX));
            self.event(event, now, is_end);
        }
        let Cluster { pools, departments, projects, nodes, .. } = &self.cluster;
        dense("pool", pools.iter().map(|spec| spec.id.index()))?;
        dense("department", departments.iter().map(|spec| spec.id.index()))?;
        dense("project", projects.iter().map(|spec| spec.id.index()))?;
        dense("node", nodes.iter().map(|spec| spec.id.index()))?;
        let ids = self.specs.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        let most = GAPS_MAX * (self.lines + 1);
        if ids > most {
            return Err(format!("workload {} has a large id; allowed: less than {most}", ids - 1));
        }
        let arrivals = (0..ids).map(|id| self.arrival(WorkloadId(id))).collect();
        Ok(Case {
            name: name.to_owned(),
            cluster: self.cluster,
            load: Load::Listed(arrivals),
            happenings: Vec::new(),
            until: Until::Settled,
            expect: Vec::new(),
        })
    }

    fn arrival(&self, id: WorkloadId) -> Arrival {
        let nothing = || WorkloadSpec::new(id, None, Timestamp(0), Vec::new());
        let spec = self.specs.get(&id).cloned().unwrap_or_else(nothing);
        let runtime = self.ran.get(&id).copied().or(spec.expected_runtime);
        let life = Life { runtime, exits_after: self.exits.get(&id).copied(), impatient: false };
        Arrival { spec, life, found: Vec::new() }
    }
}

/// The grace that a workload's pods get: none is sent as a second (S23).
fn sent_grace(spec: &WorkloadSpec) -> Millis {
    spec.grace.max(Millis(1000))
}

/// Puts a new object at the end, and a changed one in the place of the old.
fn put<T>(list: &mut Vec<T>, id: usize, object: T, id_of: impl Fn(&T) -> usize) {
    match list.get_mut(id).filter(|other| id_of(other) == id) {
        Some(other) => *other = object,
        None => list.push(object),
    }
}

/// Ids must be those of a simulation: 0 and on, in the order in which the objects came.
fn dense(kind: &str, ids: impl Iterator<Item = usize>) -> Result<(), String> {
    for (expected, id) in ids.enumerate() {
        if id != expected {
            return Err(format!("{kind} has the id {id}; allowed: {expected}, the next"));
        }
    }
    Ok(())
}

impl Cluster {
    /// A queue has this quota in a pool from now on.
    pub(crate) fn set_quota(&mut self, queue: QueueId, pool: berth_model::PoolId, quota: QueueQuota) {
        let quotas = match queue {
            QueueId::Department(id) => self.departments.get_mut(id.index()).map(|d| &mut d.quotas),
            QueueId::Project(id) => self.projects.get_mut(id.index()).map(|p| &mut p.quotas),
        };
        let Some(quotas) = quotas else { return };
        match quotas.iter_mut().find(|(known, _)| *known == pool) {
            Some((_, known)) => *known = quota,
            None => quotas.push((pool, quota)),
        }
    }
}
