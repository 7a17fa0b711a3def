//! Claims, volumes, classes, and what nodes can attach.

use super::pod::Amounts;
use super::{meta, null_as_default, resource};
use k8s_openapi::api::core::v1::{NodeSelector, TopologySelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

/// A claim of a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PersistentVolumeClaim {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: PersistentVolumeClaimSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: Phase,
}

resource!(
    PersistentVolumeClaim,
    "PersistentVolumeClaim",
    "",
    "v1",
    "persistentvolumeclaims",
    NamespaceResourceScope
);

/// What a claim asks for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaimSpec {
    /// The volume, once bound or asked for.
    pub volume_name: Option<String>,
    /// The class.
    pub storage_class_name: Option<String>,
    /// How it is to be mounted.
    #[serde(deserialize_with = "null_as_default")]
    pub access_modes: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: Option<String>,
    /// The class of attributes.
    pub volume_attributes_class_name: Option<String>,
    /// Which volumes will do, by label.
    pub selector: Option<LabelSelector>,
    /// How much.
    #[serde(deserialize_with = "null_as_default")]
    pub resources: super::Requirements,
}

/// A phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Phase {
    /// `Pending`, `Bound`, `Lost`, `Available`, `Released`, `Failed`.
    pub phase: Option<String>,
}

/// A volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PersistentVolume {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What it is.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: PersistentVolumeSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: Phase,
}

resource!(PersistentVolume, "PersistentVolume", "", "v1", "persistentvolumes", ClusterResourceScope);

/// What a volume is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeSpec {
    /// Which nodes can reach it.
    pub node_affinity: Option<VolumeNodeAffinity>,
    /// The class.
    pub storage_class_name: Option<String>,
    /// How it can be mounted.
    #[serde(deserialize_with = "null_as_default")]
    pub access_modes: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: Option<String>,
    /// The class of attributes.
    pub volume_attributes_class_name: Option<String>,
    /// How much it holds.
    #[serde(deserialize_with = "null_as_default")]
    pub capacity: Amounts,
    /// The claim that it is bound to or meant for.
    pub claim_ref: Option<k8s_openapi::api::core::v1::ObjectReference>,
    /// Its CSI driver.
    pub csi: Option<CsiSource>,
}

/// Which nodes can reach a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeNodeAffinity {
    /// Terms of which one must match.
    pub required: Option<NodeSelector>,
}

/// A volume of a CSI driver.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSource {
    /// The driver.
    pub driver: String,
    /// The driver's name for the volume.
    pub volume_handle: String,
}

/// A storage class.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageClass {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// Who makes volumes of it.
    #[serde(default)]
    pub provisioner: String,
    /// `Immediate` or `WaitForFirstConsumer`.
    #[serde(default)]
    pub volume_binding_mode: Option<String>,
    /// Where volumes can be made; none = everywhere.
    #[serde(default, deserialize_with = "null_as_default")]
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

resource!(StorageClass, "StorageClass", "storage.k8s.io", "v1", "storageclasses", ClusterResourceScope);

/// What a node can attach.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CsiNode {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// Drivers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: CsiNodeSpec,
}

resource!(CsiNode, "CSINode", "storage.k8s.io", "v1", "csinodes", ClusterResourceScope);

/// The drivers of a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiNodeSpec {
    /// Drivers.
    #[serde(deserialize_with = "null_as_default")]
    pub drivers: Vec<CsiNodeDriver>,
}

/// A driver on a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiNodeDriver {
    /// Name.
    pub name: String,
    /// How many volumes it can attach.
    pub allocatable: Option<CsiVolumeCount>,
}

/// How many volumes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiVolumeCount {
    /// None = no limit.
    pub count: Option<i32>,
}
