//! Who waits: groups of workloads that wait for the same, and which of them is next (S8, S9, S30).
//!
//! A *group* is what identical workloads of one project want next: all their minimums, or one more elastic pod. What
//! holds for its first member holds for all, so a verdict is reached once per group and a new member of a parked group
//! costs O(1). A group is *active* (to be tried) or *parked* (a verdict stands until something it depends on changes).
//!
//! Costs: O(log groups) to join, leave, park and wake.

use crate::ix::{GroupIx, PoolIx, QueueIx, TemplateIx, WorkloadIx};
use crate::org::Triple;
use crate::turns::{Entry, Turns};
use berth_model::{Millis, PoolId, Priority, Reason, ReasonKind, Timestamp, WorkloadId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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
    /// For how long each says it will run, in steps; none for one more pod of those that run already.
    pub(crate) runtime: Option<Millis>,
}

/// A workload by age.
pub(crate) type Member = (Timestamp, WorkloadId, WorkloadIx);

/// Pods that wait, per role.
pub(crate) type Waits = SmallVec<[u32; 2]>;

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
    /// Its members, and per role how many pods of each wait.
    pub(crate) members: BTreeMap<Member, Waits>,
    /// The sum of those.
    pub(crate) waits: SmallVec<[i64; 2]>,
    /// Parked with these verdicts, in the order of its pools; the dominant one's position.
    pub(crate) verdict: Option<(Vec<Said>, usize)>,
    /// Members that joined or whose reason changed since the last report.
    pub(crate) unreported: BTreeSet<Member>,
    /// The cycle in which it was last parked.
    pub(crate) tried: Option<u64>,
    /// The member that acts for it, if it is not the first (S25).
    pub(crate) acting: Option<Member>,
    /// Its entry among the active groups of its project, if it is active.
    entry: Option<Entry>,
}

impl Group {
    /// The member whose turn it is.
    pub(crate) fn first(&self) -> Option<Member> {
        self.acting.or_else(|| self.members.first_key_value().map(|(member, _)| *member))
    }

    /// Its place among the groups of its project (S9); none without members.
    pub(crate) fn entry_of(&self, ix: GroupIx) -> Option<Entry> {
        self.members.first_key_value().map(|(member, _)| self.entry_for(ix, *member))
    }

    /// The place of one of its members.
    pub(crate) fn entry_for(&self, ix: GroupIx, (at, id, _): Member) -> Entry {
        let role = self.key.want.iter().position(|n| *n > 0).unwrap_or(0);
        (Reverse(self.priority), self.key.elastic, at, id, role, ix)
    }
}

/// All groups and their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    by_key: FxHashMap<GroupKey, GroupIx>,
    all: Vec<Group>,
    /// Groups with members, per project.
    by_project: Vec<BTreeSet<GroupIx>>,
    /// The active ones in order.
    pub(crate) turns: Turns,
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
            members: BTreeMap::new(),
            waits: SmallVec::new(),
            verdict: None,
            unreported: BTreeSet::new(),
            tried: None,
            acting: None,
            entry: None,
        });
        ix
    }

    /// Adds a member. In a parked group it waits like the others, and has yet to be told why.
    pub(crate) fn join(&mut self, ix: GroupIx, member: Member, waits: Waits) {
        let group = &mut self.all[ix.i()];
        if group.members.is_empty() {
            if self.by_project.len() <= group.queue.i() {
                self.by_project.resize(group.queue.i() + 1, BTreeSet::new());
            }
            self.by_project[group.queue.i()].insert(ix);
        }
        group.waits.resize(waits.len(), 0);
        group.waits.iter_mut().zip(&waits).for_each(|(sum, more)| *sum += i64::from(*more));
        group.members.insert(member, waits);
        if group.verdict.is_some() {
            if group.unreported.is_empty() {
                self.to_report.push(ix);
            }
            self.all[ix.i()].unreported.insert(member);
        } else {
            self.refresh(ix);
        }
    }

    /// Removes a member; a group without members is neither active nor parked.
    pub(crate) fn leave(&mut self, ix: GroupIx, member: Member) {
        let group = &mut self.all[ix.i()];
        let waits = group.members.remove(&member).unwrap_or_default();
        group.waits.iter_mut().zip(&waits).for_each(|(sum, less)| *sum -= i64::from(*less));
        if group.members.is_empty() {
            self.by_project[group.queue.i()].remove(&ix);
        }
        group.unreported.remove(&member);
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
        group.unreported = group.members.keys().copied().filter(|(_, _, w)| untold(*w, kind)).collect();
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
        let entry = group.verdict.is_none().then(|| group.entry_of(ix)).flatten();
        if entry == group.entry {
            return;
        }
        if let Some(old) = std::mem::replace(&mut group.entry, entry) {
            self.turns.remove(group.queue, &old);
        }
        if let Some(new) = entry {
            self.turns.insert(group.queue, new);
        }
    }

    /// Groups with members, by project.
    pub(crate) fn with_members(&self) -> Vec<GroupIx> {
        self.by_project.iter().flatten().copied().collect()
    }

    /// The groups of a project that have members.
    pub(crate) fn groups_of(&self, project: QueueIx) -> impl Iterator<Item = GroupIx> + '_ {
        self.by_project.get(project.i()).into_iter().flatten().copied()
    }

    /// How many groups there have been.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
