//! Events about pods that leave and end, and about room that is kept until they are gone (S23, S33).

use crate::Engine;
use crate::apply::{Applied, conflict};
use crate::ix::PodIx;
use crate::workload::{Pod, Stage};
use berth_model::{NodeId, Placement, PodId, PodOutcome, Timestamp};

impl Engine {
    pub(crate) fn pod_leaving(&mut self, id: PodId, until: Timestamp) -> Applied {
        let pod = self.find_pod("podLeaving", id)?;
        if !self.pod(pod).on_node() {
            return Err(conflict(id, "it is on no node"));
        }
        self.leaving(pod, until, false);
        self.disruption_confirmed(pod);
        Ok(())
    }

    /// A pod leaves its node, or is said to leave it at another time than was known.
    pub(crate) fn leaving(&mut self, pod: PodIx, until: Timestamp, evicted: bool) {
        let pending = self.is_pending(pod);
        if self.pod(pod).stage == Stage::Leaving && !pending {
            self.pod_mut(pod).until = until;
            return;
        }
        self.dequeue(pod.workload);
        if pending && !evicted {
            // By its owner's will it ends like any other that runs: it is not moved.
            self.give_up_room(pod);
        }
        self.leave(pod, until, evicted);
        self.enqueue(pod.workload);
    }

    pub(crate) fn evict_failed(&mut self, id: PodId) -> Applied {
        let pod = self.find_pod("evictFailed", id)?;
        let state = self.pod(pod);
        if state.stage != Stage::Leaving || !state.evicted {
            return Err(conflict(id, "it is not being evicted"));
        }
        self.stay(pod);
        Ok(())
    }

    pub(crate) fn pod_reserved(&mut self, id: PodId, at: Placement, until: Timestamp) -> Applied {
        let pod = self.find_pod("podReserved", id)?;
        let node = self.find_node("podReserved", at.node)?;
        let stage = self.pod(pod).stage;
        if !matches!(stage, Stage::Waiting | Stage::Leaving | Stage::Placed) || self.has_room_kept(pod) {
            return Err(conflict(id, "it is not waiting"));
        }
        self.check_grant(pod, node, id, at.gpus)?;
        let (node, gpus) = (Some(node), at.gpus);
        self.dequeue(pod.workload);
        if stage == Stage::Placed {
            self.await_place(pod);
        }
        self.give_room(pod, Pod { stage: Stage::Reserved, node, gpus, until, ..Pod::default() });
        self.enqueue(pod.workload);
        Ok(())
    }

    pub(crate) fn pod_ended(&mut self, id: PodId, outcome: PodOutcome) -> Applied {
        let pod = self.find_pod("podEnded", id)?;
        if matches!(self.pod(pod).stage, Stage::Succeeded | Stage::Gone) {
            return Err(conflict(id, "it has ended before"));
        }
        if outcome == PodOutcome::Evicted && !self.pod(pod).on_node() {
            return Err(conflict(id, "it is on no node"));
        }
        self.dequeue(pod.workload);
        if outcome != PodOutcome::Evicted {
            self.give_up_room(pod);
        }
        self.release(pod);
        let stage = match outcome {
            PodOutcome::Evicted => Stage::Waiting,
            PodOutcome::Succeeded => Stage::Succeeded,
            PodOutcome::Failed | PodOutcome::Deleted => Stage::Gone,
        };
        self.pod_mut(pod).stage = stage;
        self.arrive(pod);
        if stage != Stage::Waiting {
            let shape = self.kind_of(pod).0;
            self.profile.count(shape, -1, self.shapes.at(shape));
        }
        self.enqueue(pod.workload);
        Ok(())
    }

    pub(crate) fn pod_wanted(&mut self, id: PodId) -> Applied {
        let pod = self.find_pod("podWanted", id)?;
        if !matches!(self.pod(pod).stage, Stage::Succeeded | Stage::Gone) {
            return Err(conflict(id, "it has not ended"));
        }
        self.dequeue(pod.workload);
        *self.pod_mut(pod) = Pod::default();
        let shape = self.kind_of(pod).0;
        self.profile.count(shape, 1, self.shapes.at(shape));
        self.enqueue(pod.workload);
        Ok(())
    }

    pub(crate) fn bind_failed(&mut self, id: PodId, node: NodeId) -> Applied {
        let pod = self.find_pod("bindFailed", id)?;
        let node = self.find_node("bindFailed", node)?;
        if self.pod(pod).node != Some(node) || self.pod(pod).stage == Stage::Reserved {
            return Err(conflict(id, "it is not on that node"));
        }
        self.dequeue(pod.workload);
        self.release(pod);
        self.arrive(pod);
        self.enqueue(pod.workload);
        Ok(())
    }
}
