//! What happens to a cluster. The engine's whole input.

use crate::{
    BudgetId, BudgetSpec, DepartmentId, DepartmentSpec, DeviceHealth, DeviceIndex, GpuGrant, GpuMemoryMib,
    NodeId, NodeSpec, Placement, PodId, PoolId, PoolSpec, ProjectId, ProjectSpec, QueueId, QueueQuota,
    Timestamp, WorkloadId, WorkloadSpec,
};
use serde::{Deserialize, Serialize};

/// How a pod ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodOutcome {
    /// It did its work. It counts towards the minimum and is not replaced (S27).
    Succeeded,
    /// It failed. It does not count towards the minimum and is not replaced.
    Failed,
    /// It was evicted or lost with its node: it is pending again.
    Evicted,
    /// Its owner deleted it: it is not wanted any more.
    Deleted,
}

/// A pod that has a node, as found or as confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodState {
    /// The pod.
    pub pod: PodId,
    /// Its node.
    pub node: NodeId,
    /// Its devices. `None` for a pod that asks for GPUs means that any free ones are taken.
    pub gpus: GpuGrant,
    /// Since when it has run.
    pub since: Timestamp,
    /// It is already terminating and will be gone at this time at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Timestamp>,
    /// It terminates because it was evicted and will be pending again (S33), not by the will of its owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evicted: bool,
    /// It is bound to the node and does not run there yet, for example because its image is still to come (S5).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starting: bool,
}

impl PodState {
    /// A pod that runs and is not terminating.
    pub const fn new(pod: PodId, node: NodeId, gpus: GpuGrant, since: Timestamp) -> Self {
        Self { pod, node, gpus, since, leaving: None, evicted: false, starting: false }
    }
}

/// Something that happened. Objects are set whole: a `Set` of a known id is an update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// A pool is added or changed.
    PoolSet(PoolSpec),
    /// A pool is removed; its nodes go to another pool that selects them, else to `default`.
    PoolRemoved(PoolId),
    /// A department is added or changed.
    DepartmentSet(DepartmentSpec),
    /// A department without projects is removed.
    DepartmentRemoved(DepartmentId),
    /// A project is added or changed.
    ProjectSet(ProjectSpec),
    /// A project without workloads is removed.
    ProjectRemoved(ProjectId),
    /// The quota of one queue in one pool changes.
    QuotaSet {
        /// The queue.
        queue: QueueId,
        /// The pool.
        pool: PoolId,
        /// From now on.
        quota: QueueQuota,
    },
    /// A node is added or changed. Devices keep their pods by index.
    NodeSet(NodeSpec),
    /// A node is gone, and every pod on it is pending again.
    NodeRemoved(NodeId),
    /// A node becomes ready or not, cordoned or not.
    NodeCondition {
        /// The node.
        node: NodeId,
        /// Ready to run pods.
        ready: bool,
        /// Cordoned.
        unschedulable: bool,
    },
    /// The health of a device changes (S18).
    DeviceHealth {
        /// The node.
        node: NodeId,
        /// The device.
        device: DeviceIndex,
        /// From now on.
        health: DeviceHealth,
    },
    /// Memory on a device that belongs to no pod, as measured (S17).
    DeviceForeign {
        /// The node.
        node: NodeId,
        /// The device.
        device: DeviceIndex,
        /// From now on.
        memory: GpuMemoryMib,
    },
    /// GPU memory of a pod as measured, on one of its devices (S19).
    PodMemory {
        /// The pod.
        pod: PodId,
        /// The device.
        device: DeviceIndex,
        /// Now.
        memory: GpuMemoryMib,
    },
    /// A disruption budget is added or changed, or its controller has counted anew (S20). Its number is taken to
    /// contain every eviction that has been confirmed before, by a `PodLeaving` or a `PodEnded`; those that were decided
    /// and not confirmed count on top of it.
    BudgetSet(BudgetSpec),
    /// A disruption budget is removed.
    BudgetRemoved(BudgetId),
    /// Nobody is told to end before this time: what runs when a cluster is taken over is adopted first (S3).
    EvictionsFrom {
        /// The time.
        at: Timestamp,
    },
    /// A workload is submitted or changed.
    WorkloadSet(WorkloadSpec),
    /// A workload is gone, with all its pods.
    WorkloadRemoved(WorkloadId),
    /// A pod is on a node: found so at the start, or a `Place` that is confirmed. One that was starting comes again when
    /// it runs.
    PodRunning(PodState),
    /// A pod has been told to end, by its owner or by an `Evict` that is carried out, and will be gone at this time at
    /// the latest.
    PodLeaving {
        /// The pod.
        pod: PodId,
        /// At the latest.
        until: Timestamp,
    },
    /// A pod is really gone; what it used is free.
    PodEnded {
        /// The pod.
        pod: PodId,
        /// How.
        outcome: PodOutcome,
    },
    /// A pod that has ended is wanted again: a new one takes its place in the workload, as controllers replace the pods
    /// that they lose.
    PodWanted {
        /// The pod.
        pod: PodId,
    },
    /// Room is kept for a pod, as found written down at the start (S33). One that is on a node to stay is to be moved there (S26).
    PodReserved {
        /// The pod.
        pod: PodId,
        /// Where.
        at: Placement,
        /// When the last of those that leave must be gone.
        until: Timestamp,
    },
    /// An `Evict` could not be carried out: the pod stays, and the room that it was to make is given up (S20).
    EvictFailed {
        /// The pod.
        pod: PodId,
    },
    /// A `Place` could not be carried out: the pod is pending again.
    BindFailed {
        /// The pod.
        pod: PodId,
        /// The node that was decided.
        node: NodeId,
    },
}

/// Why an event was refused. The engine is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventError {
    /// The event names an object that does not exist.
    #[error("{event}: {object} does not exist")]
    Unknown {
        /// The kind of event.
        event: &'static str,
        /// The object.
        object: String,
    },
    /// A value is not allowed.
    #[error("{object}: {field} is {value}, allowed: {allowed}")]
    Invalid {
        /// The object.
        object: String,
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The object is in use, or in a state that the event does not fit.
    #[error("{object}: {why}")]
    Conflict {
        /// The object.
        object: String,
        /// What is in the way.
        why: String,
    },
}
