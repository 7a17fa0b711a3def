//! The second pass (S10, S32): those who found no room look for it by stopping others.
//!
//! Three phases (reclaim, preempt, consolidate), each over all that still wait, in S8/S9 order. In a phase a group walks
//! its pools in order, and in each tries the means in order; a means of a later phase that would work makes it wait for
//! that phase. What is found is first played through on the live state, then undone and decided: evictions, and room
//! kept for the beneficiary (S23).
//! Costs: a group for which nothing was found is not looked at again until something has changed (S30).

use crate::Engine;
use crate::choose::Scope;
use crate::ix::{GroupIx, PodIx, PoolIx, WorkloadIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::org::{Triple, add};
use crate::reserve::Outcome;
use crate::room::Need;
use crate::search::Frontier;
use crate::turns::{Entry, Turns};
use berth_model::{Budget, Decision, GpuRequest, ReasonKind, Timestamp};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// The means, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Reclaim,
    Preempt,
    Consolidate,
}

/// What the last second pass has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecondPass {
    /// Workloads of which pods were placed in this cycle, and whether one of them would have been looked at.
    pub(crate) fresh: Vec<WorkloadIx>,
    pub(crate) again: bool,
    /// Grows with everything that changes outside of trials.
    pub(crate) stamp: u64,
    /// Sets of moves played through so far.
    pub(crate) plays: u64,
    /// The stamp at the end of the last pass, and the first time at which it could come out otherwise.
    done: Option<(u64, Timestamp)>,
    /// The same for the pass under way.
    retry: Option<Timestamp>,
}

impl Engine {
    /// What only time forbids now may work then.
    pub(crate) fn retry_at(&mut self, at: Timestamp) {
        let known = self.second.retry.unwrap_or(at);
        self.second.retry = Some(known.min(at));
    }

    /// When the second pass could come out otherwise although nothing happens.
    pub(crate) fn second_pass_timer(&self) -> Option<Timestamp> {
        self.second.done.map(|(_, until)| until).filter(|until| *until < Timestamp(i64::MAX))
    }

    /// Looks for room for all that still wait, by stopping others.
    pub(crate) fn take_back(&mut self, budget: Budget, decisions: &mut Vec<Decision>) {
        if self.second.done.is_some_and(|(stamp, until)| stamp == self.second.stamp && self.now < until) {
            return;
        }
        self.second.retry = None;
        self.second.fresh.sort_unstable();
        let mut steps = budget.steps;
        for phase in [Phase::Reclaim, Phase::Preempt, Phase::Consolidate] {
            self.phase(phase, &mut steps, decisions);
        }
        if steps > 0 && !std::mem::take(&mut self.second.again) {
            let until = self.second.retry.unwrap_or(Timestamp(i64::MAX));
            self.second.done = Some((self.second.stamp, until));
        }
    }

    fn phase(&mut self, phase: Phase, steps: &mut u64, decisions: &mut Vec<Decision>) {
        let mut turns = Turns::default();
        let mut entered: FxHashMap<GroupIx, Entry> = FxHashMap::default();
        for group in self.waiting.parked() {
            if let Some(entry) = self.waiting.at(group).entry_of(group).filter(|_| self.may_be_helped(group))
            {
                turns.insert(self.waiting.at(group).queue, entry);
                entered.insert(group, entry);
            }
        }
        self.rank_all(&mut turns);
        while let Some(group) = turns.next().filter(|_| *steps > 0) {
            *steps -= 1;
            let project = self.waiting.at(group).queue;
            if let Some(entry) = entered.remove(&group) {
                turns.remove(project, &entry);
            }
            // Evictions may have changed who is in the group.
            let Some((_, _, workload)) = self.waiting.at(group).first() else {
                self.rank(&mut turns, project);
                continue;
            };
            if !self.help(group, phase, decisions) {
                self.rank(&mut turns, project);
                continue;
            }
            // The next member, and what the workload wants next, which has not been tried in this cycle.
            let parked = self.waiting.at(group).verdict.is_some().then_some(group);
            let more = self.workloads.at(workload.0).groups.clone();
            for next in more.into_iter().chain(parked) {
                if let Some(entry) = self.waiting.at(next).entry_of(next)
                    && !entered.contains_key(&next)
                {
                    turns.insert(project, entry);
                    entered.insert(next, entry);
                }
            }
            self.rank_all(&mut turns);
        }
    }

    /// True if room is what a parked group lacks.
    fn may_be_helped(&self, group: GroupIx) -> bool {
        let Some((said, _)) = &self.waiting.at(group).verdict else { return false };
        said.iter().any(|said| {
            matches!(said.reason.kind(), ReasonKind::Capacity | ReasonKind::Limit | ReasonKind::Feasibility)
        })
    }

    /// True if the first member of a group fits into free room by now: then it starts in the next cycle.
    fn fits_now(&mut self, group: GroupIx) -> bool {
        let pools: SmallVec<[PoolIx; 4]> = self.pools_of(group).collect();
        let fits = pools.into_iter().any(|pool| self.try_pool(group, pool).is_ok());
        self.roll_back();
        fits
    }

    /// Finds room for the first member of a group, if its time has come; true if it did.
    fn help(&mut self, group: GroupIx, phase: Phase, decisions: &mut Vec<Decision>) -> bool {
        let tried = self.waiting.at(group).verdict.is_some() && self.neighbours.idle();
        if !tried && self.fits_now(group) {
            return false;
        }
        let said = self.waiting.at(group).verdict.as_ref().map(|(said, _)| said.clone()).unwrap_or_default();
        if let Some(pool) = self.fits_later(group, &said) {
            self.keep_leaving(group, pool, decisions);
            return true;
        }
        let pools: SmallVec<[PoolIx; 4]> = self.pools_of(group).collect();
        for (at, pool) in pools.iter().copied().enumerate() {
            for means in [Phase::Reclaim, Phase::Preempt, Phase::Consolidate] {
                // Later means matter now only if they come before another pool.
                if means > phase && at + 1 == pools.len() {
                    break;
                }
                let Some((outcome, rule, awaits)) = self.try_means(group, pool, means) else { continue };
                if means > phase {
                    return false;
                }
                let (_, _, workload) = self.waiting.at(group).first().expect("a group with members");
                self.keep_room(workload, &outcome, rule.cause(), awaits, decisions);
                return true;
            }
        }
        false
    }

    /// Tries one means in one pool, layer by layer. The state is unchanged afterwards.
    fn try_means(
        &mut self,
        group: GroupIx,
        pool: PoolIx,
        means: Phase,
    ) -> Option<(Outcome, Rule, Vec<PodIx>)> {
        let hunt = self.hunt_of(group, pool)?;
        let waiting = self.waiting.at(group);
        let template = self.templates.at(waiting.key.template);
        let priority = template.priority;
        let possible = match means {
            Phase::Reclaim => self.others_use(&hunt),
            Phase::Preempt => {
                let lowest = self.org.at(hunt.project).priorities.first_key_value();
                lowest.is_some_and(|(lowest, _)| *lowest < priority)
            }
            Phase::Consolidate => !self.consolidate_rules(&hunt).is_empty(),
        };
        if !possible {
            return None;
        }
        self.refresh_victims(pool);
        if !self.could_be_cleared(group, pool) {
            return None;
        }
        let rules = match means {
            Phase::Reclaim => self.reclaim_rules(&hunt),
            Phase::Preempt => self.preempt_rules(&hunt, priority),
            Phase::Consolidate => self.consolidate_rules(&hunt),
        };
        for rule in rules {
            let hunt = Hunt { rule, ..hunt };
            if let Some(found) = self.try_rule(group, &hunt) {
                return Some((found.0, rule, found.1));
            }
        }
        None
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

    /// True if another project uses anything of the pool.
    fn others_use(&self, hunt: &Hunt) -> bool {
        let departments = self.org.departments().iter();
        let mut projects = departments.flat_map(|department| self.org.children(*department));
        projects.any(|project| {
            project != hunt.project && self.org.in_pool(project, hunt.pool).allocated != [0; 3]
        })
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

    /// Plays one layer through, in the domains of the required topology if there is one.
    fn try_rule(&mut self, group: GroupIx, hunt: &Hunt) -> Option<(Outcome, Vec<PodIx>)> {
        let awaits = self.bound_by_leaving(group, hunt.pool);
        self.lift_leaving(hunt.pool);
        let key = &self.waiting.at(group).key;
        let topology = self.templates.at(key.template).topology.clone();
        let scopes: Vec<Scope> = match topology.filter(|topology| topology.required && !key.elastic) {
            None => vec![Scope::Everywhere],
            Some(topology) => {
                let (level, _) = self.topologies.intern(&topology.key);
                let values = &self.topologies.at(level).values;
                let mut domains: Vec<u32> = (0..values.len() as u32).collect();
                domains.sort_by(|a, b| values[*a as usize].cmp(&values[*b as usize]));
                domains.retain(|domain| self.may_complete(group, level, *domain));
                domains.into_iter().map(|domain| Scope::Domain(level, domain)).collect()
            }
        };
        let mark = self.trial.len();
        for scope in scopes {
            let found = self.play(group, hunt, scope);
            if found {
                return Some((self.conclude(), awaits));
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
            for (at, pod) in pods.iter().enumerate() {
                add(&mut rest, one, -1);
                let [pod, next] = [Some(pod), pods.get(at + 1)]
                    .map(|pod| pod.map(|pod| PodIx { workload: hunt.beneficiary, pod: *pod }));
                let Some(pod) = pod else { break };
                if !self.place_one(hunt, (pod, next), (one, rest), scope, &mut taken, &mut frontier) {
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

    /// Places one pod, stopping whom it must; the next one is alike. `one` is what it asks of the quotas, `rest` what
    /// comes after it does.
    fn place_one(
        &mut self,
        hunt: &Hunt,
        (pod, next): (PodIx, Option<PodIx>),
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
            return true;
        }
        let found = match free {
            Some(choice) => {
                let elsewhere = self.units_elsewhere(hunt, &need);
                self.best_on(hunt, taken, &need, choice.node, &elsewhere).map(|set| (choice.node, set))
            }
            None => self.best_set(hunt, taken, &need, scope, frontier),
        };
        let Some((node, set)) = found else { return false };
        let mut changed: Vec<crate::ix::NodeIx> = vec![node];
        for unit in set.units {
            changed.extend(self.nodes_of(&unit));
            unit.pods.iter().for_each(|pod| self.try_lift(*pod));
            let department = self.judged_department(hunt, unit.queue);
            taken.push(unit, department);
        }
        let strategy = self.pools.spec(hunt.pool).device;
        let gpu = self.shapes.at(kind.0).gpu;
        let Some(gpus) = self.nodes.at(node.0).devices.choose(gpu, strategy) else { return false };
        self.try_put(pod, node, gpus);
        if let Some(pod) = next {
            changed.sort_unstable();
            changed.dedup();
            self.look_again(hunt, taken, &Need { pod, ..need }, frontier, &changed);
        }
        true
    }
}

/// One pod of a role.
fn one_of(role: usize) -> impl Iterator<Item = i64> {
    (0..=role).map(move |at| i64::from(at == role))
}
