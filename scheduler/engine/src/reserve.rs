//! Room that will be free soon, kept for those it was freed for (S23).
//!
//! Who fits once all that leave are gone has room kept: it is charged for it, and on its node the larger counts of what
//! leaves and what is reserved. Nothing else is remembered: all room that is kept is judged anew in each cycle after
//! something has happened (`kept`), so after a restart as before (S33). Without any it costs nothing.

use crate::Engine;
use crate::ix::{NodeIx, PodIx, PoolIx, WorkloadIx};
use crate::place::Step;
use crate::workload::{Pod, Stage};
use berth_model::{Cause, Decision, GpuGrant, Placement, PodId, Reason, ReasonKind, Timestamp, WorkloadId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};

/// All room that is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    /// Pods that have room kept.
    pub(crate) kept: BTreeSet<PodIx>,
    /// The room of those that are moved and still leave their old place (S26).
    pub(crate) moves: FxHashMap<PodIx, Pod>,
    /// Room that is out of the accounts while its node or workload changes.
    lifted: Vec<(PodIx, Pod)>,
    /// All leaving pods.
    pub(crate) leaving: BTreeSet<PodIx>,
    /// Nodes on which more leaves than is kept, in some resource or on some device.
    loose: BTreeSet<NodeIx>,
    /// Workloads that wait for room kept for them, to be told.
    waiting: BTreeMap<WorkloadId, WorkloadIx>,
    /// Up to what all room has been judged.
    pub(crate) judged: Option<u64>,
}

impl Reservations {
    /// True if room is kept for nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The room of a pod that still leaves another node.
    pub(crate) fn moved(&self, pod: PodIx) -> Option<&Pod> {
        self.moves.get(&pod)
    }
}

/// A place in a trial.
pub(crate) type Seat = (PodIx, NodeIx, GpuGrant);

/// What a trial has come to: where its pods would be, whom it took off their nodes, and where those would go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) places: Vec<Seat>,
    pub(crate) victims: Vec<PodIx>,
    pub(crate) moved: Vec<Seat>,
}

impl Engine {
    /// Makes the trial under way one as if all leaving pods were gone, as far as that matters in a pool, and all that have
    /// room kept were there.
    pub(crate) fn lift_leaving(&mut self, pool: PoolIx) {
        self.org.as_if = true;
        let leaving: Vec<PodIx> = if self.local_to_pools() {
            // Where all that leaves is kept for others, its going frees nothing.
            let loose = self.reservations.loose.iter().copied();
            let here = loose.filter(|node| self.nodes.at(node.0).pool == Some(pool));
            here.flat_map(|node| self.leaving_pods(node)).collect()
        } else {
            self.reservations.leaving.iter().copied().collect()
        };
        leaving.into_iter().for_each(|pod| self.try_lift(pod));
    }

    /// Keeps in mind on which nodes the going of leaving pods would free anything, after a pod was counted in or out.
    pub(crate) fn note_loose(&mut self, state: &Pod) {
        let Some(ix) = state.node else { return };
        if state.stage == Stage::Placed && !self.nodes.at(ix.0).has_overlap() {
            return;
        }
        let leaving = self.leaving_pods(ix);
        let local = |pod: &PodIx| self.shapes.at(self.kind_of(*pod).0).local;
        let settled = self.nodes.at(ix.0).leaving_is_kept() && !leaving.iter().any(local);
        if leaving.is_empty() || settled {
            self.reservations.loose.remove(&ix);
        } else {
            self.reservations.loose.insert(ix);
        }
    }

    /// True if what pods do in one pool can matter in no other.
    pub(crate) fn local_to_pools(&self) -> bool {
        self.neighbours.idle() && self.mounted.is_empty()
    }

    /// True if it could matter in the pool that all leaving pods were gone and all that have room kept were there.
    pub(crate) fn later_differs(&self, pool: PoolIx) -> bool {
        if !self.local_to_pools() {
            return !self.reservations.leaving.is_empty() || !self.reservations.is_empty();
        }
        let there = |pod: &PodIx| self.pod(*pod).node.and_then(|node| self.nodes.at(node.0).pool);
        self.reservations.leaving.iter().any(|pod| there(pod) == Some(pool))
    }

    /// What the trial under way has come to for a workload; the trial is undone.
    pub(crate) fn conclude(&mut self, beneficiary: WorkloadIx) -> Outcome {
        let mut outcome = Outcome::default();
        let touched = self.touched_by_trial();
        let mut seen: FxHashSet<PodIx> = FxHashSet::default();
        let mut last_put: Vec<PodIx> = Vec::new();
        for step in self.trial.iter().rev() {
            if let Step::Put(pod) = *step
                && seen.insert(pod)
            {
                last_put.push(pod);
            }
        }
        let mut others: Vec<PodIx> = Vec::new();
        for (pod, before) in touched {
            let now = self.pod(pod);
            if before.as_ref() == Some(now) {
                continue;
            }
            if before.is_some_and(|before| before.stage == Stage::Placed) {
                outcome.victims.push(pod);
            }
            let Some(node) = now.node else { continue };
            if pod.workload == beneficiary {
                outcome.places.push((pod, node, now.gpus));
            } else {
                others.push(pod);
            }
        }
        for pod in last_put.into_iter().rev().filter(|pod| others.contains(pod)) {
            let now = self.pod(pod);
            outcome.moved.extend(now.node.map(|node| (pod, node, now.gpus)));
        }
        self.roll_back();
        outcome
    }

    /// Evicts the victims of an attempt and keeps the room for its pods. Those that are moved are stopped if their new places
    /// are free (S26).
    pub(crate) fn keep_room(
        &mut self,
        beneficiary: WorkloadIx,
        outcome: &Outcome,
        cause: Cause,
        decisions: &mut Vec<Decision>,
    ) {
        let id = self.workloads.at(beneficiary.0).id;
        let mut victims = outcome.victims.clone();
        victims.sort_unstable_by_key(|victim| self.pod_id(*victim));
        let moved: FxHashSet<PodIx> = outcome.moved.iter().map(|(pod, ..)| *pod).collect();
        let (moving, stopped): (Vec<PodIx>, Vec<PodIx>) =
            victims.iter().partition(|victim| moved.contains(*victim));
        self.evict(&stopped, Some(id), cause, decisions);
        self.plan_moves(&moving);
        let chunks = outcome.moved.chunk_by(|a, b| a.0.workload == b.0.workload);
        for places in std::iter::once(&outcome.places[..]).chain(chunks) {
            self.keep_for(places);
        }
        let units = self.batches_of(|pod| moved.contains(&pod));
        let units: Vec<&[PodIx]> = units.iter().map(|unit| &unit[..]).collect();
        if !units.is_empty() {
            let stopped = self.find_stoppable(&units).into_iter().flat_map(|at| units[at]).copied();
            let mut stopped: Vec<PodIx> = stopped.collect();
            stopped.sort_unstable_by_key(|victim| self.pod_id(*victim));
            self.evict(&stopped, Some(id), cause, decisions);
            self.date_moves(&units);
        }
        let until = self.until(&outcome.places, &victims);
        for (pod, node, gpus) in outcome.places.iter().chain(&outcome.moved).copied() {
            if !moved.contains(&pod) {
                self.pod_mut(pod).until = until;
            }
            let until = self.reservations.moved(pod).map_or(until, |room| room.until);
            let at = Placement { node: self.nodes.at(node.0).id, gpus };
            decisions.push(Decision::Reserve { pod: self.pod_id(pod), at, until });
        }
    }

    /// Keeps room for pods of one workload; until when is still to be entered.
    fn keep_for(&mut self, places: &[Seat]) {
        let Some((PodIx { workload, .. }, ..)) = places.first().copied() else { return };
        self.second.stamp += 1;
        self.touch_turns(workload);
        self.dequeue(workload);
        for (pod, node, gpus) in places.iter().copied() {
            self.give_room(pod, Pod { stage: Stage::Reserved, node: Some(node), gpus, ..Pod::default() });
        }
        self.enqueue(workload);
        self.touch_turns(workload);
    }

    /// When the last must be gone of those that leave the nodes, and of the victims; else the last of all that leave.
    fn until(&self, places: &[Seat], victims: &[PodIx]) -> Timestamp {
        let on_nodes = places.iter().flat_map(|(_, node, _)| self.leaving_pods(*node));
        let last = on_nodes.chain(victims.iter().copied()).map(|pod| self.gone_by(pod)).max();
        let all = || self.reservations.leaving.iter().map(|pod| self.gone_by(*pod)).max();
        last.or_else(all).unwrap_or(self.now)
    }

    /// Enters room that is kept for a pod.
    pub(crate) fn give_room(&mut self, pod: PodIx, state: Pod) {
        self.reservations.kept.insert(pod);
        if self.pod(pod).on_node() {
            self.account(pod, &state, 1);
            self.note_loose(&state);
            self.reservations.moves.insert(pod, state);
            return;
        }
        self.seat(pod, state);
        let id = self.workloads.at(pod.workload.0).id;
        self.reservations.waiting.insert(id, pod.workload);
    }

    /// Room is kept for a pod no more, if it was.
    pub(crate) fn take_room(&mut self, pod: PodIx) -> Option<Pod> {
        if !self.reservations.kept.remove(&pod) {
            return None;
        }
        match self.reservations.moves.remove(&pod) {
            Some(state) => {
                self.account(pod, &state, -1);
                self.note_loose(&state);
                Some(state)
            }
            None => Some(self.unseat(pod)),
        }
    }

    /// Room is kept for a pod no more, if it was, and the pod does not go there: whoever lacks it may have it, and what its
    /// queues were charged for it.
    pub(crate) fn give_up_room(&mut self, pod: PodIx) -> Option<Pod> {
        let room = self.take_room(pod)?;
        let project = self.templates.at(self.workloads.at(pod.workload.0).template).queue;
        for pool in 0..self.pools.len() {
            self.org.loosen_path(project, PoolIx::of(pool));
        }
        if let Some(node) = room.node {
            self.gained(node);
            if let Some(pool) = self.nodes.at(node.0).pool {
                self.wake_for_later(pod.workload, pool);
            }
        }
        Some(room)
    }

    /// A pod that is moved has left its old place: the new one is kept for it like for any other.
    pub(crate) fn arrive(&mut self, pod: PodIx) {
        if let Some(state) = self.take_room(pod) {
            self.give_room(pod, state);
        }
    }

    /// Room on a node is out of the accounts until [`Self::return_room`], because the node changes.
    pub(crate) fn lift_room_on(&mut self, node: NodeIx) {
        let kept: Vec<PodIx> = self.nodes.at(node.0).kept().collect();
        for pod in kept {
            let room = self.take_room(pod);
            self.reservations.lifted.extend(room.map(|state| (pod, state)));
        }
    }

    /// The same for all room of a workload.
    pub(crate) fn lift_room_of(&mut self, workload: WorkloadIx) {
        for pod in self.kept_of(workload) {
            let room = self.give_up_room(pod);
            self.reservations.lifted.extend(room.map(|state| (pod, state)));
        }
    }

    /// True if some pod of the workload has room kept.
    pub(crate) fn has_room(&self, workload: WorkloadIx) -> bool {
        let (first, last) = (PodIx { workload, pod: 0 }, PodIx { workload, pod: u32::MAX });
        self.reservations.kept.range(first..=last).next().is_some()
    }

    /// True if room is kept for a pod.
    pub(crate) fn has_room_kept(&self, pod: PodIx) -> bool {
        self.reservations.kept.contains(&pod)
    }

    /// The pods of a workload that have room kept.
    pub(crate) fn kept_of(&self, workload: WorkloadIx) -> Vec<PodIx> {
        let (first, last) = (PodIx { workload, pod: 0 }, PodIx { workload, pod: u32::MAX });
        self.reservations.kept.range(first..=last).copied().collect()
    }

    /// Enters the room again that was lifted, where `now` says that its pod stands now; else it is forgotten.
    pub(crate) fn return_room(&mut self, now: impl Fn(PodIx) -> Option<PodIx>) {
        for (pod, state) in std::mem::take(&mut self.reservations.lifted) {
            let Some(pod) = now(pod) else { continue };
            let node = state.node.filter(|node| self.nodes.get(node.0).is_some());
            if matches!(self.pod(pod).stage, Stage::Waiting | Stage::Leaving) {
                self.give_room(pod, Pod { node, ..state });
            }
        }
    }

    /// Room on a node that is gone is nowhere, until the next cycle gives it up.
    pub(crate) fn lose_room_on(&mut self, node: NodeIx) {
        self.lift_room_on(node);
        self.reservations.lifted.iter_mut().for_each(|(_, state)| state.node = None);
        self.return_room(Some);
    }

    /// Leaving pods follow their workload when its positions change.
    pub(crate) fn renumber_leaving(&mut self, workload: WorkloadIx, moves: &[(u32, u32)]) {
        let (first, last) = (PodIx { workload, pod: 0 }, PodIx { workload, pod: u32::MAX });
        let before: Vec<PodIx> = self.reservations.leaving.range(first..=last).copied().collect();
        self.reservations.leaving.retain(|pod| pod.workload != workload);
        let after = before.iter().filter_map(|pod| moves.iter().find(|(before, _)| *before == pod.pod));
        let after: Vec<PodIx> = after.map(|(_, pod)| PodIx { workload, pod: *pod }).collect();
        self.reservations.leaving.extend(after);
    }

    /// A pod of a workload has been placed: why the others wait is to be told again.
    pub(crate) fn tell_anew(&mut self, ix: WorkloadIx) {
        let workload = self.workloads.at_mut(ix.0);
        workload.reported = 0;
        let id = workload.id;
        if self.has_room(ix) {
            self.reservations.waiting.insert(id, ix);
        }
    }

    /// Tells those for whom room is kept that they wait for it, once.
    pub(crate) fn say_waiting(&mut self, decisions: &mut Vec<Decision>) {
        let kind = ReasonKind::Waiting as u8 + 1;
        for (id, beneficiary) in std::mem::take(&mut self.reservations.waiting) {
            let known = self.workloads.get(beneficiary.0).is_some_and(|workload| workload.id == id);
            if !known || self.workloads.at(beneficiary.0).reported == kind {
                continue;
            }
            if let Some(reason) = self.waiting_reason(beneficiary) {
                self.workloads.at_mut(beneficiary.0).reported = kind;
                decisions.push(Decision::Report { workload: id, reason: Box::new(reason) });
            }
        }
    }

    /// The pods that leave a node. One that is moved there is still elsewhere.
    pub(crate) fn leaving_pods(&self, node: NodeIx) -> Vec<PodIx> {
        let leaves = |pod: &&PodIx| {
            let state = self.pod(**pod);
            state.stage == Stage::Leaving && state.node == Some(node)
        };
        self.nodes.at(node.0).pods.iter().filter(leaves).copied().collect()
    }

    /// Whom a workload waits for that has room kept for it (S29): those that leave its nodes, else all that leave.
    pub(crate) fn waiting_reason(&self, workload: WorkloadIx) -> Option<Reason> {
        let waiting = || {
            let kept = self.kept_of(workload).into_iter();
            kept.map(|pod| self.pod(pod)).filter(|state| state.stage == Stage::Reserved)
        };
        let (node, until) = waiting().find_map(|state| Some((state.node?, state.until)))?;
        let on_nodes = waiting().filter_map(|state| state.node).flat_map(|node| self.leaving_pods(node));
        let mut leaving: BTreeSet<PodId> = on_nodes.map(|pod| self.pod_id(pod)).collect();
        if leaving.is_empty() {
            leaving = self.reservations.leaving.iter().map(|pod| self.pod_id(*pod)).collect();
        }
        let pool = self.pools.spec(self.nodes.at(node.0).pool?).id;
        Some(Reason::Waiting { pool, leaving: leaving.into_iter().collect(), until })
    }

    /// Tells pods to end.
    pub(crate) fn evict(
        &mut self,
        victims: &[PodIx],
        beneficiary: Option<WorkloadId>,
        cause: Cause,
        decisions: &mut Vec<Decision>,
    ) {
        for victim in victims {
            self.touch_turns(victim.workload);
            self.dequeue(victim.workload);
        }
        for victim in victims {
            let grace = self.grace_of(victim.workload);
            let workload = self.workloads.at_mut(victim.workload.0);
            if let Some(beneficiary) = beneficiary {
                workload.note_eviction(beneficiary, self.now);
                self.second.evicted.insert(victim.workload);
            }
            self.leave(*victim, self.now.plus(grace), true);
            self.disruption_decided(*victim);
            decisions.push(Decision::Evict { pod: self.pod_id(*victim), grace, beneficiary, cause });
        }
        for victim in victims {
            self.requeue(victim.workload);
            self.touch_turns(victim.workload);
        }
        if cause != Cause::Consolidate {
            let left = self.left_behind(victims);
            if !left.is_empty() {
                self.evict(&left, beneficiary, cause, decisions);
            }
        }
    }

    /// The pods of stopped workloads that were only to be moved: without the others they have not their minimum (S24).
    fn left_behind(&self, victims: &[PodIx]) -> Vec<PodIx> {
        let stopped: BTreeSet<WorkloadIx> = victims.iter().map(|victim| victim.workload).collect();
        let ends = |ix: &WorkloadIx| {
            let workload = self.workloads.at(ix.0);
            workload.running() == 0 && workload.lacks_minimum(self.templates.at(workload.template))
        };
        let kept = stopped.into_iter().filter(ends).flat_map(|ix| self.kept_of(ix));
        kept.filter(|pod| self.is_pending(*pod)).collect()
    }

    /// A pod that runs begins to leave.
    pub(crate) fn leave(&mut self, pod: PodIx, until: Timestamp, evicted: bool) {
        self.begin_to_leave(pod, |state| {
            state.until = until;
            state.evicted = evicted;
        });
    }

    pub(crate) fn begin_to_leave(&mut self, pod: PodIx, how: impl FnOnce(&mut Pod)) {
        self.reseat(pod, |state| {
            state.stage = Stage::Leaving;
            state.pending = false;
            how(state);
        });
        self.reservations.leaving.insert(pod);
        let node = self.pod(pod).node;
        if let Some(pool) = node.and_then(|node| self.nodes.at(node.0).pool) {
            self.wake_for_later(pod.workload, pool);
        }
    }

    /// An eviction is not carried out, or a move not begun: the pod stays. Whether room that it was to make does without is judged in the next
    /// cycle.
    pub(crate) fn stay(&mut self, pod: PodIx) {
        self.give_up_room(pod);
        self.reservations.leaving.remove(&pod);
        self.forget_warnings(pod);
        self.disruption_failed(pod);
        self.dequeue(pod.workload);
        self.reseat(pod, |state| {
            state.stage = Stage::Placed;
            (state.evicted, state.pending, state.until) = (false, false, Timestamp::default());
        });
        self.enqueue(pod.workload);
    }

    /// Forgets the room of a workload that is removed.
    pub(crate) fn forget_room_of(&mut self, workload: WorkloadIx) {
        self.lift_room_of(workload);
        self.return_room(|_| None);
    }
}
