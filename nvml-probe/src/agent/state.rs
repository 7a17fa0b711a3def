//! What the agent knows at one moment.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    DeviceHealth, DeviceInfo, DeviceSample, Down, Driver,
    agent::{Fitness, PodIndex, Shares},
};

/// A device's name in the API: its uuid in small letters, which is a name there, and the same for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// The name of the device with this uuid.
    pub fn of_uuid(uuid: &str) -> Self {
        Self(uuid.to_ascii_lowercase().into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for DeviceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether NVML can be talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverState {
    /// Nothing was tried yet.
    Starting,
    /// It can.
    Up(Arc<Driver>),
    /// It cannot, for now.
    Down(Down),
}

impl DriverState {
    /// The driver, while it can be talked to.
    pub fn up(&self) -> Option<&Driver> {
        match self {
            Self::Up(driver) => Some(driver),
            Self::Starting | Self::Down(_) => None,
        }
    }
}

/// The node.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// Counts samples.
    pub tick: u64,
    /// Whether NVML can be talked to.
    pub driver: DriverState,
    /// The devices, by name: those that are there, and those that were there since the agent started.
    pub devices: Vec<DeviceState>,
    /// The pods they were attributed with.
    pub pods: Arc<PodIndex>,
}

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceState {
    /// Its name.
    pub name: DeviceName,
    /// What it is, as last read.
    pub info: Arc<DeviceInfo>,
    /// Memory that can be given out (S13), as at its discovery, in MiB.
    pub grantable_mib: u64,
    /// Memory that the driver keeps, as at its discovery, in MiB, rounded up.
    pub reserved_mib: u64,
    /// Whether it may take new pods (S18).
    pub fitness: Fitness,
    /// What it did last; none while it cannot be reached.
    pub sample: Option<DeviceSample>,
    /// Its counters, as last read.
    pub health: Option<Arc<DeviceHealth>>,
    /// The last XID that the driver has told of it, an application's too.
    pub last_xid: Option<u64>,
    /// Whose its memory is; none while it cannot be reached.
    pub shares: Option<Shares>,
}

impl NodeState {
    /// Nothing is known.
    pub fn starting() -> Self {
        Self { tick: 0, driver: DriverState::Starting, devices: Vec::new(), pods: Arc::default() }
    }

    /// A device by its name.
    pub fn device(&self, name: &str) -> Option<&DeviceState> {
        let found = self.devices.binary_search_by(|device| device.name.as_str().cmp(name));
        found.ok().and_then(|at| self.devices.get(at))
    }
}
