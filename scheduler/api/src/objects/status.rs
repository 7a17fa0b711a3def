//! What is told back in the status of our objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Condition of every kind: the object is understood and in force. Its message says what is wrong if it is not.
pub const READY: &str = "Ready";
/// Condition of a Project: its namespace is there and its own. Its message says what is in the way if it is not.
pub const NAMESPACE_READY: &str = "NamespaceReady";
/// Condition of a NodePool: `True` while a node of it is selected by another pool too; the message names both (S1).
pub const OVERLAPS: &str = "Overlaps";
/// Condition of a NodePool, Department or Project: `True` while quotas exceed what there is (S7).
pub const OVERCOMMITTED: &str = "Overcommitted";
/// Condition of a Project: `True` while its deletion waits for workloads or volumes; the message counts them.
pub const DELETION_BLOCKED: &str = "DeletionBlocked";

/// Amounts of one resource in one pool. Decimal strings: devices, cores, or bytes with a suffix.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceUsage {
    /// What is deserved (S2); absent if not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// The most that may be used; absent if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The share that it has at present, which follows quotas, demand, ranks and weights (S7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair_share: Option<String>,
    /// What its pods hold, those that are leaving included (S6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<String>,
    /// What its non-preemptible pods hold (S6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_non_preemptible: Option<String>,
}

/// The three managed resources.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// GPUs, in devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<ResourceUsage>,
    /// CPU, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<ResourceUsage>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ResourceUsage>,
}

/// The usage of a queue in one pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolUsage {
    /// Name of the NodePool.
    pub name: String,
    /// Amounts there.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How many workloads a queue has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCounts {
    /// Workloads with all their minimums placed (S5).
    #[serde(default)]
    pub running: i32,
    /// Workloads that wait.
    #[serde(default)]
    pub pending: i32,
}

/// What is left in the namespace of a Project: while there is anything, the Project is not deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Workloads that have not ended.
    #[serde(default)]
    pub workloads: i32,
    /// Volume claims.
    #[serde(default)]
    pub volume_claims: i32,
}

/// The status of a Department or a Project.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and what else is to be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The namespace that is owned; of a Project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What is left in that namespace; of a Project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// How many workloads there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,
    /// Sums over all pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Usage>,
    /// Amounts per pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<PoolUsage>,
}
