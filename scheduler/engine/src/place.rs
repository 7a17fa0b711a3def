//! Putting pods on nodes and taking them off again: the one place where capacity, quotas and counts change.
//!
//! [`Engine::seat`] and [`Engine::unseat`] are exact inverses. A trial (a gang, a reservation, a taking back) runs on the
//! live state; its undo log is the list of pods seated and unseated, undone in reverse order on rollback. A rollback
//! frees nothing that was not free before the trial, so it wakes nobody (S30).

use crate::Engine;
use crate::ix::{NodeIx, PodIx, PoolIx, QueueIx, ShapeIx};
use crate::node::{Node, hold};
use crate::org::Triple;
use crate::overlap::Hold;
use crate::workload::{Pod, Stage};
use berth_model::{GpuGrant, PodId, Timestamp};
use rustc_hash::FxHashSet;

impl Engine {
    /// The shape of a pod, and the index of its labels.
    pub(crate) fn kind_of(&self, pod: PodIx) -> (ShapeIx, u32) {
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let role = &template.roles[template.role_of(pod.pod).0 as usize];
        (role.shape, role.labels)
    }

    /// A pod.
    pub(crate) fn pod(&self, pod: PodIx) -> &Pod {
        &self.workloads.at(pod.workload.0).pods[pod.pod as usize]
    }

    /// A pod, to change it.
    pub(crate) fn pod_mut(&mut self, pod: PodIx) -> &mut Pod {
        &mut self.workloads.at_mut(pod.workload.0).pods[pod.pod as usize]
    }

    /// The identifier of a pod.
    pub(crate) fn pod_id(&self, pod: PodIx) -> PodId {
        let workload = self.workloads.at(pod.workload.0);
        let (role, index) = self.templates.at(workload.template).role_of(pod.pod);
        PodId { workload: workload.id, role, index }
    }

    /// What a pod with this grant on this node is charged (S13).
    pub(crate) fn cost(&self, shape: ShapeIx, node: NodeIx, gpus: GpuGrant) -> Triple {
        let shape = self.shapes.at(shape);
        [self.nodes.at(node.0).devices.charge(shape.gpu, gpus).0, shape.cpu, shape.memory]
    }

    /// Puts a waiting pod on a node.
    pub(crate) fn put(&mut self, pod: PodIx, node: NodeIx, gpus: GpuGrant, since: Timestamp) {
        self.seat(pod, Pod { stage: Stage::Placed, node: Some(node), gpus, since, ..Pod::default() });
    }

    /// Gives a waiting pod a seat: it is placed, leaving, or has room kept for it.
    pub(crate) fn seat(&mut self, pod: PodIx, state: Pod) {
        self.account(pod, &state, 1);
        *self.pod_mut(pod) = state;
        self.note_loose(&state);
    }

    /// Takes a pod off its node, whatever it does there; it is waiting again. Returns what it was.
    pub(crate) fn unseat(&mut self, pod: PodIx) -> Pod {
        let was = *self.pod(pod);
        self.account(pod, &was, -1);
        *self.pod_mut(pod) = Pod::default();
        self.note_loose(&was);
        was
    }

    /// Changes what a pod does on its node.
    pub(crate) fn reseat(&mut self, pod: PodIx, change: impl FnOnce(&mut Pod)) {
        let mut state = self.unseat(pod);
        change(&mut state);
        self.seat(pod, state);
    }

    /// Counts a pod in (`sign` 1) or out (`sign` -1) where it is or will be.
    pub(crate) fn account(&mut self, pod: PodIx, state: &Pod, sign: i64) {
        let (Some(node), gpus) = (state.node, state.gpus) else { return };
        self.occupy(pod, state, sign);
        let pool = self.nodes.at(node.0).pool;
        let cost = self.cost(self.kind_of(pod).0, node, gpus);
        let Some(pool) = pool else { return };
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let (queue, preemptible) = (template.queue, template.preemptible);
        self.charge(queue, pool, (cost, preemptible), state, sign);
        self.mark_use(queue, pool);
        self.victims.touch(pool, node, pod);
        if !self.trying {
            self.pools.shift(pool);
        }
        if state.stays() && self.nodes.at(node.0).usable() {
            crate::org::add(&mut self.pools.at_mut(pool).unclaimed, cost, -sign);
        }
        if state.on_node() {
            self.pools.at_mut(pool).allocated += sign * cost[0];
            if queue == self.unmanaged && self.nodes.at(node.0).open() {
                crate::org::add(&mut self.pools.at_mut(pool).unmanaged, cost, sign);
            }
        }
    }

    /// Counts a pod in or out on its node, and for rules about other pods and volumes.
    fn occupy(&mut self, pod: PodIx, state: &Pod, sign: i64) {
        let (Some(node), gpus) = (state.node, state.gpus) else { return };
        let (shape, labels) = self.kind_of(pod);
        self.change_node(node, |engine| match (state.stage, sign > 0) {
            (Stage::Reserved, true) => {
                let leaving = |node: &Node| engine.leaving_on(node);
                let leaving = if engine.nodes.at(node.0).kept().next().is_none() {
                    leaving(engine.nodes.at(node.0))
                } else {
                    Vec::new()
                };
                engine.nodes.at_mut(node.0).keep(pod, engine.shapes.at(shape), gpus, || leaving);
            }
            (Stage::Reserved, false) => engine.nodes.at_mut(node.0).unkeep(pod, engine.shapes.at(shape)),
            (stage, true) => {
                let leaving = stage == Stage::Leaving;
                engine.nodes.at_mut(node.0).take(pod, engine.shapes.at(shape), gpus, leaving);
            }
            (_, false) => engine.nodes.at_mut(node.0).give(pod, engine.shapes.at(shape), gpus),
        });
        if !self.neighbours.idle() {
            self.neighbours.count(&self.topologies, (shape, labels), (node, state.stage), sign as i32, None);
        }
        self.count_mounts(shape, sign);
    }

    /// Charges the queues of a pod for it (S6), or with `sign` -1 no more.
    pub(crate) fn charge(
        &mut self,
        queue: QueueIx,
        pool: PoolIx,
        (cost, preemptible): (Triple, bool),
        state: &Pod,
        sign: i64,
    ) {
        if state.stays() {
            self.org.charge(queue, pool, cost, preemptible, sign);
        }
        if state.stays() != state.on_node() {
            let ahead = if state.on_node() { sign } else { -sign };
            self.org.note_ahead(queue, pool, cost, preemptible, ahead);
        }
    }

    /// What the pods that leave a node take of it.
    fn leaving_on(&self, node: &Node) -> Vec<Hold> {
        // One that is moved here leaves another node.
        let here = |pod: &&PodIx| self.pod(**pod).node.is_some_and(|ix| self.nodes.at(ix.0).id == node.id);
        let leaving = node.pods.iter().filter(|pod| self.pod(**pod).stage == Stage::Leaving && here(pod));
        leaving.map(|pod| hold(*pod, self.shapes.at(self.kind_of(*pod).0), self.pod(*pod).gpus)).collect()
    }

    fn count_mounts(&mut self, shape: ShapeIx, sign: i64) {
        for volume in &self.shapes.at(shape).spec.volumes {
            let mounts = self.mounted.entry(volume.handle.as_str().into()).or_default();
            *mounts = (i64::from(*mounts) + sign) as u32;
        }
    }

    /// Changes a node while keeping the index in step and those who watch it informed.
    pub(crate) fn change_node(&mut self, node: NodeIx, change: impl FnOnce(&mut Self)) {
        self.note_change(node);
        let indexed = self.nodes.at(node.0).usable();
        if indexed {
            self.index.remove(node, self.nodes.at(node.0));
        }
        change(self);
        if indexed {
            self.index.insert(node, self.nodes.at(node.0));
        }
    }

    /// Notes that something on the node's pool became free outside of a trial (S30).
    pub(crate) fn gained(&mut self, node: NodeIx) {
        if let Some(pool) = self.nodes.at(node.0).pool {
            self.pools.at_mut(pool).gains += 1;
        }
    }

    /// Puts a pod on a node, in the trial under way.
    pub(crate) fn try_put(&mut self, pod: PodIx, node: NodeIx, gpus: GpuGrant) {
        if self.trial.is_empty() {
            self.changed.begin();
        }
        self.trying = true;
        self.put(pod, node, gpus, self.now);
        self.trying = false;
        self.trial.push(Step::Put(pod));
    }

    /// Takes a pod off its node, in the trial under way.
    pub(crate) fn try_lift(&mut self, pod: PodIx) {
        if self.trial.is_empty() {
            self.changed.begin();
        }
        self.trying = true;
        let was = self.unseat(pod);
        self.trying = false;
        self.pod_mut(pod).stage = Stage::Lifted;
        self.trial.push(Step::Lifted(pod, was));
        self.lifted += 1;
    }

    /// Puts a pod back where it was before the trial under way took it off.
    pub(crate) fn try_return(&mut self, pod: PodIx, was: Pod) {
        self.trying = true;
        self.seat(pod, was);
        self.trying = false;
        self.trial.push(Step::Put(pod));
    }

    /// The pods that the trial under way has touched, in order, and what they were before; none for those that waited.
    pub(crate) fn touched_by_trial(&self) -> Vec<(PodIx, Option<Pod>)> {
        let mut known: FxHashSet<PodIx> = FxHashSet::default();
        let before = |step: &Step| match *step {
            Step::Put(pod) => (pod, None),
            Step::Lifted(pod, was) => (pod, Some(was)),
            Step::Unmoved(pod, was) | Step::Doubled(pod, was) => (pod, Some(was)),
        };
        self.trial.iter().map(before).filter(|(pod, _)| known.insert(*pod)).collect()
    }

    /// Takes room that is kept for a pod which still leaves another node out of the accounts, in the trial under way.
    pub(crate) fn try_lift_move(&mut self, pod: PodIx, state: Pod) {
        if self.trial.is_empty() {
            self.changed.begin();
        }
        self.trying = true;
        self.account(pod, &state, -1);
        self.note_loose(&state);
        self.trying = false;
        self.trial.push(Step::Unmoved(pod, state));
    }

    /// A pod is on one more node, in the trial under way, without being charged for it twice.
    pub(crate) fn try_double(&mut self, pod: PodIx, state: Pod) {
        if self.trial.is_empty() {
            self.changed.begin();
        }
        self.trying = true;
        self.occupy(pod, &state, 1);
        self.trying = false;
        self.trial.push(Step::Doubled(pod, state));
    }

    /// Undoes the trial under way, down to its first `mark` steps.
    pub(crate) fn roll_back_to(&mut self, mark: usize) {
        let began = !self.trial.is_empty();
        self.trying = true;
        while self.trial.len() > mark {
            match self.trial.pop() {
                Some(Step::Put(pod)) => {
                    self.unseat(pod);
                }
                Some(Step::Lifted(pod, was)) => {
                    self.seat(pod, was);
                    self.lifted -= 1;
                }
                Some(Step::Unmoved(pod, state)) => {
                    self.account(pod, &state, 1);
                    self.note_loose(&state);
                }
                Some(Step::Doubled(pod, state)) => self.occupy(pod, &state, -1),
                None => break,
            }
        }
        self.trying = false;
        if mark == 0 && began {
            self.changed.undo();
        }
    }

    /// Undoes the trial under way.
    pub(crate) fn roll_back(&mut self) {
        self.roll_back_to(0);
        self.org.as_if = false;
    }
}

/// A step of a trial, and what undoes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A waiting pod was put on a node.
    Put(PodIx),
    /// A pod was taken off; this is what it was.
    Lifted(PodIx, Pod),
    /// Room was taken out that is kept for a pod which is still elsewhere.
    Unmoved(PodIx, Pod),
    /// A pod was put on one more node.
    Doubled(PodIx, Pod),
}
