//! Controllers' own objects, as far as they say how many pods a gang has (S5).
//!
//! Their CRDs may not be there: watch those that are. What a type is worth is read by [`crate::group::Shape`].

use super::{meta, null_as_default, resource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! owner {
    ($(#[$doc:meta])* $type:ident, $spec:ident, $group:literal, $version:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct $type {
            /// Metadata, without managed fields.
            #[serde(deserialize_with = "meta::read")]
            pub metadata: ObjectMeta,
            /// How many pods.
            #[serde(default, deserialize_with = "null_as_default")]
            pub spec: $spec,
        }

        resource!($type, stringify!($type), $group, $version, $plural, NamespaceResourceScope);
    };
}

owner!(
    /// A batch Job.
    Job, JobSpec, "batch", "v1", "jobs"
);
owner!(
    /// A JobSet; a TrainJob of Kubeflow Trainer makes one too.
    JobSet, JobSetSpec, "jobset.x-k8s.io", "v1alpha2", "jobsets"
);
owner!(
    /// A LeaderWorkerSet.
    LeaderWorkerSet, LeaderWorkerSetSpec, "leaderworkerset.x-k8s.io", "v1", "leaderworkersets"
);
owner!(
    /// A RayCluster; RayJobs and RayServices make one too.
    RayCluster, RayClusterSpec, "ray.io", "v1", "rayclusters"
);
owner!(
    /// A PodGroup of KAI.
    PodGroup, PodGroupSpec, "scheduling.run.ai", "v2alpha2", "podgroups"
);
owner!(
    /// A PyTorchJob of Kubeflow's training operator.
    PyTorchJob, TrainingSpec, "kubeflow.org", "v1", "pytorchjobs"
);
owner!(
    /// A TFJob of Kubeflow's training operator.
    TFJob, TrainingSpec, "kubeflow.org", "v1", "tfjobs"
);
owner!(
    /// An MPIJob.
    MPIJob, TrainingSpec, "kubeflow.org", "v2beta1", "mpijobs"
);
owner!(
    /// An XGBoostJob of Kubeflow's training operator.
    XGBoostJob, TrainingSpec, "kubeflow.org", "v1", "xgboostjobs"
);
owner!(
    /// A PaddleJob of Kubeflow's training operator.
    PaddleJob, TrainingSpec, "kubeflow.org", "v1", "paddlejobs"
);
owner!(
    /// A JAXJob of Kubeflow's training operator.
    JAXJob, TrainingSpec, "kubeflow.org", "v1", "jaxjobs"
);

/// How many pods a Job has.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// At a time; default 1.
    pub parallelism: Option<i32>,
    /// In all.
    pub completions: Option<i32>,
}

/// The jobs of a JobSet.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSetSpec {
    /// Jobs.
    #[serde(deserialize_with = "null_as_default")]
    pub replicated_jobs: Vec<ReplicatedJob>,
    /// Whether they are made one after the other.
    pub startup_policy: Option<StartupPolicy>,
}

/// In which order the jobs of a JobSet are made.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartupPolicy {
    /// `AnyOrder`, or `InOrder`: each once the ones before it are ready.
    pub startup_policy_order: Option<String>,
}

/// How a LeaderWorkerSet starts its groups.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderWorkerSetSpec {
    /// `LeaderCreated`, or `LeaderReady`: the workers are made once the leader is ready.
    pub startup_policy: Option<String>,
}

/// Equal jobs of a JobSet.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicatedJob {
    /// Name, which is the role.
    pub name: String,
    /// How many jobs; default 1.
    pub replicas: Option<i32>,
    /// The job.
    pub template: JobTemplate,
}

/// The job of a replicated job.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobTemplate {
    /// How many pods.
    pub spec: JobSpec,
}

/// The groups of a RayCluster.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RayClusterSpec {
    /// Workers; the head is one pod besides.
    #[serde(deserialize_with = "null_as_default")]
    pub worker_group_specs: Vec<RayWorkerGroup>,
}

/// A group of Ray workers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RayWorkerGroup {
    /// Name, which is the role.
    pub group_name: String,
    /// How many there are to be.
    pub replicas: Option<i32>,
    /// How many there must be.
    pub min_replicas: Option<i32>,
    /// Pods of each; default 1.
    pub num_of_hosts: Option<i32>,
    /// Whether there are to be none for now.
    pub suspend: Option<bool>,
}

/// The minimum of a PodGroup.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGroupSpec {
    /// Of all its pods.
    pub min_member: Option<i32>,
    /// Of each subgroup.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_groups: Vec<SubGroup>,
}

/// A subgroup of a PodGroup.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubGroup {
    /// Name, which is the role.
    pub name: String,
    /// Of its pods.
    pub min_member: Option<i32>,
}

/// The replicas of a training job, under whichever name its kind has for them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrainingSpec {
    /// By type of replica.
    #[serde(
        alias = "pytorchReplicaSpecs",
        alias = "tfReplicaSpecs",
        alias = "mpiReplicaSpecs",
        alias = "xgbReplicaSpecs",
        alias = "paddleReplicaSpecs",
        alias = "jaxReplicaSpecs",
        deserialize_with = "null_as_default"
    )]
    pub replica_specs: BTreeMap<String, ReplicaSpec>,
    /// Of an MPIJob: `AtStartup`, or `WaitForWorkersReady`: the launcher is made once the workers are ready.
    pub launcher_creation_policy: Option<String>,
    /// Bounds of workers that come and go.
    pub elastic_policy: Option<ElasticPolicy>,
    /// A minimum of all pods.
    pub run_policy: Option<RunPolicy>,
}

/// Replicas of one type.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSpec {
    /// How many; default 1.
    pub replicas: Option<i32>,
}

/// Bounds of workers that come and go.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ElasticPolicy {
    /// At least so many workers.
    pub min_replicas: Option<i32>,
}

/// How the job is run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunPolicy {
    /// Its wishes for the scheduler.
    pub scheduling_policy: Option<SchedulingPolicy>,
}

/// A training job's wishes for the scheduler.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulingPolicy {
    /// At least so many pods of all types together.
    pub min_available: Option<i32>,
}
