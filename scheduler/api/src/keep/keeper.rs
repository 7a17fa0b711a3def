//! Interning: what pods have in common is kept once.

use super::labels::{self, OTHERS_ANNOTATIONS};
use super::{Owner, Phase, Pod, Rest, Template};
use crate::slim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Interns what pods have in common.
#[derive(Default, Debug)]
pub struct Keeper {
    templates: HashMap<u64, Vec<Arc<Template>>>,
    owners: HashSet<Arc<Owner>>,
    words: HashSet<Arc<str>>,
}

/// Hashes what serialises the same to the same.
fn hash_of(template: &Template) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    template.labels.hash(&mut hasher);
    template.annotations.hash(&mut hasher);
    let spec = &template.spec;
    for container in spec.containers.iter().chain(&spec.init_containers) {
        container.name.hash(&mut hasher);
        for (name, amount) in &container.resources.requests {
            (name, &amount.0).hash(&mut hasher);
        }
    }
    spec.node_selector.hash(&mut hasher);
    spec.priority.hash(&mut hasher);
    spec.scheduler_name.hash(&mut hasher);
    for volume in &spec.volumes {
        volume.persistent_volume_claim.as_ref().map(|claim| &claim.claim_name).hash(&mut hasher);
    }
    for claim in &spec.resource_claims {
        (&claim.resource_claim_name, &claim.resource_claim_template_name).hash(&mut hasher);
    }
    // The rest seldom differs where all this is equal, but for pods that are pinned to a node each.
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref());
    for term in required.into_iter().flat_map(|required| &required.node_selector_terms) {
        for field in term.match_fields.iter().flatten() {
            field.values.hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Keeper {
    /// Keeps a pod that has been decoded.
    pub fn keep(&mut self, pod: slim::Pod) -> Pod {
        let slim::Pod { metadata, mut spec, status } = pod;
        let mut shared = metadata.labels.unwrap_or_default();
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with("berth.dev/") || OTHERS_ANNOTATIONS.contains(&&**key));
        let own_labels = labels::take(&mut shared, &labels::NUMBERING_LABELS);
        let own_annotations = labels::take(&mut annotations, &labels::OWN_ANNOTATIONS);
        let node = spec.node_name.take().map(|node| self.word(node));
        forget_what_nobody_reads(&mut spec);
        let owners = metadata.owner_references.into_iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
        let owner = owner.map(|owner| self.owner(owner));
        let name = metadata.name.unwrap_or_default();
        let derived = labels::take_derived(&mut shared, &name, owner.as_deref());
        let resized =
            |list: Vec<slim::ContainerStatus>| list.into_iter().filter(|s| differs(s, &spec)).collect();
        let rest = Rest {
            annotations: own_annotations,
            deletion_grace_seconds: metadata.deletion_grace_period_seconds,
            conditions: status.conditions.into_iter().filter(is_read).collect(),
            container_statuses: resized(status.container_statuses),
            init_container_statuses: resized(status.init_container_statuses),
            reason: status.reason.map(Into::into),
            resource_claim_statuses: status.resource_claim_statuses.into(),
        };
        Pod {
            owner,
            labels: own_labels,
            derived,
            template: self.template(Template {
                spec,
                labels: shared,
                annotations,
                finalizers: metadata.finalizers.unwrap_or_default(),
            }),
            namespace: self.word(metadata.namespace.unwrap_or_default()),
            name: name.into(),
            uid: metadata.uid.unwrap_or_default().into(),
            resource_version: metadata.resource_version.unwrap_or_default().into(),
            node,
            nominated: status.nominated_node_name.map(|node| self.word(node)),
            created: metadata.creation_timestamp,
            started: status.start_time,
            deleted: metadata.deletion_timestamp,
            phase: Phase::of(status.phase.as_deref()),
            rest: (rest != Rest::default()).then(|| Box::new(rest)),
        }
    }

    /// Forgets what no pod has any more; costs a look at every template and word.
    pub fn sweep(&mut self) {
        self.templates.retain(|_, equal| {
            equal.retain(|template| Arc::strong_count(template) > 1);
            !equal.is_empty()
        });
        self.owners.retain(|owner| Arc::strong_count(owner) > 1);
        self.words.retain(|word| Arc::strong_count(word) > 1);
    }

    /// How many templates there are.
    pub fn templates(&self) -> usize {
        self.templates.values().map(Vec::len).sum()
    }

    fn word(&mut self, text: String) -> Arc<str> {
        if let Some(word) = self.words.get(text.as_str()) {
            return word.clone();
        }
        let word: Arc<str> = text.into();
        self.words.insert(word.clone());
        word
    }

    fn owner(&mut self, owner: OwnerReference) -> Arc<Owner> {
        let owner =
            Owner { api_version: owner.api_version, kind: owner.kind, name: owner.name, uid: owner.uid };
        if let Some(known) = self.owners.get(&owner) {
            return known.clone();
        }
        let owner = Arc::new(owner);
        self.owners.insert(owner.clone());
        owner
    }

    fn template(&mut self, template: Template) -> Arc<Template> {
        let equal = self.templates.entry(hash_of(&template)).or_default();
        if let Some(known) = equal.iter().find(|known| ***known == template) {
            return known.clone();
        }
        let template = Arc::new(template);
        equal.push(template.clone());
        template
    }
}

/// Ports that are not the node's and volumes without claims say nothing about scheduling, and the latter have random names.
fn forget_what_nobody_reads(spec: &mut slim::PodSpec) {
    spec.volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        container.ports.retain(|port| port.host_port.is_some_and(|port| port > 0));
        container.resources.limits.clear();
    }
}

/// Conditions that are read: why it is not scheduled, that it is ready, that it is being disrupted, that it cannot be resized.
fn is_read(condition: &slim::PodCondition) -> bool {
    match condition.type_.as_str() {
        // Once it is scheduled and ready there is nothing to say.
        "PodScheduled" | "Ready" => condition.status != "True",
        "DisruptionTarget" | "PodResizePending" => true,
        _ => false,
    }
}

/// True if a container has other resources than it asks for, as while it is being resized.
fn differs(status: &slim::ContainerStatus, spec: &slim::PodSpec) -> bool {
    let Some(resources) = &status.resources else { return false };
    let all = spec.containers.iter().chain(&spec.init_containers);
    let asked = all.filter(|container| container.name == status.name).map(|c| &c.resources.requests).next();
    let differs = |amounts| asked != Some(amounts);
    differs(&resources.requests)
        || (!status.allocated_resources.is_empty() && differs(&status.allocated_resources))
}
