//! Room that is held in time for one workload per pool, so that it does not wait for ever behind others that keep
//! slipping in (decision 0003): for whom, who is bound by it, and what they may use all the same.
//!
//! A hold is no reservation (S23): nobody leaves for it and nothing is charged. It keeps others off some nodes. It is a
//! function of the state and the time: made anew at the beginning of a cycle if anything has changed since.
//! What is held is hidden from choices while somebody bound by it is tried.
//! Costs: without holds and with nobody due, a comparison a cycle. With one, a plan a cycle (see `backfill`), and an
//! index update per held node when a bound workload is tried after one that is not; and for a hold in time, whenever anything
//! has changed and somebody is tried, all that wait are put in order as far as the holder, O(log groups) each.

use crate::Engine;
use crate::backfill::{Plan, Then};
use crate::choose::{Choice, Scope};
use crate::ix::{GroupIx, NodeIx, PodIx, PoolIx, QueueIx, ShapeIx, WorkloadIx};
use crate::node::Free;
use crate::park::Unblock;
use crate::verdict::Refusal;
use crate::waiting::Said;
use berth_model::{Millis, NodeId, PodId, PoolId, ProjectSpec, Reason, Timestamp, WorkloadId};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};

/// Room that is held in one pool.
#[derive(Clone, Debug)]
struct Hold {
    workload: WorkloadIx,
    /// It waits for so long that only who is of higher standing goes before it.
    aged: bool,
    plan: Plan,
}

/// All holds.
#[derive(Clone, Debug)]
pub(crate) struct Holds {
    by_pool: BTreeMap<PoolIx, Hold>,
    /// Groups that nothing but a hold keeps from starting.
    held_back: BTreeMap<PoolIx, BTreeSet<GroupIx>>,
    /// The pool whose held nodes are hidden.
    hidden: Option<PoolIx>,
    /// The state that the holds were made of.
    made_of: Option<u64>,
    /// Somebody has waited for too long.
    some_aged: bool,
    /// Nobody else will have before this.
    next_due: Timestamp,
    /// The last cycle in which one was given up because whom it was for has started, or is gone.
    given_up: u64,
    /// The cycle in which the first who found no room in a pool was looked at.
    looked_at: BTreeMap<PoolIx, u64>,
    /// Some workload has said for how long it runs.
    pub(crate) some_declared: bool,
    /// Whose turns come before that of a group, and the state in which that is so.
    before: Option<((u64, GroupIx), FxHashSet<GroupIx>)>,
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            by_pool: BTreeMap::new(),
            held_back: BTreeMap::new(),
            hidden: None,
            made_of: None,
            some_aged: false,
            next_due: Timestamp(i64::MAX),
            given_up: 0,
            looked_at: BTreeMap::new(),
            some_declared: false,
            before: None,
        }
    }
}

impl Holds {
    /// True if room is held for somebody.
    pub(crate) fn any(&self) -> bool {
        !self.by_pool.is_empty()
    }

    /// True if room is held for a workload.
    fn are_for(&self, workload: WorkloadIx) -> bool {
        self.by_pool.values().any(|hold| hold.workload == workload)
    }

    /// True if something that was held until then has become free in a cycle.
    pub(crate) fn gave_up_in(&self, cycle: u64) -> bool {
        self.given_up == cycle
    }

    /// True if some nodes are hidden from choices.
    pub(crate) fn hiding(&self) -> bool {
        self.hidden.is_some()
    }
}

impl Engine {
    /// After how long room is held for workloads of a project; none = never.
    fn hold_after(&self, project: QueueIx) -> Option<Millis> {
        let after = self.org.at(project).hold_after.unwrap_or(ProjectSpec::HOLD_AFTER);
        (after >= Millis::ZERO).then_some(after)
    }

    /// Since when a workload waits: since it was submitted, or last evicted for another.
    fn waits_since(&self, workload: WorkloadIx) -> Timestamp {
        let state = self.workloads.at(workload.0);
        let evicted = state.evictions.iter().map(|eviction| eviction.at);
        evicted.fold(state.submitted, Timestamp::max)
    }

    fn due(&self, workload: WorkloadIx) -> Option<Timestamp> {
        let project = self.templates.at(self.workloads.at(workload.0).template).queue;
        Some(self.waits_since(workload).plus(self.hold_after(project)?))
    }

    /// A workload waits for its minimums.
    pub(crate) fn note_due(&mut self, workload: WorkloadIx) {
        if let Some(due) = self.due(workload) {
            self.holds.next_due = self.holds.next_due.min(due);
        }
    }

    /// The first of a group has left it, or may have: the next counts from now on, and may have waited for longer.
    pub(crate) fn note_next_due(&mut self, group: GroupIx) {
        let waiting = self.waiting.at(group);
        let next = waiting.members.first_key_value().filter(|_| !waiting.key.elastic);
        if let Some((_, _, next)) = next.map(|(member, _)| *member) {
            self.note_due(next);
        }
    }

    /// How long those of a project wait before room is held for them has changed: all dues are looked at anew.
    pub(crate) fn forget_dues(&mut self) {
        self.holds.next_due = Timestamp(i64::MIN);
    }

    /// When what is held must be looked at again although nothing has happened.
    pub(crate) fn hold_timer(&self) -> Option<Timestamp> {
        let holds = &self.holds.by_pool;
        // One more who has waited for too long may have the room of another.
        let next_due = holds.first_key_value().map(|_| self.holds.next_due);
        let ends = holds.values().filter_map(|hold| hold.plan.stands_until);
        ends.chain(next_due).filter(|end| *end > self.now && *end < Timestamp(i64::MAX)).min()
    }

    /// The group in which a workload waits for its minimums.
    fn minimum_group(&self, workload: WorkloadIx) -> Option<GroupIx> {
        let groups = self.workloads.get(workload.0)?.groups.iter().copied();
        groups.into_iter().find(|group| !self.waiting.at(*group).key.elastic)
    }

    /// Makes the holds as the state and the time want them.
    pub(crate) fn renew_holds(&mut self) {
        let holds = &self.holds;
        if holds.by_pool.is_empty() && !holds.some_aged && self.now < holds.next_due {
            return;
        }
        let over = |hold: &Hold| hold.plan.stands_until.is_some_and(|end| end <= self.now);
        let timely = holds.by_pool.values().any(over) || self.now >= holds.next_due;
        if holds.made_of == Some(self.second.stamp) && !timely {
            return;
        }
        let aged = self.aged_groups();
        let mut before = std::mem::take(&mut self.holds.by_pool);
        for pool in self.pools.by_name().to_vec() {
            let known = before.remove(&pool);
            let hold = self.hold_in(pool, &aged, known.as_ref());
            let unchanged = same(known.as_ref(), hold.as_ref());
            self.holds.by_pool.extend(hold.map(|hold| (pool, hold)));
            match unchanged {
                true => self.wake_released(pool),
                false => self.wake_held_back(pool),
            }
        }
        before.into_keys().for_each(|pool| self.wake_held_back(pool));
        self.holds.made_of = Some(self.second.stamp);
    }

    /// First members of groups that have waited for too long for their minimums, the longest first.
    fn aged_groups(&mut self) -> Vec<(Timestamp, WorkloadId, GroupIx)> {
        let mut aged = Vec::new();
        let mut next = Timestamp(i64::MAX);
        for group in (0..self.waiting.len()).map(GroupIx::of) {
            let waiting = self.waiting.at(group);
            let Some((_, id, workload)) = waiting.first().filter(|_| !waiting.key.elastic) else { continue };
            let Some(due) = self.due(workload) else { continue };
            if due <= self.now {
                aged.push((self.waits_since(workload), id, group));
            } else {
                next = next.min(due);
            }
        }
        self.holds.next_due = next;
        self.holds.some_aged = !aged.is_empty();
        aged.sort_unstable();
        aged
    }

    /// The hold of a pool: for the one that has waited longest beyond its bound and can be helped, else for the one
    /// that has it already.
    fn hold_in(
        &mut self,
        pool: PoolIx,
        aged: &[(Timestamp, WorkloadId, GroupIx)],
        known: Option<&Hold>,
    ) -> Option<Hold> {
        for (_, _, group) in aged {
            let Some((_, _, workload)) = self.waiting.at(*group).first() else { continue };
            let elsewhere = self.holds.are_for(workload);
            if elsewhere || !self.pools_of(*group).any(|other| other == pool) {
                continue;
            }
            if let Some(plan) = self.plan_start(*group, pool, false) {
                return Some(Hold { workload, aged: true, plan });
            }
        }
        known.filter(|known| !known.aged)?;
        let group = self.first_short(pool, None)?;
        let (_, _, workload) = self.waiting.at(group).first()?;
        self.hold_after(self.waiting.at(group).queue)?;
        let elsewhere = self.holds.are_for(workload);
        let plan = if elsewhere { None } else { self.plan_start(group, pool, true) }?;
        Some(Hold { workload, aged: false, plan })
    }

    /// Of those that have found no room in a pool, and one more, the one whose turn is first among all that wait.
    fn first_short(&mut self, pool: PoolIx, more: Option<GroupIx>) -> Option<GroupIx> {
        let id = self.pools.spec(pool).id;
        let is_among = |group: &GroupIx| {
            let waiting = self.waiting.at(*group);
            let verdict =
                waiting.verdict.as_ref().and_then(|(said, _)| said.iter().find(|said| is_short(said)));
            !waiting.key.elastic && verdict.is_some_and(|said| said.pool == id)
        };
        let all = self.waiting.with_members().into_iter();
        let short: FxHashSet<GroupIx> = all.filter(is_among).chain(more).collect();
        if short.is_empty() {
            return None;
        }
        self.turns_until(|group| short.contains(&group)).1
    }

    /// True if, of all that wait, the turn of a group comes before that of another for whom room is held.
    fn goes_before(&mut self, group: GroupIx, holder: GroupIx) -> bool {
        let made_of = (self.second.stamp, holder);
        if self.holds.before.as_ref().is_none_or(|(known, _)| *known != made_of) {
            let before = self.turns_until(|group| group == holder).0;
            self.holds.before = Some((made_of, before));
        }
        self.holds.before.as_ref().is_some_and(|(_, before)| before.contains(&group))
    }

    /// The first in order that finds no room in a pool has some held in time, if all say until when they run that
    /// stand in its way.
    pub(crate) fn consider_hold(&mut self, group: GroupIx, said: &[Said]) {
        let waiting = self.waiting.at(group);
        if !self.holds.some_declared {
            return;
        }
        let Some((_, _, workload)) = waiting.first().filter(|_| !waiting.key.elastic) else { return };
        let short = said.iter().position(is_short);
        let Some(pool) = short.and_then(|at| self.nth_pool(group, at)) else { return };
        let known = self.holds.by_pool.get(&pool).map(|hold| (hold.aged, hold.workload));
        let again = self.holds.looked_at.insert(pool, self.cycle) == Some(self.cycle);
        if again && !self.overtakes(group, known) {
            return;
        }
        let project = self.waiting.at(group).queue;
        let held = self.holds.are_for(workload);
        if held || self.hold_after(project).is_none() {
            return;
        }
        if known.is_some_and(|(aged, _)| aged) || self.first_short(pool, Some(group)) != Some(group) {
            return;
        }
        match self.plan_start(group, pool, true) {
            Some(plan) => {
                self.wake_held_back(pool);
                self.holds.by_pool.insert(pool, Hold { workload, aged: false, plan });
            }
            // If there is none for the first, nobody has.
            None => self.give_up_hold(pool),
        }
    }

    /// True if a group goes before the one for whom room is held because it was the first to find none: that was parked, and
    /// in the order of turns in one cycle only those are compared that are not.
    fn overtakes(&mut self, group: GroupIx, known: Option<(bool, WorkloadIx)>) -> bool {
        let holder = known.filter(|(aged, _)| !aged).and_then(|(_, holder)| self.minimum_group(holder));
        holder.is_some_and(|holder| self.goes_before(group, holder))
    }

    /// Gives up the hold of a workload that does not wait for its minimums any more.
    pub(crate) fn check_hold_of(&mut self, workload: WorkloadIx) {
        if self.holds.by_pool.is_empty() || self.minimum_group(workload).is_some() {
            return;
        }
        let pools = self.holds.by_pool.iter().filter(|(_, hold)| hold.workload == workload);
        let pools: Vec<PoolIx> = pools.map(|(pool, _)| *pool).collect();
        pools.into_iter().for_each(|pool| self.give_up_hold(pool));
    }

    /// Nothing is held in a pool any more, if it was.
    fn give_up_hold(&mut self, pool: PoolIx) {
        self.show_all();
        if self.holds.by_pool.remove(&pool).is_some() {
            self.holds.given_up = self.cycle;
            self.wake_held_back(pool);
        }
    }

    /// Wakes those who are not bound any more by what is held in a pool, though it is the same as before: whose turn
    /// comes first also depends on other pools, and on shares (S8).
    fn wake_released(&mut self, pool: PoolIx) {
        let Some(groups) = self.holds.held_back.remove(&pool) else { return };
        let (bound, released): (BTreeSet<_>, BTreeSet<_>) =
            groups.into_iter().partition(|group| self.is_bound(*group, pool, false));
        if !released.is_empty() {
            self.holds.held_back.insert(pool, released);
            self.wake_held_back(pool);
        }
        self.holds.held_back.insert(pool, bound);
    }

    /// What is held in a pool has changed: for whoever is bound by it, that is as if nodes had (S30).
    fn wake_held_back(&mut self, pool: PoolIx) {
        self.pools.shift(pool);
        for group in self.holds.held_back.remove(&pool).unwrap_or_default() {
            self.wake(group);
        }
    }

    /// Hides what is held in a pool from a group that is bound by it, and shows it to any other; true if it is hidden.
    /// With `now` what it is given it has at once. No trial is under way: whose turn comes first depends on what is used.
    pub(crate) fn heed_hold(&mut self, group: GroupIx, pool: PoolIx, now: bool) -> bool {
        debug_assert!(self.trial.is_empty(), "what is used is what is really used");
        if self.holds.by_pool.is_empty() {
            return false;
        }
        if !self.is_bound(group, pool, now) {
            self.show_all();
            return false;
        }
        if self.holds.hidden != Some(pool) {
            self.show_all();
            self.holds.hidden = Some(pool);
            for (_, ix) in self.holds.by_pool[&pool].plan.nodes.keys() {
                let node = self.nodes.get(ix.0).filter(|node| node.usable() && node.pool == Some(pool));
                if let Some(node) = node {
                    self.index.hide(*ix, node);
                }
            }
        }
        true
    }

    /// Shows everything to everybody.
    pub(crate) fn show_all(&mut self) {
        let Some(pool) = self.holds.hidden.take() else { return };
        for (_, node) in self.holds.by_pool[&pool].plan.nodes.keys() {
            self.index.show(*node, self.nodes.at(node.0));
        }
    }

    /// True if a node is hidden from whose turn it is, because it is held for another.
    pub(crate) fn is_held_from_others(&self, ix: NodeIx) -> bool {
        let Some(pool) = self.holds.hidden else { return false };
        self.holds.by_pool[&pool].plan.nodes.contains_key(&(self.nodes.at(ix.0).id, ix))
    }

    /// True if the first member of a group must leave alone what is held in a pool: it comes after the one for whom it is
    /// held, and does not say that it will be done in time.
    fn is_bound(&mut self, group: GroupIx, pool: PoolIx, now: bool) -> bool {
        let Some(hold) = self.holds.by_pool.get(&pool) else { return false };
        let (holder, aged, until) = (hold.workload, hold.aged, hold.plan.until);
        let Some(other) = self.minimum_group(holder) else { return false };
        if self.waiting.at(group).first().is_none_or(|(_, _, first)| first == holder) {
            return false;
        }
        let runtime = self.waiting.at(group).key.runtime;
        let done = until.zip(runtime).is_some_and(|(until, runtime)| self.now.plus(runtime) <= until);
        if done && now {
            return false;
        }
        if aged { !self.stands_higher(group, other) } else { !self.goes_before(group, other) }
    }

    /// The first held node that takes a pod of a bound workload now and where what is held still fits beside it then.
    pub(crate) fn beside_hold(&mut self, pod: PodIx, pool: PoolIx, scope: Scope) -> Option<Choice> {
        if self.holds.hidden != Some(pool) || self.org.as_if || scope != Scope::Everywhere {
            return None;
        }
        let kind = self.kind_of(pod);
        if self.shapes.at(kind.0).local {
            return None;
        }
        let nodes: Vec<(NodeId, NodeIx)> = self.holds.by_pool[&pool].plan.nodes.keys().copied().collect();
        let node = nodes.into_iter().find(|(id, node)| {
            self.could_take(kind, pool, scope, *node)
                && self.accepts(kind, pool, *node)
                && self.fits_then((*id, *node), kind.0, pool)
        });
        let (_, node) = node?;
        let strategy = self.pools.spec(pool).device;
        let gpus = self.nodes.at(node.0).devices.choose(self.shapes.at(kind.0).gpu, strategy)?;
        Some(Choice { node, gpus })
    }

    /// True if a pod fits on a held node when those that are expected to leave have, beside what is held, and beside
    /// what has come since the plan was made and will not be gone.
    fn fits_then(&self, node: (NodeId, NodeIx), shape: ShapeIx, pool: PoolIx) -> bool {
        let Some(hold) = self.holds.by_pool.get(&pool) else { return false };
        let Then { free, devices, seen } = &hold.plan.nodes[&node];
        let (mut free, mut devices) = (free.clone(), devices.clone());
        let strategy = self.pools.spec(pool).device;
        let new = self.nodes.at(node.1.0).pods.iter().filter(|pod| seen.binary_search(pod).is_err());
        let done = |pod: &PodIx| {
            self.expected_end(*pod).zip(hold.plan.until).is_some_and(|(end, until)| end <= until)
        };
        let mut new: Vec<(PodId, ShapeIx)> =
            new.filter(|pod| !done(pod)).map(|pod| (self.pod_id(*pod), self.kind_of(*pod).0)).collect();
        new.sort_unstable_by_key(|(id, _)| *id);
        for (_, shape) in new {
            let shape = self.shapes.at(shape);
            let Some(gpus) = devices.choose(shape.gpu, strategy) else { return false };
            free.add(&Free::taken_by(shape), -1);
            devices.take(gpus);
        }
        let shape = self.shapes.at(shape);
        free.fits(shape) && devices.choose(shape.gpu, strategy).is_some()
    }

    /// The verdict on a group that would start if nothing were held for another.
    pub(crate) fn held_back(&mut self, group: GroupIx, pool: PoolIx) -> Refusal {
        let hold = &self.holds.by_pool[&pool];
        let reason = Reason::Held {
            pool: self.pools.spec(pool).id,
            workload: self.workloads.at(hold.workload.0).id,
            nodes: hold.plan.nodes.len() as u32,
            until: hold.plan.until,
        };
        self.holds.held_back.entry(pool).or_default().insert(group);
        Refusal::new(reason, Unblock::Any(pool))
    }

    /// What is held for a workload in a pool, as its reason.
    pub(crate) fn holding(&self, workload: WorkloadIx, pool: PoolId) -> Option<Reason> {
        let hold =
            self.holds.by_pool.get(&self.pools.find(pool)?).filter(|hold| hold.workload == workload)?;
        let nodes = hold.plan.nodes.keys().map(|(id, _)| *id).collect();
        Some(Reason::Holding { pool, nodes, until: hold.plan.until })
    }
}

/// True if room is what a pool lacks, and none of it is held for another.
fn is_short(said: &Said) -> bool {
    matches!(said.reason, Reason::Capacity { .. })
}

/// True if two holds bind the same to the same, and let the same be used beside what is held.
fn same(one: Option<&Hold>, other: Option<&Hold>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    (one.workload, one.aged, one.plan.until) == (other.workload, other.aged, other.plan.until)
        && one.plan.nodes == other.plan.nodes
}
