//! Whether a device may take new pods (S18).
//!
//! What NVML counts (uncorrectable ECC errors since the driver was loaded, rows that could not be replaced, the action
//! that the device itself asks for) is looked at afresh each time. What it only tells once, an event, is latched, kept over
//! restarts of the agent in a small file, and cleared when the device says that it needs no action any more, when it
//! was reset (it was lost and came back), when the driver was loaded anew, or when the machine was.
//!
//! XIDs that an application causes by itself say nothing about the device and are left out: [`APPLICATION_XIDS`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{DeviceEvent, DeviceHealth, EventKind, RecoveryAction, agent::DeviceName, files};

/// XIDs that a faulty application causes: graphics engine exception, memory page fault, stopped processing, preemptive
/// cleanup, video decoder exception, context switch timeout.
pub const APPLICATION_XIDS: [u64; 6] = [13, 31, 43, 45, 68, 109];
/// Ticks that must pass after an event before "no action needed" is believed.
const BELIEVED_AFTER: u64 = 5;

/// What is wrong with a device that can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An XID that is no application's doing.
    Xid(u64),
    /// Uncorrectable ECC errors since the driver was loaded.
    Ecc,
    /// Rows of memory that could not be replaced.
    RowRemap,
    /// Poisoned data that could not be contained.
    Poison,
    /// The driver says that the device is not available.
    Unavailable,
    /// The device asks for a reset, or its machine for one.
    NeedsReset,
}

/// Whether a device may take new pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It may.
    Healthy,
    /// It works, and is not to be trusted.
    Unhealthy(BTreeSet<Fault>),
    /// It cannot be reached.
    Lost,
}

impl Fitness {
    /// In a word that labels and taints may have as a value.
    pub fn word(&self) -> String {
        match self {
            Self::Healthy => "healthy".to_owned(),
            Self::Unhealthy(faults) => faults.first().map_or_else(String::new, ToString::to_string),
            Self::Lost => "lost".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xid(number) => write!(f, "xid-{number}"),
            Self::Ecc => f.write_str("ecc-uncorrectable"),
            Self::RowRemap => f.write_str("row-remap-failed"),
            Self::Poison => f.write_str("fatal-poison"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::NeedsReset => f.write_str("needs-reset"),
        }
    }
}

/// What events have told of the devices.
#[derive(Debug)]
pub struct Faults {
    file: Option<PathBuf>,
    boot: String,
    ignored: BTreeSet<u64>,
    latched: BTreeMap<DeviceName, BTreeSet<Fault>>,
    last: BTreeMap<DeviceName, u64>,
    changed: bool,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The kernel's name of this run of the machine.
    boot: String,
    faults: BTreeMap<DeviceName, BTreeSet<Fault>>,
}

impl Faults {
    /// As they were kept in a file, if the machine has not been started since; a file that cannot be read is said to be so
    /// and replaced.
    pub fn open(file: Option<PathBuf>, boot: String, ignored: impl IntoIterator<Item = u64>) -> Self {
        let kept = file.as_deref().map(read).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "faults seen before the start are not known");
            None
        });
        let latched = match kept {
            Some(kept) if kept.boot == boot => kept.faults,
            _ => BTreeMap::new(),
        };
        Self {
            file,
            boot,
            ignored: ignored.into_iter().collect(),
            latched,
            last: BTreeMap::new(),
            changed: false,
        }
    }

    /// Takes in an event of a device.
    pub fn event(&mut self, device: &DeviceName, event: &DeviceEvent, tick: u64) {
        let fault = match event.kind {
            Some(EventKind::Xid) if self.ignored.contains(&event.data) => return,
            Some(EventKind::Xid) => Fault::Xid(event.data),
            Some(EventKind::DoubleBitEcc) => Fault::Ecc,
            Some(EventKind::RowRemapFailure) => Fault::RowRemap,
            Some(EventKind::FatalPoison) => Fault::Poison,
            Some(EventKind::Unavailable) => Fault::Unavailable,
            // The action itself is read with the health.
            Some(EventKind::RecoveryAction) | None => return,
        };
        tracing::warn!(%device, %fault, "a device is not to be trusted any more");
        self.last.insert(device.clone(), tick);
        self.changed |= self.latched.entry(device.clone()).or_default().insert(fault);
    }

    /// Takes in a reading of a device's health.
    pub fn health(&mut self, device: &DeviceName, health: &DeviceHealth, tick: u64) {
        let needs_nothing = health.recovery.known() == Some(&RecoveryAction::None);
        let last = self.last.get(device).copied().unwrap_or(0);
        if needs_nothing && tick >= last + BELIEVED_AFTER {
            self.clear(device);
        }
    }

    /// A device was reset.
    pub fn clear(&mut self, device: &DeviceName) {
        if self.latched.remove(device).is_some() {
            tracing::info!(%device, "a device is trusted again");
            self.changed = true;
        }
    }

    /// The driver was loaded anew.
    pub fn clear_all(&mut self) {
        let all: Vec<DeviceName> = self.latched.keys().cloned().collect();
        for device in all {
            self.clear(&device);
        }
    }

    /// What is to be thought of a device that can be reached.
    pub fn fitness(&self, device: &DeviceName, health: Option<&DeviceHealth>) -> Fitness {
        let mut faults = self.latched.get(device).cloned().unwrap_or_default();
        if let Some(health) = health {
            let ecc = health.ecc_volatile.uncorrected.known().is_some_and(|errors| *errors > 0);
            let rows = health.remapped_rows.known().is_some_and(|rows| rows.failed);
            let reset = health.recovery.known().is_some_and(|action| action.is_reset());
            let found = [(ecc, Fault::Ecc), (rows, Fault::RowRemap), (reset, Fault::NeedsReset)];
            faults.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, fault)| fault));
        }
        if faults.is_empty() { Fitness::Healthy } else { Fitness::Unhealthy(faults) }
    }

    /// Writes what is to be kept, if it is different.
    ///
    /// # Errors
    /// If the file cannot be written; it is tried again with the next call.
    pub fn keep(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.changed, &self.file) {
            let kept = Kept { boot: self.boot.clone(), faults: self.latched.clone() };
            files::replace(file, &serde_json::to_vec(&kept)?)?;
        }
        self.changed = false;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Kept> {
    match fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EccErrors, Reading};

    fn xid(number: u64) -> DeviceEvent {
        DeviceEvent { index: Some(0), kind: Some(EventKind::Xid), data: number }
    }

    fn health(recovery: Reading<RecoveryAction>, ecc: u64) -> DeviceHealth {
        let errors = |uncorrected| EccErrors { corrected: Reading::Known(0), uncorrected };
        DeviceHealth {
            index: 0,
            ecc_enabled: Reading::Known(true),
            ecc_volatile: errors(Reading::Known(ecc)),
            ecc_aggregate: errors(Reading::Known(9)),
            remapped_rows: Reading::Unsupported,
            recovery,
            events: Reading::Unsupported,
        }
    }

    #[test]
    fn an_xid_lasts_until_the_device_needs_nothing_any_more() {
        let device = DeviceName::of_uuid("GPU-A");
        let mut faults = Faults::open(None, "boot".into(), APPLICATION_XIDS);
        faults.event(&device, &xid(31), 1);
        assert_eq!(faults.fitness(&device, None), Fitness::Healthy, "the application's own");
        faults.event(&device, &xid(79), 1);
        assert_eq!(faults.fitness(&device, None).word(), "xid-79");
        let unsupported = health(Reading::Unsupported, 0);
        faults.health(&device, &unsupported, 100);
        assert_eq!(faults.fitness(&device, Some(&unsupported)).word(), "xid-79");
        let reset = health(Reading::Known(RecoveryAction::Reset), 0);
        faults.health(&device, &reset, 100);
        assert_eq!(faults.fitness(&device, Some(&reset)).word(), "xid-79");
        let none = health(Reading::Known(RecoveryAction::None), 0);
        faults.health(&device, &none, 3);
        assert_eq!(faults.fitness(&device, Some(&none)).word(), "xid-79", "too early to be believed");
        faults.health(&device, &none, 6);
        assert_eq!(faults.fitness(&device, Some(&none)), Fitness::Healthy);
    }

    #[test]
    fn counted_errors_count_as_long_as_they_do() {
        let device = DeviceName::of_uuid("GPU-A");
        let faults = Faults::open(None, "boot".into(), []);
        assert_eq!(
            faults.fitness(&device, Some(&health(Reading::Unsupported, 1))).word(),
            "ecc-uncorrectable"
        );
        assert_eq!(faults.fitness(&device, Some(&health(Reading::Unsupported, 0))), Fitness::Healthy);
    }

    #[test]
    fn an_agent_that_starts_again_knows_and_a_machine_that_does_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("faults.json"));
        let device = DeviceName::of_uuid("GPU-A");
        let mut faults = Faults::open(file.clone(), "one".into(), []);
        faults.event(&device, &xid(79), 1);
        faults.keep().unwrap();
        let again = Faults::open(file.clone(), "one".into(), []);
        assert_eq!(again.fitness(&device, None).word(), "xid-79");
        let rebooted = Faults::open(file.clone(), "two".into(), []);
        assert_eq!(rebooted.fitness(&device, None), Fitness::Healthy);
        fs::write(file.as_ref().unwrap(), "torn").unwrap();
        assert_eq!(Faults::open(file, "one".into(), []).fitness(&device, None), Fitness::Healthy);
    }
}
