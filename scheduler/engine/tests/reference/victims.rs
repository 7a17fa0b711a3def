//! Whom to stop for one who waits (S20): every set is tried.
//!
//! `Hunt` looks for victims of one kind in one pool, for all pods that are wanted at once. It works on the cluster as it
//! is when all leaving pods are gone (`later`), on which it takes units off nodes and puts pods on them (`trial`).

use super::fits::could_take;
use super::labels::label;
use super::order::Want;
use super::prefer::Domain;
use super::reclaim::Bound;
use super::reserve::Deal;
use super::start::Places;
use super::state::{Shape, State};
use super::subsets::{Mask, choices, chosen, one_less};
use super::units::{Cost, Unit};
use berth_model::{Cause, NodeId, NodeSpec, Placement, PodId, PodSpec, PoolId, WorkloadSpec};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Ways to make room, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Action {
    Reclaim,
    Preempt,
    Consolidate,
}

/// The units that may be stopped, in one layer of justice, and what must hold of a set of them.
pub(crate) struct Layer {
    pub(crate) units: Vec<Unit>,
    pub(crate) bound: Option<Bound>,
}

/// Looking for victims.
pub(crate) struct Hunt<'a> {
    pub(crate) real: &'a State,
    pub(crate) later: &'a State,
    pub(crate) workload: &'a WorkloadSpec,
    pub(crate) want: &'a Want,
    pub(crate) pool: PoolId,
    pub(crate) action: Action,
    pub(crate) placed: &'a BTreeSet<PodId>,
}

/// A way that works so far.
#[derive(Clone)]
struct Trial {
    state: State,
    victims: Vec<Unit>,
    places: Places,
}

impl State {
    /// The second pass (S10): pool by pool, reclaim, then preempt, then consolidate. What works first is taken, unless
    /// it is of a later phase.
    pub(crate) fn second_pass(&self, want: &Want, phase: Action, placed: &BTreeSet<PodId>) -> Option<Deal> {
        let workload = &self.workloads[&want.workload];
        if self.forbidden(workload) {
            return None;
        }
        let later = &self.later();
        for pool in self.pools_for(want) {
            for action in [Action::Reclaim, Action::Preempt, Action::Consolidate] {
                let hunt = Hunt { real: self, later, workload, want, pool, action, placed };
                if let Some(deal) = hunt.run() {
                    return (action <= phase).then_some(deal);
                }
            }
        }
        None
    }
}

impl Hunt<'_> {
    fn run(&self) -> Option<Deal> {
        let layers = match self.action {
            Action::Reclaim => self.reclaim_layers(),
            Action::Preempt => self.preempt_layers(),
            Action::Consolidate => self.consolidate_layers(),
        };
        let scopes = self.scopes();
        layers.iter().find_map(|layer| scopes.iter().find_map(|scope| self.within(layer, scope.as_ref())))
    }

    /// S31: the domains by value, and everywhere if that is allowed.
    fn scopes(&self) -> Vec<Option<Domain>> {
        let Some(topology) = self.workload.topology.as_ref().filter(|_| !self.want.elastic) else {
            return vec![None];
        };
        let mut domains = self.later.domains_of(self.workload, self.want, self.pool, topology);
        domains.sort();
        let everywhere = (!topology.required).then_some(None);
        domains.into_iter().map(Some).chain(everywhere).collect()
    }

    fn within(&self, layer: &Layer, domain: Option<&Domain>) -> Option<Deal> {
        let mut trial = Trial { state: self.later.clone(), victims: Vec::new(), places: Places::new() };
        let pods = self.real.pods_wanted(self.want);
        for pod in pods.iter().copied() {
            let free = trial.state.choose(&self.real.shape(pod), self.pool, domain);
            let open = free.filter(|at| {
                let cost = trial.state.cost(pod, at.node, at.gpus);
                trial.state.gate(self.workload, self.pool, cost).is_ok()
                    && self.lawful(layer.bound, &trial.victims, &pods)
            });
            let at = match open {
                Some(at) => at,
                None => self.make_room(&mut trial, layer, pod, (domain, free.map(|at| at.node)))?,
            };
            trial.state.place(pod, at, self.real.now);
            trial.places.push((pod, at));
        }
        self.put_back(&mut trial, layer, domain);
        if !self.legal(layer.bound, &trial.victims, &pods) {
            return None;
        }
        let moved = match self.action {
            Action::Consolidate => self.relocate(&trial.state, &trial.victims)?,
            _ => Vec::new(),
        };
        let cause = match self.action {
            Action::Reclaim => Cause::Reclaim,
            Action::Preempt => Cause::Preempt,
            Action::Consolidate => Cause::Consolidate,
        };
        let victims = trial.victims.into_iter().flat_map(|unit| unit.pods).collect();
        let (beneficiary, places) = (self.workload.id, trial.places);
        Some(Deal { beneficiary, victims: Some((cause, victims)), places, moved })
    }

    /// Stops the best set that makes room for one pod, on a node of the domain, or on the only one in question; where the
    /// pod goes then.
    fn make_room(
        &self,
        trial: &mut Trial,
        layer: &Layer,
        pod: PodId,
        (domain, only): (Option<&Domain>, Option<NodeId>),
    ) -> Option<Placement> {
        let taken =
            |unit: &Unit| trial.victims.iter().any(|v| v == unit || v.workload == unit.workload && v.whole);
        let units: Vec<Unit> = layer.units.iter().filter(|unit| !taken(unit)).cloned().collect();
        let shape = self.real.shape(pod);
        let pods = self.real.pods_wanted(self.want);
        let mut rooms: BTreeMap<Mask, Vec<NodeId>> = BTreeMap::new();
        let mut best: Option<(Cost, NodeId, Mask)> = None;
        let indebted = !self.lawful(layer.bound, &trial.victims, &pods);
        let Some(masks) = choices(&self.groups(&trial.state, &units, pod, (only, indebted))) else {
            self.real.crowded.set(true);
            return None;
        };
        for mask in masks {
            let known =
                |less| rooms.get(&less).is_some_and(|nodes| nodes.iter().any(|node| self.is_open(node)));
            if one_less(mask).any(known) {
                continue;
            }
            let set = chosen(&units, mask);
            let victims = merged(&trial.victims, &set);
            let together: Vec<&Unit> = victims.iter().collect();
            let allowed = self.real.budgets_allow(&victims);
            if !allowed || !self.real.compatible(&set) || !self.real.compatible(&together) {
                continue;
            }
            // Where there is room, whether or not it is held for another (decision 0003).
            let mut room = |mask| {
                let nodes = || {
                    let set = chosen(&units, mask);
                    let victims = merged(&trial.victims, &set);
                    let mut nodes = self.nodes_with_room(&mut trial.state, &set, pod, domain);
                    nodes.retain(|node| only.is_none_or(|only| only == *node));
                    if self.lawful(layer.bound, &victims, &pods) { nodes } else { Vec::new() }
                };
                rooms.entry(mask).or_insert_with(nodes).clone()
            };
            let nodes = self.where_needed(&units, mask, &mut room);
            if nodes.is_empty() || !self.legal(layer.bound, &victims, &pods) {
                continue;
            }
            let cost = match self.action {
                Action::Consolidate => self.real.cost_of_moving(&set),
                _ => self.real.cost_of_stopping(&set),
            };
            let works = |node: &NodeId| {
                self.action != Action::Consolidate || self.can_move(&trial.state, &victims, pod, *node)
            };
            let found = nodes.into_iter().find(works).map(|node| (cost, node, mask));
            best = best.into_iter().chain(found).min();
        }
        let (_, node, mask) = best?;
        let set = chosen(&units, mask);
        trial.victims = merged(&trial.victims, &set);
        trial.state.lift(set.iter().flat_map(|unit| &unit.pods));
        let strategy = self.real.pools[&self.pool].device;
        let gpus = trial.state.choose_devices(node, shape.spec.gpu, strategy).expect("there is room");
        Some(Placement { node, gpus })
    }

    /// The nodes with room when all of a set are gone and, as far as they are open, not before. What is held for another is
    /// open only to who must stop somebody there (decision 0003).
    fn where_needed(
        &self,
        units: &[Unit],
        mask: Mask,
        room: &mut impl FnMut(Mask) -> Vec<NodeId>,
    ) -> Vec<NodeId> {
        let here = |mask: Mask, node: &NodeId| {
            let mut pods = chosen(units, mask).into_iter().flat_map(|unit| &unit.pods);
            self.is_open(node) || pods.any(|pod| self.real.pods[pod].node == *node)
        };
        let mut nodes = room(mask);
        nodes.retain(|node| here(mask, node));
        for less in one_less(mask) {
            let enough = room(less);
            if enough.iter().any(|node| here(less, node)) {
                return Vec::new();
            }
            nodes.retain(|node| !enough.contains(node));
        }
        nodes
    }

    fn is_open(&self, node: &NodeId) -> bool {
        self.real.is_open(self.pool, &self.real.nodes[node])
    }

    /// The units of which sets are chosen, node by node: those on it, and those that matter for it from elsewhere.
    fn groups(
        &self,
        state: &State,
        units: &[Unit],
        pod: PodId,
        (only, indebted): (Option<NodeId>, bool),
    ) -> Vec<Vec<usize>> {
        let shape = self.real.shape(pod);
        let concerned =
            |node: &&NodeSpec| only.is_none_or(|only| only == node.id) && could_take(&shape, node, true);
        let nodes = state.ready_nodes(self.pool).into_iter().filter(concerned);
        let groups = nodes.map(|node| {
            let matters = |unit: &Unit| {
                let here = |pod: &PodId| self.real.pods[pod].node == node.id;
                let frees = |pod: &PodId| here(pod) && self.frees(state, *pod, &shape, node);
                unit.pods.iter().any(|pod| frees(pod) || self.real.shape(*pod).concerns(&shape))
                    || self.under_a_limit(unit)
                    || indebted && self.of_its_queues(unit)
            };
            (0..units.len()).filter(|at| matters(&units[*at])).collect()
        });
        groups.collect()
    }

    /// True if a pod on a node has something that another asks for there.
    fn frees(&self, state: &State, pod: PodId, shape: &Shape, node: &NodeSpec) -> bool {
        let (has, asks) = (&self.real.shape(pod).spec, &shape.spec);
        let both = |of: fn(&PodSpec) -> i64| of(has) > 0 && of(asks) > 0;
        let mut extended = asks.requests.extended.keys();
        both(|pod| pod.requests.cpu.0)
            || both(|pod| pod.requests.memory.0)
            || both(|pod| pod.requests.ephemeral.0)
            || both(|pod| pod.gpu.devices().into())
            || both(|pod| pod.host_ports.len() as i64)
            || both(|pod| pod.volumes.len() as i64)
            || extended.any(|name| has.requests.extended.contains_key(name))
            || state.free(node.id).pods < 1
    }

    /// True if the unit counts for a limit that holds for the one who waits.
    fn under_a_limit(&self, unit: &Unit) -> bool {
        self.real.path(self.workload).into_iter().any(|queue| {
            let quota = self.real.quota(Some(queue), self.pool);
            let limited = [quota.gpu.limit, quota.cpu.limit, quota.memory.limit].iter().any(Option::is_some);
            limited && self.real.is_of(&self.real.workloads[&unit.workload], Some(queue))
        })
    }

    /// True if the unit is of the department of the one who waits.
    fn of_its_queues(&self, unit: &Unit) -> bool {
        let workload = &self.real.workloads[&unit.workload];
        self.real.path(self.workload).into_iter().any(|queue| self.real.is_of(workload, Some(queue)))
    }

    /// The nodes that take the pod, within the gates, when the units are gone.
    fn nodes_with_room(
        &self,
        state: &mut State,
        units: &[&Unit],
        pod: PodId,
        domain: Option<&Domain>,
    ) -> Vec<NodeId> {
        let before = state.pods.clone();
        state.lift(units.iter().flat_map(|unit| &unit.pods));
        let shape = self.real.shape(pod);
        let inside =
            |node: &&NodeSpec| domain.is_none_or(|(key, value)| label(node, key) == Some(value.as_str()));
        let takes = |node: &&NodeSpec| {
            state.takes(&shape, node) && {
                let strategy = state.pools[&self.pool].device;
                let gpus = state.choose_devices(node.id, shape.spec.gpu, strategy).expect("it takes the pod");
                state.gate(self.workload, self.pool, state.cost(pod, node.id, gpus)).is_ok()
            }
        };
        let nodes = state.ready_nodes(self.pool).into_iter().filter(inside).filter(takes);
        let nodes = nodes.map(|node| node.id).collect();
        state.pods = before;
        nodes
    }

    /// Puts back those units, the dearest first, that can stay if the pods on their nodes go elsewhere.
    fn put_back(&self, trial: &mut Trial, layer: &Layer, domain: Option<&Domain>) {
        let mut dearest = trial.victims.clone();
        dearest.sort_by_cached_key(|unit| {
            (Reverse(self.real.lost_work(unit)), Reverse(unit.pods.len()), Reverse(unit.clone()))
        });
        for unit in dearest {
            if let Some(better) = self
                .without(trial, &unit, domain)
                .filter(|better| self.lawful(layer.bound, &better.victims, &self.real.pods_wanted(self.want)))
            {
                *trial = better;
            }
        }
    }

    /// The same without one of the victims, if the pods in its way find other room and the others still fit.
    fn without(&self, trial: &Trial, unit: &Unit, domain: Option<&Domain>) -> Option<Trial> {
        let mut trial = trial.clone();
        trial.victims.retain(|victim| victim != unit);
        let nodes: BTreeSet<NodeId> = unit.pods.iter().map(|pod| self.real.pods[pod].node).collect();
        let in_the_way = trial.places.iter().filter(|(_, at)| nodes.contains(&at.node));
        trial.state.lift(in_the_way.map(|(pod, _)| pod));
        trial.state.pods.extend(unit.pods.iter().map(|pod| (*pod, self.real.pods[pod])));
        for (pod, at) in &mut trial.places {
            if nodes.contains(&at.node) {
                *at = trial.state.try_pod(self.workload, *pod, self.pool, domain).ok()?;
            }
        }
        let fit = trial.places.iter().all(|(pod, at)| {
            let mut alone = trial.state.clone();
            alone.pods.remove(pod);
            let cost = alone.cost(*pod, at.node, at.gpus);
            alone.takes_at(&alone.shape(*pod), *at) && alone.gate(self.workload, self.pool, cost).is_ok()
        });
        fit.then_some(trial)
    }

    /// True if all units can be moved when the pod is on the node.
    fn can_move(&self, state: &State, victims: &[Unit], pod: PodId, node: NodeId) -> bool {
        let mut state = state.clone();
        state.lift(victims.iter().flat_map(|unit| &unit.pods));
        let strategy = state.pools[&self.pool].device;
        let gpus = state.choose_devices(node, state.shape(pod).spec.gpu, strategy).expect("there is room");
        state.place(pod, Placement { node, gpus }, self.real.now);
        self.relocate(&state, victims).is_some()
    }
}

/// The victims so far and some more; who goes as a whole has no units of its own beside it.
fn merged(victims: &[Unit], more: &[&Unit]) -> Vec<Unit> {
    let goes = |unit: &Unit| more.iter().any(|m| m.whole && m.workload == unit.workload);
    let mut merged: Vec<Unit> = victims.iter().filter(|unit| !goes(unit)).cloned().collect();
    merged.extend(more.iter().map(|unit| (*unit).clone()));
    merged
}
