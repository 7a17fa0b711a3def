//! The loop over virtual time.

use super::SimError;
use super::budgets::Counted;
use super::sample::Sampler;
use super::state::{JobState, State};
use crate::case::{Arrival, Case, Until};
use crate::outcome::Evictions;
use berth_engine::{Engine, Settings};
use berth_model::{
    Amounts, Budget, Decision, Event, GpuShare, NodeSpec, PodId, PoolId, Reason, Timestamp, WorkloadId,
};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::iter::Peekable;

/// Sees everything that goes into the engine and comes out of it: a log, a checker.
pub trait Witness {
    /// An event that is given to the engine.
    fn event(&mut self, event: &Event) -> Result<(), SimError>;
    /// What was decided.
    fn decided(&mut self, now: Timestamp, budget: Budget, decisions: &[Decision]) -> Result<(), SimError>;
}

/// How a case is simulated.
#[derive(Default)]
pub struct Options<'a> {
    /// Settings of the engine.
    pub settings: Settings,
    /// Who looks on.
    pub witnesses: Vec<&'a mut dyn Witness>,
    /// Told now and then how many workloads have been submitted, and the time.
    pub progress: Option<&'a dyn Fn(u64, Timestamp)>,
}

/// Something that will come about by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    /// Pods of a workload have run for their time.
    Finished(u32),
    /// A pod that was told to end is gone; by its index.
    Gone { workload: u32, role: u16, index: u32 },
}

/// The most calls of `decide` at one instant before the engine is held to be going round in circles.
const ROUNDS_MAX: u32 = 1000;
/// How many submissions lie between two reports of progress.
const PROGRESS_STEP: u64 = 1024;

/// What is counted while the simulation runs.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) submitted: u64,
    pub(super) started: u64,
    pub(super) completed: u64,
    pub(super) dropped: u64,
    pub(super) deleted: u64,
    pub(super) placements: u64,
    pub(super) evictions: Evictions,
    pub(super) cycles: u64,
    /// Pods that are on their way out.
    pub(super) leaving: u64,
    pub(super) share_millis: i128,
    pub(super) capacity_millis: i128,
    /// What of `share_millis` went into work that was thrown away.
    pub(super) wasted_share_millis: i128,
}

/// A simulation in progress.
pub struct World<'a> {
    pub(super) case: &'a Case,
    pub(super) engine: Engine,
    pub(super) options: Options<'a>,
    pub(super) now: Timestamp,
    pub(super) state: State,
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) due: BinaryHeap<Reverse<(Timestamp, Due)>>,
    /// The end of pods that was noted last.
    pub(super) last_due: Option<(Timestamp, Due)>,
    pub(super) arrivals: Peekable<Box<dyn Iterator<Item = Arrival> + 'a>>,
    pub(super) happened: usize,
    /// Something changed since the last decision.
    pub(super) changed: bool,
    /// Submitted at this instant, to be dropped if not started.
    pub(super) impatient: Vec<WorkloadId>,
    /// Workloads with pods evicted by the list of decisions that is carried out.
    pub(super) evicted: Vec<WorkloadId>,
    pub(super) budgets: Vec<Counted>,
    /// While a log is followed: pods whose eviction is decided and not yet carried out.
    pub(super) following: BTreeSet<PodId>,
    pub(super) reports: Vec<Option<Box<Reason>>>,
    pub(super) counts: Counts,
    pub(super) capacity: GpuShare,
    pub(super) allocated: GpuShare,
    pub(super) measured: Measured,
    pub(super) sampler: Sampler,
    /// The pool that workloads without a list try first.
    pub(super) first_pool: PoolId,
}

/// What is kept per project and per pool.
#[derive(Clone)]
pub(super) struct Measured {
    pub(super) projects: Vec<OfProject>,
    /// GPU share waited for, by first pool.
    pub(super) waiting: Vec<GpuShare>,
}

/// What is kept of a project.
#[derive(Clone, Default)]
pub(super) struct OfProject {
    pub(super) workloads: u64,
    pub(super) waits: Vec<i64>,
    pub(super) evictions: Evictions,
    pub(super) lost_share_millis: i128,
    pub(super) allocated: Amounts,
    pub(super) requested: GpuShare,
}

impl<'a> World<'a> {
    /// Runs to the end of the case.
    pub fn run(&mut self) -> Result<(), SimError> {
        let end = match self.case.until {
            Until::Time(end) => end,
            Until::Settled | Until::Idle => Timestamp(i64::MAX),
        };
        loop {
            self.instant()?;
            if self.case.until == Until::Settled && self.is_settled() {
                return Ok(());
            }
            if !self.advance(end) {
                break;
            }
        }
        if let Until::Time(end) = self.case.until {
            self.pass_to(end);
        }
        Ok(())
    }

    /// Lets time pass to the next instant at which something happens; false if there is none until `end`.
    pub(super) fn advance(&mut self, end: Timestamp) -> bool {
        let next = self.next_instant().filter(|next| *next <= end);
        if let Some(next) = next {
            self.pass_to(next);
        }
        next.is_some()
    }

    /// Everything of one instant.
    pub(super) fn instant(&mut self) -> Result<(), SimError> {
        while let Some(Reverse((at, due))) =
            self.due.peek().copied().filter(|Reverse((at, _))| *at <= self.now)
        {
            self.due.pop();
            self.come_due(at, due)?;
        }
        while let Some((_, happening)) =
            self.case.happenings.get(self.happened).filter(|(at, _)| *at <= self.now)
        {
            self.happened += 1;
            self.happen(happening)?;
        }
        while let Some(arrival) = self.arrivals.next_if(|a| a.spec.submitted <= self.now) {
            self.submit(arrival)?;
        }
        self.count_budgets()?;
        if self.changed || self.engine.next_timer().is_some_and(|timer| timer <= self.now) {
            self.decide()?;
            self.drop_impatient()?;
        }
        self.sample();
        Ok(())
    }

    /// Decides and acts; if the case runs until it is settled, until nothing more is decided.
    fn decide(&mut self) -> Result<(), SimError> {
        for _ in 0..ROUNDS_MAX {
            self.changed = false;
            let budget = Budget::UNLIMITED;
            let decisions = self.engine.decide(self.now, budget);
            self.counts.cycles += 1;
            for witness in &mut self.options.witnesses {
                witness.decided(self.now, budget, &decisions)?;
            }
            let mut acted = false;
            for decision in decisions {
                acted |= self.act(decision)?;
            }
            self.settle_evictions();
            self.count_budgets()?;
            if !acted || self.case.until != Until::Settled {
                return Ok(());
            }
        }
        Err(SimError::Endless)
    }

    /// Nothing is on its way out, and all that was to happen or to be submitted has been. That nothing is
    /// decided any more has been seen at this instant.
    pub(super) fn is_settled(&mut self) -> bool {
        self.counts.leaving == 0
            && self.happened == self.case.happenings.len()
            && self.arrivals.peek().is_none()
    }

    /// The next instant at which something happens.
    fn next_instant(&mut self) -> Option<Timestamp> {
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let happening = self.case.happenings.get(self.happened).map(|(at, _)| *at);
        let arrival = self.arrivals.peek().map(|a| a.spec.submitted);
        let timer = self.next_timer();
        [due, happening, arrival, timer].into_iter().flatten().min()
    }

    /// When the engine wants to decide although nothing happens. It has decided at this instant.
    fn next_timer(&self) -> Option<Timestamp> {
        self.engine.next_timer().filter(|timer| *timer > self.now)
    }

    /// Lets time pass.
    pub(super) fn pass_to(&mut self, next: Timestamp) {
        let millis = i128::from(next.since(self.now).0);
        self.counts.share_millis += i128::from(self.allocated.0) * millis;
        self.counts.capacity_millis += i128::from(self.capacity.0) * millis;
        self.now = next;
    }

    /// Gives an event to the engine.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), SimError> {
        self.changed = true;
        self.tell(event)
    }

    /// Gives an event to the engine that confirms what the engine already counts on.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), SimError> {
        for witness in &mut self.options.witnesses {
            witness.event(&event)?;
        }
        Ok(self.engine.apply(event)?)
    }

    /// Drops what was submitted at this instant, could not start, and does not wait.
    fn drop_impatient(&mut self) -> Result<(), SimError> {
        while let Some(workload) = self.impatient.pop() {
            if !self.state.jobs[workload.index()].started {
                self.counts.dropped += 1;
                self.remove(workload)?;
                // What was dropped leaves nothing behind that could let another start.
                self.changed = false;
            }
        }
        Ok(())
    }

    /// Takes a workload out that has no pods any more, or whose pods all end now.
    pub(super) fn remove(&mut self, workload: WorkloadId) -> Result<(), SimError> {
        for role in self.state.jobs[workload.index()].roles() {
            for pod in self.state.roles[role].pods() {
                self.release(workload, role, pod);
            }
        }
        self.state.jobs[workload.index()].state = JobState::Gone;
        self.forget_report(workload);
        self.apply(Event::WorkloadRemoved(workload))
    }

    pub(super) fn forget_report(&mut self, workload: WorkloadId) {
        if let Some(report) = self.reports.get_mut(workload.index()) {
            *report = None;
        }
    }

    pub(super) fn report_progress(&self) {
        if let Some(progress) =
            self.options.progress.filter(|_| self.counts.submitted.is_multiple_of(PROGRESS_STEP))
        {
            progress(self.counts.submitted, self.now);
        }
    }
}
