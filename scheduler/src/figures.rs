//! What the engine knows of pools and queues, for what they say of themselves.

use berth_cluster::mirror::{Figures, PoolFigures, QueueFigures};
use berth_engine::Engine;
use berth_model::{PoolId, QueueId};

/// The engine as the mirror asks it.
pub(crate) struct OfEngine<'a>(pub(crate) &'a mut Engine);

impl Figures for OfEngine<'_> {
    fn pool(&mut self, pool: PoolId) -> Option<PoolFigures> {
        let usage = self.0.pool_usage(pool)?;
        Some(PoolFigures { capacity: usage.capacity, allocated: usage.allocated })
    }

    fn queue(&mut self, queue: QueueId, pool: PoolId) -> Option<QueueFigures> {
        let usage = self.0.queue_usage(queue, pool)?;
        Some(QueueFigures {
            allocated: usage.allocated,
            non_preemptible: usage.non_preemptible,
            fair_share: usage.fair_share,
        })
    }
}
