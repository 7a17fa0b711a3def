//! The node's pods by what their processes show: uid, container id, and a static pod's hash.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::proc::cgroup::{ContainerId, PodUid};

/// Annotation of the mirror of a static pod: the uid by which the kubelet knows the pod.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// A pod's place in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIndex {
    /// Whether all pods of the node are in it.
    pub complete: bool,
    pods: HashMap<PodUid, PodName>,
    containers: HashMap<ContainerId, PodUid>,
    hashes: HashMap<PodUid, PodUid>,
}

impl PodIndex {
    /// Takes in a pod.
    pub fn add(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let Some(uid) = meta.uid.as_deref().and_then(PodUid::parse) else { return };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let name = PodName { namespace: text(&meta.namespace), name: text(&meta.name) };
        self.pods.insert(uid.clone(), name);
        let hash = meta.annotations.as_ref().and_then(|all| all.get(CONFIG_HASH));
        if let Some(hash) = hash.and_then(|hash| PodUid::parse(hash)) {
            self.hashes.insert(hash, uid.clone());
        }
        let status = pod.status.iter();
        let containers = status.flat_map(|status| {
            let lists = [
                &status.init_container_statuses,
                &status.container_statuses,
                &status.ephemeral_container_statuses,
            ];
            lists.into_iter().flatten().flatten()
        });
        for ContainerStatus { container_id, .. } in containers {
            // `containerd://<id>`
            if let Some((_, id)) = container_id.as_deref().and_then(|id| id.split_once("://")) {
                self.name_container(id, &uid);
            }
        }
    }

    /// A container is a pod's.
    pub fn name_container(&mut self, id: &str, pod: &PodUid) {
        if let Some(id) = ContainerId::parse(id) {
            self.containers.insert(id, pod.clone());
        }
    }

    /// The uid in the API of a pod as the kubelet knows it.
    pub fn uid_of(&self, pod: &PodUid) -> PodUid {
        self.hashes.get(pod).unwrap_or(pod).clone()
    }

    /// The pod that a container belongs to.
    pub fn of_container(&self, container: &ContainerId) -> Option<&PodUid> {
        self.containers.get(container)
    }

    /// What a pod is called.
    pub fn name(&self, pod: &PodUid) -> Option<&PodName> {
        self.pods.get(pod)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_found_by_uid_hash_and_container() {
        let uid = "0f3b1c2d-1111-2222-3333-444455556666";
        let hash = "00112233445566778899aabbccddeeff";
        let id = "c".repeat(64);
        let pod = json!({
            "metadata": {"namespace": "ns", "name": "n", "uid": uid, "annotations": {CONFIG_HASH: hash}},
            "status": {"containerStatuses": [{
                "name": "main", "containerID": format!("containerd://{id}"), "image": "", "imageID": "",
                "ready": true, "restartCount": 0,
            }]},
        });
        let mut index = PodIndex::default();
        index.add(&serde_json::from_value(pod).unwrap());
        let uid = PodUid::parse(uid).unwrap();
        assert_eq!(index.uid_of(&PodUid::parse(hash).unwrap()), uid);
        assert_eq!(index.uid_of(&uid), uid);
        assert_eq!(index.of_container(&ContainerId::parse(&id).unwrap()), Some(&uid));
        assert_eq!(index.name(&uid).unwrap().name, "n");
    }
}
