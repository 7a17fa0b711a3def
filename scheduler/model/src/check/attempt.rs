//! What was decided for one beneficiary at once: its victims, the room that is reserved for it, and the new places of
//! what is moved for it (S20, S23, S25, S26).
//!
//! The attempt is carried out in the picture, reservation by reservation, and then judged as a whole. Costs: the pods of
//! the nodes concerned for each victim; where fair shares are asked for, all workloads, see `demand`.
//! Absent: whether the victims are the best (S20) and come from the right layer, whose turn it was (S8, S32).

use super::cluster::Cluster;
use super::ledger::{Account, Triple, triple};
use super::list::List;
use crate::{Cause, Decision, Millis, Placement, PodId, PoolId, ProjectId, QueueId, Timestamp, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};

/// How long a workload may not take back from whom it was evicted for (S25).
pub(super) const TRUCE: Millis = Millis::from_secs(60);

/// Decisions that were made at once for one beneficiary: victims, its room, and new places of what is moved.
pub(super) struct Attempt {
    pub(super) beneficiary: WorkloadId,
    pub(super) victims: Vec<(PodId, Millis, Cause)>,
    pub(super) rooms: Vec<(PodId, Placement, Timestamp)>,
    /// Victims that are to be moved and are not stopped yet (S26), and when their new places will be free.
    pending: Vec<(PodId, Timestamp)>,
    /// Of how many pods of the beneficiary: all its missing minimums, or one.
    own: usize,
}

impl Attempt {
    /// An attempt that begins with this decision.
    pub(super) fn begin(decision: &Decision, cluster: &Cluster) -> Option<Self> {
        let beneficiary = match decision {
            Decision::Evict { pod, .. } if cluster.is_to_be_moved(*pod) => return None,
            Decision::Evict { beneficiary, .. } => (*beneficiary)?,
            Decision::Reserve { pod, .. } => pod.workload,
            _ => return None,
        };
        let own = cluster.workloads.get(&beneficiary).map_or(0, |w| {
            let roles = w.spec.roles.iter().zip(&w.heads);
            let missing =
                roles.map(|(role, heads)| role.min.saturating_sub(heads.standing + heads.succeeded));
            missing.sum::<u32>() as usize
        });
        let (victims, rooms, pending) = (Vec::new(), Vec::new(), Vec::new());
        let mut attempt = Self { beneficiary, victims, rooms, pending, own: own.max(1) };
        attempt.take(decision, cluster).then_some(attempt)
    }

    /// Takes a decision that belongs to the attempt.
    pub(super) fn take(&mut self, decision: &Decision, cluster: &Cluster) -> bool {
        match *decision {
            Decision::Evict { pod, grace, beneficiary, cause }
                if beneficiary == Some(self.beneficiary)
                    && self.rooms.is_empty()
                    && !cluster.is_to_be_moved(pod) =>
            {
                self.victims.push((pod, grace, cause));
            }
            Decision::Reserve { pod, at, until } if self.awaits(pod) => self.rooms.push((pod, at, until)),
            Decision::Reserve { pod, at, until } if !self.rooms.is_empty() && cluster.stands(pod) => {
                self.rooms.push((pod, at, until));
                self.pending.push((pod, until));
            }
            _ => return false,
        }
        true
    }

    /// True if room for the pod is to come.
    fn awaits(&self, pod: PodId) -> bool {
        if pod.workload != self.beneficiary {
            return self.victims.iter().any(|(id, ..)| *id == pod);
        }
        self.rooms.iter().filter(|(id, ..)| id.workload == self.beneficiary).count() < self.own
    }
}

/// Pods that are stopped together or not at all (S20): one above the minimum, or all of a workload.
pub(super) struct Unit {
    pub(super) workload: WorkloadId,
    pub(super) pods: Vec<PodId>,
    /// Its project and department; none outside projects (S3).
    pub(super) queues: Option<(ProjectId, [QueueId; 2])>,
    pub(super) amounts: Triple,
    pub(super) cause: Cause,
}

/// A taking back as it is judged, after it was carried out in the picture.
pub(super) struct Taking {
    pub(super) beneficiary: WorkloadId,
    /// Where its room is.
    pub(super) pool: PoolId,
    pub(super) units: Vec<Unit>,
    /// Reservations of the attempt: the beneficiary's, and new places of what is moved.
    pub(super) rooms: BTreeSet<PodId>,
    /// What the queues of the victims used before, those that leave apart.
    pub(super) before: BTreeMap<Account, Triple>,
}

impl Cluster {
    /// Carries an attempt out and judges it.
    pub(super) fn attempt(&mut self, attempt: &Attempt, list: &mut List) {
        let pool = self.pool_of(attempt);
        let before = self.victims_queues(attempt);
        if let Some(pool) = pool.filter(|_| attempt.victims.iter().any(|(.., c)| *c == Cause::Reclaim)) {
            list.shares = self.fair_shares(pool);
        }
        let mut victims = Vec::new();
        for (pod, grace, cause) in &attempt.victims {
            if self.evict(*pod, *grace, (Some(attempt.beneficiary), *cause), list) {
                victims.push((*pod, *cause));
            }
        }
        for (pod, until) in &attempt.pending {
            if self.plan_move(*pod, *until, list) {
                victims.push((*pod, Cause::Consolidate));
            }
        }
        for (pod, at, until) in &attempt.rooms {
            self.reserve(*pod, *at, *until, list);
        }
        if victims.is_empty() && attempt.victims.is_empty() {
            return;
        }
        let rooms: BTreeSet<_> = attempt.rooms.iter().map(|(id, ..)| *id).collect();
        let waits = rooms.iter().any(|id| id.workload == attempt.beneficiary && self.kept.contains_key(id));
        list.about(&attempt.beneficiary)
            .want(waits, "S23", || "has victims, and no room is kept for it with them".to_owned());
        let units = self.units(&victims);
        self.truce(attempt.beneficiary, &units, list);
        if let Some(pool) = pool.filter(|_| waits) {
            let taking = Taking { beneficiary: attempt.beneficiary, pool, units, rooms, before };
            self.moves(&taking, list);
            self.reclaims(&taking, list);
            self.minimal(&taking, list);
            list.helped.insert(attempt.beneficiary);
        }
    }

    fn pool_of(&self, attempt: &Attempt) -> Option<PoolId> {
        let own = attempt.rooms.iter().find(|(id, ..)| id.workload == attempt.beneficiary);
        own.and_then(|(_, at, _)| self.nodes.get(&at.node)?.pool)
    }

    fn victims_queues(&self, attempt: &Attempt) -> BTreeMap<Account, Triple> {
        let pending = attempt.pending.iter().map(|(id, _)| id);
        let all = attempt.victims.iter().map(|(id, ..)| id).chain(pending);
        let pods = all.filter_map(|id| self.pods.get(id)?.bill.as_ref());
        let accounts = pods.flat_map(|bill| bill.queues.map(|queue| (queue, bill.pool)));
        accounts.map(|account| (account, triple(&self.ledger.used(account).then().all))).collect()
    }

    /// The victims as units; a workload of which nothing stays is one.
    fn units(&self, victims: &[(PodId, Cause)]) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        for (id, cause) in victims {
            let Some(pod) = self.pods.get(id) else { continue };
            let whole = self.workloads.get(&id.workload).is_some_and(|w| w.standing() == 0);
            let amounts = pod.bill.map_or([0; 3], |bill| triple(&bill.amounts));
            if let Some(unit) = units.iter_mut().find(|unit| whole && unit.workload == id.workload) {
                unit.pods.push(*id);
                (0..3).for_each(|m| unit.amounts[m] += amounts[m]);
                continue;
            }
            let project = self.workloads.get(&id.workload).and_then(|w| w.spec.project);
            let queues = project.zip(pod.bill.map(|bill| bill.queues));
            let pods = vec![*id];
            units.push(Unit { workload: id.workload, pods, queues, amounts, cause: *cause });
        }
        units
    }

    /// S25: whoever was evicted leaves those alone for a while for whom it was.
    fn truce(&self, beneficiary: WorkloadId, units: &[Unit], list: &mut List) {
        let now = list.now;
        for victim in units.iter().map(|unit| unit.workload).collect::<BTreeSet<_>>() {
            let written = self.workloads.get(&beneficiary).map_or(&[][..], |w| &w.spec.evictions);
            let written = written.iter().filter(|eviction| eviction.beneficiary == victim).map(|e| e.at);
            let seen = self.evictions.get(&(beneficiary, victim)).copied();
            let last = written.chain(seen).max();
            if let Some(last) = last.filter(|at| now < at.plus(TRUCE)) {
                let past = now.since(last);
                list.about(&victim)
                    .add("S25", format!("is evicted for {beneficiary}, and the other way {past} ago"));
            }
        }
    }

    /// S26: whatever is moved has its new place in the pool, and not too much is.
    fn moves(&self, taking: &Taking, list: &mut List) {
        let moved: Vec<_> = taking.units.iter().filter(|unit| unit.cause == Cause::Consolidate).collect();
        let Some(pool) = self.pools.get(&taking.pool).filter(|_| !moved.is_empty()) else { return };
        let mut f = list.about(&taking.beneficiary);
        f.want(pool.consolidation, "S26", || format!("pods are moved for it, {} wants none to be", pool.id));
        let (count, most) =
            (moved.iter().map(|unit| unit.workload).collect::<BTreeSet<_>>().len(), pool.max_moves);
        f.want(count <= most as usize, "S26", || {
            format!("{count} workloads are moved for it, at most {most}")
        });
        for id in moved.iter().flat_map(|unit| &unit.pods) {
            let to = self.kept.get(id).filter(|_| taking.rooms.contains(id));
            let there = to.and_then(|kept| self.nodes.get(&kept.at.node)?.pool);
            list.about(id).want(there == Some(taking.pool), "S26", || {
                format!("is moved, and its new place is in {there:?}, wanted in {}", taking.pool)
            });
        }
    }
}
