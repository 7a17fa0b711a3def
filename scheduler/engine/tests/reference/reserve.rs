//! Room that is kept (S23): how it is found, when it turns into places, when it is given up.

use super::gates::bounds;
use super::labels::label;
use super::order::Want;
use super::start::{Places, hardest_first};
use super::state::{Kept, Seat, State};
use berth_model::{
    Cause, Decision, Millis, NodeId, Placement, PodId, PodOutcome, PoolId, Quota, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// S23: 0 would delete the object while containers still hold the GPU.
pub(crate) const LEAST_GRACE: Millis = Millis::from_secs(1);

/// What one attempt comes to: who is stopped, and whose room is kept.
pub(crate) struct Deal {
    pub(crate) beneficiary: WorkloadId,
    pub(crate) victims: Option<(Cause, BTreeSet<PodId>)>,
    pub(crate) places: Places,
    /// New places of those that are moved, workload by workload.
    pub(crate) moved: Vec<(WorkloadId, Places)>,
}

impl State {
    /// Room for all that is wanted as if all leaving pods were gone and all kept room taken, if there is any.
    pub(crate) fn wait_for_leaving(&self, want: &Want) -> Option<Deal> {
        let someone_leaves = self.pods.values().any(|seat| seat.leaving.is_some());
        if !someone_leaves && self.kept.is_empty() {
            return None;
        }
        let pods = self.pods_wanted(want);
        let places = self.later().start(want, &pods).ok()?;
        Some(Deal { beneficiary: want.workload, victims: None, places, moved: Vec::new() })
    }

    /// Carries out a deal: victims leave, room is kept.
    pub(crate) fn close(&mut self, deal: Deal) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let (cause, victims) = deal.victims.unwrap_or((Cause::Reclaim, BTreeSet::new()));
        let moved: Places = deal.moved.into_iter().flat_map(|(_, places)| places).collect();
        let moves = |pod: &PodId| moved.iter().any(|(moved, _)| moved == pod);
        let (moving, stopped): (BTreeSet<PodId>, BTreeSet<PodId>) =
            victims.iter().partition(|pod| moves(pod));
        decisions.extend(self.evict_all(&stopped, Some(deal.beneficiary), cause));
        moving.iter().for_each(|pod| self.await_place(*pod));
        let until = Timestamp::default();
        let rooms = || deal.places.iter().chain(&moved);
        self.kept.extend(rooms().map(|(pod, at)| (*pod, Kept { at: *at, until })));
        let units = self.batches_of(|pod| moves(&pod));
        let stopped: BTreeSet<PodId> =
            self.find_stoppable(&units).into_iter().flat_map(|at| units[at].clone()).collect();
        for pod in stopped {
            decisions.push(self.evict(pod, Some(deal.beneficiary), cause));
        }
        self.date_moves(&units);
        let until = self.until(&deal.places, &victims);
        for (pod, _) in &deal.places {
            self.kept.get_mut(pod).expect("its room").until = until;
        }
        let reserve = |(pod, at): &(PodId, Placement)| Decision::Reserve {
            pod: *pod,
            at: *at,
            until: self.kept[pod].until,
        };
        decisions.extend(rooms().map(reserve));
        decisions
    }

    /// Stops pods, and those of their workloads that were to be moved if without these they have not their minimum (S24).
    pub(crate) fn evict_all(
        &mut self,
        pods: &BTreeSet<PodId>,
        beneficiary: Option<WorkloadId>,
        cause: Cause,
    ) -> Vec<Decision> {
        let mut decisions: Vec<_> = pods.iter().map(|pod| self.evict(*pod, beneficiary, cause)).collect();
        let stopped: BTreeSet<WorkloadId> = pods.iter().map(|pod| pod.workload).collect();
        let ends = |id: &WorkloadId| {
            let workload = &self.workloads[id];
            let lacks = (0..workload.roles.len()).any(|role| self.missing(workload, role) > 0);
            lacks && self.staying(*id).is_empty()
        };
        let ended: BTreeSet<WorkloadId> = stopped.into_iter().filter(ends).collect();
        let left = self.pods.iter().filter(|(pod, seat)| seat.pending && ended.contains(&pod.workload));
        for pod in left.map(|(pod, _)| *pod).collect::<Vec<_>>() {
            decisions.push(self.evict(pod, beneficiary, cause));
        }
        decisions
    }

    /// Stops a pod.
    pub(crate) fn evict(&mut self, pod: PodId, beneficiary: Option<WorkloadId>, cause: Cause) -> Decision {
        let grace = self.grace(pod.workload);
        let leaving = Some(self.now.plus(grace));
        let seat = self.pods.get_mut(&pod).expect("a victim is on a node");
        *seat = Seat { leaving, evicted: true, pending: false, ..*seat };
        let budgets = self.budgets_of(pod);
        self.disrupted.extend(budgets.into_iter().map(|budget| ((budget, pod), false)));
        if let Some(other) = beneficiary {
            self.evictions.insert((pod.workload, other), self.now);
        }
        Decision::Evict { pod, grace, beneficiary, cause }
    }

    /// When the last must be gone of those that leave the nodes, and of the victims; else the last of all that leave.
    fn until(&self, places: &Places, victims: &BTreeSet<PodId>) -> Timestamp {
        let nodes: BTreeSet<NodeId> = places.iter().map(|(_, at)| at.node).collect();
        let concerned = |pod: &PodId, seat: &Seat| victims.contains(pod) || nodes.contains(&seat.node);
        let last = self
            .pods
            .iter()
            .filter(|(pod, seat)| concerned(pod, seat))
            .filter_map(|(pod, _)| self.gone_by(*pod))
            .max();
        let all = || self.pods.keys().filter_map(|pod| self.gone_by(*pod)).max();
        last.or_else(all).unwrap_or(self.now)
    }

    /// The pods that have room kept, in the order of S9, put together that start together: all of a workload that lacks
    /// its minimum, else each by itself.
    fn batches(&self) -> Vec<Vec<PodId>> {
        self.batches_of(|_| true)
    }

    /// The same of those of them that are meant.
    pub(crate) fn batches_of(&self, meant: impl Fn(PodId) -> bool) -> Vec<Vec<PodId>> {
        let kept: Vec<PodId> = self.kept.keys().copied().filter(|pod| meant(*pod)).collect();
        let mut workloads: Vec<&WorkloadSpec> =
            self.workloads.values().filter(|w| kept.iter().any(|pod| pod.workload == w.id)).collect();
        workloads.sort_by_key(|w| (Reverse(w.priority), w.submitted, w.id));
        let mut batches = Vec::new();
        for workload in workloads {
            let all = hardest_first(workload, &vec![1; workload.roles.len()]);
            let of_role = |role: usize| {
                let mine = move |pod: &&PodId| pod.workload == workload.id && usize::from(pod.role) == role;
                kept.iter().filter(mine).copied()
            };
            let pods: Vec<PodId> = all.into_iter().flat_map(of_role).collect();
            if (0..workload.roles.len()).any(|role| self.missing(workload, role) > 0) {
                batches.push(pods);
            } else {
                batches.extend(pods.into_iter().map(|pod| vec![pod]));
            }
        }
        batches
    }

    /// Gives up room that would not do any more even if all leaving pods were gone. The pods concerned.
    pub(crate) fn give_up(&mut self) -> Vec<PodId> {
        let mut released = Vec::new();
        loop {
            let mut later = self.without_kept().later();
            let must_stay = |pod: &PodId| self.is_pending(*pod) && !self.workloads[&pod.workload].preemptible;
            let failed: Vec<PodId> = self
                .batches()
                .into_iter()
                .filter(|batch| batch.iter().any(must_stay) || !later.move_in(&self.places_of(batch)))
                .flatten()
                .collect();
            self.kept.retain(|pod, _| !failed.contains(pod));
            let stay: Vec<PodId> = failed.iter().copied().filter(|pod| self.is_pending(*pod)).collect();
            stay.iter().for_each(|pod| self.stay(*pod));
            released.extend(failed);
            // Who stays may be in the way of others.
            if stay.is_empty() {
                return released;
            }
        }
    }

    pub(crate) fn places_of(&self, pods: &[PodId]) -> Places {
        pods.iter().map(|pod| (*pod, self.kept[pod].at)).collect()
    }

    /// Starts those whose room is free beside everybody who is still there.
    pub(crate) fn start_kept(&mut self) -> Places {
        let mut started = Places::new();
        for batch in self.batches() {
            let places = self.places_of(&batch);
            let mut now = self.without_kept();
            if batch.iter().all(|pod| !self.pods.contains_key(pod)) && now.move_in(&places) {
                self.pods = now.pods;
                self.kept.retain(|pod, _| !batch.contains(pod));
                started.extend(places);
            }
        }
        started
    }

    /// Puts pods of one workload where their room is, or changes nothing: into one pool of its list, that of its other
    /// pods, where they fit one after the other, within the gates, so that the workload has its minimum.
    pub(crate) fn move_in(&mut self, places: &Places) -> bool {
        let before = self.pods.clone();
        let workload = self.workloads[&places[0].0.workload].clone();
        let minimum = (0..workload.roles.len()).any(|role| self.missing(&workload, role) > 0);
        let pool = self.nodes.get(&places[0].1.node).and_then(|node| self.pool_of(node));
        let others = self.staying(workload.id).into_values().next();
        let bound = others.and_then(|seat| self.pool_of(&self.nodes[&seat.node]));
        let open = |pool: &PoolId| {
            self.pools_listed(&workload).contains(pool) && bound.is_none_or(|bound| bound == *pool)
        };
        let pool = pool.filter(open).filter(|_| !self.forbidden(&workload));
        let fits = pool.is_some_and(|pool| {
            places.iter().all(|(pod, at)| {
                let fits = self.fits_kept(&workload, *pod, *at, pool);
                if fits {
                    self.place(*pod, *at, self.now);
                }
                fits
            })
        });
        let complete = (0..workload.roles.len()).all(|role| self.missing(&workload, role) == 0);
        let together = !minimum || self.together(&workload);
        if !(fits && complete && together) {
            self.pods = before;
        }
        fits && complete && together
    }

    fn fits_kept(&self, workload: &WorkloadSpec, pod: PodId, at: Placement, pool: PoolId) -> bool {
        let node = self.nodes.get(&at.node);
        node.is_some_and(|node| node.ready && self.pool_of(node) == Some(pool))
            && self.takes_at(&self.shape(pod), at)
            && self.gate(workload, pool, self.cost(pod, at.node, at.gpus)).is_ok()
    }

    /// S31: the minimums of a workload that requires it are in one domain.
    fn together(&self, workload: &WorkloadSpec) -> bool {
        let Some(topology) = workload.topology.as_ref().filter(|t| t.required) else { return true };
        let values: BTreeSet<&str> =
            self.nodes.values().filter_map(|node| label(node, &topology.key)).collect();
        values.into_iter().any(|value| {
            workload.roles.iter().enumerate().all(|(role, spec)| {
                let of_role = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
                let here = self.pods.iter().filter(|(pod, seat)| {
                    of_role(pod)
                        && seat.leaving.is_none()
                        && label(&self.nodes[&seat.node], &topology.key) == Some(value)
                });
                let done =
                    self.ended.iter().filter(|(pod, o)| of_role(pod) && **o == PodOutcome::Succeeded).count();
                here.count() + done >= spec.min as usize
            })
        })
    }

    /// What a queue may still use of each resource it manages, by its quota: none = without bound.
    pub(crate) fn quotas(&self, queue: berth_model::QueueId, pool: PoolId) -> [Option<Option<i64>>; 3] {
        bounds(self.quota(Some(queue), pool)).map(|(quota, limit)| match quota {
            Quota::Unmanaged if limit.is_none() => None,
            Quota::Unmanaged | Quota::Unlimited => Some(None),
            Quota::Of(quota) => Some(Some(quota)),
        })
    }
}
