//! What must hold of a workload once a whole list is carried out: all minimums or nothing (S5), in one domain (S31).

use super::cluster::{Cluster, Workload};
use super::list::List;
use super::selectors::node_label;
use super::violation::Findings;
use std::collections::BTreeMap;

impl Cluster {
    /// Judges the workloads that a list started. One that had its minimum before only grew.
    pub(super) fn gangs(&self, list: &mut List) {
        for (id, had_minimum) in std::mem::take(&mut list.placed) {
            let Some(w) = self.workloads.get(&id).filter(|_| !had_minimum) else { continue };
            let mut f = list.about(&id);
            for (role, heads) in w.spec.roles.iter().zip(&w.heads) {
                let there = heads.there() + heads.succeeded;
                f.want(there >= role.min, "S5", || {
                    format!("starts with {there} pods of role {}, its minimum is {}", role.name, role.min)
                });
            }
            self.one_domain(w, &mut f);
        }
    }

    /// S31: some domain holds all minimums. Which pods are elastic is not told, so any of a role count.
    fn one_domain(&self, w: &Workload, f: &mut Findings<'_>) {
        let Some(topology) = w.spec.topology.as_ref().filter(|topology| topology.required) else { return };
        let missing = w.spec.roles.iter().zip(&w.heads).map(|(role, h)| role.min.saturating_sub(h.succeeded));
        let missing: Vec<u32> = missing.collect();
        let mut domains: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (id, pod) in self.pods_of(w.spec.id).filter(|(_, pod)| pod.leaving.is_none_or(|l| l.by_owner)) {
            let node = self.nodes.get(&pod.node).map(|node| &node.spec);
            let value = node.and_then(|node| node_label(node, &topology.key));
            let counts = value.map(|value| domains.entry(value).or_insert_with(|| vec![0; missing.len()]));
            if let Some(count) = counts.and_then(|counts| counts.get_mut(usize::from(id.role))) {
                *count += 1;
            }
        }
        let holds = |counts: &Vec<u32>| counts.iter().zip(&missing).all(|(count, missing)| count >= missing);
        let kept = missing.iter().all(|n| *n == 0) || domains.values().any(holds);
        f.want(kept, "S31", || {
            format!("no {} holds all minimums: {domains:?}, wanted {missing:?}", topology.key)
        });
    }
}
