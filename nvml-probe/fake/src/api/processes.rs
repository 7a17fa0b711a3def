//! Lists of processes: a device lists those of its MIG instances too.

use nvml_wrapper_sys::bindings as nvml;

use crate::{
    script::{Device, Process},
    state::{self, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_SUPPORTED, Outcome, Target},
};

type Info = nvml::nvmlProcessInfo_t;

fn info(process: &Process) -> Info {
    let (gpu, compute) = process.instance.unwrap_or((u32::MAX, u32::MAX));
    Info {
        pid: process.pid,
        usedGpuMemory: process.used.unwrap_or(u64::MAX),
        gpuInstanceId: gpu,
        computeInstanceId: compute,
    }
}

fn of_kind(device: &Device, kind: char) -> impl Iterator<Item = Info> {
    device.processes.iter().filter(move |process| process.kinds.contains(kind)).map(info)
}

/// # Safety
///
/// `count` is null or can be read and written; `to` is null with a count of 0, or has room for as many as `count` says.
unsafe fn list(
    name: &str,
    device: nvml::nvmlDevice_t,
    kind: char,
    count: *mut u32,
    to: *mut Info,
) -> nvml::nvmlReturn_t {
    state::call_on(name, device, |target| {
        let Target::Device(_, device) = target else {
            return Err(NOT_SUPPORTED);
        };
        let infos: Vec<Info> = of_kind(device, kind).collect();
        // SAFETY: the caller's promise.
        unsafe { put_list(&infos, count, to) }
    })
}

/// # Safety
///
/// As for [`list`].
unsafe fn put_list(infos: &[Info], count: *mut u32, to: *mut Info) -> Outcome {
    let total = u32::try_from(infos.len()).map_err(|_| INVALID_ARGUMENT)?;
    // SAFETY: the caller's promise.
    let count = unsafe { count.as_mut() }.ok_or(INVALID_ARGUMENT)?;
    let room = *count;
    *count = total;
    if total > room {
        return Err(INSUFFICIENT_SIZE);
    }
    if total > 0 {
        if to.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and the caller promises room for as many as `room`, which is no less.
        unsafe { to.copy_from_nonoverlapping(infos.as_ptr(), infos.len()) };
    }
    Ok(())
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvml::nvmlDevice_t,
    count: *mut u32,
    to: *mut Info,
) -> nvml::nvmlReturn_t {
    // SAFETY: the caller's promise.
    unsafe { list("nvmlDeviceGetComputeRunningProcesses_v3", device, 'C', count, to) }
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: nvml::nvmlDevice_t,
    count: *mut u32,
    to: *mut Info,
) -> nvml::nvmlReturn_t {
    // SAFETY: the caller's promise.
    unsafe { list("nvmlDeviceGetGraphicsRunningProcesses_v3", device, 'G', count, to) }
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: nvml::nvmlDevice_t,
    count: *mut u32,
    to: *mut Info,
) -> nvml::nvmlReturn_t {
    // SAFETY: the caller's promise.
    unsafe { list("nvmlDeviceGetMPSComputeRunningProcesses_v3", device, 'M', count, to) }
}
