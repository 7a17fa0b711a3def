//! Objects as the events set, change and remove them. Objects are set whole; what is on them stays (see [`crate::Event`]).

use super::census::Shape;
use super::cluster::{Cluster, Heads, Node, Pod, Workload};
use super::events::{BadEvent, bad};
use super::kept::Kept;
use super::ledger::{Bill, Part};
use super::load::Load;
use crate::{
    DepartmentId, DepartmentSpec, DeviceIndex, DeviceSpec, Labels, NodeId, NodeSpec, PodId, PodOutcome,
    PoolId, PoolSpec, ProjectId, ProjectSpec, QueueId, RoleSpec, WorkloadId, WorkloadSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Cluster {
    pub(super) fn pool_set(&mut self, pool: &PoolSpec) {
        self.pools.insert(pool.id, pool.clone());
        self.repool();
    }

    pub(super) fn pool_removed(&mut self, id: PoolId) {
        self.pools.remove(&id);
        self.repool();
    }

    pub(super) fn department_removed(&mut self, id: DepartmentId) -> Result<(), BadEvent> {
        if self.projects.values().any(|project| project.department == id) {
            return bad(id, "is removed and has projects");
        }
        self.departments.remove(&id);
        self.ledger.set_quotas(QueueId::Department(id), &[]);
        Ok(())
    }

    pub(super) fn project_removed(&mut self, id: ProjectId) -> Result<(), BadEvent> {
        if self.workloads.values().any(|w| w.spec.project == Some(id)) {
            return bad(id, "is removed and has workloads");
        }
        self.projects.remove(&id);
        self.ledger.set_quotas(QueueId::Project(id), &[]);
        Ok(())
    }

    pub(super) fn department_set(&mut self, department: &DepartmentSpec) {
        self.ledger.set_quotas(QueueId::Department(department.id), &department.quotas);
        self.departments.insert(department.id, department.clone());
    }

    pub(super) fn project_set(&mut self, project: &ProjectSpec) -> Result<(), BadEvent> {
        if !self.departments.contains_key(&project.department) {
            return bad(project.id, format!("{} is unknown", project.department));
        }
        let members: Vec<_> =
            self.workloads.values().filter(|w| w.spec.project == Some(project.id)).collect();
        let specs: Vec<_> = members.into_iter().map(|w| w.spec.clone()).collect();
        self.ledger.set_quotas(QueueId::Project(project.id), &project.quotas);
        let old = self.projects.insert(project.id, project.clone());
        if old.is_some_and(|old| old.name != project.name || old.department != project.department) {
            return specs.iter().try_for_each(|spec| self.workload_set(spec));
        }
        Ok(())
    }

    /// S1: the first pool by name that selects the node, else `default`.
    fn pool_for(&self, labels: &Labels) -> Option<PoolId> {
        let mut pools: Vec<_> = self.pools.values().collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        let selects = |pool: &&&PoolSpec| {
            pool.selector.as_ref().is_some_and(|s| labels.get(&s.key).is_some_and(|value| *value == s.value))
        };
        let default = || pools.iter().find(|pool| pool.name == PoolSpec::DEFAULT_NAME);
        pools.iter().find(selects).or_else(default).map(|pool| pool.id)
    }

    fn repool(&mut self) {
        let pools: Vec<_> = self.nodes.iter().map(|(id, n)| (*id, self.pool_for(&n.spec.labels))).collect();
        for (id, pool) in pools {
            if self.nodes[&id].pool != pool {
                self.lifting(id, |node| node.pool = pool);
            }
        }
    }

    /// Changes a node while its pods are off it, so that what they take and cost is counted anew.
    fn lifting(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get(&id) else { return };
        let ids: Vec<_> = node.pods.iter().copied().collect();
        let pods: Vec<_> = ids.iter().filter_map(|pod| self.unseat(*pod)).collect();
        let kept = self.lift_kept(|_, kept| kept.at.node == id);
        if let Some(node) = self.nodes.get_mut(&id) {
            change(node);
        }
        ids.into_iter().zip(pods).for_each(|(id, pod)| self.seat(id, pod));
        self.return_kept(kept);
    }

    /// Takes room out of the sums, to enter it anew.
    fn lift_kept(&mut self, which: impl Fn(&PodId, &Kept) -> bool) -> Vec<(PodId, Kept)> {
        let ids: Vec<_> = self.kept.iter().filter(|(id, kept)| which(id, kept)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.give_up(id)?))).collect()
    }

    /// Enters room as it counts now. That of pods whose role is gone counts no more.
    fn return_kept(&mut self, all: Vec<(PodId, Kept)>) {
        for (id, kept) in all {
            let shape = self.workloads.get(&id.workload).and_then(|w| w.shapes.get(usize::from(id.role)));
            let Some(shape) = shape.cloned() else { continue };
            let node = self.nodes.get(&kept.at.node);
            let bill = node.and_then(|node| self.bill(id, &shape, node, kept.at.gpus));
            let bill = bill.map(|bill| Bill { part: Part::Kept, ..bill });
            self.keep(id, Kept { shape, bill, ..kept });
        }
    }

    pub(super) fn node_set(&mut self, spec: &NodeSpec) -> Result<(), BadEvent> {
        if spec.devices.len() > 64 {
            return bad(spec.id, format!("has {} devices, at most 64 are possible", spec.devices.len()));
        }
        let pool = self.pool_for(&spec.labels);
        self.census.node_set(self.nodes.get(&spec.id).map(|node| &node.spec), Some(spec));
        // Room on a node that was gone and is back.
        let kept = self.lift_kept(|_, kept| kept.at.node == spec.id);
        self.nodes.entry(spec.id).or_insert_with(|| Node {
            spec: spec.clone(),
            pool,
            pods: BTreeSet::new(),
            load: Load::default(),
            leaving: Load::default(),
            kept: BTreeSet::new(),
            reserved: Load::default(),
            excused: false,
        });
        self.lifting(spec.id, |node| (node.spec, node.pool) = (spec.clone(), pool));
        self.return_kept(kept);
        Ok(())
    }

    pub(super) fn node_removed(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        for pod in node.pods.clone() {
            self.unseat(pod);
            self.note(pod.workload);
        }
        let kept = self.lift_kept(|_, kept| kept.at.node == id);
        let gone = self.nodes.remove(&id);
        self.return_kept(kept);
        self.census.node_set(gone.as_ref().map(|node| &node.spec), None);
    }

    pub(super) fn change_node(&mut self, id: NodeId, change: impl FnOnce(&mut NodeSpec)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            change(&mut node.spec);
        }
    }

    pub(super) fn change_device(
        &mut self,
        id: NodeId,
        device: DeviceIndex,
        change: impl FnOnce(&mut DeviceSpec),
    ) {
        self.lifting(id, |node| {
            if let Some(spec) = node.spec.devices.get_mut(device.index()) {
                change(spec);
            }
        });
    }

    pub(super) fn workload_set(&mut self, spec: &WorkloadSpec) -> Result<(), BadEvent> {
        let namespace = match spec.project.map(|id| (id, self.projects.get(&id))) {
            Some((id, None)) => return bad(spec.id, format!("{id} is unknown")),
            Some((_, Some(project))) => project.name.clone(),
            None => spec.namespace.clone(),
        };
        let kept = self.lift_kept(|pod, _| pod.workload == spec.id);
        let shape = |role: &RoleSpec| Arc::new(Shape::new(&role.pod, &namespace, &role.labels));
        let shapes: Vec<_> = spec.roles.iter().map(shape).collect();
        shapes.iter().for_each(|shape| self.census.watch(shape, self.nodes.values().map(|node| &node.spec)));
        let ids: Vec<_> = self.pods_of(spec.id).map(|(id, _)| *id).collect();
        let pods: Vec<_> = ids.iter().filter_map(|id| self.unseat(*id)).collect();
        let old = self.workloads.remove(&spec.id);
        let mut workload = Workload {
            spec: spec.clone(),
            heads: vec![Heads::default(); shapes.len()],
            shapes: shapes.clone(),
            below_since: old.as_ref().and_then(|w| w.below_since),
            ended: BTreeMap::new(),
        };
        let counted = |id: &PodId| spec.roles.get(usize::from(id.role)).is_some_and(|r| id.index < r.count);
        // A pod that was deleted and given up can be asked for again.
        let stays = |id: &PodId, outcome| outcome != PodOutcome::Deleted || counted(id);
        for (id, outcome) in old.map(|w| w.ended).unwrap_or_default() {
            workload.set_ended(id, stays(&id, outcome).then_some(outcome));
        }
        self.workloads.insert(spec.id, workload);
        for (id, pod) in ids.into_iter().zip(pods) {
            let shape = shapes.get(usize::from(id.role)).cloned().unwrap_or_else(|| Arc::clone(&pod.shape));
            self.seat(id, Pod { shape, ..pod });
        }
        self.return_kept(kept);
        self.forget_kept(spec.id);
        self.note(spec.id);
        Ok(())
    }

    pub(super) fn workload_removed(&mut self, id: WorkloadId) {
        let pods: Vec<_> = self.pods_of(id).map(|(id, _)| *id).collect();
        pods.into_iter().for_each(|pod| {
            self.unseat(pod);
        });
        drop(self.lift_kept(|pod, _| pod.workload == id));
        self.evictions.retain(|(victim, beneficiary), _| *victim != id && *beneficiary != id);
        self.workloads.remove(&id);
    }
}
