//! Decisions carried out, and the accounts of what pods take.

use super::SimError;
use super::run::{Due, World};
use super::state::{Job, Pod, PodPhase};
use berth_model::{
    Amounts, Decision, DeviceMask, Event, GpuShare, Placement, PodId, PodState, Reason, Timestamp, WorkloadId,
};
use std::cmp::Reverse;

impl World<'_> {
    /// Carries out one decision; true if a pod was placed or evicted.
    pub(super) fn act(&mut self, decision: Decision) -> Result<bool, SimError> {
        match decision {
            Decision::Place { pod, at } => self.place(pod, at).map(|()| true),
            Decision::Evict { pod, .. } => self.evict(pod, decision).map(|()| true),
            // The engine keeps what it reserves; nothing happens in the cluster.
            Decision::Reserve { .. } | Decision::Release { .. } | Decision::Warn { .. } => Ok(false),
            Decision::Report { workload, reason } => {
                self.report(workload, *reason);
                Ok(false)
            }
        }
    }

    fn report(&mut self, workload: WorkloadId, reason: Reason) {
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
        self.state.pods[index] = Pod { time: since, devices, node: at.node.0, phase: PodPhase::Running };
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

    fn evict(&mut self, pod: PodId, decision: Decision) -> Result<(), SimError> {
        let impossible = |why| SimError::Impossible { decision: Box::new(decision.clone()), why };
        let Some((role, index)) = self.state.find(pod) else {
            return Err(impossible("there is no such pod"));
        };
        if self.state.pods[index].phase != PodPhase::Running {
            return Err(impossible("the pod does not run"));
        }
        let job = self.state.jobs[pod.workload.index()];
        let Pod { time: since, node, devices, .. } = self.state.pods[index];
        let taken = self.state.taken(self.state.roles[role].shape, &self.nodes[node as usize], devices);
        if let Some(project) = self.measured.projects.get_mut(job.project as usize) {
            project.evictions += 1;
            let lost = self.now.since(since).0;
            project.lost_share_millis += i128::from(taken.gpu.0) * i128::from(lost);
        }
        self.counts.evictions += 1;
        self.ask_to_end(pod, role, index, PodPhase::Evicting)
    }

    /// A running pod is told to end, and will be gone after a while.
    pub(super) fn ask_to_end(
        &mut self,
        pod: PodId,
        role: usize,
        index: usize,
        phase: PodPhase,
    ) -> Result<(), SimError> {
        let job = self.state.jobs[pod.workload.index()];
        self.go_at(pod, role, index, phase, self.now.plus(job.exit));
        self.tell(Event::PodLeaving { pod, until: self.now.plus(job.grace) })
    }

    /// A running pod will be gone at `gone`.
    pub(super) fn go_at(&mut self, pod: PodId, role: usize, index: usize, phase: PodPhase, gone: Timestamp) {
        self.state.roles[role].up -= 1;
        let state = &mut self.state.pods[index];
        (state.phase, state.time) = (phase, gone);
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
            PodPhase::Evicting | PodPhase::Leaving => self.counts.leaving -= 1,
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
