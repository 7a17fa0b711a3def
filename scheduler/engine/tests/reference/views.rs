//! The cluster as it is now, as it will be, and both at once (decision 0002, room that will be free).
//!
//! With no room reserved there is one view: all pods on nodes. With some, what is placed at once must fit twice: beside
//! all pods that are there now, and beside those that will be there when whoever makes room is gone and whoever has room
//! reserved has come. Rules about other pods must hold with and without the reserved pods, as in kube-scheduler.

use super::state::{Reservation, Seat, State};
use berth_model::{NodeId, Placement, PodId};
use std::collections::BTreeSet;

/// Pods on nodes, by whatever view.
pub(crate) type Seats = Vec<(PodId, Seat)>;

impl State {
    /// The pods for which room is kept.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = (PodId, Placement)> {
        let there = |(_, at): &(PodId, Placement)| self.nodes.contains_key(&at.node);
        self.reservations.iter().flat_map(|r| r.pods.iter().copied()).filter(there)
    }

    fn guests(&self) -> Seats {
        self.reserved().map(|(pod, at)| (pod, Seat::new(at, self.now))).collect()
    }

    /// The makers of room: all that leave nodes on which room is kept, those stopped for one who has room kept, and
    /// those who have room kept themselves.
    pub(crate) fn makers(&self) -> BTreeSet<PodId> {
        let nodes: BTreeSet<NodeId> = self.reserved().map(|(_, at)| at.node).collect();
        let moved: BTreeSet<PodId> = self.reserved().map(|(pod, _)| pod).collect();
        let kept_for = |seat: &Seat| {
            seat.victim_of
                .is_some_and(|one| self.reservations.iter().any(|r: &Reservation| r.workload == one))
        };
        let makes = |(pod, seat): &(&PodId, &Seat)| {
            seat.leaving.is_some() && (nodes.contains(&seat.node) || kept_for(seat) || moved.contains(pod))
        };
        self.pods.iter().filter(makes).map(|(pod, _)| *pod).collect()
    }

    /// All pods on nodes.
    pub(crate) fn seats_now(&self) -> Seats {
        self.pods.iter().map(|(pod, seat)| (*pod, *seat)).collect()
    }

    /// Without the makers of room, but with those whose room is reserved.
    pub(crate) fn seats_then(&self) -> Seats {
        if self.reservations.is_empty() {
            return self.seats_now();
        }
        let makers = self.makers();
        let staying = self.seats_now().into_iter().filter(|(pod, _)| !makers.contains(pod));
        staying.chain(self.guests()).collect()
    }

    /// All that are there, and those whose room is reserved.
    pub(crate) fn seats_together(&self) -> Seats {
        self.seats_now().into_iter().chain(self.guests()).collect()
    }

    /// The views in which what is placed now must fit: now and then.
    pub(crate) fn views(&self) -> Vec<Seats> {
        if self.reservations.is_empty() {
            vec![self.seats_now()]
        } else {
            vec![self.seats_now(), self.seats_then()]
        }
    }

    /// The cluster when all leaving pods are gone and all whose room is kept are there: a plain state.
    pub(crate) fn later(&self) -> Self {
        let mut later = self.clone();
        later.pods.retain(|_, seat| seat.leaving.is_none());
        later.pods.extend(self.guests());
        later.reservations.clear();
        later
    }

    /// The cluster as it is now, with no room reserved for anybody.
    pub(crate) fn without_reservations(&self) -> Self {
        let mut now = self.clone();
        now.reservations.clear();
        now
    }
}
