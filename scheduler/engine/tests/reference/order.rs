//! What each workload wants next, and whose turn it is (S8, S9).

use super::fair::Shares;
use super::gates::{Ask, bounds};
use super::state::State;
use berth_model::{
    PodId, PodOutcome, PoolId, Priority, ProjectId, QueueId, Quota, Timestamp, WorkloadId, WorkloadSpec,
};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

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

/// A share as an exact fraction; something of nothing is infinitely much, nothing is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fraction {
    of: i128,
    whole: i128,
}

impl Fraction {
    const ZERO: Self = Self { of: 0, whole: 1 };

    fn new(of: i64, whole: i64) -> Self {
        if of <= 0 { Self::ZERO } else { Self { of: of.into(), whole: whole.max(0).into() } }
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.of * other.whole).cmp(&(other.of * self.whole))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

/// S8 at one level; the smaller goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct QueueKey {
    over_quota: bool,
    rank: Reverse<i32>,
    share_with: Fraction,
    share_without: Fraction,
    quota: Ask,
    created: Timestamp,
    id: u64,
}

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
        if missing.iter().any(|n| *n > 0) {
            // Room for its minimum is kept already: nothing can start before that has.
            let kept = self.kept.keys().any(|pod| pod.workload == workload.id);
            let lost = missing.iter().zip(&waiting).any(|(missing, waiting)| missing > waiting);
            return if kept || lost { Vec::new() } else { vec![want(missing, false)] };
        }
        let one = |role: usize| (0..roles).map(|r| u32::from(r == role)).collect();
        (0..roles).filter(|role| waiting[*role] > 0).map(|role| want(one(role), true)).collect()
    }

    /// S5: how many pods of the role there are too few; leaving pods do not count, succeeded ones do.
    pub(crate) fn missing(&self, workload: &WorkloadSpec, role: usize) -> u32 {
        let of_role = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
        let placed = self.pods.iter().filter(|(pod, seat)| of_role(pod) && seat.leaving.is_none()).count();
        let succeeded =
            self.ended.iter().filter(|(pod, o)| of_role(pod) && **o == PodOutcome::Succeeded).count();
        workload.roles[role].min.saturating_sub((placed + succeeded) as u32)
    }

    /// S10: the pool that the workload is in: that of its first pod that stays or has room kept, else of its first that
    /// leaves.
    pub(crate) fn settled(&self, workload: &WorkloadSpec) -> Option<PoolId> {
        let own = self.pods.iter().filter(|(pod, _)| pod.workload == workload.id);
        let own = own.map(|(pod, seat)| (seat.leaving.is_some(), *pod, seat.node));
        let kept = self.kept.iter().filter(|(pod, _)| pod.workload == workload.id);
        let kept = kept.map(|(pod, kept)| (false, *pod, kept.at.node));
        let (_, _, node) = own.chain(kept).filter(|(_, _, node)| self.nodes.contains_key(node)).min()?;
        self.pool_of(&self.nodes[&node])
    }

    /// S10: the pools a want tries, in order. Where others of it are in a pool, only that, and only if it is listed.
    pub(crate) fn pools_for(&self, want: &Want) -> Vec<PoolId> {
        let mut pools = self.pools_listed(&self.workloads[&want.workload]);
        pools.retain(|pool| want.pool.is_none_or(|only| only == *pool));
        pools
    }

    pub(crate) fn pools_listed(&self, workload: &WorkloadSpec) -> Vec<PoolId> {
        let project = workload.project.map(|id| &self.projects[&id].pools);
        let listed = if workload.pools.is_empty() { project } else { Some(&workload.pools) };
        match listed.filter(|l| !l.is_empty()) {
            Some(listed) => listed.iter().copied().filter(|id| self.pools.contains_key(id)).collect(),
            None => self.pools_by_name().iter().map(|pool| pool.id).collect(),
        }
    }

    /// Whose turn it is among these: department, then project (S8), then inside the project (S9).
    pub(crate) fn first<'a>(&self, wants: &'a [Want]) -> Option<&'a Want> {
        let all: BTreeMap<PoolId, Shares> =
            self.pools.keys().map(|pool| (*pool, self.fair_shares(*pool))).collect();
        let key = |queue, want: &Want| self.queue_key(queue, want, &all);
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
            mine.min_by_key(|(_, p, want)| key(p.map(QueueId::Project), want)).expect("a head")
        };
        let firsts = departments.into_iter().map(best_of);
        firsts.min_by_key(|(d, _, want)| key(d.map(QueueId::Department), want)).map(|(.., want)| *want)
    }

    /// Decision 0003: within quota against not, then rank, department before project; inside a project, priority.
    pub(crate) fn stands_higher(&self, want: &Want, other: &Want) -> bool {
        let project = |want: &Want| self.workloads[&want.workload].project;
        let priority = |want: &Want| self.workloads[&want.workload].priority;
        if project(want) == project(other) {
            return priority(want) > priority(other);
        }
        let all: BTreeMap<PoolId, Shares> =
            self.pools.keys().map(|pool| (*pool, self.fair_shares(*pool))).collect();
        let department =
            |want: &Want| project(want).map(|id| QueueId::Department(self.projects[&id].department));
        let same = department(want) == department(other);
        let standing = |want: &Want| {
            let queue = if same { project(want).map(QueueId::Project) } else { department(want) };
            let key = self.queue_key(queue, want, &all);
            (key.over_quota, key.rank)
        };
        standing(want) < standing(other)
    }

    /// S9: priority, minimums before elastic pods, submission, id, role.
    fn place_in_project(&self, want: &Want) -> (Reverse<Priority>, bool, Timestamp, WorkloadId, usize) {
        let workload = &self.workloads[&want.workload];
        let role = want.pods.iter().position(|n| *n > 0).unwrap_or(0);
        (Reverse(workload.priority), want.elastic, workload.submitted, want.workload, role)
    }

    /// S8. Unmanaged namespaces are a queue without quota (S3).
    fn queue_key(&self, queue: Option<QueueId>, want: &Want, all: &BTreeMap<PoolId, Shares>) -> QueueKey {
        let (rank, created) = self.standing(queue);
        let id = match queue {
            None => 0,
            Some(QueueId::Department(id)) => u64::from(id.0),
            Some(QueueId::Project(id)) => u64::from(id.0),
        };
        let mut key = QueueKey {
            over_quota: false,
            rank: Reverse(rank),
            share_with: Fraction::ZERO,
            share_without: Fraction::ZERO,
            quota: [i64::MAX; 3],
            created,
            id,
        };
        let Some(pool) = self.pools_for(want).first().copied() else { return key };
        let (ask, used) = (self.ask(want, pool), self.used(queue, pool, false));
        let fair = queue.and_then(|queue| all[&pool].get(&queue)).copied().unwrap_or_default();
        let quotas = bounds(self.quota(queue, pool)).map(|b| b.0);
        for r in 0..3 {
            if let Quota::Of(quota) = quotas[r] {
                key.over_quota |= ask[r] > 0 && used[r] + ask[r] > quota;
                key.share_with = key.share_with.max(Fraction::new(used[r] + ask[r], quota.max(fair[r])));
                key.share_without = key.share_without.max(Fraction::new(used[r], quota.max(fair[r])));
                key.quota[r] = quota;
            }
        }
        key
    }

    /// Rank and age of a queue. Unmanaged namespaces have the usual rank and are older than all.
    pub(crate) fn standing(&self, queue: Option<QueueId>) -> (i32, Timestamp) {
        match queue {
            None => (100, Timestamp(i64::MIN)),
            Some(QueueId::Department(id)) => (self.departments[&id].rank, self.departments[&id].created),
            Some(QueueId::Project(id)) => (self.projects[&id].rank, self.projects[&id].created),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_shares_are_compared_exactly() {
        let third = Fraction::new(333_333_333_333, 1_000_000_000_000);
        assert!(third < Fraction::new(1, 3) && Fraction::new(2, 6) == Fraction::new(1, 3));
        assert_eq!(Fraction::new(0, 0), Fraction::ZERO, "nothing used is nothing");
        assert!(Fraction::new(1, 0) > Fraction::new(i64::MAX, 1), "something of nothing is infinitely much");
        assert_eq!(Fraction::new(1, 0), Fraction::new(7, 0));
    }
}
