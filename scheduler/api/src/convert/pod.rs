//! A pod -> what the model needs to know of it to place it.

use super::{Selection, Surroundings, affinity, claims, resources, storage};
use crate::asked;
use crate::error::{Bad, Malformed};
use crate::names::node::FRACTIONS;
use crate::slim::{self, named};
use berth_model::{
    Effect, GpuRequest, HostPort, NodeSelector, NodeTerm, Operator, PodSpec, Protocol, Requirement,
    Toleration, TolerationOperator,
};

/// What a pod's conversion depends on besides the pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Depends {
    /// Labels of namespaces: it has terms with a `namespaceSelector`.
    pub namespaces: bool,
    /// Claims of its namespace, with their volumes and classes.
    pub claims: Vec<String>,
    /// Claims of devices of its namespace, with their classes; of those made from templates, what is made.
    pub device_claims: Vec<String>,
}

/// What a pod's conversion depends on; when one of these changes, convert it again.
pub fn depends_on(pod: &slim::Pod) -> Depends {
    let affinity = pod.spec.affinity.as_ref();
    let near = affinity.and_then(|a| a.pod_affinity.as_ref());
    let away = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let required = near
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(away.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()));
    let preferred = near
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(away.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()));
    let mut terms = required.flatten().chain(preferred.flatten().map(|term| &term.pod_affinity_term));
    Depends {
        namespaces: terms.any(|term| term.namespace_selector.is_some()),
        claims: pod.spec.volumes.iter().filter_map(|volume| storage::claim_name(pod, volume)).collect(),
        device_claims: claims::claim_names(pod),
    }
}

/// What a pod asks for and where it may run (S11, S13, S14).
///
/// The GPU request is that of its claim of Berth's driver, which the annotations must agree with, else its containers' whole
/// GPUs. A claim needs a node whose devices Berth's own driver hands out, which [`FRACTIONS`] marks; whole GPUs of the device
/// plugin need one where it does not. Both are demanded as node labels like any other, and so is a node whose devices the
/// claim's selectors mean ([`Selection`]).
///
/// # Errors
/// A field of the pod is malformed.
pub fn pod(pod: &slim::Pod, around: &impl Surroundings) -> Result<PodSpec, Malformed> {
    read(pod, around).map_err(|bad| bad.of(named(pod)))
}

fn read(pod: &slim::Pod, around: &impl Surroundings) -> Result<PodSpec, Bad> {
    let taken = resources::of_pod(pod)?;
    let claimed = claimed(pod, around, taken.gpus)?;
    let mut spec = PodSpec {
        requests: taken.resources,
        gpu: match (&claimed, taken.gpus) {
            (Some((claimed, _)), _) => *claimed,
            (None, 0) => GpuRequest::None,
            (None, whole) => GpuRequest::Whole(whole),
        },
        node_selector: pod.spec.node_selector.clone(),
        tolerations: each(&pod.spec.tolerations, "spec.tolerations", toleration)?,
        topology_spread: each(
            &pod.spec.topology_spread_constraints,
            "spec.topologySpreadConstraints",
            |constraint| affinity::spread(pod, constraint),
        )?,
        host_ports: host_ports(pod)?,
        volumes: storage::volumes(pod, around)?,
        scheduling_gates: pod.spec.scheduling_gates.iter().map(|gate| gate.name.clone()).collect(),
        ..PodSpec::default()
    };
    if let Some(wanted) = &pod.spec.affinity {
        affinities(wanted, around, &mut spec).map_err(|bad| bad.under("spec.affinity"))?;
    }
    // Each way of handing devices out has nodes of its own, where the kubelet does it in that way.
    match (claimed.is_some(), spec.gpu) {
        (true, _) => demand(&mut spec, FRACTIONS, Operator::Exists),
        (false, GpuRequest::Whole(_)) => demand(&mut spec, FRACTIONS, Operator::DoesNotExist),
        (false, _) => {}
    }
    if let Some(label) = claimed.and_then(|(_, selection)| selection.label()) {
        demand(&mut spec, &label, Operator::Exists);
    }
    Ok(spec)
}

fn each<T, U>(list: &[T], field: &str, mut read: impl FnMut(&T) -> Result<U, Bad>) -> Result<Vec<U>, Bad> {
    let read = |(at, item)| read(item).map_err(|bad| bad.under(format!("{field}[{at}]")));
    list.iter().enumerate().map(read).collect()
}

/// What a pod asks for by a claim of Berth's driver. What the claims of a pod on a node say that are not understood is the
/// business of whoever bound it.
fn claimed(
    pod: &slim::Pod,
    around: &impl Surroundings,
    whole: u32,
) -> Result<Option<(GpuRequest, Selection)>, Bad> {
    if whole > 0 && (asked::gpu(pod)?.is_some() || !pod.spec.resource_claims.is_empty()) {
        return Err(Bad::new(
            "spec.containers.resources",
            format!("nvidia.com/gpu: {whole}"),
            "either whole GPUs of the device plugin, or a fraction by annotation or a claim, not both",
        ));
    }
    match claims::read(pod, around) {
        Ok(claimed) => Ok(claimed.map(|claimed| (claimed.gpu, claimed.selection))),
        Err(bad) if pod.spec.node_name.is_none() => Err(bad),
        Err(_) => Ok(None),
    }
}

fn affinities(
    wanted: &k8s_openapi::api::core::v1::Affinity,
    around: &impl Surroundings,
    spec: &mut PodSpec,
) -> Result<(), Bad> {
    if let Some(nodes) = &wanted.node_affinity {
        (spec.node_affinity, spec.preferred_nodes) =
            affinity::nodes(nodes).map_err(|bad| bad.under("nodeAffinity"))?;
    }
    if let Some(near) = &wanted.pod_affinity {
        spec.pod_affinity = affinity::pods(
            near.required_during_scheduling_ignored_during_execution.as_ref(),
            near.preferred_during_scheduling_ignored_during_execution.as_ref(),
            around,
        )
        .map_err(|bad| bad.under("podAffinity"))?;
    }
    if let Some(away) = &wanted.pod_anti_affinity {
        spec.pod_anti_affinity = affinity::pods(
            away.required_during_scheduling_ignored_during_execution.as_ref(),
            away.preferred_during_scheduling_ignored_during_execution.as_ref(),
            around,
        )
        .map_err(|bad| bad.under("podAntiAffinity"))?;
    }
    Ok(())
}

/// Demands that a node label is there, or is not, besides what is demanded already.
fn demand(spec: &mut PodSpec, key: &str, operator: Operator) {
    let there = Requirement { key: key.to_owned(), operator, values: Vec::new() };
    let affinity = spec.node_affinity.get_or_insert_with(|| NodeSelector {
        node_selector_terms: vec![NodeTerm { match_expressions: vec![there.clone()], ..NodeTerm::default() }],
    });
    for term in &mut affinity.node_selector_terms {
        // A term without requirements matches no node, and must not begin to match some.
        let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
        if !empty && !term.match_expressions.contains(&there) {
            term.match_expressions.push(there.clone());
        }
    }
}

fn toleration(toleration: &k8s_openapi::api::core::v1::Toleration) -> Result<Toleration, Bad> {
    let operator = match toleration.operator.as_deref() {
        None | Some("" | "Equal") => TolerationOperator::Equal,
        Some("Exists") => TolerationOperator::Exists,
        Some(other) => return Err(Bad::new("operator", other, "Equal, Exists")),
    };
    Ok(Toleration {
        key: toleration.key.clone().unwrap_or_default(),
        operator,
        value: toleration.value.clone().unwrap_or_default(),
        effect: toleration.effect.as_deref().filter(|effect| !effect.is_empty()).map(effect).transpose()?,
    })
}

/// What a taint does.
pub(super) fn effect(name: &str) -> Result<Effect, Bad> {
    match name {
        "NoSchedule" => Ok(Effect::NoSchedule),
        "PreferNoSchedule" => Ok(Effect::PreferNoSchedule),
        "NoExecute" => Ok(Effect::NoExecute),
        other => Err(Bad::new("effect", other, "NoSchedule, PreferNoSchedule, NoExecute")),
    }
}

/// Ports of the node, of containers and sidecars; other init containers do not keep theirs.
fn host_ports(pod: &slim::Pod) -> Result<Vec<HostPort>, Bad> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    let mut ports = Vec::new();
    for container in sidecars.chain(&pod.spec.containers) {
        for port in &container.ports {
            let Some(number) = port.host_port.filter(|number| *number > 0) else { continue };
            let field = format!("spec.containers[{}].ports", container.name);
            ports.push(HostPort {
                port: u16::try_from(number)
                    .map_err(|_| Bad::new(format!("{field}.hostPort"), number, "1 to 65535"))?,
                protocol: match port.protocol.as_deref() {
                    None | Some("" | "TCP") => Protocol::Tcp,
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    Some(other) => {
                        return Err(Bad::new(format!("{field}.protocol"), other, "TCP, UDP, SCTP"));
                    }
                },
                host_ip: port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default(),
            });
        }
    }
    Ok(ports)
}
