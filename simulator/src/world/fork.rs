//! The same cluster led on in different ways, for `what-if`.

use super::SimError;
use super::run::{Due, Options, World};
use super::state::{Job, JobState, PodPhase};
use crate::case::{Arrival, Case, Happening, Load};
use berth_model::{Event, NodeId, NodeSpec, PoolId, QueueId, QueueQuota, Timestamp, WorkloadId};
use std::cmp::Reverse;

impl World<'_> {
    /// The same cluster at the same time. `case` has the same objects, and perhaps more after them; nothing of it is
    /// submitted or happens by itself any more.
    pub(crate) fn fork<'b>(&self, case: &'b Case, options: Options<'b>) -> World<'b> {
        let mut state = self.state.clone();
        state.jobs.resize(case.load.len().max(state.jobs.len()), Job::default());
        let no_more: Box<dyn Iterator<Item = Arrival> + 'b> = Box::new(std::iter::empty());
        let mut world = World {
            case,
            engine: self.engine.clone(),
            options,
            now: self.now,
            state,
            nodes: self.nodes.clone(),
            due: self.due.clone(),
            last_due: self.last_due,
            arrivals: no_more.peekable(),
            happened: case.happenings.len(),
            changed: true,
            impatient: Vec::new(),
            evicted: Vec::new(),
            budgets: self.budgets.clone(),
            following: Default::default(),
            reports: self.reports.clone(),
            counts: self.counts.clone(),
            capacity: self.capacity,
            allocated: self.allocated,
            measured: self.measured.clone(),
            sampler: self.sampler.clone(),
            first_pool: self.first_pool,
        };
        world.expect_ends();
        world
    }

    /// Workloads of which the input does not say for how long they run, run for as long as they have declared. One that
    /// has run for longer already may run for ever.
    fn expect_ends(&mut self) {
        let Load::Listed(arrivals) = &self.case.load else { return };
        for spec in arrivals.iter().map(|arrival| &arrival.spec) {
            let Some(expected) = spec.expected_runtime else { continue };
            let job = &self.state.jobs[spec.id.index()];
            if job.state != JobState::Present || job.runtime != Job::FOREVER {
                continue;
            }
            let running: Vec<Timestamp> = self
                .state
                .pods_of(spec.id)
                .map(|(_, _, pod)| self.state.pods[pod])
                .filter(|pod| pod.phase == PodPhase::Running)
                .map(|pod| pod.since.plus(expected))
                .collect();
            if running.iter().any(|end| *end <= self.now) {
                continue;
            }
            self.state.jobs[spec.id.index()].runtime = expected;
            let due = Due::Finished(spec.id.0 as u32);
            self.due.extend(running.into_iter().map(|end| Reverse((end, due))));
        }
    }

    /// Runs until `end`, whatever the case says about it.
    pub(crate) fn run_to(&mut self, end: Timestamp) -> Result<(), SimError> {
        self.instant()?;
        while self.advance(end) {
            self.instant()?;
        }
        self.pass_to(end.max(self.now));
        Ok(())
    }

    /// Runs until nothing leaves, nothing is decided any more and `done` holds, or until nothing more can happen, but not
    /// beyond `end`.
    pub(crate) fn run_until(
        &mut self,
        end: Timestamp,
        done: impl Fn(&World<'_>) -> bool,
    ) -> Result<(), SimError> {
        loop {
            self.instant()?;
            if (self.is_settled() && done(self)) || !self.advance(end) {
                return Ok(());
            }
        }
    }

    /// A workload is submitted now.
    pub(crate) fn submit_now(&mut self, arrival: Arrival) -> Result<(), SimError> {
        self.submit(arrival)
    }

    /// A node is added; its id is the next.
    pub(crate) fn add_node(&mut self, node: NodeSpec) -> Result<(), SimError> {
        self.nodes.push(node.clone());
        self.measure_capacity();
        self.apply(Event::NodeSet(node))
    }

    /// A node is removed: its pods are pending again.
    pub(crate) fn remove_node(&mut self, node: NodeId) -> Result<(), SimError> {
        self.happen(&Happening::NodeDown(node))?;
        self.apply(Event::NodeRemoved(node))
    }

    /// A quota changes.
    pub(crate) fn set_quota(
        &mut self,
        queue: QueueId,
        pool: PoolId,
        quota: QueueQuota,
    ) -> Result<(), SimError> {
        self.apply(Event::QuotaSet { queue, pool, quota })
    }

    /// The workloads that are there.
    pub(crate) fn present(&self) -> Vec<WorkloadId> {
        let all = (0..self.state.jobs.len() as u64).map(WorkloadId);
        all.filter(|workload| self.is_present(*workload)).collect()
    }

    /// It has been submitted, and has not ended.
    pub(crate) fn is_present(&self, workload: WorkloadId) -> bool {
        matches!(self.state.jobs[workload.index()].state, JobState::Present | JobState::Deleting)
    }

    /// It is there, and not all of its minimums run.
    pub(crate) fn is_short(&self, workload: WorkloadId) -> bool {
        let job = &self.state.jobs[workload.index()];
        let short = || self.state.roles[job.roles()].iter().any(|role| role.up < role.min);
        job.state == JobState::Present && short()
    }

    /// GPU work lost by evictions so far, over all projects: millionths of a device times milliseconds.
    pub(crate) fn lost_share_millis(&self) -> i128 {
        self.measured.projects.iter().map(|project| project.lost_share_millis).sum()
    }

    /// Why a workload waits, and what would start it, in words.
    pub(crate) fn why(&self, workload: WorkloadId) -> (String, String) {
        let waiting = self.pending_of(workload);
        (waiting.reason, waiting.change)
    }
}
