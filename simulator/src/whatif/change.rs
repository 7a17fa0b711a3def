//! What is changed.

use crate::case::{Arrival, Cluster};
use crate::world::{SimError, World};
use berth_model::words::Words;
use berth_model::{NodeId, NodeSpec, PoolId, QueueId, QueueQuota};

/// One change to a cluster.
#[derive(Clone, Debug)]
pub enum Change {
    /// A workload is submitted.
    Submit(Arrival),
    /// A node is added.
    AddNode(NodeSpec),
    /// A node is removed: its pods are pending again.
    RemoveNode(NodeId),
    /// A quota changes.
    Quota {
        /// Whose.
        queue: QueueId,
        /// In which pool.
        pool: PoolId,
        /// From now on.
        quota: QueueQuota,
        /// What of it is said to change, as it was written.
        said: String,
    },
}

impl Change {
    /// Changes a world.
    pub(super) fn make(&self, world: &mut World<'_>) -> Result<(), SimError> {
        match self {
            Self::Submit(arrival) => world.submit_now(arrival.clone()),
            Self::AddNode(node) => world.add_node(node.clone()),
            Self::RemoveNode(node) => world.remove_node(*node),
            Self::Quota { queue, pool, quota, .. } => world.set_quota(*queue, *pool, *quota),
        }
    }

    /// The change in words.
    pub(super) fn words(&self, cluster: &Cluster) -> String {
        match self {
            Self::Submit(arrival) => format!("submit {}", arrival.spec.name),
            Self::AddNode(node) => format!("add node {}", node.name),
            Self::RemoveNode(node) => format!("remove node {}", cluster.nodes[node.index()].name),
            Self::Quota { queue, said, .. } => {
                format!("change the quota of {} to {said}", Words::new(cluster).queue(*queue))
            }
        }
    }
}
