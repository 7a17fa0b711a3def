//! What is told back: the status of NodePools, Departments and Projects (S1, S2, S7), and whether a Project may go.
//!
//! Level-triggered like the rest: what should be said is made anew each time and compared with what the object says, so that
//! a write that was lost is made good by the next look. A look costs one pass over nodes, one over workloads, and one over
//! queues times pools; whoever calls decides how often.
//!
//! A Project has a finalizer from the first look on. One that is being deleted keeps it while workloads or volumes are left in
//! its namespace, and says how many; it stays in force until then.
//!
//! The namespace of a Project in force is made if it is not there, and asked for again at every look until it is seen; so is
//! one that somebody has deleted meanwhile. It stays when its Project goes (`namespaces`).
//!
//! Absent: the refusal of the deletion itself, which only admission can say (`deploy/scheduler/admission.yaml`).

mod amounts;
mod condition;

use super::Mirror;
use super::groups::{Slot, Told};
use super::namespaces::State;
use super::pods::Entry;
use crate::action::Action;
use crate::change::Name;
use amounts::{pools_of, total};
use berth_api::names::written::PROJECT_FINALIZER;
use berth_api::objects::status::{
    DELETION_BLOCKED, Left, NAMESPACE_READY, OVERCOMMITTED, OVERLAPS, PoolUsage, READY, WorkloadCounts,
};
use berth_api::objects::{Department, NodePool, NodePoolStatus, PoolQuota, Project, QueueStatus};
use berth_model::{Amounts, GpuShare, PoolId, PoolSpec, ProjectId, QueueId, QueueQuota, Quota, Timestamp};
use condition::Conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// What is used of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolFigures {
    /// Healthy devices of nodes that are ready and not cordoned.
    pub capacity: GpuShare,
    /// What pods hold.
    pub allocated: GpuShare,
}

/// What a queue uses in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueFigures {
    /// By all its pods.
    pub allocated: Amounts,
    /// By its non-preemptible pods.
    pub non_preemptible: Amounts,
    /// Its fair share (S7).
    pub fair_share: Amounts,
}

/// What only the engine knows.
pub trait Figures {
    /// Of a pool; none if it does not know it.
    fn pool(&mut self, pool: PoolId) -> Option<PoolFigures>;
    /// Of a queue in a pool; none if it does not know one of them.
    fn queue(&mut self, queue: QueueId, pool: PoolId) -> Option<QueueFigures>;
}

/// An object with the status that it should have.
#[derive(Clone, PartialEq, Debug)]
pub enum Status {
    /// A node pool.
    NodePool(Box<NodePool>),
    /// A department.
    Department(Box<Department>),
    /// A project.
    Project(Box<Project>),
}

/// What nodes say of the pools that select them.
#[derive(Clone, Debug, Default)]
struct OfNodes {
    nodes: i32,
    ready: i32,
    /// A node that another pool selects too, and that pool.
    shared: Option<(String, String)>,
}

impl Mirror {
    /// What is to be written on NodePools, Departments and Projects so that they say what is so.
    pub fn statuses(&mut self, figures: &mut dyn Figures, now: Timestamp) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        self.pool_statuses(figures, &mut actions);
        let counts = self.counts();
        self.department_statuses(figures, &counts, &mut actions);
        self.project_statuses(figures, &counts, &mut actions);
        actions
    }

    /// True if a pool, a department or a project has been asked for otherwise since this was last asked.
    pub fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn pool_statuses(&self, figures: &mut dyn Figures, actions: &mut Vec<Action>) {
        let of_nodes = self.pools_of_nodes();
        for (name, pool) in self.organisation.pools.iter() {
            let id = self.organisation.pool(&name.name);
            let (known, used) = (id.and_then(|id| of_nodes.get(&id)), id.and_then(|id| figures.pool(id)));
            let known = known.cloned().unwrap_or_default();
            let old = pool.status.clone().unwrap_or_default();
            let mut conditions = Conditions::new(&old.conditions, &pool.metadata, self.now);
            conditions.ready(self.organisation.problems.get(&format!("NodePool {}", name.name)), "");
            let overlap = known.shared.as_ref().map(|(node, other)| {
                format!("node {node} is selected by {other} too; it belongs to the first by name (S1)")
            });
            conditions.set(OVERLAPS, overlap, "NodeSelectedTwice");
            let quotas =
                self.organisation.told_departments.values().filter_map(|it| quota_in(&it.quotas, id?));
            let promised: i64 = quotas.filter_map(of).sum();
            let over = used.filter(|used| promised > used.capacity.0).map(|used| {
                let promised = GpuShare(promised);
                format!("quotas of departments are {promised} GPUs, its nodes have {} (S7)", used.capacity)
            });
            conditions.set(OVERCOMMITTED, over, "QuotasExceedCapacity");
            let status = NodePoolStatus {
                observed_generation: pool.metadata.generation,
                conditions: conditions.done(),
                nodes: Some(known.nodes),
                nodes_ready: Some(known.ready),
                gpus: used.map(|used| used.capacity.to_string()),
                gpus_allocated: used.map(|used| used.allocated.to_string()),
            };
            if pool.status.as_ref() != Some(&status) {
                let pool = NodePool { status: Some(status), ..pool.clone() };
                actions.push(Action::Status(Status::NodePool(Box::new(pool))));
            }
        }
    }

    fn department_statuses(&self, figures: &mut dyn Figures, counts: &Counts, actions: &mut Vec<Action>) {
        for (name, department) in self.organisation.departments.iter() {
            let told = self.organisation.told_departments.values().find(|it| *it.name == *name.name);
            let old = department.status.clone().unwrap_or_default();
            let mut conditions = Conditions::new(&old.conditions, &department.metadata, self.now);
            let problem = self.organisation.problems.get(&format!("Department {}", name.name));
            conditions.ready(problem, &self.missing_pools(&department.spec.pools));
            conditions.set(OVERCOMMITTED, told.and_then(|it| self.overcommitted(it.id)), "QuotasExceedOwn");
            let mut pools = Vec::new();
            let mut workloads = WorkloadCounts::default();
            if let Some(told) = told {
                pools = pools_of(QueueId::Department(told.id), &told.quotas, &self.organisation, figures);
                let own = self.organisation.told_projects.values().filter(|it| it.department == told.id);
                for counted in own.filter_map(|it| counts.by_project.get(&it.id)) {
                    workloads.running += counted.running;
                    workloads.pending += counted.pending;
                }
            }
            let status = queue_status(&department.metadata, conditions, None, workloads, &pools);
            if department.status.as_ref() != Some(&status) {
                let department = Department { status: Some(status), ..department.clone() };
                actions.push(Action::Status(Status::Department(Box::new(department))));
            }
        }
    }

    fn project_statuses(&self, figures: &mut dyn Figures, counts: &Counts, actions: &mut Vec<Action>) {
        for (name, project) in self.organisation.projects.iter() {
            let namespace = project.owned_namespace();
            let told = self.organisation.project_of(namespace).filter(|(_, of)| *of == project);
            let told = told.and_then(|(id, _)| self.organisation.told_projects.get(&id));
            let old = project.status.clone().unwrap_or_default();
            let mut conditions = Conditions::new(&old.conditions, &project.metadata, self.now);
            let problem = self.organisation.problems.get(&format!("Project {}", name.name));
            let missing = self.missing_pools(&project.spec.pools);
            conditions.ready(problem, &missing);
            let deleting = project.metadata.deletion_timestamp.is_some();
            actions.extend(self.make_namespace(name, project));
            let (so, reason, text) = self.about_namespace(name, project);
            conditions.put(NAMESPACE_READY, so, reason, &text);
            let left = self.left_in(namespace, counts);
            let blocked = deleting.then(|| said(left, namespace)).flatten();
            if let Some(action) = finalizer(project, blocked.is_some()) {
                // Both are written over the same version: the status follows with the next look.
                actions.push(action);
                continue;
            }
            conditions.set(DELETION_BLOCKED, blocked, "NotEmpty");
            let pools = told.map_or_else(Vec::new, |told| {
                pools_of(QueueId::Project(told.id), &told.quotas, &self.organisation, figures)
            });
            let workloads = told.and_then(|told| counts.by_project.get(&told.id)).cloned();
            let workloads = workloads.unwrap_or_default();
            let owned = Some((namespace.to_owned(), left));
            let status = queue_status(&project.metadata, conditions, owned, workloads, &pools);
            if project.status.as_ref() != Some(&status) {
                let project = Project { status: Some(status), ..project.clone() };
                actions.push(Action::Status(Status::Project(Box::new(project))));
            }
        }
    }

    /// The namespace of a project in force is to be there.
    fn make_namespace(&self, name: &Name, project: &Project) -> Option<Action> {
        let namespace = project.owned_namespace();
        let in_force = !self.organisation.problems.contains_key(&format!("Project {}", name.name));
        let missing = self.organisation.owners.state(namespace) == State::Missing;
        let wanted = in_force && missing && project.metadata.deletion_timestamp.is_none();
        wanted.then(|| Action::Namespace { name: namespace.into(), project: name.name.clone() })
    }

    /// How it is with the namespace of a project: whether it is as it should be, in a word, and in a sentence.
    fn about_namespace(&self, name: &Name, project: &Project) -> (bool, &'static str, String) {
        let (owners, namespace) = (&self.organisation.owners, project.owned_namespace());
        if let Some(problem) = owners.problem(&name.name, project) {
            return (false, "NotOwned", problem);
        }
        match (owners.state(namespace), owners.why_not(namespace)) {
            (State::There, _) => (true, "Owned", String::new()),
            (State::Leaving, _) => (
                false,
                "Terminating",
                format!("namespace {namespace} is being deleted; it is made anew then"),
            ),
            (State::Missing, _) if project.metadata.deletion_timestamp.is_some() => {
                (false, "Gone", format!("namespace {namespace} is gone"))
            }
            (State::Missing, Some(why)) => {
                (false, "NotMade", format!("namespace {namespace} could not be made: {why}"))
            }
            (State::Missing, None) => (false, "BeingMade", format!("namespace {namespace} is not there yet")),
        }
    }

    /// What is left in a namespace.
    fn left_in(&self, namespace: &str, counts: &Counts) -> Left {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        Left {
            workloads: count(counts.by_namespace.get(namespace).copied().unwrap_or(0)),
            volume_claims: count(self.around.claims.in_namespace(namespace).count()),
        }
    }

    /// Pools that are named and do not exist, in words.
    fn missing_pools(&self, pools: &[PoolQuota]) -> String {
        let missing: Vec<&str> = pools
            .iter()
            .filter(|quota| self.organisation.pool(&quota.name).is_none())
            .map(|quota| quota.name.as_str())
            .collect();
        match missing[..] {
            [] => String::new(),
            _ => format!("spec.pools: {} does not exist, what is said of it waits", missing.join(", ")),
        }
    }

    /// Where the quotas of a department's projects exceed its own.
    fn overcommitted(&self, department: berth_model::DepartmentId) -> Option<String> {
        let told = self.organisation.told_departments.get(&department)?;
        let projects = || self.organisation.told_projects.values().filter(|it| it.department == department);
        self.organisation.told_pools.values().find_map(|pool| {
            let promised: i64 = projects().filter_map(|it| of(quota_in(&it.quotas, pool.id)?)).sum();
            let default = QueueQuota::default();
            let own = of(quota_in(&told.quotas, pool.id).unwrap_or(&default))?;
            (promised > own).then(|| {
                let (promised, own) = (GpuShare(promised), GpuShare(own));
                format!(
                    "pool {}: quotas of its projects are {promised} GPUs, its own is {own} (S7)",
                    pool.name
                )
            })
        })
    }

    /// Which nodes belong to which pool (S1).
    fn pools_of_nodes(&self) -> BTreeMap<PoolId, OfNodes> {
        let mut pools: Vec<&PoolSpec> = self.organisation.told_pools.values().collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        let mut all: BTreeMap<PoolId, OfNodes> = BTreeMap::new();
        for node in self.nodes.told() {
            let Some(id) = self.organisation.pool_of(&node.labels) else { continue };
            let selecting: Vec<&&PoolSpec> = pools.iter().filter(|pool| pool.selects(&node.labels)).collect();
            let of = all.entry(id).or_default();
            of.nodes += 1;
            of.ready += i32::from(node.ready && !node.unschedulable);
            for pool in &selecting {
                let other = selecting.iter().find(|it| it.id != pool.id);
                let shared = other.map(|other| (node.name.clone(), other.name.clone()));
                let of = all.entry(pool.id).or_default();
                of.shared = of.shared.take().or(shared);
            }
        }
        all
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, group) in self.groups.iter() {
            if self.pods.of(group).all(Entry::has_ended) {
                continue;
            }
            *counts.by_namespace.entry(group.key.key.namespace.clone()).or_default() += 1;
            let (Some(project), Some(told)) = (group.key.project, &group.told) else { continue };
            let placed = |slot: &&Slot| slot.told.node().is_some();
            let whole = group
                .roles
                .iter()
                .zip(&told.roles)
                .all(|(role, spec)| role.slots.iter().filter(placed).count() >= spec.min as usize);
            let waits = group.slots().any(|slot| slot.told == Told::Waiting);
            let of = counts.by_project.entry(project).or_default();
            of.running += i32::from(whole);
            of.pending += i32::from(!whole && waits);
        }
        counts
    }
}

/// Workloads that have not ended.
#[derive(Default)]
struct Counts {
    by_project: BTreeMap<ProjectId, WorkloadCounts>,
    by_namespace: BTreeMap<String, usize>,
}

fn quota_in(quotas: &[(PoolId, QueueQuota)], pool: PoolId) -> Option<&QueueQuota> {
    quotas.iter().find(|(id, _)| *id == pool).map(|(_, quota)| quota)
}

fn of(quota: &QueueQuota) -> Option<i64> {
    match quota.gpu.quota {
        Quota::Of(amount) => Some(amount),
        Quota::Unlimited | Quota::Unmanaged => None,
    }
}

/// What is left, in words; none if nothing is.
fn said(left: Left, namespace: &str) -> Option<String> {
    let Left { workloads, volume_claims } = left;
    (left != Left::default()).then(|| {
        format!("workloads: {workloads}, volume claims: {volume_claims} are left in namespace {namespace}")
    })
}

fn queue_status(
    meta: &ObjectMeta,
    conditions: Conditions<'_>,
    owned: Option<(String, Left)>,
    workloads: WorkloadCounts,
    pools: &[(PoolUsage, amounts::Sums)],
) -> QueueStatus {
    let (namespace, left) = owned.unzip();
    QueueStatus {
        observed_generation: meta.generation,
        conditions: conditions.done(),
        namespace,
        left,
        workloads: Some(workloads),
        total: Some(total(pools)),
        pools: pools.iter().map(|(usage, _)| usage.clone()).collect(),
    }
}

/// The finalizer of a project is set while it is wanted, and taken off once nothing is left.
fn finalizer(project: &Project, blocked: bool) -> Option<Action> {
    let meta = &project.metadata;
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let there = finalizers.iter().any(|it| it == PROJECT_FINALIZER);
    match (meta.deletion_timestamp.is_some(), there) {
        (false, false) => finalizers.push(PROJECT_FINALIZER.to_owned()),
        (true, true) if !blocked => finalizers.retain(|it| it != PROJECT_FINALIZER),
        _ => return None,
    }
    Some(Action::Finalizers {
        project: Name::of(meta),
        version: meta.resource_version.clone().unwrap_or_default(),
        finalizers,
    })
}
