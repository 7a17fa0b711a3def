//! What the cluster is: plain maps by identifier, as the accepted events and the decisions leave them.
//!
//! Nothing is summed up or indexed. Whoever wants to know what is free counts the pods.

use super::devices::choose;
use super::hold::Barred;
use berth_model::{
    BudgetId, BudgetSpec, DepartmentId, DepartmentSpec, DeviceHealth, DeviceIndex, DeviceSpec, Event,
    GpuGrant, GpuMemoryMib, GpuRequest, Labels, NodeId, NodeSpec, Placement, PodId, PodOutcome, PodSpec,
    PodState, PoolId, PoolSpec, ProjectId, ProjectSpec, QueueId, QueueQuota, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The label that is the node's name unless its labels say otherwise.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// A pod on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) node: NodeId,
    pub(crate) gpus: GpuGrant,
    pub(crate) since: Timestamp,
    /// When it must be gone, if it is leaving.
    pub(crate) leaving: Option<Timestamp>,
    /// It is not known to run (S5).
    pub(crate) starting: bool,
    /// It was told to leave by a decision.
    pub(crate) evicted: bool,
    /// It leaves only when its new place is free (S26).
    pub(crate) pending: bool,
}

impl Seat {
    /// A pod that stays where it is.
    pub(crate) const fn new(at: Placement, since: Timestamp) -> Self {
        Self {
            node: at.node,
            gpus: at.gpus,
            since,
            starting: true,
            leaving: None,
            evicted: false,
            pending: false,
        }
    }
}

/// Room that is kept for a pod (S23).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    pub(crate) at: Placement,
    pub(crate) until: Timestamp,
}

/// The cluster.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct State {
    /// When the last cycle was.
    pub(crate) now: Timestamp,
    /// Nobody is told to end before (S3).
    pub(crate) evictions_from: Timestamp,
    pub(crate) pools: BTreeMap<PoolId, PoolSpec>,
    pub(crate) departments: BTreeMap<DepartmentId, DepartmentSpec>,
    pub(crate) projects: BTreeMap<ProjectId, ProjectSpec>,
    pub(crate) nodes: BTreeMap<NodeId, NodeSpec>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadSpec>,
    /// Pods that have a node.
    pub(crate) pods: BTreeMap<PodId, Seat>,
    /// Pods that have ended and are not wanted again.
    pub(crate) ended: BTreeMap<PodId, PodOutcome>,
    /// Room that is kept.
    pub(crate) kept: BTreeMap<PodId, Kept>,
    /// Of the pods, those that are only imagined to be there, because room is kept for them.
    pub(crate) guests: BTreeSet<PodId>,
    /// Where pods are imagined to be besides.
    pub(crate) doubles: Vec<(PodId, Seat)>,
    /// S25: when a workload (first) was last evicted for another (second).
    pub(crate) evictions: BTreeMap<(WorkloadId, WorkloadId), Timestamp>,
    /// S27: since when workloads have been below their minimum.
    pub(crate) stale: BTreeMap<WorkloadId, Timestamp>,
    /// The same as found written down, until the next cycle.
    pub(crate) stale_written: BTreeMap<WorkloadId, Timestamp>,
    /// S19: GPU memory of pods as measured.
    pub(crate) measured: BTreeMap<(PodId, DeviceIndex), GpuMemoryMib>,
    /// S20: disruption budgets, the evictions that their numbers do not contain, and whether those were seen.
    pub(crate) budgets: BTreeMap<BudgetId, BudgetSpec>,
    pub(crate) disrupted: BTreeMap<(BudgetId, PodId), bool>,
    /// Decision 0003: what the one whose turn it is must leave alone, and whether it may go beside what is held there.
    pub(crate) barred: Barred,
    pub(crate) beside: bool,
    /// What the pods of each role are, made anew when workloads or queues are set.
    shapes: BTreeMap<(WorkloadId, usize), Arc<Shape>>,
    /// There was a choice with too many ways to try them all: what has been decided since need not be right.
    pub(crate) crowded: Cell<bool>,
    /// The node labels that some pod ever asked about, the hostname apart: they divide the nodes into classes.
    pub(crate) keys: BTreeSet<String>,
}

/// What a pod is: what it asks for, its node type included, and how other pods see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) spec: PodSpec,
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
}

impl Shape {
    /// True if the pod has rules about other pods.
    pub(crate) fn about_pods(&self) -> bool {
        let s = &self.spec;
        !(s.pod_affinity.is_empty() && s.pod_anti_affinity.is_empty() && s.topology_spread.is_empty())
    }

    /// True if the two count as one shape: they ask for the same, and if it is about other pods, look the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
            && (!self.about_pods() || self.namespace == other.namespace && self.labels == other.labels)
    }
}

impl State {
    /// Takes in an event that is known to be valid.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::PoolSet(pool) => drop(self.pools.insert(pool.id, pool.clone())),
            Event::PoolRemoved(id) => drop(self.pools.remove(id)),
            Event::DepartmentSet(d) => drop(self.departments.insert(d.id, d.clone())),
            Event::DepartmentRemoved(id) => drop(self.departments.remove(id)),
            Event::ProjectSet(p) => drop(self.projects.insert(p.id, p.clone())),
            Event::ProjectRemoved(id) => drop(self.projects.remove(id)),
            Event::QuotaSet { queue, pool, quota } => self.set_quota(*queue, *pool, *quota),
            Event::NodeSet(node) => self.set_node(node),
            Event::NodeRemoved(id) => {
                self.nodes.remove(id);
                self.pods.retain(|_, seat| seat.node != *id);
            }
            Event::NodeCondition { node, ready, unschedulable } => {
                let node = self.nodes.get_mut(node).expect("a node");
                (node.ready, node.unschedulable) = (*ready, *unschedulable);
            }
            Event::DeviceHealth { node, device, health } => {
                self.nodes.get_mut(node).expect("a node").devices[device.index()].health = *health;
            }
            Event::DeviceForeign { node, device, memory } => {
                self.nodes.get_mut(node).expect("a node").devices[device.index()].foreign = *memory;
            }
            Event::PodMemory { pod, device, memory } => drop(self.measured.insert((*pod, *device), *memory)),
            Event::BudgetSet(budget) => self.set_budget(budget),
            Event::BudgetRemoved(id) => self.remove_budget(*id),
            Event::EvictionsFrom { at } => self.evictions_from = *at,
            Event::WorkloadSet(workload) => self.set_workload(workload),
            Event::WorkloadRemoved(id) => self.remove_workload(*id),
            _ => self.pod_event(event),
        }
        if matches!(event, Event::WorkloadSet(_) | Event::DepartmentSet(_) | Event::ProjectSet(_)) {
            self.note_shapes();
        }
        self.forget_recovered();
        self.forget_kept();
    }

    fn pod_event(&mut self, event: &Event) {
        match event {
            Event::PodRunning(found) => self.found(found),
            Event::PodLeaving { pod, until } => {
                let seat = self.pods.get_mut(pod).expect("a pod on a node");
                seat.leaving = Some(*until);
                if std::mem::take(&mut seat.pending) {
                    self.kept.remove(pod);
                }
                self.disrupted.iter_mut().filter(|((_, of), _)| of == pod).for_each(|(_, seen)| *seen = true);
            }
            Event::PodEnded { pod, outcome } => {
                self.unseat(*pod);
                if *outcome != PodOutcome::Evicted {
                    self.ended.insert(*pod, *outcome);
                }
            }
            Event::PodWanted { pod } => drop(self.ended.remove(pod)),
            Event::PodReserved { pod, at, until } => {
                if self.pods.get(pod).is_some_and(|seat| seat.leaving.is_none()) {
                    self.await_place(*pod);
                }
                self.kept.insert(*pod, Kept { at: *at, until: *until });
            }
            Event::EvictFailed { pod } => {
                let seat = self.pods.get_mut(pod).expect("a pod on a node");
                (seat.leaving, seat.evicted) = (None, false);
                self.disrupted.retain(|(_, of), _| of != pod);
            }
            Event::BindFailed { pod, .. } => self.unseat(*pod),
            _ => {}
        }
    }

    /// Puts a pod on its node.
    pub(crate) fn place(&mut self, pod: PodId, at: Placement, now: Timestamp) {
        self.pods.insert(pod, Seat::new(at, now));
    }

    /// Takes pods off their nodes, to see what would be.
    pub(crate) fn lift<'a>(&mut self, pods: impl Iterator<Item = &'a PodId>) {
        for pod in pods {
            self.pods.remove(pod);
        }
    }

    fn unseat(&mut self, pod: PodId) {
        self.pods.remove(&pod);
        self.measured.retain(|(of, _), _| *of != pod);
    }

    /// Nobody has room kept who is on a node to stay, has ended or is not wanted.
    fn forget_kept(&mut self) {
        let kept: Vec<PodId> = self.kept.keys().copied().filter(|pod| self.will_wait(*pod)).collect();
        self.kept.retain(|pod, _| kept.contains(pod));
    }

    /// True for a pod that is asked for, and waits or will when it has left.
    fn will_wait(&self, pod: PodId) -> bool {
        let role = self.workloads.get(&pod.workload).and_then(|w| w.roles.get(usize::from(pod.role)));
        let stays = self.pods.get(&pod).is_some_and(|seat| seat.leaving.is_none());
        role.is_some_and(|role| pod.index < role.count) && !self.ended.contains_key(&pod) && !stays
    }

    fn remove_workload(&mut self, id: WorkloadId) {
        self.workloads.remove(&id);
        self.pods.retain(|pod, _| pod.workload != id);
        self.ended.retain(|pod, _| pod.workload != id);
        self.measured.retain(|(pod, _), _| pod.workload != id);
        self.evictions.retain(|(victim, _), _| *victim != id);
        self.stale.remove(&id);
        self.shapes.retain(|(workload, _), _| *workload != id);
    }

    fn set_quota(&mut self, queue: QueueId, pool: PoolId, quota: QueueQuota) {
        let quotas = match queue {
            QueueId::Department(id) => &mut self.departments.get_mut(&id).expect("a department").quotas,
            QueueId::Project(id) => &mut self.projects.get_mut(&id).expect("a project").quotas,
        };
        quotas.retain(|(of, _)| *of != pool);
        quotas.push((pool, quota));
    }

    /// Devices that are no longer listed are lost, not forgotten.
    fn set_node(&mut self, node: &NodeSpec) {
        let mut node = node.clone();
        if let Some(old) = self.nodes.get(&node.id) {
            for device in old.devices.iter().skip(node.devices.len()) {
                node.devices.push(DeviceSpec { health: DeviceHealth::Lost, ..device.clone() });
            }
        }
        self.nodes.insert(node.id, node);
    }

    /// Pods that are no longer asked for are forgotten.
    fn set_workload(&mut self, workload: &WorkloadSpec) {
        let kept = |pod: &PodId| {
            let count = workload.roles.get(usize::from(pod.role)).map_or(0, |role| role.count);
            pod.workload != workload.id || pod.index < count
        };
        self.ended.retain(|pod, _| kept(pod));
        for eviction in &workload.evictions {
            self.evictions.entry((workload.id, eviction.beneficiary)).or_insert(eviction.at);
        }
        if let Some(since) = workload.stale_since {
            self.stale_written.insert(workload.id, since);
        }
        self.workloads.insert(workload.id, workload.clone());
    }

    fn found(&mut self, found: &PodState) {
        if let Some(seat) = self.pods.get_mut(&found.pod) {
            (seat.since, seat.starting) = (found.since, found.starting);
            let begins = found.leaving.is_some() && seat.pending;
            if seat.leaving.is_none() || begins {
                seat.evicted = found.evicted;
            }
            seat.leaving = found.leaving.or(seat.leaving);
            seat.pending &= !begins;
            if begins && !found.evicted {
                self.kept.remove(&found.pod);
            }
            return;
        }
        let request = self.shape(found.pod).spec.gpu;
        let gpus = if found.gpus == GpuGrant::None && request != GpuRequest::None {
            let devices = self.devices_among(found.node, &self.seats_now());
            choose(&devices, request, Default::default()).expect("an event that was accepted")
        } else {
            found.gpus
        };
        let seat = Seat::new(Placement { node: found.node, gpus }, found.since);
        let (starting, leaving, evicted) = (found.starting, found.leaving, found.evicted);
        self.pods.insert(found.pod, Seat { starting, leaving, evicted, ..seat });
    }

    /// S11: the node type rule that holds for a workload: its project's, else its department's.
    pub(crate) fn node_type_rule(&self, workload: &WorkloadSpec) -> Option<&berth_model::NodeTypeRule> {
        let project = self.projects.get(&workload.project?)?;
        let department = self.departments.get(&project.department)?;
        project.node_types.as_ref().or(department.node_types.as_ref())
    }

    /// The namespace of a workload's pods.
    pub(crate) fn namespace(&self, workload: &WorkloadSpec) -> String {
        match workload.project {
            Some(project) => self.projects[&project].name.clone(),
            None => workload.namespace.clone(),
        }
    }

    /// What the pods of a role are.
    fn make_shape(&self, workload: &WorkloadSpec, role: usize) -> Shape {
        let mut spec = PodSpec::clone(&workload.roles[role].pod);
        if let (Some(value), Some(rule)) = (&workload.node_type, self.node_type_rule(workload)) {
            spec.node_selector.insert(rule.key.clone(), value.clone());
        }
        Shape {
            spec,
            namespace: self.namespace(workload),
            labels: Labels::clone(&workload.roles[role].labels),
        }
    }

    /// What the pods of a role are.
    pub(crate) fn shape_of(&self, workload: &WorkloadSpec, role: usize) -> Arc<Shape> {
        Arc::clone(&self.shapes[&(workload.id, role)])
    }

    /// What a pod is.
    pub(crate) fn shape(&self, pod: PodId) -> Arc<Shape> {
        Arc::clone(&self.shapes[&(pod.workload, usize::from(pod.role))])
    }

    /// The pods of a role that should run and have no node, lowest index first.
    pub(crate) fn waiting(&self, workload: &WorkloadSpec, role: usize) -> Vec<PodId> {
        let pods = (0..workload.roles[role].count).map(|index| PodId {
            workload: workload.id,
            role: role as u16,
            index,
        });
        pods.filter(|pod| !self.pods.contains_key(pod) && !self.ended.contains_key(pod))
            .filter(|pod| !self.kept.contains_key(pod))
            .collect()
    }

    /// S1: the pool of a node: the first by name that selects it, else `default`.
    pub(crate) fn pool_of(&self, node: &NodeSpec) -> Option<PoolId> {
        let pools = self.pools_by_name();
        let selects = |pool: &&&PoolSpec| {
            let selector = pool.selector.as_ref();
            selector.is_some_and(|s| node.labels.get(&s.key) == Some(&s.value))
        };
        let default = || pools.iter().find(|pool| pool.name == PoolSpec::DEFAULT_NAME);
        pools.iter().find(selects).or_else(default).map(|pool| pool.id)
    }

    /// All pools by name.
    pub(crate) fn pools_by_name(&self) -> Vec<&PoolSpec> {
        let mut pools: Vec<&PoolSpec> = self.pools.values().collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    /// The nodes of a pool that are ready.
    pub(crate) fn ready_nodes(&self, pool: PoolId) -> Vec<&NodeSpec> {
        self.nodes.values().filter(|n| n.ready && self.pool_of(n) == Some(pool)).collect()
    }

    /// Notes what the pods of all workloads are, and the node labels that they ask about.
    fn note_shapes(&mut self) {
        let all = self.workloads.values().flat_map(|w| (0..w.roles.len()).map(move |role| (w, role)));
        self.shapes = all.map(|(w, role)| ((w.id, role), Arc::new(self.make_shape(w, role)))).collect();
        for pod in self.shapes.values().map(|shape| &shape.spec) {
            let affinity = pod.node_affinity.iter().flat_map(|s| &s.node_selector_terms);
            let volumes = pod.volumes.iter().filter_map(|v| v.reachable_from.as_ref());
            let terms = affinity
                .chain(pod.preferred_nodes.iter().map(|p| &p.preference))
                .chain(volumes.flat_map(|s| &s.node_selector_terms));
            self.keys.extend(terms.flat_map(|t| &t.match_expressions).map(|r| r.key.clone()));
            self.keys.extend(pod.node_selector.keys().cloned());
        }
        self.keys.remove(HOSTNAME);
    }

    /// A workload as it is asked for, without what differs between identical ones.
    pub(crate) fn likeness(&self, workload: &WorkloadSpec) -> WorkloadSpec {
        WorkloadSpec {
            id: WorkloadId(0),
            name: String::new(),
            submitted: Default::default(),
            grace: Default::default(),
            expected_runtime: None,
            start_timeout: None,
            stale_grace: None,
            stale_since: None,
            evictions: Vec::new(),
            namespace: self.namespace(workload),
            ..workload.clone()
        }
    }
}
