//! Moving workloads together (S26): only if every one has a new place.

use super::order::Want;
use super::start::{Places, hardest_first};
use super::state::State;
use super::units::Unit;
use super::victims::{Hunt, Layer};
use berth_model::{PodId, Priority, Timestamp, WorkloadId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// S9, among those that are moved.
type Turn = (Reverse<Priority>, bool, Timestamp, WorkloadId);

impl Hunt<'_> {
    /// Units of all projects, if the pool allows moves.
    pub(crate) fn consolidate_layers(&self) -> Vec<Layer> {
        if !self.real.pools[&self.pool].consolidation {
            return Vec::new();
        }
        let managed = |w: &berth_model::WorkloadSpec| w.project.is_some();
        let mut units = self.real.units(self.workload.id, self.pool, self.placed, managed);
        // Who lacks its minimum could not start anew elsewhere (S5).
        units.retain(|unit| {
            let workload = &self.real.workloads[&unit.workload];
            (0..workload.roles.len()).all(|role| self.real.missing(workload, role) == 0)
        });
        vec![Layer { units, bound: None }]
    }

    /// New places for all pods of these units, in the same pool, beside what is there; none if one finds none.
    pub(crate) fn relocate(&self, state: &State, units: &[Unit]) -> Option<Vec<(WorkloadId, Places)>> {
        let mut moves: BTreeMap<Turn, Vec<&Unit>> = BTreeMap::new();
        for unit in units {
            let workload = &self.real.workloads[&unit.workload];
            let turn = (Reverse(workload.priority), !unit.whole, workload.submitted, workload.id);
            moves.entry(turn).or_default().push(unit);
        }
        if moves.len() > self.real.pools[&self.pool].max_moves as usize {
            return None;
        }
        let mut state = state.clone();
        let mut moved = Vec::new();
        for ((_, elastic, _, id), units) in moves {
            let workload = &self.real.workloads[&id];
            let stopped: BTreeSet<PodId> = units.iter().flat_map(|unit| unit.pods.iter().copied()).collect();
            let mut of_role: Vec<Vec<PodId>> = vec![Vec::new(); workload.roles.len()];
            stopped.into_iter().for_each(|pod| of_role[usize::from(pod.role)].push(pod));
            let counts: Vec<u32> = of_role.iter().map(|pods| pods.len() as u32).collect();
            let order = hardest_first(workload, &counts);
            let pods: Vec<PodId> = order.into_iter().flat_map(|role| of_role[role].clone()).collect();
            let want = Want { workload: id, pool: Some(self.pool), pods: counts, elastic, alone: None };
            let allowed =
                !self.real.forbidden(workload) && self.real.pools_listed(workload).contains(&self.pool);
            let places = state.try_pool(workload, &want, &pods, self.pool).ok().filter(|_| allowed)?;
            moved.push((id, places));
        }
        Some(moved)
    }
}
