//! A recorded log followed: the world comes to be as the log says, and the engine as it was.

use super::run::{Options, World};
use super::state::{JobState, PodPhase};
use crate::case::{Arrival, Case};
use berth_model::{
    Budget, Decision, Event, EventError, NodeId, Placement, PodId, PodOutcome, PodState, Timestamp,
    WorkloadId,
};

/// Why a log cannot be followed any further.
#[derive(Debug)]
pub(crate) enum FollowError {
    /// The engine refused an event.
    Refused(EventError),
    /// The engine decided something else than the log says.
    Different,
    /// The log does something to an object that is not there.
    Unknown(String),
}

impl<'a> World<'a> {
    /// A world in which nothing is yet, to follow a log whose objects are those of `case`.
    pub(crate) fn to_follow(case: &'a Case, options: Options<'a>) -> Self {
        let mut world = Self::unknown(case, options);
        world.measure_capacity();
        world
    }

    /// Lets time pass in the log.
    pub(crate) fn follow_time(&mut self, now: Timestamp) {
        self.pass_to(now.max(self.now));
    }

    /// The engine decides, as it did when the log was written.
    pub(crate) fn follow_cycle(
        &mut self,
        now: Timestamp,
        budget: Budget,
        decisions: &[Decision],
    ) -> Result<(), FollowError> {
        if self.engine.decide(now, budget) != decisions {
            return Err(FollowError::Different);
        }
        for decision in decisions {
            match decision {
                Decision::Evict { pod, cause, .. } => {
                    self.counts.evictions.add(*cause);
                    // What leaves from now on is pending again, unless its owner deletes it.
                    self.following.insert(*pod);
                }
                Decision::Report { workload, reason } => self.report(*workload, (**reason).clone()),
                _ => {}
            }
        }
        Ok(())
    }

    /// One event of the log. `arrival` says what is known of a workload that is set.
    pub(crate) fn follow(
        &mut self,
        event: Event,
        arrival: impl Fn(WorkloadId) -> Option<Arrival>,
    ) -> Result<(), FollowError> {
        self.engine.apply(event.clone()).map_err(FollowError::Refused)?;
        match event {
            Event::WorkloadSet(spec) => {
                let job = self.state.jobs.get(spec.id.index());
                let arrival = arrival(spec.id).filter(|_| job.is_some_and(|j| j.state == JobState::Absent));
                if let Some(arrival) = arrival {
                    self.follow_submission(&arrival);
                }
                Ok(())
            }
            Event::WorkloadRemoved(workload) => {
                for (_, role, index) in self.state.pods_of(workload).collect::<Vec<_>>() {
                    self.release(workload, role, index);
                }
                self.state.jobs[workload.index()].state = JobState::Gone;
                self.forget_report(workload);
                Ok(())
            }
            Event::PodRunning(state) => self.follow_running(&state),
            Event::PodLeaving { pod, until } => {
                let (role, index) = self.known(pod)?;
                let evicted = self.following.remove(&pod);
                let job = self.state.jobs[pod.workload.index()];
                let gone = Timestamp(until.0 - job.grace.0).plus(job.exit.min(job.grace));
                if self.state.pods[index].phase == PodPhase::Running {
                    let phase = if evicted { PodPhase::Yielding } else { PodPhase::Leaving };
                    self.go_at(pod, role, index, phase, gone.max(self.now));
                }
                self.evicted.push(pod.workload);
                self.settle_evictions();
                Ok(())
            }
            Event::PodEnded { pod, outcome } => self.follow_end(pod, outcome),
            Event::BindFailed { pod, .. } | Event::EvictFailed { pod } => {
                let (role, index) = self.known(pod)?;
                if matches!(event, Event::BindFailed { .. }) {
                    self.vacate(pod.workload, role, index);
                }
                self.following.remove(&pod);
                Ok(())
            }
            Event::NodeRemoved(node) => {
                self.follow_node_removed(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn known(&self, pod: PodId) -> Result<(usize, usize), FollowError> {
        self.state.find(pod).ok_or_else(|| FollowError::Unknown(pod.to_string()))
    }

    fn follow_submission(&mut self, arrival: &Arrival) {
        let job = *self.state.submit(arrival, &self.case.cluster.projects, self.first_pool);
        for role in job.roles() {
            self.request(arrival.spec.id, role, i64::from(self.state.roles[role].count));
        }
        if let Some(project) = self.measured.projects.get_mut(job.project as usize) {
            project.workloads += 1;
        }
        self.counts.submitted += 1;
    }

    fn follow_running(&mut self, state: &PodState) -> Result<(), FollowError> {
        let (role, index) = self.known(state.pod)?;
        if self.state.pods[index].phase != PodPhase::Pending {
            return Ok(());
        }
        if self.nodes.get(state.node.index()).is_none() {
            return Err(FollowError::Unknown(state.node.to_string()));
        }
        let at = Placement { node: state.node, gpus: state.gpus };
        self.occupy(state.pod.workload, role, index, at, state.since);
        if let Some(until) = state.leaving {
            let phase = if state.evicted { PodPhase::Evicting } else { PodPhase::Leaving };
            self.go_at(state.pod, role, index, phase, until);
        }
        Ok(())
    }

    fn follow_end(&mut self, pod: PodId, outcome: PodOutcome) -> Result<(), FollowError> {
        let (role, index) = self.known(pod)?;
        match outcome {
            PodOutcome::Evicted => {
                self.end_work(pod.workload, role, index);
                self.vacate(pod.workload, role, index);
            }
            PodOutcome::Deleted | PodOutcome::Failed => self.release(pod.workload, role, index),
            PodOutcome::Succeeded => {
                self.release(pod.workload, role, index);
                self.state.roles[role].up += 1;
            }
        }
        Ok(())
    }

    fn follow_node_removed(&mut self, node: NodeId) {
        for workload in self.present() {
            for (_, role, index) in self.state.pods_of(workload).collect::<Vec<_>>() {
                if self.state.pods[index].node == node.0 {
                    self.end_work(workload, role, index);
                    self.vacate(workload, role, index);
                }
            }
        }
    }
}
