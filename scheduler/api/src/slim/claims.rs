//! Claims of devices (DRA): what is asked for, and what was allocated.

use super::pod::Amounts;
use super::{meta, null_as_default, resource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A claim of devices.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ResourceClaim {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: ResourceClaimSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: ResourceClaimStatus,
}

resource!(ResourceClaim, "ResourceClaim", "resource.k8s.io", "v1", "resourceclaims", NamespaceResourceScope);

/// What a claim asks for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceClaimSpec {
    /// Devices.
    #[serde(deserialize_with = "null_as_default")]
    pub devices: DeviceClaim,
}

/// Devices that are asked for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceClaim {
    /// Requests, all of which must be met.
    #[serde(deserialize_with = "null_as_default")]
    pub requests: Vec<DeviceRequest>,
    /// What the devices must have in common.
    #[serde(deserialize_with = "null_as_default")]
    pub constraints: Vec<Value>,
    /// Parameters of drivers.
    #[serde(deserialize_with = "null_as_default")]
    pub config: Vec<DeviceConfig>,
}

/// One request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceRequest {
    /// Name, unique in the claim.
    pub name: String,
    /// What it is.
    pub exactly: Option<ExactRequest>,
    /// Alternatives.
    #[serde(deserialize_with = "null_as_default")]
    pub first_available: Vec<Value>,
}

/// Devices of one class.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExactRequest {
    /// The class.
    pub device_class_name: String,
    /// What the devices must be, besides.
    #[serde(deserialize_with = "null_as_default")]
    pub selectors: Vec<DeviceSelector>,
    /// `ExactCount` or `All`.
    pub allocation_mode: Option<String>,
    /// How many.
    pub count: Option<i64>,
    /// Beside whoever has them.
    pub admin_access: Option<bool>,
    /// Taints that do not keep it away.
    #[serde(deserialize_with = "null_as_default")]
    pub tolerations: Vec<Value>,
    /// How much of each device.
    pub capacity: Option<CapacityRequests>,
}

/// Amounts of each device.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityRequests {
    /// By name of the capacity.
    #[serde(deserialize_with = "null_as_default")]
    pub requests: Amounts,
}

/// Parameters of a driver.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceConfig {
    /// The requests that it is for; empty = all.
    #[serde(deserialize_with = "null_as_default")]
    pub requests: Vec<String>,
    /// What only the driver understands.
    pub opaque: Option<Opaque>,
}

/// What only a driver understands.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Opaque {
    /// The driver.
    pub driver: String,
    /// An object of the driver's own.
    pub parameters: Value,
}

/// What is so with a claim.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceClaimStatus {
    /// What it was given.
    pub allocation: Option<Allocation>,
    /// Who uses it.
    #[serde(deserialize_with = "null_as_default")]
    pub reserved_for: Vec<Consumer>,
}

/// What a claim was given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Allocation {
    /// Devices.
    #[serde(deserialize_with = "null_as_default")]
    pub devices: AllocatedDevices,
}

/// Devices that a claim was given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocatedDevices {
    /// Each of them.
    #[serde(deserialize_with = "null_as_default")]
    pub results: Vec<AllocatedDevice>,
    /// Parameters of drivers.
    #[serde(deserialize_with = "null_as_default")]
    pub config: Vec<DeviceConfig>,
}

/// A device, or a part of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllocatedDevice {
    /// The request that it was given for.
    pub request: String,
    /// The driver.
    pub driver: String,
    /// The pool.
    pub pool: String,
    /// The device's name in the pool.
    pub device: String,
    /// How much of it.
    #[serde(deserialize_with = "null_as_default")]
    pub consumed_capacity: Amounts,
}

/// A user of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Consumer {
    /// What it is, as in `pods`.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A class of devices.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceClass {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What it is.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: DeviceClassSpec,
}

resource!(DeviceClass, "DeviceClass", "resource.k8s.io", "v1", "deviceclasses", ClusterResourceScope);

/// What a class is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceClassSpec {
    /// Which devices are of it.
    #[serde(deserialize_with = "null_as_default")]
    pub selectors: Vec<DeviceSelector>,
    /// Parameters of drivers.
    #[serde(deserialize_with = "null_as_default")]
    pub config: Vec<DeviceConfig>,
}

/// A condition on a device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceSelector {
    /// As an expression.
    pub cel: Option<Cel>,
}

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cel {
    /// In CEL.
    pub expression: String,
}
