//! Pods as they are kept: small, because their specifications are shared.
//!
//! # Data structure and costs
//!
//! A kept [`Pod`] is what is its own (name, uid, owner, node, times, labels that number the pods of a controller) and an
//! [`Arc`] of a [`Template`]: everything that pods of one controller have in common. Templates are interned in a [`Keeper`] by
//! their hash and equality, as are strings that repeat (namespaces, nodes, owners). So 140,000 pods of a few hundred
//! controllers cost less than 0.4 KiB each, and a template, some KiB, once; `tests/memory.rs` measures it. Interning costs one hash
//! of the specification per pod that is decoded, once; nothing is locked.
//!
//! [`Pod::restore`] puts a pod together again for conversion, which whoever keeps pods does once per template and not per pod,
//! as a rule. What nobody reads after decoding (ports that are not the node's, volumes without claims) is gone.
//!
//! A template leaves the keeper when [`Keeper::sweep`] finds that no pod has it any more. Absent: an index of pods by anything;
//! that is for whoever watches.

mod keeper;
mod labels;

pub use keeper::Keeper;
pub use labels::numbers_pods;

use crate::slim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use labels::{Map, Own};
use std::sync::Arc;

/// What pods of one controller have in common.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Template {
    /// What they ask for; the node's name is the pod's own.
    pub spec: slim::PodSpec,
    /// Labels, without those that number them.
    pub labels: Map,
    /// Annotations that are read.
    pub annotations: Map,
    /// Finalizers.
    pub finalizers: Vec<String>,
}

/// The controller of a pod.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
}

/// A pod as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Pod {
    /// What it has in common with others. Two pods have the same exactly if they point to the same.
    pub template: Arc<Template>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// The version of the object.
    pub resource_version: Box<str>,
    /// The node, once bound.
    pub node: Option<Arc<str>>,
    /// Where room is kept for it.
    pub nominated: Option<Arc<str>>,
    /// When it was created.
    pub created: Option<Time>,
    /// When the kubelet began with it.
    pub started: Option<Time>,
    /// When it will have been deleted.
    pub deleted: Option<Time>,
    /// How far it is.
    pub phase: Phase,
    /// Labels of its own.
    labels: Own,
    /// Which of [`labels::DERIVED_LABELS`] it has.
    derived: u8,
    owner: Option<Arc<Owner>>,
    rest: Option<Box<Rest>>,
}

/// How far a pod is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Phase {
    /// It has not begun.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// It did its work.
    Succeeded,
    /// It failed.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl Phase {
    fn of(text: Option<&str>) -> Self {
        match text {
            None | Some("Pending") => Self::Pending,
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            Some(_) => Self::Unknown,
        }
    }

    /// As Kubernetes writes it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

/// What few pods have.
#[derive(Clone, PartialEq, Debug, Default)]
struct Rest {
    annotations: Own,
    deletion_grace_seconds: Option<i64>,
    // Boxed slices, since what is filtered in place into a vector keeps the room of what is gone.
    conditions: Box<[slim::PodCondition]>,
    container_statuses: Box<[slim::ContainerStatus]>,
    init_container_statuses: Box<[slim::ContainerStatus]>,
    reason: Option<Box<str>>,
    resource_claim_statuses: Box<[slim::ResourceClaimMade]>,
}

impl Pod {
    /// The pod as it was decoded, without what nobody reads.
    pub fn restore(&self) -> slim::Pod {
        let rest = self.rest.as_deref().cloned().unwrap_or_default();
        let join = |shared: &Map, own: Own| {
            let mut all = shared.clone();
            all.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value.into())));
            all
        };
        let some = |map: Map| (!map.is_empty()).then_some(map);
        let mut labels = join(&self.template.labels, self.labels.clone());
        for (at, (key, source)) in labels::DERIVED_LABELS.iter().enumerate() {
            if self.derived >> at & 1 == 1 {
                let value = source.value(&self.name, self.owner.as_deref()).unwrap_or_default();
                labels.insert((*key).to_owned(), value.to_owned());
            }
        }
        let owner = self.owner.as_ref().map(|owner| OwnerReference {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        });
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        slim::Pod {
            metadata: ObjectMeta {
                name: text(&self.name),
                namespace: text(&self.namespace),
                uid: text(&self.uid),
                resource_version: text(&self.resource_version),
                labels: some(labels),
                annotations: some(join(&self.template.annotations, rest.annotations)),
                owner_references: owner.map(|owner| vec![owner]),
                finalizers: Some(&self.template.finalizers).filter(|list| !list.is_empty()).cloned(),
                creation_timestamp: self.created.clone(),
                deletion_timestamp: self.deleted.clone(),
                deletion_grace_period_seconds: rest.deletion_grace_seconds,
                ..ObjectMeta::default()
            },
            spec: slim::PodSpec {
                node_name: self.node.as_deref().map(str::to_owned),
                ..self.template.spec.clone()
            },
            status: slim::PodStatus {
                phase: Some(self.phase.text().to_owned()),
                conditions: rest.conditions.into_vec(),
                nominated_node_name: self.nominated.as_deref().map(str::to_owned),
                start_time: self.started.clone(),
                reason: rest.reason.map(Into::into),
                container_statuses: rest.container_statuses.into_vec(),
                init_container_statuses: rest.init_container_statuses.into_vec(),
                resource_claim_statuses: rest.resource_claim_statuses.into_vec(),
            },
        }
    }

    /// The conditions that are kept: `PodScheduled` and `Ready` while they are not true, `DisruptionTarget`,
    /// `PodResizePending`.
    pub fn conditions(&self) -> &[slim::PodCondition] {
        self.rest.as_deref().map_or(&[], |rest| &rest.conditions)
    }

    /// True if the two differ in nothing that is read; the version of the object is not.
    pub fn reads_like(&self, other: &Self) -> bool {
        let version = other.resource_version.clone();
        Self { resource_version: version, ..self.clone() } == *other
    }

    /// True if it has a controller, which replaces it when it is gone.
    pub fn has_owner(&self) -> bool {
        self.owner.is_some()
    }

    /// An annotation that Berth writes.
    pub fn own_annotation(&self, key: &str) -> Option<&str> {
        let own = &self.rest.as_deref()?.annotations;
        own.iter().find(|(known, _)| *known == key).map(|(_, text)| &**text)
    }

    /// True if its requests are not simply what its template asks for.
    pub fn is_resized(&self) -> bool {
        self.rest.as_deref().is_some_and(|rest| {
            !rest.container_statuses.is_empty() || !rest.init_container_statuses.is_empty()
        })
    }
}
