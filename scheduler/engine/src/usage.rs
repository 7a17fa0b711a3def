//! What is used, for reports and metrics.

use crate::Engine;
use crate::ix::{ClassIx, PoolIx};
use crate::node::Node;
use crate::org::amounts;
use crate::score::stranded_on;
use berth_model::{Amounts, GpuShare, PoolId, QueueId, WorkloadId};
use rustc_hash::FxHashMap;

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
    /// Its fair share (S7). 0 where it manages nothing.
    pub fair_share: Amounts,
    /// What it uses and waits for (S7).
    pub demand: Amounts,
}

impl Engine {
    /// Capacity and use of a pool; none for a pool that does not exist. Looks at every node of the pool.
    pub fn pool_usage(&self, pool: PoolId) -> Option<PoolUsage> {
        let ix = self.pools.find(pool)?;
        let pool = self.pools.at(ix);
        Some(PoolUsage {
            nodes: pool.open,
            capacity: GpuShare(pool.devices * GpuShare::DEVICE.0),
            allocated: GpuShare(pool.allocated),
            stranded: GpuShare(self.stranded(ix)),
        })
    }

    /// Free GPU share of the pool that a pod drawn from the shapes present could not use.
    fn stranded(&self, pool: PoolIx) -> i64 {
        let of_class = |class: &ClassIx| {
            let class = self.classes.at(*class);
            let kinds = self
                .profile
                .kinds()
                .filter(|(_, weight)| *weight > 0)
                .map(|(shape, weight)| (self.shapes.at(shape), weight));
            let kinds: Vec<_> =
                kinds.map(|(shape, weight)| (shape, weight, class.judge(shape).is_ok())).collect();
            // Nodes without shared devices are often alike: compute each state once.
            let mut known: FxHashMap<(i64, i64, u32), i64> = FxHashMap::default();
            let mut stranded = |node: &Node| {
                if !node.devices.shared.is_empty() {
                    return stranded_on(node, &kinds);
                }
                let state = (node.free.cpu, node.free.memory, node.devices.free.count());
                *known.entry(state).or_insert_with(|| stranded_on(node, &kinds))
            };
            class.nodes.iter().map(|n| stranded(self.nodes.at(n.0))).sum::<i64>()
        };
        self.classes.of_pool(pool).iter().map(of_class).sum()
    }

    /// Use of a queue in a pool, and its fair share there as things are now; none if either does not exist.
    pub fn queue_usage(&mut self, queue: QueueId, pool: PoolId) -> Option<QueueUsage> {
        let (queue, pool) = (self.org.find(queue)?, self.pools.find(pool)?);
        self.refresh_shares(pool);
        let here = self.org.in_pool(queue, pool);
        Some(QueueUsage {
            allocated: amounts(here.allocated),
            non_preemptible: amounts(here.non_preemptible),
            fair_share: amounts(std::array::from_fn(|at| {
                if here.bounds()[at].managed() { here.share[at] } else { 0 }
            })),
            demand: amounts(here.demand),
        })
    }

    /// How many pods of a workload are on nodes and have not been told to end, and how many wait; none for an unknown workload.
    pub fn pods_of(&self, workload: WorkloadId) -> Option<(u32, u32)> {
        let workload = self.workloads.at(self.workload_ids.get(&workload)?.0);
        let running = workload.pods.iter().filter(|pod| pod.runs()).count() as u32;
        Some((running, workload.pending()))
    }
}
