//! The list `events`: what happens by itself, in time order.

use super::names::Names;
use super::organisation::{Organisation, patched};
use super::pod::gpu_memory;
use crate::case::{Arrival, Happening};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{
    DepartmentId, DeviceHealth, DeviceIndex, GpuMemoryMib, Millis, NodeId, NodeSpec, PodId, PoolId, PoolSpec,
    ProjectId, QueueId, QueueQuota, Timestamp, WorkloadId,
};

const KINDS: &[&str] = &["nodeDown", "nodeUp", "cordon", "delete", "resize", "device", "foreign", "uses"];
const FIELDS: &[&str] =
    &["at", "nodeDown", "nodeUp", "cordon", "delete", "resize", "device", "foreign", "uses"];

/// What the names in an event stand for.
struct Context<'a> {
    pools: Names,
    nodes: Names,
    node_specs: &'a [NodeSpec],
    workloads: &'a Names,
    arrivals: &'a [Arrival],
}

/// The events in time order. `organisation` is changed by them: a resize states only what changes.
pub(super) fn read(
    top: &Fields<'_>,
    pools: &[PoolSpec],
    nodes: &[NodeSpec],
    organisation: &mut Organisation,
    workloads: &Names,
    arrivals: &[Arrival],
) -> Result<Vec<(Timestamp, Happening)>, InputError> {
    let context = Context {
        pools: Names::new(pools.iter().map(|p| p.name.as_str())),
        nodes: Names::new(nodes.iter().map(|n| n.name.as_str())),
        node_specs: nodes,
        workloads,
        arrivals,
    };
    let mut happenings: Vec<(Timestamp, Happening)> = Vec::new();
    for at in top.items("events")? {
        let fields = at.fields(FIELDS)?;
        let when = fields.need("at")?;
        let time = Timestamp(when.span()?.0);
        if let Some((last, _)) = happenings.last().filter(|(last, _)| *last > time) {
            return Err(when.fail(format_args!("{} or later: events are in time order", Millis(last.0))));
        }
        happenings.push((time, happening(&fields, organisation, &context)?));
    }
    Ok(happenings)
}

fn happening(
    fields: &Fields<'_>,
    organisation: &mut Organisation,
    context: &Context<'_>,
) -> Result<Happening, InputError> {
    let mut kinds = KINDS.iter().filter_map(|kind| Some((*kind, fields.get(kind)?)));
    let (Some((kind, at)), None) = (kinds.next(), kinds.next()) else {
        let allowed = format!("exactly one of {}", KINDS.join(", "));
        return Err(InputError { allowed, ..fields.at.problem("does not say what happens") });
    };
    let node = |at| context.nodes.find("node", at).map(|index| NodeId(index as u32));
    Ok(match kind {
        "nodeDown" => Happening::NodeDown(node(at)?),
        "nodeUp" => Happening::NodeUp(node(at)?),
        "cordon" => Happening::Cordon(node(at)?),
        "delete" => Happening::Delete(WorkloadId(context.workloads.find("workload", at)? as u64)),
        "resize" => {
            let (queue, pool, quota) = resize(at, organisation, &context.pools)?;
            Happening::Resize(queue, pool, quota)
        }
        "device" => {
            let fields = at.fields(&["node", "index", "health"])?;
            let (node, device) = device(&fields, context)?;
            Happening::Health(node, device, fields.need("health")?.word(HEALTHS)?)
        }
        "foreign" => {
            let fields = at.fields(&["node", "index", "memory"])?;
            let (node, device) = device(&fields, context)?;
            Happening::Foreign(node, device, measured(fields.need("memory")?)?)
        }
        _ => uses(at, context)?,
    })
}

const HEALTHS: &[(&str, DeviceHealth)] = &[
    ("healthy", DeviceHealth::Healthy),
    ("unhealthy", DeviceHealth::Unhealthy),
    ("lost", DeviceHealth::Lost),
    ("silent", DeviceHealth::Silent),
];

fn device(fields: &Fields<'_>, context: &Context<'_>) -> Result<(NodeId, DeviceIndex), InputError> {
    let node = context.nodes.find("node", fields.need("node")?)?;
    let index = fields.need("index")?;
    match context.node_specs[node].devices.len() {
        0 => Err(index.fail("nothing, as the node has no devices")),
        count => Ok((NodeId(node as u32), DeviceIndex(index.integer(0, count - 1)? as u8))),
    }
}

/// Measured GPU memory, which may be 0.
fn measured(at: &At<'_>) -> Result<GpuMemoryMib, InputError> {
    if at.quantity(1)? == 0 { Ok(GpuMemoryMib::ZERO) } else { gpu_memory(at) }
}

fn uses(at: &At<'_>, context: &Context<'_>) -> Result<Happening, InputError> {
    let fields = at.fields(&["workload", "role", "pod", "memory"])?;
    let workload = context.workloads.find("workload", fields.need("workload")?)?;
    let roles = &context.arrivals[workload].spec.roles;
    let role = match fields.get("role") {
        None => 0,
        Some(at) => {
            let name = at.text()?;
            let known = || roles.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
            roles.iter().position(|r| r.name == name).ok_or_else(|| at.fail(known()))?
        }
    };
    let index = fields.or("pod", 0, |at| at.integer(0, roles[role].count - 1))?;
    let pod = PodId { workload: WorkloadId(workload as u64), role: role as u16, index };
    Ok(Happening::Uses(pod, measured(fields.need("memory")?)?))
}

/// A change of a quota; `organisation` has it from then on.
pub(super) fn resized(
    at: &At<'_>,
    organisation: &mut Organisation,
    pools: &[PoolSpec],
) -> Result<(QueueId, PoolId, QueueQuota), InputError> {
    resize(at, organisation, &Names::new(pools.iter().map(|p| p.name.as_str())))
}

fn resize(
    at: &At<'_>,
    organisation: &mut Organisation,
    pools: &Names,
) -> Result<(QueueId, PoolId, QueueQuota), InputError> {
    let fields = at.fields(RESIZE_FIELDS)?;
    let projects = Names::new(organisation.projects.iter().map(|p| p.name.as_str()));
    let departments = Names::new(organisation.departments.iter().map(|d| d.name.as_str()));
    let (queue, quotas) = match (fields.get("project"), fields.get("department")) {
        (Some(at), None) => {
            let index = projects.find("project", at)?;
            (QueueId::Project(ProjectId(index as u32)), &mut organisation.projects[index].quotas)
        }
        (None, Some(at)) => {
            let index = departments.find("department", at)?;
            (QueueId::Department(DepartmentId(index as u32)), &mut organisation.departments[index].quotas)
        }
        _ => return Err(at.problem("names no project and no department, or both")),
    };
    let pool = match fields.get("pool") {
        Some(at) => pools.find("pool", at)?,
        None => pools.lookup("pool", berth_model::PoolSpec::DEFAULT_NAME, at)?,
    };
    let pool = PoolId(pool as u32);
    let position = quotas.iter().position(|(p, _)| *p == pool).unwrap_or_else(|| {
        quotas.push((pool, QueueQuota::default()));
        quotas.len() - 1
    });
    quotas[position].1 = patched(quotas[position].1, &fields)?;
    Ok((queue, pool, quotas[position].1))
}

const RESIZE_FIELDS: &[&str] = &[
    "project",
    "department",
    "pool",
    "gpu",
    "gpuLimit",
    "cpu",
    "cpuLimit",
    "memory",
    "memoryLimit",
    "weight",
];
