//! Who waits: groups of workloads that wait for the same, and which of them is next (S8, S9, S30).
//!
//! A *group* is what identical workloads of one project want next: all their minimums, or one more elastic pod. What
//! holds for its first member holds for all, so a verdict is reached once per group and a new member of a parked group
//! costs O(1). A group is *active* (to be tried) or *parked* (a verdict stands until something it depends on changes).
//!
//! Order: inside a project by S9, a sorted set; projects in their department and departments among each other in
//! priority queues whose keys change as things are placed. Costs: O(log groups + log queues) per attempt.

use crate::ix::{GroupIx, PoolIx, QueueIx, TemplateIx, WorkloadIx};
use crate::org::Triple;
use berth_model::{PoolId, Priority, Reason, ReasonKind, Timestamp, WorkloadId};
use priority_queue::PriorityQueue;
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::BuildHasherDefault;

/// What identifies a group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GroupKey {
    pub(crate) template: TemplateIx,
    /// The only pool it may go to, because others of the workload are there already.
    pub(crate) pool: Option<PoolIx>,
    /// Pods wanted at once, per role.
    pub(crate) want: SmallVec<[u32; 2]>,
    /// It is one pod above the minimum.
    pub(crate) elastic: bool,
    /// The only member, if where its other pods are matters (S31).
    pub(crate) alone: Option<WorkloadId>,
}

/// What one pool said when the group was last tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) pool: PoolId,
    pub(crate) reason: Reason,
}

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    pub(crate) queue: QueueIx,
    pub(crate) priority: Priority,
    /// Its first pool, in which its queues are compared, and what it asks of the quotas there, once known.
    pub(crate) ask: Option<(PoolIx, Triple)>,
    pub(crate) members: BTreeSet<(Timestamp, WorkloadId, WorkloadIx)>,
    /// Parked with these verdicts, in the order of its pools; the dominant one's position.
    pub(crate) verdict: Option<(Vec<Said>, usize)>,
    /// Members that joined or whose reason changed since the last report.
    pub(crate) unreported: Vec<WorkloadIx>,
    /// The cycle in which it was last parked.
    pub(crate) tried: Option<u64>,
    /// Its entry among the active groups of its project, if it is active.
    entry: Option<Entry>,
}

/// S9: priority, then minimums before elastic pods, then submission, then id; elastic pods of one workload by role.
type Entry = (Reverse<Priority>, bool, Timestamp, WorkloadId, usize, GroupIx);

/// S8, as far as it is decided by quota, rank and age: within quota, then rank, then the older head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct QueueKey {
    pub(crate) over_quota: bool,
    pub(crate) rank: Reverse<i32>,
    pub(crate) submitted: Timestamp,
    pub(crate) workload: WorkloadId,
}

type Ordered = PriorityQueue<QueueIx, Reverse<QueueKey>, BuildHasherDefault<FxHasher>>;

/// All groups and their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    by_key: FxHashMap<GroupKey, GroupIx>,
    all: Vec<Group>,
    /// Active groups per project.
    active: Vec<BTreeSet<Entry>>,
    /// Projects with active groups, per department.
    projects: Vec<Ordered>,
    departments: Ordered,
    /// Groups with unreported members.
    pub(crate) to_report: Vec<GroupIx>,
    /// Groups parked in this cycle that are to wake in the next.
    pub(crate) deferred: Vec<GroupIx>,
}

impl Waiting {
    /// A group.
    pub(crate) fn at(&self, ix: GroupIx) -> &Group {
        &self.all[ix.i()]
    }

    /// A group, to change it.
    pub(crate) fn at_mut(&mut self, ix: GroupIx) -> &mut Group {
        &mut self.all[ix.i()]
    }

    /// The group with this key, if there is one.
    pub(crate) fn find(&self, key: &GroupKey) -> Option<GroupIx> {
        self.by_key.get(key).copied()
    }

    /// Adds a group; it is active as soon as it has a member.
    pub(crate) fn add(&mut self, key: GroupKey, queue: QueueIx, priority: Priority) -> GroupIx {
        let ix = GroupIx::of(self.all.len());
        self.by_key.insert(key.clone(), ix);
        self.all.push(Group {
            key,
            queue,
            priority,
            ask: None,
            members: BTreeSet::new(),
            verdict: None,
            unreported: Vec::new(),
            tried: None,
            entry: None,
        });
        ix
    }

    /// Adds a member. In a parked group it waits like the others, and has yet to be told why.
    pub(crate) fn join(&mut self, ix: GroupIx, member: (Timestamp, WorkloadId, WorkloadIx)) {
        let group = &mut self.all[ix.i()];
        group.members.insert(member);
        if group.verdict.is_some() {
            if group.unreported.is_empty() {
                self.to_report.push(ix);
            }
            self.all[ix.i()].unreported.push(member.2);
        } else {
            self.refresh(ix);
        }
    }

    /// Removes a member; a group without members is neither active nor parked.
    pub(crate) fn leave(&mut self, ix: GroupIx, member: (Timestamp, WorkloadId, WorkloadIx)) {
        let group = &mut self.all[ix.i()];
        group.members.remove(&member);
        if !group.unreported.is_empty() {
            group.unreported.retain(|w| *w != member.2);
        }
        if group.verdict.is_none() {
            self.refresh(ix);
        }
    }

    /// Parks an active group with a verdict. Members whose last report was of another kind are to be told.
    pub(crate) fn park(
        &mut self,
        ix: GroupIx,
        said: Vec<Said>,
        dominant: usize,
        untold: impl Fn(WorkloadIx, ReasonKind) -> bool,
    ) {
        let group = &mut self.all[ix.i()];
        let kind = said[dominant].reason.kind();
        group.verdict = Some((said, dominant));
        group.unreported = group.members.iter().map(|(_, _, w)| *w).filter(|w| untold(*w, kind)).collect();
        if !group.unreported.is_empty() {
            self.to_report.push(ix);
        }
        self.refresh(ix);
    }

    /// Makes a parked group active again.
    pub(crate) fn wake(&mut self, ix: GroupIx) {
        self.all[ix.i()].verdict = None;
        self.refresh(ix);
    }

    /// Brings the group's entry in line with its state.
    fn refresh(&mut self, ix: GroupIx) {
        let group = &mut self.all[ix.i()];
        let head = group.members.first().filter(|_| group.verdict.is_none());
        let role = group.key.want.iter().position(|n| *n > 0).unwrap_or(0);
        let entry = head.map(|(at, id, _)| (Reverse(group.priority), group.key.elastic, *at, *id, role, ix));
        if entry == group.entry {
            return;
        }
        if self.active.len() <= group.queue.i() {
            self.active.resize(group.queue.i() + 1, BTreeSet::new());
        }
        let active = &mut self.active[group.queue.i()];
        if let Some(old) = std::mem::replace(&mut group.entry, entry) {
            active.remove(&old);
        }
        if let Some(new) = entry {
            active.insert(new);
        }
    }

    /// The first active group of a project.
    pub(crate) fn head(&self, project: QueueIx) -> Option<GroupIx> {
        self.active.get(project.i())?.first().map(|entry| entry.5)
    }

    /// Projects that have active groups, in order of index.
    pub(crate) fn busy(&self) -> impl Iterator<Item = QueueIx> + use<'_> {
        self.active.iter().enumerate().filter(|(_, a)| !a.is_empty()).map(|(q, _)| QueueIx::of(q))
    }

    /// Forgets the order of queues: since the last cycle, groups may have come and gone and projects moved.
    pub(crate) fn forget_order(&mut self) {
        self.departments.clear();
        self.projects.iter_mut().for_each(Ordered::clear);
    }

    /// Sets or removes the key of a project in its department.
    pub(crate) fn rank_project(&mut self, department: QueueIx, project: QueueIx, key: Option<QueueKey>) {
        if self.projects.len() <= department.i() {
            self.projects.resize_with(department.i() + 1, Ordered::default);
        }
        set(&mut self.projects[department.i()], project, key);
    }

    /// Sets or removes the key of a department.
    pub(crate) fn rank_department(&mut self, department: QueueIx, key: Option<QueueKey>) {
        set(&mut self.departments, department, key);
    }

    /// The first project of a department.
    pub(crate) fn first_of(&self, department: QueueIx) -> Option<QueueIx> {
        self.projects.get(department.i())?.peek().map(|(project, _)| *project)
    }

    /// The group whose turn it is (S8, then S9).
    pub(crate) fn next(&self) -> Option<GroupIx> {
        let (department, _) = self.departments.peek()?;
        self.head(self.first_of(*department)?)
    }

    /// How many groups there have been.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

fn set(queue: &mut Ordered, item: QueueIx, key: Option<QueueKey>) {
    match key {
        Some(key) if queue.get_priority(&item) == Some(&Reverse(key)) => {}
        Some(key) => {
            queue.push(item, Reverse(key));
        }
        None => {
            queue.remove(&item);
        }
    }
}
