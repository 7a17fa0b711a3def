//! Selectors of labels and nodes.

use crate::error::Bad;
use berth_model::{LabelSelector, NodeSelector, NodeTerm, Operator, Requirement};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use std::collections::BTreeMap;

const LABEL_OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];
const NODE_OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
    ("Gt", Operator::Gt),
    ("Lt", Operator::Lt),
];

fn requirement(
    operators: &[(&str, Operator)],
    key: &str,
    operator: &str,
    values: Option<&Vec<String>>,
) -> Result<Requirement, Bad> {
    let Some((_, found)) = operators.iter().find(|(name, _)| *name == operator) else {
        let names: Vec<_> = operators.iter().map(|(name, _)| *name).collect();
        return Err(Bad::new(format!("[{key}].operator"), operator, names.join(", ")));
    };
    let values = values.cloned().unwrap_or_default();
    let (right, allowed) = match found {
        Operator::In | Operator::NotIn => (!values.is_empty(), "at least one value"),
        Operator::Exists | Operator::DoesNotExist => (values.is_empty(), "no value"),
        Operator::Gt | Operator::Lt => {
            (values.len() == 1 && values[0].parse::<i64>().is_ok(), "one value, a whole number")
        }
    };
    if !right {
        return Err(Bad::new(format!("[{key}].values"), values.join(","), allowed));
    }
    Ok(Requirement { key: key.to_owned(), operator: *found, values })
}

/// A label selector as the model has it.
pub(crate) fn read(selector: &metav1::LabelSelector) -> Result<LabelSelector, Bad> {
    let expressions = selector.match_expressions.iter().flatten();
    Ok(LabelSelector {
        match_labels: selector.match_labels.clone().unwrap_or_default(),
        match_expressions: expressions
            .map(|r| requirement(LABEL_OPERATORS, &r.key, &r.operator, r.values.as_ref()))
            .collect::<Result<_, _>>()
            .map_err(|bad| bad.under("matchExpressions"))?,
    })
}

/// A label selector as the model has it, for objects other than pods.
///
/// # Errors
/// Names `object`, the field, the value and what is allowed.
pub fn label_selector(
    object: &str,
    selector: &metav1::LabelSelector,
) -> Result<LabelSelector, crate::Malformed> {
    read(selector).map_err(|bad| bad.under("selector").of(object))
}

/// True if labels match a selector; an empty selector matches everything. A malformed one matches nothing.
pub fn selects(selector: &metav1::LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let fixed = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    fixed
        && selector.match_expressions.iter().flatten().all(|r| {
            let (found, values) = (labels.get(&r.key), r.values.as_deref().unwrap_or_default());
            match r.operator.as_str() {
                "In" => found.is_some_and(|value| values.contains(value)),
                "NotIn" => found.is_none_or(|value| !values.contains(value)),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// True if a node with these labels is one of those that the selector means. What it says of names holds for no node: that is
/// how kube-scheduler reads the affinity of a volume.
pub(super) fn node_has(selector: &core::NodeSelector, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        !expressions.is_empty() && fields.is_empty() && expressions.iter().all(|r| node_holds(r, labels))
    })
}

fn node_holds(r: &core::NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let (found, values) = (labels.get(&r.key), r.values.as_deref().unwrap_or_default());
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    let (has, bound) = (number(found), number(values.first()));
    match r.operator.as_str() {
        "In" => found.is_some_and(|value| values.contains(value)),
        "NotIn" => found.is_none_or(|value| !values.contains(value)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => has.zip(bound).is_some_and(|(has, bound)| has > bound),
        "Lt" => has.zip(bound).is_some_and(|(has, bound)| has < bound),
        _ => false,
    }
}

fn requirements(list: Option<&Vec<core::NodeSelectorRequirement>>) -> Result<Vec<Requirement>, Bad> {
    let list = list.into_iter().flatten();
    list.map(|r| requirement(NODE_OPERATORS, &r.key, &r.operator, r.values.as_ref())).collect()
}

/// A term of a node selector.
pub(super) fn node_term(term: &core::NodeSelectorTerm) -> Result<NodeTerm, Bad> {
    Ok(NodeTerm {
        match_expressions: requirements(term.match_expressions.as_ref())
            .map_err(|bad| bad.under("matchExpressions"))?,
        match_fields: requirements(term.match_fields.as_ref()).map_err(|bad| bad.under("matchFields"))?,
    })
}

/// A node selector.
pub(super) fn node_selector(selector: &core::NodeSelector) -> Result<NodeSelector, Bad> {
    let terms = selector.node_selector_terms.iter().enumerate();
    let read = |(at, term)| node_term(term).map_err(|bad| bad.under(format!("nodeSelectorTerms[{at}]")));
    Ok(NodeSelector { node_selector_terms: terms.map(read).collect::<Result<_, _>>()? })
}
