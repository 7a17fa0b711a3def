//! The second pass (S10, S32): those who found no room look for it by stopping others.
//!
//! Three phases (reclaim, preempt, consolidate), each over all that still wait, in S8/S9 order. In a phase a group walks
//! its pools in order, and in each tries the means in order; a means of a later phase that would work makes it wait for
//! that phase. What is found is first played through on the live state, then undone and decided: evictions, and room
//! kept for the beneficiary (S23).
//! Costs: a group for which nothing was found is not tried again until something that it depends on has changed: see
//! [`crate::rest`] (S30). If nobody is to be tried, a phase costs a look at each that has been woken. What the order of the
//! turns costs, see [`crate::round`].

use crate::Engine;
use crate::choose::Scope;
use crate::ix::{GroupIx, PodIx, PoolIx, WorkloadIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::org::{Triple, add};
use crate::reserve::Outcome;
use crate::rest::{Hope, Means, NoMoves, Rests};
use crate::room::Need;
use crate::search::Frontier;
use crate::waiting::{Member, Said};
use berth_model::{Budget, Cause, Decision, GpuRequest, Reason, ReasonKind, Timestamp};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// The means, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Reclaim,
    Preempt,
    Consolidate,
}

impl Phase {
    /// What is refused if it does not work.
    fn as_means(self) -> Means {
        match self {
            Self::Reclaim => Means::Reclaim,
            Self::Preempt => Means::Preempt,
            Self::Consolidate => Means::Consolidate,
        }
    }
}

/// What the last second pass has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecondPass {
    /// Pods that were placed in this cycle, and whether one of them would have been looked at.
    pub(crate) fresh: Vec<PodIx>,
    pub(crate) again: bool,
    /// Grows with everything that changes outside of trials.
    pub(crate) stamp: u64,
    /// Sets of moves played through so far.
    pub(crate) plays: u64,
    /// When what only time forbids in the search under way may work.
    retry: Option<Timestamp>,
    /// Who is to be looked at.
    pub(crate) rests: Rests,
    /// Workloads that were evicted for somebody, of late or longer ago (S25).
    pub(crate) evicted: BTreeSet<WorkloadIx>,
    /// Groups that workloads have left or joined since the last turn, and which.
    pub(crate) touched: Vec<(GroupIx, WorkloadIx)>,
}

impl Engine {
    /// What only time forbids now may work then.
    pub(crate) fn retry_at(&mut self, at: Timestamp) {
        let known = self.second.retry.unwrap_or(at);
        self.second.retry = Some(known.min(at));
    }

    /// When the second pass could come out otherwise although nothing happens.
    pub(crate) fn second_pass_timer(&self) -> Option<Timestamp> {
        self.second.rests.timer()
    }

    /// Looks for room for all that still wait, by stopping others.
    pub(crate) fn take_back(&mut self, budget: Budget, decisions: &mut Vec<Decision>) {
        self.rouse();
        if self.second.rests.all_rest() && self.waiting.turns.is_empty() {
            return;
        }
        self.second.fresh.sort_unstable();
        self.forget_old_evictions();
        let mut steps = budget.steps;
        for phase in [Phase::Reclaim, Phase::Preempt, Phase::Consolidate] {
            self.phase(phase, &mut steps, decisions);
        }
        self.let_rest();
    }

    fn phase(&mut self, phase: Phase, steps: &mut u64, decisions: &mut Vec<Decision>) {
        // As long as nobody is helped, nothing changes.
        if self.groups_to_try().all(|group| self.all_refused(group)) {
            return;
        }
        let mut round = self.begin_round();
        while let Some(entry) = round.next_entry().filter(|_| *steps > 0) {
            let group = entry.5;
            let member = self.member_of(&entry);
            let tried = round.is_open(group) && self.may_be_helped(group) && !self.all_refused(group);
            *steps -= u64::from(tried);
            self.waiting.at_mut(group).acting = Some(member);
            let found = if tried { self.help(group, phase) } else { None };
            if let Some((outcome, cause)) = &found {
                self.complete_round(&mut round, &entry);
                self.keep_room(member.2, outcome, *cause, decisions);
            }
            self.waiting.at_mut(group).acting = None;
            match found {
                Some(_) => self.continue_round(&mut round, group),
                None => self.refuse_turn(&mut round, &entry),
            }
        }
    }

    /// True if room is what a group lacks, as far as is known.
    pub(crate) fn may_be_helped(&self, group: GroupIx) -> bool {
        let Some((said, _)) = &self.waiting.at(group).verdict else { return true };
        said.iter().any(|said| match said.reason.kind() {
            ReasonKind::Capacity | ReasonKind::Limit | ReasonKind::Feasibility => true,
            ReasonKind::Quota => !self.reservations.leaving.is_empty(),
            ReasonKind::Policy | ReasonKind::Pool | ReasonKind::Waiting => false,
        })
    }

    /// True if a group was refused by the allocation loop, and what has been placed since cannot have let it fit. Who is
    /// bound by a hold depends on what is used (decision 0003).
    fn fits_no_more(&self, group: GroupIx) -> bool {
        let held = |said: &Said| matches!(said.reason, Reason::Held { .. });
        let refused = self.waiting.at(group).verdict.as_ref().is_some_and(|(said, _)| !said.iter().any(held));
        refused && self.neighbours.idle() && !self.holds.gave_up_in(self.cycle)
    }

    /// True if the first member of a group fits into free room by now: then it starts in the next cycle.
    fn fits_now(&mut self, group: GroupIx) -> bool {
        let pools: SmallVec<[PoolIx; 4]> = self.pools_of(group).collect();
        let fits = pools.into_iter().any(|pool| self.try_pool(group, pool).is_ok());
        self.roll_back();
        fits
    }

    /// Finds room for the first member of a group, if its time has come. The state is unchanged afterwards.
    fn help(&mut self, group: GroupIx, phase: Phase) -> Option<(Outcome, Cause)> {
        if !self.fits_no_more(group) && self.fits_now(group) {
            return None;
        }
        if self.fits_later(group).is_some() {
            let (_, _, workload) = self.waiting.at(group).first().expect("a group with members");
            return Some((self.conclude(workload), Cause::Reclaim));
        }
        let pools: SmallVec<[PoolIx; 4]> = self.pools_of(group).collect();
        for (at, pool) in pools.iter().copied().enumerate() {
            for means in [Phase::Reclaim, Phase::Preempt, Phase::Consolidate] {
                // Later means matter now only if they come before another pool.
                if means > phase && at + 1 == pools.len() {
                    self.refuse_impossible(group, pool, means);
                    continue;
                }
                let Some((outcome, rule)) = self.means_for(group, pool, means) else { continue };
                return (means <= phase).then(|| (outcome, rule.cause()));
            }
        }
        None
    }

    /// Tries one means in one pool, unless that was refused and the refusal stands. Whoever may stop fewer than others of the
    /// group is refused what they are (S25), and what it is refused says nothing about them, if there are any.
    fn means_for(&mut self, group: GroupIx, pool: PoolIx, means: Phase) -> Option<(Outcome, Rule)> {
        if self.refusal_stands(group, pool, means.as_means()) {
            return None;
        }
        (self.second.retry, self.second.again) = (None, false);
        match self.try_means(group, pool, means) {
            Ok(found) => Some(found),
            Err(hope) => {
                self.refuse_means(group, pool, means, hope);
                self.refused_until(group, self.second.retry, self.second.again);
                None
            }
        }
    }

    /// Refuses a means whose phase is still to come, if it is out of the question.
    fn refuse_impossible(&mut self, group: GroupIx, pool: PoolIx, means: Phase) {
        if !self.refusal_stands(group, pool, means.as_means())
            && let Err(hope) = self.possible_hunt(group, pool, means)
        {
            self.refuse_means(group, pool, means, hope);
        }
    }

    fn refuse_means(&mut self, group: GroupIx, pool: PoolIx, means: Phase, hope: Option<Hope>) {
        // What MiB of a device are charged depends on the pool's devices.
        let waiting = self.waiting.at(group);
        let by_devices = self.asks_for_memory(self.templates.at(waiting.key.template));
        let hope = hope.map(|hope| if by_devices { Hope::Pool(pool) } else { hope });
        let alone = waiting.members.len() == 1;
        let plain = |(_, _, first): Member| self.may_not_stop(first).is_empty();
        if alone || waiting.first().is_some_and(plain) {
            self.refuse(group, pool, means.as_means(), hope);
        }
    }

    /// Tries one means in one pool, layer by layer. The state is unchanged afterwards. If nothing is found: what could
    /// change that.
    fn try_means(
        &mut self,
        group: GroupIx,
        pool: PoolIx,
        means: Phase,
    ) -> Result<(Outcome, Rule), Option<Hope>> {
        let any = Some(Hope::Pool(pool));
        let hunt = self.possible_hunt(group, pool, means)?;
        self.refresh_victims(pool);
        if !self.could_be_cleared(group, pool) {
            return Err(any);
        }
        let kind = self.kind_wanted(group).filter(|_| means == Phase::Consolidate);
        if let Some(found) = kind.as_ref().and_then(|kind| self.no_moves(pool, kind)) {
            (self.second.retry, self.second.again) = (found.until, found.only_in.is_some());
            return Err(any);
        }
        let rules = match means {
            Phase::Reclaim => self.reclaim_rules(&hunt),
            Phase::Preempt => self.preempt_rules(&hunt, self.waiting.at(group).priority),
            Phase::Consolidate => self.consolidate_rules(&hunt),
        };
        for rule in rules {
            let hunt = Hunt { rule, ..hunt };
            if let Some(found) = self.try_rule(group, &hunt) {
                return Ok((found, rule));
            }
        }
        if let Some(kind) = kind.filter(|_| self.nothing_but_room(&hunt)) {
            let only_in = self.second.again.then_some(self.cycle);
            self.note_no_moves(pool, kind, NoMoves { until: self.second.retry, only_in });
        }
        Err(any)
    }

    /// Who looks for room, unless it is clear without looking that there is none to be found.
    fn possible_hunt(&mut self, group: GroupIx, pool: PoolIx, means: Phase) -> Result<Hunt, Option<Hope>> {
        let hunt = self.hunt_of(group, pool).ok_or(Some(Hope::Pool(pool)))?;
        self.is_possible(&hunt, group, means)?;
        Ok(hunt)
    }

    /// What can be said without looking for victims; what could change it, if a means is out of the question.
    fn is_possible(&mut self, hunt: &Hunt, group: GroupIx, means: Phase) -> Result<(), Option<Hope>> {
        let priority = self.waiting.at(group).priority;
        match means {
            Phase::Reclaim => {
                if !self.users_but(self.users_of(hunt.pool), hunt.project) {
                    return Err(Some(Hope::Others(hunt.pool, hunt.project)));
                }
                self.refresh_shares(hunt.pool);
                let may = self.may_reclaim(hunt.project, hunt.pool, hunt.ask, hunt.preemptible);
                let own = Hope::Own(hunt.pool, hunt.project, hunt.ask, hunt.preemptible);
                if may { Ok(()) } else { Err(Some(own)) }
            }
            Phase::Preempt => {
                let lowest = self.org.at(hunt.project).priorities.first_key_value();
                let lower = lowest.is_some_and(|(lowest, _)| *lowest < priority);
                if lower { Ok(()) } else { Err(Some(Hope::Lower(hunt.project, priority))) }
            }
            Phase::Consolidate => {
                if !self.consolidate_rules(hunt).is_empty() {
                    return Ok(());
                }
                // The pool's settings do not change without everybody looking again.
                Err(self.lacks_for_moves(hunt))
            }
        }
    }

    /// True if all that a failed search says is that there was no room: others who want the same would find none either.
    fn nothing_but_room(&self, hunt: &Hunt) -> bool {
        let gate = self.org.gate(hunt.project, hunt.pool, hunt.ask, hunt.preemptible);
        gate.is_ok() && self.may_not_stop(hunt.beneficiary).is_empty()
    }

    /// False if not even without everybody who may be stopped there would be devices for all that the group wants.
    fn could_be_cleared(&mut self, group: GroupIx, pool: PoolIx) -> bool {
        let key = self.waiting.at(group).key.clone();
        for (role, want) in key.want.iter().enumerate().filter(|(_, want)| **want > 0) {
            let shape = self.templates.at(key.template).roles[role].shape;
            let GpuRequest::Whole(count) = self.shapes.at(shape).gpu else { continue };
            self.classes.prepare(&self.shapes, shape, pool);
            let tiers = self.classes.tiers(shape, pool).iter().flat_map(|tier| &tier.classes);
            let room: u64 = tiers.map(|class| self.victims.clearable_for(pool, *class, count)).sum();
            if room < u64::from(*want) {
                return false;
            }
        }
        true
    }

    /// Who looks for room for the first member of a group. None if no victims could help it there.
    fn hunt_of(&self, group: GroupIx, pool: PoolIx) -> Option<Hunt> {
        let waiting = self.waiting.at(group);
        let template = self.templates.at(waiting.key.template);
        if self.pools.at(pool).usable == 0 || self.policy(template).is_some() {
            return None;
        }
        let (_, _, beneficiary) = waiting.first()?;
        let department = *self.org.at(template.queue).path.last()?;
        Some(Hunt {
            beneficiary,
            project: template.queue,
            department,
            pool,
            preemptible: template.preemptible,
            ask: self.ask(template, &waiting.key.want, pool),
            rule: Rule::Consolidate,
        })
    }

    /// Plays one layer through, in the domains of the topology if there is one, then everywhere if it is not required.
    fn try_rule(&mut self, group: GroupIx, hunt: &Hunt) -> Option<Outcome> {
        self.heed_hold(group, hunt.pool, false);
        self.lift_leaving(hunt.pool);
        let key = &self.waiting.at(group).key;
        let topology = self.templates.at(key.template).topology.clone();
        let scopes: Vec<Scope> = match topology.filter(|_| !key.elastic) {
            None => vec![Scope::Everywhere],
            Some(topology) => {
                let (level, _) = self.topologies.intern(&topology.key);
                let values = &self.topologies.at(level).values;
                let mut domains: Vec<u32> = (0..values.len() as u32).collect();
                domains.sort_by(|a, b| values[*a as usize].cmp(&values[*b as usize]));
                domains.retain(|domain| self.may_complete(group, level, *domain));
                let everywhere = (!topology.required).then_some(Scope::Everywhere);
                let domains = domains.into_iter().map(|domain| Scope::Domain(level, domain));
                domains.chain(everywhere).collect()
            }
        };
        let mark = self.trial.len();
        for scope in scopes {
            let found = self.play(group, hunt, scope);
            if found {
                return Some(self.conclude(hunt.beneficiary));
            }
            self.roll_back_to(mark);
        }
        self.roll_back();
        None
    }

    /// Places all that the first member of a group wants, stopping whom it must. On success the trial stands.
    fn play(&mut self, group: GroupIx, hunt: &Hunt, scope: Scope) -> bool {
        let key = &self.waiting.at(group).key;
        let (template, want) = (key.template, key.want.clone());
        let mut taken = Taken::default();
        let mut rest = hunt.ask;
        for role in self.hardest_first(template, &want) {
            let workload = self.workloads.at(hunt.beneficiary.0);
            let waiting = workload.waiting(self.templates.at(template), role).take(want[role] as usize);
            let pods: SmallVec<[u32; 8]> = waiting.collect();
            let one = self.ask_of(self.templates.at(template), one_of(role), hunt.pool);
            let mut frontier = Frontier::default();
            for pod in pods {
                add(&mut rest, one, -1);
                let pod = PodIx { workload: hunt.beneficiary, pod };
                if !self.place_one(hunt, pod, (one, rest), scope, &mut taken, &mut frontier) {
                    return false;
                }
            }
        }
        // What MiB of a device are charged is known only now.
        if !self.within_bounds(hunt) {
            return false;
        }
        self.put_back(hunt, &mut taken, scope);
        hunt.rule != Rule::Consolidate || self.replace_moved(hunt, &taken)
    }

    /// Places one pod, stopping whom it must. `one` is what it asks of the quotas, `rest` what comes after it does.
    fn place_one(
        &mut self,
        hunt: &Hunt,
        pod: PodIx,
        (one, rest): (Triple, Triple),
        scope: Scope,
        taken: &mut Taken,
        frontier: &mut Frontier,
    ) -> bool {
        let kind = self.kind_of(pod);
        let Some(debts) = self.debts(hunt, one, rest) else { return false };
        let need = Need { pod, kind, debts };
        let free = self.choose(pod, hunt.pool, scope);
        let indebted = debts != [[0; 3]; 2];
        if let Some(choice) = free.filter(|_| !indebted) {
            self.try_put(pod, choice.node, choice.gpus);
            frontier.changed.push(choice.node);
            return true;
        }
        let found = match free {
            Some(choice) => {
                let mut elsewhere = self.units_elsewhere(hunt, taken, &need);
                self.best_on(hunt, taken, &need, choice.node, &mut elsewhere).map(|set| (choice.node, set))
            }
            None => self.best_set(hunt, taken, &need, scope, frontier),
        };
        let Some((node, set)) = found else { return false };
        frontier.changed.push(node);
        for unit in set.units {
            frontier.changed.extend(self.nodes_of(&unit));
            unit.pods.iter().for_each(|pod| self.try_lift(*pod));
            let department = self.judged_department(hunt, unit.queue);
            taken.push(unit, department);
        }
        let strategy = self.pools.spec(hunt.pool).device;
        let gpu = self.shapes.at(kind.0).gpu;
        let Some(gpus) = self.nodes.at(node.0).devices.choose(gpu, strategy) else { return false };
        self.try_put(pod, node, gpus);
        true
    }
}

/// One pod of a role.
fn one_of(role: usize) -> impl Iterator<Item = i64> {
    (0..=role).map(move |at| i64::from(at == role))
}
