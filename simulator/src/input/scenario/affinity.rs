//! Affinity, anti-affinity and topology spread, written as in a Pod.

use super::cluster::text_map;
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{
    LabelSelector, Labels, NodeSelector, NodeTerm, Operator, PodAffinity, PodAffinityTerm, PodSpec,
    PreferredNodeTerm, Requirement, TopologySpread, Unsatisfiable, WeightedPodTerm,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const TERM_LISTS: &[&str] = &[REQUIRED, PREFERRED];
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
const OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
    ("Gt", Operator::Gt),
    ("Lt", Operator::Lt),
];

/// Reads a Pod's `affinity` into `pod`; `labels` are the pod's own, for `matchLabelKeys`.
pub(super) fn affinity(at: &At<'_>, labels: &Labels, pod: &mut PodSpec) -> Result<(), InputError> {
    let fields = at.fields(&["nodeAffinity", "podAffinity", "podAntiAffinity"])?;
    if let Some(at) = fields.get("nodeAffinity") {
        let fields = at.fields(TERM_LISTS)?;
        pod.node_affinity = fields.map(REQUIRED, node_selector)?;
        pod.preferred_nodes =
            fields.items(PREFERRED)?.iter().map(preferred_node).collect::<Result<_, _>>()?;
    }
    let pods = |key| fields.or(key, PodAffinity::default(), |at| pod_affinity(at, labels));
    pod.pod_affinity = pods("podAffinity")?;
    pod.pod_anti_affinity = pods("podAntiAffinity")?;
    Ok(())
}

fn node_selector(at: &At<'_>) -> Result<NodeSelector, InputError> {
    let terms = at.fields(&["nodeSelectorTerms"])?.need("nodeSelectorTerms")?.list()?;
    Ok(NodeSelector { node_selector_terms: terms.iter().map(node_term).collect::<Result<_, _>>()? })
}

fn preferred_node(at: &At<'_>) -> Result<PreferredNodeTerm, InputError> {
    let fields = at.fields(&["weight", "preference"])?;
    Ok(PreferredNodeTerm {
        weight: fields.need("weight")?.integer(1, 100)?,
        preference: node_term(fields.need("preference")?)?,
    })
}

fn node_term(at: &At<'_>) -> Result<NodeTerm, InputError> {
    let fields = at.fields(&["matchExpressions", "matchFields"])?;
    let requirements = |key| {
        fields.items(key)?.iter().map(|at| requirement(at, true)).collect::<Result<Vec<_>, InputError>>()
    };
    Ok(NodeTerm {
        match_expressions: requirements("matchExpressions")?,
        match_fields: requirements("matchFields")?,
    })
}

fn requirement(at: &At<'_>, node: bool) -> Result<Requirement, InputError> {
    let fields = at.fields(&["key", "operator", "values"])?;
    let operator = fields.need("operator")?;
    let known = if node { OPERATORS } else { &OPERATORS[..4] };
    let requirement = Requirement {
        key: fields.need("key")?.name()?.to_owned(),
        operator: operator.word(known)?,
        values: fields
            .items("values")?
            .iter()
            .map(|at| at.text().map(str::to_owned))
            .collect::<Result<_, _>>()?,
    };
    let allowed = match requirement.operator {
        Operator::In | Operator::NotIn if requirement.values.is_empty() => "one value or more",
        Operator::Exists | Operator::DoesNotExist if !requirement.values.is_empty() => "no values",
        Operator::Gt | Operator::Lt
            if requirement.values.len() != 1 || requirement.values[0].parse::<i64>().is_err() =>
        {
            "one value, a whole number"
        }
        _ => return Ok(requirement),
    };
    let count = requirement.values.len();
    Err(InputError {
        allowed: allowed.into(),
        ..fields.at.problem(format_args!("`{}` has {count} values", operator.text()?))
    })
}

fn pod_affinity(at: &At<'_>, labels: &Labels) -> Result<PodAffinity, InputError> {
    let fields = at.fields(TERM_LISTS)?;
    let weighted = |at: &At<'_>| {
        let fields = at.fields(&["weight", "podAffinityTerm"])?;
        Ok(WeightedPodTerm {
            weight: fields.need("weight")?.integer(1, 100)?,
            pod_affinity_term: pod_term(fields.need("podAffinityTerm")?, labels)?,
        })
    };
    Ok(PodAffinity {
        required: fields.items(REQUIRED)?.iter().map(|at| pod_term(at, labels)).collect::<Result<_, _>>()?,
        preferred: fields.items(PREFERRED)?.iter().map(weighted).collect::<Result<_, InputError>>()?,
    })
}

fn pod_term(at: &At<'_>, labels: &Labels) -> Result<PodAffinityTerm, InputError> {
    let fields = at.fields(&[
        "labelSelector",
        "namespaces",
        "namespaceSelector",
        "topologyKey",
        "matchLabelKeys",
        "mismatchLabelKeys",
    ])?;
    let mut selector = fields.map("labelSelector", label_selector)?;
    merge_keys(&fields, "matchLabelKeys", Operator::In, labels, &mut selector)?;
    merge_keys(&fields, "mismatchLabelKeys", Operator::NotIn, labels, &mut selector)?;
    let namespaces = fields.items("namespaces")?;
    let mut namespaces =
        namespaces.iter().map(|at| at.name().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
    let mut all_namespaces = false;
    if let Some(at) = fields.get("namespaceSelector") {
        match namespace(at)? {
            Some(name) => namespaces.push(name),
            None => all_namespaces = true,
        }
    }
    Ok(PodAffinityTerm {
        label_selector: selector,
        namespaces,
        all_namespaces,
        topology_key: fields.need("topologyKey")?.name()?.to_owned(),
    })
}

/// The one namespace that a `namespaceSelector` selects; none = every namespace. A scenario gives its
/// namespaces no labels but their name.
fn namespace(at: &At<'_>) -> Result<Option<String>, InputError> {
    let selector = label_selector(at)?;
    match (selector.match_labels.len(), selector.match_labels.get(NAMESPACE_LABEL)) {
        (0, _) if selector.match_expressions.is_empty() => Ok(None),
        (1, Some(name)) if selector.match_expressions.is_empty() => Ok(Some(name.clone())),
        _ => Err(at.fail(format_args!("{{}}, or matchLabels with {NAMESPACE_LABEL}"))),
    }
}

/// Adds what `matchLabelKeys` and its opposite mean for a pod with these labels.
fn merge_keys(
    fields: &Fields<'_>,
    field: &str,
    operator: Operator,
    labels: &Labels,
    selector: &mut Option<LabelSelector>,
) -> Result<(), InputError> {
    for at in fields.items(field)? {
        let key = at.name()?;
        if let (Some(value), Some(selector)) = (labels.get(key), selector.as_mut()) {
            selector.match_expressions.push(Requirement {
                key: key.to_owned(),
                operator,
                values: vec![value.clone()],
            });
        }
    }
    Ok(())
}

/// A label selector, as in a Pod.
pub(super) fn label_selector(at: &At<'_>) -> Result<LabelSelector, InputError> {
    let fields = at.fields(&["matchLabels", "matchExpressions"])?;
    let expressions = fields.items("matchExpressions")?;
    Ok(LabelSelector {
        match_labels: fields.or("matchLabels", Labels::new(), text_map)?,
        match_expressions: expressions.iter().map(|at| requirement(at, false)).collect::<Result<_, _>>()?,
    })
}

/// One item of a Pod's `topologySpreadConstraints`.
pub(super) fn spread(at: &At<'_>, labels: &Labels) -> Result<TopologySpread, InputError> {
    let fields = at.fields(&[
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
        "labelSelector",
        "minDomains",
        "nodeAffinityPolicy",
        "nodeTaintsPolicy",
        "matchLabelKeys",
    ])?;
    let mut label_selector = fields.map("labelSelector", label_selector)?;
    merge_keys(&fields, "matchLabelKeys", Operator::In, labels, &mut label_selector)?;
    let policy = |at: &At<'_>| at.word(&[("Honor", true), ("Ignore", false)]);
    Ok(TopologySpread {
        max_skew: fields.need("maxSkew")?.integer(1, 1_000_000)?,
        topology_key: fields.need("topologyKey")?.name()?.to_owned(),
        when_unsatisfiable: fields.or("whenUnsatisfiable", Unsatisfiable::DoNotSchedule, |at| {
            at.word(&[
                ("DoNotSchedule", Unsatisfiable::DoNotSchedule),
                ("ScheduleAnyway", Unsatisfiable::ScheduleAnyway),
            ])
        })?,
        label_selector,
        min_domains: fields.map("minDomains", |at| at.integer(1, 1_000_000))?,
        honor_affinity: fields.or("nodeAffinityPolicy", true, policy)?,
        honor_taints: fields.or("nodeTaintsPolicy", false, policy)?,
    })
}
