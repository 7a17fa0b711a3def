//! Room that is held in time (decision 0003): for whom, when it is expected to be free, who must leave it alone.

use super::gates::Ask;
use super::order::Want;
use super::start::Places;
use super::state::{Seat, Shape, State};
use berth_model::{
    Millis, NodeId, NodeSpec, Placement, PodId, PoolId, ProjectSpec, ReasonKind, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Room that is held in one pool.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Hold {
    pub(crate) workload: WorkloadId,
    pub(crate) aged: bool,
    plan: Plan,
}

/// When and where a workload will fit.
#[derive(Clone, PartialEq, Debug)]
struct Plan {
    until: Option<Timestamp>,
    nodes: BTreeSet<NodeId>,
    /// The cluster as it will be then.
    then: State,
    /// Pods that were there when the plan was made.
    seen: BTreeSet<PodId>,
}

/// Room that somebody must leave alone, and what may be used of it all the same.
pub(crate) type Barred = BTreeMap<PoolId, Rc<Hold>>;

/// Pods that are imagined to end together.
type Steps = Vec<(Option<Timestamp>, Vec<PodId>)>;

impl State {
    fn hold_after(&self, workload: &WorkloadSpec) -> Millis {
        let own = workload.project.and_then(|project| self.projects[&project].hold_after);
        own.unwrap_or(ProjectSpec::HOLD_AFTER)
    }

    /// Since it was submitted, or last evicted for another.
    fn waits_since(&self, workload: &WorkloadSpec) -> Timestamp {
        let evicted = self.evictions.iter().filter(|((victim, _), _)| *victim == workload.id);
        evicted.map(|(_, at)| *at).fold(workload.submitted, Timestamp::max)
    }

    /// When a pod will have ended, if that is known.
    fn expected_end(&self, pod: PodId) -> Option<Timestamp> {
        let runtime = self.workloads[&pod.workload].expected_runtime?;
        let began = self.staying(pod.workload).values().map(|seat| seat.since).min()?;
        Some(began.plus(runtime)).filter(|end| *end > self.now)
    }

    /// The holds of those that have waited for too long, the longest first, pool by pool.
    pub(crate) fn aged_holds(&self) -> BTreeMap<PoolId, Rc<Hold>> {
        let mut aged: Vec<(Timestamp, WorkloadId, Want)> = Vec::new();
        for want in self.wants().into_iter().filter(|want| !want.elastic) {
            let workload = &self.workloads[&want.workload];
            let (since, after) = (self.waits_since(workload), self.hold_after(workload));
            let due = after >= Millis::ZERO && since.plus(after) <= self.now;
            if due && self.is_first_of_its_kind(&want) {
                aged.push((since, workload.id, want));
            }
        }
        aged.sort_by_key(|(since, id, _)| (*since, *id));
        let mut holds: BTreeMap<PoolId, Rc<Hold>> = BTreeMap::new();
        for pool in self.pools_by_name() {
            let candidates = aged.iter().map(|(_, _, want)| want).filter(|want| {
                self.pools_for(want).contains(&pool.id) && holds.values().all(|h| h.workload != want.workload)
            });
            let hold = candidates.into_iter().find_map(|want| self.hold(want, pool.id, true));
            if let Some(hold) = hold {
                holds.insert(pool.id, Rc::new(hold));
            }
        }
        holds
    }

    fn is_first_of_its_kind(&self, want: &Want) -> bool {
        let place = |want: &Want| (self.workloads[&want.workload].submitted, want.workload);
        let like = self.likeness_of(want, false);
        let alike = |other: &Want| self.likeness_of(other, false) == like;
        !self.wants().iter().any(|other| place(other) < place(want) && alike(other))
    }

    /// The hold of one who waits: one that is aged holds whatever it takes, another only what all have said to leave.
    pub(crate) fn hold(&self, want: &Want, pool: PoolId, aged: bool) -> Option<Hold> {
        let plan = self.plan(want, pool, !aged)?;
        Some(Hold { workload: want.workload, aged, plan })
    }

    /// True if an aged hold would be allowed at all.
    pub(crate) fn may_hold(&self, want: &Want) -> bool {
        !want.elastic && self.hold_after(&self.workloads[&want.workload]) >= Millis::ZERO
    }

    fn plan(&self, want: &Want, pool: PoolId, declared: bool) -> Option<Plan> {
        let workload = &self.workloads[&want.workload];
        if self.forbidden(workload) {
            return None;
        }
        let steps = self.end_steps(want.workload, pool, declared);
        let least = self.fewest_steps(want, pool, &steps)?;
        let (places, then) = self.after(want, pool, &steps[..least])?;
        let end = if least == 0 { Some(self.now) } else { steps[least - 1].0 };
        let here = |seat: &Seat| self.pool_of(&self.nodes[&seat.node]) == Some(pool);
        let leaving = self.pods.iter().filter(|(_, seat)| here(seat)).map(|(pod, _)| *pod);
        let last = leaving.filter_map(|pod| self.gone_by(pod)).max();
        let until = end.map(|end| last.map_or(end, |last| last.max(end)));
        let nodes = places.iter().map(|(_, at)| at.node).collect();
        let seen = self.pods.keys().chain(self.kept.keys()).copied().collect();
        Some(Plan { until, nodes, then, seen })
    }

    /// By doubling, then by halving.
    fn fewest_steps(&self, want: &Want, pool: PoolId, steps: &Steps) -> Option<usize> {
        let works = |count: usize| self.after(want, pool, &steps[..count]).is_some();
        if works(0) {
            return Some(0);
        }
        let (mut fails, mut fits) = (0, 1.min(steps.len()));
        while fits > fails && !works(fits) {
            (fails, fits) = (fits, (2 * fits).min(steps.len()));
        }
        if fits == fails {
            return None;
        }
        while fits - fails > 1 {
            let middle = fails + (fits - fails) / 2;
            if works(middle) { fits = middle } else { fails = middle }
        }
        Some(fits)
    }

    /// Where all that is wanted goes when these have ended, and the cluster then.
    fn after(
        &self,
        want: &Want,
        pool: PoolId,
        steps: &[(Option<Timestamp>, Vec<PodId>)],
    ) -> Option<(Places, Self)> {
        let mut later = self.later();
        later.barred = Barred::new();
        later.lift(steps.iter().flat_map(|(_, pods)| pods));
        let pods = self.pods_wanted(want);
        let places = later.try_pool(&self.workloads[&want.workload], want, &pods, pool).ok()?;
        Some((places, later))
    }

    fn end_steps(&self, own: WorkloadId, pool: PoolId, declared: bool) -> Steps {
        let mut timed: BTreeMap<Timestamp, Vec<PodId>> = BTreeMap::new();
        let mut untimed: BTreeMap<NodeId, (Ask, Vec<PodId>)> = BTreeMap::new();
        for (pod, seat) in self.pods.iter().filter(|(_, seat)| seat.leaving.is_none()) {
            if pod.workload == own || self.pool_of(&self.nodes[&seat.node]) != Some(pool) {
                continue;
            }
            if let Some(end) = self.expected_end(*pod) {
                timed.entry(end).or_default().push(*pod);
            } else if !declared {
                let (load, pods) = untimed.entry(seat.node).or_default();
                let cost = self.cost(*pod, seat.node, seat.gpus);
                (0..3).for_each(|r| load[r] += cost[r]);
                pods.push(*pod);
            }
        }
        let mut by_load: Vec<_> =
            untimed.into_iter().map(|(node, (load, pods))| (load, node, pods)).collect();
        by_load.sort();
        let timed = timed.into_iter().map(|(end, pods)| (Some(end), pods));
        timed.chain(by_load.into_iter().map(|(_, _, pods)| (None, pods))).collect()
    }

    /// The holds that a want must leave alone.
    pub(crate) fn bars(&self, want: &Want, holds: &BTreeMap<PoolId, Rc<Hold>>, now: bool) -> Barred {
        let bound = holds
            .iter()
            .filter(|(pool, hold)| self.pools_for(want).contains(pool) && self.is_bound(want, hold, now));
        bound.map(|(pool, hold)| (*pool, Rc::clone(hold))).collect()
    }

    fn is_bound(&self, want: &Want, hold: &Hold, now: bool) -> bool {
        let holder = self.workloads.get(&hold.workload).map(|w| self.wants_of(w)).unwrap_or_default();
        let Some(holder) = holder.into_iter().find(|holder| !holder.elastic) else { return false };
        if want.workload == hold.workload {
            return false;
        }
        let declared = self.workloads[&want.workload].expected_runtime.filter(|_| !want.elastic);
        let runtime = WorkloadSpec::runtime_step(declared);
        let done =
            hold.plan.until.zip(runtime).is_some_and(|(until, runtime)| self.now.plus(runtime) <= until);
        if done && now {
            return false;
        }
        if hold.aged {
            return !self.stands_higher(want, &holder);
        }
        let mut all = self.wants();
        while let Some(first) = self.first(&all).cloned().filter(|first| *first != holder) {
            if first == *want {
                return false;
            }
            all.retain(|other| *other != first);
        }
        true
    }

    /// True if a node may be used for free by the one whose turn it is.
    pub(crate) fn is_open(&self, pool: PoolId, node: &NodeSpec) -> bool {
        self.barred.get(&pool).is_none_or(|hold| !hold.plan.nodes.contains(&node.id))
    }

    /// The first held node that takes the pod now, and beside what is held there then.
    pub(crate) fn beside(&self, shape: &Shape, pool: PoolId) -> Option<Placement> {
        let hold = self.barred.get(&pool).filter(|_| self.beside)?;
        let spec = &shape.spec;
        if shape.about_pods()
            || super::prefer::names_nodes(shape)
            || !spec.host_ports.is_empty()
            || !spec.volumes.is_empty()
        {
            return None;
        }
        let ready = self.ready_nodes(pool);
        let node = hold
            .plan
            .nodes
            .iter()
            .filter_map(|id| ready.iter().find(|node| node.id == *id))
            .find(|node| self.takes(shape, node) && self.fits_then(hold, shape, node, pool))?;
        let gpus = self.choose_devices(node.id, spec.gpu, self.pools[&pool].device)?;
        Some(Placement { node: node.id, gpus })
    }

    fn fits_then(&self, hold: &Hold, shape: &Shape, node: &NodeSpec, pool: PoolId) -> bool {
        let mut then = hold.plan.then.clone();
        let device = self.pools[&pool].device;
        let done =
            |pod: PodId| self.expected_end(pod).zip(hold.plan.until).is_some_and(|(end, until)| end <= until);
        let here = self.pods.iter().filter(|(_, seat)| seat.node == node.id).map(|(pod, _)| *pod);
        let kept = self.kept.iter().filter(|(_, kept)| kept.at.node == node.id).map(|(pod, _)| *pod);
        let all: BTreeSet<PodId> = here.chain(kept).collect();
        for pod in all.into_iter().filter(|pod| !hold.plan.seen.contains(pod) && !done(*pod)) {
            let Some(gpus) = then.choose_devices(node.id, self.shape(pod).spec.gpu, device) else {
                return false;
            };
            then.place(pod, Placement { node: node.id, gpus }, self.now);
        }
        then.free(node.id).takes(&shape.spec)
            && then.choose_devices(node.id, shape.spec.gpu, device).is_some()
    }

    /// The first pool in which a want finds no room.
    pub(crate) fn first_short_pool(&self, want: &Want) -> Option<PoolId> {
        let pods = self.pods_wanted(want);
        self.pools_for(want).into_iter().find(|pool| {
            let mut trial = self.clone();
            let tried = trial.try_pool(&self.workloads[&want.workload], want, &pods, *pool);
            matches!(tried, Err(ReasonKind::Capacity))
        })
    }
}
