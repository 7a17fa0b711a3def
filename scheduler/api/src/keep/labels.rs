//! Labels and annotations of one pod apart from those that it shares.

use super::Owner;
use crate::names::{self, owner};
use std::collections::BTreeMap;

/// Labels that tell the pods of one controller, or the Jobs of one template, apart. They stay with the pod, so that the rest of
/// its labels can be shared.
pub(super) const NUMBERING_LABELS: [&str; 6] = [
    "batch.kubernetes.io/job-completion-index",
    "apps.kubernetes.io/pod-index",
    "training.kubeflow.org/replica-index",
    "jobset.sigs.k8s.io/job-index",
    "jobset.sigs.k8s.io/job-global-index",
    owner::LWS_WORKER_INDEX,
];

/// True for a label that tells the pods of one controller apart.
pub fn numbers_pods(key: &str) -> bool {
    NUMBERING_LABELS.contains(&key) || key == POD_NAME_LABEL
}

/// The name of a StatefulSet's pod.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// Labels whose value is known without them, as a rule; where it is, a bit says that the label is there.
pub(super) const DERIVED_LABELS: [(&str, Source); 5] = [
    ("batch.kubernetes.io/job-name", Source::OwnerName),
    ("job-name", Source::OwnerName),
    ("batch.kubernetes.io/controller-uid", Source::OwnerUid),
    ("controller-uid", Source::OwnerUid),
    (POD_NAME_LABEL, Source::PodName),
];

/// What a derived label repeats.
#[derive(Clone, Copy)]
pub(super) enum Source {
    OwnerName,
    OwnerUid,
    PodName,
}

impl Source {
    pub(super) fn value<'a>(self, name: &'a str, owner: Option<&'a Owner>) -> Option<&'a str> {
        match self {
            Self::OwnerName => owner.map(|owner| owner.name.as_str()),
            Self::OwnerUid => owner.map(|owner| owner.uid.as_str()),
            Self::PodName => Some(name),
        }
    }
}

/// Annotations that differ from pod to pod: what Berth writes.
pub(super) const OWN_ANNOTATIONS: [&str; 3] =
    [names::written::RESERVATION, names::written::EVICTED, names::written::STALE_SINCE];

/// Annotations of others that are read.
pub(super) const OTHERS_ANNOTATIONS: [&str; 8] = [
    names::kai::POD_GROUP,
    names::kai::GPU_FRACTION,
    names::kai::GPU_MEMORY,
    names::kai::GPU_DEVICES,
    names::kai::GPU_CONTAINER,
    names::kai::TOPOLOGY_REQUIRED,
    names::kai::TOPOLOGY_PREFERRED,
    owner::LWS_SIZE,
];

/// Labels or annotations.
pub(super) type Map = BTreeMap<String, String>;
/// Labels or annotations of one pod only.
pub(super) type Own = Box<[(&'static str, Box<str>)]>;

/// Takes the entries with these keys out of a map.
pub(super) fn take(map: &mut Map, keys: &[&'static str]) -> Own {
    keys.iter().filter_map(|key| Some((*key, map.remove(*key)?.into()))).collect()
}

/// Takes out the labels that repeat what is known; the bits say which.
pub(super) fn take_derived(labels: &mut Map, name: &str, owner: Option<&Owner>) -> u8 {
    let mut bits = 0;
    for (at, (key, source)) in DERIVED_LABELS.iter().enumerate() {
        if labels.get(*key).is_some_and(|value| source.value(name, owner) == Some(value)) {
            labels.remove(*key);
            bits |= 1 << at;
        }
    }
    bits
}
