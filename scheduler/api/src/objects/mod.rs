//! The API objects of `berth.dev/v1alpha1`, all cluster-scoped: [`NodePool`], [`Department`], [`Project`].
//!
//! The structs are the source: `deploy/crds/*.yaml` is written from them by `berth-manifests`, documentation, defaults,
//! ranges and rules included. Rules are CEL with messages of ours; every list and string has a bound, which keeps the cost of
//! the rules within what the API server allows. What a rule cannot see (that a department exists, say) is a condition.

#![allow(clippy::duplicated_attributes, reason = "columns of one type are no duplicates")]
#![allow(unreachable_pub, reason = "what KubeSchema derives repeats the structs inside a function")]

pub mod amount;
mod department;
mod pool;
mod project;
mod quota;
pub mod status;

pub use department::{Department, DepartmentSpec};
pub use pool::{
    Consolidation, FractionStrategy, NodeLabel, NodePool, NodePoolSpec, NodePoolStatus, NodeStrategy,
    OverLimit,
};
pub use project::{Project, ProjectSpec, WorkloadDefaults};
pub use quota::{CpuQuota, DEFAULT_RANK, GpuQuota, MemoryQuota, NodeTypes, PoolQuota};
pub use status::QueueStatus;

pub use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition as Crd;
use kube::CustomResourceExt;

/// Every CRD of Berth, by name.
pub fn crds() -> Vec<Crd> {
    vec![Department::crd(), NodePool::crd(), Project::crd()]
}
