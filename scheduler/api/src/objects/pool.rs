//! `NodePool`: nodes that are managed together (S1).

use super::amount::Span;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How nodes are preferred (S12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum NodeStrategy {
    #[doc = "Least stranded GPU capacity over the pods that run and wait."]
    #[default]
    Binpack,
    #[doc = "The node with the most left."]
    Spread,
    #[doc = "The fullest node that fits; for comparison."]
    BestFit,
    #[doc = "Fragmentation gradient descent; for comparison."]
    Fgd,
}

/// How a device is chosen on its node for a fraction (S15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum FractionStrategy {
    #[doc = "The shared device with the least remaining memory that fits, then a free one."]
    #[default]
    Binpack,
    #[doc = "The emptiest device."]
    Spread,
}

/// What becomes of pods that use more device memory than they were given (S19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum OverLimit {
    #[doc = "It is reported."]
    #[default]
    Report,
    #[doc = "Preemptible ones are evicted."]
    EvictPreemptible,
    #[doc = "All are evicted but those of Kubernetes' system classes."]
    Evict,
}

/// One node label with its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeLabel {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Value of the label; may be empty.
    #[schemars(length(max = 63))]
    pub value: String,
}

/// Moving workloads so that another fits (S26).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consolidation {
    /// Whether preemptible workloads may be moved when free fragments would do together (S26). Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many workloads may be moved for one that waits, 0 to 1000 (S26). Default 16.
    #[serde(default = "default_moves")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_moves: i32,
}

impl Default for Consolidation {
    fn default() -> Self {
        Self { enabled: true, max_moves: default_moves() }
    }
}

fn yes() -> bool {
    true
}

fn default_moves() -> i32 {
    16
}

fn no_time() -> Span {
    Span("0s".into())
}

fn default_stale_grace() -> Span {
    Span("60s".into())
}

/// A node pool. Nodes that no pool selects are in the pool `default`, which always exists; a NodePool of that name sets what
/// holds there (S1).
#[derive(CustomResource, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "NodePool",
    plural = "nodepools",
    shortname = "np",
    category = "berth",
    status = "NodePoolStatus",
    derive = "PartialEq",
    doc = "Nodes that are managed together: quotas are given per pool, and a workload runs in one (S1).",
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.selector.key"),
    printcolumn(name = "Value", type_ = "string", json_path = ".spec.selector.value"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "GPUs", type_ = "string", json_path = ".status.gpus", description = "Devices that can be given out"),
    printcolumn(name = "Allocated", type_ = "string", json_path = ".status.gpusAllocated", description = "Devices held by pods"),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".spec.gpuStrategy", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == 'default' ? !has(self.spec.selector) : has(self.spec.selector)")
        .message("spec.selector: required in every pool but `default`, and not allowed there: `default` takes the nodes that no other pool selects (S1)"),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name: allowed: at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// The label that makes a node a member. A node that matches two pools belongs to the first by name, and both say so in a
    /// condition (S1). Required, and not allowed in the pool `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NodeLabel>,
    /// Which nodes pods with GPUs prefer (S12): `Binpack` (default: least stranded GPU capacity), `Spread`; for comparison
    /// `BestFit` and `Fgd`.
    #[serde(default)]
    pub gpu_strategy: NodeStrategy,
    /// Which nodes pods without GPUs prefer (S12): as `gpuStrategy`. Default `Binpack`.
    #[serde(default)]
    pub cpu_strategy: NodeStrategy,
    /// Which device of a node a fraction prefers (S15): `Binpack` (default: the fullest that fits) or `Spread` (the emptiest).
    #[serde(default)]
    pub device_strategy: FractionStrategy,
    /// Workloads that run for less than this are not stopped for others (S20). A duration of 0s or more. Default 0s.
    #[serde(default = "no_time")]
    #[x_kube(validation = Rule::new("!self.startsWith('-')").message("allowed: a duration of 0s or more"))]
    pub min_runtime: Span,
    /// How long a running gang may stay below its minimum before it is evicted; negative = for ever (S27). Default 60s.
    #[serde(default = "default_stale_grace")]
    pub stale_grace: Span,
    /// Moving workloads so that another fits (S26). Default: on, at most 16 workloads.
    #[serde(default)]
    pub consolidation: Consolidation,
    /// What becomes of pods that use more device memory than their limit, or more than they asked for where that threatens what
    /// others were guaranteed (S19): `Report` (default), `EvictPreemptible`, or `Evict`, which stops non-preemptible ones too.
    #[serde(default)]
    pub over_limit: OverLimit,
}

impl NodePoolSpec {
    /// A pool with all defaults. Only the pool `default` has no selector.
    pub fn new(selector: Option<NodeLabel>) -> Self {
        Self {
            selector,
            gpu_strategy: NodeStrategy::default(),
            cpu_strategy: NodeStrategy::default(),
            device_strategy: FractionStrategy::default(),
            min_runtime: no_time(),
            stale_grace: default_stale_grace(),
            consolidation: Consolidation::default(),
            over_limit: OverLimit::default(),
        }
    }
}

/// What is so in the pool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and `Overlaps` where a node is selected twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many nodes it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i32>,
    /// How many of them are Ready and not cordoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_ready: Option<i32>,
    /// Devices that can be given out, as a decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<String>,
    /// Devices that pods hold, as a decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_allocated: Option<String>,
}
