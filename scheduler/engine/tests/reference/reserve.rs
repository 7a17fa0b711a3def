//! Room that is kept (S23): how it is found, when it turns into places, when it is given up.

use super::gates::bounds;
use super::labels::label;
use super::order::Want;
use super::start::Places;
use super::state::{Reservation, Seat, State};
use berth_model::{
    Cause, Decision, Millis, NodeId, PodId, PodOutcome, PoolId, Quota, Timestamp, WorkloadId, WorkloadSpec,
};
use std::collections::BTreeSet;

/// S23: 0 would delete the object while containers still hold the GPU.
const LEAST_GRACE: Millis = Millis::from_secs(1);

/// What one attempt comes to: who is stopped, and whose room is kept.
pub(crate) struct Deal {
    pub(crate) beneficiary: WorkloadId,
    pub(crate) pool: PoolId,
    pub(crate) victims: Option<(Cause, BTreeSet<PodId>)>,
    pub(crate) places: Places,
    /// New places of those that are moved, workload by workload.
    pub(crate) moved: Vec<(WorkloadId, Places)>,
}

impl State {
    /// Room for all that is wanted as if all leaving pods were gone, if there is any.
    pub(crate) fn wait_for_leaving(&self, want: &Want) -> Option<Deal> {
        let someone_leaves = self.pods.values().any(|seat| seat.leaving.is_some());
        if !someone_leaves && self.reservations.is_empty() {
            return None;
        }
        let pods = self.pods_wanted(want);
        let started = self.later().start(want, &pods).ok()?;
        let (beneficiary, pool, places) = (want.workload, started.pool, started.placed);
        Some(Deal { beneficiary, pool, victims: None, places, moved: Vec::new() })
    }

    /// Carries out a deal: victims leave, room is kept.
    pub(crate) fn close(&mut self, deal: Deal) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let (cause, victims) = deal.victims.unwrap_or((Cause::Reclaim, BTreeSet::new()));
        for pod in &victims {
            decisions.push(self.evict(*pod, Some(deal.beneficiary), cause));
        }
        let rooms = std::iter::once((deal.beneficiary, deal.places)).chain(deal.moved);
        for (workload, places) in rooms {
            let until = self.until(&places, &victims);
            decisions.extend(places.iter().map(|(pod, at)| Decision::Reserve { pod: *pod, at: *at, until }));
            let (pool, pods, victims) = (deal.pool, places, victims.clone());
            self.reservations.push(Reservation { workload, pool, pods, until, victims, broken: false });
        }
        decisions
    }

    /// Stops a pod.
    pub(crate) fn evict(&mut self, pod: PodId, beneficiary: Option<WorkloadId>, cause: Cause) -> Decision {
        let grace = self.workloads[&pod.workload].grace;
        let grace = if grace == Millis::ZERO { LEAST_GRACE } else { grace };
        let leaving = Some(self.now.plus(grace));
        let seat = self.pods.get_mut(&pod).expect("a victim is on a node");
        *seat = Seat { leaving, evicted: true, victim_of: beneficiary, ..*seat };
        if let Some(other) = beneficiary {
            self.evictions.insert((pod.workload, other), self.now);
        }
        Decision::Evict { pod, grace, beneficiary, cause }
    }

    /// When the last of the makers of room must be gone: those that leave the nodes, and the victims. Where it is another
    /// that stands in the way, elsewhere: the last of all that leave.
    fn until(&self, places: &Places, victims: &BTreeSet<PodId>) -> Timestamp {
        let nodes: BTreeSet<NodeId> = places.iter().map(|(_, at)| at.node).collect();
        let makes = |pod: &PodId, seat: &Seat| victims.contains(pod) || nodes.contains(&seat.node);
        let makers =
            self.pods.iter().filter(|(pod, seat)| makes(pod, seat)).filter_map(|(_, s)| s.leaving).max();
        let all = || self.pods.values().filter_map(|seat| seat.leaving).max();
        makers.or_else(all).unwrap_or(self.now)
    }

    /// Gives up the reservations that are void, oldest first: by what has happened, or because the pods would not fit
    /// even if all leaving ones were gone. The pods concerned.
    pub(crate) fn give_up(&mut self) -> Vec<PodId> {
        let mut later = self.later_without_reservations();
        let mut released = Vec::new();
        for reservation in std::mem::take(&mut self.reservations) {
            if !reservation.broken && later.move_in(&reservation) {
                self.reservations.push(reservation);
                continue;
            }
            released.extend(reservation.pods.iter().map(|(pod, _)| *pod).filter(|pod| self.will_wait(*pod)));
        }
        released
    }

    fn later_without_reservations(&self) -> Self {
        self.without_reservations().later()
    }

    /// True for a pod that is asked for and is not on a node to stay.
    fn will_wait(&self, pod: PodId) -> bool {
        let role = self.workloads.get(&pod.workload).and_then(|w| w.roles.get(usize::from(pod.role)));
        let stays = self.pods.get(&pod).is_some_and(|seat| seat.leaving.is_none());
        role.is_some_and(|role| pod.index < role.count) && !self.ended.contains_key(&pod) && !stays
    }

    /// Starts those whose room is free beside everybody who is still there, oldest first.
    pub(crate) fn start_reserved(&mut self) -> Places {
        let mut started = Places::new();
        for reservation in self.reservations.clone() {
            let mut now = self.without_reservations();
            let ready = reservation.pods.iter().all(|(pod, _)| !now.pods.contains_key(pod));
            if ready && now.move_in(&reservation) {
                self.pods = now.pods;
                self.reservations.retain(|r| *r != reservation);
                started.extend(reservation.pods);
            }
        }
        started
    }

    /// Puts the pods where their room is, or changes nothing: in the pool, where they fit one after the other, within the
    /// gates, so that the workload has its minimum.
    fn move_in(&mut self, reservation: &Reservation) -> bool {
        let before = self.pods.clone();
        let workload = self.workloads[&reservation.workload].clone();
        let minimum = (0..workload.roles.len()).any(|role| self.missing(&workload, role) > 0);
        let mut fits = !self.forbidden(&workload) && self.pools_listed(&workload).contains(&reservation.pool);
        for (pod, at) in &reservation.pods {
            fits = fits && {
                let node = self.nodes.get(&at.node);
                let open = node.is_some_and(|n| n.ready && self.pool_of(n) == Some(reservation.pool));
                open && self.takes_at(&self.shape(*pod), *at)
                    && self.gate(&workload, reservation.pool, self.cost(*pod, at.node, at.gpus)).is_ok()
            };
            if fits {
                self.place(*pod, *at, self.now);
            }
        }
        let complete = (0..workload.roles.len()).all(|role| self.missing(&workload, role) == 0);
        let together = !minimum || self.together(&workload);
        if !(fits && complete && together) {
            self.pods = before;
        }
        fits && complete && together
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
