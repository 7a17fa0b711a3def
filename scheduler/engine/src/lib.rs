//! Every scheduling decision of Berth: events in, decisions out.
use berth_model::*;

/// Settings that are the same for the whole cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Foreign memory on a device up to this much counts as reserved; above, no whole-GPU pod goes there (S17).
    pub foreign_allowance: GpuMemoryMib,
}

impl Default for Settings {
    fn default() -> Self {
        Self { foreign_allowance: GpuMemoryMib(512) }
    }
}

/// What one pool has, and what is used of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolUsage {
    /// Nodes that are ready and schedulable.
    pub nodes: u32,
    /// GPU capacity: healthy devices of those nodes.
    pub capacity: GpuShare,
    /// GPU share given to pods in the pool.
    pub allocated: GpuShare,
    /// Free GPU share that the shapes present could not use, on average over them (S12).
    pub stranded: GpuShare,
}

/// What one queue uses in one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueUsage {
    /// By all its pods.
    pub allocated: Amounts,
    /// By its non-preemptible pods.
    pub non_preemptible: Amounts,
}

/// The engine: an incremental, deterministic state machine.
pub struct Engine {}

impl Engine {
    /// An empty cluster. The pool `default` must be set by an event like any other.
    pub fn new(_settings: Settings) -> Self {
        todo!()
    }
    /// Takes in one event. A bad one is refused and changes nothing.
    pub fn apply(&mut self, _event: Event) -> Result<(), EventError> {
        todo!()
    }
    /// One cycle (S32) at `now`: decides all that can be decided within `budget`.
    pub fn decide(&mut self, _now: Timestamp, _budget: Budget) -> Vec<Decision> {
        todo!()
    }
    /// Why a workload is pending; none for a workload that does not exist.
    pub fn explain(&self, _workload: WorkloadId) -> Option<Explanation> {
        todo!()
    }
    /// Capacity and use of a pool.
    pub fn pool_usage(&self, _pool: PoolId) -> Option<PoolUsage> {
        todo!()
    }
    /// Use of a queue in a pool.
    pub fn queue_usage(&self, _queue: QueueId, _pool: PoolId) -> Option<QueueUsage> {
        todo!()
    }
}
