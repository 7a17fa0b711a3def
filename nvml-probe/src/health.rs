//! What says whether a device can be trusted (S18), apart from events: ECC counters and remapped rows.

use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{EccCounter, MemoryError},
    enums::device::SampleValue,
    error::NvmlError,
    structs::device::FieldId,
};
use nvml_wrapper_sys::bindings::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
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
    /// What the device asks for to recover from its errors; older drivers do not say.
    pub recovery: Reading<RecoveryAction>,
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

/// What a device asks for to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryAction {
    /// Nothing.
    None,
    /// A reset.
    Reset,
    /// A restart of the machine.
    Reboot,
    /// That what uses its links to other devices ends.
    DrainP2p,
    /// That what uses it ends, and then a reset.
    DrainAndReset,
}

impl RecoveryAction {
    fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Reset,
            2 => Self::Reboot,
            3 => Self::DrainP2p,
            4 => Self::DrainAndReset,
            _ => return None,
        })
    }

    /// Whether the device is of no use to new pods before it is reset.
    pub fn is_reset(self) -> bool {
        matches!(self, Self::Reset | Self::Reboot | Self::DrainAndReset)
    }

    fn read(device: &Device<'_>) -> Result<Self, NvmlError> {
        let sample = device.field_values_for(&[FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)])?.pop();
        let value = sample.ok_or(NvmlError::NotSupported)??.value?;
        let number = match value {
            SampleValue::U32(number) => Some(u64::from(number)),
            SampleValue::U64(number) => Some(number),
            _ => None,
        };
        number.and_then(Self::of).ok_or(NvmlError::NotSupported)
    }
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
            recovery: RecoveryAction::read(device).into(),
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
            recovery: Reading::Failed(failure.clone()),
            events,
        }
    }
}
