//! What is to be done in the cluster.

use crate::change::Name;
use crate::mirror::Status;
use crate::trace::Trace;
use berth_api::convert::OpenClaim;
use berth_model::{GpuGrant, GpuMemoryMib, GpuRequest, Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A pod by name and uid, so that nothing is done to another of the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PodRef {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
}

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod to be bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// The pod.
    pub pod: PodRef,
    /// Its node.
    pub node: Arc<str>,
    /// What is written on its claim of Berth's devices, if it has one; without, the kubelet picks the devices.
    pub allocation: Option<Box<Allocation>>,
    /// Claims of its, by name: the bind waits until all of them have their volumes.
    pub claims: Vec<String>,
    /// Those among them that waited for their first consumer, with what they are to become: the volume is bound to the claim
    /// first, or the node is written on it so that one is made there (S11).
    pub open: Vec<OpenClaim>,
    /// Where it is traced what becomes of it.
    pub trace: Trace,
}

/// What a claim is given of the devices of the pod's node (S13, S14).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allocation {
    /// The claim, in the pod's namespace.
    pub claim: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// The devices.
    pub devices: Vec<GivenDevice>,
    /// The most that may be used of each, if that is not all of it.
    pub limit: Option<GpuMemoryMib>,
}

/// What a claim gets of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GivenDevice {
    /// The claim's request that it is for.
    pub request: Box<str>,
    /// The device.
    pub name: Box<str>,
    /// How much of it.
    pub memory: GpuMemoryMib,
}

/// Where room is kept for a pod, as written on it (S23, S33).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The node.
    pub node: String,
    /// The devices.
    #[serde(default)]
    pub gpus: GpuGrant,
    /// When the last of those that leave must be gone, in milliseconds since 1970.
    pub until: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
    /// Workloads that were stopped for it (S25), as in [`Victim`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Victim>,
}

/// A workload that was stopped for another, by what holds its pods together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Victim {
    /// Its namespace.
    pub namespace: String,
    /// What holds it together, as in `Job`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Why a pod is stopped, for those who ask afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// By which rule, in a word.
    pub cause: &'static str,
    /// The workload that it makes room for, if any, in words.
    pub beneficiary: Option<String>,
    /// The same in a sentence.
    pub text: String,
}

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Bind pods. Several in one are a gang's: if some fail, the gang is completed or undone (S5).
    Bind(Vec<Bind>),
    /// Tell a pod to end, by the Eviction API, with this long to do it (S23).
    Evict {
        /// The pod.
        pod: PodRef,
        /// How long it may take, at least 1 s.
        grace: Millis,
        /// Why.
        notice: Notice,
    },
    /// Write down that room is kept for a pod: as `nominatedNodeName`, and whole in an annotation (S33).
    Reserve {
        /// The pod.
        pod: PodRef,
        /// Where and until when.
        reservation: Reservation,
    },
    /// Take both back.
    Release {
        /// The pod.
        pod: PodRef,
    },
    /// Say why pods are pending (S29): the condition `PodScheduled`, and one Event for all.
    Pending {
        /// The pods.
        pods: Vec<PodRef>,
        /// `Unschedulable`, or `SchedulingGated`.
        reason: &'static str,
        /// In a sentence.
        message: String,
    },
    /// Write what a pool, a department or a project should say of itself.
    Status(Status),
    /// Make the namespace of a project.
    Namespace {
        /// Its name.
        name: Box<str>,
        /// The project.
        project: Box<str>,
    },
    /// Write the finalizers of a project, if it is still of this version.
    Finalizers {
        /// The project.
        project: Name,
        /// Its version.
        version: String,
        /// All of them.
        finalizers: Vec<String>,
    },
    /// Write on a pod since when its gang has been below its minimum, or that it is not (S27, S33).
    StaleSince {
        /// The pod.
        pod: PodRef,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// Make the template of claims for a part of a device that pods ask for by annotation, if it is not there.
    Template {
        /// The pods' namespace.
        namespace: Arc<str>,
        /// What they ask for.
        gpu: GpuRequest,
    },
    /// Say that something is wrong with a pod; an Event.
    Warn {
        /// The pod.
        pod: PodRef,
        /// A word.
        reason: &'static str,
        /// In a sentence.
        message: String,
    },
}
