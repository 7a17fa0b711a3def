//! Opening, closing, the driver, and finding devices.

use std::ffi::c_char;

use nvml_wrapper_sys::bindings as nvml;

use super::{put, put_text};
use crate::state::{self, INVALID_ARGUMENT, NOT_FOUND};

/// Opens the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvml::nvmlReturn_t {
    state::open()
}

/// Opens the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: u32) -> nvml::nvmlReturn_t {
    state::open()
}

/// Closes the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvml::nvmlReturn_t {
    state::close()
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: u32) -> nvml::nvmlReturn_t {
    state::call("nvmlSystemGetDriverVersion", |state| {
        // SAFETY: the caller's promise.
        unsafe { put_text(to, length, &state.script()?.driver_version) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut i32) -> nvml::nvmlReturn_t {
    state::call("nvmlSystemGetCudaDriverVersion_v2", |state| {
        // SAFETY: the caller's promise.
        unsafe { put(to, state.script()?.cuda_version) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut u32) -> nvml::nvmlReturn_t {
    state::call("nvmlDeviceGetCount_v2", |state| {
        let count = u32::try_from(state.script()?.devices.len()).map_err(|_| INVALID_ARGUMENT)?;
        // SAFETY: the caller's promise.
        unsafe { put(to, count) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: u32,
    to: *mut nvml::nvmlDevice_t,
) -> nvml::nvmlReturn_t {
    state::call("nvmlDeviceGetHandleByIndex_v2", |state| {
        let device = state.script()?.devices.get(index as usize).ok_or(INVALID_ARGUMENT)?;
        if let Some(error) = device.failures.get("nvmlDeviceGetHandleByIndex_v2") {
            return Err(error.code());
        }
        // SAFETY: the caller's promise.
        unsafe { put(to, state::handle(index, None)) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    device: nvml::nvmlDevice_t,
    other: nvml::nvmlDevice_t,
    to: *mut nvml::nvmlGpuTopologyLevel_t,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetTopologyCommonAncestor", device, |device| {
        let (index, _) = state::parts(other).ok_or(INVALID_ARGUMENT)?;
        // SAFETY: the caller's promise.
        unsafe { put(to, *device.topology.get(&index).ok_or(NOT_FOUND)?) }
    })
}
