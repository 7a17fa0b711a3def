//! `Evict`: does the victim run, may it be stopped, for whom, and how gently? (S20, S23, S24, S27, S28)
//!
//! Absent: whether the set of victims is minimal and the best (S20), whether it may be taken at all by priority
//! and fair share (S21, S22), ping-pong (S25), and whether a moved workload gets its new place (S26).

use super::cluster::{Cluster, Pod, Workload};
use super::list::List;
use super::violation::Findings;
use crate::{GpuGrant, GpuMemoryMib, Millis, PodId, PoolSpec, Timestamp, WorkloadId};

impl Cluster {
    pub(super) fn evict(
        &mut self,
        id: PodId,
        grace: Millis,
        beneficiary: Option<WorkloadId>,
        list: &mut List,
    ) {
        let now = list.now;
        let placed_now = list.placed_pods.contains(&id);
        let mut f = list.about(&id);
        let (Some(w), Some(pod)) = (self.workloads.get(&id.workload), self.pods.get(&id)) else {
            f.add("S20", "is a victim and does not run".to_owned());
            return;
        };
        f.want(!placed_now, "S20", || "is placed and evicted in one list".to_owned());
        f.want(pod.leaving.is_none(), "S20", || "is a victim and leaves already".to_owned());
        let wanted = if w.spec.grace == Millis::ZERO { Millis::from_secs(1) } else { w.spec.grace };
        f.want(grace == wanted, "S23", || format!("is given a grace of {grace}, its own is {wanted}"));
        let pool = self.nodes.get(&pod.node).and_then(|node| self.pools.get(&node.pool?));
        match beneficiary {
            Some(_) => for_another(w, pool, now, &mut f),
            None => self.for_its_own_sake(w, pool, now, &mut f),
        }
        list.evicted.entry(id.workload).or_default().extend(beneficiary);
        self.leave(id, now.plus(wanted), false);
    }

    /// S19, S27: the pod, or another of its workload, uses more than it was given, or the gang is stale.
    fn for_its_own_sake(&self, w: &Workload, pool: Option<&PoolSpec>, now: Timestamp, f: &mut Findings<'_>) {
        if self.pods_of(w.spec.id).any(|(_, pod)| uses_too_much(pod)) {
            return;
        }
        f.want(w.spec.preemptible, "S28", || "is evicted and is not preemptible".to_owned());
        let grace = w.spec.stale_grace.or(pool.map(|p| p.stale_grace)).unwrap_or_default();
        let Some(since) = w.below_since else {
            f.add("S27", "is evicted for nobody's sake and has its minimum".to_owned());
            return;
        };
        let below = now.since(since);
        f.want(grace >= Millis::ZERO && below >= grace, "S27", || {
            format!("is evicted as stale, below its minimum for at most {below}, allowed {grace}")
        });
    }

    /// S24: no victim is left below its minimum. S23: room is made for somebody who waits for it.
    pub(super) fn victims(&self, list: &mut List) {
        for (victim, beneficiaries) in std::mem::take(&mut list.evicted) {
            let mut f = list.about(&victim);
            if let Some(w) = self.workloads.get(&victim) {
                let left = w.standing();
                f.want(left == 0 || w.has_minimum(|h| h.standing), "S24", || {
                    format!("{left} pods of the victim stay, below its minimum")
                });
            }
            for one in beneficiaries {
                f.want(self.has_pending(one), "S23", || {
                    format!("is evicted for {one}, which has no pending pod")
                });
            }
        }
    }
}

/// S20, S28: what may be stopped for others.
fn for_another(w: &Workload, pool: Option<&PoolSpec>, now: Timestamp, f: &mut Findings<'_>) {
    f.want(w.spec.preemptible, "S28", || "is a victim and is not preemptible".to_owned());
    let (wanted, run) =
        (pool.map(|p| p.min_runtime).unwrap_or_default(), now.since(w.started.unwrap_or(now)));
    f.want(run >= wanted, "S20", || format!("is a victim after {run}, protected for {wanted}"));
}

/// S19: more is used on some device than was given.
fn uses_too_much(pod: &Pod) -> bool {
    let GpuGrant::Shared { each, .. } = pod.grant else { return false };
    pod.measured.values().any(|used: &GpuMemoryMib| *used > each)
}
