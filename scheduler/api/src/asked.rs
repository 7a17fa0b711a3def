//! What a pod asks for by labels and annotations: ours, KAI's and Run:ai's, in that order (see [`crate::names`]).
//!
//! The first that is there counts. A malformed value is an error, never read as absent, and it does not matter then whether a
//! later one would have been right.

use crate::error::{Bad, Malformed};
use crate::names::{kai, pod as ours, runai};
use crate::quantity;
use crate::slim::{self, named};
use berth_model::{GpuMemoryMib, GpuRequest, GpuShare, Millis, Priority, TopologyRequest};

/// What is asked for, as far as it is said on the pod. What is absent is for defaults to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// The workload (S5).
    pub workload: Option<String>,
    /// The role in it (S5).
    pub role: Option<String>,
    /// How many pods of the role must be placed for the workload to start (S5).
    pub min_members: Option<u32>,
    /// KAI's PodGroup.
    pub pod_group: Option<String>,
    /// A share or memory of devices (S13, S14); none if the pod asks for whole ones or for none.
    pub gpu: Option<GpuRequest>,
    /// The container that gets the devices.
    pub gpu_container: Option<String>,
    /// The project, as KAI and Run:ai write it. It must be the one that owns the namespace.
    pub queue: Option<String>,
    /// The priority (S4); a name that is none of ours is a PriorityClass.
    pub priority: Option<AskedPriority>,
    /// Whether it may be stopped for others (S28).
    pub preemptible: Option<bool>,
    /// Names of pools, in order (S10).
    pub pools: Vec<String>,
    /// The node type (S11).
    pub node_type: Option<String>,
    /// The topology level (S31).
    pub topology: Option<TopologyRequest>,
    /// How long it says it will run.
    pub expected_runtime: Option<Millis>,
    /// How long its pods may take to end (S23).
    pub grace: Option<Millis>,
    /// How long it may stay below its minimum (S27).
    pub stale_grace: Option<Millis>,
    /// How long it may take to start (S5).
    pub start_timeout: Option<Millis>,
}

/// A priority that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AskedPriority {
    /// One of ours, or a number.
    Value(Priority),
    /// The PriorityClass of this name.
    Class(String),
}

/// Reads everything that a pod asks for.
///
/// # Errors
/// Names the pod, the label or annotation, its value and what is allowed.
pub fn asked(pod: &slim::Pod) -> Result<Asked, Malformed> {
    read(pod).map_err(|bad| bad.of(named(pod)))
}

fn read(pod: &slim::Pod) -> Result<Asked, Bad> {
    Ok(Asked {
        workload: label(pod, ours::WORKLOAD).map(name).transpose()?,
        role: label(pod, ours::ROLE).or(label(pod, kai::SUBGROUP)).map(name).transpose()?,
        min_members: either(pod, ours::MIN_MEMBERS).map(|found| whole(found, 1, 1_000_000)).transpose()?,
        pod_group: annotation(pod, kai::POD_GROUP).map(name).transpose()?,
        gpu: gpu(pod)?,
        gpu_container: gpu_container(pod)?,
        queue: label(pod, kai::QUEUE).or(label(pod, runai::QUEUE)).map(name).transpose()?,
        priority: priority(pod)?,
        preemptible: preemptible(pod)?,
        pools: pools(pod)?,
        node_type: either(pod, ours::NODE_TYPE).map(|found| found.text.to_owned()),
        topology: topology(pod)?,
        expected_runtime: span(pod, ours::EXPECTED_RUNTIME, Millis::ZERO, Millis(i64::MAX), "more than 0s")?,
        grace: span(pod, ours::GRACE, Millis(-1), GRACE_MAX, "0s to 5m")?,
        stale_grace: span(pod, ours::STALE_GRACE, Millis(i64::MIN), Millis(i64::MAX), "a duration")?,
        start_timeout: span(pod, ours::START_TIMEOUT, Millis::ZERO, Millis(i64::MAX), "more than 0s")?,
    })
}

/// The longest grace that may be asked for (S23).
pub const GRACE_MAX: Millis = Millis::from_secs(300);

/// A label or annotation that is there.
#[derive(Clone, Copy)]
struct Found<'a> {
    place: &'static str,
    key: &'static str,
    text: &'a str,
}

impl Found<'_> {
    fn bad(self, allowed: impl Into<String>) -> Bad {
        Bad::new(format!("metadata.{}[{}]", self.place, self.key), self.text, allowed)
    }
}

fn label<'a>(pod: &'a slim::Pod, key: &'static str) -> Option<Found<'a>> {
    pod.label(key).map(|text| Found { place: "labels", key, text })
}

fn annotation<'a>(pod: &'a slim::Pod, key: &'static str) -> Option<Found<'a>> {
    pod.annotation(key).map(|text| Found { place: "annotations", key, text })
}

fn either<'a>(pod: &'a slim::Pod, key: &'static str) -> Option<Found<'a>> {
    annotation(pod, key).or(label(pod, key))
}

fn name(found: Found<'_>) -> Result<String, Bad> {
    if found.text.is_empty() { Err(found.bad("a name")) } else { Ok(found.text.to_owned()) }
}

fn whole(found: Found<'_>, least: u32, most: u32) -> Result<u32, Bad> {
    let number = found.text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| found.bad(format!("a whole number from {least} to {most}")))
}

/// A duration of more than `above`, at most `most`.
fn span(
    pod: &slim::Pod,
    key: &'static str,
    above: Millis,
    most: Millis,
    allowed: &str,
) -> Result<Option<Millis>, Bad> {
    let Some(found) = annotation(pod, key) else { return Ok(None) };
    match quantity::duration(found.text) {
        Ok(span) if span > above && span <= most => Ok(Some(span)),
        Ok(_) => Err(found.bad(format!("{allowed}, as in 30s or 1h30m"))),
        Err(why) => Err(found.bad(format!("{allowed}: {why}"))),
    }
}

fn flag(found: Found<'_>, yes: &str, no: &str) -> Result<bool, Bad> {
    match found.text {
        text if text == yes => Ok(true),
        text if text == no => Ok(false),
        _ => Err(found.bad(format!("{yes}, {no}"))),
    }
}

fn preemptible(pod: &slim::Pod) -> Result<Option<bool>, Bad> {
    match (either(pod, ours::PREEMPTIBLE), label(pod, kai::PREEMPTIBILITY)) {
        (Some(found), _) => flag(found, "true", "false").map(Some),
        (None, Some(found)) => flag(found, "preemptible", "non-preemptible").map(Some),
        (None, None) => Ok(None),
    }
}

fn priority(pod: &slim::Pod) -> Result<Option<AskedPriority>, Bad> {
    let by_name = |text: &str| Priority::named(text).map(AskedPriority::Value);
    if let Some(found) = either(pod, ours::PRIORITY) {
        let number = || found.text.parse().ok().map(|value| AskedPriority::Value(Priority(value)));
        let names: Vec<_> = Priority::NAMED.iter().map(|(name, _)| *name).collect();
        let read = by_name(found.text).or_else(number);
        return read.map(Some).ok_or_else(|| found.bad(format!("{}, or a whole number", names.join(", "))));
    }
    match label(pod, kai::PRIORITY) {
        Some(found) => {
            let class = name(found)?;
            Ok(Some(by_name(&class).unwrap_or(AskedPriority::Class(class))))
        }
        None => Ok(None),
    }
}

fn pools(pod: &slim::Pod) -> Result<Vec<String>, Bad> {
    let Some(found) = annotation(pod, ours::POOLS) else {
        let one = label(pod, kai::NODE_POOL).or(label(pod, runai::NODE_POOL));
        return one.map(|found| Ok(vec![name(found)?])).unwrap_or(Ok(Vec::new()));
    };
    let names: Vec<_> = found.text.split(',').map(|name| name.trim().to_owned()).collect();
    let twice = (1..names.len()).any(|at| names[..at].contains(&names[at]));
    if twice || names.iter().any(String::is_empty) {
        return Err(found.bad("names of node pools separated by commas, each at most once"));
    }
    Ok(names)
}

fn topology(pod: &slim::Pod) -> Result<Option<TopologyRequest>, Bad> {
    let level = |key: &'static str, required: bool| {
        annotation(pod, key).map(|found| Ok(TopologyRequest { key: name(found)?, required }))
    };
    let first = level(ours::TOPOLOGY_REQUIRED, true)
        .or_else(|| level(ours::TOPOLOGY_PREFERRED, false))
        .or_else(|| level(kai::TOPOLOGY_REQUIRED, true))
        .or_else(|| level(kai::TOPOLOGY_PREFERRED, false));
    first.transpose()
}

/// The share or the memory of devices that a pod asks for (S13, S14); none if it asks for neither.
pub(crate) fn gpu(pod: &slim::Pod) -> Result<Option<GpuRequest>, Bad> {
    let own = own_gpu(pod)?;
    if own.is_some() {
        return Ok(own);
    }
    let share = annotation(pod, kai::GPU_FRACTION).map(share).transpose()?;
    let memory = annotation(pod, kai::GPU_MEMORY)
        .map(|found| whole(found, 1, MEMORY_MIB_MAX).map(|mib| GpuMemoryMib(mib.into())))
        .transpose()?;
    let devices = devices(pod, kai::GPU_DEVICES, share.is_some() || memory.is_some())?;
    match (share, memory) {
        (Some(_), Some(_)) => Err(two_ways(pod, kai::GPU_MEMORY, kai::GPU_FRACTION)),
        (Some(share), None) => Ok(Some(GpuRequest::Share { share, devices, limit: None })),
        (None, Some(memory)) => Ok(Some(GpuRequest::Memory { memory, devices, limit: None })),
        (None, None) => Ok(None),
    }
}

/// The most memory of one device that may be asked for, in MiB.
const MEMORY_MIB_MAX: u32 = 1 << 30;

fn own_gpu(pod: &slim::Pod) -> Result<Option<GpuRequest>, Bad> {
    let share = annotation(pod, ours::GPU_FRACTION).map(share).transpose()?;
    let memory = annotation(pod, ours::GPU_MEMORY).map(mib).transpose()?;
    let devices = devices(pod, ours::GPU_DEVICES, share.is_some() || memory.is_some())?;
    only_beside(pod, ours::GPU_FRACTION_LIMIT, ours::GPU_FRACTION, share.is_some())?;
    only_beside(pod, ours::GPU_MEMORY_LIMIT, ours::GPU_MEMORY, memory.is_some())?;
    match (share, memory) {
        (Some(_), Some(_)) => Err(two_ways(pod, ours::GPU_MEMORY, ours::GPU_FRACTION)),
        (Some(share), None) => {
            let limit = annotation(pod, ours::GPU_FRACTION_LIMIT).map(|found| {
                let within = |limit: &GpuShare| *limit >= share && *limit <= GpuShare::DEVICE;
                let limit = quantity::devices(found.text).ok().filter(within);
                limit.ok_or_else(|| found.bad(format!("from the request {share} to 1")))
            });
            Ok(Some(GpuRequest::Share { share, devices, limit: limit.transpose()? }))
        }
        (None, Some(memory)) => {
            let limit = annotation(pod, ours::GPU_MEMORY_LIMIT).map(|found| match mib(found)? {
                limit if limit >= memory => Ok(limit),
                _ => Err(found.bad(format!("the request {memory} or more"))),
            });
            Ok(Some(GpuRequest::Memory { memory, devices, limit: limit.transpose()? }))
        }
        (None, None) => Ok(None),
    }
}

fn share(found: Found<'_>) -> Result<GpuShare, Bad> {
    quantity::fraction(found.text).map_err(|allowed| found.bad(allowed))
}

/// Memory of a device; a part of a MiB is asked for as a whole one.
fn mib(found: Found<'_>) -> Result<GpuMemoryMib, Bad> {
    let bytes = quantity::quantity(found.text, 1).ok().filter(|bytes| *bytes > 0);
    let mib = bytes.map(|bytes| (bytes - 1) / (1 << 20) + 1).filter(|mib| *mib <= MEMORY_MIB_MAX.into());
    mib.map(GpuMemoryMib).ok_or_else(|| found.bad("memory of one device, more than 0, as in 10Gi or 512Mi"))
}

fn devices(pod: &slim::Pod, key: &'static str, fraction: bool) -> Result<u32, Bad> {
    match annotation(pod, key) {
        None => Ok(1),
        Some(found) if !fraction => {
            Err(found
                .bad("only beside a fraction or memory of a device; whole GPUs are asked for as resources"))
        }
        Some(found) => whole(found, 1, 64),
    }
}

fn only_beside(pod: &slim::Pod, key: &'static str, other: &str, there: bool) -> Result<(), Bad> {
    match annotation(pod, key) {
        Some(found) if !there => Err(found.bad(format!("only beside {other}"))),
        _ => Ok(()),
    }
}

fn two_ways(pod: &slim::Pod, key: &'static str, other: &str) -> Bad {
    let text = pod.annotation(key).unwrap_or_default();
    Found { place: "annotations", key, text }.bad(format!("not beside {other}: one of them"))
}

/// The container that gets the devices must be one of the pod's.
fn gpu_container(pod: &slim::Pod) -> Result<Option<String>, Bad> {
    let found = annotation(pod, ours::GPU_CONTAINER).or(annotation(pod, kai::GPU_CONTAINER));
    let Some(found) = found else { return Ok(None) };
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let names: Vec<_> = containers.map(|container| container.name.as_str()).collect();
    if names.contains(&found.text) {
        return Ok(Some(found.text.to_owned()));
    }
    Err(found.bad(format!("a container of the pod: {}", names.join(", "))))
}
