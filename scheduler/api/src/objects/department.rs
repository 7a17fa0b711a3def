//! `Department`: divides the cluster among its projects (S2).

use super::quota::{NodeTypes, PoolQuota, default_rank};
use super::status::QueueStatus;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A department (S2).
#[derive(CustomResource, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Department",
    plural = "departments",
    shortname = "dep",
    category = "berth",
    status = "QueueStatus",
    derive = "PartialEq",
    doc = "A department: what it has per node pool is divided among its projects (S2, S7).",
    printcolumn(name = "Rank", type_ = "integer", json_path = ".spec.rank"),
    printcolumn(name = "GPU-Quota", type_ = "string", json_path = ".status.total.gpu.quota"),
    printcolumn(name = "Fair-Share", type_ = "string", json_path = ".status.total.gpu.fairShare"),
    printcolumn(name = "Allocated", type_ = "string", json_path = ".status.total.gpu.allocated"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.workloads.pending"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DepartmentSpec {
    /// Rank among departments; what is over quota goes to the highest first (S7, S8). 0 to 1000000. Default 100.
    #[serde(default = "default_rank")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rank: i32,
    /// What it has, per node pool. In a pool that is not named: a GPU quota of 0, no limit, CPU and memory not managed (S2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<PoolQuota>,
    /// Makes a node type mandatory for every workload of its projects (S11). Unset: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_types: Option<NodeTypes>,
}

impl Default for DepartmentSpec {
    fn default() -> Self {
        Self { rank: default_rank(), pools: Vec::new(), node_types: None }
    }
}
