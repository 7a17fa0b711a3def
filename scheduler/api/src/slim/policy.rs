//! Disruption budgets, priority classes, namespaces.

use super::{meta, null_as_default, resource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A PodDisruptionBudget.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PodDisruptionBudget {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// Whose.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: PodDisruptionBudgetSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: PodDisruptionBudgetStatus,
}

resource!(
    PodDisruptionBudget,
    "PodDisruptionBudget",
    "policy",
    "v1",
    "poddisruptionbudgets",
    NamespaceResourceScope
);

/// Whose budget it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    /// Which pods; none = no pod, empty = every pod of the namespace.
    pub selector: Option<LabelSelector>,
    /// `AlwaysAllow` lets pods that are not ready be evicted regardless.
    pub unhealthy_pod_eviction_policy: Option<String>,
}

/// What is left of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    /// How many pods may be evicted now.
    pub disruptions_allowed: i32,
    /// The generation that this speaks of.
    pub observed_generation: Option<i64>,
    /// Pods whose eviction was granted and is not seen yet.
    #[serde(deserialize_with = "null_as_default")]
    pub disrupted_pods: BTreeMap<String, Time>,
}

/// A PriorityClass.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityClass {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// Its value.
    #[serde(default)]
    pub value: i32,
    /// Whether pods that name no class have it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub global_default: bool,
    /// `Never` or `PreemptLowerPriority`.
    #[serde(default)]
    pub preemption_policy: Option<String>,
}

resource!(PriorityClass, "PriorityClass", "scheduling.k8s.io", "v1", "priorityclasses", ClusterResourceScope);

/// A namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Namespace {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// Finalizers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: NamespaceSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: NamespaceStatus,
}

resource!(Namespace, "Namespace", "", "v1", "namespaces", ClusterResourceScope);

/// What keeps a namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSpec {
    /// Finalizers.
    #[serde(deserialize_with = "null_as_default")]
    pub finalizers: Vec<String>,
}

/// What is so with a namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: Option<String>,
}
