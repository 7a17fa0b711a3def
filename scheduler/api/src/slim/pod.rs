//! Pods.

use super::{meta, null_as_default, resource};
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Amounts by name of the resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// A pod.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Pod {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: PodSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: PodStatus,
}

resource!(Pod, "Pod", "", "v1", "pods", NamespaceResourceScope);

/// What a pod asks for, as far as scheduling reads it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node, once bound.
    pub node_name: Option<String>,
    /// Which scheduler it is for.
    pub scheduler_name: Option<String>,
    /// Containers that run side by side.
    #[serde(deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
    /// Containers that run before, and sidecars.
    #[serde(deserialize_with = "null_as_default")]
    pub init_containers: Vec<Container>,
    /// What it takes besides its containers.
    #[serde(deserialize_with = "null_as_default")]
    pub overhead: Amounts,
    /// Resources of the pod as a whole.
    pub resources: Option<Requirements>,
    /// Node labels that must be there.
    #[serde(deserialize_with = "null_as_default")]
    pub node_selector: BTreeMap<String, String>,
    /// Affinity to nodes, to pods, away from pods.
    pub affinity: Option<Affinity>,
    /// Tolerations.
    #[serde(deserialize_with = "null_as_default")]
    pub tolerations: Vec<Toleration>,
    /// Topology spread.
    #[serde(deserialize_with = "null_as_default")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// While any is there the pod is not scheduled.
    #[serde(deserialize_with = "null_as_default")]
    pub scheduling_gates: Vec<Gate>,
    /// Volumes.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: Vec<Volume>,
    /// Claims for devices (DRA).
    #[serde(deserialize_with = "null_as_default")]
    pub resource_claims: Vec<ResourceClaimUse>,
    /// Priority, as admission resolved it.
    pub priority: Option<i32>,
    /// Its PriorityClass.
    pub priority_class_name: Option<String>,
    /// `Never` or `PreemptLowerPriority`.
    pub preemption_policy: Option<String>,
    /// How long it may take to end, in seconds.
    pub termination_grace_period_seconds: Option<i64>,
    /// Whether its ports are the node's.
    pub host_network: Option<bool>,
}

/// A container.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name.
    pub name: String,
    /// What it asks for.
    #[serde(deserialize_with = "null_as_default")]
    pub resources: Requirements,
    /// Ports; those without a port of the node are of no interest.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<ContainerPort>,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,
}

/// Requests and limits.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirements {
    /// What is asked for.
    #[serde(deserialize_with = "null_as_default")]
    pub requests: Amounts,
    /// The most that may be used.
    #[serde(deserialize_with = "null_as_default")]
    pub limits: Amounts,
}

/// A port of a container.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// The port of the node, if it takes one.
    pub host_port: Option<i32>,
    /// The address of the node; empty = all.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
}

/// A scheduling gate.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Name.
    pub name: String,
}

/// A volume, as far as it says where the pod may run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Name in the pod.
    pub name: String,
    /// A claim by name.
    pub persistent_volume_claim: Option<Claim>,
    /// A claim that is made for the pod and named `<pod>-<volume>`.
    pub ephemeral: Option<Ephemeral>,
}

/// A claim of a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claim {
    /// Name of the PersistentVolumeClaim.
    pub claim_name: String,
}

/// That there is an ephemeral volume; its claim is an object of its own.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Ephemeral {}

/// A use of a ResourceClaim (DRA).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceClaimUse {
    /// Name in the pod.
    pub name: String,
    /// A claim by name.
    pub resource_claim_name: Option<String>,
    /// A template from which one is made.
    pub resource_claim_template_name: Option<String>,
}

/// A claim of devices that was made from a template.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceClaimMade {
    /// Name in the pod.
    pub name: String,
    /// The claim.
    pub resource_claim_name: Option<String>,
}

/// What is so with a pod.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: Option<String>,
    /// Conditions.
    #[serde(deserialize_with = "null_as_default")]
    pub conditions: Vec<PodCondition>,
    /// Where room is kept for it.
    pub nominated_node_name: Option<String>,
    /// Since when the kubelet knows it.
    pub start_time: Option<Time>,
    /// Why it is in its phase, in a word.
    pub reason: Option<String>,
    /// Containers as they are, for requests that were changed in place.
    #[serde(deserialize_with = "null_as_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Claims of devices that were made for it from templates.
    #[serde(deserialize_with = "null_as_default")]
    pub resource_claim_statuses: Vec<ResourceClaimMade>,
    /// Init containers and sidecars as they are.
    #[serde(deserialize_with = "null_as_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why, in a word.
    pub reason: Option<String>,
    /// Why, in words.
    pub message: Option<String>,
    /// When the status changed.
    pub last_transition_time: Option<Time>,
}

/// A container as it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// What the kubelet has set aside.
    #[serde(deserialize_with = "null_as_default")]
    pub allocated_resources: Amounts,
    /// What is in force.
    pub resources: Option<Requirements>,
}

impl Pod {
    /// Name, empty if there is none.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace, empty if there is none.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// True once it has ended, in whatever way.
    pub fn ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

impl Container {
    /// True for a sidecar: an init container that runs until the pod ends.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}
