//! Events: what ends, what happens by itself, what is submitted.

use super::SimError;
use super::act::Loss;
use super::run::{Due, World};
use super::state::{Job, JobState, Pod, PodPhase};
use crate::case::{Arrival, Found, FoundState, Happening};
use berth_model::{
    DeviceHealth, DeviceIndex, Event, GpuMemoryMib, NodeId, Placement, PodId, PodOutcome, PodState,
    Timestamp, WorkloadId,
};

impl World<'_> {
    /// What was due at `at` comes about, unless it has been overtaken.
    pub(super) fn come_due(&mut self, at: Timestamp, due: Due) -> Result<(), SimError> {
        match due {
            Due::Finished(workload) => self.finish(WorkloadId(u64::from(workload))),
            Due::Gone { workload, role, index } => {
                let pod = PodId { workload: WorkloadId(u64::from(workload)), role, index };
                self.gone(at, pod)
            }
        }
    }

    /// Those pods of a workload end that have run for their time, evicted ones that are still there too; with the last
    /// of them, the workload.
    fn finish(&mut self, workload: WorkloadId) -> Result<(), SimError> {
        let job = self.state.jobs[workload.index()];
        if !matches!(job.state, JobState::Present | JobState::Deleting) {
            return Ok(());
        }
        let ended = |world: &Self, pod: usize| {
            let pod = world.state.pods[pod];
            let works = pod.phase == PodPhase::Running || pod.phase.is_evicted();
            works && pod.since.plus(job.runtime) <= world.now
        };
        let count = |world: &Self| {
            let pods = job.roles().flat_map(|role| world.state.roles[role].pods());
            pods.filter(|pod| ended(world, *pod)).count() as u32
        };
        match count(self) {
            0 => return Ok(()),
            all if all == job.wanted => {
                self.counts.completed += 1;
                return self.remove(workload);
            }
            _ => {}
        }
        for (role, number) in job.roles().zip(0u16..) {
            for (pod, index) in self.state.roles[role].pods().zip(0u32..) {
                if ended(self, pod) {
                    self.release(workload, role, pod);
                    // It has succeeded, and counts towards the minimum (S27).
                    self.state.roles[role].up += 1;
                    let pod = PodId { workload, role: number, index };
                    self.apply(Event::PodEnded { pod, outcome: PodOutcome::Succeeded })?;
                }
            }
        }
        Ok(())
    }

    /// A pod that was told to end is gone.
    fn gone(&mut self, at: Timestamp, pod: PodId) -> Result<(), SimError> {
        let Some((role, index)) = self.state.find(pod) else { return Ok(()) };
        let state = self.state.pods[index];
        if state.gone == at && (state.phase == PodPhase::Leaving || state.phase.is_evicted()) {
            self.lose(pod, role, index)?;
        }
        Ok(())
    }

    /// A pod with a place is gone: pending again, or ended if its owner deleted it.
    fn lose(&mut self, pod: PodId, role: usize, index: usize) -> Result<(), SimError> {
        if self.state.pods[index].phase != PodPhase::Leaving {
            self.end_work(pod.workload, role, index);
            self.vacate(pod.workload, role, index);
            return self.apply(Event::PodEnded { pod, outcome: PodOutcome::Evicted });
        }
        self.release(pod.workload, role, index);
        let job = self.state.jobs[pod.workload.index()];
        if job.state == JobState::Deleting && job.wanted == 0 {
            return self.remove(pod.workload);
        }
        self.apply(Event::PodEnded { pod, outcome: PodOutcome::Deleted })
    }

    /// What becomes of the work of a pod that is pending from now on.
    pub(super) fn end_work(&mut self, workload: WorkloadId, role: usize, index: usize) {
        let Pod { since, phase, .. } = self.state.pods[index];
        let worked = self.now.since(since);
        match phase {
            PodPhase::Yielding => self.state.pods[index].kept = worked,
            PodPhase::Evicting => self.lose_work(workload, role, index, worked, Loss::Evicted),
            PodPhase::Running => self.lose_work(workload, role, index, worked, Loss::Failed),
            PodPhase::Pending | PodPhase::Leaving | PodPhase::Ended => {}
        }
    }

    /// Something happens by itself.
    pub(super) fn happen(&mut self, happening: &Happening) -> Result<(), SimError> {
        match *happening {
            Happening::NodeDown(node) => self.node_down(node),
            Happening::NodeUp(node) => {
                self.nodes[node.index()].ready = true;
                self.node_condition(node)
            }
            Happening::Cordon(node) => {
                self.nodes[node.index()].unschedulable = true;
                self.node_condition(node)
            }
            Happening::Delete(workload) => self.delete(workload),
            Happening::Resize(queue, pool, quota) => self.apply(Event::QuotaSet { queue, pool, quota }),
            Happening::Health(node, device, health) => self.device_health(node, device, health),
            Happening::Foreign(node, device, memory) => {
                self.apply(Event::DeviceForeign { node, device, memory })
            }
            Happening::Uses(pod, memory) => self.uses(pod, memory),
        }
    }

    fn node_condition(&mut self, node: NodeId) -> Result<(), SimError> {
        self.measure_capacity();
        let spec = &self.nodes[node.index()];
        let (ready, unschedulable) = (spec.ready, spec.unschedulable);
        self.apply(Event::NodeCondition { node, ready, unschedulable })
    }

    /// A node fails, and every pod on it is lost.
    fn node_down(&mut self, node: NodeId) -> Result<(), SimError> {
        self.nodes[node.index()].ready = false;
        self.node_condition(node)?;
        for workload in (0..self.state.jobs.len() as u64).map(WorkloadId) {
            if self.state.jobs[workload.index()].placed == 0 {
                continue;
            }
            let there: Vec<_> = self
                .state
                .pods_of(workload)
                .filter(|(_, _, pod)| self.state.pods[*pod].node == node.0)
                .collect();
            for (pod, role, index) in there {
                self.lose(pod, role, index)?;
            }
        }
        Ok(())
    }

    fn device_health(
        &mut self,
        node: NodeId,
        device: DeviceIndex,
        health: DeviceHealth,
    ) -> Result<(), SimError> {
        if let Some(spec) = self.nodes[node.index()].devices.get_mut(usize::from(device.0)) {
            spec.health = health;
        }
        self.measure_capacity();
        self.apply(Event::DeviceHealth { node, device, health })
    }

    fn uses(&mut self, pod: PodId, memory: GpuMemoryMib) -> Result<(), SimError> {
        let Some((_, index)) = self.state.find(pod) else { return Ok(()) };
        for device in self.state.pods[index].devices.iter() {
            self.apply(Event::PodMemory { pod, device, memory })?;
        }
        Ok(())
    }

    /// A workload's owner deletes it: pods that run are told to end, the others are not wanted any more.
    fn delete(&mut self, workload: WorkloadId) -> Result<(), SimError> {
        let job = &mut self.state.jobs[workload.index()];
        match job.state {
            JobState::Absent => {
                // It will not be submitted.
                job.state = JobState::Gone;
                return Ok(());
            }
            JobState::Present => job.state = JobState::Deleting,
            JobState::Deleting | JobState::Gone => return Ok(()),
        }
        self.counts.deleted += 1;
        if self.state.jobs[workload.index()].placed == 0 {
            return self.remove(workload);
        }
        self.forget_report(workload);
        let job = self.state.jobs[workload.index()];
        let pods: Vec<_> = self.state.pods_of(workload).collect();
        for (pod, role, index) in pods {
            match self.state.pods[index].phase {
                PodPhase::Running => {
                    self.changed = true;
                    self.ask_to_end(pod, role, index, PodPhase::Leaving, job.grace)?;
                }
                PodPhase::Evicting | PodPhase::Yielding => self.state.pods[index].phase = PodPhase::Leaving,
                PodPhase::Pending => {
                    self.release(workload, role, index);
                    self.apply(Event::PodEnded { pod, outcome: PodOutcome::Deleted })?;
                }
                PodPhase::Leaving | PodPhase::Ended => {}
            }
        }
        Ok(())
    }

    /// A workload is submitted, with the pods of it that are found at the start.
    pub(super) fn submit(&mut self, arrival: Arrival) -> Result<(), SimError> {
        let workload = arrival.spec.id;
        if self.state.jobs[workload.index()].state == JobState::Gone {
            return Ok(());
        }
        let job = *self.state.submit(&arrival, &self.case.cluster.projects, self.first_pool);
        for role in job.roles() {
            self.request(workload, role, i64::from(self.state.roles[role].count));
        }
        if let Some(project) = self.measured.projects.get_mut(job.project as usize) {
            project.workloads += 1;
        }
        self.counts.submitted += 1;
        self.report_progress();
        if arrival.life.impatient {
            self.impatient.push(workload);
        }
        self.join_budgets(&arrival.spec);
        self.apply(Event::WorkloadSet(arrival.spec))?;
        arrival.found.iter().try_for_each(|found| self.find_pod(found, job))
    }

    /// A pod is found running or ended at the start.
    fn find_pod(&mut self, found: &Found, job: Job) -> Result<(), SimError> {
        let pod = found.pod;
        let Some((role, index)) = self.state.find(pod) else { return Ok(()) };
        match found.state {
            FoundState::Running { node, gpus, since, leaving } => {
                self.occupy(pod.workload, role, index, Placement { node, gpus }, since);
                let gone = leaving.then(|| self.now.plus(job.grace));
                self.apply(Event::PodRunning(PodState {
                    leaving: gone,
                    ..PodState::new(pod, node, gpus, since)
                }))?;
                if let Some(gone) = gone {
                    self.go_at(pod, role, index, PodPhase::Leaving, gone);
                }
            }
            FoundState::Ended(outcome) => {
                self.release(pod.workload, role, index);
                if outcome == PodOutcome::Succeeded {
                    self.state.roles[role].up += 1;
                }
                self.apply(Event::PodEnded { pod, outcome })?;
            }
        }
        Ok(())
    }
}
