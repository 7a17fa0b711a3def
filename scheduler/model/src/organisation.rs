//! Who may use what: node pools, departments, projects and their quotas (S1, S2).

use crate::{Bytes, DepartmentId, GpuShare, Labels, MilliCpu, Millis, PoolId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// How nodes are preferred in a pool (S12).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Least stranded GPU capacity over the shapes present (the default).
    #[default]
    Binpack,
    /// The node with the most left.
    Spread,
    /// The fullest node that fits, as plain best-fit does; for comparison.
    BestFit,
    /// Fragmentation gradient descent (Weng et al., USENIX ATC'23) over the shapes present; for comparison.
    Fgd,
}

/// How a device is chosen on the node for a fraction (S15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceStrategy {
    /// The shared device with the least remaining memory that fits, then a free one.
    #[default]
    Binpack,
    /// The emptiest device.
    Spread,
}

/// What becomes of pods that use more device memory than they were given (S19).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OverLimit {
    /// They are reported.
    #[default]
    Report,
    /// Those that are preemptible are evicted.
    EvictPreemptible,
    /// They are evicted, system-critical ones apart (S28).
    Evict,
}

/// The one label that makes a node a member of a pool (S1).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSelector {
    /// Label key.
    pub key: String,
    /// Label value.
    pub value: String,
}

/// A node pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Identifier.
    pub id: PoolId,
    /// Name, unique. The pool named `default` takes the nodes that no other pool selects.
    pub name: String,
    /// Which nodes belong to it; none only for `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<PoolSelector>,
    /// Preference among nodes for pods that ask for GPUs.
    #[serde(default)]
    pub gpu: Strategy,
    /// Preference among nodes for pods that ask for none.
    #[serde(default)]
    pub cpu: Strategy,
    /// Preference among the devices of a node for fractions.
    #[serde(default)]
    pub device: DeviceStrategy,
    /// Workloads that run for less than this are no victims (S20).
    #[serde(default)]
    pub min_runtime: Millis,
    /// How long a gang may stay below its minimum (S27); negative = for ever.
    pub stale_grace: Millis,
    /// Whether running workloads may be moved (S26).
    pub consolidation: bool,
    /// How many workloads may be moved for one beneficiary (S26).
    pub max_moves: u32,
    /// What becomes of pods that use more device memory than they were given (S19).
    #[serde(default)]
    pub over_limit: OverLimit,
}

impl PoolSpec {
    /// The name of the pool that always exists.
    pub const DEFAULT_NAME: &str = "default";

    /// A pool with the defaults of semantics S12, S20, S26 and S27.
    pub fn new(id: PoolId, name: impl Into<String>, selector: Option<PoolSelector>) -> Self {
        Self {
            id,
            name: name.into(),
            selector,
            gpu: Strategy::Binpack,
            cpu: Strategy::Binpack,
            device: DeviceStrategy::Binpack,
            min_runtime: Millis::ZERO,
            stale_grace: Millis::from_secs(60),
            consolidation: true,
            max_moves: 16,
            over_limit: OverLimit::Report,
        }
    }

    /// True if a node with these labels matches the pool's selector.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|s| labels.get(&s.key) == Some(&s.value))
    }
}

/// A quota of one resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quota {
    /// Not managed: never blocks anything.
    #[default]
    Unmanaged,
    /// This much, in the resource's unit.
    Of(i64),
    /// Whatever is asked for.
    Unlimited,
}

/// Quota and limit of one resource: millionths of a device, thousandths of a core, or bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceQuota {
    /// What is deserved.
    pub quota: Quota,
    /// The most that may be used; none = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

impl ResourceQuota {
    /// True if anything is said: a limit manages a resource as a quota does, one that is unlimited (S2).
    pub const fn managed(&self) -> bool {
        !matches!(self.quota, Quota::Unmanaged) || self.limit.is_some()
    }
}

/// What a department or project has in one pool (S2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueQuota {
    /// GPU, in millionths of a device. Unset means a quota of 0, so it is never `Unmanaged`.
    pub gpu: ResourceQuota,
    /// CPU, in thousandths of a core.
    #[serde(default)]
    pub cpu: ResourceQuota,
    /// Memory, in bytes.
    #[serde(default)]
    pub memory: ResourceQuota,
    /// Over-quota weight; none = the GPU quota in devices, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

impl Default for QueueQuota {
    /// What a queue has in a pool for which nothing is said: no quota, no limit (S2).
    fn default() -> Self {
        Self {
            gpu: ResourceQuota { quota: Quota::Of(0), limit: None },
            cpu: ResourceQuota::default(),
            memory: ResourceQuota::default(),
            weight: None,
        }
    }
}

impl QueueQuota {
    /// The over-quota weight: the one set, else the GPU quota in devices, at least 1 (S2).
    pub fn over_quota_weight(&self) -> i64 {
        match (self.weight, self.gpu.quota) {
            (Some(weight), _) => weight.into(),
            (None, Quota::Of(quota)) => (quota / GpuShare::DEVICE.0).max(1),
            (None, Quota::Unlimited | Quota::Unmanaged) => 1,
        }
    }

    /// Everything that is asked for is within quota.
    pub fn unlimited() -> Self {
        Self { gpu: ResourceQuota { quota: Quota::Unlimited, limit: None }, ..Self::default() }
    }
}

/// The rule that makes a node type mandatory (S11).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTypeRule {
    /// The node label's key.
    pub key: String,
    /// The values a workload may choose.
    pub values: Vec<String>,
}

/// A department.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DepartmentSpec {
    /// Identifier.
    pub id: DepartmentId,
    /// Name, unique among departments.
    pub name: String,
    /// When it was created; the older goes first where all else is equal (S8).
    pub created: Timestamp,
    /// Rank; higher goes first. Default 100.
    pub rank: i32,
    /// Per pool; a pool not named has [`QueueQuota::default`].
    #[serde(default)]
    pub quotas: Vec<(PoolId, QueueQuota)>,
    /// Mandatory node type, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_types: Option<NodeTypeRule>,
}

/// A project.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectSpec {
    /// Identifier.
    pub id: ProjectId,
    /// Name, unique among projects; also the namespace of its pods.
    pub name: String,
    /// Its department.
    pub department: DepartmentId,
    /// When it was created; the older goes first where all else is equal (S8).
    pub created: Timestamp,
    /// Rank; higher goes first. Default 100.
    pub rank: i32,
    /// Per pool; a pool not named has [`QueueQuota::default`].
    #[serde(default)]
    pub quotas: Vec<(PoolId, QueueQuota)>,
    /// Pools its workloads try, in order, when they name none; empty = every pool by name (S10).
    #[serde(default)]
    pub pools: Vec<PoolId>,
    /// Mandatory node type, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_types: Option<NodeTypeRule>,
    /// After how long a pool holds room for a workload that waits for all its minimums; negative = it never does; none =
    /// [`ProjectSpec::HOLD_AFTER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_after: Option<Millis>,
}

impl ProjectSpec {
    /// After how long room is held if a project says nothing else, and for workloads without a project.
    pub const HOLD_AFTER: Millis = Millis::from_secs(24 * 3600);
}

/// Amounts of the three resources that quotas manage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Millionths of a device.
    pub gpu: GpuShare,
    /// Thousandths of a core.
    pub cpu: MilliCpu,
    /// Bytes.
    pub memory: Bytes,
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.gpu += other.gpu;
        self.cpu += other.cpu;
        self.memory += other.memory;
    }
}

impl std::ops::SubAssign for Amounts {
    fn sub_assign(&mut self, other: Self) {
        self.gpu -= other.gpu;
        self.cpu -= other.cpu;
        self.memory -= other.memory;
    }
}
