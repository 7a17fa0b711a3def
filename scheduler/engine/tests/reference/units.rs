//! Units (S20, S24): what can be stopped without leaving anybody below its minimum.

use super::gates::Ask;
use super::state::{Seat, State};
use berth_model::{Millis, PodId, PodOutcome, PoolId, Timestamp, WorkloadId, WorkloadSpec};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How long after an eviction the evicted may not evict whoever replaced it (S25).
const NO_PING_PONG: Millis = Millis::from_secs(60);
/// The same for those who replaced it by way of others, by fair share.
const NO_CIRCLE: Millis = Millis::from_secs(3600);

/// One pod above a minimum, or a whole workload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Unit {
    pub(crate) workload: WorkloadId,
    pub(crate) whole: bool,
    pub(crate) pods: BTreeSet<PodId>,
}

/// What stopping some units costs; the smallest is chosen.
pub(crate) type Cost = (i128, i128, usize, usize, Vec<(Reverse<Timestamp>, PodId)>);

impl State {
    /// S25: the other replaced the workload less than a minute ago.
    pub(crate) fn replaced(&self, workload: WorkloadId, other: WorkloadId) -> bool {
        self.evictions.get(&(workload, other)).is_some_and(|at| self.now.since(*at) < NO_PING_PONG)
    }

    /// S25: for whom somebody was evicted within the hour who was evicted for somebody, and so on, beginning with the
    /// workload.
    pub(crate) fn by_way_of_others(&self, workload: WorkloadId) -> BTreeSet<WorkloadId> {
        let recent = self.evictions.iter().filter(|(_, at)| self.now.since(**at) < NO_CIRCLE);
        let pairs: Vec<(WorkloadId, WorkloadId)> = recent.map(|(pair, _)| *pair).collect();
        let of = |victims: &BTreeSet<WorkloadId>| -> BTreeSet<WorkloadId> {
            pairs.iter().filter(|(victim, _)| victims.contains(victim)).map(|(_, other)| *other).collect()
        };
        let mut direct = of(&[workload].into());
        direct.remove(&workload);
        let mut found = of(&direct);
        loop {
            let mut more = of(&found);
            more.extend(found.iter().copied());
            found.remove(&workload);
            more.remove(&workload);
            if more == found {
                return found;
            }
            found = more;
        }
    }

    /// Pods of a workload that are on nodes and stay.
    pub(crate) fn staying(&self, workload: WorkloadId) -> BTreeMap<PodId, Seat> {
        let own = self.pods.iter().filter(|(pod, seat)| pod.workload == workload && seat.leaving.is_none());
        own.map(|(pod, seat)| (*pod, *seat)).collect()
    }

    /// Pods of a workload that have not been told to end.
    pub(crate) fn running(&self, workload: WorkloadId) -> BTreeMap<PodId, Seat> {
        let runs = |seat: &Seat| seat.leaving.is_none() || seat.pending;
        let own = self.pods.iter().filter(|(pod, seat)| pod.workload == workload && runs(seat));
        own.map(|(pod, seat)| (*pod, *seat)).collect()
    }

    /// How many pods of a role are above its minimum; succeeded ones count towards it.
    pub(crate) fn above_minimum(&self, workload: &WorkloadSpec, role: usize) -> usize {
        let of_role = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
        let staying = self.staying(workload.id).keys().filter(|pod| of_role(pod)).count();
        let done = self.ended.iter().filter(|(pod, o)| of_role(pod) && **o == PodOutcome::Succeeded).count();
        (staying + done).saturating_sub(workload.roles[role].min as usize).min(staying)
    }

    /// How long the longest running of these pods has run.
    pub(crate) fn running_time(&self, pods: &BTreeSet<PodId>) -> i64 {
        pods.iter().map(|pod| self.now.since(self.pods[pod].since).0.max(0)).max().unwrap_or(0)
    }

    /// The units of all workloads in a pool that may be stopped for `beneficiary` and that `eligible` lets through; none
    /// has a pod that was placed only now.
    pub(crate) fn units(
        &self,
        beneficiary: WorkloadId,
        pool: PoolId,
        placed: &BTreeSet<PodId>,
        eligible: impl Fn(&WorkloadSpec) -> bool,
    ) -> Vec<Unit> {
        let protected = self.pools[&pool].min_runtime.0;
        let mut units = Vec::new();
        for workload in self.workloads.values().filter(|w| eligible(w)) {
            let pods: BTreeSet<PodId> = self.staying(workload.id).into_keys().collect();
            let may_be_stopped = workload.preemptible
                && workload.id != beneficiary
                && self.settled(workload) == Some(pool)
                && self.running_time(&pods) >= protected
                && !self.replaced(beneficiary, workload.id);
            if pods.is_empty() || !may_be_stopped {
                continue;
            }
            let has_minimum = (0..workload.roles.len()).all(|role| self.missing(workload, role) == 0);
            let single = |pod: &&PodId| {
                has_minimum
                    && self.above_minimum(workload, usize::from(pod.role)) > 0
                    && !placed.contains(*pod)
            };
            let id = workload.id;
            units.extend(pods.iter().filter(single).map(|pod| Unit {
                workload: id,
                whole: false,
                pods: [*pod].into(),
            }));
            if pods.is_disjoint(placed) {
                units.push(Unit { workload: id, whole: true, pods });
            }
        }
        units
    }

    /// True if the units can be stopped together: no more of a role than are above its minimum, none of a workload that
    /// goes as a whole.
    pub(crate) fn compatible(&self, units: &[&Unit]) -> bool {
        units.iter().all(|unit| {
            let same = units.iter().filter(|other| other.workload == unit.workload);
            if unit.whole {
                return same.count() == 1;
            }
            let role = |unit: &Unit| unit.pods.first().expect("a pod").role;
            let of_role = same.filter(|other| role(other) == role(unit)).count();
            let above = self.above_minimum(&self.workloads[&unit.workload], usize::from(role(unit)));
            of_role <= above
        })
    }

    /// What pods on nodes of a pool are charged there.
    pub(crate) fn charges(&self, pods: &BTreeSet<PodId>, pool: PoolId) -> Ask {
        let mut sum = [0; 3];
        for (pod, seat) in pods.iter().map(|pod| (*pod, self.pods[pod])) {
            if self.pool_of(&self.nodes[&seat.node]) == Some(pool) {
                let cost = self.cost(pod, seat.node, seat.gpus);
                (0..3).for_each(|r| sum[r] += cost[r]);
            }
        }
        sum
    }

    /// S20: work lost with a unit, by GPUs and by CPUs. A pod above the minimum loses none.
    pub(crate) fn lost_work(&self, unit: &Unit) -> (i128, i128) {
        if !unit.whole {
            return (0, 0);
        }
        let mut lost = (0, 0);
        for pod in &unit.pods {
            let seat = self.pods[pod];
            let ran = i128::from(self.now.since(seat.since).0.max(0));
            let [gpu, cpu, _] = self.cost(*pod, seat.node, seat.gpus);
            lost.0 += i128::from(gpu) * ran;
            lost.1 += i128::from(cpu) * ran;
        }
        lost
    }

    /// S20 (b) to (f).
    pub(crate) fn cost_of_stopping(&self, units: &[&Unit]) -> Cost {
        let lost = units.iter().map(|unit| self.lost_work(unit));
        let (gpu, cpu) = lost.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.ranked(gpu, cpu, units)
    }

    /// S26: instead of lost work, the running time thrown away, workload by workload.
    pub(crate) fn cost_of_moving(&self, units: &[&Unit]) -> Cost {
        let mut pods: BTreeMap<WorkloadId, BTreeSet<PodId>> = BTreeMap::new();
        units.iter().for_each(|unit| pods.entry(unit.workload).or_default().extend(&unit.pods));
        let thrown = pods.values().map(|pods| i128::from(self.running_time(pods))).sum();
        self.ranked(thrown, 0, units)
    }

    fn ranked(&self, first: i128, second: i128, units: &[&Unit]) -> Cost {
        let stopped = units.iter().filter(|unit| unit.whole).count();
        let pods: BTreeSet<PodId> = units.iter().flat_map(|unit| unit.pods.iter().copied()).collect();
        let mut order: Vec<(Reverse<Timestamp>, PodId)> =
            pods.iter().map(|pod| (Reverse(self.pods[pod].since), *pod)).collect();
        order.sort_unstable();
        (first, second, stopped, pods.len(), order)
    }

    /// The units in canonical order, as they would go one by one, with what each frees: smaller charge first, then the
    /// workload's id, then the pod. The pods of a whole workload that are above its minimum go first, one by one, the
    /// rest after them.
    pub(crate) fn one_by_one(&self, units: &[Unit], pool: PoolId) -> Vec<(WorkloadId, Ask)> {
        let mut all: Vec<(Ask, WorkloadId, bool, Option<PodId>, Ask)> = Vec::new();
        for unit in units {
            let workload = &self.workloads[&unit.workload];
            let single = |pod: PodId| {
                let charge = self.charges(&[pod].into(), pool);
                (charge, workload.id, false, Some(pod), charge)
            };
            if !unit.whole {
                all.extend(unit.pods.iter().map(|pod| single(*pod)));
                continue;
            }
            let mut rest = unit.pods.clone();
            let mut latest = [0; 3];
            let has_minimum = (0..workload.roles.len()).all(|role| self.missing(workload, role) == 0);
            for role in (0..workload.roles.len()).filter(|_| has_minimum) {
                let of_role = unit.pods.iter().filter(|pod| usize::from(pod.role) == role);
                let mut singles: Vec<_> = of_role.map(|pod| single(*pod)).collect();
                singles.sort();
                singles.truncate(self.above_minimum(workload, role));
                rest.retain(|pod| singles.iter().all(|one| one.3 != Some(*pod)));
                latest = singles.iter().map(|one| one.0).chain([latest]).max().expect("one");
                all.extend(singles);
            }
            if !rest.is_empty() {
                let charge = self.charges(&rest, pool);
                all.push((charge.max(latest), workload.id, true, None, charge));
            }
        }
        all.sort();
        all.into_iter().map(|(_, workload, _, _, charge)| (workload, charge)).collect()
    }
}
