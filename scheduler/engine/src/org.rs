//! The organisation: cluster, departments, projects, their quotas and what they use (S2, S6).
//!
//! The tree is a petgraph graph with edges from parent to child; every queue also keeps its path to the root, so that
//! charging a placement touches two queues and nothing else. Amounts are triples (GPU, CPU, memory) in the units of
//! [`berth_model::Amounts`].

use crate::ix::{PoolIx, QueueIx};
use berth_model::{
    Amounts, Millis, NodeTypeRule, Priority, QueueId, QueueQuota, Quota, Resource, ResourceQuota, Timestamp,
};
use petgraph::graph::NodeIndex;
use petgraph::stable_graph::StableDiGraph;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// GPU, CPU, memory.
pub(crate) type Triple = [i64; 3];

/// A triple as an amount.
pub(crate) fn amounts(t: Triple) -> Amounts {
    Amounts {
        gpu: berth_model::GpuShare(t[0]),
        cpu: berth_model::MilliCpu(t[1]),
        memory: berth_model::Bytes(t[2]),
    }
}

/// Adds `sign` times `b`.
pub(crate) fn add(a: &mut Triple, b: Triple, sign: i64) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += sign * b;
    }
}

/// A department or project.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) id: Option<QueueId>,
    pub(crate) name: Box<str>,
    pub(crate) created: Timestamp,
    pub(crate) rank: i32,
    pub(crate) node_types: Option<NodeTypeRule>,
    /// Of a project: after how long room is held; none = as usual.
    pub(crate) hold_after: Option<Millis>,
    /// Default pools of a project, by identifier; empty = all.
    pub(crate) pools: Vec<berth_model::PoolId>,
    /// From the queue itself up to the department.
    pub(crate) path: SmallVec<[QueueIx; 2]>,
    /// Per pool.
    pub(crate) in_pool: Vec<InPool>,
    /// Workloads of the project, or of all projects of the department.
    pub(crate) workloads: u32,
    /// Of a project: the priorities of its workloads, and how many have each.
    pub(crate) priorities: BTreeMap<Priority, u32>,
    place: NodeIndex,
}

/// A queue in one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct InPool {
    pub(crate) quota: QueueQuota,
    /// What will be there when those that leave are gone and those that have room kept have come.
    pub(crate) allocated: Triple,
    pub(crate) non_preemptible: Triple,
    /// What leaves, less what has room kept.
    pub(crate) ahead: Triple,
    pub(crate) ahead_non_preemptible: Triple,
    /// What it asks for in all, and its fair share (S7), as last divided.
    pub(crate) demand: Triple,
    pub(crate) share: Triple,
    /// Its demand may have changed since.
    pub(crate) marked: bool,
    /// Use shrank or a bound grew since those who wait for that were last looked at (S30).
    pub(crate) loosened: bool,
}

impl InPool {
    /// Quota and limit per resource.
    pub(crate) fn bounds(&self) -> [ResourceQuota; 3] {
        [self.quota.gpu, self.quota.cpu, self.quota.memory]
    }

    /// What counts as used (S6): what stays, and of what leaves and what has room kept whichever is more.
    pub(crate) fn used(&self) -> Triple {
        std::array::from_fn(|at| self.allocated[at] + self.ahead[at].max(0))
    }

    /// The same of non-preemptible workloads.
    fn fixed(&self) -> Triple {
        std::array::from_fn(|at| self.non_preemptible[at] + self.ahead_non_preemptible[at].max(0))
    }

    /// True if use plus `ask` stays within the quota of every managed resource asked for.
    pub(crate) fn within_quota(&self, ask: Triple) -> bool {
        self.bounds().iter().zip(self.used()).zip(ask).all(|((bound, used), ask)| match bound.quota {
            Quota::Of(quota) => ask == 0 || used + ask <= quota,
            Quota::Unmanaged | Quota::Unlimited => true,
        })
    }
}

/// A gate that does not open (S6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shut {
    pub(crate) queue: QueueIx,
    /// Position in a [`Triple`].
    pub(crate) resource: usize,
    /// It is the limit, else the quota for non-preemptible workloads.
    pub(crate) limit: bool,
    pub(crate) bound: i64,
    pub(crate) used: i64,
}

/// The resource at a position of a [`Triple`].
pub(crate) fn resource(at: usize) -> Resource {
    [Resource::Gpu, Resource::Cpu, Resource::Memory][at].clone()
}

/// All queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Org {
    tree: StableDiGraph<QueueIx, ()>,
    by_id: FxHashMap<QueueId, QueueIx>,
    all: Vec<Queue>,
    departments: Vec<QueueIx>,
    /// A queue in a pool where nothing is said and used.
    nothing: InPool,
    /// Pairs of queue and pool that were loosened.
    pub(crate) loosened: Vec<(QueueIx, PoolIx)>,
    /// The trial under way is as if all leaving pods were gone and all that have room kept were there.
    pub(crate) as_if: bool,
}

impl Org {
    /// The queue with this identifier.
    pub(crate) fn find(&self, id: QueueId) -> Option<QueueIx> {
        self.by_id.get(&id).copied()
    }

    /// A queue.
    pub(crate) fn at(&self, ix: QueueIx) -> &Queue {
        &self.all[ix.i()]
    }

    /// A queue, to change it.
    pub(crate) fn at_mut(&mut self, ix: QueueIx) -> &mut Queue {
        &mut self.all[ix.i()]
    }

    /// Adds a queue below `parent`. One without an identifier stands for the unmanaged namespaces (S3).
    pub(crate) fn add(&mut self, id: Option<QueueId>, name: &str, parent: Option<QueueIx>) -> QueueIx {
        let ix = QueueIx::of(self.all.len());
        let place = self.tree.add_node(ix);
        self.all.push(Queue {
            id,
            name: name.into(),
            created: Timestamp::default(),
            rank: 100,
            node_types: None,
            hold_after: None,
            pools: Vec::new(),
            path: SmallVec::from_slice(&[ix]),
            in_pool: Vec::new(),
            workloads: 0,
            priorities: BTreeMap::new(),
            place,
        });
        if let Some(id) = id {
            self.by_id.insert(id, ix);
            if parent.is_none() {
                self.departments.push(ix);
            }
        }
        if let Some(parent) = parent {
            self.adopt(parent, ix);
        }
        ix
    }

    /// Puts a project under a department, together with what it uses.
    pub(crate) fn adopt(&mut self, parent: QueueIx, child: QueueIx) {
        if self.parent(child) == Some(parent) {
            return;
        }
        self.disown(child);
        self.tree.add_edge(self.all[parent.i()].place, self.all[child.i()].place, ());
        self.all[child.i()].path = SmallVec::from_slice(&[child, parent]);
        self.carry(child, parent, 1);
    }

    fn disown(&mut self, child: QueueIx) {
        let Some(parent) = self.parent(child) else { return };
        self.carry(child, parent, -1);
        for pool in 0..self.all[parent.i()].in_pool.len() {
            self.loosen(parent, PoolIx::of(pool));
        }
        if let Some(edge) = self.tree.find_edge(self.all[parent.i()].place, self.all[child.i()].place) {
            self.tree.remove_edge(edge);
        }
    }

    fn carry(&mut self, child: QueueIx, parent: QueueIx, sign: i64) {
        let own = self.all[child.i()].in_pool.clone();
        for (pool, own) in own.iter().enumerate() {
            let above = self.in_pool_mut(parent, PoolIx::of(pool));
            add(&mut above.allocated, own.allocated, sign);
            add(&mut above.non_preemptible, own.non_preemptible, sign);
            add(&mut above.ahead, own.ahead, sign);
            add(&mut above.ahead_non_preemptible, own.ahead_non_preemptible, sign);
        }
        let workloads = i64::from(self.all[child.i()].workloads) * sign;
        let above = &mut self.all[parent.i()].workloads;
        *above = (i64::from(*above) + workloads) as u32;
    }

    /// The parent of a queue.
    pub(crate) fn parent(&self, child: QueueIx) -> Option<QueueIx> {
        let place = self.all[child.i()].place;
        self.tree.neighbors_directed(place, petgraph::Direction::Incoming).next().map(|p| self.tree[p])
    }

    /// The queues below a queue.
    pub(crate) fn children(&self, parent: QueueIx) -> impl Iterator<Item = QueueIx> {
        self.tree.neighbors(self.all[parent.i()].place).map(|p| self.tree[p])
    }

    /// Removes a queue without children.
    pub(crate) fn remove(&mut self, ix: QueueIx) {
        self.disown(ix);
        self.departments.retain(|department| *department != ix);
        self.tree.remove_node(self.all[ix.i()].place);
        if let Some(id) = self.all[ix.i()].id.take() {
            self.by_id.remove(&id);
        }
    }

    /// A queue in a pool.
    pub(crate) fn in_pool(&self, queue: QueueIx, pool: PoolIx) -> &InPool {
        self.all[queue.i()].in_pool.get(pool.i()).unwrap_or(&self.nothing)
    }

    /// All departments, the one of the unmanaged namespaces excluded, in order of index.
    pub(crate) fn departments(&self) -> &[QueueIx] {
        &self.departments
    }

    /// All projects, department by department.
    pub(crate) fn projects(&self) -> impl Iterator<Item = QueueIx> + '_ {
        self.departments.iter().flat_map(|department| self.children(*department))
    }

    /// True if there are several projects.
    pub(crate) fn is_shared(&self) -> bool {
        self.projects().nth(1).is_some()
    }

    /// A queue in a pool, to change it.
    pub(crate) fn in_pool_mut(&mut self, queue: QueueIx, pool: PoolIx) -> &mut InPool {
        let all = &mut self.all[queue.i()].in_pool;
        if all.len() <= pool.i() {
            all.resize(pool.i() + 1, InPool::default());
        }
        &mut all[pool.i()]
    }

    /// Notes that a bound of the queue in the pool, or its use, leaves more room than before.
    pub(crate) fn loosen(&mut self, queue: QueueIx, pool: PoolIx) {
        let here = self.in_pool_mut(queue, pool);
        if !here.loosened {
            here.loosened = true;
            self.loosened.push((queue, pool));
        }
    }

    /// As [`Self::loosen`], for a project and its department.
    pub(crate) fn loosen_path(&mut self, project: QueueIx, pool: PoolIx) {
        for at in 0..self.all[project.i()].path.len() {
            self.loosen(self.all[project.i()].path[at], pool);
        }
    }

    /// Charges (or with `sign` -1 discharges) the project and its department.
    pub(crate) fn charge(
        &mut self,
        project: QueueIx,
        pool: PoolIx,
        what: Triple,
        preemptible: bool,
        sign: i64,
    ) {
        for at in 0..self.all[project.i()].path.len() {
            let queue = self.all[project.i()].path[at];
            let here = self.in_pool_mut(queue, pool);
            add(&mut here.allocated, what, sign);
            if !preemptible {
                add(&mut here.non_preemptible, what, sign);
            }
        }
    }

    /// Notes a pod that leaves (`sign` 1), or has room kept (`sign` -1).
    pub(crate) fn note_ahead(
        &mut self,
        project: QueueIx,
        pool: PoolIx,
        what: Triple,
        preemptible: bool,
        sign: i64,
    ) {
        for at in 0..self.all[project.i()].path.len() {
            let queue = self.all[project.i()].path[at];
            let here = self.in_pool_mut(queue, pool);
            add(&mut here.ahead, what, sign);
            if !preemptible {
                add(&mut here.ahead_non_preemptible, what, sign);
            }
        }
    }

    /// Whether project and department let the request pass (S6). Exact equality passes.
    pub(crate) fn gate(
        &self,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        preemptible: bool,
    ) -> Result<(), Shut> {
        if self.as_if {
            return self.gate_later(project, pool, ask, preemptible);
        }
        self.gate_by(project, pool, ask, preemptible, |here| (here.used(), here.fixed()))
    }

    /// True if project and department use no more than their limits allow, those that leave not counted.
    pub(crate) fn within_limits(&self, project: QueueIx, pool: PoolIx) -> bool {
        self.all[project.i()].path.iter().all(|queue| {
            let here = self.in_pool(*queue, pool);
            let limits = here.bounds().map(|bound| bound.limit.unwrap_or(i64::MAX));
            here.allocated.iter().zip(limits).all(|(used, limit)| *used <= limit)
        })
    }

    /// As [`Self::gate`], with the limits as if nothing else ran (S7).
    pub(crate) fn gate_alone(
        &self,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        preemptible: bool,
    ) -> Result<(), Shut> {
        self.gate_by(project, pool, ask, preemptible, |here| ([0; 3], here.fixed()))
    }

    /// As [`Self::gate`], when those that leave are gone.
    pub(crate) fn gate_later(
        &self,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        preemptible: bool,
    ) -> Result<(), Shut> {
        self.gate_by(project, pool, ask, preemptible, |here| (here.allocated, here.non_preemptible))
    }

    /// `count` says what is used, by all and by non-preemptible workloads.
    fn gate_by(
        &self,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        preemptible: bool,
        count: fn(&InPool) -> (Triple, Triple),
    ) -> Result<(), Shut> {
        if self.all[project.i()].id.is_none() {
            return Ok(());
        }
        for queue in self.all[project.i()].path.iter().copied() {
            let here = self.in_pool(queue, pool);
            let (all, fixed) = count(here);
            for (at, bound) in here.bounds().into_iter().enumerate() {
                // What is not asked for, or not managed, blocks nothing (S2).
                if ask[at] == 0 || !bound.managed() {
                    continue;
                }
                if let Some(limit) = bound.limit.filter(|limit| all[at] + ask[at] > *limit) {
                    return Err(Shut { queue, resource: at, limit: true, bound: limit, used: all[at] });
                }
                if let Quota::Of(quota) = bound.quota
                    && !preemptible
                    && fixed[at] + ask[at] > quota
                {
                    return Err(Shut { queue, resource: at, limit: false, bound: quota, used: fixed[at] });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_model::{DepartmentId, ProjectId};

    fn org(quota: Quota, limit: Option<i64>) -> (Org, QueueIx) {
        let mut org = Org::default();
        let department = org.add(Some(QueueId::Department(DepartmentId(0))), "d", None);
        let project = org.add(Some(QueueId::Project(ProjectId(0))), "p", Some(department));
        org.in_pool_mut(department, PoolIx(0)).quota = QueueQuota::unlimited();
        org.in_pool_mut(project, PoolIx(0)).quota.gpu = ResourceQuota { quota, limit };
        (org, project)
    }

    #[test]
    fn s6_exact_equality_passes_and_fractions_add_up_exactly() {
        let (mut org, project) = org(Quota::Of(300_000), None);
        org.charge(project, PoolIx(0), [100_000, 0, 0], false, 1);
        assert!(org.gate(project, PoolIx(0), [200_000, 0, 0], false).is_ok());
        let shut = org.gate(project, PoolIx(0), [200_001, 0, 0], false).unwrap_err();
        assert_eq!((shut.queue, shut.limit, shut.bound, shut.used), (project, false, 300_000, 100_000));
        assert!(org.gate(project, PoolIx(0), [900_000, 0, 0], true).is_ok());
    }

    #[test]
    fn s6_the_limit_counts_everything_and_the_department_counts_too() {
        let (mut org, project) = org(Quota::Unlimited, None);
        let department = org.parent(project).unwrap();
        org.in_pool_mut(department, PoolIx(0)).quota.gpu.limit = Some(1_000_000);
        org.charge(project, PoolIx(0), [1_000_000, 0, 0], true, 1);
        assert_eq!(org.gate(project, PoolIx(0), [1, 0, 0], true).unwrap_err().queue, department);
        assert!(org.gate(project, PoolIx(0), [0, 500, 0], true).is_ok());
    }

    #[test]
    fn s2_a_project_that_moves_takes_its_use_along() {
        let (mut org, project) = org(Quota::Of(0), None);
        let old = org.parent(project).unwrap();
        let new = org.add(Some(QueueId::Department(DepartmentId(1))), "e", None);
        org.charge(project, PoolIx(0), [5, 6, 7], false, 1);
        org.adopt(new, project);
        assert_eq!(org.in_pool(old, PoolIx(0)).allocated, [0; 3]);
        assert_eq!(org.in_pool(new, PoolIx(0)).non_preemptible, [5, 6, 7]);
        assert_eq!(org.children(new).collect::<Vec<_>>(), [project]);
    }
}
