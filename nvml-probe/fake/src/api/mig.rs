//! Split devices and their instances.

use nvml_wrapper_sys::bindings as nvml;

use super::put;
use crate::state::{self, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, Target};

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvml::nvmlDevice_t,
    current: *mut u32,
    pending: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetMigMode", device, |device| {
        let mig = device.mig.as_ref().ok_or(NOT_SUPPORTED)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(current, u32::from(mig.enabled))?;
            put(pending, u32::from(mig.pending))
        }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetMaxMigDeviceCount", device, |device| {
        let places = device.mig.as_ref().map_or(0, |mig| mig.instances.len());
        // SAFETY: the caller's promise.
        unsafe { put(to, u32::try_from(places).map_err(|_| INVALID_ARGUMENT)?) }
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvml::nvmlDevice_t,
    place: u32,
    to: *mut nvml::nvmlDevice_t,
) -> nvml::nvmlReturn_t {
    state::call_on("nvmlDeviceGetMigDeviceHandleByIndex", device, |target| {
        let Target::Device(index, device) = target else {
            return Err(INVALID_ARGUMENT);
        };
        let instances = device.mig.as_ref().map_or(&[][..], |mig| &mig.instances);
        instances.get(place as usize).ok_or(INVALID_ARGUMENT)?.as_ref().ok_or(NOT_FOUND)?;
        // SAFETY: the caller's promise.
        unsafe { put(to, state::handle(index, Some(place as usize))) }
    })
}

fn instance_id(
    name: &str,
    device: nvml::nvmlDevice_t,
    to: *mut u32,
    id: impl FnOnce((u32, u32)) -> u32,
) -> nvml::nvmlReturn_t {
    state::call_on(name, device, |target| match target {
        // SAFETY: the promise of the two callers below.
        Target::Mig(instance) => unsafe { put(to, id(instance.ids)) },
        Target::Device(..) => Err(NOT_SUPPORTED),
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    instance_id("nvmlDeviceGetGpuInstanceId", device, to, |(gpu, _)| gpu)
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(
    device: nvml::nvmlDevice_t,
    to: *mut u32,
) -> nvml::nvmlReturn_t {
    instance_id("nvmlDeviceGetComputeInstanceId", device, to, |(_, compute)| compute)
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetAttributes_v2(
    device: nvml::nvmlDevice_t,
    to: *mut nvml::nvmlDeviceAttributes_t,
) -> nvml::nvmlReturn_t {
    state::call_on("nvmlDeviceGetAttributes_v2", device, |target| {
        let Target::Mig(instance) = target else {
            return Err(NOT_SUPPORTED);
        };
        let attributes = nvml::nvmlDeviceAttributes_t {
            multiprocessorCount: instance.multiprocessors,
            sharedCopyEngineCount: 1,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: 1,
            computeInstanceSliceCount: 1,
            memorySizeMB: instance.memory.total >> 20,
        };
        // SAFETY: the caller's promise.
        unsafe { put(to, attributes) }
    })
}
