//! What says whether a device can be trusted (S18), apart from events: ECC counters and remapped rows.

use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{EccCounter, MemoryError},
};
use serde::Serialize;

use crate::{
    events::EventKind,
    raw,
    reading::{Failure, Reading},
    session::Session,
};

/// The health of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceHealth {
    /// The device's index in this session.
    pub index: u32,
    /// Whether ECC is on.
    pub ecc_enabled: Reading<bool>,
    /// Errors since the driver was loaded.
    pub ecc_volatile: EccErrors,
    /// Errors over the device's life.
    pub ecc_aggregate: EccErrors,
    /// Rows of memory that were replaced.
    pub remapped_rows: Reading<RemappedRows>,
    /// The kinds of events that the device delivers; without XID a fault shows only in the counters.
    pub events: Reading<Vec<EventKind>>,
}

/// Numbers of ECC errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EccErrors {
    /// Errors that were put right.
    pub corrected: Reading<u64>,
    /// Errors that were not.
    pub uncorrected: Reading<u64>,
}

/// Rows of memory that the device replaced by spare ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RemappedRows {
    /// For errors that were put right.
    pub corrected: u32,
    /// For errors that were not.
    pub uncorrected: u32,
    /// Whether some are replaced only at the next reset.
    pub pending: bool,
    /// Whether some could not be replaced: the device must be exchanged.
    pub failed: bool,
}

/// Reads the health of all devices.
pub(crate) fn read(session: &Session) -> Vec<DeviceHealth> {
    session
        .devices()
        .map(|(index, device)| {
            let events = session.events.kinds(index);
            match device {
                Ok(device) => DeviceHealth::read(&session.nvml, index, &device, events),
                Err(failure) => DeviceHealth::failed(index, failure, events),
            }
        })
        .collect()
}

impl DeviceHealth {
    fn read(nvml: &Nvml, index: u32, device: &Device<'_>, events: Reading<Vec<EventKind>>) -> Self {
        let errors = |counter: EccCounter| EccErrors {
            corrected: device.total_ecc_errors(MemoryError::Corrected, counter).into(),
            uncorrected: device.total_ecc_errors(MemoryError::Uncorrected, counter).into(),
        };
        Self {
            index,
            ecc_enabled: Reading::from(device.is_ecc_enabled()).map(|state| state.currently_enabled),
            ecc_volatile: errors(EccCounter::Volatile),
            ecc_aggregate: errors(EccCounter::Aggregate),
            remapped_rows: Reading::from(raw::remapped_rows(nvml, device)).map(|rows| RemappedRows {
                corrected: rows.corrected,
                uncorrected: rows.uncorrected,
                pending: rows.pending != 0,
                failed: rows.failed != 0,
            }),
            events,
        }
    }

    fn failed(index: u32, failure: Failure, events: Reading<Vec<EventKind>>) -> Self {
        let errors = || EccErrors {
            corrected: Reading::Failed(failure.clone()),
            uncorrected: Reading::Failed(failure.clone()),
        };
        Self {
            index,
            ecc_enabled: Reading::Failed(failure.clone()),
            ecc_volatile: errors(),
            ecc_aggregate: errors(),
            remapped_rows: Reading::Failed(failure.clone()),
            events,
        }
    }
}
