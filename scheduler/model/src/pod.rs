//! What one pod asks for and where it may run (S11, S13, S14).

use crate::{GpuMemoryMib, GpuShare, LabelSelector, Labels, NodeSelector, PreferredNodeTerm, Resources};
use serde::{Deserialize, Serialize};

/// What a pod asks for of GPU devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GpuRequest {
    /// No GPU.
    #[default]
    None,
    /// Whole devices.
    Whole(u32),
    /// A share of each of `devices` distinct devices of one node; 0 < share < one device.
    Share {
        /// Share of one device.
        share: GpuShare,
        /// On how many devices.
        devices: u32,
        /// The most that may be used of each, as a share; none = the request (S14).
        limit: Option<GpuShare>,
    },
    /// Memory of each of `devices` distinct devices of one node.
    Memory {
        /// Memory of one device.
        memory: GpuMemoryMib,
        /// On how many devices.
        devices: u32,
        /// The most that may be used of each; none = the request (S14).
        limit: Option<GpuMemoryMib>,
    },
}

impl GpuRequest {
    /// On how many devices of a node the request lies.
    pub const fn devices(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Whole(devices) | Self::Share { devices, .. } | Self::Memory { devices, .. } => devices,
        }
    }

    /// The same on another number of devices; what asks for no GPU goes on doing so.
    #[must_use]
    pub const fn with_devices(self, devices: u32) -> Self {
        match self {
            Self::None => Self::None,
            Self::Whole(_) => Self::Whole(devices),
            Self::Share { share, limit, .. } => Self::Share { share, devices, limit },
            Self::Memory { memory, limit, .. } => Self::Memory { memory, devices, limit },
        }
    }

    /// True if devices are shared with others.
    pub const fn is_fraction(self) -> bool {
        matches!(self, Self::Share { .. } | Self::Memory { .. })
    }
}

/// How a toleration compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// Key and value are equal.
    #[default]
    Equal,
    /// The key is there; without a key, every taint.
    Exists,
}

/// A toleration, as in a Pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// Key; empty with `Exists` = every key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Comparison.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value, for `Equal`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect; none = all effects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<crate::Effect>,
}

/// Pods to be near to, or away from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodAffinityTerm {
    /// Which pods, by label; none = no pod.
    pub label_selector: Option<LabelSelector>,
    /// In which namespaces; empty = the pod's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// In every namespace (an empty `namespaceSelector`). Other namespace selectors are resolved by the feeder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_namespaces: bool,
    /// The node label whose equal values mean "near".
    pub topology_key: String,
}

/// A preference to be near to, or away from, pods.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedPodTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The term.
    pub pod_affinity_term: PodAffinityTerm,
}

/// Affinity or anti-affinity to pods.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodAffinity {
    /// All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<PodAffinityTerm>,
    /// Preferences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<WeightedPodTerm>,
}

impl PodAffinity {
    /// True if there is no term.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}

/// What happens when a spread constraint cannot be met.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Unsatisfiable {
    /// The pod waits.
    #[default]
    DoNotSchedule,
    /// The pod goes where the skew is least.
    ScheduleAnyway,
}

/// A topology spread constraint, as in a Pod, with `nodeAffinityPolicy: Honor` and `nodeTaintsPolicy: Ignore` by default.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologySpread {
    /// The largest allowed difference between the fullest and the emptiest domain, at least 1.
    pub max_skew: u32,
    /// The node label whose values are the domains.
    pub topology_key: String,
    /// What to do when it cannot be met.
    #[serde(default)]
    pub when_unsatisfiable: Unsatisfiable,
    /// Which pods count, by label; none = no pod.
    pub label_selector: Option<LabelSelector>,
    /// With fewer domains than this, the emptiest counts as 0; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_domains: Option<u32>,
    /// Whether only nodes that pass the pod's node affinity count as domains (default true).
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub honor_affinity: bool,
    /// Whether nodes with taints that the pod does not tolerate are left out (default false).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub honor_taints: bool,
}

fn yes() -> bool {
    true
}

/// The protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that the pod takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPort {
    /// 1 to 65535.
    pub port: u16,
    /// Protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Address; empty or `0.0.0.0` = all addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// A persistent volume the pod mounts, as far as scheduling cares (S11).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeUse {
    /// The volume's handle: two pods on one node that use the same volume attach it once.
    pub handle: String,
    /// CSI driver, whose attach limit counts; empty = none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Where the volume can be reached; none = everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable_from: Option<NodeSelector>,
    /// At most one pod may use the volume (ReadWriteOncePod).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Why the volume cannot be used at all now, for example a claim that does not exist; empty = it can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unusable: String,
    /// What it may become, if that depends on what others of the pod become: on a node it takes the first of these that can
    /// be reached from there and that none before it in the pod has taken. Empty = [`Self::reachable_from`] says all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<VolumeChoice>,
}

/// A volume that a claim may become.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeChoice {
    /// Its name; empty = one that is made for the claim, so that any number of claims may choose it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// Where it can be reached; none = everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable_from: Option<NodeSelector>,
}

/// Everything about a pod that decides where it may run and what it takes there, its labels apart.
///
/// Pods with equal specs are one *shape* in the engine.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodSpec {
    /// Resources other than GPUs.
    pub requests: Resources,
    /// GPUs.
    pub gpu: GpuRequest,
    /// Node labels that must all be there.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub node_selector: Labels,
    /// Required node affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeSelector>,
    /// Preferred node affinity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferred_nodes: Vec<PreferredNodeTerm>,
    /// Tolerations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Pods to be near to.
    #[serde(skip_serializing_if = "PodAffinity::is_empty")]
    pub pod_affinity: PodAffinity,
    /// Pods to be away from.
    #[serde(skip_serializing_if = "PodAffinity::is_empty")]
    pub pod_anti_affinity: PodAffinity,
    /// Topology spread.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread: Vec<TopologySpread>,
    /// Ports of the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
    /// Persistent volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeUse>,
    /// While any is there the pod is not scheduled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scheduling_gates: Vec<String>,
}
