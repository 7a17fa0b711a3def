//! Why a workload is pending (S29). Made by the code that decides.

use crate::{Amounts, Millis, NodeId, PodId, PoolId, QueueId, Timestamp, WorkloadId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The seven kinds of reason, as users filter by them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonKind {
    /// A quota that non-preemptible workloads must stay within (S6).
    Quota,
    /// A limit (S6).
    Limit,
    /// A rule of the administrator, or a scheduling gate.
    Policy,
    /// No pool is ready.
    Pool,
    /// No node meets the constraints, however empty.
    Feasibility,
    /// Not enough is free.
    Capacity,
    /// Enough will be free once others have left.
    Waiting,
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "quota",
            Self::Limit => "limit",
            Self::Policy => "policy",
            Self::Pool => "pool",
            Self::Feasibility => "feasibility",
            Self::Capacity => "capacity",
            Self::Waiting => "waiting",
        })
    }
}

/// A resource that can be short.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resource {
    /// Whole GPU devices, or a share of one: millionths of a device.
    Gpu,
    /// MiB of a GPU's memory.
    GpuMemory,
    /// Thousandths of a core.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes of ephemeral storage.
    Ephemeral,
    /// Pods.
    Pods,
    /// An extended resource, in its own unit.
    Extended(String),
    /// Volumes that can still be attached, by driver.
    Volumes(String),
}

/// How much of a resource is missing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Of what.
    pub resource: Resource,
    /// In the resource's unit.
    pub amount: i64,
}

/// A constraint that a node can fail (S11).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Constraint {
    /// Not ready.
    NotReady,
    /// Cordoned.
    Unschedulable,
    /// A taint that is not tolerated.
    Taint(String),
    /// Node selector, node affinity or node type.
    NodeAffinity,
    /// A volume that the node cannot reach.
    Volume,
    /// The node is too small even when empty.
    TooSmall,
    /// A port of the node is taken.
    HostPort,
    /// Required pod affinity.
    PodAffinity,
    /// Required pod anti-affinity, the pod's own or that of a pod there.
    PodAntiAffinity,
    /// Topology spread.
    TopologySpread,
    /// The required topology level has no domain with room for the gang (S31).
    Topology,
}

/// A rule of the administrator, or a gate, that stands in the way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyReason {
    /// The project or department wants a node type and the workload names none (S11).
    NodeTypeMissing {
        /// Label key of the rule.
        key: String,
        /// What may be chosen.
        allowed: Vec<String>,
    },
    /// The node type is not one of those allowed (S11).
    NodeTypeRefused {
        /// Label key of the rule.
        key: String,
        /// What was chosen.
        value: String,
        /// What may be chosen.
        allowed: Vec<String>,
    },
    /// Scheduling gates are there.
    Gated {
        /// Their names.
        gates: Vec<String>,
    },
}

/// What is wrong with a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PoolState {
    /// It has no nodes.
    Empty,
    /// None of its nodes is ready and schedulable.
    NotReady,
}

/// Why a workload is pending, with the numbers behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Non-preemptible use would exceed a quota (S6).
    Quota {
        /// The queue.
        queue: QueueId,
        /// The pool.
        pool: PoolId,
        /// Of what.
        resource: Resource,
        /// The quota.
        quota: i64,
        /// Non-preemptible use now.
        used: i64,
        /// What the workload asks for.
        asked: i64,
    },
    /// Use would exceed a limit (S6).
    Limit {
        /// The queue.
        queue: QueueId,
        /// The pool.
        pool: PoolId,
        /// Of what.
        resource: Resource,
        /// The limit.
        limit: i64,
        /// Use now.
        used: i64,
        /// What the workload asks for.
        asked: i64,
    },
    /// A rule, or a gate.
    Policy(PolicyReason),
    /// The pool cannot run anything.
    Pool {
        /// The pool; none = the workload's list names none that exists.
        pool: Option<PoolId>,
        /// What is wrong.
        state: PoolState,
    },
    /// No node can ever take the pod as things are, however empty.
    Feasibility {
        /// The pool.
        pool: PoolId,
        /// The role whose pod finds no node.
        role: u16,
        /// Nodes in the pool.
        nodes: u32,
        /// How many nodes fail at each constraint; each node counts once, at the first it fails.
        failed: Vec<(Constraint, u32)>,
    },
    /// Nodes exist that could take the pods, but too little is free on them.
    Capacity {
        /// The pool.
        pool: PoolId,
        /// The role whose pod finds no room.
        role: u16,
        /// Pods (of the gang, or of this elastic pod) for which there is room.
        placed: u32,
        /// Pods for which room is needed at once.
        wanted: u32,
        /// The node with the least missing for one more pod, if any node could take it.
        closest: Option<NodeId>,
        /// What is missing there for one more pod.
        missing: Vec<Missing>,
    },
    /// Room is held for it in time: others are kept off these nodes until it fits.
    Holding {
        /// The pool.
        pool: PoolId,
        /// Where, by id.
        nodes: Vec<NodeId>,
        /// When those that run there have said they will be done; none = not all have said so.
        until: Option<Timestamp>,
    },
    /// There is room, and it is held for another.
    Held {
        /// The pool.
        pool: PoolId,
        /// For whom.
        workload: WorkloadId,
        /// On how many nodes.
        nodes: u32,
        /// When it is expected to start; none = not known.
        until: Option<Timestamp>,
    },
    /// Room is kept and will be free.
    Waiting {
        /// The pool.
        pool: PoolId,
        /// Those that must leave first.
        leaving: Vec<PodId>,
        /// When the last of them must be gone.
        until: Timestamp,
    },
}

impl Reason {
    /// The kind.
    pub const fn kind(&self) -> ReasonKind {
        match self {
            Self::Quota { .. } => ReasonKind::Quota,
            Self::Limit { .. } => ReasonKind::Limit,
            Self::Policy(_) => ReasonKind::Policy,
            Self::Pool { .. } => ReasonKind::Pool,
            Self::Feasibility { .. } => ReasonKind::Feasibility,
            Self::Capacity { .. } | Self::Holding { .. } | Self::Held { .. } => ReasonKind::Capacity,
            Self::Waiting { .. } => ReasonKind::Waiting,
        }
    }
}

/// The smallest change of the reason's own number that would start the workload (S29).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A queue's quota or limit must grow by this much, or others of it must end.
    Raise {
        /// The queue.
        queue: QueueId,
        /// The pool.
        pool: PoolId,
        /// Of what.
        resource: Resource,
        /// By how much, in the resource's unit.
        by: i64,
    },
    /// This much must become free on one node, for each of `pods` more pods.
    Free {
        /// The pool.
        pool: PoolId,
        /// Where the least is missing.
        node: NodeId,
        /// What.
        missing: Vec<Missing>,
        /// For how many pods room is missing.
        pods: u32,
    },
    /// Nodes that meet the constraints must be added, or a constraint dropped: the one most nodes fail at.
    Nodes {
        /// The pool.
        pool: PoolId,
        /// The constraint most nodes fail at.
        constraint: Option<Constraint>,
    },
    /// One of these values must be chosen.
    Choose {
        /// What may be chosen.
        allowed: Vec<String>,
    },
    /// The gates must be removed.
    Ungate {
        /// Their names.
        gates: Vec<String>,
    },
    /// It must declare to run for no longer than this, so that it is done before the room is needed.
    Declare {
        /// At the most.
        runtime: Millis,
    },
    /// Another must start first, or stop waiting.
    After {
        /// Which.
        workload: WorkloadId,
    },
    /// Nothing: it starts by itself at the latest at this time.
    Wait {
        /// At the latest.
        until: Timestamp,
    },
}

/// What one pool says to a workload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolReason {
    /// The pool.
    pub pool: PoolId,
    /// Why not there.
    pub reason: Reason,
    /// What would start it there, as far as this reason goes.
    pub change: Change,
    /// What would stand in the way next, if the change were made; none = it would start.
    pub next: Option<Reason>,
}

/// The whole answer to "why is it pending?".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The workload.
    pub workload: WorkloadId,
    /// Pods that run or are placed.
    pub running: u32,
    /// Pods that should run and do not.
    pub pending: u32,
    /// What the pending pods of the minimum (or the next elastic pod) ask of the quotas.
    pub asked: Amounts,
    /// The dominant reason, that of the pool nearest to starting; none if nothing is pending or it is not yet decided.
    pub reason: Option<Reason>,
    /// The smallest change that would start it.
    pub change: Option<Change>,
    /// The next obstacle after that change.
    pub next: Option<Reason>,
    /// Pool by pool, in the workload's order.
    pub pools: Vec<PoolReason>,
}
