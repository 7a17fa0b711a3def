//! Nodes and their GPU devices.

use crate::{GpuMemoryMib, Labels, NodeId, Resources};
use serde::{Deserialize, Serialize};

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// No new pods.
    NoSchedule,
    /// Rather no new pods.
    PreferNoSchedule,
    /// No new pods; Kubernetes evicts those that run.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, possibly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect.
    pub effect: Effect,
}

/// Whether a device may take new pods (S18).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeviceHealth {
    /// Usable.
    #[default]
    Healthy,
    /// Critical XID or uncorrectable ECC error.
    Unhealthy,
    /// No longer there.
    Lost,
    /// Its agent has been silent for too long.
    Silent,
}

/// One GPU device of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceSpec {
    /// Memory that can be given out: total less what the driver reserves (S13).
    pub memory: GpuMemoryMib,
    /// Product name, for example `NVIDIA-H200`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Devices with the same number are linked best (NVLink island, NUMA node); S31 keeps a pod's devices together.
    #[serde(default)]
    pub link_group: u8,
    /// Health at the time of the event.
    #[serde(default)]
    pub health: DeviceHealth,
    /// Memory used by processes of no pod (S17).
    #[serde(default)]
    pub foreign: GpuMemoryMib,
}

impl DeviceSpec {
    /// A healthy device with `memory` MiB to give out.
    pub fn new(memory: GpuMemoryMib, model: impl Into<String>) -> Self {
        Self {
            memory,
            model: model.into(),
            link_group: 0,
            health: DeviceHealth::Healthy,
            foreign: GpuMemoryMib::ZERO,
        }
    }
}

/// A node as it is now. Its labels are all it has: one without `kubernetes.io/hostname` has no host name (S11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Identifier; ties between nodes go to the smallest.
    pub id: NodeId,
    /// Name, unique.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Taints.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// What the node can give out to pods (Kubernetes: allocatable), GPUs apart.
    pub allocatable: Resources,
    /// Its GPU devices, at most 64, by index.
    #[serde(default)]
    pub devices: Vec<DeviceSpec>,
    /// How many volumes each CSI driver can attach here; a driver not named has no limit (S11).
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub volume_limits: std::collections::BTreeMap<String, u32>,
    /// Ready to run pods.
    pub ready: bool,
    /// Cordoned.
    #[serde(default)]
    pub unschedulable: bool,
}
