//! A node -> what it can give out, and to whom.

use super::{pod, resources};
use crate::error::{Bad, Malformed};
use crate::names::node::{FRACTIONS, GPU_MEMORY, GPU_PRODUCT};
use crate::slim::{self, named};
use berth_model::{DeviceHealth, DeviceSpec, GpuMemoryMib, Labels, NodeId, NodeSpec, Taint};
use std::collections::BTreeMap;

/// What is known of a node besides the Node object.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// The identifier that the caller has given it.
    pub id: NodeId,
    /// What it can attach.
    pub csi: Option<&'a slim::CsiNode>,
    /// Its devices as Berth's own driver publishes them; none if it does not, and the device plugin's count stands.
    pub devices: Option<&'a [DeviceSpec]>,
    /// Labels of the selections that mean all of these.
    pub selected: &'a [String],
}

/// Memory of a device of which nothing is known. Whole GPUs do not need it.
const UNKNOWN_MEMORY: GpuMemoryMib = GpuMemoryMib(1);

/// A node as the model has it.
///
/// Devices come from Berth's own driver, or else one per unit of `nvidia.com/gpu`, with memory and product of the labels that
/// GPU feature discovery writes. Fractions are only for the former, which get the label [`FRACTIONS`]; nobody else may say
/// that a node has it. Ready is the condition `Ready`; that a node is not ready keeps away what does not tolerate it by
/// the taints that Kubernetes sets.
///
/// # Errors
/// A field of the node is malformed; or its devices are managed both ways, which design forbids.
pub fn node(node: &slim::Node, facts: NodeFacts<'_>) -> Result<NodeSpec, Malformed> {
    read(node, facts).map_err(|bad| bad.of(named(node)))
}

fn read(node: &slim::Node, facts: NodeFacts<'_>) -> Result<NodeSpec, Bad> {
    let taken = resources::of_node(node)?;
    let mut labels = node.metadata.labels.clone().unwrap_or_default();
    labels.remove(FRACTIONS);
    let devices = match facts.devices {
        // Devices that are gone do not stand in the way of a node that is handed over to the device plugin.
        Some(devices) if taken.gpus > 0 && devices.iter().any(|it| it.health != DeviceHealth::Lost) => {
            let allowed = "0 where gpu.berth.dev hands out the devices: stop the device plugin on this node";
            let value = format!("{} beside {} devices", taken.gpus, devices.len());
            return Err(Bad::new("status.allocatable[nvidia.com/gpu]", value, allowed));
        }
        Some(devices) if taken.gpus == 0 && !devices.is_empty() => {
            labels.insert(FRACTIONS.to_owned(), "true".to_owned());
            labels.extend(facts.selected.iter().map(|label| (label.clone(), "true".to_owned())));
            devices.to_vec()
        }
        _ => vec![device(&labels)?; taken.gpus as usize],
    };
    Ok(NodeSpec {
        id: facts.id,
        name: node.metadata.name.clone().unwrap_or_default(),
        taints: taints(node)?,
        allocatable: taken.resources,
        devices,
        volume_limits: facts.csi.map(volume_limits).unwrap_or_default(),
        ready: node.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        unschedulable: node.spec.unschedulable == Some(true),
        labels,
    })
}

fn device(labels: &Labels) -> Result<DeviceSpec, Bad> {
    let memory = match labels.get(GPU_MEMORY) {
        None => UNKNOWN_MEMORY,
        Some(text) => match text.parse() {
            Ok(mib @ 1..=0xffff_ffff) => GpuMemoryMib(mib),
            _ => {
                let field = format!("metadata.labels[{GPU_MEMORY}]");
                return Err(Bad::new(
                    field,
                    text,
                    "MiB of memory of one device, a whole number of 1 or more",
                ));
            }
        },
    };
    Ok(DeviceSpec::new(memory, labels.get(GPU_PRODUCT).cloned().unwrap_or_default()))
}

fn taints(node: &slim::Node) -> Result<Vec<Taint>, Bad> {
    let read = |(at, taint): (usize, &k8s_openapi::api::core::v1::Taint)| {
        let effect = pod::effect(&taint.effect).map_err(|bad| bad.under(format!("spec.taints[{at}]")))?;
        Ok(Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default(), effect })
    };
    node.spec.taints.iter().enumerate().map(read).collect()
}

/// How many volumes each driver can attach; a driver that states no number has no limit.
fn volume_limits(csi: &slim::CsiNode) -> BTreeMap<String, u32> {
    let limit = |driver: &slim::CsiNodeDriver| {
        let count = driver.allocatable.as_ref()?.count?;
        Some((driver.name.clone(), u32::try_from(count).unwrap_or(0)))
    };
    csi.spec.drivers.iter().filter_map(limit).collect()
}
