//! A world: an engine, and the plain state beside it from which steps are turned into events.

use super::setup::{changed, department, pool, project, queue_id};
use super::{DEPARTMENTS, History, PROJECTS, Step};
use crate::reference::state::State;
use berth_engine::{Engine, Settings};
use berth_model::{
    Budget, Decision, DepartmentId, DepartmentSpec, DeviceIndex, Event, EventError, GpuGrant, GpuMemoryMib,
    NodeId, NodeSpec, NodeTypeRule, PodId, PodOutcome, PodState, PoolId, PoolSelector, ProjectId,
    ProjectSpec, QueueId, QueueQuota, Timestamp, WorkloadId, WorkloadSpec,
};
use serde::{Deserialize, Serialize};

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

/// An engine and the state it is in.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    submitted: Vec<WorkloadSpec>,
    nodes: u32,
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
            state: State::default(),
            now: Timestamp(0),
            submitted: Vec::new(),
            nodes: 0,
        }
    }

    /// Lets an entry happen.
    pub(crate) fn enter(&mut self, entry: &Entry) -> Outcome {
        let outcome = enter(&mut self.engine, entry);
        match (&outcome, entry) {
            (Outcome::Applied(Ok(())), Entry::Apply(event)) => self.state.apply(event),
            (Outcome::Decided(decisions), Entry::Decide(now, _)) => decisions.iter().for_each(|decision| {
                if let Decision::Place { pod, at } = decision {
                    self.state.place(*pod, *at, *now);
                }
            }),
            _ => {}
        }
        outcome
    }

    /// What sets up the pools and queues of a history.
    pub(crate) fn founding(history: &History) -> Vec<Entry> {
        let mut events: Vec<Event> = (0..history.pools).map(|at| Event::PoolSet(pool(at))).collect();
        let quotas = |queue: u32| -> Vec<(PoolId, QueueQuota)> {
            (0..history.pools).map(|p| (PoolId(p as u32), history.quotas[queue as usize * 3 + p])).collect()
        };
        events.extend((0..DEPARTMENTS).map(|d| Event::DepartmentSet(department(d, quotas(d)))));
        events.extend((0..PROJECTS).map(|p| Event::ProjectSet(project(p, quotas(DEPARTMENTS + p)))));
        events.into_iter().map(|event| Entry::Apply(Box::new(event))).collect()
    }

    /// Turns a step into an entry; none if there is nothing it could be about.
    pub(crate) fn entry(&mut self, step: &Step) -> Option<Entry> {
        match step {
            Step::Decide => self.decide(Budget::UNLIMITED),
            Step::DecideSome(steps) => self.decide(Budget { steps: *steps }),
            _ => self.event(step).map(|event| Entry::Apply(Box::new(event))),
        }
    }

    fn decide(&mut self, budget: Budget) -> Option<Entry> {
        self.now = Timestamp(self.now.0 + 1);
        Some(Entry::Decide(self.now, budget))
    }

    fn event(&mut self, step: &Step) -> Option<Event> {
        match step {
            Step::Decide | Step::DecideSome(_) => None,
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
            Step::Quota(..) | Step::Project(..) | Step::NodeType(..) | Step::Pool(..) => {
                self.rule_event(step)
            }
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
                Some(Event::NodeSet(NodeSpec { id, name: format!("n{}", id.0), ..(**spec).clone() }))
            }
            Step::NodeLike(which, spec) => {
                let NodeSpec { id, name, .. } = self.some_node(*which)?;
                Some(Event::NodeSet(NodeSpec { id, name, ..(**spec).clone() }))
            }
            Step::Relabel(which, spec) => {
                Some(Event::NodeSet(NodeSpec { labels: spec.labels.clone(), ..self.some_node(*which)? }))
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
            Step::Leaving(which) => {
                Some(Event::PodLeaving { pod: pick(&running, *which)?, until: Timestamp(self.now.0 + 30) })
            }
            Step::Confirmed(which) => {
                let pod = pick(&running, *which)?;
                let seat = self.state.pods[&pod];
                Some(Event::PodRunning(PodState::new(pod, seat.node, seat.gpus, self.now)))
            }
            Step::Found(which, node) => {
                let (pod, node) = (pick(&waiting(), *which)?, self.some_node(*node)?.id);
                let (gpus, since) = (GpuGrant::None, self.now);
                Some(Event::PodRunning(PodState::new(pod, node, gpus, since)))
            }
            _ => None,
        }
    }
}
