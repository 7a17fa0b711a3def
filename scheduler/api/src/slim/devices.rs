//! Devices that drivers hand out (DRA): what a node publishes.

use super::{meta, null_as_default, resource};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Devices of one driver on one node, or a part of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ResourceSlice {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What there is.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: ResourceSliceSpec,
}

resource!(ResourceSlice, "ResourceSlice", "resource.k8s.io", "v1", "resourceslices", ClusterResourceScope);

/// What a slice says.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSliceSpec {
    /// Who hands the devices out.
    pub driver: String,
    /// The node that they are on.
    pub node_name: Option<String>,
    /// The pool that they belong to.
    pub pool: Pool,
    /// The devices.
    #[serde(deserialize_with = "null_as_default")]
    pub devices: Vec<Device>,
}

/// Slices of the highest generation are the pool's; others are out of date.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// Generation.
    pub generation: i64,
}

/// A device.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Name, unique in its pool.
    pub name: String,
    /// What it is.
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, Attribute>,
    /// What it has.
    #[serde(deserialize_with = "null_as_default")]
    pub capacity: BTreeMap<String, Capacity>,
    /// Several claims may have parts of it.
    pub allow_multiple_allocations: Option<bool>,
    /// What keeps claims away.
    #[serde(deserialize_with = "null_as_default")]
    pub taints: Vec<DeviceTaint>,
}

/// An attribute: one of these.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attribute {
    /// A text.
    pub string: Option<String>,
    /// A number.
    pub int: Option<i64>,
    /// Yes or no.
    pub bool: Option<bool>,
    /// A semantic version.
    pub version: Option<String>,
}

/// An amount that a device has.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// How much.
    pub value: Quantity,
}

/// A taint of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceTaint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Option<String>,
    /// `NoSchedule`, `NoExecute`, or `None`, which does nothing.
    pub effect: String,
}
