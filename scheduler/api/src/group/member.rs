//! The workload and the role of a pod, from the pod alone.

use crate::asked::Asked;
use crate::names::owner;
use crate::slim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// What holds the pods of a workload together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The label `berth.dev/workload`.
    Label,
    /// KAI's PodGroup.
    PodGroup,
    /// A JobSet.
    JobSet,
    /// A job of Kubeflow's training operator: the workload's name is the job's.
    TrainingJob,
    /// A RayCluster.
    RayCluster,
    /// A group of a LeaderWorkerSet: the workload's name is `<set>-<group>`.
    LeaderWorkerSet,
    /// A batch Job.
    Job,
    /// A ReplicaSet.
    ReplicaSet,
    /// A ReplicationController.
    ReplicationController,
    /// Nothing: one pod.
    Pod,
}

impl Kind {
    /// Whether all its pods are needed at once unless something else is said.
    pub const fn is_gang(self) -> bool {
        matches!(
            self,
            Self::PodGroup | Self::JobSet | Self::TrainingJob | Self::RayCluster | Self::LeaderWorkerSet
        )
    }
}

/// A workload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// What holds it together.
    pub kind: Kind,
    /// Its name among those of the kind.
    pub name: String,
}

/// A pod's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The workload.
    pub key: Key,
    /// The role.
    pub role: String,
}

/// The role of pods that have no name for it.
const ONLY_ROLE: &str = "main";

/// The workload and the role of a pod (S5): what its labels say, else its PodGroup, else its controller.
pub fn member(pod: &slim::Pod, asked: &Asked) -> Member {
    let (kind, name, role) = found(pod, asked);
    let role = asked.role.clone().or(role).unwrap_or_else(|| ONLY_ROLE.to_owned());
    Member { key: Key { namespace: pod.namespace().to_owned(), kind, name }, role }
}

fn found(pod: &slim::Pod, asked: &Asked) -> (Kind, String, Option<String>) {
    let label = |key| pod.label(key).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(name) = &asked.workload {
        return (Kind::Label, name.clone(), None);
    }
    if let Some(name) = &asked.pod_group {
        return (Kind::PodGroup, name.clone(), None);
    }
    if let Some(name) = label(owner::JOBSET) {
        return (Kind::JobSet, name, label(owner::JOBSET_REPLICATED_JOB));
    }
    if let Some(name) = label(owner::KUBEFLOW_JOB) {
        let role = label(owner::KUBEFLOW_REPLICA_TYPE).or(label(owner::KUBEFLOW_JOB_ROLE));
        return (Kind::TrainingJob, name, role.map(|role| role.to_lowercase()));
    }
    if let Some(name) = label(owner::RAY_CLUSTER) {
        return (Kind::RayCluster, name, label(owner::RAY_GROUP));
    }
    if let (Some(set), Some(group)) = (label(owner::LWS), label(owner::LWS_GROUP_INDEX)) {
        let leads = label(owner::LWS_WORKER_INDEX).as_deref() == Some("0");
        let role = if leads { "leader" } else { "worker" };
        return (Kind::LeaderWorkerSet, format!("{set}-{group}"), Some(role.to_owned()));
    }
    match controller(pod) {
        Some(owner) if owner.kind == "Job" && owner.api_version.starts_with("batch/") => {
            (Kind::Job, owner.name.clone(), None)
        }
        Some(owner) if owner.kind == "ReplicaSet" => (Kind::ReplicaSet, owner.name.clone(), None),
        Some(owner) if owner.kind == "ReplicationController" => {
            (Kind::ReplicationController, owner.name.clone(), None)
        }
        _ => (Kind::Pod, pod.name().to_owned(), None),
    }
}

/// The controller of a pod, if it has one.
pub(crate) fn controller(pod: &slim::Pod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}
