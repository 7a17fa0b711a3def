//! The script: what the library says, as a JSON file that may be replaced at any time.
//!
//! Replace it by renaming a finished file over it. What a device does not have in the script it does not support.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that the library says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The driver's version.
    pub driver_version: String,
    /// The version of CUDA, as NVML writes it (12040 is 12.4).
    pub cuda_version: i32,
    /// While set, `nvmlInit_v2` and every other call give this error: a driver that is not loaded.
    pub down: Option<ErrorCode>,
    /// Another number is another load of the driver: what was opened before is void.
    pub boot: u64,
    /// Calls that fail on every device, by name.
    pub failures: BTreeMap<String, ErrorCode>,
    /// The devices, by index.
    pub devices: Vec<Device>,
    /// Events, oldest first; the file grows by appending. A set gets those that came after it was made.
    pub events: Vec<Event>,
}

/// A device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// `GPU-...`
    pub uuid: String,
    /// The product.
    pub name: String,
    /// `00000000:1B:00.0`
    pub bus_id: String,
    /// The number of its device file.
    pub minor: Option<u32>,
    /// Its NUMA nodes, as a mask.
    pub numa_mask: Option<u64>,
    /// Its compute capability.
    pub compute_capability: Option<(i32, i32)>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Percent busy: the GPU, its memory.
    pub utilisation: Option<(u32, u32)>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Milliwatts.
    pub power_mw: Option<u32>,
    /// Milliwatts.
    pub power_limit_mw: Option<u32>,
    /// Its processes.
    pub processes: Vec<Process>,
    /// Its ECC counters.
    pub ecc: Option<Ecc>,
    /// Remapped rows: corrected, uncorrected, pending, failed.
    pub remapped_rows: Option<(u32, u32, u32, u32)>,
    /// What it asks for to recover: 0 nothing, 1 a reset.
    pub recovery_action: Option<u32>,
    /// The MIG mode, if it has one.
    pub mig: Option<Mig>,
    /// The bus ids at the other ends of its active NVLinks.
    pub nvlinks: Vec<String>,
    /// The level of the common ancestor with another device, by that one's index (10 a switch, 50 another socket).
    pub topology: BTreeMap<u32, u32>,
    /// The kinds of events that it has, as bits; none is "not supported".
    pub event_types: Option<u64>,
    /// Every call on it fails with this: `gpu_is_lost`.
    pub state: Option<ErrorCode>,
    /// Calls that fail on it, by name.
    pub failures: BTreeMap<String, ErrorCode>,
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// The driver's own.
    pub reserved: u64,
    /// What is taken.
    pub used: u64,
}

/// A process on a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// The lists it is in, of `C`, `G` and `M`.
    pub kinds: String,
    /// Bytes; none is "not available".
    pub used: Option<u64>,
    /// Its MIG instance: the GPU instance's id, the compute instance's.
    pub instance: Option<(u32, u32)>,
}

/// Counters of ECC errors, corrected and uncorrected.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    /// Whether ECC is on.
    pub enabled: bool,
    /// Since the driver was loaded.
    pub volatile: (u64, u64),
    /// Over the device's life.
    pub aggregate: (u64, u64),
}

/// A device that can be split.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mig {
    /// Whether it is.
    pub enabled: bool,
    /// Whether it will be after a reset.
    pub pending: bool,
    /// Its places for instances; an empty one is `null`.
    pub instances: Vec<Option<MigInstance>>,
}

/// A MIG instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigInstance {
    /// `MIG-...`
    pub uuid: String,
    /// The product.
    pub name: String,
    /// The GPU instance's id, the compute instance's.
    pub ids: (u32, u32),
    /// Its memory.
    pub memory: Memory,
    /// Its multiprocessors.
    pub multiprocessors: u32,
}

/// An event.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The device's index.
    pub device: u32,
    /// The kind's bit (8 is an XID).
    pub kind: u64,
    /// Its number.
    pub data: u64,
}

/// An error that a call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The session is void.
    Uninitialized,
    /// There is no such value.
    NotSupported,
    /// The caller may not.
    NoPermission,
    /// There is no driver.
    DriverNotLoaded,
    /// It took too long.
    Timeout,
    /// The library is older than the function.
    FunctionNotFound,
    /// The device fell off the bus.
    GpuIsLost,
    /// The device must be reset.
    ResetRequired,
    /// Library and driver differ.
    LibRmVersionMismatch,
    /// Anything.
    Unknown,
}
