//! Matching of labels, selectors and tolerations as Kubernetes does it (S11), written for the judge alone.

use std::borrow::Cow;

use crate::{
    Effect, LabelSelector, Labels, NodeSelector, NodeSpec, NodeTerm, Operator, PodSpec, Requirement, Taint,
    Toleration, TolerationOperator,
};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The node's value of a label.
pub(super) fn node_label<'a>(node: &'a NodeSpec, key: &str) -> Option<&'a str> {
    node.labels.get(key).map(String::as_str)
}

/// True if the node meets the pod's node selector and required node affinity.
pub(super) fn node_affinity(pod: &PodSpec, node: &NodeSpec) -> bool {
    pod.node_selector.iter().all(|(key, value)| node_label(node, key) == Some(value))
        && pod.node_affinity.as_ref().is_none_or(|selector| selects_node(selector, node))
}

/// The pod without what it says about names of nodes, and without what is chosen node by node.
pub(super) fn nameless(pod: &PodSpec) -> Cow<'_, PodSpec> {
    let hostname = |r: &Requirement| r.key == HOSTNAME;
    let names =
        |term: &NodeTerm| !term.match_fields.is_empty() || term.match_expressions.iter().any(hostname);
    let reach = pod.volumes.iter().filter_map(|volume| volume.reachable_from.as_ref());
    let mut terms = pod.node_affinity.iter().chain(reach).flat_map(|s| &s.node_selector_terms);
    let chooses = pod.volumes.iter().any(|volume| !volume.choices.is_empty());
    if !pod.node_selector.contains_key(HOSTNAME) && !chooses && !terms.any(names) {
        return Cow::Borrowed(pod);
    }
    let mut pod = pod.clone();
    pod.node_selector.remove(HOSTNAME);
    pod.volumes.iter_mut().for_each(|volume| volume.choices.clear());
    let reach = pod.volumes.iter_mut().filter_map(|volume| volume.reachable_from.as_mut());
    for selector in pod.node_affinity.iter_mut().chain(reach) {
        for term in &mut selector.node_selector_terms {
            forget_names(term);
        }
    }
    Cow::Owned(pod)
}

/// What a term says about names holds; one that says nothing else holds for every node.
fn forget_names(term: &mut NodeTerm) {
    let said = !term.match_fields.is_empty() || !term.match_expressions.is_empty();
    term.match_fields.clear();
    term.match_expressions.retain(|r| r.key != HOSTNAME);
    if said && term.match_expressions.is_empty() {
        let (key, operator, values) = (HOSTNAME.to_owned(), Operator::Exists, Vec::new());
        term.match_expressions.push(Requirement { key, operator, values });
    }
}

/// True if one of the selector's terms matches the node.
pub(super) fn selects_node(selector: &NodeSelector, node: &NodeSpec) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

fn term_matches(term: &NodeTerm, node: &NodeSpec) -> bool {
    let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !empty
        && term.match_expressions.iter().all(|r| holds(r, node_label(node, &r.key)) || compares(r, node))
        && term.match_fields.iter().all(|r| holds(r, field(&r.key)))
}

/// The operators that labels of nodes and of pods share; `Gt` and `Lt` never hold here.
fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|v| requirement.values.iter().any(|allowed| allowed == v));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt | Operator::Lt => false,
    }
}

fn compares(requirement: &Requirement, node: &NodeSpec) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    let have = node_label(node, &requirement.key).and_then(number);
    let [bound] = requirement.values.as_slice() else { return false };
    match (have, number(bound), requirement.operator) {
        (Some(have), Some(bound), Operator::Gt) => have > bound,
        (Some(have), Some(bound), Operator::Lt) => have < bound,
        _ => false,
    }
}

/// True if the selector selects a pod with these labels; no selector selects none, an empty one selects all.
pub(super) fn selects_pod(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_some_and(|s| {
        s.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && s.match_expressions.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
    })
}

/// The first taint that keeps the pod off the node; a cordon is the taint that Kubernetes makes of it.
pub(super) fn untolerated(pod: &PodSpec, node: &NodeSpec) -> Option<Taint> {
    let cordon = node.unschedulable.then(|| Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        value: String::new(),
        effect: Effect::NoSchedule,
    });
    cordon.iter().chain(&node.taints).find(|taint| repels(pod, taint)).cloned()
}

/// True if the taint keeps the pod off.
pub(super) fn repels(pod: &PodSpec, taint: &Taint) -> bool {
    taint.effect != Effect::PreferNoSchedule && !pod.tolerations.iter().any(|t| tolerates(t, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    toleration.effect.is_none_or(|effect| effect == taint.effect)
        && (toleration.key.is_empty() || toleration.key == taint.key)
        && match toleration.operator {
            TolerationOperator::Exists => true,
            TolerationOperator::Equal => toleration.value == taint.value,
        }
}
