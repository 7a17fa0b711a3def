//! Which sets of victims are allowed (S21, S22), as layers from the mildest to the harshest.
//!
//! A [`Rule`] is one layer of one means. What has been taken so far in an attempt is kept per queue, so that one more
//! unit is judged without going through all of them.

use crate::Engine;
use crate::ix::{PoolIx, QueueIx, WorkloadIx};
use crate::org::{InPool, Triple, add};
use crate::victims::{Stream, Unit, UnitId};
use berth_model::{BudgetId, Cause, Millis, Priority, Quota};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// What a queue is measured by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// S22 (i).
    FairShare,
    /// S22 (ii).
    Quota,
}

/// One layer: whose pods may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// From other projects of at most this rank that are above a bound.
    Reclaim(Bound, i32),
    /// From the same project, of at most this priority.
    Preempt(Priority),
    /// From anybody in the pool, if they find another place.
    Consolidate,
}

impl Rule {
    /// What victims are told.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Reclaim(..) => Cause::Reclaim,
            Self::Preempt(_) => Cause::Preempt,
            Self::Consolidate => Cause::Consolidate,
        }
    }
}

/// Who looks for room, and by which rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hunt {
    pub(crate) beneficiary: WorkloadIx,
    pub(crate) project: QueueIx,
    pub(crate) department: QueueIx,
    pub(crate) pool: PoolIx,
    pub(crate) preemptible: bool,
    /// What the attempt asks of the quotas in all.
    pub(crate) ask: Triple,
    pub(crate) rule: Rule,
}

/// What has been taken from one queue.
#[derive(Clone, Debug, Default)]
struct FromQueue {
    /// Charges of the units, with the order in which they are judged.
    units: Vec<(Triple, UnitId)>,
    /// The one judged last.
    last: Option<(Triple, UnitId)>,
    /// Every one frees GPUs.
    all_gpu: bool,
    /// What they free together.
    freed: Triple,
}

/// All units taken in an attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) units: Vec<Unit>,
    by_queue: FxHashMap<QueueIx, FromQueue>,
    /// How many of the units are single pods, by workload.
    singles: FxHashMap<WorkloadIx, u32>,
    /// Pods taken, by disruption budget.
    by_budget: FxHashMap<BudgetId, u32>,
}

impl Taken {
    /// What of a workload was taken pod by pod.
    pub(crate) fn singles_of(&self, workload: WorkloadIx) -> impl Iterator<Item = &Unit> {
        let units = if self.singles.contains_key(&workload) { &self.units[..] } else { &[] };
        units.iter().filter(move |unit| unit.is_single_of(workload))
    }

    /// Takes a unit. A whole workload goes with its pods that were taken one by one before.
    pub(crate) fn push(&mut self, mut unit: Unit, department: Option<QueueIx>) {
        for queue in std::iter::once(unit.queue).chain(department) {
            let from = self
                .by_queue
                .entry(queue)
                .or_insert_with(|| FromQueue { all_gpu: true, ..FromQueue::default() });
            for (charge, id) in &unit.parts {
                from.units.push((*charge, *id));
                from.last = from.last.max(Some((*charge, *id)));
                from.all_gpu &= charge[0] > 0;
                add(&mut from.freed, *charge, 1);
            }
        }
        for (budget, pods) in &unit.disruption.pods {
            *self.by_budget.entry(*budget).or_default() += pods;
        }
        match unit.id {
            UnitId::Pod(pod) => *self.singles.entry(pod.workload).or_default() += 1,
            UnitId::Whole(workload) if self.singles.remove(&workload).is_some() => {
                let singles = self.units.extract_if(.., |other| other.is_single_of(workload));
                singles.for_each(|single| unit.absorb(single));
            }
            UnitId::Whole(_) => {}
        }
        self.units.push(unit);
    }

    /// How many pods of a budget are taken.
    pub(crate) fn disrupted(&self, budget: BudgetId) -> u32 {
        self.by_budget.get(&budget).copied().unwrap_or(0)
    }

    /// Gives a unit back.
    pub(crate) fn remove(&mut self, at: usize, department: Option<QueueIx>) -> Unit {
        let unit = self.units.remove(at);
        if let UnitId::Pod(pod) = unit.id
            && let Some(singles) = self.singles.get_mut(&pod.workload)
        {
            *singles -= 1;
            if *singles == 0 {
                self.singles.remove(&pod.workload);
            }
        }
        for (budget, pods) in &unit.disruption.pods {
            self.by_budget.entry(*budget).and_modify(|taken| *taken -= pods);
        }
        for queue in std::iter::once(unit.queue).chain(department) {
            let Some(from) = self.by_queue.get_mut(&queue) else { continue };
            add(&mut from.freed, unit.charge, -1);
            from.units.retain(|(_, id)| !unit.parts.iter().any(|(_, part)| part == id));
            from.last = from.units.iter().max().copied();
            from.all_gpu = from.units.iter().all(|(charge, _)| charge[0] > 0);
        }
        unit
    }
}

/// The bound of a queue per resource; none where it is not managed.
fn bound_of(here: &InPool, bound: Bound) -> [Option<i64>; 3] {
    let bounds = here.bounds();
    std::array::from_fn(|at| match (bounds[at].quota, bound) {
        (Quota::Unmanaged, _) if !bounds[at].managed() => None,
        (_, Bound::FairShare) => Some(here.share[at]),
        (Quota::Of(quota), Bound::Quota) => Some(quota),
        (Quota::Unmanaged | Quota::Unlimited, Bound::Quota) => Some(i64::MAX),
    })
}

impl Engine {
    /// True if a project may take back as much as it asks for in a pool, by one bound at least, as far as it is concerned
    /// itself.
    pub(crate) fn may_reclaim(&self, project: QueueIx, pool: PoolIx, ask: Triple, preemptible: bool) -> bool {
        [Bound::FairShare, Bound::Quota]
            .into_iter()
            .any(|b| self.stays_within(b, project, pool, ask, preemptible))
    }

    fn stays_within(
        &self,
        bound: Bound,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        preemptible: bool,
    ) -> bool {
        if self.org.at(project).id.is_none() {
            return false;
        }
        let here = self.org.in_pool(project, pool);
        let (own, quota) = (bound_of(here, bound), bound_of(here, Bound::Quota));
        (0..3).all(|at| {
            let within =
                |bound: Option<i64>| ask[at] == 0 || bound.is_none_or(|b| here.allocated[at] + ask[at] <= b);
            within(own[at]) && (preemptible || within(quota[at]))
        })
    }

    /// The layers of reclaim, mildest first: those in which somebody is above the bound. None if the reclaimer itself may
    /// not: one without a project has no quota.
    pub(crate) fn reclaim_rules(&mut self, hunt: &Hunt) -> Vec<Rule> {
        self.refresh_shares(hunt.pool);
        let mut rules: Vec<Rule> = Vec::new();
        for bound in [Bound::FairShare, Bound::Quota] {
            if !self.stays_within(bound, hunt.project, hunt.pool, hunt.ask, hunt.preemptible) {
                continue;
            }
            let any = Hunt { rule: Rule::Reclaim(bound, i32::MAX), ..*hunt };
            let streams =
                [false, true].into_iter().flat_map(|elastic| self.victims.streams(hunt.pool, elastic));
            let none = Taken::default();
            let above = streams.filter(|stream| self.stream_allowed(&any, &none, *stream));
            let mut ranks: Vec<i32> = above.map(|(queue, ..)| self.org.at(queue).rank).collect();
            ranks.sort_unstable();
            ranks.dedup();
            rules.extend(ranks.into_iter().map(|rank| Rule::Reclaim(bound, rank)));
        }
        rules
    }

    /// The layers of preempt, mildest first.
    pub(crate) fn preempt_rules(&self, hunt: &Hunt, priority: Priority) -> Vec<Rule> {
        let streams = |elastic| self.victims.streams(hunt.pool, elastic);
        let own = streams(false).chain(streams(true)).filter(|(queue, ..)| *queue == hunt.project);
        let mut lower: Vec<Priority> = own.map(|(_, p, _)| p).filter(|p| *p < priority).collect();
        lower.sort_unstable();
        lower.dedup();
        lower.into_iter().map(Rule::Preempt).collect()
    }

    /// True if pods of a stream may be victims at all by the rule, besides those taken already.
    pub(crate) fn stream_allowed(&self, hunt: &Hunt, taken: &Taken, (queue, priority, _): Stream) -> bool {
        match hunt.rule {
            Rule::Preempt(most) => queue == hunt.project && priority <= most,
            Rule::Consolidate => self.org.at(queue).id.is_some(),
            Rule::Reclaim(bound, rank) => {
                let state = self.org.at(queue);
                let above = |queue: QueueIx| {
                    let here = self.org.in_pool(queue, hunt.pool);
                    let bounds = bound_of(here, bound);
                    let freed = taken.by_queue.get(&queue).map_or([0; 3], |from| from.freed);
                    let before = |at: usize| here.allocated[at] + freed[at];
                    (0..3).any(|at| bounds[at].is_some_and(|bound| before(at) > bound))
                };
                queue != hunt.project && state.id.is_some() && state.rank <= rank && above(queue)
            }
        }
    }

    /// True if a unit may be stopped for the hunter: in its pool, nothing of it placed only now, past its minimum runtime,
    /// and not who replaced it of late. What only time forbids is noted for the timer.
    pub(crate) fn may_be_stopped(&mut self, hunt: &Hunt, unit: UnitId) -> bool {
        let workload = unit.workload();
        let state = self.workloads.at(workload.0);
        let (id, now) = (state.id, self.now);
        let template = self.templates.at(state.template);
        if workload == hunt.beneficiary || !template.preemptible || state.pool != Some(hunt.pool) {
            return false;
        }
        // Who lacks its minimum could not start anew elsewhere (S5).
        let whole = matches!(unit, UnitId::Whole(_));
        if hunt.rule == Rule::Consolidate && whole && state.lacks_minimum(template) {
            return false;
        }
        let is_fresh = match unit {
            UnitId::Pod(pod) => self.second.fresh.binary_search(&pod).is_ok(),
            UnitId::Whole(_) => {
                // In order: those of one workload stand together.
                let first = self.second.fresh.partition_point(|pod| pod.workload < workload);
                self.second.fresh.get(first).is_some_and(|pod| pod.workload == workload)
            }
        };
        if is_fresh {
            // Who has just been placed is no victim before the next cycle.
            self.second.again = true;
            return false;
        }
        let least = self.pools.spec(hunt.pool).min_runtime;
        let ran = self.running_time(workload);
        if ran < least {
            self.retry_at(now.plus(Millis(least.0 - ran.0)));
            return false;
        }
        match self.truce(hunt, id) {
            Some(until) => {
                self.retry_at(until);
                false
            }
            None => true,
        }
    }

    /// The department of a unit's project, if it is judged too: another than the reclaimer's.
    pub(crate) fn judged_department(&self, hunt: &Hunt, queue: QueueIx) -> Option<QueueIx> {
        let department = *self.org.at(queue).path.last()?;
        (matches!(hunt.rule, Rule::Reclaim(..)) && department != hunt.department).then_some(department)
    }

    /// True if the units may go besides those taken already, as far as their budgets (S20) and their own queues are
    /// concerned (S22). What was taken is already off the accounts.
    pub(crate) fn legal(&self, hunt: &Hunt, taken: &Taken, more: &[&Unit]) -> bool {
        if !self.budgets_allow(taken, more) {
            return false;
        }
        let Rule::Reclaim(bound, _) = hunt.rule else { return true };
        let mut queues: SmallVec<[QueueIx; 4]> = SmallVec::new();
        for unit in more {
            queues.push(unit.queue);
            queues.extend(self.judged_department(hunt, unit.queue));
        }
        queues.sort_unstable();
        queues.dedup();
        queues.iter().all(|queue| {
            let mine = |unit: &&&Unit| self.org.at(unit.queue).path.contains(queue);
            self.legal_for(*queue, hunt.pool, bound, taken.by_queue.get(queue), more.iter().filter(mine))
        })
    }

    fn legal_for<'a>(
        &self,
        queue: QueueIx,
        pool: PoolIx,
        bound: Bound,
        from: Option<&FromQueue>,
        more: impl Iterator<Item = &'a &'a Unit> + Clone,
    ) -> bool {
        let here = self.org.in_pool(queue, pool);
        let bounds = bound_of(here, bound);
        let mut left = here.allocated;
        more.clone().for_each(|unit| add(&mut left, unit.charge, -1));
        let parts = more.flat_map(|unit| unit.parts.iter().copied());
        let added = parts.clone().max();
        let last = from.and_then(|from| from.last).max(added);
        let all_gpu = from.is_none_or(|from| from.all_gpu) && parts.clone().all(|(charge, _)| charge[0] > 0);
        // The last one is the largest: if it finds the queue above its bound, so do all before it.
        if let (Some((last, _)), Some(gpu)) = (last, bounds[0])
            && all_gpu
            && left[0] + last[0] > gpu
        {
            return true;
        }
        if all_gpu && bounds[1].is_none() && bounds[2].is_none() {
            return false;
        }
        let mut all: Vec<(Triple, UnitId)> = from.map_or_else(Vec::new, |from| from.units.clone());
        all.extend(parts);
        canonical(&mut all);
        for (charge, _) in &all {
            add(&mut left, *charge, 1);
        }
        // What was taken earlier is off the account already.
        all.iter().all(|(charge, _)| {
            let above = |at: usize| charge[at] > 0 && bounds[at].is_some_and(|bound| left[at] > bound);
            let finds = (0..3).any(above);
            add(&mut left, *charge, -1);
            finds
        })
    }

    /// What victims of the own department must free besides, and what victims of the own project must: to pass a limit,
    /// and for reclaim to stay within the bound there (S20, S22). None if no victims can help.
    pub(crate) fn debts(&self, hunt: &Hunt, cost: Triple, rest: Triple) -> Option<[Triple; 2]> {
        let mut debts = [[0; 3]; 2];
        if self.org.at(hunt.project).id.is_none() {
            return Some(debts);
        }
        for (at, queue) in [hunt.project, hunt.department].into_iter().enumerate() {
            let here = self.org.in_pool(queue, hunt.pool);
            for (resource, bound) in here.bounds().into_iter().enumerate() {
                if !bound.managed() || cost[resource] == 0 {
                    continue;
                }
                if let Quota::Of(quota) = bound.quota
                    && !hunt.preemptible
                    && here.non_preemptible[resource] + cost[resource] > quota
                {
                    return None;
                }
                let after = here.allocated[resource] + cost[resource];
                let over_limit = bound.limit.map_or(0, |limit| after - limit);
                let over_bound = after.saturating_add(rest[resource]) - own_bound(hunt, here, resource);
                debts[at][resource] = over_limit.max(over_bound).max(0);
            }
        }
        let helpless = match hunt.rule {
            Rule::Reclaim(..) => debts[0] != [0; 3],
            Rule::Consolidate => debts != [[0; 3]; 2],
            Rule::Preempt(_) => false,
        };
        (!helpless).then_some(debts)
    }

    /// True if project and department are within their limits, and within what a reclaimer may use there, with all that
    /// the trial under way has placed.
    pub(crate) fn within_bounds(&self, hunt: &Hunt) -> bool {
        self.org.at(hunt.project).id.is_none()
            || [hunt.project, hunt.department].iter().all(|queue| {
                let here = self.org.in_pool(*queue, hunt.pool);
                (0..3).filter(|at| hunt.ask[*at] > 0).all(|at| {
                    let bound = here.bounds()[at];
                    let limit = bound.limit.unwrap_or(i64::MAX).min(own_bound(hunt, here, at));
                    let fixed = match bound.quota {
                        Quota::Of(quota) if !hunt.preemptible => here.non_preemptible[at] <= quota,
                        _ => true,
                    };
                    !bound.managed() || (here.allocated[at] <= limit && fixed)
                })
            })
    }

    /// What a unit pays of each debt.
    pub(crate) fn pays(&self, hunt: &Hunt, unit: &Unit) -> [Triple; 2] {
        let path = &self.org.at(unit.queue).path;
        [hunt.project, hunt.department].map(|queue| if path.contains(&queue) { unit.charge } else { [0; 3] })
    }
}

/// How much a queue of the reclaimer may use of a resource (S22).
fn own_bound(hunt: &Hunt, here: &InPool, resource: usize) -> i64 {
    let Rule::Reclaim(by, _) = hunt.rule else { return i64::MAX };
    let own = bound_of(here, by)[resource].unwrap_or(i64::MAX);
    let quota = bound_of(here, Bound::Quota)[resource].unwrap_or(i64::MAX);
    if hunt.preemptible { own } else { own.min(quota) }
}

/// Sorts units into the order in which they are judged: smaller first, and a whole workload after its own single pods.
fn canonical(units: &mut [(Triple, UnitId)]) {
    let mut largest: FxHashMap<WorkloadIx, Triple> = FxHashMap::default();
    for (charge, id) in units.iter() {
        if let UnitId::Pod(pod) = id {
            let known = largest.entry(pod.workload).or_insert(*charge);
            *known = (*known).max(*charge);
        }
    }
    units.sort_by_key(|(charge, id)| match id {
        UnitId::Pod(_) => (*charge, false, *id),
        UnitId::Whole(workload) => {
            let after = largest.get(workload).map_or(*charge, |own| (*own).max(*charge));
            (after, true, *id)
        }
    });
}
