//! Moving running work so that fragments of free room come together (S26), and giving back victims that are not needed
//! after all (S20).
//!
//! A set of moves counts only if, with the beneficiary in its place, every pod that is stopped finds another one. New
//! places are kept from the start.
//! Costs: a set costs the placements of what it moves; a pool without enough free GPU share in all is not looked at, and
//! for each pod only [`MOST_PLAYS`] sets are played through, those whose candidates started last.

use crate::Engine;
use crate::choose::Scope;
use crate::ix::{NodeIx, PodIx, WorkloadIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::room::Need;
use crate::victims::Unit;
use crate::workload::Pod;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Sets of moves that are played through for one pod.
pub(crate) const MOST_PLAYS: u64 = 16;

impl Engine {
    /// The one layer of consolidation, if the pool allows it and has enough free in all.
    pub(crate) fn consolidate_rules(&self, hunt: &Hunt) -> Vec<Rule> {
        let pool = self.pools.at(hunt.pool);
        let spec = self.pools.spec(hunt.pool);
        let free = pool.devices * berth_model::GpuShare::DEVICE.0 - pool.allocated;
        let may = spec.consolidation && spec.max_moves > 0 && hunt.ask[0] > 0 && free >= hunt.ask[0];
        if may { vec![Rule::Consolidate] } else { Vec::new() }
    }

    /// True if the units, stopped for one pod on a node, all find other places.
    pub(crate) fn all_find_places(
        &mut self,
        hunt: &Hunt,
        need: &Need,
        node: NodeIx,
        units: &[&Unit],
    ) -> bool {
        self.second.plays += 1;
        let mark = self.trial.len();
        for unit in units {
            unit.pods.iter().for_each(|pod| self.try_lift(*pod));
        }
        let strategy = self.pools.spec(hunt.pool).device;
        let gpu = self.shapes.at(need.kind.0).gpu;
        let found = self.nodes.at(node.0).devices.choose(gpu, strategy).is_some_and(|gpus| {
            self.try_put(need.pod, node, gpus);
            self.place_again(hunt, units.iter().flat_map(|unit| unit.pods.iter().copied()))
        });
        self.roll_back_to(mark);
        found
    }

    /// Finds new places for everything that was taken, in the trial under way.
    pub(crate) fn replace_moved(&mut self, hunt: &Hunt, taken: &Taken) -> bool {
        let moved: BTreeSet<WorkloadIx> = taken.units.iter().map(|unit| unit.pods[0].workload).collect();
        let few = moved.len() <= self.pools.spec(hunt.pool).max_moves as usize;
        few && self.place_again(hunt, taken.units.iter().flat_map(|unit| unit.pods.iter().copied()))
    }

    /// Places pods that were lifted: workloads in S9 order, the hardest role first.
    fn place_again(&mut self, hunt: &Hunt, pods: impl Iterator<Item = PodIx>) -> bool {
        let mut pods: Vec<PodIx> = pods.collect();
        pods.sort_by_cached_key(|pod| {
            let workload = self.workloads.at(pod.workload.0);
            let template = self.templates.at(workload.template);
            let (role, _) = template.role_of(pod.pod);
            let every = vec![1; template.roles.len()];
            let place =
                self.hardest_first(workload.template, &every).iter().position(|r| *r == usize::from(role));
            (Reverse(template.priority), workload.submitted, workload.id, place, pod.pod)
        });
        for pod in pods {
            let Some(choice) = self.choose(pod, hunt.pool, Scope::Everywhere) else { return false };
            self.try_put(pod, choice.node, choice.gpus);
        }
        true
    }

    /// Puts back every victim that turns out not to be needed, the dearest first.
    pub(crate) fn put_back(&mut self, hunt: &Hunt, taken: &mut Taken, scope: Scope) {
        if taken.units.len() < 2 {
            return;
        }
        let mut order: Vec<usize> = (0..taken.units.len()).collect();
        order.sort_by(|a, b| {
            let key = |at: usize| (taken.units[at].cost, taken.units[at].id);
            key(*b).cmp(&key(*a))
        });
        let before = self.touched_by_trial();
        let seats: FxHashMap<PodIx, Option<Pod>> = before.into_iter().collect();
        let mut needed = vec![true; taken.units.len()];
        for at in order {
            needed[at] = !self.can_return(hunt, &taken.units[at].pods, &seats, scope);
        }
        for at in (0..needed.len()).rev().filter(|at| !needed[*at]) {
            let department = self.judged_department(hunt, taken.units[at].queue);
            taken.remove(at, department);
        }
    }

    /// Puts a victim back where it was, if the beneficiary's pods that are in its way find other free room.
    fn can_return(
        &mut self,
        hunt: &Hunt,
        victim: &[PodIx],
        seats: &FxHashMap<PodIx, Option<Pod>>,
        scope: Scope,
    ) -> bool {
        let mark = self.trial.len();
        let mut nodes: Vec<NodeIx> = victim.iter().filter_map(|pod| seats[pod]?.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let put = |engine: &Self, pod: &PodIx| {
            engine.pod(*pod).on_node() && seats.get(pod).is_some_and(Option::is_none)
        };
        let moving: Vec<PodIx> = if self.neighbours.idle() {
            let here = nodes.iter().flat_map(|node| self.nodes.at(node.0).pods.iter().copied());
            here.filter(|pod| put(self, pod)).collect()
        } else {
            self.touched_by_trial().into_iter().map(|(pod, _)| pod).filter(|pod| put(self, pod)).collect()
        };
        moving.iter().for_each(|pod| self.try_lift(*pod));
        for pod in victim {
            if let Some(was) = seats[pod] {
                self.try_return(*pod, was);
            }
        }
        for pod in moving {
            let Some(choice) = self.choose(pod, hunt.pool, scope) else {
                self.roll_back_to(mark);
                return false;
            };
            self.try_put(pod, choice.node, choice.gpus);
        }
        let fits = self.within_bounds(hunt);
        if !fits {
            self.roll_back_to(mark);
        }
        fits
    }
}
