//! The judge's own picture of the cluster: objects as the events set them, pods as events and decisions place them.
//!
//! Invariants: [`Cluster::seat`] and [`Cluster::unseat`] are the only ways a pod gets onto a node and off it, and
//! each undoes the other exactly, in the node's loads, the ledger, the census and the workload's counts. A state
//! that an event brings about (a node that shrinks, a limit that is lowered) is excused: no decision made it.
//! Costs: O(log n) a pod, plus its own devices and ports. Absent: any judgement.

use super::budgets::Budget;
use super::census::{Census, Shape};
use super::devices::{charge, devices_exceed};
use super::kept::Kept;
use super::ledger::{Bill, Ledger, Part, enter};
use super::load::Load;
use super::violation::Findings;
use crate::{
    Amounts, BudgetId, DepartmentId, DepartmentSpec, DeviceIndex, GpuGrant, GpuMemoryMib, NodeId, NodeSpec,
    PodId, PodOutcome, PoolId, PoolSpec, ProjectId, ProjectSpec, QueueId, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node and what is on it.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    /// The pool it belongs to; none only where no pool takes it and there is no `default`.
    pub(super) pool: Option<PoolId>,
    pub(super) pods: BTreeSet<PodId>,
    /// What its pods take, leaving ones included.
    pub(super) load: Load,
    /// What the leaving ones take.
    pub(super) leaving: Load,
    /// Pods for which room is reserved here.
    pub(super) kept: BTreeSet<PodId>,
    /// What is reserved.
    pub(super) reserved: Load,
    /// An event, not a decision, left more on it than it has.
    pub(super) excused: bool,
}

/// Pods of one role that have a node, by what they are doing, and those that have done their work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Heads {
    pub(super) standing: u32,
    pub(super) leaving_by_owner: u32,
    pub(super) evicted: u32,
    /// To be moved, and not stopped yet (S26).
    pub(super) pending: u32,
    pub(super) succeeded: u32,
}

/// A workload and its pods, by number.
pub(super) struct Workload {
    pub(super) spec: WorkloadSpec,
    pub(super) shapes: Vec<Arc<Shape>>,
    pub(super) heads: Vec<Heads>,
    pub(super) ended: BTreeMap<PodId, PodOutcome>,
    /// Since when it has been below its minimum, at the earliest (events carry no time).
    pub(super) below_since: Option<Timestamp>,
}

/// A pod that is going.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaving {
    pub(super) until: Timestamp,
    pub(super) by_owner: bool,
    /// It is to be moved, and not stopped yet (S26).
    pub(super) pending: bool,
}

/// A pod on a node.
pub(super) struct Pod {
    pub(super) shape: Arc<Shape>,
    pub(super) node: NodeId,
    pub(super) grant: GpuGrant,
    pub(super) since: Timestamp,
    /// It is not known to run (S5).
    pub(super) starting: bool,
    pub(super) leaving: Option<Leaving>,
    /// Memory as measured, by device (S19).
    pub(super) measured: BTreeMap<DeviceIndex, GpuMemoryMib>,
    pub(super) bill: Option<Bill>,
}

/// Everything.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) pools: BTreeMap<PoolId, PoolSpec>,
    pub(super) departments: BTreeMap<DepartmentId, DepartmentSpec>,
    pub(super) projects: BTreeMap<ProjectId, ProjectSpec>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) workloads: BTreeMap<WorkloadId, Workload>,
    /// Pods that have a node.
    pub(super) pods: BTreeMap<PodId, Pod>,
    /// Pods for which room is reserved.
    pub(super) kept: BTreeMap<PodId, Kept>,
    /// When a workload was last evicted for another, of late (S25).
    pub(super) evictions: BTreeMap<(WorkloadId, WorkloadId), Timestamp>,
    pub(super) budgets: BTreeMap<BudgetId, Budget>,
    /// Nobody is told to end before (S3).
    pub(super) evictions_from: Timestamp,
    pub(super) ledger: Ledger,
    pub(super) census: Census,
    /// When decisions were last made.
    pub(super) now: Option<Timestamp>,
    /// What happens now is decided, so nothing is excused.
    pub(super) deciding: bool,
}

impl Node {
    /// Of what more is taken than there is.
    pub(super) fn exceeds(&self, f: &mut Findings<'_>) {
        self.load.exceeds(&self.spec, f);
        devices_exceed(&self.load, &self.spec, f);
    }

    /// S23: what is taken for whoever comes later: by those that stay, and by those that leave or those for whom room
    /// is reserved, whichever is more.
    pub(super) fn taken(&self) -> Cow<'_, Load> {
        if self.reserved == Load::default() {
            return Cow::Borrowed(&self.load);
        }
        let later = self.leaving.with(&self.reserved, i64::max);
        Cow::Owned(self.staying().with(&later, std::ops::Add::add))
    }

    /// What is taken by those that stay.
    pub(super) fn staying(&self) -> Load {
        self.load.with(&self.leaving, std::ops::Sub::sub)
    }
}

impl Heads {
    /// Pods that have a node.
    pub(super) fn seated(&self) -> u32 {
        self.standing + self.leaving_by_owner + self.evicted + self.pending
    }

    /// Pods that run or will; those leaving by their owner's will still run, an evicted gang must not grow.
    pub(super) fn there(&self) -> u32 {
        self.standing + self.leaving_by_owner + self.pending
    }
}

impl Workload {
    /// S5: true if every role has its minimum, counting `present` of its pods and those that succeeded.
    pub(super) fn has_minimum(&self, present: impl Fn(&Heads) -> u32) -> bool {
        self.spec.roles.iter().zip(&self.heads).all(|(role, h)| present(h) + h.succeeded >= role.min)
    }

    /// Pods that have a node and are not leaving.
    pub(super) fn standing(&self) -> u32 {
        self.heads.iter().map(|h| h.standing).sum()
    }

    /// Notes how a pod ended, or that it has not.
    pub(super) fn set_ended(&mut self, id: PodId, outcome: Option<PodOutcome>) {
        let old = match outcome {
            Some(outcome) => self.ended.insert(id, outcome),
            None => self.ended.remove(&id),
        };
        if let Some(heads) = self.heads.get_mut(usize::from(id.role)) {
            heads.succeeded += u32::from(outcome == Some(PodOutcome::Succeeded));
            heads.succeeded -= u32::from(old == Some(PodOutcome::Succeeded));
        }
    }

    fn count(&mut self, id: PodId, leaving: Option<Leaving>, sign: i32) {
        let Some(heads) = self.heads.get_mut(usize::from(id.role)) else { return };
        let count = match leaving {
            None => &mut heads.standing,
            Some(Leaving { pending: true, .. }) => &mut heads.pending,
            Some(Leaving { by_owner: true, .. }) => &mut heads.leaving_by_owner,
            Some(_) => &mut heads.evicted,
        };
        *count = count.saturating_add_signed(sign);
    }
}

impl Cluster {
    /// The pods of a workload that have a node.
    pub(super) fn pods_of(&self, workload: WorkloadId) -> impl Iterator<Item = (&PodId, &Pod)> {
        let first = PodId { workload, role: 0, index: 0 };
        let last = PodId { workload, role: u16::MAX, index: u32::MAX };
        self.pods.range(first..=last)
    }

    /// True if the pod should run and has no node.
    pub(super) fn is_pending(&self, id: PodId) -> bool {
        self.workloads.get(&id.workload).is_some_and(|w| {
            let wanted = w.spec.roles.get(usize::from(id.role)).is_some_and(|role| id.index < role.count);
            wanted && !w.ended.contains_key(&id) && !self.pods.contains_key(&id)
        })
    }

    /// How many pods of a role should run and have no node; reserved ones among them.
    pub(super) fn pending(&self, w: &Workload, role: u16) -> u32 {
        let count = w.spec.roles.get(usize::from(role)).map_or(0, |role| role.count);
        let wanted = |id: &&PodId| id.role == role && id.index < count;
        let seated = self.pods_of(w.spec.id).map(|(id, _)| id).filter(wanted).count();
        let ended = w.ended.keys().filter(wanted).filter(|id| !self.pods.contains_key(id)).count();
        count.saturating_sub((seated + ended) as u32)
    }

    /// True if any pod of the workload should run and has no node.
    pub(super) fn has_pending(&self, workload: WorkloadId) -> bool {
        let Some(w) = self.workloads.get(&workload) else { return false };
        let count = |id: &PodId| w.spec.roles.get(usize::from(id.role)).map_or(0, |role| role.count);
        let wanted: usize = w.spec.roles.iter().map(|role| role.count as usize).sum();
        let seated = self.pods_of(workload).filter(|(id, _)| id.index < count(id));
        let ended = w.ended.keys().filter(|id| id.index < count(id) && !self.pods.contains_key(id));
        wanted > seated.count() + ended.count()
    }

    /// What a pod with this grant on this node is charged; none outside projects and pools (S3).
    pub(super) fn bill(&self, id: PodId, shape: &Shape, node: &Node, grant: GpuGrant) -> Option<Bill> {
        let spec = &self.workloads.get(&id.workload)?.spec;
        let project = self.projects.get(&spec.project?)?;
        let requests = &shape.spec.requests;
        Some(Bill {
            queues: [QueueId::Project(project.id), QueueId::Department(project.department)],
            pool: node.pool?,
            amounts: Amounts {
                gpu: charge(&shape.spec, &node.spec, grant),
                cpu: requests.cpu,
                memory: requests.memory,
            },
            preemptible: spec.preemptible,
            part: Part::Staying,
        })
    }

    /// Puts a pod on its node, which exists.
    pub(super) fn seat(&mut self, id: PodId, mut pod: Pod) {
        let Some(node) = self.nodes.get(&pod.node) else { return };
        let bill = self.bill(id, &pod.shape, node, pod.grant);
        let part = if pod.leaving.is_some() { Part::Leaving } else { Part::Staying };
        pod.bill = bill.map(|bill| Bill { part, ..bill });
        self.account(id, &pod, 1);
        self.pods.insert(id, pod);
    }

    /// Takes a pod off its node.
    pub(super) fn unseat(&mut self, id: PodId) -> Option<Pod> {
        let pod = self.pods.remove(&id)?;
        self.account(id, &pod, -1);
        Some(pod)
    }

    fn account(&mut self, id: PodId, pod: &Pod, sign: i32) {
        let Some(node) = self.nodes.get_mut(&pod.node) else { return };
        node.load.change(&pod.shape.spec, pod.grant, sign.into());
        if pod.leaving.is_some() {
            node.leaving.change(&pod.shape.spec, pod.grant, sign.into());
        }
        if sign > 0 {
            node.pods.insert(id)
        } else {
            node.pods.remove(&id)
        };
        if !self.deciding {
            let mut over = Vec::new();
            node.exceeds(&mut Findings::new(&"", &mut over));
            node.excused = !over.is_empty();
        }
        self.census.change(&pod.shape, pod.node, pod.leaving.is_some(), sign.into());
        if let Some(bill) = &pod.bill {
            enter(&mut self.ledger.used, bill, sign.into());
            if !self.deciding {
                bill.queues.iter().for_each(|queue| self.ledger.excuse((*queue, bill.pool)));
            }
        }
        if let Some(workload) = self.workloads.get_mut(&id.workload) {
            workload.count(id, pod.leaving, sign);
        }
    }

    /// Changes a pod that has a node.
    pub(super) fn change(&mut self, id: PodId, change: impl FnOnce(&mut Pod)) {
        if let Some(mut pod) = self.unseat(id) {
            change(&mut pod);
            self.seat(id, pod);
        }
    }

    /// Notes what follows from the numbers of a workload's pods: since when it is below its minimum.
    pub(super) fn note(&mut self, workload: WorkloadId) {
        let now = self.now.unwrap_or(Timestamp(i64::MIN));
        let Some(w) = self.workloads.get_mut(&workload) else { return };
        // Who is to be moved runs until it is stopped (S26).
        let runs = |heads: &Heads| heads.standing + heads.pending;
        let below = w.heads.iter().any(|h| runs(h) > 0) && !w.has_minimum(runs);
        w.below_since = below.then(|| w.below_since.or(w.spec.stale_since).unwrap_or(now));
    }
}
