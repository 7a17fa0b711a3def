//! Putting pods on nodes and taking them off again: the one place where capacity, quotas and counts change.
//!
//! [`Engine::put`] and [`Engine::lift`] are exact inverses. A trial (a gang, later a preemption) runs on the live
//! state; its undo log is the list of pods put, lifted again in reverse order on rollback. A rollback frees nothing that
//! was not free before the trial, so it wakes nobody (S30).

use crate::Engine;
use crate::ix::{NodeIx, PodIx, PoolIx, ShapeIx};
use crate::org::Triple;
use crate::workload::{Pod, Stage};
use berth_model::{GpuGrant, PodId, Timestamp};

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
        let pool = self.nodes.at(node.0).pool;
        self.account(pod, node, gpus, pool, 1);
        let workload = self.workloads.at_mut(pod.workload.0);
        workload.pods[pod.pod as usize] =
            Pod { stage: Stage::Placed, node: Some(node), gpus, since, until: Timestamp::default() };
    }

    /// Takes a pod off its node; it is waiting again.
    pub(crate) fn lift(&mut self, pod: PodIx) {
        let Pod { node: Some(node), gpus, .. } = *self.pod(pod) else { return };
        let pool = self.nodes.at(node.0).pool;
        self.account(pod, node, gpus, pool, -1);
        let workload = self.workloads.at_mut(pod.workload.0);
        workload.pods[pod.pod as usize] = Pod::default();
    }

    fn account(&mut self, pod: PodIx, node: NodeIx, gpus: GpuGrant, pool: Option<PoolIx>, sign: i64) {
        let (shape, labels) = self.kind_of(pod);
        let cost = self.cost(shape, node, gpus);
        self.change_node(node, |engine| {
            let shape = engine.shapes.at(shape);
            let node = engine.nodes.at_mut(node.0);
            if sign > 0 { node.take(pod, shape, gpus) } else { node.give(pod, shape, gpus) }
        });
        if !self.neighbours.idle() {
            let leaving = self.pod(pod).stage == Stage::Leaving;
            self.neighbours.count(&self.topologies, (shape, labels), (node, leaving), sign as i32, None);
        }
        self.count_mounts(shape, sign);
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        if let Some(pool) = pool {
            self.org.charge(template.queue, pool, cost, template.preemptible, sign);
            self.pools.at_mut(pool).allocated += sign * cost[0];
        }
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

    /// Undoes the trial under way.
    pub(crate) fn roll_back(&mut self) {
        while let Some(pod) = self.trial.pop() {
            self.lift(pod);
        }
        self.changed.undo();
    }
}
