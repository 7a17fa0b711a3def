//! Decisions carried out, and the accounts of what pods take.

use super::SimError;
use super::run::{Due, World};
use super::state::{Job, Pod, PodPhase};
use berth_model::{
    Amounts, Cause, Decision, DeviceMask, Event, GpuShare, Millis, Placement, PodId, PodState, Reason,
    Timestamp, WorkloadId,
};
use std::cmp::Reverse;

/// Why work is thrown away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// Its workload was evicted.
    Evicted,
    /// Its node failed.
    Failed,
}

impl World<'_> {
    /// Carries out one decision; true if the next call of `decide` could decide more because of it.
    pub(super) fn act(&mut self, decision: Decision) -> Result<bool, SimError> {
        match decision {
            Decision::Place { pod, at } => self.place(pod, at).map(|()| true),
            Decision::Evict { pod, grace, cause, .. } => {
                self.evict(pod, grace, cause, decision).map(|()| true)
            }
            // The engine keeps what it reserves: nothing happens in the cluster, but others may find room now.
            Decision::Reserve { .. } | Decision::Release { .. } => Ok(true),
            Decision::Warn { .. } => Ok(false),
            Decision::Report { workload, reason } => {
                self.report(workload, *reason);
                Ok(false)
            }
        }
    }

    pub(super) fn report(&mut self, workload: WorkloadId, reason: Reason) {
        if self.reports.len() <= workload.index() {
            self.reports.resize_with(workload.index() + 1, || None);
        }
        self.reports[workload.index()] = Some(Box::new(reason));
    }

    fn place(&mut self, pod: PodId, at: Placement) -> Result<(), SimError> {
        let impossible = |why| SimError::Impossible { decision: Box::new(Decision::Place { pod, at }), why };
        let Some((role, index)) = self.state.find(pod) else {
            return Err(impossible("there is no such pod"));
        };
        if self.state.pods[index].phase != PodPhase::Pending {
            return Err(impossible("the pod is not pending"));
        }
        if self.nodes.get(at.node.index()).is_none_or(|node| !node.ready) {
            return Err(impossible("the node is not there or not ready"));
        }
        self.counts.placements += 1;
        self.occupy(pod.workload, role, index, at, self.now);
        self.tell(Event::PodRunning(PodState::new(pod, at.node, at.gpus, self.now)))
    }

    /// A pod runs from now on: accounts, its end, and whether its workload has started.
    pub(super) fn occupy(
        &mut self,
        workload: WorkloadId,
        role: usize,
        index: usize,
        at: Placement,
        since: Timestamp,
    ) {
        let devices = at.gpus.devices();
        let pod = &mut self.state.pods[index];
        let since = Timestamp(since.0.saturating_sub(pod.kept.0));
        let phase = PodPhase::Running;
        *pod = Pod { since, gone: since, kept: Millis::ZERO, devices, node: at.node.0, phase };
        self.account(workload, role, index, 1);
        self.state.roles[role].up += 1;
        let job = &mut self.state.jobs[workload.index()];
        job.placed += 1;
        if job.runtime != Job::FOREVER {
            let end = since.plus(job.runtime).max(self.now);
            let entry = (end, Due::Finished(workload.0 as u32));
            // The pods of a gang end together: one entry is enough.
            if self.last_due != Some(entry) {
                self.due.push(Reverse(entry));
                self.last_due = Some(entry);
            }
        }
        if !job.started {
            self.start_if_complete(workload);
        }
    }

    /// Notes the first time at which all minimums of a workload run.
    fn start_if_complete(&mut self, workload: WorkloadId) {
        let job = self.state.jobs[workload.index()];
        if self.state.roles[job.roles()].iter().all(|role| role.up >= role.min) {
            self.state.jobs[workload.index()].started = true;
            self.counts.started += 1;
            if let Some(project) = self.measured.projects.get_mut(job.project as usize) {
                project.waits.push(self.now.since(job.submitted).0.max(0));
            }
        }
    }

    fn evict(&mut self, pod: PodId, grace: Millis, cause: Cause, decision: Decision) -> Result<(), SimError> {
        let impossible = |why| SimError::Impossible { decision: Box::new(decision.clone()), why };
        let Some((role, index)) = self.state.find(pod) else {
            return Err(impossible("there is no such pod"));
        };
        if self.state.pods[index].phase != PodPhase::Running {
            return Err(impossible("the pod does not run"));
        }
        let project = self.state.jobs[pod.workload.index()].project as usize;
        if let Some(project) = self.measured.projects.get_mut(project) {
            project.evictions.add(cause);
        }
        self.counts.evictions.add(cause);
        self.evicted.push(pod.workload);
        self.disrupt(pod.workload, role);
        self.ask_to_end(pod, role, index, PodPhase::Yielding, grace.max(Job::GRACE_MIN))
    }

    /// After a list of decisions: the workloads of which it has stopped a minimum lose all their work, those that go on
    /// with fewer pods none (S20).
    pub(super) fn settle_evictions(&mut self) {
        self.evicted.sort_unstable();
        self.evicted.dedup();
        for workload in std::mem::take(&mut self.evicted) {
            let roles = self.state.jobs[workload.index()].roles();
            if self.state.roles[roles.clone()].iter().all(|role| role.up >= role.min) {
                continue;
            }
            for role in roles {
                for index in self.state.roles[role].pods() {
                    let pod = &mut self.state.pods[index];
                    if pod.phase == PodPhase::Yielding {
                        pod.phase = PodPhase::Evicting;
                    }
                    let kept = std::mem::take(&mut pod.kept);
                    self.lose_work(workload, role, index, kept, Loss::Evicted);
                }
            }
        }
    }

    /// Work of a pod is thrown away: what its GPUs did for so long.
    pub(super) fn lose_work(
        &mut self,
        workload: WorkloadId,
        role: usize,
        index: usize,
        worked: Millis,
        loss: Loss,
    ) {
        let lost = self.work(role, index, worked);
        // What was done before the simulation began is no part of what was given out in it.
        self.counts.wasted_share_millis += self.work(role, index, worked.min(self.now.since(Timestamp(0))));
        let project = self.state.jobs[workload.index()].project as usize;
        if let Some(project) = self.measured.projects.get_mut(project).filter(|_| loss == Loss::Evicted) {
            project.lost_share_millis += lost;
        }
    }

    /// GPU work of a pod in so much time.
    fn work(&self, role: usize, index: usize, worked: Millis) -> i128 {
        let Pod { node, devices, .. } = self.state.pods[index];
        let shape = self.state.roles[role].shape;
        let taken = match self.nodes.get(node as usize) {
            Some(node) => self.state.taken(shape, node, devices),
            None => self.state.shapes[shape as usize].nominal,
        };
        i128::from(taken.gpu.0) * i128::from(worked.0.max(0))
    }

    /// A running pod is told to end, and will be gone after a while.
    pub(super) fn ask_to_end(
        &mut self,
        pod: PodId,
        role: usize,
        index: usize,
        phase: PodPhase,
        grace: Millis,
    ) -> Result<(), SimError> {
        let exit = self.state.jobs[pod.workload.index()].exit.min(grace);
        self.go_at(pod, role, index, phase, self.now.plus(exit));
        self.tell(Event::PodLeaving { pod, until: self.now.plus(grace) })
    }

    /// A running pod will be gone at `gone`.
    pub(super) fn go_at(&mut self, pod: PodId, role: usize, index: usize, phase: PodPhase, gone: Timestamp) {
        self.state.roles[role].up -= 1;
        let state = &mut self.state.pods[index];
        (state.phase, state.gone) = (phase, gone);
        self.counts.leaving += 1;
        let due = Due::Gone { workload: pod.workload.0 as u32, role: pod.role, index: pod.index };
        self.due.push(Reverse((gone, due)));
    }

    /// Gives back what a pod takes, if it has a place; it has ended for good.
    pub(super) fn release(&mut self, workload: WorkloadId, role: usize, index: usize) {
        self.vacate(workload, role, index);
        let state = &mut self.state.pods[index];
        if state.phase != PodPhase::Ended {
            state.phase = PodPhase::Ended;
            self.state.jobs[workload.index()].wanted -= 1;
            self.request(workload, role, -1);
        }
    }

    /// Gives back what a pod takes, if it has a place; it is pending again.
    pub(super) fn vacate(&mut self, workload: WorkloadId, role: usize, index: usize) {
        match self.state.pods[index].phase {
            PodPhase::Pending | PodPhase::Ended => return,
            PodPhase::Running => self.state.roles[role].up -= 1,
            PodPhase::Evicting | PodPhase::Yielding | PodPhase::Leaving => self.counts.leaving -= 1,
        }
        self.account(workload, role, index, -1);
        self.state.jobs[workload.index()].placed -= 1;
        let pod = &mut self.state.pods[index];
        (pod.phase, pod.node, pod.devices) = (PodPhase::Pending, u32::MAX, DeviceMask(0));
    }

    /// Adds what a pod takes at its place to the accounts, or takes it off.
    fn account(&mut self, workload: WorkloadId, role: usize, index: usize, sign: i64) {
        let Pod { node, devices, .. } = self.state.pods[index];
        let taken = self.state.taken(self.state.roles[role].shape, &self.nodes[node as usize], devices);
        self.allocated.0 += sign * taken.gpu.0;
        let job = self.state.jobs[workload.index()];
        let nominal = self.state.shapes[self.state.roles[role].shape as usize].nominal.gpu.0;
        self.measured.waiting[usize::from(job.first_pool)].0 -= sign * nominal;
        let project = self.state.jobs[workload.index()].project as usize;
        if let Some(project) = self.measured.projects.get_mut(project) {
            let Amounts { gpu, cpu, memory } = &mut project.allocated;
            gpu.0 += sign * taken.gpu.0;
            cpu.0 += sign * taken.cpu.0;
            memory.0 += sign * taken.memory.0;
        }
    }

    /// Adds what some pods of a role want to what is requested, or takes it off.
    pub(super) fn request(&mut self, workload: WorkloadId, role: usize, pods: i64) {
        let job = self.state.jobs[workload.index()];
        let share = self.state.shapes[self.state.roles[role].shape as usize].nominal.gpu.0 * pods;
        self.measured.waiting[usize::from(job.first_pool)] += GpuShare(share);
        if let Some(project) = self.measured.projects.get_mut(job.project as usize) {
            project.requested += GpuShare(share);
        }
    }
}
