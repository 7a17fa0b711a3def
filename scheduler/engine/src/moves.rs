//! The order of moves (S26): nobody is stopped before his new place is free, but for those who wait for one another in a
//! circle, who are stopped together.
//!
//! Whoever is to be moved and is not stopped yet is *pending*: a leaving pod as far as room goes, so that the cluster *then*
//! is the same, and a running one in all else. What is pending is judged anew with the room that is kept, by what is there
//! (S33): who need not go any more stays, who has his place is stopped. Units are a gang that would lack its minimum, else
//! single pods.
//! Costs: nothing as long as nothing is pending. Else, after something has happened, all kept room once per pending unit,
//! until one finds that it does not fit beside it; and where places are not free, for each pair of units whether one would
//! fit if only the other stayed.

use crate::Engine;
use crate::ix::{NodeIx, PodIx, WorkloadIx};
use crate::kept::{Batch, Rooms};
use crate::workload::{Pod, Stage};
use berth_model::{Cause, Decision, Millis, Timestamp, WorkloadId};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeSet;

impl Engine {
    /// True if a pod is to be moved and is not stopped yet.
    pub(crate) fn is_pending(&self, pod: PodIx) -> bool {
        self.pod(pod).pending
    }

    /// Pods are to be moved once their new places are free.
    pub(crate) fn plan_moves(&mut self, pods: &[PodIx]) {
        for pod in pods {
            self.touch_turns(pod.workload);
            self.dequeue(pod.workload);
        }
        for pod in pods {
            self.await_place(*pod);
        }
        for pod in pods {
            self.requeue(pod.workload);
            self.touch_turns(pod.workload);
        }
    }

    /// A placed pod is to be moved; its new place is still to be entered.
    pub(crate) fn await_place(&mut self, pod: PodIx) {
        self.begin_to_leave(pod, |state| state.pending = true);
        self.disruption_decided(pod);
    }

    /// When a leaving pod must be gone: one that is pending is stopped when its new place is free.
    pub(crate) fn gone_by(&self, pod: PodIx) -> Timestamp {
        match self.reservations.moved(pod) {
            Some(room) if self.is_pending(pod) => room.until.plus(self.grace_of(pod.workload)),
            _ => self.pod(pod).until,
        }
    }

    /// How long the pods of a workload have to end.
    pub(crate) fn grace_of(&self, workload: WorkloadIx) -> Millis {
        let grace = self.workloads.at(workload.0).grace;
        // 0 would delete the object while its containers still run.
        if grace == Millis::ZERO { Millis::from_secs(1) } else { grace }
    }

    /// True if room that is kept for pods is no use to them: those that are pending may not be stopped any more (S28).
    pub(crate) fn must_stay(&self, batch: &[PodIx]) -> bool {
        let template = self.workloads.at(batch[0].workload.0).template;
        !self.templates.at(template).preemptible && batch.iter().any(|pod| self.is_pending(*pod))
    }

    /// Lets those stay without whose going all room that is kept is as good. The others, and for whom they go.
    pub(crate) fn spare(&mut self, decisions: &mut Vec<Decision>) -> Vec<(Batch, WorkloadId)> {
        loop {
            let units = self.batches_of(|pod| self.is_pending(pod));
            let mut needed = Vec::with_capacity(units.len());
            let mut spared = None;
            for unit in units {
                match self.who_needs(&unit) {
                    Some(workload) => needed.push((unit, workload)),
                    None => {
                        spared = Some(unit);
                        break;
                    }
                }
            }
            let Some(unit) = spared else { return needed };
            for pod in unit {
                decisions.push(Decision::Release { pod: self.pod_id(pod) });
                self.stay(pod);
            }
        }
    }

    /// The first for whom room is kept that would not do if a pending unit stayed.
    fn who_needs(&mut self, unit: &[PodIx]) -> Option<WorkloadId> {
        let seats: Vec<Pod> = unit.iter().map(|pod| *self.pod(*pod)).collect();
        self.org.as_if = true;
        let leaving: Vec<PodIx> = self.reservations.leaving.iter().copied().collect();
        leaving.into_iter().for_each(|pod| self.try_lift(pod));
        let rooms = self.lift_kept();
        for (pod, was) in unit.iter().zip(seats) {
            self.try_return(*pod, Pod { stage: Stage::Placed, pending: false, ..was });
        }
        let others = self.batches_of(|pod| !unit.contains(&pod));
        let failed = others.into_iter().find(|batch| !self.move_in(batch, &rooms));
        self.roll_back();
        failed.map(|batch| self.workloads.at(batch[0].workload.0).id)
    }

    /// Stops those pending whose places are free by now.
    pub(crate) fn stop_movers(&mut self, needed: &[(Batch, WorkloadId)], decisions: &mut Vec<Decision>) {
        if needed.is_empty() || !self.may_evict() {
            return;
        }
        let units: Vec<&[PodIx]> = needed.iter().map(|(unit, _)| &unit[..]).collect();
        for at in self.find_stoppable(&units) {
            let (unit, workload) = &needed[at];
            let mut pods = unit.to_vec();
            pods.sort_unstable_by_key(|pod| self.pod_id(*pod));
            self.evict(&pods, Some(*workload), Cause::Consolidate, decisions);
        }
    }

    /// Which of these units can be stopped now: their places are free beside everybody who is there, whoever was stopped
    /// before has his, and one gets none that another of them does; or they wait for each other alone.
    pub(crate) fn find_stoppable(&mut self, units: &[&[PodIx]]) -> Vec<usize> {
        let on_their_way = self.batches_of(|pod| !self.is_pending(pod));
        let rooms = self.lift_kept();
        for batch in on_their_way {
            let still_there = batch.iter().any(|pod| self.reservations.moved(*pod).is_some());
            if still_there && self.fits_without(&batch, &[], &rooms) {
                self.promise(&batch, &rooms);
            }
        }
        let (mut stopped, mut rest) = (Vec::new(), Vec::new());
        for (at, unit) in units.iter().enumerate() {
            if self.fits_without(unit, &[], &rooms) {
                self.promise(unit, &rooms);
                stopped.push(at);
            } else {
                rest.push(at);
            }
        }
        for circle in self.circles(units, &rest, &rooms) {
            let circle_units: Vec<&[PodIx]> = circle.iter().map(|at| units[*at]).collect();
            if self.fit_together(&circle_units, &rooms) {
                circle_units.iter().for_each(|unit| self.promise(unit, &rooms));
                stopped.extend(circle);
            }
        }
        self.roll_back();
        let nobody_leaves = || self.reservations.leaving.iter().all(|pod| self.is_pending(*pod));
        if stopped.is_empty() && nobody_leaves() { rest } else { stopped }
    }

    /// True if a unit fits where its room is beside everybody who is there but itself and some others.
    fn fits_without(&mut self, unit: &[PodIx], gone: &[&[PodIx]], rooms: &Rooms) -> bool {
        let mark = self.trial.len();
        self.lift_units(gone);
        self.lift_units(&[unit]);
        let fits = self.move_in(unit, rooms);
        self.roll_back_to(mark);
        fits
    }

    /// True if all these units fit where their room is, one after the other, beside everybody else who is there.
    fn fit_together(&mut self, units: &[&[PodIx]], rooms: &Rooms) -> bool {
        let mark = self.trial.len();
        self.lift_units(units);
        let fits = units.iter().all(|unit| self.move_in(unit, rooms));
        self.roll_back_to(mark);
        fits
    }

    fn lift_units(&mut self, units: &[&[PodIx]]) {
        for pod in units.iter().copied().flatten() {
            if self.pod(*pod).stage == Stage::Leaving {
                self.try_lift(*pod);
            }
        }
    }

    /// From now on, in the trial under way, a unit is also where its room is.
    fn promise(&mut self, unit: &[PodIx], rooms: &Rooms) {
        for pod in unit {
            let Pod { node, gpus, .. } = rooms[pod];
            self.try_double(*pod, Pod { stage: Stage::Placed, node, gpus, ..Pod::default() });
        }
    }

    /// Of the units without a free place, those that wait for each other in a circle and for nobody else. A unit waits for
    /// another if its place is not free as long as that one alone is there of all these; if no single one is in its way,
    /// for all of them. One whose place is not free even without all of them waits for somebody else.
    fn circles(&mut self, units: &[&[PodIx]], rest: &[usize], rooms: &Rooms) -> Vec<Vec<usize>> {
        let mut graph: DiGraph<usize, ()> = DiGraph::new();
        let nodes: Vec<NodeIndex> = rest.iter().map(|at| graph.add_node(*at)).collect();
        let mut waits_for_others = vec![false; rest.len()];
        let all_but = |spared: usize| -> Vec<&[PodIx]> {
            rest.iter().enumerate().filter(|(at, _)| *at != spared).map(|(_, unit)| units[*unit]).collect()
        };
        for (own, unit) in rest.iter().map(|at| units[*at]).enumerate() {
            if !self.fits_without(unit, &all_but(own), rooms) {
                waits_for_others[own] = true;
                continue;
            }
            let others = || (0..rest.len()).filter(|at| *at != own);
            let in_the_way: Vec<usize> =
                others().filter(|at| !self.fits_without(unit, &all_but(*at), rooms)).collect();
            let gone: Vec<&[PodIx]> = in_the_way.iter().map(|at| units[rest[*at]]).collect();
            let enough = self.fits_without(unit, &gone, rooms);
            let awaited = if enough { in_the_way } else { others().collect() };
            for at in awaited {
                graph.add_edge(nodes[own], nodes[at], ());
            }
        }
        let mut circles: Vec<Vec<usize>> = Vec::new();
        for mut circle in tarjan_scc(&graph) {
            circle.sort_unstable();
            let closed = |node: &NodeIndex| {
                !waits_for_others[node.index()] && graph.neighbors(*node).all(|at| circle.contains(&at))
            };
            if circle.len() > 1 && circle.iter().all(closed) {
                circles.push(circle.iter().map(|node| graph[*node]).collect());
            }
        }
        circles.sort_unstable();
        circles
    }

    /// Notes when the new places of units that are pending will be free, and those of units that are stopped now must have
    /// been left.
    pub(crate) fn date_moves(&mut self, units: &[&[PodIx]]) {
        let waits: Vec<&[PodIx]> = units.iter().copied().filter(|unit| self.is_pending(unit[0])).collect();
        for group in self.by_nodes(&waits) {
            let own: BTreeSet<PodIx> = group.iter().flat_map(|at| waits[*at]).copied().collect();
            let leaving = own.iter().filter_map(|pod| self.reservations.moved(*pod)?.node);
            let leaving = leaving.flat_map(|node| self.leaving_pods(node)).filter(|pod| !own.contains(pod));
            let last = leaving.map(|pod| self.gone_by(pod)).max();
            let really = || {
                let stopped = self.reservations.leaving.iter().filter(|pod| !self.is_pending(**pod));
                stopped.map(|pod| self.pod(*pod).until).max()
            };
            let until = last.or_else(really).unwrap_or(self.now).max(self.now);
            own.iter().for_each(|pod| self.set_until(*pod, until));
        }
        let stopped: Vec<&[PodIx]> = units.iter().copied().filter(|unit| !self.is_pending(unit[0])).collect();
        for unit in stopped {
            let there = unit.iter().filter_map(|pod| self.reservations.moved(*pod)?.node);
            let leaving = there.flat_map(|node| self.leaving_pods(node)).chain(unit.iter().copied());
            let until = leaving.map(|pod| self.gone_by(pod)).max().unwrap_or(self.now);
            unit.iter().for_each(|pod| self.set_until(*pod, until));
        }
    }

    /// Units put together that are on the nodes of each other's room, by way of others too; those before that are on the
    /// nodes of others.
    fn by_nodes(&self, units: &[&[PodIx]]) -> Vec<Vec<usize>> {
        let mut graph: DiGraph<(), ()> = DiGraph::new();
        let nodes: Vec<NodeIndex> = units.iter().map(|_| graph.add_node(())).collect();
        let there = |unit: &[PodIx]| -> BTreeSet<NodeIx> {
            unit.iter().filter_map(|pod| self.pod(*pod).node).collect()
        };
        let room = |unit: &[PodIx]| -> BTreeSet<NodeIx> {
            unit.iter().filter_map(|pod| self.reservations.moved(*pod)?.node).collect()
        };
        for (own, unit) in units.iter().enumerate() {
            let wanted = room(unit);
            for (at, other) in units.iter().enumerate().filter(|(at, _)| *at != own) {
                if !wanted.is_disjoint(&there(other)) {
                    graph.add_edge(nodes[own], nodes[at], ());
                }
            }
        }
        tarjan_scc(&graph)
            .into_iter()
            .map(|group| group.into_iter().map(NodeIndex::index).collect())
            .collect()
    }

    fn set_until(&mut self, pod: PodIx, until: Timestamp) {
        match self.reservations.moves.get_mut(&pod) {
            Some(room) => room.until = until,
            None => self.pod_mut(pod).until = until,
        }
    }
}
