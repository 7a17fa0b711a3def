//! What pods say about other pods (S11, S12), as Kubernetes understands it.

use super::labels::{affine, all_tolerated, label, selects_pod};
use super::state::{Seat, Shape, State};
use super::views::Seats;
use berth_model::{NodeSpec, PodAffinityTerm, TopologySpread, Unsatisfiable};
use std::collections::BTreeMap;
use std::sync::Arc;

/// True if a term of a pod in `namespace` is about the other pod.
fn about(term: &PodAffinityTerm, namespace: &str, other: &Shape) -> bool {
    let own = term.namespaces.is_empty() && other.namespace == namespace;
    (term.all_namespaces || own || term.namespaces.contains(&other.namespace))
        && selects_pod(term.label_selector.as_ref(), &other.labels)
}

/// True if both nodes have the label, with the same value.
fn near(a: &NodeSpec, b: &NodeSpec, key: &str) -> bool {
    label(a, key).is_some() && label(a, key) == label(b, key)
}

impl Shape {
    /// True if a pod like this one, wherever it is, can matter for where the other may go.
    pub(crate) fn concerns(&self, other: &Self) -> bool {
        let s = &other.spec;
        let near = s.pod_affinity.required.iter().chain(&s.pod_anti_affinity.required);
        let spread = |constraint: &TopologySpread| {
            self.namespace == other.namespace && selects_pod(constraint.label_selector.as_ref(), &self.labels)
        };
        let volume = |v: &berth_model::VolumeUse| {
            v.exclusive && self.spec.volumes.iter().any(|own| own.handle == v.handle)
        };
        near.clone().any(|term| about(term, &other.namespace, self))
            || self.spec.pod_anti_affinity.required.iter().any(|term| about(term, &self.namespace, other))
            || s.topology_spread.iter().any(spread)
            || s.volumes.iter().any(volume)
    }
}

impl State {
    fn others(&self, seats: &Seats) -> Vec<(Arc<Shape>, &NodeSpec, Seat)> {
        seats.iter().map(|(pod, seat)| (self.shape(*pod), &self.nodes[&seat.node], *seat)).collect()
    }

    /// True if affinity, anti-affinity (both ways) and topology spread allow the pod on the node.
    pub(crate) fn neighbours_agree(&self, shape: &Shape, node: &NodeSpec, seats: &Seats) -> bool {
        let others = self.others(seats);
        self.left_alone(shape, node, &others)
            && self.among_friends(shape, node, &others)
            && self.spread_out(shape, node, &others)
    }

    fn left_alone(&self, shape: &Shape, node: &NodeSpec, others: &[(Arc<Shape>, &NodeSpec, Seat)]) -> bool {
        !others.iter().any(|(other, there, _)| {
            let mine = &shape.spec.pod_anti_affinity.required;
            let theirs = &other.spec.pod_anti_affinity.required;
            mine.iter().any(|t| about(t, &shape.namespace, other) && near(node, there, &t.topology_key))
                || theirs
                    .iter()
                    .any(|t| about(t, &other.namespace, shape) && near(node, there, &t.topology_key))
        })
    }

    /// A pod counts only if all terms are about it. The first of a group that wants to be together goes anywhere.
    fn among_friends(
        &self,
        shape: &Shape,
        node: &NodeSpec,
        others: &[(Arc<Shape>, &NodeSpec, Seat)],
    ) -> bool {
        let terms = &shape.spec.pod_affinity.required;
        let friend = |other: &Shape| terms.iter().all(|t| about(t, &shape.namespace, other));
        let friends: Vec<&NodeSpec> =
            others.iter().filter(|(other, _, _)| friend(other)).map(|(_, there, _)| *there).collect();
        let labelled = terms.iter().all(|t| label(node, &t.topology_key).is_some());
        let met = terms.iter().all(|t| friends.iter().any(|there| near(node, there, &t.topology_key)));
        let somewhere = |there: &&NodeSpec| terms.iter().any(|t| label(there, &t.topology_key).is_some());
        let first = friend(shape) && !friends.iter().any(somewhere);
        labelled && (met || first)
    }

    fn spread_out(&self, shape: &Shape, node: &NodeSpec, others: &[(Arc<Shape>, &NodeSpec, Seat)]) -> bool {
        let all = shape.spec.topology_spread.iter();
        let hard: Vec<&TopologySpread> =
            all.filter(|c| c.when_unsatisfiable == Unsatisfiable::DoNotSchedule).collect();
        hard.iter().all(|constraint| {
            let Some(domain) = label(node, &constraint.topology_key) else { return false };
            let counts = self.domains(shape, constraint, &hard, others);
            let few = counts.len() < constraint.min_domains.unwrap_or(1).max(1) as usize;
            let least = if few { 0 } else { counts.values().copied().min().unwrap_or(0) };
            let own = u32::from(selects_pod(constraint.label_selector.as_ref(), &shape.labels));
            let here = counts.get(domain).copied().unwrap_or(0);
            here + own <= constraint.max_skew + least
        })
    }

    /// The domains that count for the constraint, each with the pods that count there; leaving pods do not.
    fn domains(
        &self,
        shape: &Shape,
        constraint: &TopologySpread,
        hard: &[&TopologySpread],
        others: &[(Arc<Shape>, &NodeSpec, Seat)],
    ) -> BTreeMap<String, u32> {
        let counts = |node: &&NodeSpec| {
            hard.iter().all(|c| label(node, &c.topology_key).is_some())
                && (!constraint.honor_affinity || affine(&shape.spec, node, true))
                && (!constraint.honor_taints || all_tolerated(&shape.spec, &node.taints))
        };
        let mut domains = BTreeMap::new();
        for node in self.nodes.values().filter(counts) {
            let here = others.iter().filter(|(other, there, seat)| {
                there.id == node.id
                    && seat.leaving.is_none()
                    && other.namespace == shape.namespace
                    && selects_pod(constraint.label_selector.as_ref(), &other.labels)
            });
            let domain = label(node, &constraint.topology_key).expect("it counts").to_owned();
            *domains.entry(domain).or_default() += here.count() as u32;
        }
        domains
    }

    /// True if other pods make some nodes better than others.
    pub(crate) fn prefers_neighbours(&self, shape: &Shape) -> bool {
        let s = &shape.spec;
        let soft = |c: &TopologySpread| c.when_unsatisfiable == Unsatisfiable::ScheduleAnyway;
        !(s.pod_affinity.preferred.is_empty() && s.pod_anti_affinity.preferred.is_empty())
            || s.topology_spread.iter().any(soft)
    }

    /// S12: weight times pods near, less pods where spreading is wished for (leaving ones apart).
    pub(crate) fn neighbour_points(&self, shape: &Shape, node: &NodeSpec) -> i64 {
        let others = self.others(&self.seats_now());
        let count = |term: &PodAffinityTerm, leaving: bool| {
            let near = |(other, there, seat): &&(Arc<Shape>, &NodeSpec, Seat)| {
                about(term, &shape.namespace, other)
                    && near(node, there, &term.topology_key)
                    && (leaving || seat.leaving.is_none())
            };
            others.iter().filter(near).count() as i64
        };
        let sum = |terms: &[berth_model::WeightedPodTerm]| -> i64 {
            terms.iter().map(|t| i64::from(t.weight) * count(&t.pod_affinity_term, true)).sum()
        };
        let spread = shape.spec.topology_spread.iter();
        let soft = spread.filter(|c| c.when_unsatisfiable == Unsatisfiable::ScheduleAnyway).map(|c| {
            let selector = c.label_selector.clone();
            let topology_key = c.topology_key.clone();
            count(&PodAffinityTerm { label_selector: selector, topology_key, ..Default::default() }, false)
        });
        sum(&shape.spec.pod_affinity.preferred)
            - sum(&shape.spec.pod_anti_affinity.preferred)
            - soft.sum::<i64>()
    }
}
