//! What pods are read with: claims, volumes, classes, namespaces, priorities, and the objects of their controllers.

use super::seen::Seen;
use crate::change::{Name, Object};
use berth_api::convert::Surroundings;
use berth_api::group::{Kind as Gang, Shape};
use berth_api::slim;
use std::collections::{BTreeMap, BTreeSet};

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
        self.claims.get(&Name::new(namespace, name))
    }

    fn volume(&self, name: &str) -> Option<&slim::PersistentVolume> {
        self.volumes.get(&Name::cluster(name))
    }

    fn class(&self, name: &str) -> Option<&slim::StorageClass> {
        self.classes.get(&Name::cluster(name))
    }

    fn free_volumes(&self, class: &str) -> Vec<&slim::PersistentVolume> {
        let free = |volume: &&slim::PersistentVolume| {
            volume.status.phase.as_deref() != Some("Bound")
                && volume.spec.storage_class_name.as_deref().unwrap_or_default() == class
        };
        self.volumes.iter().map(|(_, volume)| volume).filter(free).collect()
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
}

impl Around {
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
