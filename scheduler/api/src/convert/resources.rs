//! What a pod asks for: containers, init containers, sidecars, overhead, the pod as a whole.
//!
//! Sums are kept in billionths and rounded up once at the end, as Kubernetes does. Amounts are bounded ([`MOST`]), so that sums
//! over a cluster cannot overflow.

use crate::error::Bad;
use crate::names::node::GPU_RESOURCE;
use crate::quantity;
use crate::slim;
use berth_model::{Bytes, MilliCpu, Resources};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// The most of any resource that one object may have, in its unit: 1 PiB of memory, for example.
const MOST: i64 = 1 << 50;
/// The most whole GPUs that one object may have; a node has no more.
pub(super) const DEVICES_MAX: u32 = 64;

/// Amounts in billionths, by resource.
type Sums = BTreeMap<String, i128>;

/// Resources and whole GPUs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Taken {
    pub(super) resources: Resources,
    pub(super) gpus: u32,
}

fn read(field: &str, amounts: &BTreeMap<String, Quantity>) -> Result<Sums, Bad> {
    let each = amounts.iter().map(|(name, Quantity(text))| {
        let amount = quantity::billionths(text)
            .and_then(|n| if n < 0 { Err("0 or more") } else { Ok(n) })
            .map_err(|allowed| Bad::new(format!("{field}[{name}]"), text, allowed))?;
        Ok((name.clone(), amount))
    });
    each.collect()
}

fn add(to: &mut Sums, from: &Sums) {
    for (name, amount) in from {
        *to.entry(name.clone()).or_default() += amount;
    }
}

fn raise(to: &mut Sums, from: &Sums) {
    for (name, amount) in from {
        let now = to.entry(name.clone()).or_default();
        *now = (*now).max(*amount);
    }
}

/// Requests of a container: those asked for, or while they change in place the most of what is asked for, set aside and in
/// force; without what is asked for if the kubelet has said that it cannot be.
fn container(field: &str, asked: &slim::Container, pod: &slim::Pod, sidecar: bool) -> Result<Sums, Bad> {
    let mut sums = read(&format!("{field}.resources.requests"), &asked.resources.requests)?;
    let statuses = if sidecar { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    let status = statuses.iter().find(|status| status.name == asked.name);
    if let Some((status, resources)) = status.and_then(|status| Some((status, status.resources.as_ref()?))) {
        let infeasible = pod.status.conditions.iter().any(|condition| {
            condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
        });
        if infeasible {
            sums.clear();
        }
        raise(&mut sums, &read("status.containerStatuses.resources.requests", &resources.requests)?);
        raise(&mut sums, &read("status.containerStatuses.allocatedResources", &status.allocated_resources)?);
    }
    Ok(sums)
}

/// True for what can be asked for by the pod as a whole.
fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn requests(pod: &slim::Pod) -> Result<Sums, Bad> {
    let mut sums = Sums::new();
    for (at, asked) in pod.spec.containers.iter().enumerate() {
        add(&mut sums, &container(&format!("spec.containers[{at}]"), asked, pod, false)?);
    }
    // An init container runs beside the sidecars that were started before it.
    let (mut sidecars, mut highest) = (Sums::new(), Sums::new());
    for (at, asked) in pod.spec.init_containers.iter().enumerate() {
        let field = format!("spec.initContainers[{at}]");
        if asked.is_sidecar() {
            let own = container(&field, asked, pod, true)?;
            add(&mut sums, &own);
            add(&mut sidecars, &own);
            raise(&mut highest, &sidecars);
        } else {
            let mut now = read(&format!("{field}.resources.requests"), &asked.resources.requests)?;
            add(&mut now, &sidecars);
            raise(&mut highest, &now);
        }
    }
    raise(&mut sums, &highest);
    if let Some(whole) = &pod.spec.resources {
        for (name, amount) in read("spec.resources.requests", &whole.requests)? {
            if pod_level(&name) {
                sums.insert(name, amount);
            }
        }
    }
    add(&mut sums, &read("spec.overhead", &pod.spec.overhead)?);
    Ok(sums)
}

/// True for resources besides CPU, memory, storage and pods that the scheduler counts: extended ones, huge pages, attachable
/// volumes, and what Kubernetes itself prefixes.
fn scalar(name: &str) -> bool {
    (name.contains('/') && !name.starts_with("requests."))
        || name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
}

/// Rounds sums up to units and sorts them.
fn taken(field: &str, sums: &Sums) -> Result<Taken, Bad> {
    let mut taken = Taken::default();
    for (name, amount) in sums {
        let per_one = if name == "cpu" { 1000 } else { 1 };
        let Some(units) = quantity::whole_units(*amount, per_one).filter(|units| *units <= MOST) else {
            return Err(Bad::new(format!("{field}[{name}]"), amount / 1_000_000_000, "at most 2^50 units"));
        };
        match name.as_str() {
            "cpu" => taken.resources.cpu = MilliCpu(units),
            "memory" => taken.resources.memory = Bytes(units),
            "ephemeral-storage" => taken.resources.ephemeral = Bytes(units),
            "pods" => taken.resources.pods = u32::try_from(units).unwrap_or(u32::MAX),
            GPU_RESOURCE => {
                taken.gpus = u32::try_from(units).ok().filter(|n| *n <= DEVICES_MAX).ok_or_else(|| {
                    Bad::new(format!("{field}[{name}]"), units, "0 to 64 devices on one node")
                })?;
            }
            _ if units > 0 && scalar(name) => _ = taken.resources.extended.insert(name.clone(), units),
            _ => {}
        }
    }
    Ok(taken)
}

/// What a pod takes on its node.
pub(super) fn of_pod(pod: &slim::Pod) -> Result<Taken, Bad> {
    let mut taken = taken("spec", &requests(pod)?)?;
    taken.resources.pods = 0;
    Ok(taken)
}

/// What a node can give out.
pub(super) fn of_node(node: &slim::Node) -> Result<Taken, Bad> {
    let field = "status.allocatable";
    taken(field, &read(field, &node.status.allocatable)?)
}
