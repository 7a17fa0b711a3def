//! Kubernetes' own objects, cut down to what scheduling reads.
//!
//! A watch of `Api<slim::Pod>` decodes straight into these; everything else in an object, managed fields above all, is
//! skipped while decoding and never allocated. They implement [`kube::Resource`], so that every client call works with them.
//! They are for reading: to change an object send a patch, for what is cut away would be lost in a replacement.
//!
//! Parts that scheduling needs whole (affinity, tolerations, spread constraints, label selectors) are `k8s_openapi`'s.
//!
//! What a watch delivers is kept as a [`crate::keep::Pod`]; see there for what a pod costs in memory.

mod claims;
mod devices;
mod meta;
mod node;
pub mod owners;
mod pod;
mod policy;
mod storage;

pub use claims::{
    AllocatedDevice, AllocatedDevices, Allocation, CapacityRequests, Cel, Consumer, DeviceClaim, DeviceClass,
    DeviceClassSpec, DeviceConfig, DeviceRequest, DeviceSelector, ExactRequest, Opaque, ResourceClaim,
    ResourceClaimSpec, ResourceClaimStatus,
};
pub use devices::{Attribute, Capacity, Device, DeviceTaint, Pool, ResourceSlice, ResourceSliceSpec};
pub use meta::named;
pub use node::{Node, NodeCondition, NodeSpec, NodeStatus};
pub use pod::{
    Claim, Container, ContainerPort, ContainerStatus, Ephemeral, Gate, Pod, PodCondition, PodSpec, PodStatus,
    Requirements, ResourceClaimMade, ResourceClaimUse, Volume,
};
pub use policy::{
    Namespace, NamespaceSpec, NamespaceStatus, PodDisruptionBudget, PodDisruptionBudgetSpec,
    PodDisruptionBudgetStatus, PriorityClass,
};
pub use storage::{
    CsiNode, CsiNodeDriver, CsiNodeSpec, CsiSource, CsiVolumeCount, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PersistentVolumeSpec, Phase, StorageClass, VolumeNodeAffinity,
};

/// Implements `kube::Resource` for a cut-down type.
macro_rules! resource {
    ($type:ident, $kind:expr, $group:literal, $version:literal, $plural:literal, $scope:ident) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use resource;

/// Reads `null` as the default, as the API server writes empty lists now and then.
fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + serde::Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(<Option<T> as serde::Deserialize>::deserialize(from)?.unwrap_or_default())
}
