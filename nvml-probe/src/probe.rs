//! NVML over time: opened, lost, opened again.
//!
//! A probe holds at most one session. A session ends when NVML says that it is void (driver unloaded, replaced, or not
//! the library's version), and the next call tries to open a new one. While a device is lost, sessions are renewed too,
//! since only a new one sees the device come back: after 1, 2, 4 ... samples, at most every [`RENEW_MAX`], as opening
//! costs some hundred times what a sample does.

use std::path::PathBuf;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::nvmlProcessInfo_t;
use serde::Serialize;

use crate::{
    events::DeviceEvent,
    health::{self, DeviceHealth},
    inventory::{self, Inventory},
    reading::Failure,
    sample::{self, Sample},
    session::{Session, default_library},
};

/// Samples between two renewals of a session in which a device stays lost, at most.
const RENEW_MAX: u32 = 64;

/// Where the probe finds what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The driver's library; none for the loader's `libnvidia-ml.so.1`.
    pub library: Option<PathBuf>,
    /// The host's `/sys`.
    pub sys_root: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { library: None, sys_root: PathBuf::from("/sys") }
    }
}

/// Why there is no NVML at present: a state of the node, not an end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "kebab-case")]
pub enum Down {
    /// No NVIDIA driver is installed, or its library is not where it is looked for.
    #[error("no NVIDIA driver library: {0}")]
    NoLibrary(String),
    /// The library is there, but the kernel has no driver loaded, or sees no device of it.
    #[error("the NVIDIA driver is not loaded")]
    NotLoaded,
    /// Library and kernel driver are of different versions, as in the middle of an update.
    #[error("the NVIDIA driver and its library differ in version")]
    VersionMismatch,
    /// The driver's files may not be opened.
    #[error("no permission to talk to the NVIDIA driver")]
    NoPermission,
    /// It was open, and went.
    #[error("the NVIDIA driver went away: {0}")]
    Gone(String),
    /// Anything else.
    #[error("NVML does not work: {0}")]
    Failing(String),
}

/// What sees the node's GPUs.
#[derive(Debug)]
pub struct Probe {
    config: Config,
    session: Option<Session>,
    sessions: u64,
    renewal: Renewal,
    buffer: Vec<nvmlProcessInfo_t>,
}

/// When a session with a lost device is opened anew.
#[derive(Debug, Default)]
struct Renewal {
    samples_left: u32,
    distance: u32,
}

impl Probe {
    /// A probe that has opened nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, session: None, sessions: 0, renewal: Renewal::default(), buffer: Vec::new() }
    }

    /// Memory, processes and load of all devices.
    pub fn sample(&mut self) -> Result<Sample, Down> {
        if self.renewal.is_due() {
            self.session = None;
        }
        self.open()?;
        let Some(session) = &self.session else { return Err(Down::NotLoaded) };
        match sample::read(session, &mut self.buffer) {
            Ok(sample) => {
                self.renewal.note(sample.devices.iter().any(|device| device.is_lost()));
                Ok(sample)
            }
            Err(failure) => Err(self.close(&failure)),
        }
    }

    /// ECC counters and remapped rows of all devices.
    pub fn health(&mut self) -> Result<Vec<DeviceHealth>, Down> {
        Ok(health::read(self.open()?))
    }

    /// The devices and what they are.
    pub fn inventory(&mut self) -> Result<Inventory, Down> {
        let sys_root = self.config.sys_root.clone();
        match inventory::read(self.open()?, &sys_root) {
            Ok(inventory) => Ok(inventory),
            Err(failure) => Err(self.close(&failure)),
        }
    }

    /// Takes the events out of the driver's queue.
    pub fn events(&mut self) -> Result<Vec<DeviceEvent>, Down> {
        match self.open()?.events.drain() {
            Ok(events) => Ok(events),
            Err(failure) if failure.is_session_gone() => Err(self.close(&failure)),
            // A lost device makes the wait fail; the samples say so by themselves.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Whether the loaded library has a function of this name.
    pub fn has_symbol(&mut self, name: &str) -> Result<bool, Down> {
        Ok(crate::raw::has_symbol(&self.open()?.nvml, name))
    }

    /// The open session, opened now if there is none.
    fn open(&mut self) -> Result<&Session, Down> {
        if self.session.is_none() {
            let session = Session::open(self.config.library.as_deref(), self.sessions + 1);
            self.session = Some(session.map_err(|error| self.down(error))?);
            self.sessions += 1;
        }
        self.session.as_ref().ok_or(Down::NotLoaded)
    }

    fn close(&mut self, failure: &Failure) -> Down {
        self.session = None;
        self.renewal = Renewal::default();
        Down::Gone(failure.to_string())
    }

    fn down(&self, error: NvmlError) -> Down {
        let library = self.config.library.as_deref().map_or(default_library(), |path| path.as_os_str());
        match error {
            NvmlError::LibloadingError(error) => Down::NoLibrary(error.to_string()),
            NvmlError::FailedToLoadSymbol(what) => Down::NoLibrary(format!("{}: {what}", library.display())),
            NvmlError::LibraryNotFound => Down::NoLibrary(error.to_string()),
            NvmlError::DriverNotLoaded => Down::NotLoaded,
            NvmlError::LibRmVersionMismatch => Down::VersionMismatch,
            NvmlError::NoPermission => Down::NoPermission,
            other => Down::Failing(other.to_string()),
        }
    }
}

impl Renewal {
    fn is_due(&mut self) -> bool {
        if self.distance == 0 {
            return false;
        }
        self.samples_left = self.samples_left.saturating_sub(1);
        self.samples_left == 0
    }

    fn note(&mut self, is_lost: bool) {
        if !is_lost {
            *self = Self::default();
        } else if self.samples_left == 0 {
            self.distance = (self.distance * 2).clamp(1, RENEW_MAX);
            self.samples_left = self.distance;
        }
    }
}
