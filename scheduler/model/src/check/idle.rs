//! An eviction for somebody who had room without it (S10, S23, S32), where that is sure.
//!
//! Sure are workloads of a single pod without rules about other pods, topology or volumes: what is taken when the list is
//! done is at least what was taken when their turn came, so room that is free then was free before. Costs: the nodes,
//! for each such beneficiary, and all workloads. Absent: everybody else, lists that give up reserved room, and times at which
//! room may be held for somebody (decision 0003): on which nodes is not found out here.

use super::cluster::{Cluster, Node, Workload};
use super::devices::enough_devices;
use super::kept::Kept;
use super::ledger::Bill;
use super::list::List;
use super::load::Load;
use super::minimal::minds_others;
use super::violation::Findings;
use crate::{GpuMemoryMib, GpuRequest, Millis, PodId, ProjectSpec, WorkloadId};

impl Cluster {
    /// Judges all beneficiaries of a list.
    pub(super) fn needless(&self, list: &mut List) {
        if list.gave_up {
            return;
        }
        for id in std::mem::take(&mut list.helped) {
            let Some((w, own)) = self.simple(id).filter(|_| !self.may_be_held_from(id)) else { continue };
            let room = self.nodes.values().find(|node| self.surely_fits(w, own, node, list.allowance));
            if let Some(node) = room {
                let free = node.spec.id;
                list.about(&id).add("S32", format!("has victims, and {free} has room for it without"));
            }
        }
    }

    /// True if somebody else waits for whom room may be held: for so long that the bound of its project is over, or while
    /// somebody has said until when he runs.
    pub(super) fn may_be_held_from(&self, id: WorkloadId) -> bool {
        let declared = self.workloads.values().any(|w| w.spec.expected_runtime.is_some());
        self.workloads.values().any(|other| {
            let project = other.spec.project.and_then(|project| self.projects.get(&project));
            let after = project.and_then(|project| project.hold_after).unwrap_or(ProjectSpec::HOLD_AFTER);
            let aged = self.now.is_some_and(|now| other.spec.submitted.plus(after) <= now);
            let may = other.spec.id != id && after >= Millis::ZERO && (declared || aged);
            may && self.has_pending(other.spec.id)
        })
    }

    /// A workload of a single pod that minds nobody, and the room that is kept for it.
    fn simple(&self, id: WorkloadId) -> Option<(&Workload, &Kept)> {
        let w = self.workloads.get(&id)?;
        let [role] = w.spec.roles.as_slice() else { return None };
        let kept = self.kept.get(&PodId { workload: id, role: 0, index: 0 })?;
        let fixed_price = !matches!(role.pod.gpu, GpuRequest::Memory { .. });
        let plain =
            role.count == 1 && w.spec.topology.is_none() && role.pod.volumes.is_empty() && fixed_price;
        (plain && !minds_others(&kept.shape) && self.census.guards.is_empty()).then_some((w, kept))
    }

    fn surely_fits(&self, w: &Workload, own: &Kept, node: &Node, allowance: GpuMemoryMib) -> bool {
        let pod = &own.shape.spec;
        let mut reserved = node.reserved.clone();
        if own.at.node == node.spec.id {
            reserved.change(pod, own.at.gpus, -1);
        }
        let taken: Load = node.load.with(&reserved, std::ops::Add::add);
        let mut out = Vec::new();
        let mut f = Findings::new(&"", &mut out);
        self.may_run(w, pod, &node.spec, &mut f);
        self.in_listed_pool(w, node, &mut f);
        taken.lacking(pod, &node.spec, &mut f);
        let fits = out.is_empty()
            && taken.anonymous.is_empty()
            && enough_devices(pod.gpu, &node.spec, &taken, allowance);
        fits && self.surely_open(own, node)
    }

    /// S6: the gates let it in there, whatever may be counted, its own reservation apart.
    fn surely_open(&self, own: &Kept, node: &Node) -> bool {
        let (Some(bill), Some(pool)) = (own.bill, node.pool) else { return true };
        self.ledger.would_pass(&Bill { pool, ..bill }, |account| {
            let mut used = self.ledger.used(account).ever();
            if account.1 == bill.pool {
                used.add(bill.amounts, bill.preemptible, -1);
            }
            used
        })
    }
}
