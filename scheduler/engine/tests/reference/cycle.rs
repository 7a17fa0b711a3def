//! One cycle (S32): start what has room kept, allocate, take back, and look for stale gangs.

use super::Decided;
use super::hold::{Barred, Hold};
use super::order::Want;
use super::start::Places;
use super::state::State;
use super::victims::Action;
use berth_model::{Decision, PodId, PoolId, ReasonKind, WorkloadId, WorkloadSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What identical workloads have in common, what they want, and in the second pass whom they may not stop (S25).
type Likeness = (WorkloadSpec, Want, [BTreeSet<WorkloadId>; 2]);

/// Those that were refused in this cycle, and why.
pub(crate) type Refused = Vec<(Likeness, ReasonKind)>;

/// A cycle under way.
pub(crate) struct Cycle<'a> {
    state: &'a mut State,
    pub(crate) decided: Decided,
    /// Pods placed in this cycle: they are no victims of it.
    pub(crate) placed: BTreeSet<PodId>,
    pub(crate) refused: Refused,
    /// Decision 0003: room that is held, and pools in which the first who found none was looked at.
    holds: BTreeMap<PoolId, Rc<Hold>>,
    looked_at: BTreeSet<PoolId>,
}

impl<'a> Cycle<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Self {
            state,
            decided: Decided::default(),
            placed: BTreeSet::new(),
            refused: Refused::new(),
            holds: BTreeMap::new(),
            looked_at: BTreeSet::new(),
        }
    }

    pub(crate) fn run(&mut self) {
        let released = self.state.give_up();
        self.decided.done.extend(released.into_iter().map(|pod| Decision::Release { pod }));
        let (spared, needed) = self.state.spare();
        self.decided.done.extend(spared.into_iter().map(|pod| Decision::Release { pod }));
        let started = self.state.start_kept();
        self.place(started);
        self.decided.done.extend(self.state.stop_movers(&needed));
        self.holds = self.state.aged_holds();
        self.allocate();
        if self.state.now < self.state.evictions_from {
            self.state.note_stale();
            return;
        }
        for action in [Action::Reclaim, Action::Preempt, Action::Consolidate] {
            self.take_back(action);
        }
        self.decided.done.extend(self.state.stop_stale_gangs());
        self.decided.done.extend(self.state.stop_those_not_started());
        self.decided.done.extend(self.state.stop_those_over_limit());
    }

    /// Starts, or reserves room for, the first in order that can, until nobody can.
    fn allocate(&mut self) {
        loop {
            let mut wants = self.state.wants();
            wants.retain(|want| self.state.refusal(want, &self.refused, false).is_none());
            let Some(want) = self.state.first(&wants) else { break };
            match self.start(want) {
                Ok(started) => self.place(started),
                Err(_) if self.reserve(want) => {}
                Err(kind) => {
                    self.consider_hold(want);
                    self.refused.push((self.state.likeness_of(want, false), kind));
                }
            }
        }
    }

    /// Starts one who leaves alone what is held for others. If that is all that keeps it, room is what it lacks.
    fn start(&mut self, want: &Want) -> Result<Places, ReasonKind> {
        let pods = self.state.pods_wanted(want);
        self.state.barred = self.state.bars(want, &self.holds, true);
        self.state.beside = true;
        let started = self.state.start(want, &pods);
        self.state.beside = false;
        let barred = std::mem::take(&mut self.state.barred);
        match started {
            Err(_) if !barred.is_empty() => match self.state.clone().start(want, &pods) {
                Ok(_) => Err(ReasonKind::Capacity),
                Err(kind) => Err(kind),
            },
            started => started,
        }
    }

    /// Decision 0003: the first that finds no room in a pool has some held, if all have said until when they run.
    fn consider_hold(&mut self, want: &Want) {
        let waits = |id| {
            let holder = self.state.workloads.get(&id);
            holder.is_some_and(|holder| self.state.wants_of(holder).iter().any(|want| !want.elastic))
        };
        self.holds.retain(|_, hold| waits(hold.workload));
        let Some(pool) = self.state.first_short_pool(want).filter(|_| !want.elastic) else { return };
        let holds = self.holds.values().any(|hold| hold.workload == want.workload);
        if !self.looked_at.insert(pool)
            || holds
            || !self.state.may_hold(want)
            || self.holds.contains_key(&pool)
        {
            return;
        }
        if let Some(hold) = self.state.hold(want, pool, false) {
            self.holds.insert(pool, Rc::new(hold));
        }
    }

    fn place(&mut self, places: Places) {
        self.placed.extend(places.iter().map(|(pod, _)| *pod));
        self.decided.done.extend(places.into_iter().map(|(pod, at)| Decision::Place { pod, at }));
    }

    /// S23: keeps room for one who fits once all leaving pods are gone.
    fn reserve(&mut self, want: &Want) -> bool {
        self.state.barred = self.state.bars(want, &self.holds, false);
        let deal = self.state.wait_for_leaving(want);
        self.state.barred = Barred::new();
        deal.map(|deal| self.decided.done.extend(self.state.close(deal))).is_some()
    }

    /// One phase of the second pass: whoever still waits, in order, as long as it works for somebody.
    fn take_back(&mut self, phase: Action) {
        let mut tried: Refused = Vec::new();
        loop {
            let mut wants = self.state.wants();
            wants.retain(|want| self.state.refusal(want, &tried, true).is_none());
            let Some(want) = self.state.first(&wants) else { break };
            let (fits, like) = (self.fits_now(want), self.state.likeness_of(want, true));
            if !fits && self.reserve(want) {
                continue;
            }
            self.state.barred = self.state.bars(want, &self.holds, false);
            let deal = self.state.second_pass(want, phase, &self.placed).filter(|_| !fits);
            self.state.barred = Barred::new();
            match deal {
                Some(deal) => self.decided.done.extend(self.state.close(deal)),
                None => tried.push((like, ReasonKind::Capacity)),
            }
        }
    }

    /// Something has let it fit meanwhile: the next cycle starts it.
    fn fits_now(&self, want: &Want) -> bool {
        let mut state = self.state.clone();
        state.barred = state.bars(want, &self.holds, true);
        state.beside = true;
        state.start(want, &self.state.pods_wanted(want)).is_ok()
    }
}

impl State {
    pub(crate) fn likeness_of(&self, want: &Want, taking_back: bool) -> Likeness {
        let mut like = self.likeness(&self.workloads[&want.workload]);
        let declared = self.workloads[&want.workload].expected_runtime.filter(|_| !want.elastic);
        like.expected_runtime = WorkloadSpec::runtime_step(declared);
        let may_go = |other: &WorkloadId| {
            self.workloads.get(other).is_some_and(|w| w.preemptible) && !self.staying(*other).is_empty()
        };
        let lately = self.evictions.keys().filter(|(victim, other)| {
            taking_back && *victim == want.workload && self.replaced(want.workload, *other)
        });
        let lately = lately.map(|(_, other)| *other).filter(may_go).collect();
        let by_way = if taking_back { self.by_way_of_others(want.workload) } else { BTreeSet::new() };
        let lately = [lately, by_way.into_iter().filter(may_go).collect()];
        (like, Want { workload: WorkloadId(0), ..want.clone() }, lately)
    }

    fn refusal(&self, want: &Want, refused: &Refused, taking_back: bool) -> Option<ReasonKind> {
        let like = self.likeness_of(want, taking_back);
        refused.iter().find(|(known, _)| *known == like).map(|(_, kind)| *kind)
    }

    /// S29: the kind of reason for which a workload waits. Who has room kept waits for those that leave.
    pub(crate) fn kind_of_wait(&self, workload: &WorkloadSpec, refused: &Refused) -> Option<ReasonKind> {
        let kept = |pod: &PodId| pod.workload == workload.id && !self.pods.contains_key(pod);
        if self.kept.keys().any(kept) {
            return Some(ReasonKind::Waiting);
        }
        let first = self.wants_of(workload).into_iter().next();
        first.and_then(|want| self.refusal(&want, refused, false))
    }
}
