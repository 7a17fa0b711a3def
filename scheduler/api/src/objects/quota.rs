//! What a department or a project has in one pool, and its rules; shared by both kinds.

use super::amount::{CpuAmount, GpuAmount, MemoryAmount};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Rank of a queue when none is given (S2).
pub const DEFAULT_RANK: i32 = 100;

pub(super) fn default_rank() -> i32 {
    DEFAULT_RANK
}

macro_rules! resource_quota {
    ($(#[$doc:meta])* $name:ident, $amount:ty, $unset:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
        #[x_kube(validation = Rule::new(
            "!has(self.quota) || !has(self.limit) || string(self.quota) == 'unlimited' || string(self.limit) == 'unlimited' || !isQuantity(string(self.quota)) || !isQuantity(string(self.limit)) || quantity(string(self.limit)).compareTo(quantity(string(self.quota))) >= 0"
        ).message(Message::Expression("'limit ' + string(self.limit) + ' is less than quota ' + string(self.quota) + '; allowed: a limit of at least the quota, or none'".into())))]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            #[doc = $unset]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub quota: Option<$amount>,
            /// The most that may be used, over quota included (S6). Unset or "unlimited": no limit.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub limit: Option<$amount>,
        }
    };
}

resource_quota!(
    /// GPUs, in devices.
    GpuQuota, GpuAmount,
    "What is deserved: it is got back from others when needed (S22), and non-preemptible workloads stay within it (S6). In devices, as in 8 or \"1.5\", or \"unlimited\". Unset: 0 (S2)."
);
resource_quota!(
    /// CPU, in cores.
    CpuQuota, CpuAmount,
    "What is deserved, in cores, as in 64 or \"500m\", or \"unlimited\". Unset: CPU is not managed and never blocks anything, unless a limit is set (S2)."
);
resource_quota!(
    /// Memory, in bytes.
    MemoryQuota, MemoryAmount,
    "What is deserved, in bytes, as in \"512Gi\", or \"unlimited\". Unset: memory is not managed and never blocks anything, unless a limit is set (S2)."
);

/// What the queue has in one node pool (S2).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolQuota {
    /// Name of the NodePool.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// GPUs. Unset: a quota of 0 and no limit (S2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuQuota>,
    /// CPU. Unset: not managed (S2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuQuota>,
    /// Memory. Unset: not managed (S2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryQuota>,
    /// Over-quota weight: how what is left over after quotas is divided among queues of one rank (S7). Unset: the GPU quota
    /// in devices, at least 1 (S2). 0: nothing of the rest, though what is idle may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<i32>,
}

/// Makes a node type mandatory: a workload without one, or with another value, is refused (S11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTypes {
    /// Key of the node label that names the type, for example `nvidia.com/gpu.product`.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// The values that workloads may choose, by label or annotation `berth.dev/node-type`; at least one.
    #[schemars(length(min = 1, max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub values: Vec<String>,
}
