//! The order of moves (S26): who is to be moved is stopped when his new place is free, or with those he waits for in a
//! circle; who need not go any more stays.
//!
//! A pod that is to be moved and is not stopped yet is *pending*: its seat says that it leaves, so that the cluster then
//! is without it, and that it is pending.

use super::reserve::LEAST_GRACE;
use super::start::Places;
use super::state::{Seat, State};
use berth_model::{Cause, Decision, Millis, NodeId, PodId, Timestamp, WorkloadId};
use std::collections::BTreeSet;

/// Units that are to be moved, and for whom.
pub(crate) type Needed = Vec<(Vec<PodId>, WorkloadId)>;

impl State {
    pub(crate) fn is_pending(&self, pod: PodId) -> bool {
        self.pods.get(&pod).is_some_and(|seat| seat.pending)
    }

    /// A pod is to be moved.
    pub(crate) fn await_place(&mut self, pod: PodId) {
        let seat = self.pods.get_mut(&pod).expect("a pod on a node");
        *seat = Seat { leaving: Some(Timestamp::default()), pending: true, evicted: false, ..*seat };
        let budgets = self.budgets_of(pod);
        self.disrupted.extend(budgets.into_iter().map(|budget| ((budget, pod), false)));
    }

    /// It is not moved after all.
    pub(crate) fn stay(&mut self, pod: PodId) {
        self.kept.remove(&pod);
        let seat = self.pods.get_mut(&pod).expect("a pod on a node");
        (seat.leaving, seat.pending, seat.evicted) = (None, false, false);
        self.disrupted.retain(|(_, of), _| *of != pod);
    }

    pub(crate) fn grace(&self, workload: WorkloadId) -> Millis {
        let grace = self.workloads[&workload].grace;
        if grace == Millis::ZERO { LEAST_GRACE } else { grace }
    }

    /// When a leaving pod must be gone: one that is pending is stopped when its new place is free.
    pub(crate) fn gone_by(&self, pod: PodId) -> Option<Timestamp> {
        let seat = &self.pods[&pod];
        match self.kept.get(&pod).filter(|_| seat.pending) {
            Some(kept) => Some(kept.until.plus(self.grace(pod.workload))),
            None => seat.leaving,
        }
    }

    /// Lets those stay without whose going all room that is kept is as good, one after the other, until there is none.
    pub(crate) fn spare(&mut self) -> (Vec<PodId>, Needed) {
        let mut spared = Vec::new();
        loop {
            let units = self.batches_of(|pod| self.is_pending(pod));
            let needed: Vec<_> = units.into_iter().map(|unit| (self.who_needs(&unit), unit)).collect();
            let Some((_, unit)) = needed.iter().find(|(who, _)| who.is_none()) else {
                return (spared, needed.into_iter().filter_map(|(who, unit)| Some((unit, who?))).collect());
            };
            unit.iter().for_each(|pod| self.stay(*pod));
            spared.extend(unit);
        }
    }

    /// The first for whom room is kept that would not do if a unit stayed.
    fn who_needs(&self, unit: &[PodId]) -> Option<WorkloadId> {
        let mut imagined = self.clone();
        unit.iter().for_each(|pod| imagined.stay(*pod));
        let mut later = imagined.without_kept().later();
        let batches = imagined.batches_of(|_| true);
        let failed = batches.into_iter().find(|batch| !later.move_in(&imagined.places_of(batch)));
        failed.map(|batch| batch[0].workload)
    }

    /// Stops those whose places are free by now.
    pub(crate) fn stop_movers(&mut self, needed: &Needed) -> Vec<Decision> {
        if self.now < self.evictions_from {
            return Vec::new();
        }
        let units: Vec<Vec<PodId>> = needed.iter().map(|(unit, _)| unit.clone()).collect();
        let stopped = self.find_stoppable(&units).into_iter();
        let pods = stopped.flat_map(|at| {
            let pods: BTreeSet<PodId> = units[at].iter().copied().collect();
            pods.into_iter().map(move |pod| (pod, needed[at].1))
        });
        let pods: Vec<_> = pods.collect();
        pods.into_iter().map(|(pod, whom)| self.evict(pod, Some(whom), Cause::Consolidate)).collect()
    }

    /// Which of these units can be stopped now: first those whose places are free beside everybody else who is there, one
    /// after the other; then those that wait for each other and for nobody else; all, if nobody leaves for whom they could
    /// wait.
    pub(crate) fn find_stoppable(&self, units: &[Vec<PodId>]) -> Vec<usize> {
        let mut now = self.without_kept();
        for batch in self.batches_of(|pod| !self.is_pending(pod)) {
            if batch.iter().any(|pod| self.pods.contains_key(pod)) && self.fit(&now, &[&batch], &[&batch]) {
                now.double(&self.places_of(&batch));
            }
        }
        let (mut stopped, mut rest) = (Vec::new(), Vec::new());
        for (at, unit) in units.iter().enumerate() {
            if self.fit(&now, &[unit], &[unit]) {
                now.double(&self.places_of(unit));
                stopped.push(at);
            } else {
                rest.push(at);
            }
        }
        for circle in self.circles(&now, units, &rest) {
            let members: Vec<&[PodId]> = circle.iter().map(|at| &units[*at][..]).collect();
            if self.fit(&now, &members, &members) {
                members.iter().for_each(|unit| now.double(&self.places_of(unit)));
                stopped.extend(circle);
            }
        }
        let leaves = |(pod, seat): (&PodId, &Seat)| seat.leaving.is_some() && !self.is_pending(*pod);
        if stopped.is_empty() && !self.pods.iter().any(leaves) { rest } else { stopped }
    }

    /// True if units fit where their room is, when some are gone.
    fn fit(&self, now: &Self, units: &[&[PodId]], gone: &[&[PodId]]) -> bool {
        let mut now = now.clone();
        now.lift(gone.iter().copied().flatten());
        units.iter().all(|unit| now.move_in(&self.places_of(unit)))
    }

    /// Pods are also there.
    fn double(&mut self, places: &Places) {
        self.doubles.extend(places.iter().map(|(pod, at)| (*pod, Seat::new(*at, self.now))));
    }

    /// Of the rest of the units, those that wait for each other in a circle and for nobody else.
    fn circles(&self, now: &Self, units: &[Vec<PodId>], rest: &[usize]) -> Vec<Vec<usize>> {
        let without = |own: usize, there: &dyn Fn(usize) -> bool| {
            let mut gone: Vec<&[PodId]> =
                rest.iter().filter(|at| !there(**at)).map(|at| &units[*at][..]).collect();
            gone.push(&units[own]);
            self.fit(now, &[&units[own]], &gone)
        };
        // Whom each waits for; none if not only for these.
        let awaited = |own: usize| -> Option<BTreeSet<usize>> {
            let others: BTreeSet<usize> = rest.iter().copied().filter(|at| *at != own).collect();
            if !without(own, &|_| false) {
                return None;
            }
            let in_the_way: BTreeSet<usize> =
                others.iter().copied().filter(|other| !without(own, &|at| at == *other)).collect();
            let enough = without(own, &|at| !in_the_way.contains(&at));
            Some(if enough { in_the_way } else { others })
        };
        let waits: Vec<(usize, Option<BTreeSet<usize>>)> =
            rest.iter().map(|at| (*at, awaited(*at))).collect();
        let of =
            |at: usize| waits.iter().find(|(own, _)| *own == at).and_then(|(_, awaited)| awaited.clone());
        let reach = |from: usize| -> BTreeSet<usize> {
            let mut seen: BTreeSet<usize> = of(from).unwrap_or_default();
            loop {
                let more: BTreeSet<usize> = seen.iter().flat_map(|at| of(*at).unwrap_or_default()).collect();
                if more.is_subset(&seen) {
                    return seen;
                }
                seen.extend(more);
            }
        };
        let mut circles: BTreeSet<Vec<usize>> = BTreeSet::new();
        for (own, _) in &waits {
            let all = reach(*own);
            let closed = all.iter().all(|at| of(*at).is_some() && reach(*at) == all);
            if all.contains(own) && closed {
                circles.insert(all.into_iter().collect());
            }
        }
        circles.into_iter().collect()
    }

    /// When the new places of these units, which are just decided, will be free, and when those that are stopped must be
    /// gone.
    pub(crate) fn date_moves(&mut self, units: &[Vec<PodId>]) {
        let rooms = |state: &Self, unit: &[PodId]| -> BTreeSet<NodeId> {
            unit.iter().map(|pod| state.kept[pod].at.node).collect()
        };
        let (mut open, stopped): (Vec<_>, Vec<_>) = units.iter().partition(|unit| self.is_pending(unit[0]));
        while !open.is_empty() {
            let there =
                |unit: &[PodId]| -> BTreeSet<NodeId> { unit.iter().map(|pod| self.pods[pod].node).collect() };
            let next = |own: usize| -> BTreeSet<usize> {
                let wanted = rooms(self, open[own]);
                let others = (0..open.len()).filter(|at| *at != own);
                others.filter(|at| !wanted.is_disjoint(&there(open[*at]))).collect()
            };
            let reach = |own: usize| -> BTreeSet<usize> {
                let mut seen: BTreeSet<usize> = [own].into();
                loop {
                    let more: BTreeSet<usize> = seen.iter().flat_map(|at| next(*at)).collect();
                    if more.is_subset(&seen) {
                        return seen;
                    }
                    seen.extend(more);
                }
            };
            let group = (0..open.len()).map(reach).find(|all| all.iter().all(|at| reach(*at) == *all));
            let group = group.expect("some wait for nobody but each other");
            let pods: BTreeSet<PodId> = group.iter().flat_map(|at| open[*at]).copied().collect();
            let nodes: BTreeSet<NodeId> = pods.iter().map(|pod| self.kept[pod].at.node).collect();
            let leaving =
                self.pods.iter().filter(|(pod, seat)| nodes.contains(&seat.node) && !pods.contains(pod));
            let last = leaving.filter_map(|(pod, _)| self.gone_by(*pod)).max();
            let really =
                || self.pods.values().filter(|seat| !seat.pending).filter_map(|seat| seat.leaving).max();
            let until = last.or_else(really).unwrap_or(self.now).max(self.now);
            let mut at = 0;
            open.retain(|_| {
                at += 1;
                !group.contains(&(at - 1))
            });
            pods.iter().for_each(|pod| self.kept.get_mut(pod).expect("its room").until = until);
        }
        for unit in stopped {
            let nodes = rooms(self, unit);
            let concerned =
                self.pods.iter().filter(|(pod, seat)| nodes.contains(&seat.node) || unit.contains(pod));
            let until = concerned.filter_map(|(pod, _)| self.gone_by(*pod)).max().unwrap_or(self.now);
            unit.iter().for_each(|pod| self.kept.get_mut(pod).expect("its room").until = until);
        }
    }
}
