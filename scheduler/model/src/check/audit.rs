//! The state as a whole, counted anew from the pods: capacity of nodes and devices, limits and quotas, and that the
//! judge's own sums are right. What an event brought about is excused. Costs: O(pods).

use super::census::Census;
use super::cluster::{Cluster, Heads};
use super::ledger::{Account, Used, enter};
use super::load::Load;
use super::violation::{Findings, Violation};
use crate::{NodeId, WorkloadId};
use std::collections::BTreeMap;

impl Cluster {
    /// All violations of the state as it is.
    pub(super) fn audit(&self) -> Vec<Violation> {
        let mut out = Vec::new();
        let loads = self.recount(&mut out);
        for (id, node) in &self.nodes {
            let mut f = Findings::new(id, &mut out);
            let counted = loads.get(id).cloned().unwrap_or_default();
            let kept = [&node.load, &node.leaving, &node.reserved];
            f.want(kept == counted.each_ref(), Violation::MIRROR, || {
                format!("{kept:?}, counted {counted:?}")
            });
            if !node.excused {
                node.exceeds(&mut f);
            }
        }
        for id in loads.keys().filter(|id| !self.nodes.contains_key(id)) {
            Findings::new(id, &mut out).add(Violation::MIRROR, "has pods and is unknown".to_owned());
        }
        self.ledger.all_exceeding(&mut Findings::new(&"queues", &mut out));
        out
    }

    /// Counts all pods anew, compares the sums that are not a node's, and gives those that are: what all pods of a
    /// node take, those that leave, and those for whom room is reserved.
    fn recount(&self, out: &mut Vec<Violation>) -> BTreeMap<NodeId, [Load; 3]> {
        let mut loads: BTreeMap<NodeId, [Load; 3]> = BTreeMap::new();
        let mut used: BTreeMap<Account, Used> = BTreeMap::new();
        let mut census = Census::default();
        let mut seats: BTreeMap<WorkloadId, u32> = BTreeMap::new();
        for (id, pod) in &self.pods {
            let [all, leaving, _] = loads.entry(pod.node).or_default();
            all.change(&pod.shape.spec, pod.grant, 1);
            if pod.leaving.is_some() {
                leaving.change(&pod.shape.spec, pod.grant, 1);
            }
            pod.bill.iter().for_each(|bill| enter(&mut used, bill, 1));
            census.change(&pod.shape, pod.node, pod.leaving.is_some(), 1);
            let roles = self.workloads.get(&id.workload).map_or(0, |w| w.spec.roles.len());
            if usize::from(id.role) < roles {
                *seats.entry(id.workload).or_default() += 1;
            }
        }
        for kept in self.kept.values() {
            kept.bill.iter().for_each(|bill| enter(&mut used, bill, 1));
            if self.nodes.contains_key(&kept.at.node) {
                loads.entry(kept.at.node).or_default()[2].change(&kept.shape.spec, kept.at.gpus, 1);
            }
        }
        let mut f = Findings::new(&"sums", out);
        let kept = self.ledger.used.iter().filter(|(_, used)| **used != Used::default());
        let counted = used.iter().filter(|(_, used)| **used != Used::default());
        f.want(kept.eq(counted), Violation::MIRROR, || "of queues differ from a fresh count".to_owned());
        let same = census.kinds == self.census.kinds && census.guards == self.census.guards;
        f.want(same, Violation::MIRROR, || "of pods by label differ from a fresh count".to_owned());
        for (id, w) in &self.workloads {
            let (kept, counted) = (w.heads.iter().map(Heads::seated).sum(), seats.remove(id).unwrap_or(0));
            f.want(counted == kept, Violation::MIRROR, || format!("{id} has {kept} pods, counted {counted}"));
        }
        loads
    }
}
