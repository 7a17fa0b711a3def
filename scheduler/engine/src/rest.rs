//! Whom the second pass does not look at, and until when (S30).
//!
//! A refusal to take back stands until something it depends on has changed. It is noted per pool and means, with the
//! pool's count of *stirs*: that grows with everything that happens in the pool outside of trials (who is on which node,
//! nodes, fair shares). A group that was refused everything *rests* on what could help it, which is often much less than
//! the whole pool: a project beyond what it may take back rests on its own share and use, one that has the pool for itself
//! on another that comes, one that could only gain by moves rests on the free share it lacks for them. Searches that failed for lack of room are noted by what was wanted,
//! so that groups that want the same do not repeat them before a pod or node has changed.
//!
//! Absent: evidence about time other than the earliest moment at which only time stood in the way.
//! Costs: a stir is an addition. A cycle after stirs costs O(projects with resting groups of the pool) and O(log groups)
//! per group that wakes; where a project rests on others coming, a look at the projects up to the second that uses anything.

use crate::Engine;
use crate::ix::{GroupIx, PoolIx, QueueIx, ShapeIx};
use crate::org::Triple;
use berth_model::{Priority, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// What is tried for a group in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Means {
    /// As if all leaving pods were gone (S23).
    Later,
    Reclaim,
    Preempt,
    Consolidate,
}

impl Means {
    const ALL: u8 = 0b1111;

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What could help a group that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hope {
    /// Anything in the pool.
    Pool(PoolIx),
    /// Its project may take back as much as it wants in the pool.
    Own(PoolIx, QueueIx, Triple, bool),
    /// This much GPU share of the pool is claimed by nobody.
    Free(PoolIx, i64),
    /// Another project than this uses anything of the pool.
    Others(PoolIx, QueueIx),
    /// A workload of the project with a lower priority than this.
    Lower(QueueIx, Priority),
}

/// Which projects use anything of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Users {
    None,
    One(QueueIx),
    Several,
}

/// What is wanted, if nothing else about a group matters to where it fits: shapes and numbers of pods.
pub(crate) type Kind = SmallVec<[(ShapeIx, u32); 2]>;

/// Until when moves were found not to help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMoves {
    /// Until time alone may help.
    pub(crate) until: Option<Timestamp>,
    /// In this cycle only: pods placed in it may be moved in the next.
    pub(crate) only_in: Option<u64>,
}

/// What a group was refused in a pool.
#[derive(Clone, Debug)]
struct Refused {
    pool: PoolIx,
    /// The pool's stirs then.
    stirs: u64,
    /// Means that were refused since.
    means: u8,
    hopes: SmallVec<[Hope; 4]>,
}

/// What a group was refused, and when time alone may help.
#[derive(Clone, Debug, Default)]
struct Standing {
    pools: SmallVec<[Refused; 2]>,
    until: Option<Timestamp>,
    /// It met pods placed in this cycle, which may be victims in the next.
    again: bool,
    /// What it rests on; empty while it is awake.
    rests: SmallVec<[Hope; 4]>,
    timer: Option<Timestamp>,
}

/// The groups that rest on something of one pool.
#[derive(Clone, Debug, Default)]
struct InPool {
    /// The pool's stirs when its groups were last thought of.
    seen: u64,
    any: BTreeSet<GroupIx>,
    own: BTreeMap<QueueIx, BTreeMap<GroupIx, (Triple, bool)>>,
    free: BTreeSet<(i64, GroupIx)>,
    others: BTreeMap<QueueIx, BTreeMap<GroupIx, ()>>,
    /// What does not fit as if all leaving pods were gone, and what no moves help, at this count of shifts. Moves may
    /// help at a later time.
    searched: u64,
    no_room_later: FxHashSet<Kind>,
    no_moves: FxHashMap<Kind, NoMoves>,
}

/// All groups that rest, and those that do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rests {
    awake: BTreeSet<GroupIx>,
    standing: Vec<Standing>,
    pools: Vec<InPool>,
    lower: BTreeMap<QueueIx, BTreeMap<GroupIx, Priority>>,
    timers: BTreeSet<(Timestamp, GroupIx)>,
}

impl Rests {
    fn of(&mut self, group: GroupIx) -> &mut Standing {
        if self.standing.len() <= group.i() {
            self.standing.resize_with(group.i() + 1, Standing::default);
        }
        &mut self.standing[group.i()]
    }

    fn pool(&mut self, pool: PoolIx) -> &mut InPool {
        if self.pools.len() <= pool.i() {
            self.pools.resize_with(pool.i() + 1, InPool::default);
        }
        &mut self.pools[pool.i()]
    }

    /// True if nobody is to be looked at.
    pub(crate) fn all_rest(&self) -> bool {
        self.awake.is_empty()
    }

    /// Those to be looked at.
    pub(crate) fn awake(&self) -> impl Iterator<Item = GroupIx> + '_ {
        self.awake.iter().copied()
    }

    /// Lets a group be looked at; what it was refused stands where nothing has stirred since.
    pub(crate) fn wake(&mut self, group: GroupIx) {
        let standing = self.of(group);
        let timer = standing.timer.take();
        for hope in std::mem::take(&mut standing.rests) {
            match hope {
                Hope::Pool(pool) => {
                    self.pool(pool).any.remove(&group);
                }
                Hope::Own(pool, queue, ..) => remove_of(&mut self.pool(pool).own, queue, group),
                Hope::Free(pool, amount) => {
                    self.pool(pool).free.remove(&(amount, group));
                }
                Hope::Others(pool, queue) => remove_of(&mut self.pool(pool).others, queue, group),
                Hope::Lower(queue, _) => remove_of(&mut self.lower, queue, group),
            }
        }
        if let Some(at) = timer {
            self.timers.remove(&(at, group));
        }
        self.awake.insert(group);
    }

    /// As [`Self::wake`]; nothing it was refused stands.
    pub(crate) fn wake_anew(&mut self, group: GroupIx) {
        self.wake(group);
        *self.of(group) = Standing::default();
    }

    /// The rules have changed: nothing stands.
    pub(crate) fn wake_all(&mut self) {
        for group in (0..self.standing.len()).map(GroupIx::of) {
            self.wake_anew(group);
        }
        self.pools.iter_mut().for_each(|pool| pool.searched = u64::MAX);
    }

    /// A pod begins to leave a pool: whoever hopes for anything there may count on its room.
    pub(crate) fn wake_pool(&mut self, pool: PoolIx) {
        let here = self.pool(pool);
        let mut groups: Vec<GroupIx> = here.any.iter().copied().collect();
        groups.extend(here.own.values().flat_map(BTreeMap::keys));
        groups.extend(here.free.iter().map(|(_, group)| *group));
        groups.extend(here.others.values().flat_map(BTreeMap::keys));
        groups.into_iter().for_each(|group| self.wake(group));
    }

    /// A workload of this priority came to a project.
    pub(crate) fn wake_above(&mut self, project: QueueIx, priority: Priority) {
        let Some(of_project) = self.lower.get(&project) else { return };
        let above = of_project.iter().filter(|(_, own)| **own > priority);
        let above: Vec<GroupIx> = above.map(|(group, _)| *group).collect();
        above.into_iter().for_each(|group| self.wake_anew(group));
    }

    /// Whoever only time stood in the way of.
    fn wake_due(&mut self, now: Timestamp) {
        while let Some((at, group)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, group));
            self.wake_anew(group);
        }
    }

    /// The next time at which a group wakes by itself.
    pub(crate) fn timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// True if a means was refused a group and nothing has stirred in the pool since.
    fn stands(&self, group: GroupIx, pool: PoolIx, stirs: u64, means: Means) -> bool {
        let standing = self.standing.get(group.i()).map_or(&[][..], |standing| &standing.pools);
        let here = standing.iter().find(|refused| refused.pool == pool);
        here.is_some_and(|refused| refused.stirs == stirs && refused.means & means.bit() != 0)
    }

    fn refuse(&mut self, group: GroupIx, pool: PoolIx, stirs: u64, means: Means, hope: Option<Hope>) {
        let pools = &mut self.of(group).pools;
        let at = pools.iter().position(|refused| refused.pool == pool).unwrap_or_else(|| {
            pools.push(Refused { pool, stirs, means: 0, hopes: SmallVec::new() });
            pools.len() - 1
        });
        let refused = &mut pools[at];
        if refused.stirs != stirs {
            *refused = Refused { pool, stirs, means: 0, hopes: SmallVec::new() };
        }
        refused.means |= means.bit();
        refused.hopes.extend(hope.filter(|hope| !refused.hopes.contains(hope)));
    }

    /// Lets a group rest on what could help it.
    fn rest(&mut self, group: GroupIx, now: Timestamp) {
        let standing = self.of(group);
        let hopes: SmallVec<[Hope; 4]> =
            standing.pools.iter().flat_map(|refused| refused.hopes.iter().copied()).collect();
        standing.rests.clone_from(&hopes);
        self.set_timer(group, now);
        for hope in hopes {
            match hope {
                Hope::Pool(pool) => {
                    self.pool(pool).any.insert(group);
                }
                Hope::Own(pool, queue, ask, preemptible) => {
                    self.pool(pool).own.entry(queue).or_default().insert(group, (ask, preemptible));
                }
                Hope::Free(pool, amount) => {
                    self.pool(pool).free.insert((amount, group));
                }
                Hope::Others(pool, queue) => {
                    self.pool(pool).others.entry(queue).or_default().insert(group, ());
                }
                Hope::Lower(queue, priority) => {
                    self.lower.entry(queue).or_default().insert(group, priority);
                }
            }
        }
        self.awake.remove(&group);
    }

    /// Has a group looked at again when time alone may help it.
    fn set_timer(&mut self, group: GroupIx, now: Timestamp) {
        let standing = self.of(group);
        let after = standing.until.filter(|until| *until > now);
        if let Some(before) = std::mem::replace(&mut standing.timer, after) {
            self.timers.remove(&(before, group));
        }
        self.timers.extend(after.map(|at| (at, group)));
    }

    /// What was searched for in vain in a pool since its pods or nodes last changed.
    fn searched(&mut self, pool: PoolIx, shifts: u64) -> &mut InPool {
        let here = self.pool(pool);
        if here.searched != shifts {
            here.searched = shifts;
            here.no_room_later.clear();
            here.no_moves.clear();
        }
        here
    }
}

fn remove_of<V>(all: &mut BTreeMap<QueueIx, BTreeMap<GroupIx, V>>, queue: QueueIx, group: GroupIx) {
    if let Some(of_queue) = all.get_mut(&queue) {
        of_queue.remove(&group);
        if of_queue.is_empty() {
            all.remove(&queue);
        }
    }
}

impl Engine {
    /// False if what happens in other pools matters to a group too: pods are particular about other pods, or it wants
    /// volumes.
    fn contained(&self, group: GroupIx) -> bool {
        let key = &self.waiting.at(group).key;
        let roles = self.templates.at(key.template).roles.iter().zip(&key.want);
        self.neighbours.idle()
            && !roles.filter(|(_, want)| **want > 0).any(|(r, _)| self.shapes.at(r.shape).local)
    }

    /// How much has happened that may concern a group that looks for room in a pool.
    fn stirs_for(&self, group: GroupIx, pool: PoolIx) -> u64 {
        match self.contained(group) {
            true => 2 * self.pools.at(pool).stirs,
            false => 2 * self.pools.stirs() + 1,
        }
    }

    /// True if a means was refused a group, and nothing it depends on has changed since.
    pub(crate) fn refusal_stands(&self, group: GroupIx, pool: PoolIx, means: Means) -> bool {
        self.second.rests.stands(group, pool, self.stirs_for(group, pool), means)
    }

    /// Notes that a means was refused a group in a pool, and what could change that.
    pub(crate) fn refuse(&mut self, group: GroupIx, pool: PoolIx, means: Means, hope: Option<Hope>) {
        let (stirs, contained) = (self.stirs_for(group, pool), self.contained(group));
        self.second.rests.refuse(group, pool, stirs, means, hope.filter(|_| contained));
        if !contained {
            for at in 0..self.pools.by_name().len() {
                let hope = Hope::Pool(self.pools.by_name()[at]);
                self.second.rests.refuse(group, pool, stirs, means, Some(hope));
            }
        }
    }

    /// Notes what only time forbade a group.
    pub(crate) fn refused_until(&mut self, group: GroupIx, until: Option<Timestamp>, again: bool) {
        let standing = self.second.rests.of(group);
        standing.until = standing.until.into_iter().chain(until).min();
        standing.again |= again;
    }

    /// Wakes whoever may be helped by what has changed since the last pass.
    pub(crate) fn rouse(&mut self) {
        self.second.rests.wake_due(self.now);
        for at in 0..self.second.rests.pools.len() {
            let pool = PoolIx::of(at);
            let here = &self.second.rests.pools[at];
            let by_shares = !(here.any.is_empty() && here.own.is_empty() && here.free.is_empty());
            if (!by_shares && here.others.is_empty()) || self.pools.at(pool).spec.is_none() {
                continue;
            }
            if by_shares {
                self.refresh_shares(pool);
            }
            let stirs = self.pools.at(pool).stirs;
            if std::mem::replace(&mut self.second.rests.pools[at].seen, stirs) != stirs {
                self.rouse_pool(pool);
            }
        }
    }

    fn rouse_pool(&mut self, pool: PoolIx) {
        let free = self.pools.at(pool).unclaimed[0];
        let here = &self.second.rests.pools[pool.i()];
        let mut groups: Vec<GroupIx> = here.any.iter().copied().collect();
        groups.extend(here.free.iter().take_while(|(amount, _)| *amount <= free).map(|(_, group)| *group));
        for (queue, of_queue) in &here.own {
            let may =
                |(ask, preemptible): &(Triple, bool)| self.may_reclaim(*queue, pool, *ask, *preemptible);
            groups.extend(of_queue.iter().filter(|(_, wants)| may(wants)).map(|(group, _)| *group));
        }
        if !here.others.is_empty() {
            let users = self.users_of(pool);
            let hopeful = here.others.iter().filter(|(queue, _)| self.users_but(users, **queue));
            groups.extend(hopeful.flat_map(|(_, of_queue)| of_queue.keys()));
        }
        groups.into_iter().for_each(|group| self.second.rests.wake(group));
    }

    /// Which projects use anything of a pool, as far as two.
    pub(crate) fn users_of(&self, pool: PoolIx) -> Users {
        let uses = |project: &QueueIx| self.org.in_pool(*project, pool).allocated != [0; 3];
        let mut users = self.org.projects().filter(uses);
        match (users.next(), users.next()) {
            (None, _) => Users::None,
            (Some(one), None) => Users::One(one),
            (Some(_), Some(_)) => Users::Several,
        }
    }

    /// True if another project than this is one of them.
    pub(crate) fn users_but(&self, users: Users, project: QueueIx) -> bool {
        match users {
            Users::None => false,
            Users::One(one) => one != project,
            Users::Several => true,
        }
    }

    /// After a pass: groups that were refused everything, as things are now, rest. Those that lack something else than
    /// room, and those that the allocation loop has to try first, are left to it.
    pub(crate) fn let_rest(&mut self) {
        for group in self.second.rests.awake().collect::<Vec<GroupIx>>() {
            let state = self.waiting.at(group);
            if state.verdict.is_none() || state.members.is_empty() || !self.may_be_helped(group) {
                self.second.rests.awake.remove(&group);
                continue;
            }
            let standing = self.second.rests.of(group);
            if std::mem::take(&mut standing.again) {
                *standing = Standing::default();
                continue;
            }
            if self.all_refused(group) {
                self.second.rests.rest(group, self.now);
            } else {
                self.second.rests.set_timer(group, self.now);
            }
        }
        for at in 0..self.second.rests.pools.len() {
            let stirs = self.pools.at(PoolIx::of(at)).stirs;
            self.second.rests.pools[at].seen = stirs;
        }
    }

    /// True if every means was refused a group in all its pools, and nothing it depends on has changed since.
    pub(crate) fn all_refused(&self, group: GroupIx) -> bool {
        self.pools_of(group).all(|pool| {
            let standing = self.second.rests.standing.get(group.i());
            let here = standing.and_then(|standing| standing.pools.iter().find(|known| known.pool == pool));
            here.is_some_and(|known| known.means == Means::ALL && known.stirs == self.stirs_for(group, pool))
        })
    }

    /// What a group wants, if others that want the same are refused for the same reasons; none for one that wants a
    /// topology domain or has pods running, and where pods are particular about other pods or room is held for somebody.
    pub(crate) fn kind_wanted(&self, group: GroupIx) -> Option<Kind> {
        let key = &self.waiting.at(group).key;
        let template = self.templates.at(key.template);
        let own = key.elastic || key.pool.is_some() || key.alone.is_some() || template.topology.is_some();
        if own || !self.contained(group) || self.holds.any() {
            return None;
        }
        let wanted = template.roles.iter().zip(&key.want).filter(|(_, want)| **want > 0);
        Some(wanted.map(|(role, want)| (role.shape, *want)).collect())
    }

    /// True if what is wanted was found not to fit as if all leaving pods were gone.
    pub(crate) fn no_room_later(&mut self, pool: PoolIx, kind: &Kind) -> bool {
        let shifts = self.pools.at(pool).shifts;
        self.second.rests.searched(pool, shifts).no_room_later.contains(kind)
    }

    /// Notes that what is wanted does not fit as if all leaving pods were gone.
    pub(crate) fn note_no_room_later(&mut self, pool: PoolIx, kind: Kind) {
        let shifts = self.pools.at(pool).shifts;
        self.second.rests.searched(pool, shifts).no_room_later.insert(kind);
    }

    /// Until when moves were found not to make room for what is wanted, if that still holds.
    pub(crate) fn no_moves(&mut self, pool: PoolIx, kind: &Kind) -> Option<NoMoves> {
        let (shifts, cycle, now) = (self.pools.at(pool).shifts, self.cycle, self.now);
        let known = self.second.rests.searched(pool, shifts).no_moves.get(kind).copied();
        known.filter(|found| {
            found.until.is_none_or(|until| until > now) && found.only_in.is_none_or(|only| only == cycle)
        })
    }

    /// Notes that no moves make room for what is wanted.
    pub(crate) fn note_no_moves(&mut self, pool: PoolIx, kind: Kind, found: NoMoves) {
        let shifts = self.pools.at(pool).shifts;
        self.second.rests.searched(pool, shifts).no_moves.insert(kind, found);
    }
}
