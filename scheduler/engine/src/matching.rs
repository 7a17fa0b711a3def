//! Matching of labels, taints and selectors, as Kubernetes does it (S11).

use berth_model::{
    Effect, LabelSelector, Labels, NodeSelector, NodeSpec, NodeTerm, Operator, Requirement, Taint,
    Toleration, TolerationOperator, VolumeUse,
};
use smallvec::SmallVec;

/// The label whose value differs on every node: never part of a class, checked node by node.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
/// The taint that a cordoned node carries.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// True if a label with this value (none = absent) meets the requirement.
pub(crate) fn requirement_holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = |v: &str| requirement.values.iter().any(|x| x == v);
    match requirement.operator {
        Operator::In => value.is_some_and(listed),
        Operator::NotIn => !value.is_some_and(listed),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt => compare(requirement, value, |a, b| a > b),
        Operator::Lt => compare(requirement, value, |a, b| a < b),
    }
}

fn compare(requirement: &Requirement, value: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
    let bound = requirement.values.first().and_then(|v| v.parse().ok());
    match (value.and_then(|v| v.parse().ok()), bound) {
        (Some(a), Some(b)) => holds(a, b),
        _ => false,
    }
}

/// What a node shows to a selector. Without a name, requirements on the name hold (the class cannot tell).
#[derive(Clone, Copy)]
pub(crate) struct NodeView<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) name: Option<&'a str>,
}

impl<'a> NodeView<'a> {
    /// All that a node shows.
    pub(crate) fn of(node: &'a NodeSpec) -> Self {
        Self { labels: &node.labels, name: Some(&node.name) }
    }

    /// The value of a label.
    fn label(&self, key: &str) -> Option<&'a str> {
        self.labels.get(key).map(String::as_str)
    }
}

/// True if the node matches one of the terms.
pub(crate) fn selector_matches(selector: &NodeSelector, node: NodeView<'_>) -> bool {
    selector.node_selector_terms.iter().any(|t| term_matches(t, node))
}

/// True if the node matches the term; a term without requirements matches nothing.
pub(crate) fn term_matches(term: &NodeTerm, node: NodeView<'_>) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    term.match_expressions.iter().all(|r| label_holds(r, node))
        && term.match_fields.iter().all(|r| node.name.is_none_or(|name| requirement_holds(r, Some(name))))
}

fn label_holds(requirement: &Requirement, node: NodeView<'_>) -> bool {
    if requirement.key == HOSTNAME && node.name.is_none() {
        return true;
    }
    requirement_holds(requirement, node.label(&requirement.key))
}

/// True if every volume of a pod can be one that is reached from the node, each another (S11).
pub(crate) fn volumes_differ(volumes: &[VolumeUse], node: NodeView<'_>) -> bool {
    let mut taken: SmallVec<[&str; 4]> = SmallVec::new();
    volumes.iter().filter(|volume| !volume.choices.is_empty()).all(|volume| {
        let found = volume.choices.iter().find(|choice| {
            !taken.contains(&choice.volume.as_str())
                && choice.reachable_from.as_ref().is_none_or(|from| selector_matches(from, node))
        });
        taken.extend(found.map(|choice| choice.volume.as_str()).filter(|name| !name.is_empty()));
        found.is_some()
    })
}

/// True if all of the labels are there.
pub(crate) fn labels_hold(wanted: &Labels, node: NodeView<'_>) -> bool {
    wanted.iter().all(|(k, v)| (k == HOSTNAME && node.name.is_none()) || node.label(k) == Some(v))
}

/// True if the selector picks a pod with these labels.
pub(crate) fn pod_matches(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
        && selector
            .match_expressions
            .iter()
            .all(|r| requirement_holds(r, labels.get(&r.key).map(String::as_str)))
}

/// True if one of the tolerations covers the taint.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        t.effect.is_none_or(|e| e == taint.effect)
            && match t.operator {
                TolerationOperator::Exists => t.key.is_empty() || t.key == taint.key,
                TolerationOperator::Equal => t.key == taint.key && t.value == taint.value,
            }
    })
}

/// The taints of a node in order, the one of a cordoned node included.
pub(crate) fn taints_of(node: &NodeSpec) -> Vec<Taint> {
    let mut taints = node.taints.clone();
    if node.unschedulable && !taints.iter().any(|t| t.key == UNSCHEDULABLE) {
        taints.push(Taint { key: UNSCHEDULABLE.into(), value: String::new(), effect: Effect::NoSchedule });
    }
    taints.sort();
    taints
}

/// The first taint that keeps a pod away, if any.
pub(crate) fn repelling<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints.iter().find(|t| t.effect != Effect::PreferNoSchedule && !tolerated(tolerations, t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: "k".into(), operator, values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    #[test]
    fn s11_requirements_hold_as_in_kubernetes() {
        let cases = [
            (Operator::In, &["a", "b"][..], Some("b"), true),
            (Operator::In, &["a"], None, false),
            (Operator::NotIn, &["a"], None, true),
            (Operator::NotIn, &["a"], Some("a"), false),
            (Operator::Exists, &[], Some(""), true),
            (Operator::DoesNotExist, &[], Some(""), false),
            (Operator::Gt, &["5"], Some("6"), true),
            (Operator::Gt, &["5"], Some("x"), false),
            (Operator::Lt, &["5"], None, false),
        ];
        for (operator, values, value, expected) in cases {
            assert_eq!(
                requirement_holds(&requirement(operator, values), value),
                expected,
                "{operator:?} {value:?}"
            );
        }
    }

    #[test]
    fn s11_a_toleration_without_effect_covers_all_effects() {
        let taint = Taint { key: "gpu".into(), value: "x".into(), effect: Effect::NoExecute };
        let mut toleration = Toleration { key: "gpu".into(), value: "x".into(), ..Toleration::default() };
        assert!(tolerated(std::slice::from_ref(&toleration), &taint));
        toleration.effect = Some(Effect::NoSchedule);
        assert!(!tolerated(std::slice::from_ref(&toleration), &taint));
        let all = Toleration { operator: TolerationOperator::Exists, ..Toleration::default() };
        assert!(tolerated(&[all], &taint));
    }
}
