//! One opening of NVML: from `nvmlInit` to `nvmlShutdown`.
//!
//! A session never heals: when the driver is replaced, or a device that was lost comes back, the handles of the old
//! session stay dead, and [`crate::Probe`] opens a new one. Devices are asked for by index at each use, which costs a
//! look-up in the library's own table, so that no handle is kept beyond a call.

use std::{ffi::OsStr, mem, path::Path, sync::Arc};

use nvml_wrapper::{Device, Nvml, error::NvmlError};
use serde::Serialize;

use crate::{
    events::Events,
    raw,
    reading::{Failure, Reading},
};

/// The symbols of the driver's memory limits per cgroup (S14), which nvml-wrapper does not know.
const MEMORY_LIMIT_SYMBOLS: [&str; 4] = [
    "nvmlDeviceSetMemoryLimits_v1",
    "nvmlDeviceGetMemoryLimits_v1",
    "nvmlDeviceSetMemoryLimits",
    "nvmlDeviceGetMemoryLimits",
];

/// The driver behind a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// The driver's version, such as `580.82.07`.
    pub version: Reading<String>,
    /// The version of CUDA that it brings, as `major.minor`.
    pub cuda: Reading<String>,
    /// The version of the library itself.
    pub library: Reading<String>,
    /// The functions for memory limits per cgroup that the library has; none means that limits are only watched (S19).
    pub memory_limit_symbols: Vec<&'static str>,
}

/// An open NVML.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counts openings: what was read under another number does not belong together.
    pub(crate) number: u64,
    pub(crate) nvml: Arc<Nvml>,
    pub(crate) device_count: u32,
    pub(crate) driver: Driver,
    pub(crate) events: Events,
}

impl Session {
    pub(crate) fn open(library: Option<&Path>, number: u64) -> Result<Self, NvmlError> {
        let mut builder = Nvml::builder();
        if let Some(path) = library {
            builder.lib_path(path.as_os_str());
        }
        let nvml = builder.init()?;
        if nvml.lib().nvmlShutdown.is_err() {
            // Dropping it would panic for want of the symbol.
            mem::forget(nvml);
            return Err(NvmlError::FailedToLoadSymbol("nvmlShutdown: this is no NVML".to_owned()));
        }
        let device_count = nvml.device_count()?;
        let nvml = Arc::new(nvml);
        let driver = Driver::read(&nvml);
        let events = Events::start(&nvml, device_count);
        Ok(Self { number, nvml, device_count, driver, events })
    }

    /// The devices by index; one that cannot be had is its failure.
    pub(crate) fn devices(&self) -> impl Iterator<Item = (u32, Result<Device<'_>, Failure>)> {
        (0..self.device_count).map(|index| (index, self.nvml.device_by_index(index).map_err(Failure::from)))
    }
}

impl Driver {
    fn read(nvml: &Nvml) -> Self {
        Self {
            version: nvml.sys_driver_version().into(),
            cuda: Reading::from(nvml.sys_cuda_driver_version())
                .map(|version| format!("{}.{}", version / 1000, version % 1000 / 10)),
            library: nvml.sys_nvml_version().into(),
            memory_limit_symbols: MEMORY_LIMIT_SYMBOLS
                .into_iter()
                .filter(|name| raw::has_symbol(nvml, name))
                .collect(),
        }
    }
}

/// The name under which the loader finds the driver's library.
pub(crate) fn default_library() -> &'static OsStr {
    OsStr::new("libnvidia-ml.so.1")
}
