//! Workloads, their roles, and the pods that run or have ended at the start.

use super::cluster::text_map;
use super::names::{Names, unique};
use super::organisation::{Organisation, pool_list};
use super::pod;
use crate::case::{Arrival, Found, FoundState, Life};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{
    GpuGrant, Labels, Millis, NodeId, NodeSpec, PodId, PodOutcome, PodSpec, PoolSpec, Priority, ProjectId,
    RoleSpec, Timestamp, TopologyRequest, WorkloadId, WorkloadSpec,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

const FIELDS: &[&str] = &[
    "name",
    "project",
    "priority",
    "preemptible",
    "submitted",
    "runtime",
    "expectedRuntime",
    "startTimeout",
    "exitsAfter",
    "grace",
    "staleFor",
    "staleGrace",
    "pools",
    "nodeType",
    "topology",
    "roles",
];
/// The fields of a workload that is submitted to a cluster that is there.
pub(super) const SUBMIT_FIELDS: &[&str] = &[
    "name",
    "project",
    "priority",
    "preemptible",
    "runtime",
    "expectedRuntime",
    "startTimeout",
    "exitsAfter",
    "grace",
    "staleGrace",
    "pools",
    "nodeType",
    "topology",
    "roles",
];
const ROLE_FIELDS: &[&str] = &[
    "name",
    "count",
    "min",
    "labels",
    "running",
    "ended",
    "gpus",
    "gpuFraction",
    "gpuFractionLimit",
    "gpuMemory",
    "gpuMemoryLimit",
    "gpuDevices",
    "cpu",
    "memory",
    "ephemeral",
    "resources",
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpread",
    "hostPorts",
    "schedulingGates",
    "volumes",
];
const PODS_MAX: u32 = 1_000_000;
const ROLES_MAX: usize = 65_536;
const GRACE_MAX: Millis = Millis::from_secs(300);
const GRACE_DEFAULT: Millis = Millis::from_secs(30);
const PRIORITY_DEFAULT: Priority = Priority(40);
/// Where pods without a project live.
pub(super) const NAMESPACE: &str = "default";

/// What the names in a workload stand for.
pub(super) struct Context<'a> {
    pools: Names,
    nodes: Names,
    projects: Names,
    organisation: &'a Organisation,
    /// Equal pods share one specification.
    pods: FxHashSet<Arc<PodSpec>>,
}

impl<'a> Context<'a> {
    /// The names of these objects.
    pub(super) fn new(pools: &[PoolSpec], nodes: &[NodeSpec], organisation: &'a Organisation) -> Self {
        Self {
            pools: Names::new(pools.iter().map(|p| p.name.as_str())),
            nodes: Names::new(nodes.iter().map(|n| n.name.as_str())),
            projects: Names::new(organisation.projects.iter().map(|p| p.name.as_str())),
            organisation,
            pods: FxHashSet::default(),
        }
    }
}

/// The workloads in the order of the file; the devices of running pods are not yet assigned.
pub(super) fn read(
    top: &Fields<'_>,
    pools: &[PoolSpec],
    nodes: &[NodeSpec],
    organisation: &Organisation,
) -> Result<Vec<Arrival>, InputError> {
    let mut context = Context::new(pools, nodes, organisation);
    let mut arrivals = Vec::new();
    let mut seen = FxHashMap::default();
    for at in top.items("workloads")? {
        let fields = at.fields(FIELDS)?;
        let name = fields.need("name")?;
        let name = unique(&mut seen, "workload", name.name()?, name)?;
        arrivals.push(workload(&fields, WorkloadId(arrivals.len() as u64), name, &mut context)?);
    }
    Ok(arrivals)
}

/// One workload; fields that are not known here are left alone.
pub(super) fn workload(
    fields: &Fields<'_>,
    id: WorkloadId,
    name: String,
    context: &mut Context<'_>,
) -> Result<Arrival, InputError> {
    let project = fields.map("project", |at| context.projects.find("project", at))?;
    let priority = fields.or("priority", PRIORITY_DEFAULT, priority)?;
    let submitted = Timestamp(fields.or("submitted", Millis::ZERO, At::duration)?.0);
    let mut found = Vec::new();
    let roles = roles(fields, id, submitted, context, &mut found)?;
    let node_type = match fields.get("nodeType") {
        Some(at) => Some(at.text()?.to_owned()),
        None => project.and_then(|project| chosen_node_type(project, &roles, context.organisation)),
    };
    let spec = WorkloadSpec {
        id,
        name,
        project: project.map(|project| ProjectId(project as u32)),
        namespace: if project.is_some() { String::new() } else { NAMESPACE.to_owned() },
        priority,
        preemptible: fields.or("preemptible", priority.preemptible(), At::boolean)?,
        submitted,
        grace: fields.or("grace", GRACE_DEFAULT, |at| match at.span()? {
            grace if grace <= GRACE_MAX => Ok(grace),
            _ => Err(at.fail("0s to 5m")),
        })?,
        pools: pool_list(fields, &context.pools)?,
        node_type,
        topology: fields.map("topology", topology)?,
        expected_runtime: fields.map("expectedRuntime", At::span)?,
        start_timeout: fields.map("startTimeout", At::span)?,
        stale_grace: fields.map("staleGrace", At::duration)?,
        stale_since: fields.map("staleFor", |at| Ok(Timestamp(-at.span()?.0)))?,
        evictions: Vec::new(),
        roles,
    };
    let life = Life {
        runtime: fields.map("runtime", At::span)?,
        exits_after: fields.map("exitsAfter", At::span)?,
        impatient: false,
    };
    Ok(Arrival { spec, life, found })
}

fn priority(at: &At<'_>) -> Result<Priority, InputError> {
    let named = Priority::named(at.text()?);
    let names = Priority::NAMED.map(|(name, _)| name).join(", ");
    named
        .or_else(|| at.integer(-2_000_000_000, 2_000_001_000).ok().map(Priority))
        .ok_or_else(|| at.fail(format_args!("{names}, or a whole number from -2000000000 to 2000001000")))
}

fn topology(at: &At<'_>) -> Result<TopologyRequest, InputError> {
    let fields = at.fields(&["key", "required"])?;
    Ok(TopologyRequest {
        key: fields.need("key")?.name()?.to_owned(),
        required: fields.or("required", true, At::boolean)?,
    })
}

/// The node type that a workload's node selectors choose, where a rule asks for one (S11).
fn chosen_node_type(project: usize, roles: &[RoleSpec], organisation: &Organisation) -> Option<String> {
    let project = &organisation.projects[project];
    let department = &organisation.departments[project.department.index()];
    let rule = project.node_types.as_ref().or(department.node_types.as_ref())?;
    roles.iter().find_map(|role| role.pod.node_selector.get(&rule.key).cloned())
}

fn roles(
    fields: &Fields<'_>,
    workload: WorkloadId,
    submitted: Timestamp,
    context: &mut Context<'_>,
    found: &mut Vec<Found>,
) -> Result<Vec<RoleSpec>, InputError> {
    let list = fields.need("roles")?.list()?;
    if list.is_empty() || list.len() > ROLES_MAX {
        return Err(fields.need("roles")?.fail(format_args!("a list of 1 to {ROLES_MAX} roles")));
    }
    let mut seen = FxHashMap::default();
    let mut roles = Vec::new();
    for at in list {
        let fields = at.fields(ROLE_FIELDS)?;
        let count = fields.or("count", 1, |at| at.integer(1, PODS_MAX))?;
        let labels = fields.or("labels", Labels::new(), text_map)?;
        let pod = Arc::new(pod::read(&fields, &labels)?);
        let pod = context.pods.get(&pod).cloned().unwrap_or_else(|| {
            context.pods.insert(Arc::clone(&pod));
            pod
        });
        let first = PodId { workload, role: roles.len() as u16, index: 0 };
        found_pods(&fields, first, count, submitted, context, found)?;
        let name = match fields.get("name") {
            Some(at) => unique(&mut seen, "role", at.name()?, at)?,
            None => unique(&mut seen, "role", &format!("role-{}", roles.len()), &fields.at)?,
        };
        let min = fields.or("min", count, |at| at.integer(0, count))?;
        roles.push(RoleSpec { name, count, min, labels: Arc::new(labels), pod });
    }
    Ok(roles)
}

/// The pods of a role that run or have ended at the start: the first ones of it, in the order of the file.
fn found_pods(
    fields: &Fields<'_>,
    first: PodId,
    count: u32,
    submitted: Timestamp,
    context: &Context<'_>,
    found: &mut Vec<Found>,
) -> Result<(), InputError> {
    let mut pod = first;
    for at in fields.items("running")? {
        let fields = at.fields(&["node", "devices", "since", "leaving"])?;
        let node = fields.need("node")?;
        let since = fields.or("since", submitted, |at| Ok(Timestamp(-at.duration()?.0.abs())))?;
        let state = FoundState::Running {
            node: NodeId(context.nodes.find("node", node)? as u32),
            gpus: GpuGrant::None,
            since: since.min(Timestamp(0)),
            leaving: fields.or("leaving", false, At::boolean)?,
        };
        found.push(Found { pod, state });
        pod.index += 1;
    }
    if let Some(at) = fields.get("ended") {
        let fields = at.fields(&["succeeded", "failed"])?;
        for (key, outcome) in [("succeeded", PodOutcome::Succeeded), ("failed", PodOutcome::Failed)] {
            for _ in 0..fields.or(key, 0, |at| at.integer(0, PODS_MAX))? {
                found.push(Found { pod, state: FoundState::Ended(outcome) });
                pod.index += 1;
            }
        }
    }
    if pod.index > count {
        let problem = format!("{} pods run or have ended at the start", pod.index);
        return Err(InputError {
            allowed: format!("at most `count`, which is {count}"),
            ..fields.at.problem(problem)
        });
    }
    Ok(())
}
