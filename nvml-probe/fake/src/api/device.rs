//! What a device says of itself.

use std::{
    ffi::{c_char, c_ulong},
    slice,
};

use nvml_wrapper_sys::bindings as nvml;

use super::{pci_info, put, put_some, put_text};
use crate::state::{self, INVALID_ARGUMENT, NOT_SUPPORTED, Target};

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvml::nvmlDevice_t,
    to: *mut c_char,
    length: u32,
) -> nvml::nvmlReturn_t {
    state::call_on("nvmlDeviceGetUUID", device, |target| {
        let uuid = match target {
            Target::Device(_, device) => &device.uuid,
            Target::Mig(instance) => &instance.uuid,
        };
        // SAFETY: the caller's promise.
        unsafe { put_text(to, length, uuid) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    device: nvml::nvmlDevice_t,
    to: *mut c_char,
    length: u32,
) -> nvml::nvmlReturn_t {
    state::call_on("nvmlDeviceGetName", device, |target| {
        let name = match target {
            Target::Device(_, device) => &device.name,
            Target::Mig(instance) => &instance.name,
        };
        // SAFETY: the caller's promise.
        unsafe { put_text(to, length, name) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvml::nvmlDevice_t,
    to: *mut nvml::nvmlMemory_v2_t,
) -> nvml::nvmlReturn_t {
    state::call_on("nvmlDeviceGetMemoryInfo_v2", device, |target| {
        let memory = match target {
            Target::Device(_, device) => device.memory.ok_or(NOT_SUPPORTED)?,
            Target::Mig(instance) => instance.memory,
        };
        let free = memory.total.saturating_sub(memory.reserved).saturating_sub(memory.used);
        // SAFETY: the caller's promise; NVML wants the version filled in, so it may be read.
        let version = unsafe { to.as_ref() }.ok_or(INVALID_ARGUMENT)?.version;
        let (total, reserved, used) = (memory.total, memory.reserved, memory.used);
        // SAFETY: the caller's promise.
        unsafe { put(to, nvml::nvmlMemory_v2_t { version, total, reserved, free, used }) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMinorNumber(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetMinorNumber", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put_some(to, device.minor) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvml::nvmlDevice_t,
    _sensor: u32,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetTemperature", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put_some(to, device.temperature) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetPowerUsage", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put_some(to, device.power_mw) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetEnforcedPowerLimit", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put_some(to, device.power_limit_mw) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvml::nvmlDevice_t,
    to: *mut nvml::nvmlUtilization_t,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetUtilizationRates", device, |device| {
        // SAFETY: the caller's promise.
        unsafe {
            put_some(to, device.utilisation.map(|(gpu, memory)| nvml::nvmlUtilization_t { gpu, memory }))
        }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(
    device: nvml::nvmlDevice_t,
    to: *mut nvml::nvmlPciInfo_t,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetPciInfo_v3", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put(to, pci_info(&device.bus_id)) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryAffinity(
    device: nvml::nvmlDevice_t,
    words: u32,
    to: *mut c_ulong,
    _scope: u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetMemoryAffinity", device, |device| {
        let mask = device.numa_mask.ok_or(NOT_SUPPORTED)?;
        if to.is_null() || words == 0 {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and the caller promises room for `words`.
        unsafe {
            to.write_bytes(0, words as usize);
            to.write(mask);
        }
        Ok(())
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvml::nvmlDevice_t,
    major: *mut i32,
    minor: *mut i32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetCudaComputeCapability", device, |device| {
        let (is_major, is_minor) = device.compute_capability.ok_or(NOT_SUPPORTED)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(major, is_major)?;
            put(minor, is_minor)
        }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEccMode(
    device: nvml::nvmlDevice_t,
    current: *mut u32,
    pending: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetEccMode", device, |device| {
        let enabled = u32::from(device.ecc.ok_or(NOT_SUPPORTED)?.enabled);
        // SAFETY: the caller's promise.
        unsafe {
            put(current, enabled)?;
            put(pending, enabled)
        }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvml::nvmlDevice_t,
    kind: u32,
    counter: u32,
    to: *mut u64,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetTotalEccErrors", device, |device| {
        let ecc = device.ecc.ok_or(NOT_SUPPORTED)?;
        let (corrected, uncorrected) = match counter {
            nvml::nvmlEccCounterType_enum_NVML_VOLATILE_ECC => ecc.volatile,
            nvml::nvmlEccCounterType_enum_NVML_AGGREGATE_ECC => ecc.aggregate,
            _ => return Err(INVALID_ARGUMENT),
        };
        let count = match kind {
            nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED => corrected,
            nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED => uncorrected,
            _ => return Err(INVALID_ARGUMENT),
        };
        // SAFETY: the caller's promise.
        unsafe { put(to, count) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvml::nvmlDevice_t,
    corrected: *mut u32,
    uncorrected: *mut u32,
    pending: *mut u32,
    failed: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetRemappedRows", device, |device| {
        let rows = device.remapped_rows.ok_or(NOT_SUPPORTED)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(corrected, rows.0)?;
            put(uncorrected, rows.1)?;
            put(pending, rows.2)?;
            put(failed, rows.3)
        }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvml::nvmlDevice_t,
    link: u32,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetNvLinkState", device, |device| {
        if device.nvlinks.is_empty() {
            return Err(NOT_SUPPORTED);
        }
        device.nvlinks.get(link as usize).ok_or(INVALID_ARGUMENT)?;
        // SAFETY: the caller's promise.
        unsafe { put(to, 1) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: nvml::nvmlDevice_t,
    link: u32,
    to: *mut nvml::nvmlPciInfo_t,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, |device| {
        let remote = device.nvlinks.get(link as usize).ok_or(INVALID_ARGUMENT)?;
        // SAFETY: the caller's promise.
        unsafe { put(to, pci_info(remote)) }
    })
}

/// # Safety
///
/// `values` is null, or points to `count` fields that nobody else uses now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvml::nvmlDevice_t,
    count: i32,
    values: *mut nvml::nvmlFieldValue_t,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetFieldValues", device, |device| {
        let count = usize::try_from(count).map_err(|_| INVALID_ARGUMENT)?;
        if values.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and the caller promises `count` fields.
        for field in unsafe { slice::from_raw_parts_mut(values, count) } {
            let asked = field.fieldId == nvml::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
            let (value, code) = match device.recovery_action.filter(|_| asked) {
                Some(action) => (action, nvml::nvmlReturn_enum_NVML_SUCCESS),
                None => (0, NOT_SUPPORTED),
            };
            field.valueType = nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
            field.value.uiVal = value;
            field.nvmlReturn = code;
        }
        Ok(())
    })
}
