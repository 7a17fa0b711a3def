//! Reservations as state (S23, S33): room that is kept for a pod until it is placed, the room is given up, or the pod
//! is not one any more that waits or will when it has left.
//!
//! Invariant: [`Cluster::keep`] and [`Cluster::give_up`] undo each other exactly. Costs: O(log n) a reservation.
//! Absent: any judgement; rules about other pods, which see no reservations.

use super::census::Shape;
use super::cluster::Cluster;
use super::ledger::{Bill, enter};
use crate::{Placement, PodId, WorkloadId};
use std::sync::Arc;

/// Room that is kept for a pod.
pub(super) struct Kept {
    pub(super) shape: Arc<Shape>,
    pub(super) at: Placement,
    pub(super) bill: Option<Bill>,
}

impl Cluster {
    /// The reservations of a workload.
    pub(super) fn kept_of(&self, workload: WorkloadId) -> impl Iterator<Item = (&PodId, &Kept)> {
        let first = PodId { workload, role: 0, index: 0 };
        let last = PodId { workload, role: u16::MAX, index: u32::MAX };
        self.kept.range(first..=last)
    }

    /// Keeps room for a pod that has none.
    pub(super) fn keep(&mut self, id: PodId, kept: Kept) {
        self.enter_kept(id, &kept, 1);
        self.kept.insert(id, kept);
    }

    /// Ends a reservation.
    pub(super) fn give_up(&mut self, id: PodId) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        self.enter_kept(id, &kept, -1);
        Some(kept)
    }

    fn enter_kept(&mut self, id: PodId, kept: &Kept, sign: i64) {
        if let Some(node) = self.nodes.get_mut(&kept.at.node) {
            if sign > 0 {
                node.kept.insert(id);
            } else {
                node.kept.remove(&id);
            }
            node.reserved.change(&kept.shape.spec, kept.at.gpus, sign);
        }
        let Some(bill) = &kept.bill else { return };
        enter(&mut self.ledger.used, bill, sign);
        if !self.deciding {
            bill.queues.iter().for_each(|queue| self.ledger.excuse((*queue, bill.pool)));
        }
    }

    /// After an event: nobody has room kept who is on a node to stay, has ended or is not wanted.
    pub(super) fn forget_kept(&mut self, workload: WorkloadId) {
        let leaves = |id: &PodId| self.pods.get(id).is_some_and(|pod| pod.leaving.is_some());
        let over = |id: &PodId| !self.is_pending(*id) && !leaves(id);
        let ids: Vec<_> = self.kept_of(workload).map(|(id, _)| *id).filter(|id| over(id)).collect();
        ids.into_iter().for_each(|id| drop(self.give_up(id)));
    }
}
