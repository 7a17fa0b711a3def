//! What changes from second to second: memory, processes, load.
//!
//! One sample is seven calls per device and reads nothing else: no files, no strings. The buffer for processes is kept
//! from sample to sample.

use std::fmt;

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use nvml_wrapper_sys::bindings::nvmlProcessInfo_t;
use serde::{Serialize, Serializer};

use crate::{
    raw::{self, ProcessList},
    reading::{Failure, Reading},
    session::Session,
    units::{Bytes, Celsius, Milliwatts, Percent, Pid},
};

/// What NVML writes where there is no id of a MIG instance.
const NO_INSTANCE: u32 = u32::MAX;
/// What NVML writes where the memory of a process is not known.
const NO_MEMORY: u64 = u64::MAX;

/// All devices at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The opening of NVML it was taken in: indices mean the same devices as in the inventory of the same number.
    pub session: u64,
    /// One for each index, in order.
    pub devices: Vec<DeviceSample>,
}

/// One device at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceSample {
    /// The device's index in this session.
    pub index: u32,
    /// Its memory.
    pub memory: Reading<Memory>,
    /// Its processes.
    pub processes: Reading<Processes>,
    /// How busy it was.
    pub utilisation: Reading<Utilisation>,
    /// The GPU's temperature.
    pub temperature: Reading<Celsius>,
    /// The power it draws.
    pub power: Reading<Milliwatts>,
}

/// A device's memory. `used + reserved + free = total`: the driver's own reserve is not in `used`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What is built in.
    pub total: Bytes,
    /// What the driver and the firmware keep for themselves.
    pub reserved: Bytes,
    /// What is taken by processes and by the driver on their behalf.
    pub used: Bytes,
    /// What is left.
    pub free: Bytes,
}

/// How busy a device was over the driver's last period (a sixth of a second to a second).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Utilisation {
    /// Part of the time in which a kernel ran.
    pub gpu: Percent,
    /// Part of the time in which memory was read or written.
    pub memory: Percent,
}

/// A device's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// Ordered by pid and MIG instance.
    pub list: Vec<GpuProcess>,
    /// The lists that could not be had, beside the one of compute processes, without which there is no reading at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingList>,
}

/// A list of processes that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingList {
    /// Which one.
    pub kinds: ProcessKinds,
    /// Why.
    pub reason: String,
}

/// A process that uses a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuProcess {
    /// Its number on the host.
    pub pid: Pid,
    /// What it does there.
    pub kinds: ProcessKinds,
    /// The memory it uses; unknown under some drivers and for MIG without the right.
    pub used: Reading<Bytes>,
    /// The MIG instance it runs in.
    pub gpu_instance: Option<u32>,
    /// The compute instance within that.
    pub compute_instance: Option<u32>,
}

/// What a process does on a device, written as nvidia-smi does: `C`, `G`, `M`, `M+C`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessKinds {
    /// It is a client of MPS.
    pub mps: bool,
    /// It computes.
    pub compute: bool,
    /// It draws.
    pub graphics: bool,
}

impl fmt::Display for ProcessKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.mps, "M"), (self.compute, "C"), (self.graphics, "G")];
        let letters: Vec<&str> =
            letters.into_iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect();
        f.pad(&letters.join("+"))
    }
}

impl Serialize for ProcessKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads all devices. The error is one that ends the session.
pub(crate) fn read(session: &Session, buffer: &mut Vec<nvmlProcessInfo_t>) -> Result<Sample, Failure> {
    let mut devices = Vec::with_capacity(session.device_count as usize);
    for (index, device) in session.devices() {
        let sample = match device {
            Ok(device) => DeviceSample::read(&session.nvml, index, &device, buffer),
            Err(failure) => DeviceSample::failed(index, failure),
        };
        if let Some(failure) = sample.memory.failure().filter(|failure| failure.is_session_gone()) {
            return Err(failure.clone());
        }
        devices.push(sample);
    }
    Ok(Sample { session: session.number, devices })
}

impl DeviceSample {
    /// Whether the device is out of reach (S18).
    pub fn is_lost(&self) -> bool {
        self.memory.failure().is_some_and(Failure::is_device_lost)
    }

    fn read(nvml: &Nvml, index: u32, device: &Device<'_>, buffer: &mut Vec<nvmlProcessInfo_t>) -> Self {
        let memory = Reading::from(device.memory_info()).map(Memory::from);
        if let Some(failure) = memory.failure().filter(|failure| failure.is_device_lost()) {
            // Each further call to a lost device can take long, and gives the same.
            return Self::failed(index, failure.clone());
        }
        Self {
            index,
            memory,
            processes: Processes::read(nvml, device, buffer).into(),
            utilisation: Reading::from(device.utilization_rates())
                .map(|rates| Utilisation { gpu: Percent(rates.gpu), memory: Percent(rates.memory) }),
            temperature: Reading::from(device.temperature(TemperatureSensor::Gpu)).map(Celsius),
            power: Reading::from(device.power_usage()).map(Milliwatts),
        }
    }

    fn failed(index: u32, failure: Failure) -> Self {
        Self {
            index,
            memory: Reading::Failed(failure.clone()),
            processes: Reading::Failed(failure.clone()),
            utilisation: Reading::Failed(failure.clone()),
            temperature: Reading::Failed(failure.clone()),
            power: Reading::Failed(failure),
        }
    }
}

impl From<nvml_wrapper::struct_wrappers::device::MemoryInfo> for Memory {
    fn from(info: nvml_wrapper::struct_wrappers::device::MemoryInfo) -> Self {
        Self {
            total: Bytes(info.total),
            reserved: Bytes(info.reserved),
            used: Bytes(info.used),
            free: Bytes(info.free),
        }
    }
}

impl Processes {
    fn read(
        nvml: &Nvml,
        device: &Device<'_>,
        buffer: &mut Vec<nvmlProcessInfo_t>,
    ) -> Result<Self, NvmlError> {
        let mut processes = Self::default();
        for (list, kinds) in LISTS {
            match raw::processes(nvml, device, list, buffer) {
                Ok(found) => {
                    for process in found {
                        processes.add(process, kinds);
                    }
                }
                Err(error) if kinds.compute => return Err(error),
                Err(NvmlError::NotSupported) => {}
                Err(error) => {
                    processes.missing.push(MissingList { kinds, reason: Failure::from(error).to_string() });
                }
            }
        }
        processes.list.sort_by_key(|process| (process.pid, process.gpu_instance, process.compute_instance));
        Ok(processes)
    }

    /// A process that is in several lists is one process; its memory is the same in each, not a sum.
    fn add(&mut self, found: &nvmlProcessInfo_t, kinds: ProcessKinds) {
        let instance = |id: u32| (id != NO_INSTANCE).then_some(id);
        let process = GpuProcess {
            pid: Pid(found.pid),
            kinds,
            used: match found.usedGpuMemory {
                NO_MEMORY => Reading::Unsupported,
                bytes => Reading::Known(Bytes(bytes)),
            },
            gpu_instance: instance(found.gpuInstanceId),
            compute_instance: instance(found.computeInstanceId),
        };
        let same = self.list.iter_mut().find(|known| {
            known.pid == process.pid
                && known.gpu_instance == process.gpu_instance
                && known.compute_instance == process.compute_instance
        });
        let Some(known) = same else {
            self.list.push(process);
            return;
        };
        known.kinds.mps |= kinds.mps;
        known.kinds.compute |= kinds.compute;
        known.kinds.graphics |= kinds.graphics;
        let larger = match (known.used.known(), process.used.known()) {
            (Some(known), Some(other)) => other > known,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if larger {
            known.used = process.used;
        }
    }
}

const LISTS: [(ProcessList, ProcessKinds); 3] = [
    (ProcessList::Compute, ProcessKinds { mps: false, compute: true, graphics: false }),
    (ProcessList::Graphics, ProcessKinds { mps: false, compute: false, graphics: true }),
    (ProcessList::Mps, ProcessKinds { mps: true, compute: false, graphics: false }),
];
