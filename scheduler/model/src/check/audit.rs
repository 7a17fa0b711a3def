//! The state as a whole, counted anew from the pods: capacity of nodes and devices, limits and quotas, and that the
//! judge's own sums are right. What an event brought about is excused. Costs: O(pods).

use super::cluster::Cluster;
use super::ledger::{Account, Used, enter};
use super::load::Load;
use super::violation::{Findings, Violation};
use crate::NodeId;
use std::collections::BTreeMap;

impl Cluster {
    /// All violations of the state as it is.
    pub(super) fn audit(&self) -> Vec<Violation> {
        let mut out = Vec::new();
        let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
        let mut used: BTreeMap<Account, Used> = BTreeMap::new();
        for pod in self.pods.values() {
            loads.entry(pod.node).or_default().change(&pod.shape.spec, pod.grant, 1);
            pod.bill.iter().for_each(|bill| enter(&mut used, bill, 1));
        }
        for (id, node) in &self.nodes {
            let mut f = Findings::new(id, &mut out);
            let counted = loads.remove(id).unwrap_or_default();
            f.want(counted == node.load, Violation::MIRROR, || {
                format!("{:?}, counted {counted:?}", node.load)
            });
            if !node.excused {
                node.exceeds(&mut f);
            }
        }
        for id in loads.keys() {
            Findings::new(id, &mut out).add(Violation::MIRROR, "has pods and is unknown".to_owned());
        }
        let mut f = Findings::new(&"queues", &mut out);
        let kept = self.ledger.used.iter().filter(|(_, used)| **used != Used::default());
        let counted = used.iter().filter(|(_, used)| **used != Used::default());
        f.want(kept.eq(counted), Violation::MIRROR, || "the sums differ from a fresh count".to_owned());
        self.ledger.all_exceeding(&mut f);
        out
    }
}
