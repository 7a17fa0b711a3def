//! Room that will be free soon, kept for those it was freed for (S23).
//!
//! A *reservation* is what one attempt placed as if pods that leave were gone: all its pods are reserved, none is
//! bound, until every pod it waits for is gone and every one of its own fits beside what is left. A leaving pod whose
//! room is reserved *makes room*: its queue is charged for it no more (S6), the beneficiary's is.
//! Costs: a reservation is looked at when a pod it waits for, or one on its nodes, has ended; never by time.

use crate::Engine;
use crate::ix::{NodeIx, PodIx, PoolIx, WorkloadIx};
use crate::workload::{Pod, Stage};
use berth_model::{
    Cause, Decision, Eviction, GpuGrant, Millis, Placement, PodId, Reason, ReasonKind, Timestamp, WorkloadId,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// For how long an evicted workload may not take its room back (S25).
pub(crate) const PING_PONG: Millis = Millis::from_secs(60);

/// One attempt whose pods wait for others to leave.
#[derive(Clone, Debug)]
struct Reservation {
    workload: WorkloadIx,
    pods: SmallVec<[PodIx; 2]>,
    /// Pods that must be gone first, besides those whose room is needed.
    awaits: Vec<PodIx>,
}

/// All reservations, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    all: BTreeMap<u64, Reservation>,
    next: u64,
    by_pod: FxHashMap<PodIx, u64>,
    /// By leaving pod: those who await it.
    awaited: FxHashMap<PodIx, SmallVec<[u64; 1]>>,
    /// Those that may be able to start.
    to_look_at: BTreeSet<u64>,
    /// The new places of pods that are moved and still leave their old ones (S26).
    moves: FxHashMap<PodIx, Pod>,
    /// Pods for which room is kept no more, to be said.
    released: Vec<PodId>,
    /// All leaving pods.
    pub(crate) leaving: BTreeSet<PodIx>,
    /// Workloads that wait for room kept for them, to be told.
    waiting: BTreeMap<WorkloadId, WorkloadIx>,
}

impl Reservations {
    /// True if room is kept for nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The reservation of a pod.
    fn of(&self, pod: PodIx) -> Option<u64> {
        self.by_pod.get(&pod).copied()
    }
}

/// What a trial has come to: where its pods would be, and whom it took off their nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) places: Vec<(PodIx, NodeIx, GpuGrant)>,
    pub(crate) victims: Vec<PodIx>,
}

impl Engine {
    /// Takes the leaving pods of a pool off their nodes, in a trial.
    pub(crate) fn lift_leaving(&mut self, pool: PoolIx) {
        let leaving: Vec<PodIx> = self.reservations.leaving.iter().copied().collect();
        for pod in leaving {
            let there = self.pod(pod).node.and_then(|node| self.nodes.at(node.0).pool);
            if there == Some(pool) {
                self.try_lift(pod);
            }
        }
    }

    /// True if some pod leaves the pool.
    pub(crate) fn some_leave(&self, pool: PoolIx) -> bool {
        let there = |pod: &PodIx| self.pod(*pod).node.and_then(|node| self.nodes.at(node.0).pool);
        self.reservations.leaving.iter().any(|pod| there(pod) == Some(pool))
    }

    /// What the trial under way has come to; the trial is undone.
    pub(crate) fn conclude(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for (pod, before) in self.touched_by_trial() {
            let now = self.pod(pod);
            if before.as_ref() == Some(now) {
                continue;
            }
            if before.is_some_and(|before| before.stage == Stage::Placed) {
                outcome.victims.push(pod);
            }
            outcome.places.extend(now.node.map(|node| (pod, node, now.gpus)));
        }
        self.roll_back();
        outcome
    }

    /// Evicts the victims of an attempt and keeps the room for its pods. `awaits` are leaving pods that must be gone
    /// as well.
    pub(crate) fn keep_room(
        &mut self,
        beneficiary: WorkloadIx,
        outcome: &Outcome,
        cause: Cause,
        awaits: Vec<PodIx>,
        decisions: &mut Vec<Decision>,
    ) {
        let id = self.workloads.at(beneficiary.0).id;
        let mut victims = outcome.victims.clone();
        victims.sort_unstable_by_key(|victim| self.pod_id(*victim));
        self.evict(&victims, Some(id), cause, decisions);
        let mut makers: BTreeSet<PodIx> = outcome.victims.iter().chain(&awaits).copied().collect();
        for (_, node, _) in &outcome.places {
            makers.extend(self.leaving_pods(*node));
        }
        let until = makers.iter().map(|pod| self.pod(*pod).until).max().unwrap_or(self.now);
        self.claim(makers.into_iter());
        let awaits: Vec<PodIx> = awaits.into_iter().chain(outcome.victims.iter().copied()).collect();
        let (own, moved): (Vec<_>, Vec<_>) =
            outcome.places.iter().copied().partition(|(pod, _, _)| pod.workload == beneficiary);
        self.enter_reservation(beneficiary, &own, until, awaits);
        for of_one in moved.chunk_by(|a, b| a.0.workload == b.0.workload) {
            self.enter_reservation(of_one[0].0.workload, of_one, until, Vec::new());
        }
        for (pod, node, gpus) in own.iter().chain(&moved) {
            let at = Placement { node: self.nodes.at(node.0).id, gpus: *gpus };
            decisions.push(Decision::Reserve { pod: self.pod_id(*pod), at, until });
        }
        self.requeue(beneficiary);
        self.reservations.waiting.insert(id, beneficiary);
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

    /// Whom a workload waits for that has room kept for it (S29).
    pub(crate) fn waiting_reason(&self, workload: WorkloadIx) -> Option<Reason> {
        let state = self.workloads.at(workload.0);
        let at = state.pods.iter().position(|pod| pod.stage == Stage::Reserved)?;
        let first = PodIx { workload, pod: at as u32 };
        let reservation = &self.reservations.all[&self.reservations.of(first)?];
        let mut leaving: BTreeSet<PodId> = reservation.awaits.iter().map(|pod| self.pod_id(*pod)).collect();
        for node in reservation.pods.iter().filter_map(|pod| self.pod(*pod).node) {
            leaving.extend(self.leaving_pods(node).into_iter().map(|pod| self.pod_id(pod)));
        }
        let (node, until) = (self.pod(first).node?, self.pod(first).until);
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
            self.dequeue(victim.workload);
        }
        for victim in victims {
            let workload = self.workloads.at_mut(victim.workload.0);
            // 0 would delete the object while its containers still run.
            let grace = if workload.grace == Millis::ZERO { Millis::from_secs(1) } else { workload.grace };
            if let Some(beneficiary) = beneficiary {
                let now = self.now;
                workload.evictions.retain(|e| e.at.plus(PING_PONG) > now && e.beneficiary != beneficiary);
                workload.evictions.push(Eviction { beneficiary, at: now });
            }
            self.leave(*victim, self.now.plus(grace), true);
            decisions.push(Decision::Evict { pod: self.pod_id(*victim), grace, beneficiary, cause });
        }
        for victim in victims {
            self.requeue(victim.workload);
        }
    }

    /// A placed pod begins to leave.
    pub(crate) fn leave(&mut self, pod: PodIx, until: Timestamp, evicted: bool) {
        self.reseat(pod, |state| {
            state.stage = Stage::Leaving;
            state.until = until;
            state.evicted = evicted;
        });
        self.reservations.leaving.insert(pod);
        let node = self.pod(pod).node;
        if let Some(pool) = node.and_then(|node| self.nodes.at(node.0).pool) {
            self.wake_short(pool);
        }
    }

    /// An eviction is not carried out: the pod stays, and whoever was to have its room has it no more.
    pub(crate) fn stay(&mut self, pod: PodIx) {
        let on_node: Vec<PodIx> =
            self.pod(pod).node.map_or_else(Vec::new, |node| self.nodes.at(node.0).kept().collect());
        let mut ids: BTreeSet<u64> =
            on_node.into_iter().filter_map(|kept| self.reservations.of(kept)).collect();
        ids.extend(self.reservations.awaited.get(&pod).into_iter().flatten().copied());
        ids.into_iter().for_each(|id| self.drop_reservation(id));
        self.reservations.leaving.remove(&pod);
        self.forget_warnings(pod);
        self.dequeue(pod.workload);
        self.reseat(pod, |state| {
            state.stage = Stage::Placed;
            (state.evicted, state.makes_room, state.until) = (false, false, Timestamp::default());
        });
        self.enqueue(pod.workload);
    }

    /// The room of these leaving pods is reserved from now on.
    fn claim(&mut self, makers: impl Iterator<Item = PodIx>) {
        for pod in makers {
            let state = self.pod(pod);
            if state.stage == Stage::Leaving && !state.makes_room {
                self.reseat(pod, |state| state.makes_room = true);
            }
        }
    }

    fn enter_reservation(
        &mut self,
        workload: WorkloadIx,
        places: &[(PodIx, NodeIx, GpuGrant)],
        until: Timestamp,
        awaits: Vec<PodIx>,
    ) {
        let id = self.reservations.next;
        self.reservations.next += 1;
        self.dequeue(workload);
        for (pod, node, gpus) in places {
            let state =
                Pod { stage: Stage::Reserved, node: Some(*node), gpus: *gpus, until, ..Pod::default() };
            if self.pod(*pod).on_node() {
                self.account(*pod, &state, 1);
                self.reservations.moves.insert(*pod, state);
            } else {
                self.seat(*pod, state);
            }
            self.reservations.by_pod.insert(*pod, id);
        }
        for pod in &awaits {
            self.reservations.awaited.entry(*pod).or_default().push(id);
        }
        if awaits.is_empty() {
            self.reservations.to_look_at.insert(id);
        }
        let pods = places.iter().map(|(pod, _, _)| *pod).collect();
        self.reservations.all.insert(id, Reservation { workload, pods, awaits });
    }

    /// Room is kept for a pod, as found written down at the start (S33).
    pub(crate) fn restore_reservation(&mut self, pod: PodIx, node: NodeIx, gpus: GpuGrant, until: Timestamp) {
        let others = self.workloads.at(pod.workload.0).pods.iter();
        let known = others
            .enumerate()
            .filter(|(_, other)| other.stage == Stage::Reserved)
            .find_map(|(at, _)| self.reservations.of(PodIx { workload: pod.workload, pod: at as u32 }));
        let makers = self.leaving_pods(node);
        self.claim(makers.into_iter());
        self.enter_reservation(pod.workload, &[(pod, node, gpus)], until, Vec::new());
        // What was decided for one workload starts together.
        if let (Some(known), Some(new)) = (known, self.reservations.of(pod)) {
            self.reservations.to_look_at.remove(&new);
            self.reservations.all.remove(&new);
            self.reservations.by_pod.insert(pod, known);
            if let Some(reservation) = self.reservations.all.get_mut(&known) {
                reservation.pods.push(pod);
            }
        }
        self.requeue(pod.workload);
    }

    /// True if reserved pods pass the gates with all that is really there (S6).
    fn passes_now(&self, workload: WorkloadIx, pods: &[PodIx]) -> bool {
        let template = self.templates.at(self.workloads.at(workload.0).template);
        let mut sum = [0; 3];
        let mut there = None;
        for pod in pods {
            let state = self.pod(*pod);
            let Some(node) = state.node else { return false };
            there = self.nodes.at(node.0).pool;
            crate::org::add(&mut sum, self.cost(self.kind_of(*pod).0, node, state.gpus), 1);
        }
        there.is_some_and(|pool| self.org.gate_now(template.queue, pool, sum, template.preemptible).is_ok())
    }

    /// A pod that is moved has left its old place: the new one is kept for it like for any other.
    pub(crate) fn arrive(&mut self, pod: PodIx) {
        if let Some(state) = self.reservations.moves.remove(&pod) {
            self.account(pod, &state, -1);
            self.seat(pod, state);
            self.reservations.to_look_at.extend(self.reservations.by_pod.get(&pod));
        }
    }

    /// A leaving pod is gone: those who waited for it are to be looked at.
    pub(crate) fn gone(&mut self, pod: PodIx, node: NodeIx) {
        self.reservations.leaving.remove(&pod);
        for id in self.reservations.awaited.remove(&pod).unwrap_or_default() {
            if let Some(reservation) = self.reservations.all.get_mut(&id) {
                reservation.awaits.retain(|awaited| *awaited != pod);
                self.reservations.to_look_at.insert(id);
            }
        }
        let kept: Vec<PodIx> = self.nodes.at(node.0).kept().collect();
        let ids = kept.into_iter().filter_map(|kept| self.reservations.of(kept));
        self.reservations.to_look_at.extend(ids.collect::<Vec<_>>());
    }

    /// Places what was reserved and has its room by now, and says what is reserved no more.
    pub(crate) fn start_reserved(&mut self, decisions: &mut Vec<Decision>) {
        for pod in std::mem::take(&mut self.reservations.released) {
            decisions.push(Decision::Release { pod });
        }
        for id in std::mem::take(&mut self.reservations.to_look_at) {
            let Some(reservation) = self.reservations.all.get(&id) else { continue };
            let left = reservation.pods.iter().all(|pod| !self.reservations.moves.contains_key(pod));
            if reservation.awaits.is_empty() && left {
                self.try_start(id, decisions);
            }
        }
    }

    fn try_start(&mut self, id: u64, decisions: &mut Vec<Decision>) {
        let Reservation { workload, pods, .. } = self.reservations.all[&id].clone();
        if !self.passes_now(workload, &pods) {
            // Others of its queue must be gone first.
            self.reservations.to_look_at.insert(id);
            return;
        }
        for (at, pod) in pods.iter().copied().enumerate() {
            let node = self.pod(pod).node.expect("a reserved pod has a node");
            if !self.nodes.at(node.0).can_start(pod, self.shapes.at(self.kind_of(pod).0)) {
                for started in &pods[..at] {
                    self.reseat(*started, |state| state.stage = Stage::Reserved);
                }
                return;
            }
            self.reseat(pod, |state| state.stage = Stage::Placed);
        }
        self.reservations.all.remove(&id);
        self.dequeue(workload);
        for pod in pods {
            self.reservations.by_pod.remove(&pod);
            let now = self.now;
            let state = self.pod_mut(pod);
            (state.since, state.until) = (now, Timestamp::default());
            let (node, gpus) = (state.node.expect("a node"), state.gpus);
            let at = Placement { node: self.nodes.at(node.0).id, gpus };
            decisions.push(Decision::Place { pod: self.pod_id(pod), at });
        }
        self.workloads.at_mut(workload.0).reported = 0;
        self.second.fresh.push(workload);
        self.enqueue(workload);
        self.wake_neighbours();
    }

    /// True if room is kept for a pod.
    pub(crate) fn has_room_kept(&self, pod: PodIx) -> bool {
        self.reservations.by_pod.contains_key(&pod)
    }

    /// Gives up the reservations of a workload that is removed, without a word.
    pub(crate) fn forget_reservations_of(&mut self, workload: WorkloadIx) {
        let id = self.workloads.at(workload.0).id;
        self.drop_reservations_of(workload);
        self.reservations.released.retain(|pod| pod.workload != id);
    }

    /// Gives up the reservations of a workload.
    pub(crate) fn drop_reservations_of(&mut self, workload: WorkloadIx) {
        if self.reservations.all.is_empty() {
            return;
        }
        let pods = 0..self.workloads.at(workload.0).pods.len() as u32;
        let ids: BTreeSet<u64> =
            pods.filter_map(|pod| self.reservations.of(PodIx { workload, pod })).collect();
        ids.into_iter().for_each(|id| self.drop_reservation(id));
    }

    /// Gives up the reservations on a node.
    pub(crate) fn drop_reservations_on(&mut self, node: NodeIx) {
        let kept: Vec<PodIx> = self.nodes.at(node.0).kept().collect();
        for pod in kept {
            if let Some(id) = self.reservations.of(pod) {
                self.drop_reservation(id);
            }
        }
    }

    /// Gives up reservations that a queue's bounds no longer allow, the newest first.
    pub(crate) fn drop_reservations_above(&mut self, queue: crate::ix::QueueIx, pool: PoolIx) {
        let ids: Vec<u64> = self.reservations.all.keys().rev().copied().collect();
        for id in ids {
            if !self.org.in_pool(queue, pool).exceeded() {
                return;
            }
            let reservation = &self.reservations.all[&id];
            let template = self.templates.at(self.workloads.at(reservation.workload.0).template);
            let node = reservation.pods.first().and_then(|pod| self.pod(*pod).node);
            let there = node.and_then(|node| self.nodes.at(node.0).pool) == Some(pool);
            if there && self.org.at(template.queue).path.contains(&queue) {
                self.drop_reservation(id);
            }
        }
    }

    fn drop_reservation(&mut self, id: u64) {
        let Some(Reservation { workload, pods, awaits }) = self.reservations.all.remove(&id) else { return };
        self.reservations.to_look_at.remove(&id);
        self.dequeue(workload);
        let mut makers: BTreeSet<PodIx> = awaits.iter().copied().collect();
        for pod in pods {
            self.reservations.by_pod.remove(&pod);
            self.reservations.released.push(self.pod_id(pod));
            let was = match self.reservations.moves.remove(&pod) {
                Some(state) => {
                    self.account(pod, &state, -1);
                    state
                }
                None => self.unseat(pod),
            };
            if let Some(node) = was.node {
                self.gained(node);
                makers.extend(self.leaving_pods(node));
            }
        }
        for pod in awaits {
            if let Some(ids) = self.reservations.awaited.get_mut(&pod) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.reservations.awaited.remove(&pod);
                }
            }
        }
        self.unclaim(makers);
        let template = self.templates.at(self.workloads.at(workload.0).template);
        for pool in 0..self.pools.len() {
            self.org.loosen_path(template.queue, PoolIx::of(pool));
        }
        self.enqueue(workload);
    }

    /// Leaving pods make room for nobody any more, unless another reservation counts on them.
    fn unclaim(&mut self, makers: BTreeSet<PodIx>) {
        for pod in makers {
            let state = self.pod(pod);
            let kept_there = state.node.is_some_and(|node| self.nodes.at(node.0).kept().next().is_some());
            let claimed = kept_there || self.reservations.awaited.contains_key(&pod);
            if state.makes_room && !claimed {
                self.reseat(pod, |state| state.makes_room = false);
            }
        }
    }
}
