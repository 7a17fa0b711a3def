//! What queues use and may use (S2, S6): quotas, limits, charges.

use super::devices::charge;
use super::fair::in_mib;
use super::order::Want;
use super::state::State;
use super::views::Seats;
use berth_model::{GpuGrant, NodeId, PodId, PoolId, QueueId, QueueQuota, Quota, ReasonKind, WorkloadSpec};

/// GPU millionths, CPU thousandths, bytes.
pub(crate) type Ask = [i64; 3];

/// Quota and limit, resource by resource.
pub(crate) fn bounds(quota: QueueQuota) -> [(Quota, Option<i64>); 3] {
    [quota.gpu, quota.cpu, quota.memory].map(|r| (r.quota, r.limit))
}

impl State {
    /// What is asked of the quotas.
    pub(crate) fn ask(&self, want: &Want, pool: PoolId) -> Ask {
        self.charge_of(&self.workloads[&want.workload], &want.pods, pool)
    }

    /// What so many pods of each role are charged. Which device MiB will be of is not known yet: the largest of the
    /// pool counts.
    pub(crate) fn charge_of(&self, workload: &WorkloadSpec, pods: &[u32], pool: PoolId) -> Ask {
        let devices = self.ready_nodes(pool).into_iter().flat_map(|n| &n.devices);
        let largest = devices.map(|d| d.memory.0).max();
        let mut ask = [0; 3];
        for (role, n) in workload.roles.iter().zip(pods) {
            let pod = &role.pod;
            let each = match largest {
                None if in_mib(pod.gpu) => 0,
                largest => charge(pod.gpu, largest.unwrap_or(1)) * i64::from(pod.gpu.devices()),
            };
            let one = [each, pod.requests.cpu.0, pod.requests.memory.0];
            (0..3).for_each(|r| ask[r] += one[r] * i64::from(*n));
        }
        ask
    }

    /// Quota, limit and weight of a queue in a pool.
    pub(crate) fn quota(&self, queue: Option<QueueId>, pool: PoolId) -> QueueQuota {
        let quotas = match queue {
            None => return QueueQuota::default(),
            Some(QueueId::Department(id)) => &self.departments[&id].quotas,
            Some(QueueId::Project(id)) => &self.projects[&id].quotas,
        };
        quotas.iter().find(|(of, _)| *of == pool).map_or_else(QueueQuota::default, |(_, quota)| *quota)
    }

    /// True if the workload is of the queue; no queue stands for all unmanaged namespaces.
    pub(crate) fn is_of(&self, workload: &WorkloadSpec, queue: Option<QueueId>) -> bool {
        match queue {
            None => workload.project.is_none(),
            Some(QueueId::Project(id)) => workload.project == Some(id),
            Some(QueueId::Department(id)) => {
                workload.project.is_some_and(|project| self.projects[&project].department == id)
            }
        }
    }

    /// What a queue is charged in a pool: what stays, and of what leaves and what has room kept whichever is more.
    pub(crate) fn used(&self, queue: Option<QueueId>, pool: PoolId, non_preemptible: bool) -> Ask {
        if !self.doubles.is_empty() {
            let mut once = self.clone();
            once.doubles.clear();
            return once.used(queue, pool, non_preemptible);
        }
        let [now, then] = [self.seats_now(), self.seats_then()]
            .map(|seats| self.used_by(&seats, queue, pool, non_preemptible));
        std::array::from_fn(|r| now[r].max(then[r]))
    }

    fn used_by(&self, seats: &Seats, queue: Option<QueueId>, pool: PoolId, non_preemptible: bool) -> Ask {
        let mut used = [0; 3];
        for (pod, seat) in seats {
            let workload = &self.workloads[&pod.workload];
            let counts = self.is_of(workload, queue) && !(non_preemptible && workload.preemptible);
            if counts && self.pool_of(&self.nodes[&seat.node]) == Some(pool) {
                let cost = self.cost(*pod, seat.node, seat.gpus);
                (0..3).for_each(|r| used[r] += cost[r]);
            }
        }
        used
    }

    /// What one pod is charged on a node.
    pub(crate) fn cost(&self, pod: PodId, node: NodeId, gpus: GpuGrant) -> Ask {
        let spec = &self.workloads[&pod.workload].roles[usize::from(pod.role)].pod;
        [self.gpu_cost(node, spec.gpu, gpus), spec.requests.cpu.0, spec.requests.memory.0]
    }

    /// S6, for the resources that are asked for and managed: the first gate that is shut, project before department.
    pub(crate) fn gate(&self, workload: &WorkloadSpec, pool: PoolId, ask: Ask) -> Result<(), ReasonKind> {
        self.gate_beside(workload, pool, ask, true)
    }

    /// As [`Self::gate`], with the limits as if nothing else ran (S7, decision 0002).
    pub(crate) fn gate_alone(
        &self,
        workload: &WorkloadSpec,
        pool: PoolId,
        ask: Ask,
    ) -> Result<(), ReasonKind> {
        self.gate_beside(workload, pool, ask, false)
    }

    fn gate_beside(
        &self,
        workload: &WorkloadSpec,
        pool: PoolId,
        ask: Ask,
        others: bool,
    ) -> Result<(), ReasonKind> {
        for queue in self.path(workload) {
            let all = self.used(Some(queue), pool, false);
            let fixed = self.used(Some(queue), pool, true);
            for (r, (quota, limit)) in bounds(self.quota(Some(queue), pool)).into_iter().enumerate() {
                if ask[r] == 0 || (quota == Quota::Unmanaged && limit.is_none()) {
                    continue;
                }
                if limit.is_some_and(|limit| (if others { all[r] } else { 0 }) + ask[r] > limit) {
                    return Err(ReasonKind::Limit);
                }
                if !workload.preemptible && matches!(quota, Quota::Of(quota) if fixed[r] + ask[r] > quota) {
                    return Err(ReasonKind::Quota);
                }
            }
        }
        Ok(())
    }

    /// The project of a workload and its department.
    pub(crate) fn path(&self, workload: &WorkloadSpec) -> Vec<QueueId> {
        let project = workload.project.into_iter();
        project
            .flat_map(|p| [QueueId::Project(p), QueueId::Department(self.projects[&p].department)])
            .collect()
    }
}
