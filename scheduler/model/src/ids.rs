//! Identifiers. Whoever feeds the events chooses them; they are stable and they break ties.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The identifier as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A node.
    NodeId(u32), "node#"
);
id!(
    /// A node pool (S1).
    PoolId(u32), "pool#"
);
id!(
    /// A department (S2).
    DepartmentId(u32), "department#"
);
id!(
    /// A project (S2).
    ProjectId(u32), "project#"
);
id!(
    /// A workload (S5).
    WorkloadId(u64), "workload#"
);
id!(
    /// A disruption budget (S20).
    BudgetId(u32), "budget#"
);
id!(
    /// The index of a GPU device on its node.
    DeviceIndex(u8), "gpu#"
);

/// One pod of a workload: the `index`-th of its role.
///
/// Pods of one role are identical (S5), so the pair (role, index) names a pod without a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PodId {
    /// The workload.
    pub workload: WorkloadId,
    /// Index into [`crate::WorkloadSpec::roles`].
    pub role: u16,
    /// Which pod of the role, from 0 to `count - 1`.
    pub index: u32,
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.workload, self.role, self.index)
    }
}

/// A queue: a project or a department (S2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueueId {
    /// A department.
    Department(DepartmentId),
    /// A project.
    Project(ProjectId),
}

/// A set of devices of one node, as bits; a node has at most 64 devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceMask(pub u64);

impl DeviceMask {
    /// The set with one device.
    pub const fn one(device: DeviceIndex) -> Self {
        Self(1 << device.0)
    }

    /// How many devices are in the set.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// True if the set has no device.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if `device` is in the set.
    pub const fn contains(self, device: DeviceIndex) -> bool {
        self.0 >> device.0 & 1 == 1
    }

    /// The set with `device` added.
    #[must_use]
    pub const fn with(self, device: DeviceIndex) -> Self {
        Self(self.0 | 1 << device.0)
    }

    /// The devices of the set, lowest index first.
    pub fn iter(self) -> impl Iterator<Item = DeviceIndex> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let index = rest.trailing_zeros() as u8;
                rest &= rest - 1;
                DeviceIndex(index)
            })
        })
    }
}

impl FromIterator<DeviceIndex> for DeviceMask {
    fn from_iter<I: IntoIterator<Item = DeviceIndex>>(devices: I) -> Self {
        devices.into_iter().fold(Self::default(), Self::with)
    }
}
