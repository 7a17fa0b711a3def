//! Labels, selectors, taints and tolerations as Kubernetes matches them (S11).

use super::state::HOSTNAME;
use berth_model::{
    Effect, LabelSelector, Labels, NodeSelector, NodeSpec, NodeTerm, Operator, PodSpec, Requirement, Taint,
    Toleration, TolerationOperator,
};

/// The value of a node's label.
pub(crate) fn label<'a>(node: &'a NodeSpec, key: &str) -> Option<&'a str> {
    node.labels.get(key).map(String::as_str)
}

fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|v| requirement.values.iter().any(|x| x == v));
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let bound = number(requirement.values.first().map(String::as_str));
    let ordered = |less: bool| match (number(value), bound) {
        (Some(value), Some(bound)) => {
            if less {
                value < bound
            } else {
                value > bound
            }
        }
        _ => false,
    };
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt => ordered(false),
        Operator::Lt => ordered(true),
    }
}

/// True if the term matches the node. If names do not count, what it says about the node's name holds.
pub(crate) fn term_matches(term: &NodeTerm, node: &NodeSpec, names: bool) -> bool {
    let something = !(term.match_expressions.is_empty() && term.match_fields.is_empty());
    let label_holds = |r: &Requirement| !names && r.key == HOSTNAME || holds(r, label(node, &r.key));
    something
        && term.match_expressions.iter().all(label_holds)
        && term.match_fields.iter().all(|r| !names || holds(r, Some(&node.name)))
}

/// True if one of the terms matches the node.
pub(crate) fn selects_node(selector: &NodeSelector, node: &NodeSpec, names: bool) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node, names))
}

/// True if the node meets the pod's node selector and required node affinity.
pub(crate) fn affine(pod: &PodSpec, node: &NodeSpec, names: bool) -> bool {
    let selected = |(key, value): (&String, &String)| {
        !names && key == HOSTNAME || label(node, key) == Some(value.as_str())
    };
    pod.node_selector.iter().all(selected)
        && pod.node_affinity.as_ref().is_none_or(|selector| selects_node(selector, node, names))
}

/// True if the selector selects a pod with these labels; none selects none.
pub(crate) fn selects_pod(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_some_and(|s| {
        s.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && s.match_expressions.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
    })
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    toleration.effect.is_none_or(|effect| effect == taint.effect)
        && match toleration.operator {
            TolerationOperator::Exists => toleration.key.is_empty() || toleration.key == taint.key,
            TolerationOperator::Equal => toleration.key == taint.key && toleration.value == taint.value,
        }
}

/// The taints of a node, that of a cordoned one included.
pub(crate) fn taints(node: &NodeSpec) -> Vec<Taint> {
    let key = "node.kubernetes.io/unschedulable";
    let mut taints = node.taints.clone();
    if node.unschedulable {
        taints.push(Taint { key: key.to_owned(), value: String::new(), effect: Effect::NoSchedule });
    }
    taints.sort();
    taints
}

/// True if no taint keeps the pod off the node.
pub(crate) fn tolerated(pod: &PodSpec, node: &NodeSpec) -> bool {
    all_tolerated(pod, &taints(node))
}

/// True if none of the taints keeps the pod off.
pub(crate) fn all_tolerated(pod: &PodSpec, taints: &[Taint]) -> bool {
    taints
        .iter()
        .filter(|taint| taint.effect != Effect::PreferNoSchedule)
        .all(|taint| pod.tolerations.iter().any(|t| tolerates(t, taint)))
}

/// S12: weights of preferred terms that match, less 100 per taint that would rather keep the pod off.
pub(crate) fn points(pod: &PodSpec, node: &NodeSpec) -> i64 {
    let preferred = pod.preferred_nodes.iter().filter(|p| term_matches(&p.preference, node, true));
    let repelled = node
        .taints
        .iter()
        .filter(|t| t.effect == Effect::PreferNoSchedule && !pod.tolerations.iter().any(|x| tolerates(x, t)));
    preferred.map(|p| i64::from(p.weight)).sum::<i64>() - 100 * repelled.count() as i64
}
