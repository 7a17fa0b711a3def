//! A world: an engine, and the plain state beside it from which steps are turned into events.

use super::follow::tell;
use super::setup::{budget, changed, department, pool, project, queue_id, set_terms};
use super::{DEPARTMENTS, History, PROJECTS, Step};
use crate::reference::Reference;
use crate::reference::devices::choose;
use crate::reference::state::{HOSTNAME, Seat, State};
use berth_engine::{Engine, Settings};
use berth_model::{
    Budget, Decision, DepartmentId, DepartmentSpec, DeviceIndex, Event, EventError, GpuMemoryMib, NodeId,
    NodeSpec, NodeTypeRule, PodId, PodOutcome, PodState, PoolId, PoolSelector, ProjectId, ProjectSpec,
    QueueId, QueueQuota, Timestamp, WorkloadId, WorkloadSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One line of the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    Apply(Box<Event>),
    Decide(Timestamp, Budget),
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    Applied(Result<(), EventError>),
    Decided(Vec<Decision>),
}

/// An engine and the state it is in; or a reference, with an engine that only judges which events are possible.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) reference: Option<Reference>,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    submitted: Vec<WorkloadSpec>,
    nodes: u32,
    /// Victims who have been told to leave.
    told: BTreeSet<PodId>,
}

/// An object by position, round and round.
fn pick<T: Clone>(all: &[T], which: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[which % all.len()].clone())
}

/// The engine's answer to an entry.
pub(crate) fn enter(engine: &mut Engine, entry: &Entry) -> Outcome {
    match entry.clone() {
        Entry::Apply(event) => Outcome::Applied(engine.apply(*event)),
        Entry::Decide(now, budget) => Outcome::Decided(engine.decide(now, budget)),
    }
}

impl World {
    /// An empty world.
    pub(crate) fn new() -> Self {
        Self {
            engine: Engine::new(Settings::default()),
            reference: None,
            state: State::default(),
            now: Timestamp(0),
            submitted: Vec::new(),
            nodes: 0,
            told: BTreeSet::new(),
        }
    }

    /// An empty world in which a reference decides.
    pub(crate) fn of(reference: Reference) -> Self {
        Self { reference: Some(reference), ..Self::new() }
    }

    /// Lets an entry happen.
    pub(crate) fn enter(&mut self, entry: &Entry) -> Outcome {
        let outcome = match (entry, &mut self.reference) {
            (Entry::Decide(now, _), Some(reference)) => {
                let decisions = reference.decide(*now).done;
                let state = &reference.state;
                decisions.iter().for_each(|decision| tell(&mut self.engine, decision, state, *now));
                Outcome::Decided(decisions)
            }
            _ => enter(&mut self.engine, entry),
        };
        if let (Outcome::Applied(Ok(())), Entry::Apply(event)) = (&outcome, entry) {
            self.note(event);
        }
        if let (Outcome::Decided(decisions), Entry::Decide(now, _)) = (&outcome, entry) {
            self.state.carry_out(decisions, *now);
        }
        if let Some(reference) = &self.reference {
            self.state = reference.state.clone();
        }
        outcome
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::PodLeaving { pod, .. } => drop(self.told.insert(*pod)),
            Event::PodEnded { pod, .. } | Event::BindFailed { pod, .. } => drop(self.told.remove(pod)),
            _ => {}
        }
        self.state.apply(event);
        if let Some(reference) = &mut self.reference {
            reference.apply(event);
        }
        let state = &self.state;
        self.told.retain(|pod| state.pods.contains_key(pod));
    }

    /// What sets up the pools and queues of a history.
    pub(crate) fn founding(history: &History) -> Vec<Entry> {
        let mut events: Vec<Event> =
            (0..history.pools).map(|at| Event::PoolSet(pool(at, history.terms))).collect();
        let rank = |queue: u32| history.ranks[queue as usize];
        let quotas = |queue: u32| -> Vec<(PoolId, QueueQuota)> {
            (0..history.pools).map(|p| (PoolId(p as u32), history.quotas[queue as usize * 3 + p])).collect()
        };
        events.extend((0..DEPARTMENTS).map(|d| Event::DepartmentSet(department(d, rank(d), quotas(d)))));
        events.extend(
            (0..PROJECTS)
                .map(|p| Event::ProjectSet(project(p, rank(DEPARTMENTS + p), quotas(DEPARTMENTS + p)))),
        );
        events.into_iter().map(|event| Entry::Apply(Box::new(event))).collect()
    }

    /// Turns a step into an entry; none if there is nothing it could be about.
    pub(crate) fn entry(&mut self, step: &Step) -> Option<Entry> {
        match step {
            Step::Decide => self.decide(Budget::UNLIMITED),
            Step::DecideSome(steps) => self.decide(Budget { steps: *steps }),
            Step::Later(span) => {
                self.now = self.now.plus(*span);
                None
            }
            _ => self.event(step).map(|event| Entry::Apply(Box::new(event))),
        }
    }

    fn decide(&mut self, budget: Budget) -> Option<Entry> {
        self.now = Timestamp(self.now.0 + 1);
        Some(Entry::Decide(self.now, budget))
    }

    fn event(&mut self, step: &Step) -> Option<Event> {
        match step {
            Step::Decide | Step::DecideSome(_) | Step::Later(_) => None,
            Step::Submit(spec) => self.submit(spec),
            Step::Again(which) => {
                let spec = pick(&self.submitted, *which)?;
                self.submit(&spec)
            }
            Step::Change(which, how) => {
                let all: Vec<_> = self.state.workloads.values().cloned().collect();
                Some(Event::WorkloadSet(changed(pick(&all, *which)?, *how)))
            }
            Step::Remove(which) => {
                let all: Vec<_> = self.state.workloads.keys().copied().collect();
                Some(Event::WorkloadRemoved(pick(&all, *which)?))
            }
            Step::NodeNew(_) | Step::NodeLike(..) | Step::Relabel(..) | Step::NodeGone(_) => {
                self.node_event(step)
            }
            Step::Condition(which, ready, unschedulable) => {
                let node = self.some_node(*which)?.id;
                Some(Event::NodeCondition { node, ready: *ready, unschedulable: *unschedulable })
            }
            Step::Health(which, device, health) => {
                let (node, device) = self.some_device(*which, *device)?;
                Some(Event::DeviceHealth { node, device, health: *health })
            }
            Step::Foreign(which, device, memory) => {
                let (node, device) = self.some_device(*which, *device)?;
                Some(Event::DeviceForeign { node, device, memory: GpuMemoryMib(*memory) })
            }
            Step::Quota(..)
            | Step::Project(..)
            | Step::Department(..)
            | Step::NodeType(..)
            | Step::Pool(..)
            | Step::Budget(..)
            | Step::Terms(..) => self.rule_event(step),
            Step::Told(_) | Step::EvictFailed(_) | Step::Gone(_) => self.eviction_event(step),
            _ => self.pod_event(step),
        }
    }

    fn submit(&mut self, spec: &WorkloadSpec) -> Option<Event> {
        let id = WorkloadId(self.submitted.len() as u64);
        let mut spec = WorkloadSpec { id, name: format!("w{}", id.0), ..spec.clone() };
        spec.pools.retain(|pool| self.state.pools.contains_key(pool));
        self.submitted.push(spec.clone());
        Some(Event::WorkloadSet(spec))
    }

    fn some_node(&self, which: usize) -> Option<NodeSpec> {
        pick(&self.state.nodes.values().cloned().collect::<Vec<_>>(), which)
    }

    fn some_device(&self, node: usize, device: usize) -> Option<(NodeId, DeviceIndex)> {
        let node = self.some_node(node)?;
        let devices: Vec<_> = (0..node.devices.len() as u8).map(DeviceIndex).collect();
        Some((node.id, pick(&devices, device)?))
    }

    fn node_event(&mut self, step: &Step) -> Option<Event> {
        match step {
            Step::NodeNew(spec) => {
                let id = NodeId(self.nodes);
                self.nodes += 1;
                Some(Event::NodeSet(named(id, format!("n{}", id.0), spec)))
            }
            Step::NodeLike(which, spec) => {
                let NodeSpec { id, name, .. } = self.some_node(*which)?;
                Some(Event::NodeSet(named(id, name, spec)))
            }
            Step::Relabel(which, spec) => {
                let node = self.some_node(*which)?;
                let labels = named(node.id, node.name.clone(), spec).labels;
                Some(Event::NodeSet(NodeSpec { labels, ..node }))
            }
            Step::NodeGone(which) => Some(Event::NodeRemoved(self.some_node(*which)?.id)),
            _ => None,
        }
    }

    fn rule_event(&self, step: &Step) -> Option<Event> {
        match step {
            Step::Quota(queue, pool, quota) => {
                let pools: Vec<_> = self.state.pools.keys().copied().collect();
                Some(Event::QuotaSet { queue: queue_id(*queue), pool: pick(&pools, *pool)?, quota: *quota })
            }
            Step::Project(which, rank, department) => {
                let mut spec = self.state.projects[&ProjectId((*which % PROJECTS as usize) as u32)].clone();
                spec.rank = *rank;
                spec.department = DepartmentId((*department % DEPARTMENTS as usize) as u32);
                Some(Event::ProjectSet(spec))
            }
            Step::Department(which, rank) => {
                let id = DepartmentId((*which % DEPARTMENTS as usize) as u32);
                let spec = self.state.departments[&id].clone();
                Some(Event::DepartmentSet(DepartmentSpec { rank: *rank, ..spec }))
            }
            Step::Budget(which, allowed) => {
                let spec = budget(*which, allowed.unwrap_or(0));
                match allowed {
                    Some(_) => Some(Event::BudgetSet(spec)),
                    None => {
                        self.state.budgets.contains_key(&spec.id).then_some(Event::BudgetRemoved(spec.id))
                    }
                }
            }
            Step::Terms(which, terms) => {
                let mut spec = pick(&self.state.pools.values().cloned().collect::<Vec<_>>(), *which)?;
                set_terms(&mut spec, *terms);
                Some(Event::PoolSet(spec))
            }
            Step::NodeType(which, there) => {
                let values = vec!["5".to_owned(), "6".to_owned()];
                let rule = there.then(|| NodeTypeRule { key: "gen".to_owned(), values });
                match queue_id(*which) {
                    QueueId::Department(id) => {
                        let spec = self.state.departments[&id].clone();
                        Some(Event::DepartmentSet(DepartmentSpec { node_types: rule, ..spec }))
                    }
                    QueueId::Project(id) => {
                        let spec = self.state.projects[&id].clone();
                        Some(Event::ProjectSet(ProjectSpec { node_types: rule, ..spec }))
                    }
                }
            }
            Step::Pool(which, gpu, device, zone) => {
                let mut spec = pick(&self.state.pools.values().cloned().collect::<Vec<_>>(), *which)?;
                (spec.gpu, spec.cpu, spec.device) = (*gpu, *gpu, *device);
                if let (true, Some(selector)) = (*zone, &mut spec.selector) {
                    *selector = PoolSelector { key: "zone".to_owned(), value: "b".to_owned() };
                }
                Some(Event::PoolSet(spec))
            }
            _ => None,
        }
    }

    /// What becomes of those who were stopped, or told to leave.
    fn eviction_event(&self, step: &Step) -> Option<Event> {
        let leaving = || self.state.pods.iter().filter(|(_, seat)| seat.leaving.is_some() && !seat.pending);
        let untold = || -> Vec<(PodId, Seat)> {
            let untold = leaving().filter(|(pod, seat)| seat.evicted && !self.told.contains(pod));
            untold.map(|(pod, seat)| (*pod, *seat)).collect()
        };
        match step {
            Step::Told(which) => {
                let (pod, seat) = pick(&untold(), *which)?;
                Some(Event::PodLeaving { pod, until: seat.leaving? })
            }
            Step::EvictFailed(which) => Some(Event::EvictFailed { pod: pick(&untold(), *which)?.0 }),
            Step::Gone(which) => {
                let all: Vec<(PodId, bool)> = leaving().map(|(pod, seat)| (*pod, seat.evicted)).collect();
                let (pod, evicted) = pick(&all, *which)?;
                let outcome = if evicted { PodOutcome::Evicted } else { PodOutcome::Deleted };
                Some(Event::PodEnded { pod, outcome })
            }
            _ => None,
        }
    }

    fn pod_event(&self, step: &Step) -> Option<Event> {
        let running: Vec<PodId> = self.state.pods.keys().copied().collect();
        let waiting = || -> Vec<PodId> {
            let all = self.state.workloads.values();
            all.flat_map(|w| (0..w.roles.len()).flat_map(|role| self.state.waiting(w, role))).collect()
        };
        match step {
            Step::Ended(which, outcome) => {
                Some(Event::PodEnded { pod: pick(&running, *which)?, outcome: *outcome })
            }
            Step::Withdrawn(which, outcome) => {
                let gone = *outcome != PodOutcome::Evicted;
                let pod = pick(&waiting(), *which).filter(|_| gone)?;
                Some(Event::PodEnded { pod, outcome: *outcome })
            }
            Step::BindFailed(which) => {
                let pod = pick(&running, *which)?;
                Some(Event::BindFailed { pod, node: self.state.pods[&pod].node })
            }
            Step::Leaving(which, span) => {
                Some(Event::PodLeaving { pod: pick(&running, *which)?, until: self.now.plus(*span) })
            }
            Step::Confirmed(which) => {
                let pod = pick(&running, *which)?;
                let seat = self.state.pods[&pod];
                Some(Event::PodRunning(PodState::new(pod, seat.node, seat.gpus, self.now)))
            }
            Step::Found(which, node) => {
                let (pod, node) = (pick(&waiting(), *which)?, self.some_node(*node)?.id);
                let request = self.state.shape(pod).spec.gpu;
                let devices = self.state.devices_among(node, &self.state.seats_now());
                let gpus = choose(&devices, request, Default::default()).unwrap_or_default();
                Some(Event::PodRunning(PodState::new(pod, node, gpus, self.now)))
            }
            _ => None,
        }
    }
}

/// A node with an identifier and a name, which is its host name unless it says another, or that it has none.
fn named(id: NodeId, name: String, spec: &NodeSpec) -> NodeSpec {
    let mut labels = spec.labels.clone();
    if labels.get(HOSTNAME).is_some_and(String::is_empty) {
        labels.remove(HOSTNAME);
    } else {
        labels.entry(HOSTNAME.to_owned()).or_insert_with(|| name.clone());
    }
    NodeSpec { id, name, labels, ..spec.clone() }
}
