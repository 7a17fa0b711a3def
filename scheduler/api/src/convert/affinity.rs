//! Affinity to nodes and pods, topology spread.

use super::{Surroundings, selector};
use crate::error::Bad;
use crate::slim;
use berth_model::{
    LabelSelector, NodeSelector, PodAffinity, PodAffinityTerm, PreferredNodeTerm, TopologySpread,
    Unsatisfiable, WeightedPodTerm,
};
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeSet;

/// Required and preferred nodes.
pub(super) fn nodes(
    affinity: &core::NodeAffinity,
) -> Result<(Option<NodeSelector>, Vec<PreferredNodeTerm>), Bad> {
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
    let required = required
        .map(selector::node_selector)
        .transpose()
        .map_err(|bad| bad.under("requiredDuringSchedulingIgnoredDuringExecution"))?;
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    let mut terms = Vec::new();
    for (at, term) in preferred.enumerate().filter(|(_, term)| term.weight != 0) {
        let field = format!("preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        let preference =
            selector::node_term(&term.preference).map_err(|bad| bad.under("preference").under(&field))?;
        terms.push(PreferredNodeTerm { weight: weight(&field, term.weight)?, preference });
    }
    Ok((required, terms))
}

fn weight(field: &str, weight: i32) -> Result<i32, Bad> {
    match weight {
        1..=100 => Ok(weight),
        _ => Err(Bad::new(format!("{field}.weight"), weight, "1 to 100")),
    }
}

/// Namespaces of a term: its list and those that its selector selects, or neither: the pod's own.
///
/// The model's empty list means the pod's own, so a selector that selects nothing becomes a term without any pod.
fn pod_term(term: &core::PodAffinityTerm, around: &impl Surroundings) -> Result<PodAffinityTerm, Bad> {
    let mut label_selector = term
        .label_selector
        .as_ref()
        .map(selector::read)
        .transpose()
        .map_err(|bad| bad.under("labelSelector"))?;
    let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    let mut all_namespaces = false;
    if let Some(wanted) = &term.namespace_selector {
        selector::read(wanted).map_err(|bad| bad.under("namespaceSelector"))?;
        let empty = |list: Option<usize>| list.unwrap_or(0) == 0;
        all_namespaces = empty(wanted.match_labels.as_ref().map(|l| l.len()))
            && empty(wanted.match_expressions.as_ref().map(Vec::len));
        if !all_namespaces {
            for namespace in around.namespaces() {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                if selector::selects(wanted, &labels) {
                    namespaces.extend(namespace.metadata.name.clone());
                }
            }
            if namespaces.is_empty() {
                label_selector = None;
            }
        }
    }
    let namespaces = if all_namespaces { Vec::new() } else { namespaces.into_iter().collect() };
    if term.topology_key.is_empty() {
        return Err(Bad::new("topologyKey", "", "the key of a node label"));
    }
    Ok(PodAffinityTerm {
        label_selector,
        namespaces,
        all_namespaces,
        topology_key: term.topology_key.clone(),
    })
}

/// Affinity or anti-affinity to pods.
pub(super) fn pods(
    required: Option<&Vec<core::PodAffinityTerm>>,
    preferred: Option<&Vec<core::WeightedPodAffinityTerm>>,
    around: &impl Surroundings,
) -> Result<PodAffinity, Bad> {
    let mut affinity = PodAffinity::default();
    for (at, term) in required.into_iter().flatten().enumerate() {
        let field = format!("requiredDuringSchedulingIgnoredDuringExecution[{at}]");
        affinity.required.push(pod_term(term, around).map_err(|bad| bad.under(field))?);
    }
    for (at, weighted) in preferred.into_iter().flatten().enumerate() {
        let field = format!("preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        let weight = weight(&field, weighted.weight)?;
        let pod_affinity_term = pod_term(&weighted.pod_affinity_term, around)
            .map_err(|bad| bad.under("podAffinityTerm").under(&field))?;
        affinity.preferred.push(WeightedPodTerm { weight, pod_affinity_term });
    }
    Ok(affinity)
}

fn honour(field: &str, policy: Option<&str>, default: bool) -> Result<bool, Bad> {
    match policy {
        None => Ok(default),
        Some("Honor") => Ok(true),
        Some("Ignore") => Ok(false),
        Some(other) => Err(Bad::new(field, other, "Honor, Ignore")),
    }
}

fn positive(field: &str, value: i32) -> Result<u32, Bad> {
    u32::try_from(value).ok().filter(|n| *n > 0).ok_or_else(|| Bad::new(field, value, "1 or more"))
}

/// The values that the pod itself has of the keys in `matchLabelKeys` are demanded too.
fn with_own_labels(
    pod: &slim::Pod,
    keys: Option<&Vec<String>>,
    selector: Option<LabelSelector>,
) -> Option<LabelSelector> {
    let labels = keys.into_iter().flatten();
    let own: Vec<_> = labels.filter_map(|key| Some((key, pod.label(key)?))).collect();
    if own.is_empty() {
        return selector;
    }
    let mut selector = selector.unwrap_or_default();
    for (key, value) in own {
        match selector.match_labels.get(key) {
            // Two values of one key can never both be there; a requirement beside the label says so.
            Some(other) if other != value => selector.match_expressions.push(berth_model::Requirement {
                key: key.clone(),
                operator: berth_model::Operator::In,
                values: vec![value.to_owned()],
            }),
            _ => _ = selector.match_labels.insert(key.clone(), value.to_owned()),
        }
    }
    Some(selector)
}

/// A topology spread constraint, with kube-scheduler's defaults: one domain is enough, node affinity is honoured, taints are
/// not. As for kube-scheduler, a selector that says nothing selects no pod here, unlike everywhere else.
pub(super) fn spread(
    pod: &slim::Pod,
    constraint: &core::TopologySpreadConstraint,
) -> Result<TopologySpread, Bad> {
    let label_selector = constraint
        .label_selector
        .as_ref()
        .map(selector::read)
        .transpose()
        .map_err(|bad| bad.under("labelSelector"))?;
    let label_selector = with_own_labels(pod, constraint.match_label_keys.as_ref(), label_selector);
    let says_nothing = |s: &LabelSelector| s.match_labels.is_empty() && s.match_expressions.is_empty();
    let when_unsatisfiable = match constraint.when_unsatisfiable.as_str() {
        "DoNotSchedule" => Unsatisfiable::DoNotSchedule,
        "ScheduleAnyway" => Unsatisfiable::ScheduleAnyway,
        other => return Err(Bad::new("whenUnsatisfiable", other, "DoNotSchedule, ScheduleAnyway")),
    };
    if constraint.topology_key.is_empty() {
        return Err(Bad::new("topologyKey", "", "the key of a node label"));
    }
    Ok(TopologySpread {
        max_skew: positive("maxSkew", constraint.max_skew)?,
        topology_key: constraint.topology_key.clone(),
        when_unsatisfiable,
        label_selector: label_selector.filter(|selector| !says_nothing(selector)),
        min_domains: constraint.min_domains.map(|n| positive("minDomains", n)).transpose()?,
        honor_affinity: honour("nodeAffinityPolicy", constraint.node_affinity_policy.as_deref(), true)?,
        honor_taints: honour("nodeTaintsPolicy", constraint.node_taints_policy.as_deref(), false)?,
    })
}
