//! The cluster as it is now, as it will be, and both at once (decision 0002, room that will be free).
//!
//! What is placed at once must fit twice: beside all pods that are there now, and beside those that will be there when
//! whoever leaves is gone and whoever has room reserved has come. Rules about other pods must hold with and without the
//! reserved pods, as in kube-scheduler.

use super::state::{Seat, State};
use berth_model::PodId;

/// Pods on nodes, by whatever view.
pub(crate) type Seats = Vec<(PodId, Seat)>;

impl State {
    /// Those for whom room is kept.
    fn guests(&self) -> Seats {
        let there = self.kept.iter().filter(|(_, kept)| self.nodes.contains_key(&kept.at.node));
        there.map(|(pod, kept)| (*pod, Seat::new(kept.at, self.now))).collect()
    }

    /// All pods on nodes.
    pub(crate) fn seats_now(&self) -> Seats {
        self.pods.iter().map(|(pod, seat)| (*pod, *seat)).chain(self.doubles.iter().copied()).collect()
    }

    /// Without those that leave, but with those whose room is reserved.
    pub(crate) fn seats_then(&self) -> Seats {
        let staying = self.seats_now().into_iter().filter(|(_, seat)| seat.leaving.is_none());
        staying.chain(self.guests()).collect()
    }

    /// Without those that are only imagined to be there.
    pub(crate) fn seats_without_guests(&self) -> Seats {
        self.seats_now().into_iter().filter(|(pod, _)| !self.guests.contains(pod)).collect()
    }

    /// All that are there, and those whose room is reserved.
    pub(crate) fn seats_together(&self) -> Seats {
        self.seats_now().into_iter().chain(self.guests()).collect()
    }

    /// The views in which what is placed now must fit: now and then.
    pub(crate) fn views(&self) -> Vec<Seats> {
        if self.kept.is_empty() { vec![self.seats_now()] } else { vec![self.seats_now(), self.seats_then()] }
    }

    /// The cluster when all leaving pods are gone and all whose room is kept are there: a plain state.
    pub(crate) fn later(&self) -> Self {
        let mut later = self.clone();
        later.pods.retain(|_, seat| seat.leaving.is_none());
        let guests = self.guests();
        later.guests = guests.iter().map(|(pod, _)| *pod).collect();
        later.pods.extend(guests);
        later.kept.clear();
        later
    }

    /// The cluster as it is now, with no room reserved for anybody.
    pub(crate) fn without_kept(&self) -> Self {
        let mut now = self.clone();
        now.kept.clear();
        now
    }
}
