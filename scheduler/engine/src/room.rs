//! The best set of victims that makes room for one pod on one node (S20): exact, by branch and bound.
//!
//! Items are the units with pods on the node, and, if a limit or a bound is to be passed, units of the queues concerned
//! elsewhere. They are decided one after the other, most recently started first, "stopped" before "kept"; all that is
//! undecided counts as gone for the question whether the pod fits, so that a branch ends as soon as it cannot lead
//! anywhere. Costs are added up as vectors; a branch also ends when its cost, with the least that its missing devices can
//! still cost, reaches the best known.
//! Costs: most nodes are decided in a handful of steps; a node gets at most [`STEPS`], after which the best set found
//! counts (the search stays deterministic, the set minimal).

use crate::Engine;
use crate::consolidate::Turn;
use crate::ix::{NodeIx, PodIx, ShapeIx, WorkloadIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::node::hold;
use crate::org::{Triple, add};
use crate::victims::{Cost, Unit, UnitId};
use crate::workload::Stage;
use berth_model::{DeviceMask, GpuRequest, NodeId, PodId, Timestamp};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Decisions per node.
const STEPS: u32 = 20_000;
/// Sets of moves that are played through per node (S26).
const MOVES: u32 = 256;
/// Units elsewhere that are looked at to pass a limit.
pub(crate) const ELSEWHERE: usize = 16;

/// What is compared between sets of victims inside a layer (S20); the least is best.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SetKey {
    pub(crate) cost: Cost,
    /// The victims' pods, most recently started first, then by id.
    pub(crate) order: Vec<(Reverse<Timestamp>, PodId)>,
    pub(crate) node: NodeId,
}

/// Units that can matter on a node without being there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elsewhere {
    /// By rules about other pods, and exclusive volumes (S11).
    pub(crate) about: Vec<UnitId>,
    /// Under the limits and bounds that are to be passed, once they are asked for.
    pub(crate) debtors: Option<Vec<UnitId>>,
}

/// Victims for one pod on one node.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) key: SetKey,
    pub(crate) units: Vec<Unit>,
    /// It is the best for the room alone, all sets of units on the node considered, and nothing elsewhere can matter.
    lasting: bool,
}

/// The pod that needs room, and what else must be freed for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) pod: PodIx,
    pub(crate) kind: (ShapeIx, u32),
    /// Of units of the own project, and of the own department.
    pub(crate) debts: [Triple; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Undecided,
    Stopped,
    Kept,
}

/// The search on one node.
struct Search<'a> {
    hunt: &'a Hunt,
    taken: &'a Taken,
    need: &'a Need,
    node: NodeIx,
    items: Vec<Unit>,
    places: Vec<PlaceOn>,
    /// What each pays of the debts.
    pays: Vec<[Triple; 2]>,
    states: Vec<State>,
    steps: u32,
    /// Sets of moves that may still be played through.
    moves: u32,
    /// Of each unit that may be moved: whose turn it is, and what it is, if nothing else matters to where it finds a place.
    alike: Vec<Option<(Turn, (ShapeIx, u32))>>,
    /// Sets of such units that found no places.
    nowhere: FxHashSet<SmallVec<[(ShapeIx, u32); 8]>>,
    best: Option<SetKey>,
    best_states: Vec<State>,
    /// Whether the pod fits may depend on who stays (affinity, spread), so that nothing is known before all is decided.
    fickle: bool,
    /// Every unit is one pod, so that the first of several equally dear sets is the best.
    single: bool,
}

impl Engine {
    /// The best legal set that makes room for the pod on the node. Units elsewhere are considered only if the best set
    /// for the room alone does not pay the debts.
    pub(crate) fn best_on(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        node: NodeIx,
        elsewhere: &mut Elsewhere,
    ) -> Option<Set> {
        if need.debts == [[0; 3]; 2] {
            return self.best_of_items(hunt, taken, need, node, &elsewhere.about);
        }
        if !self.could_pay(hunt, need, node, &elsewhere.about) {
            let all = self.with_debtors(hunt, taken, need, elsewhere);
            if !self.could_pay(hunt, need, node, &all) {
                return None;
            }
        }
        let room_alone = Need { debts: [[0; 3]; 2], ..*need };
        let set = self.best_of_items(hunt, taken, &room_alone, node, &elsewhere.about)?;
        if self.pay_all(hunt, need, &set.units) {
            return Some(set);
        }
        let all = self.with_debtors(hunt, taken, need, elsewhere);
        let set = self.best_of_items(hunt, taken, need, node, &all)?;
        Some(Set { lasting: false, ..set })
    }

    /// All units that can matter on a node without being there.
    fn with_debtors(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        elsewhere: &mut Elsewhere,
    ) -> Vec<UnitId> {
        let debtors = elsewhere.debtors.take().unwrap_or_else(|| self.debtors(hunt, taken, need));
        let all = [&elsewhere.about[..], &debtors].concat();
        elsewhere.debtors = Some(debtors);
        all
    }

    /// False if the debts would not be paid even if all went that have pods on a node or are elsewhere.
    fn could_pay(&self, hunt: &Hunt, need: &Need, node: NodeIx, elsewhere: &[UnitId]) -> bool {
        let here = self.nodes.at(node.0).pods.iter().map(|pod| pod.workload);
        let those = elsewhere.iter().map(|id| id.workload());
        let mut workloads: SmallVec<[WorkloadIx; 32]> = here.chain(those).collect();
        workloads.sort_unstable();
        workloads.dedup();
        let mut paid = [[0; 3]; 2];
        for workload in workloads {
            let state = self.workloads.at(workload.0);
            let path = &self.org.at(self.templates.at(state.template).queue).path;
            let charge = state.placed().fold([0; 3], |mut sum, pod| {
                let pod = PodIx { workload, pod };
                let Some(there) = self.pod(pod).node else { return sum };
                add(&mut sum, self.cost(self.kind_of(pod).0, there, self.pod(pod).gpus), 1);
                sum
            });
            for (queue, paid) in [hunt.project, hunt.department].iter().zip(&mut paid) {
                if path.contains(queue) {
                    add(paid, charge, 1);
                }
            }
        }
        covers(&paid, &need.debts)
    }

    /// True if these units pay the debts.
    fn pay_all(&self, hunt: &Hunt, need: &Need, units: &[Unit]) -> bool {
        let mut paid = [[0; 3]; 2];
        for unit in units {
            let pays = self.pays(hunt, unit);
            paid.iter_mut().zip(pays).for_each(|(sum, more)| add(sum, more, 1));
        }
        covers(&paid, &need.debts)
    }

    /// True if a set found earlier in an attempt, on a node that has not changed since, is still the best there. The more
    /// is taken the fewer sets are legal, and of units that have not changed none gets cheaper.
    pub(crate) fn lasts(&self, hunt: &Hunt, taken: &Taken, need: &Need, set: &Set) -> bool {
        let as_it_was = |unit: &Unit| taken.singles_of(unit.id.workload()).next().is_none();
        let units: SmallVec<[&Unit; 8]> = set.units.iter().collect();
        set.lasting
            && set.units.iter().all(as_it_was)
            && self.pay_all(hunt, need, &set.units)
            && self.legal(hunt, taken, &units)
    }

    fn best_of_items(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        node: NodeIx,
        elsewhere: &[UnitId],
    ) -> Option<Set> {
        let mut ids: Vec<UnitId> = elsewhere.to_vec();
        for pod in &self.nodes.at(node.0).pods {
            if self.pod(*pod).stage == Stage::Placed {
                ids.extend(self.units_of(*pod));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| {
            let workload = id.workload();
            let template = self.templates.at(self.workloads.at(workload.0).template);
            let stream = (template.queue, template.priority, 0);
            self.stream_allowed(hunt, taken, stream) && self.may_be_stopped(hunt, *id)
        });
        let mut items: Vec<Unit> = Vec::with_capacity(ids.len());
        for id in ids {
            let mut unit = self.unit_beside(id, taken);
            if hunt.rule == Rule::Consolidate {
                // What is moved loses its running time, however large it is (S26).
                unit.cost = [i128::from(unit.age.0), 0, unit.cost[2], unit.cost[3]];
            }
            if self.legal(hunt, taken, &[&unit]) {
                items.push(unit);
            }
        }
        // Single pods before their workload, else by time.
        items.sort_by(|a, b| (&a.order, a.pods.len()).cmp(&(&b.order, b.pods.len())));
        let single = items.iter().all(|unit| unit.pods.len() == 1);
        let alike = match hunt.rule {
            Rule::Consolidate => items.iter().map(|unit| self.moves_alike(hunt, unit)).collect(),
            Rule::Reclaim(..) | Rule::Preempt(_) => Vec::new(),
        };
        let mut search = Search {
            hunt,
            taken,
            need,
            node,
            places: places_on(self, hunt, node, &items),
            pays: items.iter().map(|unit| self.pays(hunt, unit)).collect(),
            states: vec![State::Undecided; items.len()],
            items,
            steps: 0,
            moves: MOVES,
            alike,
            nowhere: FxHashSet::default(),
            best: None,
            best_states: Vec::new(),
            single,
            fickle: self.neighbours.wishes(need.kind.0).is_some_and(|wishes| wishes.depends_on_others()),
        };
        if search.possible(self) {
            search.decide(self, 0, [0; 4]);
        }
        let key = search.best?;
        let whole = hunt.rule != Rule::Consolidate && search.steps <= STEPS;
        let lasting = whole && !search.fickle && elsewhere.is_empty();
        let chosen = search.best_states.iter().map(|state| *state == State::Stopped);
        let units = search.items.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(unit, _)| unit);
        let lasting = lasting && self.local_to_pools();
        Some(Set { key, units: units.collect(), lasting })
    }

    /// A unit; a whole workload with what was taken of it pod by pod.
    fn unit_beside(&self, id: UnitId, taken: &Taken) -> Unit {
        let mut unit = self.unit(id);
        if let UnitId::Whole(workload) = id {
            taken.singles_of(workload).for_each(|single| unit.count_in(single));
        }
        unit
    }

    /// True if a pod of the kind fits on a node once these pods are gone.
    fn would_fit(&mut self, need: &Need, ix: NodeIx, pool: crate::ix::PoolIx, gone: &[PodIx]) -> bool {
        let (node, shape) = (self.nodes.at(ix.0), self.shapes.at(need.kind.0));
        if let GpuRequest::Whole(count) = shape.gpu {
            let there = gone.iter().map(|pod| self.pod(*pod)).filter(|state| state.node == Some(ix));
            let open =
                there.fold(node.devices.free, |open, state| DeviceMask(open.0 | state.gpus.devices().0));
            if open.count() < count {
                return false;
            }
        }
        if self.neighbours.idle() && !shape.local {
            // Also where room is kept: what stays, or does not, is counted beside the larger of what leaves and is kept.
            let (mut free, mut devices) = (node.free.clone(), node.devices.clone());
            for pod in gone.iter().filter(|pod| self.pod(**pod).node == Some(ix)) {
                let state = self.pod(*pod);
                let hold = hold(*pod, self.shapes.at(self.kind_of(*pod).0), state.gpus);
                free.add(&hold.takes, 1);
                devices.give(hold.gpus);
            }
            let strategy = self.pools.spec(pool).device;
            return free.fits(shape) && devices.choose(shape.gpu, strategy).is_some();
        }
        let mark = self.trial.len();
        gone.iter().for_each(|pod| self.try_lift(*pod));
        let fits = self.accepts(need.kind, pool, ix);
        self.roll_back_to(mark);
        fits
    }
}

impl Search<'_> {
    /// True if stopping all that is undecided would do.
    fn possible(&self, engine: &mut Engine) -> bool {
        let open = self.fickle && self.states.contains(&State::Undecided);
        match open {
            true => self.covered(|at| self.states[at] != State::Kept),
            false => self.fits_without(engine, |state| state != State::Kept),
        }
    }

    /// True if the pod fits, and the debts are paid, without the units in such states.
    fn fits_without(&self, engine: &mut Engine, gone: impl Fn(State) -> bool) -> bool {
        self.fits_without_those(engine, |at| gone(self.states[at]))
    }

    fn fits_without_those(&self, engine: &mut Engine, gone: impl Fn(usize) -> bool) -> bool {
        if !self.covered(&gone) {
            return false;
        }
        let units = self.items.iter().enumerate().filter(|(at, _)| gone(*at));
        let mut pods: SmallVec<[PodIx; 16]> = units.flat_map(|(_, unit)| unit.pods.iter().copied()).collect();
        pods.sort_unstable();
        pods.dedup();
        engine.would_fit(self.need, self.node, self.hunt.pool, &pods)
    }

    /// True if these units pay the debts.
    fn covered(&self, gone: impl Fn(usize) -> bool) -> bool {
        let mut paid = [[0; 3]; 2];
        for (_, pays) in self.pays.iter().enumerate().filter(|(at, _)| gone(*at)) {
            paid.iter_mut().zip(pays).for_each(|(sum, more)| add(sum, *more, 1));
        }
        covers(&paid, &self.need.debts)
    }

    /// Decides the items from `at` on; `cost` is that of those stopped before.
    fn decide(&mut self, engine: &mut Engine, at: usize, cost: Cost) {
        self.steps += 1;
        if self.moves == 0 || (self.steps > STEPS && self.best.is_some()) {
            return;
        }
        if let Some(best) = &self.best {
            let least = sum(cost, self.least_to_come(engine));
            if least > best.cost || (least == best.cost && self.single) {
                return;
            }
        }
        if at == self.items.len() {
            return self.found(engine, cost);
        }
        if self.may_stop(engine, at) {
            self.states[at] = State::Stopped;
            let cost = sum(cost, self.cost_beside(at));
            // Nobody is stopped beside those that make room already: the set would not be minimal.
            if !self.fickle && self.fits_without(engine, |state| state == State::Stopped) {
                self.found(engine, cost);
            } else {
                self.decide(engine, at + 1, cost);
            }
        }
        self.states[at] = State::Kept;
        if self.possible(engine) {
            self.decide(engine, at + 1, cost);
        }
        self.states[at] = State::Undecided;
    }

    /// What it costs to stop one more item: of what is moved, the longest running pod of each workload counts (S26).
    fn cost_beside(&self, at: usize) -> Cost {
        let (mut cost, UnitId::Pod(pod)) = (self.items[at].cost, self.items[at].id) else {
            return self.items[at].cost;
        };
        if self.hunt.rule == Rule::Consolidate {
            let stopped = self.items.iter().zip(&self.states).filter(|(_, state)| **state == State::Stopped);
            let mates = stopped.filter(|(unit, _)| unit.is_single_of(pod.workload));
            cost[0] = (cost[0] - mates.map(|(unit, _)| unit.cost[0]).max().unwrap_or(0)).max(0);
        }
        cost
    }

    /// True if one more item may be stopped with those stopped already.
    fn may_stop(&self, engine: &Engine, at: usize) -> bool {
        let id = self.items[at].id;
        let stopped = || self.items.iter().zip(&self.states).filter(|(_, state)| **state == State::Stopped);
        let apart = match id {
            // A workload goes with its pods: stopping one of them as well is never better.
            UnitId::Whole(workload) => !stopped().any(|(unit, _)| unit.is_single_of(workload)),
            UnitId::Pod(pod) => {
                let template = engine.templates.at(engine.workloads.at(pod.workload.0).template);
                let role = template.role_of(pod.pod).0;
                let of_role = |unit: &Unit| {
                    matches!(unit.id, UnitId::Pod(other) if other.workload == pod.workload
                        && template.role_of(other.pod).0 == role)
                };
                let whole = |unit: &Unit| unit.id == UnitId::Whole(pod.workload);
                !stopped().any(|(unit, _)| whole(unit))
                    && (stopped().filter(|(unit, _)| of_role(unit)).count() as u32)
                        < engine.above_minimum(pod.workload, role.into())
            }
        };
        let mut all: SmallVec<[&Unit; 8]> = stopped().map(|(unit, _)| unit).collect();
        all.push(&self.items[at]);
        apart && engine.legal(self.hunt, self.taken, &all)
    }

    /// All items are decided, and the pod fits.
    fn found(&mut self, engine: &mut Engine, cost: Cost) {
        if self.fickle && !self.possible(engine) {
            return;
        }
        let at: SmallVec<[usize; 8]> =
            (0..self.items.len()).filter(|at| self.states[*at] == State::Stopped).collect();
        let mut order: Vec<_> = at.iter().flat_map(|at| self.items[*at].order.iter().copied()).collect();
        order.sort_unstable();
        let key = SetKey { cost, order, node: engine.nodes.at(self.node.0).spec.id };
        if self.best.as_ref().is_some_and(|best| key >= *best) {
            return;
        }
        if self.hunt.rule == Rule::Consolidate && !self.finds_places(engine, &at) {
            return;
        }
        self.best = Some(key);
        self.best_states.clone_from(&self.states);
    }

    /// True if the units, which make room together, and not without one of them, all find other places. Where that depends
    /// on what they are alone, sets of the same find none where one did not.
    fn finds_places(&mut self, engine: &mut Engine, at: &[usize]) -> bool {
        let minimal = |engine: &mut Engine, spared: usize| {
            let gone = |at: usize| self.states[at] == State::Stopped && at != spared;
            !self.fits_without_those(engine, gone)
        };
        if !self.fickle && at.len() > 1 && !at.iter().all(|spared| minimal(engine, *spared)) {
            return false;
        }
        let few = at.len() <= engine.pools.spec(self.hunt.pool).max_moves as usize;
        let alike: Option<SmallVec<[_; 8]>> = at.iter().map(|at| self.alike[*at]).collect();
        let alike = alike.filter(|_| few).map(|mut alike| {
            alike.sort_unstable();
            alike.into_iter().map(|(_, kind)| kind).collect::<SmallVec<[_; 8]>>()
        });
        if alike.as_ref().is_some_and(|alike| self.nowhere.contains(alike)) {
            return false;
        }
        self.moves -= 1;
        let units: SmallVec<[&Unit; 8]> = at.iter().map(|at| &self.items[*at]).collect();
        let found = engine.all_find_places(self.hunt, self.need, self.node, &units);
        if !found {
            self.nowhere.extend(alike);
        }
        found
    }

    /// The least that the devices still missing will cost: each device is cleared by stopping whoever is on it, and what
    /// that costs is split over all the places a unit has on the node.
    fn least_to_come(&self, engine: &Engine) -> Cost {
        let GpuRequest::Whole(count) = engine.shapes.at(self.need.kind.0).gpu else { return [0; 4] };
        let free = engine.nodes.at(self.node.0).devices.free;
        // By device: what clearing it costs; none if somebody stays. Pods that cannot be stopped are in no list.
        let mut devices: SmallVec<[(u8, Option<Cost>); 8]> =
            free.iter().map(|device| (device.0, Some([0; 4]))).collect();
        for (_, device, parts) in &self.places {
            let stopping = parts.iter().filter_map(|(item, each)| match self.states[*item] {
                State::Stopped => Some([0; 4]),
                State::Undecided => Some(*each),
                State::Kept => None,
            });
            let cost = stopping.min();
            match devices.iter_mut().find(|(known, _)| known == device) {
                Some((_, known)) => *known = known.zip(cost).map(|(a, b)| sum(a, b)),
                None => devices.push((*device, cost)),
            }
        }
        let mut costs: SmallVec<[Cost; 8]> = devices.into_iter().filter_map(|(_, cost)| cost).collect();
        costs.sort_unstable();
        costs.iter().take(count as usize).fold([0; 4], |all, cost| sum(all, *cost))
    }
}

/// A pod on a device of the node: the items that would stop it, and what each costs per place it has here.
type PlaceOn = (PodIx, u8, SmallVec<[(usize, Cost); 2]>);

fn places_on(engine: &Engine, hunt: &Hunt, node: NodeIx, items: &[Unit]) -> Vec<PlaceOn> {
    let mut places: Vec<PlaceOn> = Vec::new();
    for (at, unit) in items.iter().enumerate() {
        let here = unit.pods.iter().filter(|pod| engine.pod(**pod).node == Some(node));
        let mine: SmallVec<[(PodIx, u8); 8]> = here
            .flat_map(|pod| engine.pod(*pod).gpus.devices().iter().map(move |device| (*pod, device.0)))
            .collect();
        let mut each = unit.cost.map(|part| part / (mine.len().max(1) as i128));
        if hunt.rule == Rule::Consolidate && matches!(unit.id, UnitId::Pod(_)) {
            // Beside another pod of its workload it may cost no time at all.
            each[0] = 0;
        }
        for (pod, device) in mine {
            match places.iter_mut().find(|(p, d, _)| (*p, *d) == (pod, device)) {
                Some((_, _, parts)) => parts.push((at, each)),
                None => places.push((pod, device, SmallVec::from_slice(&[(at, each)]))),
            }
        }
    }
    places
}

fn covers(paid: &[Triple; 2], debts: &[Triple; 2]) -> bool {
    debts.iter().flatten().zip(paid.iter().flatten()).all(|(debt, paid)| paid >= debt)
}

fn sum(a: Cost, b: Cost) -> Cost {
    std::array::from_fn(|at| a[at] + b[at])
}
