//! Workloads: roles of identical pods that start together (S4, S5).

use crate::{Labels, Millis, PodSpec, PoolId, ProjectId, Timestamp, WorkloadId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A priority; higher is scheduled first (S4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub i32);

impl Priority {
    /// The named priorities and their values.
    pub const NAMED: [(&str, Self); 7] = [
        ("very-low", Self(25)),
        ("low", Self(40)),
        ("medium-low", Self(65)),
        ("medium", Self(80)),
        ("medium-high", Self(90)),
        ("high", Self(125)),
        ("very-high", Self(150)),
    ];

    /// The priority with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(n, _)| *n == name).map(|(_, p)| *p)
    }

    /// From here on a pod is critical to the system, and is never stopped (S28).
    pub const SYSTEM_CRITICAL: Self = Self(2_000_000_000);

    /// Whether a workload of this priority is preemptible if nothing else is said (S4).
    pub const fn preemptible(self) -> bool {
        self.0 < 100
    }
}

/// One topology level that the workload's minimums should share (S31).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyRequest {
    /// The node label that names the level: rack, NVLink domain, zone.
    pub key: String,
    /// All minimums must be in one domain; otherwise it is preferred.
    pub required: bool,
}

/// Identical pods of a workload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSpec {
    /// Name, unique in the workload.
    pub name: String,
    /// How many pods there should be.
    pub count: u32,
    /// How many must be placed for the workload to start; at most `count`.
    pub min: u32,
    /// Labels of its pods. Many workloads have the same ones.
    #[serde(default, skip_serializing_if = "no_labels")]
    pub labels: Arc<Labels>,
    /// What each pod asks for.
    pub pod: Arc<PodSpec>,
}

fn no_labels(labels: &Arc<Labels>) -> bool {
    labels.is_empty()
}

/// A workload was evicted for another (S25, S33).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eviction {
    /// For whom.
    pub beneficiary: WorkloadId,
    /// When.
    pub at: Timestamp,
}

/// A workload as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Identifier.
    pub id: WorkloadId,
    /// Name, unique in its project or namespace.
    pub name: String,
    /// Its project; none = an unmanaged namespace (S3).
    pub project: Option<ProjectId>,
    /// Namespace of its pods if it has no project; with one, the project's name counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Priority.
    pub priority: Priority,
    /// Whether it may be stopped for others (S20, S28).
    pub preemptible: bool,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// How long its pods may take to end when evicted (S23).
    pub grace: Millis,
    /// Pools in the order of preference; empty = its project's list (S10).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolId>,
    /// The node type it chose, a value of its project's or department's rule (S11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// The topology level it wants (S31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyRequest>,
    /// How long it says it will run; backfill may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_runtime: Option<Millis>,
    /// For how long its pods may be bound without running; none = for ever (S5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Millis>,
    /// Its own bound for S27; negative = for ever; none = the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_grace: Option<Millis>,
    /// Since when it has been below its minimum, if it has (S27, S33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// When it was last evicted, per beneficiary, as found written down at the start (S25, S33).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evictions: Vec<Eviction>,
    /// Its roles; at most 65,536.
    pub roles: Vec<RoleSpec>,
}

impl WorkloadSpec {
    /// The declared runtime as backfill counts it, rounded up: up to a minute to whole seconds, up to 10 minutes to whole
    /// minutes, up to 2 hours to 5 minutes, up to a day to half an hour, up to 30 days to 6 hours. So there are few of
    /// them, and workloads that differ in nothing else share their verdicts. None if nothing is declared, or more.
    pub fn runtime_step(declared: Option<Millis>) -> Option<Millis> {
        const STEPS: [(i64, i64); 5] =
            [(60, 1), (600, 60), (7200, 300), (86_400, 1800), (30 * 86_400, 6 * 3600)];
        let Millis(declared) = declared.filter(|declared| *declared >= Millis::ZERO)?;
        let (_, step) = STEPS.into_iter().find(|(most, _)| declared <= most * 1000)?;
        Some(Millis((declared + step * 1000 - 1) / (step * 1000) * (step * 1000)))
    }

    /// A preemptible workload of priority 50 with a grace of 30 s (S23) that says nothing else.
    pub fn new(
        id: WorkloadId,
        project: Option<ProjectId>,
        submitted: Timestamp,
        roles: Vec<RoleSpec>,
    ) -> Self {
        Self {
            id,
            name: String::new(),
            project,
            namespace: String::new(),
            priority: Priority(50),
            preemptible: true,
            submitted,
            grace: Millis::from_secs(30),
            pools: Vec::new(),
            node_type: None,
            topology: None,
            expected_runtime: None,
            start_timeout: None,
            stale_grace: None,
            stale_since: None,
            evictions: Vec::new(),
            roles,
        }
    }
}
