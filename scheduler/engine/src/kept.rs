//! Room that is kept, judged anew (S23, S33): who starts in it by now, and whose would not do any more.
//!
//! In each cycle after something has happened, in the order of S9, on the live state in a trial, by what is there. A
//! workload that lacks its minimum starts with all its room or not at all; else each pod by itself. Costs: the leaving
//! pods and those with room kept, each once without those that leave, and once with them unless they are all still on the
//! devices that are kept.

use crate::Engine;
use crate::ix::{NodeIx, PodIx, PoolIx, WorkloadIx};
use crate::workload::{Pod, Stage, Template};
use berth_model::{Decision, GpuGrant, Placement};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Pods that start together where they have room kept.
pub(crate) type Batch = SmallVec<[PodIx; 2]>;
/// Where room is kept, while it is out of the accounts.
pub(crate) type Rooms = FxHashMap<PodIx, Pod>;

impl Engine {
    /// Gives up room that would not do any more, and starts those whose room is free by now.
    pub(crate) fn judge_room(&mut self, decisions: &mut Vec<Decision>) {
        if self.reservations.is_empty() || self.reservations.judged == Some(self.second.stamp) {
            return;
        }
        let before = decisions.len();
        while self.give_up(decisions) {}
        let moves = !self.reservations.moves.is_empty();
        let needed = if moves { self.spare(decisions) } else { Vec::new() };
        self.start_kept(decisions);
        self.stop_movers(&needed, decisions);
        // What was decided, or evictions that are allowed by then, may change who is to be moved.
        let settled = needed.is_empty() || (decisions.len() == before && self.may_evict());
        self.reservations.judged = settled.then_some(self.second.stamp);
    }

    /// The pods that have room kept, in the order of S9, by who starts together.
    fn batches(&self) -> Vec<Batch> {
        self.batches_of(|_| true)
    }

    /// The same of those of them that are meant.
    pub(crate) fn batches_of(&self, meant: impl Fn(PodIx) -> bool) -> Vec<Batch> {
        let kept = self.reservations.kept.iter().filter(|pod| meant(**pod));
        let mut workloads: Vec<WorkloadIx> = kept.map(|pod| pod.workload).collect();
        workloads.dedup();
        workloads.sort_by_key(|ix| {
            let workload = self.workloads.at(ix.0);
            (Reverse(self.templates.at(workload.template).priority), workload.submitted, workload.id)
        });
        let mut batches = Vec::new();
        for ix in workloads {
            let of = self.workloads.at(ix.0).template;
            let template = self.templates.at(of);
            let roles = self.hardest_first(of, &vec![1; template.roles.len()]);
            let mut pods = self.kept_of(ix);
            pods.retain(|pod| meant(*pod));
            pods.sort_by_key(|pod| {
                let (role, index) = template.role_of(pod.pod);
                (roles.iter().position(|r| *r == usize::from(role)), index)
            });
            if self.workloads.at(ix.0).lacks_minimum(template) {
                batches.push(pods.into());
            } else {
                batches.extend(pods.into_iter().map(|pod| Batch::from_slice(&[pod])));
            }
        }
        batches
    }

    /// Takes all room that is kept out of the accounts, in a trial; where it is.
    pub(crate) fn lift_kept(&mut self) -> Rooms {
        let kept: Vec<PodIx> = self.reservations.kept.iter().copied().collect();
        let mut rooms = Rooms::default();
        for pod in kept {
            if let Some(state) = self.reservations.moves.get(&pod).copied() {
                self.try_lift_move(pod, state);
                rooms.insert(pod, state);
            } else {
                rooms.insert(pod, *self.pod(pod));
                self.try_lift(pod);
            }
        }
        rooms
    }

    /// Gives up room that would not do even if all leaving pods were gone. True if somebody stays therefore who was to be
    /// moved: then other room may not do any more.
    fn give_up(&mut self, decisions: &mut Vec<Decision>) -> bool {
        let batches = self.batches().into_iter();
        let batches: Vec<(Batch, bool)> =
            batches.map(|batch| (batch.clone(), self.must_stay(&batch))).collect();
        let leaving: Vec<PodIx> = self.reservations.leaving.iter().copied().collect();
        self.org.as_if = true;
        leaving.into_iter().for_each(|pod| self.try_lift(pod));
        let rooms = self.lift_kept();
        let fails = |(batch, barred): &(Batch, bool)| *barred || !self.move_in(batch, &rooms);
        let failed: Vec<Batch> = batches.into_iter().filter(fails).map(|(batch, _)| batch).collect();
        self.roll_back();
        let mut stays = false;
        for batch in failed {
            let workload = batch[0].workload;
            self.dequeue(workload);
            for pod in &batch {
                decisions.push(Decision::Release { pod: self.pod_id(*pod) });
                self.give_up_room(*pod);
            }
            self.enqueue(workload);
            for pod in batch.into_iter().filter(|pod| self.is_pending(*pod)).collect::<Batch>() {
                self.stay(pod);
                stays = true;
            }
        }
        stays
    }

    /// Starts those whose room is free beside everybody who is still there.
    fn start_kept(&mut self, decisions: &mut Vec<Decision>) {
        let batches = self.batches();
        if batches.iter().all(|batch| self.is_in_use(batch)) {
            return;
        }
        let rooms = self.lift_kept();
        let mut started: Vec<Batch> = Vec::new();
        for batch in batches {
            let left = batch.iter().all(|pod| !self.reservations.moves.contains_key(pod));
            if left && self.move_in(&batch, &rooms) {
                started.push(batch);
            }
        }
        self.roll_back();
        for batch in started {
            let workload = batch[0].workload;
            self.dequeue(workload);
            for pod in batch {
                let Some(Pod { node: Some(node), gpus, .. }) = self.take_room(pod) else { continue };
                self.put(pod, node, gpus, self.now);
                self.note_starting(pod, true);
                self.second.fresh.push(pod);
                let at = Placement { node: self.nodes.at(node.0).id, gpus };
                decisions.push(Decision::Place { pod: self.pod_id(pod), at });
            }
            self.tell_anew(workload);
            self.enqueue(workload);
            self.wake_neighbours();
        }
    }

    /// True if somebody is still on a device that one of these pods is to have for itself: then they cannot start yet.
    fn is_in_use(&self, batch: &[PodIx]) -> bool {
        batch.iter().any(|pod| {
            let GpuGrant::Whole(devices) = self.pod(*pod).gpus else { return false };
            let Some(node) = self.pod(*pod).node else { return false };
            let there = self.nodes.at(node.0).pods.iter().map(|other| self.pod(*other));
            let mut present = there.filter(|other| other.on_node() && other.node == Some(node));
            present.any(|other| other.gpus.devices().0 & devices.0 != 0)
        })
    }

    /// Puts pods of one workload where their room is, in the trial under way, or changes nothing: into one pool of its
    /// list, that of its other pods, where they fit one after the other, within the gates, so that it has its minimum.
    pub(crate) fn move_in(&mut self, batch: &[PodIx], rooms: &Rooms) -> bool {
        let mark = self.trial.len();
        let fits = self.try_move_in(batch, rooms);
        if !fits {
            self.roll_back_to(mark);
        }
        fits
    }

    fn try_move_in(&mut self, batch: &[PodIx], rooms: &Rooms) -> bool {
        let ix = batch[0].workload;
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        let lacked = workload.lacks_minimum(template);
        let others = workload.pods.iter().find(|pod| pod.stage == Stage::Placed);
        let pool_of = |state: &Pod| state.node.and_then(|node| self.nodes.at(node.0).pool);
        let (Some(pool), bound) = (pool_of(&rooms[&batch[0]]), others.map(pool_of)) else { return false };
        if bound.is_some_and(|bound| bound != Some(pool)) || !self.may_use(template, pool) {
            return false;
        }
        for pod in batch {
            let Pod { node: Some(node), gpus, .. } = rooms[pod] else { return false };
            if !self.fits_kept(*pod, node, gpus, pool) {
                return false;
            }
            self.try_put(*pod, node, gpus);
        }
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        !workload.lacks_minimum(template) && (!lacked || self.together(ix))
    }

    /// True if workloads of a template may be in a pool: it is in their list, and the policy lets them run.
    pub(crate) fn may_use(&self, template: &Template, pool: PoolIx) -> bool {
        let mut listed = self.pools.order(&template.pools, &self.org.at(template.queue).pools);
        listed.any(|listed| listed == pool) && self.policy(template).is_none()
    }

    /// True if a pod fits on exactly these devices of a node of the pool, within the gates.
    pub(crate) fn fits_kept(&mut self, pod: PodIx, node: NodeIx, gpus: GpuGrant, pool: PoolIx) -> bool {
        let kind = self.kind_of(pod);
        let gpu = self.shapes.at(kind.0).gpu;
        let devices = &self.nodes.at(node.0).devices;
        if !devices.comes_to(gpu, gpus) || !devices.can_take(gpus) {
            return false;
        }
        let could = self.could_take(kind, pool, crate::choose::Scope::Everywhere, node);
        if !could || !self.accepts(kind, pool, node) {
            return false;
        }
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let cost = self.cost(kind.0, node, gpus);
        self.org.gate(template.queue, pool, cost, template.preemptible).is_ok()
    }

    /// S31: the minimums of a workload that requires it are in one domain.
    fn together(&self, ix: WorkloadIx) -> bool {
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        let Some(topology) = template.topology.as_ref().filter(|topology| topology.required) else {
            return true;
        };
        let Some(level) = self.topologies.find(&topology.key) else { return false };
        let level = self.topologies.at(level);
        (0..level.len() as u32).any(|domain| {
            let counts = |pod: &&Pod| match (pod.stage, pod.node) {
                (Stage::Placed, Some(node)) => level.domain(node) == domain,
                (stage, _) => stage == Stage::Succeeded,
            };
            template.roles.iter().enumerate().all(|(at, role)| {
                let first = template.first_of(at) as usize;
                let pods = &workload.pods[first..first + role.count as usize];
                pods.iter().filter(counts).count() as u32 >= role.min
            })
        })
    }
}
