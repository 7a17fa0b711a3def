//! What each workload wants next, whose turn it is (S8, S9), and the gates (S6).

use super::devices::charge;
use super::state::State;
use berth_model::{
    GpuRequest, PodId, PodOutcome, PoolId, Priority, ProjectId, QueueId, QueueQuota, Quota, ReasonKind,
    Timestamp, WorkloadId, WorkloadSpec,
};
use std::cmp::Reverse;

/// GPU millionths, CPU thousandths, bytes.
pub(crate) type Ask = [i64; 3];

/// What a workload wants next: all its missing minimums, or one pod more of one role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Want {
    pub(crate) workload: WorkloadId,
    /// The only pool it may go to, because others of it are there.
    pub(crate) pool: Option<PoolId>,
    /// Pods, per role.
    pub(crate) pods: Vec<u32>,
    /// It is above the minimum.
    pub(crate) elastic: bool,
    /// Where its other pods are matters (S31), so nobody shares its verdict.
    pub(crate) alone: Option<WorkloadId>,
}

/// S8 at one level: within quota, rank, the older head workload, its id.
pub(crate) type QueueKey = (bool, Reverse<i32>, Timestamp, WorkloadId);

impl State {
    /// Everything that waits.
    pub(crate) fn wants(&self) -> Vec<Want> {
        self.workloads.values().flat_map(|workload| self.wants_of(workload)).collect()
    }

    /// What a workload wants, in the order of its roles. Below a minimum that it can no longer reach: nothing.
    pub(crate) fn wants_of(&self, workload: &WorkloadSpec) -> Vec<Want> {
        let roles = workload.roles.len();
        let missing: Vec<u32> = (0..roles).map(|role| self.missing(workload, role)).collect();
        let waiting: Vec<u32> = (0..roles).map(|role| self.waiting(workload, role).len() as u32).collect();
        let some = self.pods.keys().any(|pod| pod.workload == workload.id);
        let alone = (some && workload.topology.is_some()).then_some(workload.id);
        let want = |pods: Vec<u32>, elastic: bool| {
            let alone = alone.filter(|_| !elastic);
            Want { workload: workload.id, pool: self.settled(workload), pods, elastic, alone }
        };
        if missing.iter().zip(&waiting).any(|(missing, waiting)| missing > waiting) {
            return Vec::new();
        }
        if missing.iter().any(|n| *n > 0) {
            return vec![want(missing, false)];
        }
        let one = |role: usize| (0..roles).map(|r| u32::from(r == role)).collect();
        (0..roles).filter(|role| waiting[*role] > 0).map(|role| want(one(role), true)).collect()
    }

    /// S5: how many pods of the role there are too few; leaving pods do not count, succeeded ones do.
    fn missing(&self, workload: &WorkloadSpec, role: usize) -> u32 {
        let of_role = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
        let placed = self.pods.iter().filter(|(pod, seat)| of_role(pod) && !seat.leaving).count();
        let succeeded =
            self.ended.iter().filter(|(pod, o)| of_role(pod) && **o == PodOutcome::Succeeded).count();
        workload.roles[role].min.saturating_sub((placed + succeeded) as u32)
    }

    /// S10: the pool that the workload is in: that of its first pod on a node, one that stays if there is one.
    fn settled(&self, workload: &WorkloadSpec) -> Option<PoolId> {
        let own = self.pods.iter().filter(|(pod, _)| pod.workload == workload.id);
        let (_, _, seat) = own
            .map(|(pod, seat)| (seat.leaving, pod, seat))
            .min_by_key(|(leaving, pod, _)| (*leaving, **pod))?;
        self.pool_of(&self.nodes[&seat.node])
    }

    /// S10: the pools a want tries, in order. Where others of it are in a pool, only that, and only if it is listed.
    pub(crate) fn pools_for(&self, want: &Want) -> Vec<PoolId> {
        let mut pools = self.pools_listed(&self.workloads[&want.workload]);
        pools.retain(|pool| want.pool.is_none_or(|only| only == *pool));
        pools
    }

    fn pools_listed(&self, workload: &WorkloadSpec) -> Vec<PoolId> {
        let project = workload.project.map(|id| &self.projects[&id].pools);
        let listed = if workload.pools.is_empty() { project } else { Some(&workload.pools) };
        match listed.filter(|l| !l.is_empty()) {
            Some(listed) => listed.iter().copied().filter(|id| self.pools.contains_key(id)).collect(),
            None => self.pools_by_name().iter().map(|pool| pool.id).collect(),
        }
    }

    /// Whose turn it is among these: department, then project (S8), then inside the project (S9).
    pub(crate) fn first<'a>(&self, wants: &'a [Want]) -> Option<&'a Want> {
        let mut projects: Vec<Option<ProjectId>> =
            wants.iter().map(|w| self.workloads[&w.workload].project).collect();
        projects.sort_unstable();
        projects.dedup();
        let heads = projects.into_iter().map(|project| {
            let mine = wants.iter().filter(|w| self.workloads[&w.workload].project == project);
            let head = mine.min_by_key(|w| self.place_in_project(w)).expect("it wants something");
            let department = project.map(|id| self.projects[&id].department);
            (department, project, head)
        });
        let heads: Vec<_> = heads.collect();
        let mut departments: Vec<_> = heads.iter().map(|(department, ..)| *department).collect();
        departments.sort_unstable();
        departments.dedup();
        let best_of = |department| {
            let mine = heads.iter().filter(|(d, ..)| *d == department);
            mine.min_by_key(|(_, p, want)| self.queue_key(p.map(QueueId::Project), want)).expect("a head")
        };
        let firsts = departments.into_iter().map(best_of);
        firsts
            .min_by_key(|(d, _, want)| self.queue_key(d.map(QueueId::Department), want))
            .map(|(.., want)| *want)
    }

    /// S9: priority, minimums before elastic pods, submission, id, role.
    fn place_in_project(&self, want: &Want) -> (Reverse<Priority>, bool, Timestamp, WorkloadId, usize) {
        let workload = &self.workloads[&want.workload];
        let role = want.pods.iter().position(|n| *n > 0).unwrap_or(0);
        (Reverse(workload.priority), want.elastic, workload.submitted, want.workload, role)
    }

    /// S8. Unmanaged namespaces are a queue without quota (S3).
    fn queue_key(&self, queue: Option<QueueId>, want: &Want) -> QueueKey {
        let over = self.pools_for(want).first().is_some_and(|pool| {
            let (ask, used) = (self.ask(want, *pool), self.used(queue, *pool, false));
            let quotas = bounds(self.quota(queue, *pool)).map(|b| b.0);
            (0..3).any(|r| matches!(quotas[r], Quota::Of(quota) if ask[r] > 0 && used[r] + ask[r] > quota))
        });
        let rank = match queue {
            None => 100,
            Some(QueueId::Department(id)) => self.departments[&id].rank,
            Some(QueueId::Project(id)) => self.projects[&id].rank,
        };
        (over, Reverse(rank), self.workloads[&want.workload].submitted, want.workload)
    }

    /// What is asked of the quotas. Which device MiB will be of is not known yet: the largest of the pool counts.
    pub(crate) fn ask(&self, want: &Want, pool: PoolId) -> Ask {
        let workload = &self.workloads[&want.workload];
        let devices = self.ready_nodes(pool).into_iter().flat_map(|n| &n.devices);
        let largest = devices.map(|d| d.memory.0).max();
        let mut ask = [0; 3];
        for (role, n) in workload.roles.iter().zip(&want.pods) {
            let pod = &role.pod;
            let each = match (pod.gpu, largest) {
                (GpuRequest::Memory { .. }, None) => 0,
                (gpu, largest) => charge(gpu, largest.unwrap_or(1)) * i64::from(gpu.devices()),
            };
            let one = [each, pod.requests.cpu.0, pod.requests.memory.0];
            (0..3).for_each(|r| ask[r] += one[r] * i64::from(*n));
        }
        ask
    }

    fn quota(&self, queue: Option<QueueId>, pool: PoolId) -> QueueQuota {
        let quotas = match queue {
            None => return QueueQuota::default(),
            Some(QueueId::Department(id)) => &self.departments[&id].quotas,
            Some(QueueId::Project(id)) => &self.projects[&id].quotas,
        };
        quotas.iter().find(|(of, _)| *of == pool).map_or_else(QueueQuota::default, |(_, quota)| *quota)
    }

    /// What the pods of a queue in a pool are charged, leaving ones included.
    fn used(&self, queue: Option<QueueId>, pool: PoolId, non_preemptible: bool) -> Ask {
        let mut used = [0; 3];
        for (pod, seat) in &self.pods {
            let workload = &self.workloads[&pod.workload];
            let project = workload.project;
            let in_queue = match queue {
                None => project.is_none(),
                Some(QueueId::Project(id)) => project == Some(id),
                Some(QueueId::Department(id)) => project.is_some_and(|p| self.projects[&p].department == id),
            };
            let counts = in_queue && !(non_preemptible && workload.preemptible);
            if counts && self.pool_of(&self.nodes[&seat.node]) == Some(pool) {
                let cost = self.cost(*pod, seat.node, seat.gpus);
                (0..3).for_each(|r| used[r] += cost[r]);
            }
        }
        used
    }

    /// What one pod is charged on a node.
    pub(crate) fn cost(&self, pod: PodId, node: berth_model::NodeId, gpus: berth_model::GpuGrant) -> Ask {
        let spec = &self.workloads[&pod.workload].roles[usize::from(pod.role)].pod;
        [self.gpu_cost(node, spec.gpu, gpus), spec.requests.cpu.0, spec.requests.memory.0]
    }

    /// S6, for the resources that are asked for and managed: the first gate that is shut, project before department.
    pub(crate) fn gate(&self, workload: &WorkloadSpec, pool: PoolId, ask: Ask) -> Result<(), ReasonKind> {
        let Some(project) = workload.project else { return Ok(()) };
        let department = self.projects[&project].department;
        for queue in [QueueId::Project(project), QueueId::Department(department)] {
            let all = self.used(Some(queue), pool, false);
            let fixed = self.used(Some(queue), pool, true);
            for (r, (quota, limit)) in bounds(self.quota(Some(queue), pool)).into_iter().enumerate() {
                if ask[r] == 0 || quota == Quota::Unmanaged {
                    continue;
                }
                if limit.is_some_and(|limit| all[r] + ask[r] > limit) {
                    return Err(ReasonKind::Limit);
                }
                if !workload.preemptible && matches!(quota, Quota::Of(quota) if fixed[r] + ask[r] > quota) {
                    return Err(ReasonKind::Quota);
                }
            }
        }
        Ok(())
    }
}

fn bounds(quota: QueueQuota) -> [(Quota, Option<i64>); 3] {
    [quota.gpu, quota.cpu, quota.memory].map(|r| (r.quota, r.limit))
}
