//! Rules about other pods: required affinity and anti-affinity, topology spread, volumes of one pod alone (S11).
//!
//! As in Kubernetes: an affinity counts pods that match *all* its terms; the first pod of a group that matches its
//! own terms may go anywhere the labels exist; anti-affinity holds in both directions; leaving pods count, except
//! for topology spread. Costs: kinds of pods x domains; topology spread scans all nodes, and only for pods that
//! ask for it. Domains are those of the whole cluster, not of a pool.

use super::census::{Heads, Kind, Shape, term_selects};
use super::cluster::Cluster;
use super::load::volume_key;
use super::selectors::{node_affinity, node_label, repels, selects_pod};
use super::violation::Findings;
use crate::{NodeId, NodeSpec, PodSpec, TopologySpread, Unsatisfiable};
use std::collections::BTreeMap;

impl Cluster {
    /// All rules about other pods, for a pod that is not there yet.
    pub(super) fn neighbours(&self, shape: &Shape, node: &NodeSpec, f: &mut Findings<'_>) {
        self.affinity(shape, node, f);
        self.anti_affinity(shape, node, f);
        self.guards(shape, node, f);
        let spread = &shape.spec.topology_spread;
        let hard = spread.iter().filter(|c| c.when_unsatisfiable == Unsatisfiable::DoNotSchedule);
        let hard: Vec<_> = hard.collect();
        hard.iter().for_each(|constraint| self.spread(shape, constraint, &hard, node, f));
        self.exclusive(&shape.spec, f);
    }

    fn affinity(&self, shape: &Shape, node: &NodeSpec, f: &mut Findings<'_>) {
        let terms = &shape.spec.pod_affinity.required;
        if terms.is_empty() {
            return;
        }
        let wanted = |kind: &Kind| terms.iter().all(|t| term_selects(t, &shape.kind.namespace, kind));
        let matching: Vec<_> = self.census.kinds.iter().filter(|(kind, _)| wanted(kind)).collect();
        let mut near = true;
        for term in terms {
            let key = &term.topology_key;
            let Some(value) = node_label(node, key) else {
                f.add("S11", format!("pod affinity: {} has no label {key}", node.id));
                return;
            };
            near &= matching.iter().any(|(_, nodes)| self.census.any_in(key, value, nodes));
        }
        let labelled = |id: &NodeId| {
            let spec = self.nodes.get(id).map(|node| &node.spec);
            spec.is_some_and(|node| terms.iter().any(|t| node_label(node, &t.topology_key).is_some()))
        };
        let first = || wanted(&shape.kind) && !matching.iter().any(|(_, nodes)| nodes.keys().any(labelled));
        f.want(near || first(), "S11", || {
            format!("pod affinity: no pod it wants to be near to is near {}", node.id)
        });
    }

    fn anti_affinity(&self, shape: &Shape, node: &NodeSpec, f: &mut Findings<'_>) {
        for term in &shape.spec.pod_anti_affinity.required {
            let key = &term.topology_key;
            let Some(value) = node_label(node, key) else { continue };
            let there = self.census.kinds.iter().find(|(kind, nodes)| {
                term_selects(term, &shape.kind.namespace, kind) && self.census.any_in(key, value, nodes)
            });
            if let Some((kind, _)) = there {
                let labels = &kind.labels;
                f.add("S11", format!("pod anti-affinity: {key}={value} has a pod with {labels:?}"));
            }
        }
    }

    /// The anti-affinity of the pods that are there.
    fn guards(&self, shape: &Shape, node: &NodeSpec, f: &mut Findings<'_>) {
        for (guard, nodes) in &self.census.guards {
            let keeps_off = guard.terms.iter().find(|term| {
                term_selects(term, &guard.namespace, &shape.kind)
                    && node_label(node, &term.topology_key)
                        .is_some_and(|value| self.census.any_in(&term.topology_key, value, nodes))
            });
            if let Some(term) = keeps_off {
                let key = &term.topology_key;
                f.add("S11", format!("pod anti-affinity: a pod in the {key} of {} keeps it off", node.id));
            }
        }
    }

    fn spread(
        &self,
        shape: &Shape,
        constraint: &TopologySpread,
        all: &[&TopologySpread],
        node: &NodeSpec,
        f: &mut Findings<'_>,
    ) {
        let key = &constraint.topology_key;
        let Some(value) = node_label(node, key) else {
            f.add("S11", format!("topology spread: {} has no label {key}", node.id));
            return;
        };
        let domains = self.domains(shape, constraint, all);
        let own = i64::from(selects_pod(constraint.label_selector.as_ref(), &shape.kind.labels));
        let there = domains.get(value).copied().unwrap_or_default();
        let enough = domains.len() >= constraint.min_domains.unwrap_or(1).max(1) as usize;
        let least = domains.values().copied().min().filter(|_| enough).unwrap_or_default();
        let skew = there + own - least;
        f.want(skew <= i64::from(constraint.max_skew), "S11", || {
            let most = constraint.max_skew;
            format!("topology spread: skew of {key}={value} is {there} + {own} - {least}, at most {most}")
        });
    }

    /// Matching pods by domain, over the nodes that count for the constraint.
    fn domains(
        &self,
        shape: &Shape,
        constraint: &TopologySpread,
        all: &[&TopologySpread],
    ) -> BTreeMap<&str, i64> {
        let counted = |kind: &Kind| {
            kind.namespace == shape.kind.namespace
                && selects_pod(constraint.label_selector.as_ref(), &kind.labels)
        };
        let kinds = self.census.kinds.iter().filter(|(kind, _)| counted(kind));
        let kinds: Vec<&BTreeMap<NodeId, Heads>> = kinds.map(|(_, nodes)| nodes).collect();
        let mut domains = BTreeMap::new();
        for node in self.nodes.values().map(|node| &node.spec).filter(|n| counts(constraint, &shape.spec, n))
        {
            if !all.iter().all(|c| node_label(node, &c.topology_key).is_some()) {
                continue;
            }
            let staying = |nodes: &&BTreeMap<_, Heads>| nodes.get(&node.id).map_or(0, |h| h.all - h.leaving);
            if let Some(value) = node_label(node, &constraint.topology_key) {
                *domains.entry(value).or_default() += kinds.iter().map(staying).sum::<i64>();
            }
        }
        domains
    }

    fn exclusive(&self, pod: &PodSpec, f: &mut Findings<'_>) {
        for volume in &pod.volumes {
            let (users, sole) = self.census.users(&volume_key(volume));
            let free = sole == 0 && (users == 0 || !volume.exclusive);
            f.want(free, "S11", || format!("volume {} is for one pod alone, {users} use it", volume.handle));
        }
    }
}

/// True if the node's domain counts for the constraint; of a cordoned one only the taints that it carries are looked at.
fn counts(constraint: &TopologySpread, pod: &PodSpec, node: &NodeSpec) -> bool {
    (!constraint.honor_affinity || node_affinity(pod, node))
        && (!constraint.honor_taints || !node.taints.iter().any(|taint| repels(pod, taint)))
}
