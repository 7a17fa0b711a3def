//! What a role's pods ask for: resources, GPUs, constraints.

use super::affinity;
use super::cluster::{EFFECTS, extended, text_map};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_api::quantity;
use berth_model::{
    Bytes, GpuMemoryMib, GpuRequest, HostPort, Labels, MilliCpu, PodSpec, Protocol, Resources, Toleration,
    TolerationOperator, VolumeUse,
};

/// The most devices a pod can ask for; a node has no more.
const DEVICES_MAX: u32 = 64;
const MIB: i64 = 1 << 20;
/// Kinds of volumes that say nothing about where a pod may run.
const FREE_VOLUMES: &[&str] = &[
    "emptyDir",
    "configMap",
    "secret",
    "projected",
    "downwardAPI",
    "hostPath",
    "nfs",
    "iscsi",
    "fc",
    "cephfs",
    "rbd",
    "csi",
    "image",
    "ephemeral",
];

/// The pod of a role with these labels.
pub(super) fn read(fields: &Fields<'_>, labels: &Labels) -> Result<PodSpec, InputError> {
    let mut pod = PodSpec {
        requests: Resources {
            cpu: MilliCpu(fields.or("cpu", 0, |at| at.quantity(1000))?),
            memory: Bytes(fields.or("memory", 0, |at| at.quantity(1))?),
            ephemeral: Bytes(fields.or("ephemeral", 0, |at| at.quantity(1))?),
            pods: 0,
            extended: fields.or("resources", Default::default(), extended)?,
        },
        gpu: gpu(fields)?,
        node_selector: fields.or("nodeSelector", Labels::new(), text_map)?,
        ..PodSpec::default()
    };
    if let Some(at) = fields.get("affinity") {
        affinity::affinity(at, labels, &mut pod)?;
    }
    pod.tolerations = each(fields, "tolerations", toleration)?;
    pod.topology_spread = each(fields, "topologySpread", |at| affinity::spread(at, labels))?;
    pod.host_ports = each(fields, "hostPorts", host_port)?.into_iter().flatten().collect();
    pod.scheduling_gates = each(fields, "schedulingGates", gate)?;
    pod.volumes = each(fields, "volumes", volume)?.into_iter().flatten().collect();
    Ok(pod)
}

fn each<'a, T>(
    fields: &Fields<'a>,
    key: &str,
    read: impl FnMut(&At<'a>) -> Result<T, InputError>,
) -> Result<Vec<T>, InputError> {
    fields.items(key)?.iter().map(read).collect()
}

fn gpu(fields: &Fields<'_>) -> Result<GpuRequest, InputError> {
    let whole = fields.or("gpus", 0, |at| at.integer(0, DEVICES_MAX))?;
    let share = fields.map("gpuFraction", |at| at.parsed(quantity::fraction))?;
    let memory = fields.map("gpuMemory", gpu_memory)?;
    let devices = fields.or("gpuDevices", 1, |at| at.integer(1, DEVICES_MAX))?;
    let only_with = |key: &str, other: &str| match fields.get(key) {
        Some(at) => {
            Err(InputError { allowed: format!("only beside `{other}`"), ..at.problem("is out of place") })
        }
        None => Ok(()),
    };
    if memory.is_none() {
        only_with("gpuMemoryLimit", "gpuMemory")?;
    }
    if share.is_none() {
        only_with("gpuFractionLimit", "gpuFraction")?;
    }
    match (whole, share, memory) {
        (0, None, None) => only_with("gpuDevices", "gpuFraction").map(|()| GpuRequest::None),
        (whole, None, None) => only_with("gpuDevices", "gpuFraction").map(|()| GpuRequest::Whole(whole)),
        (0, Some(share), None) => {
            let limit = fields.map("gpuFractionLimit", |at| match at.devices()? {
                limit if limit >= share && limit.0 <= 1_000_000 => Ok(limit),
                _ => Err(at.fail(format_args!("from the request {share} to 1"))),
            })?;
            Ok(GpuRequest::Share { share, devices, limit })
        }
        (0, None, Some(memory)) => {
            let limit = fields.map("gpuMemoryLimit", |at| match gpu_memory(at)? {
                limit if limit >= memory => Ok(limit),
                _ => Err(at.fail(format_args!("the request {memory} or more"))),
            })?;
            Ok(GpuRequest::Memory { memory, devices, limit })
        }
        _ => Err(InputError {
            allowed: "one of gpus, gpuFraction, gpuMemory".into(),
            ..fields.at.problem("asks for GPUs in two ways")
        }),
    }
}

/// GPU memory in MiB; a part of a MiB is asked for as a whole one.
pub(super) fn gpu_memory(at: &At<'_>) -> Result<GpuMemoryMib, InputError> {
    match at.quantity(1)? {
        0 => Err(at.fail("more than 0")),
        bytes => Ok(GpuMemoryMib(bytes / MIB + i64::from(bytes % MIB != 0))),
    }
}

fn toleration(at: &At<'_>) -> Result<Toleration, InputError> {
    let fields = at.fields(&["key", "operator", "value", "effect", "tolerationSeconds"])?;
    let toleration = Toleration {
        key: fields.or("key", "", At::text)?.to_owned(),
        operator: fields.or("operator", TolerationOperator::Equal, |at| {
            at.word(&[("Equal", TolerationOperator::Equal), ("Exists", TolerationOperator::Exists)])
        })?,
        value: fields.or("value", "", At::text)?.to_owned(),
        effect: match fields.get("effect") {
            Some(at) if !at.text()?.is_empty() => Some(at.word(EFFECTS)?),
            _ => None,
        },
    };
    match (&toleration.operator, fields.get("value")) {
        (TolerationOperator::Equal, _) if toleration.key.is_empty() => {
            Err(InputError { allowed: "a key, or operator Exists".into(), ..at.problem("has no key") })
        }
        (TolerationOperator::Exists, Some(value)) if !toleration.value.is_empty() => {
            Err(value.fail("no value with operator Exists"))
        }
        _ => Ok(toleration),
    }
}

/// A port of a container, or its number; none for a port that is not a port of the node.
fn host_port(at: &At<'_>) -> Result<Option<HostPort>, InputError> {
    if at.text().is_ok() {
        let port = at.integer(1, u16::MAX)?;
        return Ok(Some(HostPort { port, protocol: Protocol::Tcp, host_ip: String::new() }));
    }
    let fields = at.fields(&["name", "containerPort", "hostPort", "protocol", "hostIP"])?;
    fields.map("hostPort", |port| {
        Ok(HostPort {
            port: port.integer(1, u16::MAX)?,
            protocol: fields.or("protocol", Protocol::Tcp, |at| {
                at.word(&[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)])
            })?,
            host_ip: fields.or("hostIP", "", At::text)?.to_owned(),
        })
    })
}

fn gate(at: &At<'_>) -> Result<String, InputError> {
    match at.text() {
        Ok(_) => at.name().map(str::to_owned),
        Err(_) => at.fields(&["name"])?.need("name")?.name().map(str::to_owned),
    }
}

/// A volume; none for one that says nothing about where the pod may run.
fn volume(at: &At<'_>) -> Result<Option<VolumeUse>, InputError> {
    let mut kind = None;
    for (key, value) in at.entries()? {
        match key {
            "name" => {
                value.name()?;
            }
            _ if kind.is_none() => kind = Some((key, value)),
            _ => return Err(at.problem("is of two kinds at once")),
        }
    }
    match kind {
        Some(("persistentVolumeClaim", claim)) => {
            let name = claim.fields(&["claimName", "readOnly"])?.need("claimName")?.name()?;
            Ok(Some(VolumeUse {
                handle: name.to_owned(),
                unusable: format!("claim {name} does not exist: a scenario describes no claims"),
                ..VolumeUse::default()
            }))
        }
        Some((known, _)) if FREE_VOLUMES.contains(&known) => Ok(None),
        Some((_, value)) => {
            let allowed = format!("persistentVolumeClaim, {}", FREE_VOLUMES.join(", "));
            Err(InputError { allowed, ..value.problem("is not a known kind of volume") })
        }
        None => Ok(None),
    }
}
