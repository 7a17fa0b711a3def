//! What the engine decides.

use crate::{DeviceIndex, DeviceMask, GpuMemoryMib, Millis, NodeId, PodId, Reason, Timestamp, WorkloadId};
use serde::{Deserialize, Serialize};

/// How much work one call may do, in steps (one step = one attempt to start a workload), never in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget {
    /// Steps.
    pub steps: u64,
}

impl Budget {
    /// As much as there is to do.
    pub const UNLIMITED: Self = Self { steps: u64::MAX };
}

/// The devices a pod gets on its node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GpuGrant {
    /// None.
    #[default]
    None,
    /// Whole devices.
    Whole(DeviceMask),
    /// A part of each of these devices.
    Shared {
        /// The devices.
        devices: DeviceMask,
        /// Guaranteed on each (S13).
        each: GpuMemoryMib,
        /// The most that may be used on each (S14).
        limit: GpuMemoryMib,
    },
}

impl GpuGrant {
    /// The devices, whole or shared.
    pub const fn devices(self) -> DeviceMask {
        match self {
            Self::None => DeviceMask(0),
            Self::Whole(devices) | Self::Shared { devices, .. } => devices,
        }
    }
}

/// A pod's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// The devices on it.
    pub gpus: GpuGrant,
}

/// Why a pod is stopped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Another project takes back what is its own (S22).
    Reclaim,
    /// A workload of higher priority in the same project needs the room (S21).
    Preempt,
    /// It is moved, so that fragments of free room come together (S26).
    Consolidate,
    /// Its gang has been below its minimum for too long (S27).
    Stale,
    /// It uses more device memory than it was given (S19).
    OverLimit,
    /// It, or another of its gang, was bound and did not run in time (S5).
    NotStarted,
}

/// Something that an administrator should look at; nothing is stopped for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Warning {
    /// A pod uses more of a device than its limit (S19).
    OverLimit {
        /// The device.
        device: DeviceIndex,
        /// What it uses.
        used: GpuMemoryMib,
        /// What it may use.
        limit: GpuMemoryMib,
    },
    /// A pod is still there although its grace ended 30 s ago (S23).
    OutlivesGrace {
        /// When it should have been gone.
        until: Timestamp,
    },
}

/// One decision. The engine already counts on it; what fails is told to it as an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Bind a pod. The pods of a gang come one after the other in one list of decisions.
    Place {
        /// The pod.
        pod: PodId,
        /// Where.
        at: Placement,
    },
    /// Stop a pod (S20 to S23).
    Evict {
        /// The victim.
        pod: PodId,
        /// How long it may take.
        grace: Millis,
        /// On whose behalf; none = for its own sake (S19, S27).
        beneficiary: Option<WorkloadId>,
        /// By which rule.
        cause: Cause,
    },
    /// Room that will be free soon is kept for a pod (S23), until it is placed or the room is given up. One that runs is to be
    /// moved there: it is stopped when the room is free (S26).
    Reserve {
        /// The pod.
        pod: PodId,
        /// Where.
        at: Placement,
        /// When the last of those that leave must be gone.
        until: Timestamp,
    },
    /// The room that was kept for a pod is given up: the pod waits like any other, or stays if it was only to be moved.
    Release {
        /// The pod.
        pod: PodId,
    },
    /// Something is wrong with a pod; once when it begins.
    Warn {
        /// The pod.
        pod: PodId,
        /// What.
        warning: Warning,
    },
    /// Why a workload is pending; once when its reason changes (S29).
    Report {
        /// The workload.
        workload: WorkloadId,
        /// The dominant reason.
        reason: Box<Reason>,
    },
}
