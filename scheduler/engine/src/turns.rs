//! Whose turn it is (S8, S9): groups in order inside each project, projects in order inside each department, and
//! departments in order among each other.
//!
//! Inside a project the order is fixed while a group waits: a sorted set. Between queues it changes with everything that
//! is placed: priority queues whose keys are set anew for the queues concerned, and for all when a fair share changed.
//! Costs: O(log groups + log queues) per turn; where only one project has anything to try, no keys are made.

use crate::Engine;
use crate::ix::{GroupIx, PoolIx, QueueIx};
use crate::org::{InPool, Triple};
use berth_model::{Priority, QueueId, Quota, Timestamp, WorkloadId};
use priority_queue::PriorityQueue;
use rustc_hash::{FxHashSet, FxHasher};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::hash::BuildHasherDefault;

/// S9: priority, then minimums before elastic pods, then submission, then id; elastic pods of one workload by role.
pub(crate) type Entry = (Reverse<Priority>, bool, Timestamp, WorkloadId, usize, GroupIx);

/// A fraction of non-negative integers; over 0 it is infinite.
#[derive(Clone, Copy, Debug)]
struct Fraction(i64, i64);

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: i64, b: i64| i128::from(a) * i128::from(b);
        cross(self.0, other.1).cmp(&cross(other.0, self.1))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

/// S8: within quota, then rank, then dominant share with the workload, then without, then smaller quota, older, id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct QueueKey {
    over_quota: bool,
    rank: Reverse<i32>,
    with: Fraction,
    without: Fraction,
    quota: Triple,
    created: Timestamp,
    id: Option<QueueId>,
}

type Ordered = PriorityQueue<QueueIx, Reverse<QueueKey>, BuildHasherDefault<FxHasher>>;

/// Groups that are to be tried, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// Per project.
    groups: Vec<BTreeSet<Entry>>,
    /// Projects with groups, per department.
    projects: Vec<Ordered>,
    departments: Ordered,
    /// How many projects have groups.
    busy: usize,
    /// The version of the fair shares that the keys are made of; none if no keys were needed.
    made_of: Option<u64>,
}

impl Turns {
    /// Enters a group.
    pub(crate) fn insert(&mut self, project: QueueIx, entry: Entry) {
        if self.groups.len() <= project.i() {
            self.groups.resize(project.i() + 1, BTreeSet::new());
        }
        let groups = &mut self.groups[project.i()];
        self.busy += usize::from(groups.is_empty());
        groups.insert(entry);
    }

    /// Removes a group.
    pub(crate) fn remove(&mut self, project: QueueIx, entry: &Entry) {
        let groups = &mut self.groups[project.i()];
        let removed = groups.remove(entry);
        self.busy -= usize::from(removed && groups.is_empty());
    }

    /// True if there are none to be tried.
    pub(crate) fn is_empty(&self) -> bool {
        self.busy == 0
    }

    /// All groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupIx> + '_ {
        self.groups.iter().flatten().map(|entry| entry.5)
    }

    /// The first group of a project.
    fn head(&self, project: QueueIx) -> Option<GroupIx> {
        self.groups.get(project.i())?.first().map(|entry| entry.5)
    }

    /// Projects that have groups, in order of index.
    fn busy(&self) -> Vec<QueueIx> {
        let busy = self.groups.iter().enumerate().filter(|(_, groups)| !groups.is_empty());
        busy.map(|(project, _)| QueueIx::of(project)).collect()
    }

    /// Forgets the order of queues: groups have come and gone, and projects moved.
    fn forget_order(&mut self) {
        self.departments.clear();
        self.projects.iter_mut().for_each(Ordered::clear);
        self.made_of = None;
    }

    fn set_project(&mut self, department: QueueIx, project: QueueIx, key: Option<QueueKey>) {
        if self.projects.len() <= department.i() {
            self.projects.resize_with(department.i() + 1, Ordered::default);
        }
        set(&mut self.projects[department.i()], project, key);
    }

    fn first_project(&self, department: QueueIx) -> Option<QueueIx> {
        self.projects.get(department.i())?.peek().map(|(project, _)| *project)
    }

    /// The entry whose turn it is, after [`Engine::rank_all`] or [`Engine::rank`].
    pub(crate) fn next_entry(&self) -> Option<Entry> {
        let (department, _) = self.departments.peek()?;
        self.groups.get(self.first_project(*department)?.i())?.first().copied()
    }

    /// The group whose turn it is, after [`Engine::rank_all`] or [`Engine::rank`].
    pub(crate) fn next(&self) -> Option<GroupIx> {
        let (department, _) = self.departments.peek()?;
        self.head(self.first_project(*department)?)
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

impl Engine {
    /// Orders all queues that have groups.
    pub(crate) fn rank_all(&mut self, turns: &mut Turns) {
        turns.forget_order();
        let alone = turns.busy <= 1;
        for project in turns.busy() {
            self.rank_one(turns, project, alone);
        }
        turns.made_of = (!alone).then_some(self.shares.version);
    }

    /// Brings the places of a project and its department in line with their next group and what they use, or those of
    /// all queues if a fair share has changed.
    pub(crate) fn rank(&mut self, turns: &mut Turns, project: QueueIx) {
        let alone = turns.busy <= 1 && turns.made_of.is_none();
        self.rank_one(turns, project, alone);
        if !alone && turns.made_of != Some(self.shares.version) {
            self.rank_all(turns);
        }
    }

    /// Of all that wait, those whose turn comes before that of the first one that `is` picks, and that one; none if it
    /// picks nobody. Whose turn comes when depends on who else is next in each queue, so all are put in order.
    pub(crate) fn turns_until(
        &mut self,
        is: impl Fn(GroupIx) -> bool,
    ) -> (FxHashSet<GroupIx>, Option<GroupIx>) {
        let (mut turns, mut before) = (Turns::default(), FxHashSet::default());
        for group in self.waiting.with_members() {
            let waiting = self.waiting.at(group);
            if let Some(entry) = waiting.entry_of(group) {
                turns.insert(waiting.queue, entry);
            }
        }
        self.rank_all(&mut turns);
        while let Some(entry) = turns.next_entry() {
            if is(entry.5) {
                return (before, Some(entry.5));
            }
            before.insert(entry.5);
            let project = self.waiting.at(entry.5).queue;
            turns.remove(project, &entry);
            self.rank(&mut turns, project);
        }
        (before, None)
    }

    /// True if a group is of higher standing than another: within its quota where the other is not, of a higher rank, or
    /// in the same project of a higher priority. How much their queues use, and who came first, does not matter.
    pub(crate) fn stands_higher(&mut self, group: GroupIx, other: GroupIx) -> bool {
        let both = [group, other];
        let projects = both.map(|ix| self.waiting.at(ix).queue);
        if projects[0] == projects[1] {
            return self.waiting.at(group).priority > self.waiting.at(other).priority;
        }
        let departments = projects.map(|project| self.org.at(project).path.last().copied());
        let queues = match departments {
            [Some(own), Some(others)] if own != others => [own, others],
            _ => projects,
        };
        let [own, others] = [0, 1].map(|at| {
            let key = self.queue_key(queues[at], both[at], false);
            (key.over_quota, key.rank)
        });
        own < others
    }

    fn rank_one(&mut self, turns: &mut Turns, project: QueueIx, alone: bool) {
        let department = *self.org.at(project).path.last().expect("a path");
        let head = turns.head(project);
        let key = head.map(|group| self.queue_key(project, group, alone));
        turns.set_project(department, project, key);
        let head = turns.first_project(department).and_then(|project| turns.head(project));
        let key = head.map(|group| self.queue_key(department, group, alone));
        set(&mut turns.departments, department, key);
    }

    /// Where a queue stands with this group; anywhere if it is alone.
    fn queue_key(&mut self, queue: QueueIx, group: GroupIx, alone: bool) -> QueueKey {
        let (zero, rank) = (Fraction(0, 1), Reverse(self.org.at(queue).rank));
        let (created, id) = (self.org.at(queue).created, self.org.at(queue).id);
        let mut key =
            QueueKey { over_quota: false, rank, with: zero, without: zero, quota: [0; 3], created, id };
        if alone {
            return key;
        }
        let (ask, Some(pool)) = self.first_ask(group) else { return key };
        self.refresh_shares(pool);
        let here = self.org.in_pool(queue, pool);
        key.over_quota = !here.within_quota(ask);
        key.with = dominant_share(here, ask);
        key.without = dominant_share(here, [0; 3]);
        key.quota = here.bounds().map(|bound| match bound.quota {
            Quota::Of(quota) => quota,
            Quota::Unmanaged | Quota::Unlimited => i64::MAX,
        });
        key
    }

    /// What the group asks for in the first pool of its order. Remembered while the rules are the same, unless it
    /// depends on the devices the pool has.
    fn first_ask(&mut self, ix: GroupIx) -> (Triple, Option<PoolIx>) {
        if let Some((pool, ask)) = self.waiting.at(ix).ask {
            return (ask, Some(pool));
        }
        let Some(pool) = self.nth_pool(ix, 0) else { return ([0; 3], None) };
        let group = self.waiting.at(ix);
        let template = self.templates.at(group.key.template);
        let ask = self.ask(template, &group.key.want, pool);
        if !self.asks_for_memory(template) {
            self.waiting.at_mut(ix).ask = Some((pool, ask));
        }
        (ask, Some(pool))
    }
}

/// The largest, over managed resources, of use and `more` to the larger of quota and fair share.
fn dominant_share(here: &InPool, more: Triple) -> Fraction {
    let used = here.used();
    let share = |at: usize| match here.bounds()[at].quota {
        Quota::Unmanaged | Quota::Unlimited => Fraction(0, 1),
        Quota::Of(quota) => match used[at] + more[at] {
            0 => Fraction(0, 1),
            used => Fraction(used, quota.max(here.share[at])),
        },
    };
    share(0).max(share(1)).max(share(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_fractions_compare_exactly_and_over_nothing_is_infinite() {
        assert!(Fraction(1, 3) < Fraction(334, 1000));
        assert_eq!(Fraction(1, 3), Fraction(2, 6));
        assert!(Fraction(1, 0) > Fraction(i64::MAX, 1));
        assert_eq!(Fraction(1, 0), Fraction(2, 0));
    }
}
