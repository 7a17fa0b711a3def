//! A pod object -> the workload, the role and the specification it has.
//!
//! Pods of one controller share a template (`berth_api::keep`), and what is read of it is kept, so that reading another
//! of them is a look-up. A pod whose meaning depends on other objects (claims, selectors of namespaces, resizing in place) is
//! read by itself.

use super::around::Around;
use super::groups::GroupKey;
use berth_api::asked::{Asked, asked};
use berth_api::convert::{self, depends_on};
use berth_api::group::{Key, Kind, Member, member};
use berth_api::{Malformed, keep, slim};
use berth_model::{GpuRequest, Labels, PodSpec, ProjectId};
use std::collections::HashMap;
use std::sync::Arc;

/// What a pod is.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) key: GroupKey,
    pub(crate) role: String,
    pub(crate) min_members: Option<u32>,
    pub(crate) spec: Arc<PodSpec>,
    pub(crate) labels: Arc<Labels>,
    /// Claims it uses.
    pub(crate) claims: Vec<String>,
    /// It has selectors of namespaces.
    pub(crate) about_namespaces: bool,
}

/// What was read of a template, which is held so that its address stays its own.
#[derive(Debug)]
struct Known {
    _template: Arc<keep::Template>,
    spec: Arc<PodSpec>,
    labels: Arc<Labels>,
}

/// Reads pods.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    known: HashMap<usize, Known>,
}

impl Reader {
    /// Reads a pod; `project` owns its namespace.
    pub(crate) fn read(
        &mut self,
        pod: &slim::Pod,
        kept: &keep::Pod,
        project: Option<ProjectId>,
        around: &Around,
    ) -> Result<Reading, Malformed> {
        let asked = asked(pod)?;
        let member = member(pod, &asked);
        let depends = depends_on(pod);
        let own = !depends.claims.is_empty()
            || !pod.spec.resource_claims.is_empty()
            || depends.namespaces
            || kept.is_resized();
        let address = Arc::as_ptr(&kept.template) as usize;
        let labels = role_labels(pod);
        let (spec, labels) = match self.known.get(&address).filter(|_| !own) {
            Some(known) => {
                let same = *known.labels == labels;
                (known.spec.clone(), if same { known.labels.clone() } else { Arc::new(labels) })
            }
            None => {
                let (spec, labels) = (Arc::new(convert::pod(pod, around)?), Arc::new(labels));
                if !own {
                    let template = kept.template.clone();
                    let (spec, labels) = (spec.clone(), labels.clone());
                    self.known.insert(address, Known { _template: template, spec, labels });
                }
                (spec, labels)
            }
        };
        Ok(Reading {
            key: group_key(pod, member.clone(), &asked, project),
            role: member.role,
            min_members: asked.min_members,
            spec,
            labels,
            claims: depends.claims,
            about_namespaces: depends.namespaces,
        })
    }

    /// What a pod takes that is on a node already but cannot be read as it is: whatever it says about where to run is left
    /// out, its resources count.
    pub(crate) fn read_bare(
        pod: &slim::Pod,
        project: Option<ProjectId>,
        around: &Around,
        devices: bool,
    ) -> Reading {
        let mut bare = pod.clone();
        bare.metadata.annotations = None;
        bare.spec.affinity = None;
        bare.spec.topology_spread_constraints.clear();
        bare.spec.tolerations.clear();
        bare.spec.volumes.clear();
        bare.spec.resource_claims.clear();
        let mut spec = convert::pod(&bare, around).unwrap_or_else(|bad| {
            tracing::error!(%bad, "a pod on a node cannot be read: what it takes is not counted");
            PodSpec::default()
        });
        if !devices {
            spec.gpu = GpuRequest::None;
        }
        let key = Key { namespace: pod.namespace().to_owned(), kind: Kind::Pod, name: pod.name().to_owned() };
        Reading {
            key: GroupKey { project, key },
            role: "main".to_owned(),
            min_members: None,
            spec: Arc::new(spec),
            labels: Arc::new(role_labels(pod)),
            claims: Vec::new(),
            about_namespaces: false,
        }
    }

    /// Forgets what no pod has any more.
    pub(crate) fn sweep(&mut self) {
        // One is ours, one is the keeper's.
        self.known.retain(|_, known| Arc::strong_count(&known._template) > 2);
    }
}

/// The labels of a pod without those that number it: pods that differ only in these are alike.
fn role_labels(pod: &slim::Pod) -> Labels {
    let all = pod.metadata.labels.iter().flatten();
    all.filter(|(key, _)| !keep::numbers_pods(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// In namespaces without a project pods stand for themselves, as they do for Kubernetes, unless they say that they are a
/// gang (S3).
fn group_key(pod: &slim::Pod, member: Member, asked: &Asked, project: Option<ProjectId>) -> GroupKey {
    let mut key = member.key;
    let together = key.kind.is_gang() || key.kind == Kind::Label || asked.min_members.is_some();
    if project.is_none() && !together {
        key = Key { kind: Kind::Pod, name: pod.name().to_owned(), ..key };
    }
    GroupKey { project, key }
}
