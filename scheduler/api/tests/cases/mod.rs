//! Helpers, and the cases by rule.

mod asked;
mod cel;
mod claims;
mod group;
mod node;
mod organisation;
mod pod;
mod slice;
mod volume;
mod workload;

use berth_api::convert::Surroundings;
use berth_api::slim;
use std::collections::BTreeMap;

/// A cluster of objects to read others with.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) claims: Vec<slim::PersistentVolumeClaim>,
    pub(crate) volumes: Vec<slim::PersistentVolume>,
    pub(crate) classes: Vec<slim::StorageClass>,
    pub(crate) namespaces: Vec<slim::Namespace>,
    pub(crate) device_claims: Vec<slim::ResourceClaim>,
    pub(crate) device_classes: Vec<slim::DeviceClass>,
}

fn has_name(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, name: &str) -> bool {
    meta.name.as_deref() == Some(name)
}

impl Surroundings for Around {
    fn claim(&self, namespace: &str, name: &str) -> Option<&slim::PersistentVolumeClaim> {
        let own = |claim: &&slim::PersistentVolumeClaim| {
            claim.metadata.namespace.as_deref() == Some(namespace) && has_name(&claim.metadata, name)
        };
        self.claims.iter().find(own)
    }
    fn volume(&self, name: &str) -> Option<&slim::PersistentVolume> {
        self.volumes.iter().find(|volume| has_name(&volume.metadata, name))
    }
    fn class(&self, name: &str) -> Option<&slim::StorageClass> {
        self.classes.iter().find(|class| has_name(&class.metadata, name))
    }
    fn volumes_of(&self, class: &str) -> Vec<&slim::PersistentVolume> {
        let of_class = |volume: &&slim::PersistentVolume| {
            volume.spec.storage_class_name.as_deref().unwrap_or_default() == class
        };
        self.volumes.iter().filter(of_class).collect()
    }
    fn device_claim(&self, namespace: &str, name: &str) -> Option<&slim::ResourceClaim> {
        let own = |claim: &&slim::ResourceClaim| {
            claim.metadata.namespace.as_deref() == Some(namespace) && has_name(&claim.metadata, name)
        };
        self.device_claims.iter().find(own)
    }
    fn device_class(&self, name: &str) -> Option<&slim::DeviceClass> {
        self.device_classes.iter().find(|class| has_name(&class.metadata, name))
    }
    fn namespaces(&self) -> Vec<&slim::Namespace> {
        self.namespaces.iter().collect()
    }
}

/// An object from YAML.
pub(crate) fn object<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// A pod `team-a/p` with these labels and annotations, as `key: value` lines, and this spec in YAML flow.
pub(crate) fn pod(marks: &str, spec: &str) -> slim::Pod {
    let mut pod: slim::Pod = object(&format!(
        "metadata: {{name: p, namespace: team-a, uid: u1, creationTimestamp: '2026-11-20T10:00:00Z'}}\nspec: {spec}"
    ));
    let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
    for line in marks.split('|').map(str::trim).filter(|line| !line.is_empty()) {
        let (place, rest) = line.split_once(' ').expect("place key=value");
        let (key, value) = rest.split_once('=').expect("key=value");
        let map = if place == "label" { &mut labels } else { &mut annotations };
        map.insert(key.to_owned(), value.to_owned());
    }
    pod.metadata.labels = Some(labels);
    pod.metadata.annotations = Some(annotations);
    pod
}
