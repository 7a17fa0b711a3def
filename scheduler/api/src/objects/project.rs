//! `Project`: the queue that workloads belong to; it owns a namespace (S2).

use super::amount::Span;
use super::quota::{NodeTypes, PoolQuota, default_rank};
use super::status::QueueStatus;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What holds for workloads of the project that say nothing themselves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadDefaults {
    /// How long pods may take to end when evicted, 0s to 5m (S23). Unset: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^(0|0s|[0-9]{1,3}s|[0-5]m|[0-4]m[0-9]{1,2}s)$') && (!self.matches('^[0-9]{1,3}s$') || int(self.replace('s', '')) <= 300)")
        .message("allowed: a duration from 0s to 5m in minutes and seconds, as in 30s or 2m30s"))]
    pub grace: Option<Span>,
    /// How long a gang may stay below its minimum before it is evicted; negative = for ever (S27). Unset: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_grace: Option<Span>,
    /// How long a gang may take from its last binding until all its minimums run before it is requeued (S5). Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!self.startsWith('-')").message("allowed: a duration of 0s or more"))]
    pub start_timeout: Option<Span>,
}

/// A project (S2).
#[derive(CustomResource, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "projects",
    shortname = "proj",
    category = "berth",
    status = "QueueStatus",
    derive = "PartialEq",
    selectable = ".spec.department",
    doc = "A project: the queue of the workloads in the namespace that it owns (S2).",
    printcolumn(name = "Department", type_ = "string", json_path = ".spec.department"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace", priority = 1),
    printcolumn(name = "Rank", type_ = "integer", json_path = ".spec.rank", priority = 1),
    printcolumn(name = "GPU-Quota", type_ = "string", json_path = ".status.total.gpu.quota"),
    printcolumn(name = "Fair-Share", type_ = "string", json_path = ".status.total.gpu.fairShare"),
    printcolumn(name = "Allocated", type_ = "string", json_path = ".status.total.gpu.allocated"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.workloads.running"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.workloads.pending"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name: allowed: at most 63 characters, without a point, as for a namespace"),
    validation = Rule::new("has(self.spec.__namespace__) || !(self.metadata.name in ['default', 'kube-system', 'kube-public', 'kube-node-lease'])")
        .message("metadata.name: allowed: a name of a namespace that is not Kubernetes' own, unless spec.namespace names another")
)]
#[x_kube(validation = Rule::new("has(self.__namespace__) == has(oldSelf.__namespace__) && (!has(self.__namespace__) || self.__namespace__ == oldSelf.__namespace__)")
    .message("namespace: cannot be changed; make another project"))]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// Name of its Department. Required.
    #[schemars(length(min = 1, max = 253))]
    pub department: String,
    /// The namespace that it owns and that its workloads run in; it is made if it is not there. Default: the project's name.
    /// One that somebody else made becomes the project's only if it is named here, or if its label `berth.dev/project` names the
    /// project. It outlives the project. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("allowed: a name of a namespace: lower-case letters, digits and -"),
        validation = Rule::new("!(self in ['default', 'kube-system', 'kube-public', 'kube-node-lease'])").message("allowed: a namespace that is not Kubernetes' own"))]
    pub namespace: Option<String>,
    /// Rank among the projects of its department; what is over quota goes to the highest first (S7, S8). 0 to 1000000.
    /// Default 100.
    #[serde(default = "default_rank")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rank: i32,
    /// Names of the node pools that its workloads try, in this order, when they name none (S10). Unset: every pool by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a == b))").message(Message::Expression("self.join(', ') + '; allowed: every pool at most once'".into())))]
    pub pool_order: Vec<String>,
    /// What it has, per node pool. In a pool that is not named: a GPU quota of 0, no limit, CPU and memory not managed (S2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<PoolQuota>,
    /// Makes a node type mandatory for its workloads (S11). Unset: its department's rule, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_types: Option<NodeTypes>,
    /// What holds for workloads that say nothing themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_defaults: Option<WorkloadDefaults>,
    /// After how long a node pool holds room for a workload of the project that waits for all its minimums, so that small ones
    /// do not keep it waiting for ever; negative = never. Unset: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_after: Option<Span>,
}

impl ProjectSpec {
    /// A project of this department that says nothing else.
    pub fn new(department: impl Into<String>) -> Self {
        Self {
            department: department.into(),
            namespace: None,
            rank: default_rank(),
            pool_order: Vec::new(),
            pools: Vec::new(),
            node_types: None,
            workload_defaults: None,
            hold_after: None,
        }
    }
}

impl Project {
    /// The namespace that it owns.
    pub fn owned_namespace(&self) -> &str {
        self.spec.namespace.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}
