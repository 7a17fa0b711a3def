//! Between projects (S22): which sets are legal, and in which layers they are looked for.

use super::fair::Shares;
use super::gates::Ask;
use super::units::Unit;
use super::victims::{Hunt, Layer};
use berth_model::{PodId, QueueId};
use std::collections::{BTreeMap, BTreeSet};

/// Up to where the reclaimer may come, and above what the victims' queues must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// (i)
    FairShare,
    /// (ii)
    Quota,
}

impl Hunt<'_> {
    /// Units of other projects: by fair share, then by quota; in each those of the lowest ranks first.
    pub(crate) fn reclaim_layers(&self) -> Vec<Layer> {
        let Some(project) = self.workload.project else { return Vec::new() };
        let other = |w: &berth_model::WorkloadSpec| w.project.is_some_and(|other| other != project);
        let units = self.real.units(self.workload.id, self.pool, self.placed, other);
        let rank = |unit: &Unit| {
            let project = self.real.workloads[&unit.workload].project.expect("a project");
            self.real.projects[&project].rank
        };
        let ranks: BTreeSet<i32> = units.iter().map(rank).collect();
        let spared = self.real.by_way_of_others(self.workload.id);
        let may = |bound: Bound, unit: &Unit| bound == Bound::Quota || !spared.contains(&unit.workload);
        let layer = |bound: Bound, most: i32| Layer {
            units: units.iter().filter(|unit| rank(unit) <= most && may(bound, unit)).cloned().collect(),
            bound: Some(bound),
        };
        let bounds = [Bound::FairShare, Bound::Quota].into_iter();
        bounds
            .flat_map(|bound| ranks.iter().map(move |most| (bound, *most)))
            .map(|(b, m)| layer(b, m))
            .collect()
    }

    /// True if the set may be taken for these pods; without a bound any may.
    pub(crate) fn legal(&self, bound: Option<Bound>, victims: &[Unit], pods: &[PodId]) -> bool {
        let Some(bound) = bound else { return true };
        self.lawful(Some(bound), victims, pods)
            && self.victims_are_above(bound, victims, &self.real.fair_shares(self.pool))
    }

    /// The reclaimer's part of that: its project and department stay within the bound.
    pub(crate) fn lawful(&self, bound: Option<Bound>, victims: &[Unit], pods: &[PodId]) -> bool {
        let Some(bound) = bound else { return true };
        let fair = self.real.fair_shares(self.pool);
        let of_role = |role: usize| pods.iter().filter(|pod| usize::from(pod.role) == role).count() as u32;
        let counts: Vec<u32> = (0..self.workload.roles.len()).map(of_role).collect();
        let ask = self.real.charge_of(self.workload, &counts, self.pool);
        self.reclaimer_stays_within(bound, victims, ask, &fair)
    }

    /// What a queue that manages a resource is held to; none = nothing.
    fn bound_of(&self, bound: Bound, queue: QueueId, fair: &Shares) -> [Option<i64>; 3] {
        let quotas = self.real.quotas(queue, self.pool);
        std::array::from_fn(|r| match (bound, quotas[r]) {
            (_, None) | (Bound::Quota, Some(None)) => None,
            (Bound::FairShare, Some(_)) => Some(fair[&queue][r]),
            (Bound::Quota, Some(Some(quota))) => Some(quota),
        })
    }

    fn reclaimer_stays_within(&self, bound: Bound, victims: &[Unit], ask: Ask, fair: &Shares) -> bool {
        self.real.path(self.workload).into_iter().all(|queue| {
            let used = self.later.used(Some(queue), self.pool, false);
            let freed: Vec<Ask> = victims
                .iter()
                .filter(|unit| self.real.is_of(&self.real.workloads[&unit.workload], Some(queue)))
                .map(|unit| self.real.charges(&unit.pods, self.pool))
                .collect();
            let quota =
                if self.workload.preemptible { [None; 3] } else { self.bound_of(Bound::Quota, queue, fair) };
            let most = self.bound_of(bound, queue, fair);
            (0..3).filter(|r| ask[*r] > 0).all(|r| {
                let after = used[r] - freed.iter().map(|f| f[r]).sum::<i64>() + ask[r];
                [most[r], quota[r]].into_iter().flatten().all(|most| after <= most)
            })
        })
    }

    /// Each unit, one by one, finds its project, and its department if that is another than the reclaimer's, above its
    /// bound in something that the unit frees.
    fn victims_are_above(&self, bound: Bound, victims: &[Unit], fair: &Shares) -> bool {
        let own = self.real.path(self.workload);
        let mut used: BTreeMap<QueueId, Ask> = BTreeMap::new();
        for (workload, charge) in self.real.one_by_one(victims, self.pool) {
            for queue in self.real.path(&self.real.workloads[&workload]) {
                let used =
                    used.entry(queue).or_insert_with(|| self.later.used(Some(queue), self.pool, false));
                let most = self.bound_of(bound, queue, fair);
                let above = (0..3).any(|r| charge[r] > 0 && most[r].is_some_and(|most| used[r] > most));
                if !above && !own.contains(&queue) {
                    return false;
                }
                (0..3).for_each(|r| used[r] -= charge[r]);
            }
        }
        true
    }
}
