//! Reservations as state (S23, S33): room that is kept for a pod until it is placed, the room is given up, its
//! workload is gone, or an event makes it void.
//!
//! A reservation that an event may have made void is *void*: it takes no room and is charged to nobody, but neither is
//! whoever still counts on it accused, because only the judged knows whether it gave it up. A leaving pod is a *maker*
//! of room while room is reserved on its node, or for the one on whose behalf it was evicted.
//!
//! Invariant: [`Cluster::keep`] and [`Cluster::give_up`] undo each other exactly. Costs: O(log n) a reservation, plus
//! the leaving pods of its node. Absent: any judgement; rules about other pods, which see no reservations.

use super::census::Shape;
use super::cluster::{Cluster, Maker};
use super::ledger::{Bill, Part, enter};
use super::load::Load;
use crate::{NodeId, Placement, PodId, QueueId, WorkloadId};
use std::sync::Arc;

/// Room that is kept for a pod.
pub(super) struct Kept {
    pub(super) shape: Arc<Shape>,
    pub(super) at: Placement,
    pub(super) bill: Option<Bill>,
    /// It is one of the missing minimums that were reserved together, as far as that is known.
    pub(super) of_gang: bool,
    pub(super) void: bool,
}

impl Cluster {
    /// The reservations of a workload.
    pub(super) fn kept_of(&self, workload: WorkloadId) -> impl Iterator<Item = (&PodId, &Kept)> {
        let first = PodId { workload, role: 0, index: 0 };
        let last = PodId { workload, role: u16::MAX, index: u32::MAX };
        self.kept.range(first..=last)
    }

    /// True if room is kept for the pod, for sure.
    pub(super) fn is_kept(&self, id: PodId) -> bool {
        self.kept.get(&id).is_some_and(|kept| !kept.void)
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
        self.unmake(kept.at.node, id.workload);
        Some(kept)
    }

    fn enter_kept(&mut self, id: PodId, kept: &Kept, sign: i64) {
        if let Some(node) = self.nodes.get_mut(&kept.at.node) {
            if sign > 0 {
                node.kept.insert(id);
            } else {
                node.kept.remove(&id);
            }
            if !kept.void {
                node.reserved.change(&kept.shape.spec, kept.at.gpus, sign);
            }
        }
        let Some(bill) = &kept.bill else { return };
        let part = if kept.void { Part::Void } else { Part::Kept };
        enter(&mut self.ledger.used, &Bill { part, ..*bill }, sign);
        if !self.deciding {
            bill.queues.iter().for_each(|queue| self.ledger.excuse((*queue, bill.pool)));
        }
    }

    /// An event may have made the reservations of a workload void.
    pub(super) fn void(&mut self, workload: WorkloadId) {
        let ids: Vec<_> = self.kept_of(workload).filter(|(_, kept)| !kept.void).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(kept) = self.give_up(id) {
                self.keep(id, Kept { void: true, ..kept });
            }
        }
    }

    /// An event may have made all reservations on a node void.
    pub(super) fn void_on(&mut self, node: NodeId) {
        let Some(node) = self.nodes.get(&node).filter(|node| !node.kept.is_empty()) else { return };
        let workloads: Vec<_> = node.kept.iter().map(|id| id.workload).collect();
        workloads.into_iter().for_each(|workload| self.void(workload));
    }

    /// An event may have shut the gates of a queue.
    pub(super) fn void_in(&mut self, queue: QueueId) {
        let charged = |bill: &Bill| bill.queues.contains(&queue);
        let kept = self.kept.iter().filter(|(_, kept)| kept.bill.as_ref().is_some_and(charged));
        let workloads: Vec<_> = kept.map(|(id, _)| id.workload).collect();
        workloads.into_iter().for_each(|workload| self.void(workload));
    }

    /// An eviction is not carried out: the room that it was to make is not there.
    pub(super) fn void_after(&mut self, victim: PodId) {
        let Some(pod) = self.pods.get(&victim) else { return };
        let (node, beneficiary) = (pod.node, pod.leaving.and_then(|leaving| leaving.beneficiary));
        self.void_on(node);
        self.void(victim.workload);
        if let Some(beneficiary) = beneficiary {
            self.void(beneficiary);
            self.evictions.remove(&(victim.workload, beneficiary));
        }
    }

    /// Forgets what was void and belongs to nobody any more.
    pub(super) fn forget_void(&mut self) {
        let unknown = |id: &&PodId| !self.workloads.contains_key(&id.workload);
        let ids: Vec<_> = self.kept.keys().filter(unknown).copied().collect();
        ids.into_iter().for_each(|id| drop(self.give_up(id)));
    }

    /// The leaving pods of a node make room for somebody, or may; what is sure stays so.
    pub(super) fn make(&mut self, node: NodeId, maker: Maker) {
        let here = self.nodes.get(&node).filter(|node| node.leaving != Load::default());
        let open = |id: &PodId| {
            let leaving = self.pods.get(id).and_then(|pod| pod.leaving);
            leaving.is_some_and(|leaving| leaving.maker != Maker::Yes)
        };
        let ids: Vec<_> = here.into_iter().flat_map(|node| &node.pods).copied().filter(open).collect();
        ids.into_iter().for_each(|id| self.set_maker(id, maker));
    }

    /// A reservation is gone: whoever made room for it may count again.
    fn unmake(&mut self, node: NodeId, workload: WorkloadId) {
        let here = self.nodes.get(&node).filter(|node| node.leaving != Load::default());
        let mut ids: Vec<_> = here.map(|node| node.pods.iter().copied().collect()).unwrap_or_default();
        if !self.has_room_kept(workload) {
            ids.extend(self.victims_of.remove(&workload).unwrap_or_default());
        }
        for id in ids {
            if self.pods.get(&id).and_then(|pod| pod.leaving).is_some_and(|l| l.maker == Maker::Yes)
                && !self.makes_room(id)
            {
                self.set_maker(id, Maker::Maybe);
            }
        }
    }

    fn makes_room(&self, id: PodId) -> bool {
        let Some(pod) = self.pods.get(&id) else { return false };
        let here = self.nodes.get(&pod.node).is_some_and(|node| node.kept.iter().any(|id| self.is_kept(*id)));
        let beneficiary = pod.leaving.and_then(|leaving| leaving.beneficiary);
        here || beneficiary.is_some_and(|workload| self.has_room_kept(workload))
    }

    fn has_room_kept(&self, workload: WorkloadId) -> bool {
        self.kept_of(workload).any(|(_, kept)| !kept.void)
    }

    fn set_maker(&mut self, id: PodId, maker: Maker) {
        self.change(id, |pod| {
            if let Some(leaving) = &mut pod.leaving {
                leaving.maker = maker;
            }
        });
    }
}
