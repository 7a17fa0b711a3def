//! The calls that nvml-wrapper 0.13 does not have, or has in a form that does not serve, and the only unsafe code here.
//!
//! * Processes: the wrapper asks twice per list (count, then list with five spare places) and fails when more than five
//!   processes start in between; here one call fills a buffer that is kept, and a full one grows.
//! * Events: the wrapper's set is consumed, and freed, by the first device that cannot be registered; here each device
//!   registers on its own, and one set serves all.
//! * Instance ids of MIG devices and remapped rows: not in the wrapper.
//!
//! Every function pointer comes from the library that `nvml` holds open, which outlives each call.
#![allow(unsafe_code)]

use std::{ffi::CString, mem, ptr, sync::Arc};

use nvml_wrapper::{
    Device, Nvml,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlProcessInfo_t,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE, nvmlReturn_enum_NVML_ERROR_TIMEOUT, nvmlReturn_t,
};

/// How often a list of processes that did not fit is asked for again.
const PROCESS_LIST_TRIES: usize = 4;
/// More processes than this on one device are an error, not memory.
const PROCESS_LIST_MAX: usize = 65_536;

type ProcessCall = unsafe extern "C" fn(nvmlDevice_t, *mut u32, *mut nvmlProcessInfo_t) -> nvmlReturn_t;

/// Which of a device's lists of processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProcessList {
    Compute,
    Graphics,
    Mps,
}

/// The device's processes of one kind; `buffer` is reused from call to call and holds them.
pub(crate) fn processes<'b>(
    nvml: &Nvml,
    device: &Device<'_>,
    list: ProcessList,
    buffer: &'b mut Vec<nvmlProcessInfo_t>,
) -> Result<&'b [nvmlProcessInfo_t], NvmlError> {
    let lib = nvml.lib();
    let call: ProcessCall = *nvml_sym(match list {
        ProcessList::Compute => lib.nvmlDeviceGetComputeRunningProcesses_v3.as_ref(),
        ProcessList::Graphics => lib.nvmlDeviceGetGraphicsRunningProcesses_v3.as_ref(),
        ProcessList::Mps => lib.nvmlDeviceGetMPSComputeRunningProcesses_v3.as_ref(),
    })?;
    if buffer.is_empty() {
        // SAFETY: the struct is plain integers, for which all zeros is a value.
        buffer.resize(32, unsafe { mem::zeroed() });
    }
    for _ in 0..PROCESS_LIST_TRIES {
        let mut count = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        // SAFETY: the handle is of this library; `buffer` has `count` writable places, and NVML writes at most so many.
        let code = unsafe { call(device.handle(), &mut count, buffer.as_mut_ptr()) };
        if code != nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE {
            nvml_try(code)?;
            // A library that counts more than it had room for is wrong; what it wrote is what fits.
            let filled = buffer.len().min(count as usize);
            return Ok(&buffer[..filled]);
        }
        let wanted = (count as usize).max(buffer.len()).saturating_mul(2);
        if wanted > PROCESS_LIST_MAX {
            break;
        }
        // SAFETY: as above.
        buffer.resize(wanted, unsafe { mem::zeroed() });
    }
    Err(NvmlError::InsufficientSize(Some(buffer.len())))
}

/// The ids of the GPU instance and of the compute instance that a MIG device is.
pub(crate) fn mig_instance_ids(nvml: &Nvml, device: &Device<'_>) -> Result<(u32, u32), NvmlError> {
    let gpu_call = *nvml_sym(nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref())?;
    let compute_call = *nvml_sym(nvml.lib().nvmlDeviceGetComputeInstanceId.as_ref())?;
    let (mut gpu, mut compute) = (0, 0);
    // SAFETY: the handle is of this library, and both results are written into integers that live here.
    nvml_try(unsafe { gpu_call(device.handle(), &mut gpu) })?;
    // SAFETY: as above.
    nvml_try(unsafe { compute_call(device.handle(), &mut compute) })?;
    Ok((gpu, compute))
}

/// Rows of memory that the device replaced by spare ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawRemappedRows {
    pub(crate) corrected: u32,
    pub(crate) uncorrected: u32,
    pub(crate) pending: u32,
    pub(crate) failed: u32,
}

/// The device's remapped rows.
pub(crate) fn remapped_rows(nvml: &Nvml, device: &Device<'_>) -> Result<RawRemappedRows, NvmlError> {
    let call = *nvml_sym(nvml.lib().nvmlDeviceGetRemappedRows.as_ref())?;
    let mut rows = RawRemappedRows::default();
    // SAFETY: the handle is of this library, and the four results are written into integers that live here.
    nvml_try(unsafe {
        call(device.handle(), &mut rows.corrected, &mut rows.uncorrected, &mut rows.pending, &mut rows.failed)
    })?;
    Ok(rows)
}

/// Whether the loaded library has a function of this name.
pub(crate) fn has_symbol(nvml: &Nvml, name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: the symbol is only looked for; it is neither called nor read, so its type does not matter.
    unsafe { nvml.lib().__library.get::<*const ()>(name.as_bytes_with_nul()).is_ok() }
}

/// A device as events name it: the number behind its handle, good for comparing only.
pub(crate) fn device_key(device: &Device<'_>) -> usize {
    // SAFETY: the handle is not used to make a second device, only compared.
    unsafe { device.handle() as usize }
}

/// An event as NVML gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEvent {
    pub(crate) device_key: usize,
    pub(crate) kind: u64,
    pub(crate) data: u64,
}

/// One set of events for all devices of an open NVML, which it keeps open.
#[derive(Debug)]
pub(crate) struct EventSet {
    set: nvmlEventSet_t,
    nvml: Arc<Nvml>,
}

// SAFETY: NVML may be called from any thread, and nothing but the calls below uses the pointer.
unsafe impl Send for EventSet {}

impl EventSet {
    /// An empty set.
    pub(crate) fn create(nvml: Arc<Nvml>) -> Result<Self, NvmlError> {
        // Both must be there before a set exists: a set that cannot be freed would leak with each reopening.
        nvml_sym(nvml.lib().nvmlEventSetFree.as_ref())?;
        let call = *nvml_sym(nvml.lib().nvmlEventSetCreate.as_ref())?;
        let mut set: nvmlEventSet_t = ptr::null_mut();
        // SAFETY: the new set is written into a pointer that lives here.
        nvml_try(unsafe { call(&mut set) })?;
        Ok(Self { set, nvml })
    }

    /// Adds the wanted kinds of events that the device has; returns those.
    pub(crate) fn register(&self, device: &Device<'_>, wanted: u64) -> Result<u64, NvmlError> {
        let supported_call = *nvml_sym(self.nvml.lib().nvmlDeviceGetSupportedEventTypes.as_ref())?;
        let register_call = *nvml_sym(self.nvml.lib().nvmlDeviceRegisterEvents.as_ref())?;
        let mut supported = 0;
        // SAFETY: the handle is of this library, and the result is written into an integer that lives here.
        nvml_try(unsafe { supported_call(device.handle(), &mut supported) })?;
        let kinds = supported & wanted;
        if kinds == 0 {
            return Err(NvmlError::NotSupported);
        }
        // SAFETY: handle and set are of this library; the set is freed only when `self` goes.
        nvml_try(unsafe { register_call(device.handle(), kinds, self.set) })?;
        Ok(kinds)
    }

    /// The next event that waits, without waiting for one.
    pub(crate) fn poll(&self) -> Result<Option<RawEvent>, NvmlError> {
        let call = *nvml_sym(self.nvml.lib().nvmlEventSetWait_v2.as_ref())?;
        // SAFETY: the struct is a pointer and integers, for which all zeros is a value.
        let mut event: nvmlEventData_t = unsafe { mem::zeroed() };
        // SAFETY: the set is of this library and not freed; the event is written into a struct that lives here.
        let code = unsafe { call(self.set, &mut event, 0) };
        if code == nvmlReturn_enum_NVML_ERROR_TIMEOUT {
            return Ok(None);
        }
        nvml_try(code)?;
        Ok(Some(RawEvent { device_key: event.device as usize, kind: event.eventType, data: event.eventData }))
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        if let Ok(call) = self.nvml.lib().nvmlEventSetFree.as_ref() {
            // SAFETY: the set is of this library, which `nvml` still holds open, and nobody else has it. A failure
            // leaves nothing to do.
            unsafe { call(self.set) };
        }
    }
}
