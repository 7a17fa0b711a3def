//! Volumes of a pod: where each can be reached, who attaches it, and why it cannot be used if so (S11).
//!
//! A claim that is bound is reached where its volume is: by the volume's node affinity, and by its zone and region labels on
//! nodes that have such labels. A claim that waits for its first consumer is reached where one of the free volumes that
//! would do is, and where its class can make one. Which volume it becomes is settled when the pod is bound; two pods that
//! have only one volume between them both seem to fit until then, and the second fails to bind and is looked at again.
//!
//! Absent: CSIStorageCapacity, in-tree volumes written into the pod itself (GCE, AWS, Azure disks, RBD, iSCSI), and the
//! translation of in-tree drivers' names.

use super::{Surroundings, selector};
use crate::error::Bad;
use crate::names::node::{REGION, ZONE};
use crate::quantity;
use crate::slim::{self, PersistentVolume, PersistentVolumeClaim, StorageClass};
use berth_model::{NodeSelector, NodeTerm, Operator, Requirement, VolumeUse};
use k8s_openapi::api::core::v1::TopologySelectorTerm;

/// Annotation: the node that was chosen for a claim that waits for its first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotation: the claim is bound through and through.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation that names the class in the oldest objects.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner that makes no volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// The labels of a volume that bind it to a place, with their older names.
const PLACES: [(&str, &str); 2] =
    [(ZONE, "failure-domain.beta.kubernetes.io/zone"), (REGION, "failure-domain.beta.kubernetes.io/region")];
/// What separates several zones in one label.
const ZONES_SEPARATOR: &str = "__";

/// The claim behind a volume of a pod, if it has one.
pub(super) fn claim_name(pod: &slim::Pod, volume: &slim::Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.name(), volume.name)),
        (None, None) => None,
    }
}

/// The volumes of a pod, each once.
pub(super) fn volumes(pod: &slim::Pod, around: &impl Surroundings) -> Result<Vec<VolumeUse>, Bad> {
    let mut uses: Vec<VolumeUse> = Vec::new();
    for volume in &pod.spec.volumes {
        let Some(name) = claim_name(pod, volume) else { continue };
        let field = format!("spec.volumes[{}]", volume.name);
        let used = claim(pod, &name, volume.ephemeral.is_some(), around).map_err(|bad| bad.under(field))?;
        if !uses.contains(&used) {
            uses.push(used);
        }
    }
    Ok(uses)
}

fn unusable(namespace: &str, name: &str, why: String) -> VolumeUse {
    VolumeUse { handle: format!("claim:{namespace}/{name}"), unusable: why, ..VolumeUse::default() }
}

fn claim(pod: &slim::Pod, name: &str, ephemeral: bool, around: &impl Surroundings) -> Result<VolumeUse, Bad> {
    let namespace = pod.namespace();
    let refused = |why: String| Ok(unusable(namespace, name, why));
    let Some(claim) = around.claim(namespace, name) else {
        return refused(if ephemeral {
            format!("waiting for the controller to make the PersistentVolumeClaim {name}")
        } else {
            format!("PersistentVolumeClaim {name} does not exist")
        });
    };
    if claim.status.phase.as_deref() == Some("Lost") {
        return refused(format!("PersistentVolumeClaim {name} is bound to a volume that does not exist"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return refused(format!("PersistentVolumeClaim {name} is being deleted"));
    }
    let owners = claim.metadata.owner_references.iter().flatten();
    let owned =
        |uid: &String| owners.clone().any(|owner| owner.controller == Some(true) && owner.uid == *uid);
    if ephemeral && !pod.metadata.uid.as_ref().is_some_and(owned) {
        return refused(format!("PersistentVolumeClaim {name} was not made for this pod"));
    }
    let wanted = claim.spec.volume_name.as_deref().filter(|volume| !volume.is_empty());
    match wanted {
        Some(volume) if annotation(claim, BIND_COMPLETED).is_some() => bound(claim, name, volume, around),
        Some(_) => refused(format!("PersistentVolumeClaim {name} is not bound yet")),
        None => unbound(claim, namespace, name, around),
    }
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn class_name(claim: &PersistentVolumeClaim) -> &str {
    annotation(claim, OLD_CLASS).or(claim.spec.storage_class_name.as_deref()).unwrap_or_default()
}

fn exclusive(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
}

fn bound(
    claim: &PersistentVolumeClaim,
    name: &str,
    volume: &str,
    around: &impl Surroundings,
) -> Result<VolumeUse, Bad> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let Some(found) = around.volume(volume) else {
        return Ok(unusable(namespace, name, format!("PersistentVolume {volume} does not exist")));
    };
    let (driver, handle) = match &found.spec.csi {
        Some(csi) => (csi.driver.clone(), format!("{}^{}", csi.driver, csi.volume_handle)),
        None => (String::new(), format!("volume:{volume}")),
    };
    let (affinity, places) = (affinity(found)?, places(found));
    Ok(VolumeUse {
        handle,
        driver,
        reachable_from: both(affinity, places),
        exclusive: exclusive(claim),
        unusable: String::new(),
    })
}

/// A claim without a volume: it may wait for its first consumer, or be bound by somebody else first.
fn unbound(
    claim: &PersistentVolumeClaim,
    namespace: &str,
    name: &str,
    around: &impl Surroundings,
) -> Result<VolumeUse, Bad> {
    let wanted = class_name(claim);
    let class = around.class(wanted);
    let waits = class.is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let Some(class) = class.filter(|_| waits) else {
        let why = if class.is_none() && !wanted.is_empty() {
            format!("StorageClass {wanted} of PersistentVolumeClaim {name} does not exist")
        } else {
            format!("PersistentVolumeClaim {name} is not bound yet")
        };
        return Ok(unusable(namespace, name, why));
    };
    let mut reach = Reach::default();
    match annotation(claim, SELECTED_NODE) {
        // It is being made for that node already.
        Some(node) => reach.add(both(
            dynamic(class),
            Some(one_term(NodeTerm {
                match_fields: vec![is("metadata.name", vec![node.to_owned()])],
                ..NodeTerm::default()
            })),
        )),
        None => {
            for volume in around.free_volumes(wanted) {
                if would_do(claim, namespace, volume) {
                    reach.add(affinity(volume)?);
                }
            }
            if provisions(class) {
                reach.add(dynamic(class));
            }
        }
    }
    let unusable = if reach.anywhere || !reach.terms.is_empty() {
        String::new()
    } else {
        format!("no free PersistentVolume would do for PersistentVolumeClaim {name}, and none can be made")
    };
    Ok(VolumeUse {
        handle: format!("claim:{namespace}/{name}"),
        driver: if provisions(class) { class.provisioner.clone() } else { String::new() },
        reachable_from: reach.selector(),
        exclusive: exclusive(claim),
        unusable,
    })
}

/// Alternatives of nodes; once one of them is every node, so is the whole.
#[derive(Default)]
struct Reach {
    anywhere: bool,
    terms: Vec<NodeTerm>,
}

impl Reach {
    fn add(&mut self, selector: Option<NodeSelector>) {
        match selector {
            None => self.anywhere = true,
            Some(selector) => {
                for term in selector.node_selector_terms {
                    if !self.terms.contains(&term) {
                        self.terms.push(term);
                    }
                }
            }
        }
    }

    fn selector(self) -> Option<NodeSelector> {
        (!self.anywhere).then_some(NodeSelector { node_selector_terms: self.terms })
    }
}

fn provisions(class: &StorageClass) -> bool {
    !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER
}

/// Where a class can make volumes; none = everywhere.
fn dynamic(class: &StorageClass) -> Option<NodeSelector> {
    let term = |term: &TopologySelectorTerm| NodeTerm {
        match_expressions: term
            .match_label_expressions
            .iter()
            .flatten()
            .map(|wanted| is(&wanted.key, wanted.values.clone()))
            .collect(),
        ..NodeTerm::default()
    };
    let terms: Vec<_> = class.allowed_topologies.iter().map(term).collect();
    // A term without requirements is every node here, unlike in a node selector.
    let anywhere = terms.is_empty() || terms.iter().any(|term| term.match_expressions.is_empty());
    (!anywhere).then_some(NodeSelector { node_selector_terms: terms })
}

/// Whether a free volume would do for a claim: class, mode, access, labels, size, and that it is meant for nobody else.
fn would_do(claim: &PersistentVolumeClaim, namespace: &str, volume: &PersistentVolume) -> bool {
    if let Some(meant) = &volume.spec.claim_ref {
        return meant.name == claim.metadata.name
            && meant.namespace.as_deref() == Some(namespace)
            && (meant.uid.is_none() || meant.uid == claim.metadata.uid);
    }
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let storage = |amounts: &std::collections::BTreeMap<String, _>| {
        let amount: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> = amounts.get("storage");
        amount.map_or(Ok(0), |amount| quantity::billionths(&amount.0))
    };
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let (asked, held) = (storage(&claim.spec.resources.requests), storage(&volume.spec.capacity));
    volume.metadata.deletion_timestamp.is_none()
        && volume.status.phase.as_deref() == Some("Available")
        && volume.spec.storage_class_name.as_deref().unwrap_or_default() == class_name(claim)
        && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
        && claim.spec.access_modes.iter().all(|wanted| volume.spec.access_modes.contains(wanted))
        && claim.spec.selector.as_ref().is_none_or(|wanted| selector::selects(wanted, &labels))
        && matches!((asked, held), (Ok(asked), Ok(held)) if held >= asked)
}

/// A volume's own node affinity.
fn affinity(volume: &PersistentVolume) -> Result<Option<NodeSelector>, Bad> {
    let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    required.map(selector::node_selector).transpose()
}

/// Where a volume's zone and region labels allow it: nodes of one of the places, and nodes that have no such labels at all.
fn places(volume: &PersistentVolume) -> Option<NodeSelector> {
    let mut wanted = Vec::new();
    for (label, older) in PLACES {
        let labels = volume.metadata.labels.as_ref()?;
        let Some((key, value)) = [label, older].iter().find_map(|key| labels.get_key_value(*key)) else {
            continue;
        };
        let values: Vec<String> = value.split(ZONES_SEPARATOR).map(str::to_owned).collect();
        wanted.push((label, older, key == older, values));
    }
    if wanted.is_empty() {
        return None;
    }
    let nowhere = PLACES.iter().flat_map(|(label, older)| [*label, *older]).map(|key| Requirement {
        key: key.to_owned(),
        operator: Operator::DoesNotExist,
        values: Vec::new(),
    });
    let mut alternatives = vec![NodeTerm::default()];
    for (label, older, older_only, values) in wanted {
        let mut next = Vec::new();
        for term in &alternatives {
            // The node's label of the same name counts; a volume's older name is looked for under the newer one too.
            let mut with = |requirements: Vec<Requirement>| {
                let mut term = term.clone();
                term.match_expressions.extend(requirements);
                next.push(term);
            };
            if older_only {
                let absent = Requirement {
                    key: older.to_owned(),
                    operator: Operator::DoesNotExist,
                    values: Vec::new(),
                };
                with(vec![is(older, values.clone())]);
                with(vec![absent, is(label, values.clone())]);
            } else {
                with(vec![is(label, values.clone())]);
            }
        }
        alternatives = next;
    }
    alternatives.push(NodeTerm { match_expressions: nowhere.collect(), ..NodeTerm::default() });
    Some(NodeSelector { node_selector_terms: alternatives })
}

fn is(key: &str, values: Vec<String>) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values }
}

fn one_term(term: NodeTerm) -> NodeSelector {
    NodeSelector { node_selector_terms: vec![term] }
}

/// Nodes that both selectors allow; none = every node.
fn both(left: Option<NodeSelector>, right: Option<NodeSelector>) -> Option<NodeSelector> {
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (one, other) => return one.or(other),
    };
    let empty = |term: &NodeTerm| term.match_expressions.is_empty() && term.match_fields.is_empty();
    let mut terms = Vec::new();
    for one in left.node_selector_terms.iter().filter(|term| !empty(term)) {
        for other in right.node_selector_terms.iter().filter(|term| !empty(term)) {
            let mut term = one.clone();
            term.match_expressions.extend(other.match_expressions.iter().cloned());
            term.match_fields.extend(other.match_fields.iter().cloned());
            terms.push(term);
        }
    }
    Some(NodeSelector { node_selector_terms: terms })
}
