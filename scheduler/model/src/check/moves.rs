//! The order of moves (S26): nobody is stopped for a move before its new place is free, but for those who wait for one
//! another in a circle.
//!
//! Who is to be moved and is not stopped yet is *pending*: it leaves, as far as room goes, and runs in all else. Costs: the
//! pods of the nodes to which those are moved that are stopped.
//! Absent: rules about other pods; whether everybody is stopped as soon as it can be.

use super::cluster::{Cluster, Leaving};
use super::devices::grant_fits;
use super::list::List;
use super::load::Load;
use super::minimal::minds_others;
use super::violation::Findings;
use crate::{GpuMemoryMib, Millis, NodeId, PodId, Timestamp, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};

impl Cluster {
    /// True if the pod is to be moved and is not stopped yet.
    pub(super) fn is_to_be_moved(&self, id: PodId) -> bool {
        self.pods.get(&id).is_some_and(|pod| pod.leaving.is_some_and(|leaving| leaving.pending))
    }

    /// Room is reserved for a pod that runs: it is to be moved. When the room will be free is said with it.
    pub(super) fn plan_to_move(&mut self, id: PodId, free: Timestamp) {
        let grace = self.workloads.get(&id.workload).map_or(Millis::ZERO, |w| w.spec.grace);
        let until = free.plus(if grace == Millis::ZERO { Millis::from_secs(1) } else { grace });
        let leaving = Leaving { until, by_owner: false, pending: true };
        self.change(id, |pod| pod.leaving = Some(leaving));
        self.note(id.workload);
        if let Some(kind) = self.pods.get(&id).map(|pod| pod.shape.kind.clone()) {
            self.disrupted(id, &kind);
        }
    }

    /// It is not moved after all.
    pub(super) fn not_moved(&mut self, id: PodId) {
        if self.is_to_be_moved(id) {
            self.not_disrupted(id);
            self.change(id, |pod| pod.leaving = None);
            self.note(id.workload);
        }
    }

    /// Judges those that a list stops for a move; of each it is known whether nobody else left for whom it could wait.
    pub(super) fn order_of_moves(&self, list: &mut List) {
        let moved = std::mem::take(&mut list.moved);
        let mut units: BTreeMap<(WorkloadId, Option<PodId>), BTreeSet<PodId>> = BTreeMap::new();
        for id in moved.keys().copied().filter(|id| self.kept.contains_key(id)) {
            let Some(w) = self.workloads.get(&id.workload) else { continue };
            units.entry((w.spec.id, Some(id).filter(|_| w.standing() > 0))).or_default().insert(id);
        }
        let has_place = |unit: &&BTreeSet<PodId>| self.has_place(unit, unit, list.allowance);
        let waiting: Vec<_> = units.values().filter(|unit| !has_place(unit)).collect();
        let gone: BTreeSet<PodId> = waiting.iter().copied().flatten().copied().collect();
        for unit in &waiting {
            let circle = self.has_place(unit, &gone, list.allowance) && self.in_a_circle(unit, &waiting);
            let nobody_leaves = unit.iter().any(|id| moved[id]);
            let Some(id) = unit.first() else { continue };
            list.about(id).want(circle || nobody_leaves, "S26", || {
                "is stopped to be moved, its new place is not free, and it waits in no circle".to_owned()
            });
        }
    }

    /// True if the new places of these pods are free, when some are gone.
    fn has_place(&self, unit: &BTreeSet<PodId>, gone: &BTreeSet<PodId>, allowance: GpuMemoryMib) -> bool {
        let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
        let mut out = Vec::new();
        for id in unit {
            let kept = &self.kept[id];
            let Some(node) = self.nodes.get(&kept.at.node) else { return false };
            let load = loads.entry(kept.at.node).or_insert_with(|| {
                let mut load = node.load.clone();
                for pod in
                    node.pods.iter().filter(|pod| gone.contains(pod)).filter_map(|pod| self.pods.get(pod))
                {
                    load.change(&pod.shape.spec, pod.grant, -1);
                }
                load
            });
            let mut f = Findings::new(id, &mut out);
            load.lacking(&kept.shape.spec, &node.spec, &mut f);
            grant_fits(&kept.shape.spec, &node.spec, kept.at.gpus, load, allowance, &mut f);
            load.change(&kept.shape.spec, kept.at.gpus, 1);
        }
        out.is_empty()
    }

    /// True if a unit is on a node to which one of the others goes, and so on, until one is on a node to which it goes.
    fn in_a_circle(&self, unit: &BTreeSet<PodId>, all: &[&BTreeSet<PodId>]) -> bool {
        let goes_to = |unit: &BTreeSet<PodId>| -> BTreeSet<NodeId> {
            unit.iter().map(|id| self.kept[id].at.node).collect()
        };
        let is_on = |unit: &BTreeSet<PodId>, nodes: &BTreeSet<NodeId>| {
            unit.iter().filter_map(|id| self.pods.get(id)).any(|pod| nodes.contains(&pod.node))
        };
        let mut wanted = goes_to(unit);
        let mut rest: Vec<&BTreeSet<PodId>> = all.iter().copied().filter(|other| *other != unit).collect();
        // Rules about other pods may let somebody on another node be in the way.
        let particular = |id: &PodId| minds_others(&self.kept[id].shape);
        if !self.census.guards.is_empty() || all.iter().copied().flatten().any(particular) {
            return true;
        }
        while let Some(at) = rest.iter().position(|other| is_on(other, &wanted)) {
            let other = rest.remove(at);
            wanted.extend(goes_to(other));
            if is_on(unit, &goes_to(other)) {
                return true;
            }
        }
        false
    }
}
