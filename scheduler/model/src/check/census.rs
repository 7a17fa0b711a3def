//! Who is where: pods by their labels, pods that keep others away, nodes by topology domain, users of volumes (S11).
//!
//! Pods with the same namespace and labels are one [`Kind`], pods with the same required anti-affinity one
//! [`Guard`], counted per node. So a rule about other pods looks at kinds, and at the nodes of one domain, not at
//! pods. Domains are kept only for the keys that some workload names.

use super::load::{VolumeKey, bump, volume_key};
use super::selectors::{node_label, selects_pod};
use crate::{Labels, NodeId, NodeSpec, PodAffinityTerm, PodSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What other pods can see of a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Kind {
    pub(super) namespace: String,
    pub(super) labels: Labels,
}

/// Required anti-affinity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Guard {
    pub(super) namespace: String,
    pub(super) terms: Vec<PodAffinityTerm>,
}

/// True if a term of a pod in `namespace` selects pods of this kind.
pub(super) fn term_selects(term: &PodAffinityTerm, namespace: &str, kind: &Kind) -> bool {
    let own = term.namespaces.is_empty() && kind.namespace == namespace;
    (term.all_namespaces || own || term.namespaces.contains(&kind.namespace))
        && selects_pod(term.label_selector.as_ref(), &kind.labels)
}

/// What a pod looks like: its spec, and how others see it.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) spec: Arc<PodSpec>,
    pub(super) kind: Arc<Kind>,
    guard: Option<Arc<Guard>>,
}

impl Shape {
    /// The shape of a pod in `namespace`.
    pub(super) fn new(spec: &Arc<PodSpec>, namespace: &str, labels: &Labels) -> Self {
        let terms = &spec.pod_anti_affinity.required;
        let guard =
            (!terms.is_empty()).then(|| Guard { namespace: namespace.to_owned(), terms: terms.clone() });
        let kind = Kind { namespace: namespace.to_owned(), labels: labels.clone() };
        Self { spec: Arc::clone(spec), kind: Arc::new(kind), guard: guard.map(Arc::new) }
    }

    /// The labels of nodes by which the pod's rules about other pods tell domains apart.
    fn domain_keys(&self) -> impl Iterator<Item = &String> {
        let affinity = self.spec.pod_affinity.required.iter();
        affinity.chain(&self.spec.pod_anti_affinity.required).map(|term| &term.topology_key)
    }
}

/// Pods on a node, leaving ones included, and how many of them are leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Heads {
    pub(super) all: i64,
    pub(super) leaving: i64,
}

/// Who is where.
#[derive(Default)]
pub(super) struct Census {
    pub(super) kinds: BTreeMap<Arc<Kind>, BTreeMap<NodeId, Heads>>,
    pub(super) guards: BTreeMap<Arc<Guard>, BTreeMap<NodeId, i64>>,
    domains: BTreeMap<String, BTreeMap<String, BTreeSet<NodeId>>>,
    users: BTreeMap<VolumeKey, i64>,
    sole_users: BTreeMap<VolumeKey, i64>,
}

impl Census {
    /// Counts a pod in (`sign` 1) or out (`sign` -1).
    pub(super) fn change(&mut self, shape: &Shape, node: NodeId, leaving: bool, sign: i64) {
        let nodes = self.kinds.entry(Arc::clone(&shape.kind)).or_default();
        let heads = nodes.entry(node).or_default();
        heads.all += sign;
        heads.leaving += if leaving { sign } else { 0 };
        if heads.all == 0 {
            nodes.remove(&node);
        }
        if nodes.is_empty() {
            self.kinds.remove(&shape.kind);
        }
        if let Some(guard) = &shape.guard {
            let nodes = self.guards.entry(Arc::clone(guard)).or_default();
            bump(nodes, &node, sign);
            if nodes.is_empty() {
                self.guards.remove(guard);
            }
        }
        for volume in &shape.spec.volumes {
            bump(&mut self.users, &volume_key(volume), sign);
            if volume.exclusive {
                bump(&mut self.sole_users, &volume_key(volume), sign);
            }
        }
    }

    /// Pods that use a volume, and how many of them want it for themselves.
    pub(super) fn users(&self, volume: &VolumeKey) -> (i64, i64) {
        let count = |users: &BTreeMap<VolumeKey, i64>| users.get(volume).copied().unwrap_or_default();
        (count(&self.users), count(&self.sole_users))
    }

    /// Keeps the domains that pods of this shape will ask for.
    pub(super) fn watch<'a>(&mut self, shape: &Shape, nodes: impl Iterator<Item = &'a NodeSpec> + Clone) {
        for key in shape.domain_keys() {
            if !self.domains.contains_key(key) {
                self.domains.insert(key.clone(), BTreeMap::new());
                nodes.clone().for_each(|node| self.enter_domain(key, node));
            }
        }
    }

    /// Moves a node into its domains, out of those it was in.
    pub(super) fn node_set(&mut self, old: Option<&NodeSpec>, new: Option<&NodeSpec>) {
        let keys: Vec<_> = self.domains.keys().cloned().collect();
        for key in keys {
            if let Some(node) = old
                && let Some(value) = node_label(node, &key)
                && let Some(domain) = self.domains.get_mut(&key).and_then(|values| values.get_mut(value))
            {
                domain.remove(&node.id);
            }
            if let Some(node) = new {
                self.enter_domain(&key, node);
            }
        }
    }

    fn enter_domain(&mut self, key: &str, node: &NodeSpec) {
        if let Some(value) = node_label(node, key)
            && let Some(domains) = self.domains.get_mut(key)
        {
            domains.entry(value.to_owned()).or_default().insert(node.id);
        }
    }

    /// True if any of `counted` is in the domain where the label `key` has this value.
    pub(super) fn any_in<T>(&self, key: &str, value: &str, counted: &BTreeMap<NodeId, T>) -> bool {
        let Some(domain) = self.domains.get(key).and_then(|values| values.get(value)) else { return false };
        if domain.len() < counted.len() {
            domain.iter().any(|node| counted.contains_key(node))
        } else {
            counted.keys().any(|node| domain.contains(node))
        }
    }
}
