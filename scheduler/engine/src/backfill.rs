//! When a workload fits at the earliest, and where (decision 0003): the plan behind a hold.
//!
//! Pods that run are imagined to end one after the other: first those that leave already, then those that have said
//! for how long they run, by their ends; then, if it must be, the pods that have said nothing, node by node, those nodes
//! first on which least of them runs. The fewest of these steps after which the workload fits are the plan. They are
//! found by doubling, then by halving the interval; each try is a trial on the live state.
//! Costs: a sort of the pool's pods, and about four times the pods of the plan taken off and put back.

use crate::Engine;
use crate::device::Devices;
use crate::ix::{GroupIx, NodeIx, PodIx, PoolIx, WorkloadIx};
use crate::node::Free;
use crate::org::{Triple, add};
use crate::place::Step;
use crate::workload::Stage;
use berth_model::{NodeId, Timestamp};
use std::collections::BTreeMap;

/// What is left of a node when the plan has come true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Then {
    pub(crate) free: Free,
    pub(crate) devices: Devices,
    /// The pods that were there when the plan was made, in order.
    pub(crate) seen: Vec<PodIx>,
}

/// Where a workload will fit, and from when on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// None if that depends on pods that have not said until when they run.
    pub(crate) until: Option<Timestamp>,
    /// When it must be made anew although nothing has happened: the first that was to end has not, or it is time.
    pub(crate) stands_until: Option<Timestamp>,
    pub(crate) nodes: BTreeMap<(NodeId, NodeIx), Then>,
}

/// Pods that are imagined to end together, and when they have said they will.
type EndStep = (Option<Timestamp>, Vec<PodIx>);

impl Engine {
    /// When a pod will have ended, if its workload has said for how long it runs and has not run for longer.
    pub(crate) fn expected_end(&self, pod: PodIx) -> Option<Timestamp> {
        let workload = self.workloads.at(pod.workload.0);
        let runtime = workload.expected_runtime?;
        let placed = workload.pods.iter().filter(|pod| pod.stage == Stage::Placed);
        let began = placed.map(|pod| pod.since).min()?;
        Some(began.plus(runtime)).filter(|end| *end > self.now)
    }

    /// When and where the first member of a group fits at the earliest; with `declared` only if all that must end for it
    /// have said when they will. None if it never fits. Nothing has changed afterwards.
    pub(crate) fn plan_start(&mut self, group: GroupIx, pool: PoolIx, declared: bool) -> Option<Plan> {
        self.show_all();
        let key = &self.waiting.at(group).key;
        let template = self.templates.at(key.template);
        if self.policy(template).is_some() {
            return None;
        }
        let (_, _, workload) = self.waiting.at(group).first()?;
        let steps = self.end_steps(workload, pool, declared);
        let least = self.fewest_steps(group, pool, &steps)?;
        let until = match least.checked_sub(1).map(|last| steps[last].0) {
            None => Some(self.now),
            Some(end) => end,
        };
        let until = until.map(|until| self.last_to_leave(pool).map_or(until, |last| last.max(until)));
        let fits = self.fits_after(group, pool, &steps[..least]);
        debug_assert!(fits, "it has fitted before");
        let mut nodes = BTreeMap::new();
        for step in &self.trial {
            let Step::Put(pod) = *step else { continue };
            let Some(ix) = self.pod(pod).node.filter(|_| pod.workload == workload) else { continue };
            let node = self.nodes.at(ix.0);
            let then = Then { free: node.free.clone(), devices: node.devices.clone(), seen: Vec::new() };
            nodes.insert((node.id, ix), then);
        }
        self.roll_back();
        for ((_, ix), then) in &mut nodes {
            then.seen.extend_from_slice(&self.nodes.at(ix.0).pods);
            then.seen.sort_unstable();
        }
        let first_end = steps[..least].iter().filter_map(|(end, _)| *end).min();
        let stands_until = first_end.into_iter().chain(until).min();
        Some(Plan { until, stands_until, nodes })
    }

    /// When the last of those must be gone that leave the pool.
    fn last_to_leave(&self, pool: PoolIx) -> Option<Timestamp> {
        let there =
            |pod: &&PodIx| self.pod(**pod).node.and_then(|node| self.nodes.at(node.0).pool) == Some(pool);
        self.reservations.leaving.iter().filter(there).map(|pod| self.gone_by(*pod)).max()
    }

    /// How many steps must be over before the group fits; none if it does not when all are.
    fn fewest_steps(&mut self, group: GroupIx, pool: PoolIx, steps: &[EndStep]) -> Option<usize> {
        let mut works = |count: usize| {
            let fits = self.fits_after(group, pool, &steps[..count]);
            self.roll_back();
            fits
        };
        if works(0) {
            return Some(0);
        }
        let (mut fails, mut fits) = (0, 1);
        loop {
            fits = fits.min(steps.len());
            if fits == fails {
                return None;
            }
            if works(fits) {
                break;
            }
            (fails, fits) = (fits, 2 * fits);
        }
        while fits - fails > 1 {
            let middle = fails + (fits - fails) / 2;
            if works(middle) { fits = middle } else { fails = middle }
        }
        Some(fits)
    }

    /// True if the group fits when all that leave and these are gone; the trial stands.
    fn fits_after(&mut self, group: GroupIx, pool: PoolIx, steps: &[EndStep]) -> bool {
        self.lift_leaving(pool);
        for pod in steps.iter().flat_map(|(_, pods)| pods) {
            self.try_lift(*pod);
        }
        self.try_pool_freely(group, pool).is_ok()
    }

    /// The pods of a pool, as they are imagined to end.
    fn end_steps(&self, own: WorkloadIx, pool: PoolIx, declared: bool) -> Vec<EndStep> {
        let mut timed: BTreeMap<Timestamp, Vec<PodIx>> = BTreeMap::new();
        let mut untimed: Vec<(Triple, NodeId, Vec<PodIx>)> = Vec::new();
        for node in self.nodes.iter().map(|(_, node)| node).filter(|node| node.pool == Some(pool)) {
            let (mut load, mut pods) = ([0; 3], Vec::new());
            for pod in &node.pods {
                let state = self.pod(*pod);
                let Some(ix) = state.node.filter(|_| state.stage == Stage::Placed && pod.workload != own)
                else {
                    continue;
                };
                match self.expected_end(*pod) {
                    Some(end) => timed.entry(end).or_default().push(*pod),
                    None => {
                        add(&mut load, self.cost(self.kind_of(*pod).0, ix, state.gpus), 1);
                        pods.push(*pod);
                    }
                }
            }
            if !pods.is_empty() && !declared {
                untimed.push((load, node.id, pods));
            }
        }
        untimed.sort_unstable_by_key(|(load, id, _)| (*load, *id));
        let timed = timed.into_iter().map(|(end, pods)| (Some(end), pods));
        timed.chain(untimed.into_iter().map(|(_, _, pods)| (None, pods))).collect()
    }
}
