//! Workloads and the templates they share.
//!
//! Identical workloads of one project share one [`Template`]; a workload keeps only what differs, so that a running
//! pod costs well under 512 bytes.

use crate::ix::{GroupIx, NodeIx, PoolIx, QueueIx, ShapeIx, TemplateIx};
use berth_model::{
    Eviction, GpuGrant, Millis, PodId, PodSpec, PoolId, Priority, Timestamp, TopologyRequest, WorkloadId,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// A role of a template.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Role {
    pub(crate) name: Box<str>,
    pub(crate) shape: ShapeIx,
    /// What its pods ask for, without the node type.
    pub(crate) pod: Arc<PodSpec>,
    /// Interned namespace and labels, for other pods' constraints.
    pub(crate) labels: u32,
    pub(crate) count: u32,
    pub(crate) min: u32,
}

/// What identical workloads share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Template {
    pub(crate) queue: QueueIx,
    pub(crate) priority: Priority,
    pub(crate) preemptible: bool,
    pub(crate) pools: SmallVec<[PoolId; 2]>,
    pub(crate) node_type: Option<Box<str>>,
    pub(crate) topology: Option<TopologyRequest>,
    pub(crate) roles: SmallVec<[Role; 1]>,
}

impl Template {
    /// The role of a pod by its position over all roles, and its index in the role.
    pub(crate) fn role_of(&self, pod: u32) -> (u16, u32) {
        let mut rest = pod;
        for (at, role) in self.roles.iter().enumerate() {
            if rest < role.count {
                return (at as u16, rest);
            }
            rest -= role.count;
        }
        unreachable!("a pod of the template")
    }

    /// The position over all roles of the first pod of a role.
    pub(crate) fn first_of(&self, role: usize) -> u32 {
        self.roles[..role].iter().map(|r| r.count).sum()
    }

    /// The position over all roles of a pod, if the template has it.
    pub(crate) fn position(&self, pod: PodId) -> Option<u32> {
        let role = self.roles.get(pod.role as usize)?;
        (pod.index < role.count).then(|| self.first_of(pod.role as usize) + pod.index)
    }

    /// How many pods there should be.
    pub(crate) fn pods(&self) -> u32 {
        self.roles.iter().map(|r| r.count).sum()
    }
}

/// All templates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Templates {
    by_key: FxHashMap<Template, TemplateIx>,
    all: Vec<Template>,
}

impl Templates {
    /// A template.
    pub(crate) fn at(&self, ix: TemplateIx) -> &Template {
        &self.all[ix.i()]
    }

    /// The index of a template, new ones included.
    pub(crate) fn intern(&mut self, template: Template) -> TemplateIx {
        if let Some(known) = self.by_key.get(&template) {
            return *known;
        }
        let ix = TemplateIx::of(self.all.len());
        self.all.push(template.clone());
        self.by_key.insert(template, ix);
        ix
    }
}

/// Where a pod stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Stage {
    /// It should run and does not.
    #[default]
    Waiting,
    /// It is on a node.
    Placed,
    /// It is on a node and has been told to end, or will be (S26).
    Leaving,
    /// Room is kept for it on a node that others leave first (S23).
    Reserved,
    /// The trial under way has taken it off its node.
    Lifted,
    /// It ended well.
    Succeeded,
    /// It ended badly, or its owner deleted it: not wanted any more.
    Gone,
}

/// A pod of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pod {
    pub(crate) stage: Stage,
    /// While on a node, or while room is kept on it; none if that node is gone.
    pub(crate) node: Option<NodeIx>,
    pub(crate) gpus: GpuGrant,
    pub(crate) since: Timestamp,
    /// While leaving: gone at this time at the latest. While reserved: when the last must be gone that leaves for it.
    pub(crate) until: Timestamp,
    /// While placed: it is not known to run (S5).
    pub(crate) starting: bool,
    /// While leaving: it was evicted, and is wanted again afterwards.
    pub(crate) evicted: bool,
    /// While leaving: it is to be moved and is not stopped yet (S26).
    pub(crate) pending: bool,
}

impl Pod {
    /// True if it is really on a node.
    pub(crate) fn on_node(&self) -> bool {
        matches!(self.stage, Stage::Placed | Stage::Leaving)
    }

    /// True if it is on a node and has not been told to end.
    pub(crate) fn runs(&self) -> bool {
        self.stage == Stage::Placed || self.pending
    }

    /// True if it will be on its node when those that leave are gone.
    pub(crate) fn stays(&self) -> bool {
        matches!(self.stage, Stage::Placed | Stage::Reserved)
    }
}

/// A workload.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) id: WorkloadId,
    pub(crate) name: Box<str>,
    pub(crate) template: TemplateIx,
    pub(crate) submitted: Timestamp,
    pub(crate) grace: Millis,
    pub(crate) expected_runtime: Option<Millis>,
    pub(crate) start_timeout: Option<Millis>,
    pub(crate) stale_grace: Option<Millis>,
    /// For whom it was evicted, and when, of late (S25).
    pub(crate) evictions: Vec<Eviction>,
    /// The pool of its first pod on a node, one that stays if there is one, as of when it was last entered among those who wait.
    pub(crate) pool: Option<PoolIx>,
    pub(crate) pods: SmallVec<[Pod; 1]>,
    /// Where it waits.
    pub(crate) groups: SmallVec<[GroupIx; 1]>,
    /// The kind of reason last reported, as a number; 0 = none.
    pub(crate) reported: u8,
}

impl Workload {
    /// How many pods of each role are missing to the minimum; none if too few are left that could still run.
    pub(crate) fn missing(&self, template: &Template) -> Option<SmallVec<[u32; 2]>> {
        let mut first = 0;
        template
            .roles
            .iter()
            .map(|role| {
                let pods = &self.pods[first as usize..(first + role.count) as usize];
                first += role.count;
                let counts = |p: &&Pod| matches!(p.stage, Stage::Placed | Stage::Reserved | Stage::Succeeded);
                let missing = role.min.saturating_sub(pods.iter().filter(counts).count() as u32);
                let waiting = pods.iter().filter(|p| p.stage == Stage::Waiting).count() as u32;
                (missing <= waiting).then_some(missing)
            })
            .collect()
    }

    /// True if fewer pods of some role stay on nodes than its minimum, those that succeeded counted (S5).
    pub(crate) fn lacks_minimum(&self, template: &Template) -> bool {
        let mut first = 0;
        template.roles.iter().any(|role| {
            let pods = &self.pods[first as usize..(first + role.count) as usize];
            first += role.count;
            let there = pods.iter().filter(|p| matches!(p.stage, Stage::Placed | Stage::Succeeded));
            (there.count() as u32) < role.min
        })
    }

    /// The positions of the waiting pods of a role.
    pub(crate) fn waiting<'a>(&'a self, template: &Template, role: usize) -> impl Iterator<Item = u32> + 'a {
        let first = template.first_of(role);
        let last = first + template.roles[role].count;
        (first..last).filter(|p| self.pods[*p as usize].stage == Stage::Waiting)
    }

    /// The positions of the pods that are placed and not leaving.
    pub(crate) fn placed(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.pods).filter(|(_, pod)| pod.stage == Stage::Placed).map(|(at, _)| at)
    }

    /// How many pods are placed and not leaving.
    pub(crate) fn running(&self) -> u32 {
        self.placed().count() as u32
    }

    /// Pods that should run and do not.
    pub(crate) fn pending(&self) -> u32 {
        self.pods.iter().filter(|p| matches!(p.stage, Stage::Waiting | Stage::Reserved)).count() as u32
    }
}
