//! Fair shares (S7), from their definition in decision 0002, all anew each time.

use super::fits::could_take;
use super::gates::{Ask, bounds};
use super::order::Want;
use super::state::State;
use berth_model::{
    Amounts, Bytes, DeviceHealth, GpuRequest, GpuShare, MilliCpu, PoolId, ProjectId, QueueId, Quota,
    Timestamp, WorkloadSpec,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What the rest is given out in: one device, one thousandth of a core, one byte.
const UNITS: [i128; 3] = [1_000_000, 1, 1];

/// The fair shares of all queues in a pool.
pub(crate) type Shares = BTreeMap<QueueId, Ask>;

/// What one of several queues brings along when something is divided between them.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// None: as much as is asked for.
    quota: Option<i128>,
    limit: Option<i128>,
    demand: i128,
    rank: i32,
    weight: i128,
    created: Timestamp,
    id: QueueId,
}

impl Claim {
    fn first_part(&self, divided: i128) -> i128 {
        let bounds = [self.quota, self.limit, Some(self.demand), Some(divided)];
        bounds.into_iter().flatten().min().unwrap_or(0).max(0)
    }

    /// What it may have at most.
    fn enough(&self) -> i128 {
        self.limit.map_or(self.demand, |limit| limit.min(self.demand))
    }
}

/// Divides an amount between queues: first parts, and the rest by rank and weight.
fn divide(divided: i128, unit: i128, claims: &[Claim]) -> Vec<i128> {
    let mut parts: Vec<i128> = claims.iter().map(|claim| claim.first_part(divided)).collect();
    let mut rest = (divided - parts.iter().sum::<i128>()).max(0);
    let mut ranks: Vec<i32> = claims.iter().map(|claim| claim.rank).collect();
    ranks.sort_unstable_by_key(|rank| Reverse(*rank));
    ranks.dedup();
    for rank in ranks {
        let lacks = |at: &usize| {
            claims[*at].rank == rank && claims[*at].weight > 0 && parts[*at] < claims[*at].enough()
        };
        let lacking: Vec<usize> = (0..claims.len()).filter(lacks).collect();
        rest = inside_a_rank(rest, unit, claims, &mut parts, lacking);
    }
    parts
}

/// Gives what is left to the queues that lack something; what remains then.
fn inside_a_rank(
    mut rest: i128,
    unit: i128,
    claims: &[Claim],
    parts: &mut [i128],
    mut lacking: Vec<usize>,
) -> i128 {
    loop {
        let weights: i128 = lacking.iter().map(|at| claims[*at].weight).sum();
        let lacks = |at: usize, parts: &[i128]| claims[at].enough() - parts[at];
        let (out, left): (Vec<usize>, Vec<usize>) =
            lacking.iter().partition(|at| lacks(**at, parts) * weights <= rest * claims[**at].weight);
        if out.is_empty() {
            break;
        }
        for at in out {
            rest -= lacks(at, parts);
            parts[at] = claims[at].enough();
        }
        lacking = left;
    }
    if lacking.is_empty() {
        return rest;
    }
    let weights: i128 = lacking.iter().map(|at| claims[*at].weight).sum();
    // All over `weights * unit`: how many whole units, and what remains of the last.
    let given = rest;
    for at in &lacking {
        let units = given * claims[*at].weight / (weights * unit);
        parts[*at] += units * unit;
        rest -= units * unit;
    }
    let remainder = |at: usize| given * claims[at].weight % (weights * unit);
    lacking.sort_by_key(|at| (Reverse(remainder(*at)), claims[*at].created, claims[*at].id));
    while rest > 0 {
        for at in &lacking {
            let one = unit.min(rest).min(claims[*at].enough() - parts[*at]);
            parts[*at] += one;
            rest -= one;
        }
    }
    0
}

impl State {
    /// What a pool has for projects: open nodes and healthy devices, less what pods outside projects have of them.
    pub(crate) fn capacity(&self, pool: PoolId) -> Ask {
        let mut capacity = [0; 3];
        for node in self.ready_nodes(pool).into_iter().filter(|node| !node.unschedulable) {
            let healthy = node.devices.iter().filter(|d| d.health == DeviceHealth::Healthy).count();
            let has = [healthy as i64 * 1_000_000, node.allocatable.cpu.0, node.allocatable.memory.0];
            (0..3).for_each(|r| capacity[r] += has[r]);
            for (pod, seat) in self.pods.iter().filter(|(_, seat)| seat.node == node.id) {
                if self.workloads[&pod.workload].project.is_none() {
                    let cost = self.cost(*pod, seat.node, seat.gpus);
                    (0..3).for_each(|r| capacity[r] -= cost[r]);
                }
            }
        }
        capacity.map(|amount| amount.max(0))
    }

    /// What a project uses of a pool, and all that it would use there if it could.
    fn demand(&self, project: ProjectId, pool: PoolId) -> Ask {
        let mut demand = self.used(Some(QueueId::Project(project)), pool, false);
        for workload in self.workloads.values().filter(|w| w.project == Some(project)) {
            for want in self.wants_of(workload) {
                let counts = |role: &usize| !want.elastic || want.pods[*role] > 0;
                let waiting = |role| self.waiting(workload, role).len() as u32;
                let waiting: Vec<u32> = (0..workload.roles.len())
                    .map(|role| if counts(&role) { waiting(role) } else { 0 })
                    .collect();
                if self.could_use(workload, &want, &waiting, pool) {
                    let asked = self.charge_of(workload, &waiting, pool);
                    (0..3).for_each(|r| demand[r] += asked[r]);
                }
            }
        }
        demand
    }

    /// True if pods that wait count as demand in a pool, when this is what is wanted of them next.
    fn could_use(&self, workload: &WorkloadSpec, next: &Want, waiting: &[u32], pool: PoolId) -> bool {
        let nodes = self.ready_nodes(pool);
        let mut shapes = (0..waiting.len()).filter(|r| waiting[*r] > 0).map(|r| self.shape_of(workload, r));
        self.pools_for(next).contains(&pool)
            && !self.forbidden(workload)
            && shapes.all(|shape| nodes.iter().any(|node| could_take(&shape, node, false)))
            && self.gate_alone(workload, pool, self.ask(next, pool)).is_ok()
    }

    /// The fair shares of all departments and projects in a pool. What is not managed has none.
    pub(crate) fn fair_shares(&self, pool: PoolId) -> Shares {
        let capacity = self.capacity(pool);
        let demands: BTreeMap<ProjectId, Ask> =
            self.projects.keys().map(|id| (*id, self.demand(*id, pool))).collect();
        let mut shares = Shares::new();
        for r in 0..3 {
            let departments: Vec<QueueId> =
                self.departments.keys().map(|id| QueueId::Department(*id)).collect();
            self.share_out(&departments, pool, r, capacity[r], &demands, &mut shares);
            for department in departments {
                let mine = |id: &&ProjectId| QueueId::Department(self.projects[*id].department) == department;
                let projects: Vec<QueueId> =
                    self.projects.keys().filter(mine).map(|id| QueueId::Project(*id)).collect();
                let (quota, limit) = bounds(self.quota(Some(department), pool))[r];
                let managed = quota != Quota::Unmanaged || limit.is_some();
                let divided = if managed { shares[&department][r] } else { capacity[r] };
                self.share_out(&projects, pool, r, divided, &demands, &mut shares);
            }
        }
        shares
    }

    /// Divides one resource between those of the queues that manage it.
    fn share_out(
        &self,
        queues: &[QueueId],
        pool: PoolId,
        r: usize,
        divided: i64,
        demands: &BTreeMap<ProjectId, Ask>,
        shares: &mut Shares,
    ) {
        let claims: Vec<Claim> = queues.iter().filter_map(|q| self.claim(*q, pool, r, demands)).collect();
        let parts = divide(divided.into(), UNITS[r], &claims);
        queues.iter().for_each(|queue| shares.entry(*queue).or_default()[r] = 0);
        for (claim, part) in claims.iter().zip(parts) {
            shares.entry(claim.id).or_default()[r] = i64::try_from(part).expect("at most what is divided");
        }
    }

    fn claim(
        &self,
        queue: QueueId,
        pool: PoolId,
        r: usize,
        demands: &BTreeMap<ProjectId, Ask>,
    ) -> Option<Claim> {
        let whole = self.quota(Some(queue), pool);
        let (quota, limit) = bounds(whole)[r];
        let quota = match quota {
            Quota::Unmanaged if limit.is_none() => return None,
            Quota::Of(quota) => Some(quota.into()),
            Quota::Unmanaged | Quota::Unlimited => None,
        };
        let below = |id: &ProjectId| match queue {
            QueueId::Project(project) => project == *id,
            QueueId::Department(department) => self.projects[id].department == department,
        };
        let demand = demands.iter().filter(|(id, _)| below(id)).map(|(_, d)| i128::from(d[r])).sum();
        let weight = whole.weight.map_or_else(|| devices(whole.gpu.quota), i128::from);
        let (rank, created) = self.standing(Some(queue));
        Some(Claim { quota, limit: limit.map(i128::from), demand, rank, weight, created, id: queue })
    }

    /// The fair share of a queue, as amounts.
    pub(crate) fn fair_share(&self, queue: QueueId, pool: PoolId) -> Amounts {
        let [gpu, cpu, memory] = self.fair_shares(pool).get(&queue).copied().unwrap_or_default();
        Amounts { gpu: GpuShare(gpu), cpu: MilliCpu(cpu), memory: Bytes(memory) }
    }
}

/// S2: the weight of a queue for which none is set: its quota in whole devices, at least 1.
fn devices(quota: Quota) -> i128 {
    match quota {
        Quota::Of(quota) => (i128::from(quota) / 1_000_000).max(1),
        Quota::Unmanaged | Quota::Unlimited => 1,
    }
}

/// True if the request is in MiB, whose charge depends on the device.
pub(crate) fn in_mib(request: GpuRequest) -> bool {
    matches!(request, GpuRequest::Memory { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_model::DepartmentId;

    /// In units of devices: quota, demand, weight; the rank is 100, the first is the oldest.
    fn claims(all: &[(i128, i128, i128)]) -> Vec<Claim> {
        let claim = |(at, (quota, demand, weight)): (usize, &(i128, i128, i128))| Claim {
            quota: Some(quota * UNITS[0]),
            limit: None,
            demand: demand * UNITS[0],
            rank: 100,
            weight: *weight,
            created: Timestamp(at as i64),
            id: QueueId::Department(DepartmentId(at as u32)),
        };
        all.iter().enumerate().map(claim).collect()
    }

    fn shares(capacity: i128, claims: &[Claim]) -> Vec<f64> {
        divide(capacity * UNITS[0], UNITS[0], claims).iter().map(|p| *p as f64 / 1e6).collect()
    }

    #[test]
    fn the_first_part_is_the_quota_as_far_as_it_is_wanted() {
        assert_eq!(shares(10, &claims(&[(4, 2, 1), (4, 9, 1)])), [2.0, 8.0]);
        assert_eq!(shares(4, &claims(&[(8, 8, 1), (8, 8, 1)])), [4.0, 4.0], "quotas beyond capacity");
        let mut limited = claims(&[(8, 8, 1), (0, 9, 1)]);
        (limited[0].limit, limited[0].quota) = (Some(3 * UNITS[0]), None);
        assert_eq!(shares(10, &limited), [3.0, 7.0]);
    }

    #[test]
    fn the_rest_goes_by_weight_to_those_who_lack_something() {
        assert_eq!(shares(8, &claims(&[(2, 9, 1), (2, 9, 3)])), [3.0, 5.0]);
        assert_eq!(
            shares(8, &claims(&[(0, 1, 3), (0, 9, 1)])),
            [1.0, 7.0],
            "who is satisfied leaves it to others"
        );
        assert_eq!(
            shares(8, &claims(&[(2, 9, 0), (2, 4, 1)])),
            [2.0, 4.0],
            "weight 0 gets nothing of the rest"
        );
    }

    #[test]
    fn all_who_lack_little_are_judged_by_the_same_rest() {
        // 9 by 3: shares 3, 3, 3; the first two are out with 3 and 1; the third gets the other 5.
        assert_eq!(shares(9, &claims(&[(0, 3, 1), (0, 1, 1), (0, 9, 1)])), [3.0, 1.0, 5.0]);
        // 10 by 4: 2.5 each; only the second is out, with 1. Then 9 by 3 is 3 each, and all are out.
        assert_eq!(shares(10, &claims(&[(0, 3, 1), (0, 1, 1), (0, 3, 1), (0, 3, 1)])), [3.0, 1.0, 3.0, 3.0]);
    }

    #[test]
    fn whole_devices_by_largest_remainder_then_age() {
        // 7 by 1 : 1 : 1 is 2.33 each: the oldest gets one more.
        assert_eq!(shares(7, &claims(&[(0, 9, 1), (0, 9, 1), (0, 9, 1)])), [3.0, 2.0, 2.0]);
        // 4 by 3 : 2 : 1 is 2, 1.33, 0.67: the last has the largest remainder.
        assert_eq!(shares(4, &claims(&[(0, 9, 3), (0, 9, 2), (0, 9, 1)])), [2.0, 1.0, 1.0]);
        let mut younger = claims(&[(0, 9, 1), (0, 9, 1)]);
        younger[0].created = Timestamp(5);
        assert_eq!(shares(3, &younger), [1.0, 2.0]);
        younger[0].created = Timestamp(1);
        assert_eq!(shares(3, &younger), [2.0, 1.0], "then the smaller id");
    }

    #[test]
    fn nobody_gets_more_than_it_lacks_and_the_last_unit_may_be_a_part() {
        // 5 by two is 2.5: 2 each, the rest of 1 goes to the first as far as it lacks it, then to the second.
        let mut two = claims(&[(0, 9, 1), (0, 9, 1)]);
        two[0].demand = 2_600_000;
        assert_eq!(shares(5, &two), [2.6, 2.4]);
        let parts = divide(2_500_000, UNITS[0], &claims(&[(0, 9, 1), (0, 9, 1)]));
        assert_eq!(parts, [1_500_000, 1_000_000]);
    }

    #[test]
    fn higher_ranks_are_satisfied_first() {
        let mut three = claims(&[(0, 3, 1), (0, 3, 1), (0, 3, 1)]);
        three[1].rank = 200;
        assert_eq!(shares(5, &three), [1.0, 3.0, 1.0]);
        three[1].weight = 0;
        assert_eq!(shares(5, &three), [3.0, 0.0, 2.0], "weight 0 does not hold up lower ranks");
    }

    #[test]
    fn s2_a_weight_that_is_not_set_is_the_quota_in_devices() {
        let weights = [Quota::Of(2_500_000), Quota::Of(0), Quota::Unlimited].map(devices);
        assert_eq!(weights, [2, 1, 1]);
    }
}
