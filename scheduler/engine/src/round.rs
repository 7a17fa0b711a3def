//! Whose turn it is in a phase of the second pass (S8, S9, S32), and who has had it.
//!
//! All that wait have their turn, for the order between queues depends on who is next in each (S8). That of a group that
//! rests, or lacks something else than room, comes to nothing. As long as nobody is helped nothing changes, and whose turn
//! comes first matters only among those for whom something is to be tried. So while those are of one project, only they
//! are put in order; once one of them is found room, and before anything changes by that, the turns of all others up to its
//! own are gone through.
//! Identical workloads share a refusal, unless they differ in whom they may not stop (S25).
//! Costs: where one project has something to try, O(log groups) per group that is tried. If somebody is helped, or several
//! projects have something to try, each group that waits is entered once in the phase, a set entry and at most one
//! comparison between queues; and whoever is helped costs a comparison per project with groups, and a look at each group
//! that has been woken.

use crate::Engine;
use crate::ix::{GroupIx, QueueIx, WorkloadIx};
use crate::truce::Spared;
use crate::turns::{Entry, Turns};
use crate::waiting::Member;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// One phase: whose turn it is, and who was refused.
#[derive(Default)]
pub(crate) struct Round {
    turns: Turns,
    entered: FxHashMap<GroupIx, Entries>,
    refused: FxHashSet<(GroupIx, Spared)>,
    /// Groups that something is still to be tried for.
    open: FxHashSet<GroupIx>,
    /// All that wait are entered, not only those.
    whole: bool,
    /// By group, its members that were evicted of late.
    evicted: FxHashMap<GroupIx, BTreeSet<WorkloadIx>>,
}

/// Members of one group: of those who may not stop the same the first.
type Entries = SmallVec<[Entry; 1]>;

impl Round {
    /// Whose turn it is, if something is still to be tried for anybody.
    pub(crate) fn next_entry(&self) -> Option<Entry> {
        if self.open.is_empty() { None } else { self.turns.next_entry() }
    }

    /// True if something is to be tried for a group.
    pub(crate) fn is_open(&self, group: GroupIx) -> bool {
        self.open.contains(&group)
    }

    /// A member of a group, and those who may not stop the same, have no turn any more.
    fn refuse(&mut self, project: QueueIx, entry: &Entry, class: Spared) {
        let group = entry.5;
        self.turns.remove(project, entry);
        self.refused.insert((group, class));
        if let Some(entries) = self.entered.get_mut(&group) {
            entries.retain(|entered| entered != entry);
            if entries.is_empty() {
                self.entered.remove(&group);
                self.open.remove(&group);
            }
        }
    }
}

impl Engine {
    /// Puts those in order whose turn may come to something: they alone if they are of one project, else with all others.
    pub(crate) fn begin_round(&mut self) -> Round {
        let mut round = Round::default();
        for workload in &self.second.evicted {
            for group in &self.workloads.at(workload.0).groups {
                round.evicted.entry(*group).or_default().insert(*workload);
            }
        }
        let waits = |group: &GroupIx| !self.waiting.at(*group).members.is_empty();
        let mut groups: Vec<GroupIx> = self.groups_to_try().filter(waits).collect();
        let project = |group: &GroupIx| self.waiting.at(*group).queue;
        round.whole = groups.windows(2).any(|two| project(&two[0]) != project(&two[1]));
        if round.whole {
            groups = self.waiting.with_members();
        }
        for group in groups {
            self.enter_round(&mut round, group);
        }
        self.open_turns(&mut round);
        self.rank_all(&mut round.turns);
        round
    }

    /// Enters all that wait, as they would stand at the turn of an entry; nothing has changed so far.
    pub(crate) fn complete_round(&mut self, round: &mut Round, at: &Entry) {
        if round.whole {
            return;
        }
        let evicted = std::mem::take(&mut round.evicted);
        *round = Round { whole: true, evicted, ..Round::default() };
        for group in self.waiting.with_members() {
            self.enter_round(round, group);
        }
        self.rank_all(&mut round.turns);
        while let Some(entry) = round.turns.next_entry().filter(|entry| entry != at) {
            self.refuse_turn(round, &entry);
        }
    }

    /// Nothing came of a turn.
    pub(crate) fn refuse_turn(&mut self, round: &mut Round, entry: &Entry) {
        let project = self.waiting.at(entry.5).queue;
        let class = self.may_not_stop(self.member_of(entry).2);
        round.refuse(project, entry, class);
        self.rank(&mut round.turns, project);
    }

    /// The first member of a group has been helped: it has left it, and what others wait for may be another.
    pub(crate) fn continue_round(&mut self, round: &mut Round, group: GroupIx) {
        let touched = std::mem::take(&mut self.second.touched);
        for (group, workload) in &touched {
            let member = self.workloads.get(workload.0).is_some_and(|state| state.groups.contains(group));
            if member && self.second.evicted.contains(workload) {
                round.evicted.entry(*group).or_default().insert(*workload);
            } else if let Some(evicted) = round.evicted.get_mut(group) {
                evicted.remove(workload);
            }
        }
        let mut changed: Vec<GroupIx> = touched.into_iter().map(|(group, _)| group).collect();
        changed.push(group);
        changed.sort_unstable();
        changed.dedup();
        for group in changed {
            self.enter_round(round, group);
        }
        self.rouse();
        self.open_turns(round);
        self.rank_all(&mut round.turns);
    }

    /// The member whose turn it is.
    pub(crate) fn member_of(&self, (_, _, submitted, id, _, group): &Entry) -> Member {
        let member = self.workload_ids.get(id).map(|ix| (*submitted, *id, *ix));
        let waits = |member: &Member| self.waiting.at(*group).members.contains_key(member);
        member.filter(waits).expect("a member that left has no turn")
    }

    /// Those to be looked at, and those that the allocation loop is to try again: they wait for it, as long as they found no
    /// room yet.
    pub(crate) fn groups_to_try(&self) -> impl Iterator<Item = GroupIx> + '_ {
        self.second.rests.awake().chain(self.waiting.turns.groups())
    }

    /// Notes for whom something is still to be tried.
    fn open_turns(&self, round: &mut Round) {
        round.open = self.groups_to_try().filter(|group| round.entered.contains_key(group)).collect();
    }

    /// Enters the members of a group whose turn may come: of those who may not stop the same the first, unless they were
    /// refused.
    fn enter_round(&self, round: &mut Round, group: GroupIx) {
        let state = self.waiting.at(group);
        for entry in round.entered.remove(&group).unwrap_or_default() {
            round.turns.remove(state.queue, &entry);
        }
        let plain = state.members.keys().find(|member| self.may_not_stop(member.2).is_empty());
        let mut members: SmallVec<[Member; 4]> = plain.copied().into_iter().collect();
        members.extend(round.evicted.get(&group).into_iter().flatten().map(|ix| {
            let workload = self.workloads.at(ix.0);
            (workload.submitted, workload.id, *ix)
        }));
        members.sort_unstable();
        let mut classes: Vec<Spared> = Vec::new();
        for member in members {
            let class = self.may_not_stop(member.2);
            if classes.contains(&class) || round.refused.contains(&(group, class.clone())) {
                continue;
            }
            classes.push(class);
            let entry = state.entry_for(group, member);
            round.turns.insert(state.queue, entry);
            round.entered.entry(group).or_default().push(entry);
        }
    }
}
