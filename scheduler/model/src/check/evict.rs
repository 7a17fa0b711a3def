//! `Evict`: does the victim run, may it be stopped, by which rule, and how gently? (S19 to S24, S27, S28)
//!
//! Judged pod by pod; what holds of all victims of one beneficiary is judged in `attempt`. Absent: whether of several
//! pods that use too much the right ones go (S19).

use super::attempt::TRUCE;
use super::cluster::{Cluster, Pod, Workload};
use super::list::List;
use super::violation::Findings;
use crate::{
    Cause, GpuGrant, GpuMemoryMib, Millis, OverLimit, PodId, PoolSpec, Priority, Timestamp, WorkloadId,
};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Cluster {
    /// True if the pod was stopped by this.
    pub(super) fn evict(
        &mut self,
        id: PodId,
        grace: Millis,
        (beneficiary, cause): (Option<WorkloadId>, Cause),
        list: &mut List,
    ) -> bool {
        let now = list.now;
        let placed_now = list.placed_pods.contains(&id);
        let mut f = list.about(&id);
        let (Some(w), Some(pod)) = (self.workloads.get(&id.workload), self.pods.get(&id)) else {
            f.add("S20", "is a victim and does not run".to_owned());
            return false;
        };
        // Who is to be moved was judged as a victim when that was decided (S26).
        let pending = pod.leaving.is_some_and(|leaving| leaving.pending);
        let stands = pod.leaving.is_none() || pending;
        let early = self.evictions_from.since(now);
        f.want(early <= Millis::ZERO, "S3", || format!("is evicted {early} before anybody may be"));
        f.want(!placed_now, "S20", || "is placed and evicted in one list".to_owned());
        f.want(stands, "S20", || "is a victim and leaves already".to_owned());
        let wanted = if w.spec.grace == Millis::ZERO { Millis::from_secs(1) } else { w.spec.grace };
        f.want(grace == wanted, "S23", || format!("is given a grace of {grace}, its own is {wanted}"));
        let kind = Arc::clone(&pod.shape.kind);
        if !pending {
            self.within_budgets(&kind, &mut f);
        }
        let pool = self.nodes.get(&pod.node).and_then(|node| self.pools.get(&node.pool?));
        match beneficiary {
            Some(_) if pending => {
                f.want(w.spec.preemptible, "S28", || {
                    "is stopped to be moved and is not preemptible".to_owned()
                });
            }
            Some(other) => {
                self.for_another(w, pool, now, &mut f);
                self.cause_fits(w, other, cause, &mut f);
            }
            None => self.for_its_own_sake(w, pool, now, cause, &mut f),
        }
        if cause == Cause::Consolidate {
            let others = |(other, pod): (&PodId, &Pod)| {
                !list.moved.contains_key(other) && pod.leaving.is_some_and(|leaving| !leaving.pending)
            };
            let nobody_leaves = !self.pods.iter().any(others);
            list.moved.insert(id, nobody_leaves);
        }
        if let Some(other) = beneficiary {
            self.evictions.retain(|_, at| now < at.plus(TRUCE));
            self.evictions.insert((id.workload, other), now);
        }
        list.lost.entry(id.workload).or_default().insert(id.role);
        self.leave(id, now.plus(wanted), false);
        self.disrupted(id, &kind);
        stands
    }

    /// Judges a victim that is to be moved, for which room is reserved, and that is not stopped yet (S26).
    pub(super) fn plan_move(&mut self, id: PodId, free: Timestamp, list: &mut List) -> bool {
        let now = list.now;
        let placed_now = list.placed_pods.contains(&id);
        let mut f = list.about(&id);
        let (Some(w), Some(pod)) = (self.workloads.get(&id.workload), self.pods.get(&id)) else {
            return false;
        };
        f.want(!placed_now, "S20", || "is placed and moved in one list".to_owned());
        let early = self.evictions_from.since(now);
        f.want(early <= Millis::ZERO, "S3", || format!("is moved {early} before anybody may be evicted"));
        self.within_budgets(&pod.shape.kind, &mut f);
        let pool = self.nodes.get(&pod.node).and_then(|node| self.pools.get(&node.pool?));
        self.for_another(w, pool, now, &mut f);
        list.lost.entry(id.workload).or_default().insert(id.role);
        self.plan_to_move(id, free);
        true
    }

    /// True if a pod is on a node and is to stay there.
    pub(super) fn stands(&self, id: PodId) -> bool {
        self.pods.get(&id).is_some_and(|pod| pod.leaving.is_none())
    }

    /// S20, S28: what may be stopped for others.
    fn for_another(&self, w: &Workload, pool: Option<&PoolSpec>, now: Timestamp, f: &mut Findings<'_>) {
        f.want(w.spec.preemptible, "S28", || "is a victim and is not preemptible".to_owned());
        let wanted = pool.map(|p| p.min_runtime).unwrap_or_default();
        let since = self.pods_of(w.spec.id).map(|(_, pod)| pod.since).min().unwrap_or(now);
        let run = now.since(since);
        f.want(run >= wanted, "S20", || format!("is a victim after {run}, protected for {wanted}"));
    }

    /// S21, S22: other projects are reclaimed from, lower priorities of the own project are preempted. Namespaces
    /// without a project have rules of their own (S3).
    fn cause_fits(&self, w: &Workload, beneficiary: WorkloadId, cause: Cause, f: &mut Findings<'_>) {
        let other = self.workloads.get(&beneficiary);
        match cause {
            Cause::Consolidate => return,
            Cause::Stale => return f.add("S27", format!("is stale, and is evicted for {beneficiary}")),
            Cause::NotStarted => {
                return f.add("S5", format!("does not run, and is evicted for {beneficiary}"));
            }
            Cause::OverLimit => {
                return f.add("S19", format!("is over its limit, and is evicted for {beneficiary}"));
            }
            Cause::Reclaim | Cause::Preempt => {}
        }
        let Some((other, theirs, ours)) = other.and_then(|b| Some((b, b.spec.project?, w.spec.project?)))
        else {
            return;
        };
        if cause == Cause::Reclaim {
            f.want(theirs != ours, "S22", || format!("is reclaimed for {beneficiary} of the same project"));
            return;
        }
        f.want(theirs == ours, "S21", || format!("is preempted for {beneficiary} of another project"));
        let (own, higher) = (w.spec.priority.0, other.spec.priority.0);
        f.want(own < higher, "S21", || {
            format!("of priority {own} is preempted for {beneficiary} of priority {higher}")
        });
    }

    /// S19, S27: the pod, or another of its workload, uses more than it was given, or the gang is stale.
    fn for_its_own_sake(
        &self,
        w: &Workload,
        pool: Option<&PoolSpec>,
        now: Timestamp,
        cause: Cause,
        f: &mut Findings<'_>,
    ) {
        match cause {
            Cause::OverLimit => {
                match pool.map(|pool| pool.over_limit).unwrap_or_default() {
                    OverLimit::Report => {
                        return f.add("S19", "is evicted, its pool wants it reported only".to_owned());
                    }
                    OverLimit::EvictPreemptible => {
                        f.want(w.spec.preemptible, "S28", || "is evicted and is not preemptible".to_owned());
                    }
                    OverLimit::Evict => {
                        let critical = w.spec.priority >= Priority::SYSTEM_CRITICAL;
                        f.want(!critical, "S28", || "is evicted and is critical to the system".to_owned());
                    }
                }
                let too_much = self.pods_of(w.spec.id).any(|(_, pod)| uses_too_much(pod));
                f.want(too_much, "S19", || "is evicted and uses no more than it was given".to_owned());
            }
            Cause::NotStarted => {
                let late = |timeout| {
                    self.pods_of(w.spec.id).any(|(_, pod)| pod.starting && now.since(pod.since) >= timeout)
                };
                f.want(w.spec.start_timeout.is_some_and(late), "S5", || {
                    "is evicted, and all of its workload run or may take longer".to_owned()
                });
            }
            Cause::Stale => self.stale(w, now, f),
            Cause::Reclaim => f.add("S22", "is reclaimed for nobody".to_owned()),
            Cause::Preempt => f.add("S21", "is preempted for nobody".to_owned()),
            Cause::Consolidate => f.add("S26", "is moved for nobody".to_owned()),
        }
    }

    /// Its pods may be in several pools, since nodes change theirs: it is stale by one of them.
    fn stale(&self, w: &Workload, now: Timestamp, f: &mut Findings<'_>) {
        f.want(w.spec.preemptible, "S28", || "is evicted and is not preemptible".to_owned());
        let Some(since) = w.below_since else {
            f.add("S27", "is evicted as stale and has its minimum".to_owned());
            return;
        };
        let below = now.since(since);
        let pools = self.pods_of(w.spec.id).filter_map(|(_, pod)| self.nodes.get(&pod.node)?.pool);
        let of_pools = pools.filter_map(|pool| Some(self.pools.get(&pool)?.stale_grace));
        let graces: BTreeSet<Millis> = match w.spec.stale_grace {
            Some(own) => BTreeSet::from([own]),
            None => of_pools.collect(),
        };
        f.want(graces.iter().any(|grace| *grace >= Millis::ZERO && below >= *grace), "S27", || {
            let allowed = graces.first().copied().unwrap_or_default();
            format!("is evicted as stale, below its minimum for at most {below}, allowed {allowed}")
        });
    }

    /// S24: no victim is left below its minimum: of a role that loses pods enough stay, or nobody stays.
    pub(super) fn whole_or_above(&self, list: &mut List) {
        for (victim, roles) in std::mem::take(&mut list.lost) {
            let Some(w) = self.workloads.get(&victim).filter(|w| w.standing() > 0) else { continue };
            for role in roles {
                let (Some(spec), Some(heads)) =
                    (w.spec.roles.get(usize::from(role)), w.heads.get(usize::from(role)))
                else {
                    continue;
                };
                let left = heads.standing + heads.succeeded;
                list.about(&victim).want(left >= spec.min, "S24", || {
                    format!("{left} pods of role {} stay, its minimum is {}", spec.name, spec.min)
                });
            }
        }
    }
}

/// S19: more is used on some device than was given.
fn uses_too_much(pod: &Pod) -> bool {
    let GpuGrant::Shared { each, .. } = pod.grant else { return false };
    pod.measured.values().any(|used: &GpuMemoryMib| *used > each)
}
