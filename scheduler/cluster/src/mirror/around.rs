//! What pods are read with: claims, volumes, classes, namespaces, priorities, and the objects of their controllers.

use super::seen::Seen;
use crate::change::{Name, Object};
use berth_api::cel::Selector;
use berth_api::convert::{OpenClaim, SELECTED_NODE, Surroundings};
use berth_api::group::{Kind as Gang, Shape};
use berth_api::slim;
use k8s_openapi::api::core::v1::ObjectReference;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What pods are read with.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) claims: Seen<slim::PersistentVolumeClaim>,
    pub(crate) volumes: Seen<slim::PersistentVolume>,
    pub(crate) classes: Seen<slim::StorageClass>,
    pub(crate) namespaces: Seen<slim::Namespace>,
    pub(crate) priorities: Seen<slim::PriorityClass>,
    pub(crate) device_claims: Seen<slim::ResourceClaim>,
    pub(crate) device_classes: Seen<slim::DeviceClass>,
    pub(crate) sets: Seen<slim::owners::LeaderWorkerSet>,
    /// Volumes and claims as they will be once the binds under way have done their part, until the cluster shows it.
    assumed_volumes: BTreeMap<Name, slim::PersistentVolume>,
    assumed_claims: BTreeMap<Name, slim::PersistentVolumeClaim>,
    /// Selections of devices that fail, and why.
    pub(crate) failing: BTreeMap<String, String>,
    selectors: Mutex<HashMap<Box<str>, Result<Arc<Selector>, String>>>,
    shapes: BTreeMap<Gang, Seen<Result<Shape, String>>>,
}

/// What must be read again because something around it has changed.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    /// Pods that use these claims, of volumes or of devices.
    pub(crate) claims: BTreeSet<Name>,
    /// Pods that use any claim.
    pub(crate) volumes: bool,
    /// Pods that use any claim of devices.
    pub(crate) device_classes: bool,
    /// Pods with selectors of namespaces.
    pub(crate) namespaces: bool,
    /// Gangs of these controllers.
    pub(crate) owners: BTreeSet<(Gang, Name)>,
    /// Workloads that could not be read.
    pub(crate) problems: bool,
}

impl Surroundings for Around {
    fn claim(&self, namespace: &str, name: &str) -> Option<&slim::PersistentVolumeClaim> {
        let name = Name::new(namespace, name);
        self.assumed_claims.get(&name).or_else(|| self.claims.get(&name))
    }

    fn volume(&self, name: &str) -> Option<&slim::PersistentVolume> {
        let name = Name::cluster(name);
        self.assumed_volumes.get(&name).or_else(|| self.volumes.get(&name))
    }

    fn class(&self, name: &str) -> Option<&slim::StorageClass> {
        self.classes.get(&Name::cluster(name))
    }

    fn volumes_of(&self, class: &str) -> Vec<&slim::PersistentVolume> {
        let of_class = |volume: &&slim::PersistentVolume| {
            volume.spec.storage_class_name.as_deref().unwrap_or_default() == class
        };
        let all = self.volumes.iter().map(|(name, seen)| self.assumed_volumes.get(name).unwrap_or(seen));
        all.filter(of_class).collect()
    }

    fn device_claim(&self, namespace: &str, name: &str) -> Option<&slim::ResourceClaim> {
        self.device_claims.get(&Name::new(namespace, name))
    }

    fn device_class(&self, name: &str) -> Option<&slim::DeviceClass> {
        self.device_classes.get(&Name::cluster(name))
    }

    fn namespaces(&self) -> Vec<&slim::Namespace> {
        self.namespaces.iter().map(|(_, namespace)| namespace).collect()
    }

    fn selector(&self, expression: &str) -> Result<Arc<Selector>, String> {
        let mut known = self.selectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(expression) {
            return found.clone();
        }
        let compiled = Selector::compile(expression).map(Arc::new);
        known.insert(expression.into(), compiled.clone());
        compiled
    }

    fn selection_fails(&self, label: &str) -> Option<&str> {
        self.failing.get(label).map(String::as_str)
    }
}

impl Around {
    /// Forgets selectors that nobody holds.
    pub(crate) fn sweep(&mut self) {
        let known = self.selectors.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, found| found.as_ref().is_ok_and(|selector| Arc::strong_count(selector) > 1));
    }

    /// What open claims become on a node is taken for done.
    pub(crate) fn assume(&mut self, namespace: &str, open: &[OpenClaim], node: &str) {
        for open in open {
            let claim = Name::new(namespace, &open.claim);
            if let Some(volume) = &open.volume {
                let name = Name::cluster(volume);
                let Some(mut volume) = self.volumes.get(&name).cloned() else { continue };
                volume.spec.claim_ref = Some(ObjectReference {
                    namespace: Some(namespace.to_owned()),
                    name: Some(open.claim.clone()),
                    uid: Some(open.uid.clone()),
                    ..ObjectReference::default()
                });
                self.assumed_volumes.insert(name, volume);
            } else if let Some(mut seen) = self.claims.get(&claim).cloned() {
                let annotations = seen.metadata.annotations.get_or_insert_default();
                annotations.insert(SELECTED_NODE.to_owned(), node.to_owned());
                self.assumed_claims.insert(claim, seen);
            }
        }
    }

    /// It will not be done; true if anything was assumed.
    pub(crate) fn forget(&mut self, namespace: &str, claims: &[String]) -> bool {
        let before = self.assumed_volumes.len() + self.assumed_claims.len();
        for claim in claims {
            self.assumed_claims.remove(&Name::new(namespace, claim));
            self.assumed_volumes.retain(|_, volume| {
                let whose = volume.spec.claim_ref.as_ref();
                !whose.is_some_and(|whose| {
                    whose.name.as_ref() == Some(claim) && whose.namespace.as_deref() == Some(namespace)
                })
            });
        }
        before > self.assumed_volumes.len() + self.assumed_claims.len()
    }

    /// A volume is seen as it is: what was assumed of it shows, or it is gone.
    pub(crate) fn volume_seen(&mut self, name: &Name, volume: Option<&slim::PersistentVolume>) {
        if volume.is_none_or(|volume| volume.spec.claim_ref.is_some()) {
            self.assumed_volumes.remove(name);
        }
    }

    /// The same of a claim.
    pub(crate) fn claim_seen(&mut self, name: &Name, claim: Option<&slim::PersistentVolumeClaim>) {
        let shows = |claim: &slim::PersistentVolumeClaim| {
            let annotations = claim.metadata.annotations.as_ref();
            claim.spec.volume_name.is_some() || annotations.is_some_and(|all| all.contains_key(SELECTED_NODE))
        };
        if claim.is_none_or(shows) {
            self.assumed_claims.remove(name);
        }
    }

    /// Takes in a controller's object that says how many pods a gang has; none if the object is no such one.
    pub(crate) fn set_owner(&mut self, object: &Object) -> Option<(Gang, Name)> {
        if let Object::LeaderWorkerSet(set) = object {
            let name = Name::of(&set.metadata);
            return self.sets.set(name.clone(), (**set).clone()).then_some((Gang::LeaderWorkerSet, name));
        }
        let (gang, name, shape) = match object {
            Object::Job(job) => (Gang::Job, Name::of(&job.metadata), Shape::job(job)),
            Object::JobSet(set) => (Gang::JobSet, Name::of(&set.metadata), Shape::job_set(set)),
            Object::RayCluster(ray) => (Gang::RayCluster, Name::of(&ray.metadata), Shape::ray_cluster(ray)),
            Object::PodGroup(group) => (Gang::PodGroup, Name::of(&group.metadata), Shape::pod_group(group)),
            Object::TrainingJob { namespace, name, object, spec } => {
                (Gang::TrainingJob, Name::new(namespace, name), Shape::training_job(object, spec))
            }
            _ => return None,
        };
        let shape = shape.map_err(|bad| bad.to_string());
        self.shapes.entry(gang).or_default().set(name.clone(), shape).then_some((gang, name))
    }

    /// A controller's object is gone.
    pub(crate) fn owner_gone(&mut self, gang: Gang, name: &Name) -> bool {
        if gang == Gang::LeaderWorkerSet {
            return self.sets.gone(name);
        }
        self.shapes.entry(gang).or_default().gone(name)
    }

    /// A list of controllers' objects begins.
    pub(crate) fn owners_begun(&mut self, gang: Gang) {
        if gang == Gang::LeaderWorkerSet {
            return self.sets.list_begun();
        }
        self.shapes.entry(gang).or_default().list_begun();
    }

    /// It has ended.
    pub(crate) fn owners_ended(&mut self, gang: Gang) -> Vec<Name> {
        if gang == Gang::LeaderWorkerSet {
            return self.sets.list_ended();
        }
        self.shapes.entry(gang).or_default().list_ended()
    }

    /// How many pods a gang has, if its controller's object says so.
    pub(crate) fn shape(&self, gang: Gang, name: &Name) -> Option<&Result<Shape, String>> {
        self.shapes.get(&gang)?.get(name)
    }

    /// The value of a priority class.
    pub(crate) fn priority(&self, class: &str) -> Option<i32> {
        self.priorities.get(&Name::cluster(class)).map(|class| class.value)
    }
}
