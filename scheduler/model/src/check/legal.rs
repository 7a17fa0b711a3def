//! Reclaiming between projects: whether the victims may be taken at all (S22).
//!
//! Absent: the layers beyond legality (the lowest rank first), and namespaces without a project.

use super::attempt::{Taking, Unit};
use super::cluster::{Cluster, Workload};
use super::demand::Shares;
use super::ledger::{MEASURES, Triple, owner, triple};
use super::list::List;
use crate::{Cause, PodId, PoolId, QueueId, Quota, WorkloadId};
use std::collections::BTreeMap;

/// By what queues are measured: (i) or (ii).
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    FairShare,
    Quota,
}

/// What goes at once when victims go one by one, in canonical order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// Where in the order: by what it is charged, but the rest of a workload not before its single pods.
    after: Triple,
    workload: WorkloadId,
    rest: bool,
    pod: Option<PodId>,
    queues: [QueueId; 2],
    amounts: Triple,
}

/// What the legality of a taking back is judged by.
struct Law<'a> {
    cluster: &'a Cluster,
    taking: &'a Taking,
    shares: &'a Shares,
    reclaimer: &'a Workload,
    /// The reclaimer's project and department.
    queues: [QueueId; 2],
    /// What its reservations ask for.
    request: Triple,
    /// A unit that is left out.
    without: Option<usize>,
}

impl Cluster {
    /// S22: the units of other projects are taken by (i), or all of them by (ii).
    pub(super) fn reclaims(&self, taking: &Taking, list: &mut List) {
        let Some(why) = self.unlawful(taking, None, list) else { return };
        list.about(&taking.beneficiary).add("S22", why);
    }

    /// True if the victims could not be taken if this one were not: its own queue's room is needed.
    pub(super) fn needed_by_law(&self, taking: &Taking, unit: usize, list: &List) -> bool {
        self.unlawful(taking, Some(unit), list).is_some()
    }

    fn unlawful(&self, taking: &Taking, without: Option<usize>, list: &List) -> Option<String> {
        let reclaimer = self.workloads.get(&taking.beneficiary)?;
        let own = |id: &&crate::PodId| id.workload == taking.beneficiary;
        let bills = || taking.rooms.iter().filter(own).filter_map(|id| self.kept.get(id)?.bill.as_ref());
        let queues = bills().next()?.queues;
        let mut request = [0; 3];
        for amounts in bills().map(|bill| triple(&bill.amounts)) {
            (0..3).for_each(|m| request[m] += amounts[m]);
        }
        if !taking.units.iter().any(|unit| unit.cause == Cause::Reclaim && unit.queues.is_some()) {
            return None;
        }
        let law = Law { cluster: self, taking, shares: &list.shares, reclaimer, queues, request, without };
        let by_share = law.broken(By::FairShare)?;
        let by_quota = law.broken(By::Quota)?;
        Some(format!("reclaims neither within its fair share ({by_share}) nor within its quota ({by_quota})"))
    }
}

impl Law<'_> {
    /// What keeps the victims from being taken by this measure.
    fn broken(&self, by: By) -> Option<String> {
        self.reclaimer_above(by).or_else(|| self.victims_below(by))
    }

    fn units(&self) -> impl Iterator<Item = &Unit> {
        let without = self.without;
        let units = self.taking.units.iter().enumerate().filter(move |(at, _)| Some(*at) != without);
        units.map(|(_, unit)| unit)
    }

    /// The reclaimer's project or department is above the bound, its victims gone and its request there.
    fn reclaimer_above(&self, by: By) -> Option<String> {
        for queue in self.queues {
            let left_out = self.without.map(|at| &self.taking.units[at]);
            let back = left_out.filter(|unit| unit.queues.is_some_and(|(_, queues)| queues.contains(&queue)));
            let account = (queue, self.taking.pool);
            let used = triple(&self.cluster.ledger.used(account).then().all);
            for (m, measure) in MEASURES.iter().enumerate().filter(|(m, _)| self.request[*m] > 0) {
                let Some(quota) = self.quota(queue, m) else { continue };
                let share = self.share(queue, m);
                let bound = match (by, self.reclaimer.spec.preemptible) {
                    (By::FairShare, true) => share,
                    (By::FairShare, false) => share.min(quota),
                    (By::Quota, _) => quota,
                };
                let used = used[m] + back.map_or(0, |unit| unit.amounts[m]);
                if used > bound {
                    let [used, bound] = [used, bound].map(measure.show);
                    return Some(format!(
                        "{} of {} would be {used} of {bound}",
                        measure.name,
                        owner(account)
                    ));
                }
            }
        }
        None
    }

    /// A victim's queue is not above its bound just before the victim is taken, in canonical order.
    fn victims_below(&self, by: By) -> Option<String> {
        let reclaimed = |unit: &&Unit| unit.cause == Cause::Reclaim && unit.queues.is_some();
        let mut parts: Vec<Part> = self.units().filter(reclaimed).flat_map(|unit| self.parts(unit)).collect();
        parts.sort();
        let mut used: BTreeMap<QueueId, Triple> = BTreeMap::new();
        for part in parts {
            for queue in part.queues.into_iter().filter(|queue| !self.queues.contains(queue)) {
                let pool: PoolId = self.taking.pool;
                let before = self.taking.before.get(&(queue, pool)).copied().unwrap_or_default();
                let used = used.entry(queue).or_insert(before);
                let above = (0..3).any(|m| {
                    let quota = self.quota(queue, m);
                    let bound = quota.map(|quota| match by {
                        By::FairShare => self.share(queue, m),
                        By::Quota => quota,
                    });
                    part.amounts[m] > 0 && bound.is_some_and(|bound| used[m] > bound)
                });
                if !above {
                    let what = owner((queue, pool));
                    return Some(format!("{what} is not above it before {} is taken", part.workload));
                }
                (0..3).for_each(|m| used[m] -= part.amounts[m]);
            }
        }
        None
    }

    /// A unit as it goes: of a whole workload its pods above the minimum one by one, the rest of it at once.
    fn parts(&self, unit: &Unit) -> Vec<Part> {
        let Some((_, queues)) = unit.queues else { return Vec::new() };
        let workload = unit.workload;
        let part = |amounts, after, pod: Option<PodId>| Part {
            after,
            workload,
            rest: pod.is_none(),
            pod,
            queues,
            amounts,
        };
        let amounts = |id: &PodId| {
            let bill = self.cluster.pods.get(id).and_then(|pod| pod.bill.as_ref());
            bill.map_or([0; 3], |bill| triple(&bill.amounts))
        };
        let single = |id: &PodId| part(amounts(id), amounts(id), Some(*id));
        let whole = self.cluster.workloads.get(&workload).filter(|w| w.standing() == 0);
        let Some(w) = whole else { return unit.pods.iter().map(single).collect() };
        let of_role = |role: usize| unit.pods.iter().filter(move |id| usize::from(id.role) == role);
        let roles = || w.spec.roles.iter().zip(&w.heads).enumerate();
        let above = |role: usize, min: u32, succeeded: u32| {
            (of_role(role).count() as i64 + i64::from(succeeded) - i64::from(min)).max(-1)
        };
        let complete = roles().all(|(at, (role, heads))| above(at, role.min, heads.succeeded) >= 0);
        let mut parts = Vec::new();
        for (at, (role, heads)) in roles().filter(|_| complete) {
            let mut singles: Vec<Part> = of_role(at).map(single).collect();
            singles.sort();
            singles.truncate(above(at, role.min, heads.succeeded) as usize);
            parts.append(&mut singles);
        }
        let mut rest = unit.amounts;
        parts.iter().for_each(|one| (0..3).for_each(|m| rest[m] -= one.amounts[m]));
        if parts.len() < unit.pods.len() {
            let after = parts.iter().map(|one| one.after).chain([rest]).max().unwrap_or(rest);
            parts.push(part(rest, after, None));
        }
        parts
    }

    /// The quota of a resource; none if it is not managed.
    fn quota(&self, queue: QueueId, measure: usize) -> Option<i64> {
        let quota = self.cluster.ledger.quota((queue, self.taking.pool));
        let rule = (MEASURES[measure].quota)(&quota);
        match rule.quota {
            Quota::Unmanaged if !rule.managed() => None,
            Quota::Unmanaged | Quota::Unlimited => Some(i64::MAX),
            Quota::Of(amount) => Some(amount),
        }
    }

    /// The fair share.
    fn share(&self, queue: QueueId, measure: usize) -> i64 {
        self.shares.get(&queue).map_or(0, |share| share[measure])
    }
}
