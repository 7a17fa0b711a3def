//! Volumes of a pod: where each can be reached, who attaches it, and why it cannot be used if so (S11).
//!
//! A claim that is bound is reached where its volume is: by the volume's node affinity, and by its zone and region labels on
//! nodes that have such labels. A claim that waits for its first consumer is reached where one of the free volumes that
//! would do is, and where its class can make one. Which volume it becomes is settled when the pod is bound ([`open_claims`]); two
//! pods that have only one volume between them both seem to fit until then, and the second is looked at again. Of the claims
//! of one pod the one that asks for least chooses first, and takes the smallest volume.
//!
//! Absent: CSIStorageCapacity, in-tree volumes written into the pod itself (GCE, AWS, Azure disks, RBD, iSCSI), and the
//! translation of in-tree drivers' names.

use super::{Surroundings, selector};
use crate::error::Bad;
use crate::names::node::{REGION, ZONE};
use crate::quantity;
use crate::slim::{self, PersistentVolume, PersistentVolumeClaim, StorageClass};
use berth_model::{NodeSelector, NodeTerm, Operator, Requirement, VolumeChoice, VolumeUse};
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Annotation: the node that was chosen for a claim that waits for its first consumer.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
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
    let mut uses: Vec<(i128, VolumeUse)> = Vec::new();
    for volume in &pod.spec.volumes {
        let Some(name) = claim_name(pod, volume) else { continue };
        let field = format!("spec.volumes[{}]", volume.name);
        let mut used =
            claim(pod, &name, volume.ephemeral.is_some(), around).map_err(|bad| bad.under(field))?;
        let itself = claim_handle(pod.namespace(), &name);
        if used.exclusive && used.handle != itself {
            // It is the claim that is for one pod alone; other claims may lead to the same storage.
            used.exclusive = false;
            let sole = VolumeUse { handle: itself, exclusive: true, ..VolumeUse::default() };
            if !uses.iter().any(|(_, known)| *known == sole) {
                uses.push((0, sole));
            }
        }
        let asked = around.claim(pod.namespace(), &name).and_then(asked).unwrap_or(0);
        // kube-scheduler looks for a volume for each mention of an open claim.
        if !used.choices.is_empty() || !uses.iter().any(|(_, known)| *known == used) {
            uses.push((asked, used));
        }
    }
    uses.sort_by_key(|(asked, _)| *asked);
    let mut uses: Vec<VolumeUse> = uses.into_iter().map(|(_, used)| used).collect();
    if !compete(&uses) {
        uses.iter_mut().for_each(|used| used.choices.clear());
    }
    Ok(uses)
}

/// True if two of the volumes may become the same.
fn compete(uses: &[VolumeUse]) -> bool {
    let named = |used: &'_ VolumeUse| -> Vec<String> {
        let names = used.choices.iter().map(|choice| &choice.volume);
        names.filter(|name| !name.is_empty()).cloned().collect()
    };
    let mut all: Vec<String> = uses.iter().flat_map(named).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() < count
}

/// What an open claim of a pod becomes once the node is chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenClaim {
    /// The claim.
    pub claim: String,
    /// Its uid.
    pub uid: String,
    /// The volume that it is bound to; none = one is made for it on the node.
    pub volume: Option<String>,
}

/// What the open ones of these claims become on a node, each another volume; the one that asks for least chooses first.
///
/// # Errors
/// Says which claim cannot be had on the node.
pub fn open_claims(
    namespace: &str,
    claims: &[String],
    node: (&str, &BTreeMap<String, String>),
    around: &impl Surroundings,
) -> Result<Vec<OpenClaim>, String> {
    let seen = claims.iter().filter_map(|name| Some((name, around.claim(namespace, name)?)));
    let open = seen.filter(|(_, claim)| claim.spec.volume_name.as_deref().is_none_or(str::is_empty));
    let mut open: Vec<_> = open.map(|(name, claim)| (asked(claim), name, claim)).collect();
    open.sort_by_key(|(asked, ..)| *asked);
    let mut found: Vec<OpenClaim> = Vec::new();
    for (_, name, claim) in open {
        let taken = |volume: &str| found.iter().any(|other| other.volume.as_deref() == Some(volume));
        let volume = becomes(claim, node, around, taken)
            .ok_or_else(|| format!("no volume for the claim {name} is left on {}", node.0))?;
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        found.push(OpenClaim { claim: name.clone(), uid, volume });
    }
    Ok(found)
}

/// The volume that an open claim becomes on a node, `Some(None)` if one is made for it; none if it cannot be had.
fn becomes(
    claim: &PersistentVolumeClaim,
    (node, labels): (&str, &BTreeMap<String, String>),
    around: &impl Surroundings,
    taken: impl Fn(&str) -> bool,
) -> Option<Option<String>> {
    let name = |volume: &PersistentVolume| volume.metadata.name.clone().unwrap_or_default();
    let reached = |volume: &&PersistentVolume| {
        let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|wanted| selector::node_has(wanted, labels))
    };
    match annotation(claim, SELECTED_NODE) {
        Some(selected) if selected != node => return None,
        Some(_) => {}
        None => {
            let mut free = candidates(claim, around).into_iter().filter(|volume| !taken(&name(volume)));
            if let Some(volume) = free.find(reached) {
                return Some(Some(name(volume)));
            }
        }
    }
    let class = around.class(class_name(claim)).filter(|class| provisions(class))?;
    let makes = |term: &TopologySelectorTerm| {
        let mut wanted = term.match_label_expressions.iter().flatten();
        wanted.all(|wanted| labels.get(&wanted.key).is_some_and(|value| wanted.values.contains(value)))
    };
    (class.allowed_topologies.is_empty() || class.allowed_topologies.iter().any(makes)).then_some(None)
}

fn unusable(namespace: &str, name: &str, why: String) -> VolumeUse {
    VolumeUse { handle: claim_handle(namespace, name), unusable: why, ..VolumeUse::default() }
}

/// What a claim is known by while it has no volume.
fn claim_handle(namespace: &str, name: &str) -> String {
    format!("claim:{namespace}/{name}")
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
        ..VolumeUse::default()
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
    let mut choices = Vec::new();
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
            for volume in candidates(claim, around) {
                let reachable_from = affinity(volume)?;
                reach.add(reachable_from.clone());
                let volume = volume.metadata.name.clone().unwrap_or_default();
                choices.push(VolumeChoice { volume, reachable_from });
            }
            if provisions(class) {
                reach.add(dynamic(class));
                choices.push(VolumeChoice { volume: String::new(), reachable_from: dynamic(class) });
            }
        }
    }
    let unusable = if reach.anywhere || !reach.terms.is_empty() {
        String::new()
    } else {
        format!("no free PersistentVolume would do for PersistentVolumeClaim {name}, and none can be made")
    };
    Ok(VolumeUse {
        handle: claim_handle(namespace, name),
        driver: if provisions(class) { class.provisioner.clone() } else { String::new() },
        reachable_from: reach.selector(),
        exclusive: exclusive(claim),
        unusable,
        choices,
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

/// The free volumes that would do for a claim, the one that is taken first first: one that is meant for it, else the smallest.
fn candidates<'a>(claim: &PersistentVolumeClaim, around: &'a impl Surroundings) -> Vec<&'a PersistentVolume> {
    let Some(wanted) = asked(claim) else { return Vec::new() };
    let free = around.volumes_of(class_name(claim)).into_iter();
    let fits =
        |volume: &&PersistentVolume| holds(volume).is_some_and(|held| held >= wanted) && alike(claim, volume);
    let (meant, others): (Vec<_>, Vec<_>) = free.filter(fits).partition(|volume| is_meant(volume, claim));
    if !meant.is_empty() {
        return meant;
    }
    let mut others: Vec<_> = others.into_iter().filter(|volume| would_do(claim, volume)).collect();
    others.sort_by_key(|volume| (holds(volume), volume.metadata.name.clone()));
    others
}

fn storage(amounts: &BTreeMap<String, Quantity>) -> Option<i128> {
    amounts.get("storage").map_or(Some(0), |amount| quantity::billionths(&amount.0).ok())
}

/// How much storage a claim asks for, in billionths of a byte.
fn asked(claim: &PersistentVolumeClaim) -> Option<i128> {
    storage(&claim.spec.resources.requests)
}

fn holds(volume: &PersistentVolume) -> Option<i128> {
    storage(&volume.spec.capacity)
}

/// True if somebody has said that the volume is for this claim.
fn is_meant(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|meant| {
        meant.name == claim.metadata.name
            && meant.namespace == claim.metadata.namespace
            && (meant.uid.is_none() || meant.uid == claim.metadata.uid)
    })
}

/// What must agree even where a volume is meant for a claim.
fn alike(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let attributes = |name: &Option<String>| name.clone().unwrap_or_default();
    volume.metadata.deletion_timestamp.is_none()
        && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
        && attributes(&volume.spec.volume_attributes_class_name)
            == attributes(&claim.spec.volume_attributes_class_name)
}

/// Whether a volume that is meant for nobody would do for a claim: state, access, labels.
fn would_do(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    volume.spec.claim_ref.is_none()
        && volume.status.phase.as_deref() == Some("Available")
        && claim.spec.access_modes.iter().all(|wanted| volume.spec.access_modes.contains(wanted))
        && claim.spec.selector.as_ref().is_none_or(|wanted| selector::selects(wanted, &labels))
}

/// A volume's own node affinity. What it says of names holds for no node, as for kube-scheduler.
fn affinity(volume: &PersistentVolume) -> Result<Option<NodeSelector>, Bad> {
    let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    let mut read = required.map(selector::node_selector).transpose()?;
    if let Some(read) = &mut read {
        read.node_selector_terms.retain(|term| term.match_fields.is_empty());
    }
    Ok(read)
}

/// Where a volume's zone and region labels allow it: nodes of one of the places, and nodes that have no such labels at all.
fn places(volume: &PersistentVolume) -> Option<NodeSelector> {
    let mut wanted = Vec::new();
    let labels = volume.metadata.labels.as_ref()?;
    for (label, older) in PLACES {
        for key in [label, older] {
            let Some(value) = labels.get(key) else { continue };
            let values: Vec<String> = value.split(ZONES_SEPARATOR).map(str::to_owned).collect();
            wanted.push((label, older, key == older, values));
        }
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
