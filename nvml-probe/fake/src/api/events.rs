//! Sets of events. Waiting never blocks: what is not there yet is a timeout.

use nvml_wrapper_sys::bindings as nvml;

use super::{put, put_some};
use crate::state::{self, EventSet, INVALID_ARGUMENT, NOT_SUPPORTED, State};

const TIMEOUT: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT;

/// The number of a set is one more than its place, so that none is null.
fn set_at(state: &mut State, handle: nvml::nvmlEventSet_t) -> Result<&mut EventSet, nvml::nvmlReturn_t> {
    let place = (handle as usize).checked_sub(1).ok_or(INVALID_ARGUMENT)?;
    state.sets.get_mut(place).and_then(Option::as_mut).ok_or(INVALID_ARGUMENT)
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(to: *mut nvml::nvmlEventSet_t) -> nvml::nvmlReturn_t {
    state::call("nvmlEventSetCreate", |state| {
        let next = state.script()?.events.len();
        state.sets.push(Some(EventSet { next, registered: Vec::new() }));
        // SAFETY: the caller's promise.
        unsafe { put(to, std::ptr::without_provenance_mut(state.sets.len())) }
    })
}

/// Frees a set.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(set: nvml::nvmlEventSet_t) -> nvml::nvmlReturn_t {
    state::call("nvmlEventSetFree", |state| {
        set_at(state, set)?;
        state.sets[set as usize - 1] = None;
        Ok(())
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetSupportedEventTypes(
    device: nvml::nvmlDevice_t,
    to: *mut u64,
) -> nvml::nvmlReturn_t {
    state::call_on_device("nvmlDeviceGetSupportedEventTypes", device, |device| {
        // SAFETY: the caller's promise.
        unsafe { put_some(to, device.event_types) }
    })
}

/// Adds a device's events to a set.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(
    device: nvml::nvmlDevice_t,
    kinds: u64,
    set: nvml::nvmlEventSet_t,
) -> nvml::nvmlReturn_t {
    let mut index = None;
    let checked = state::call_on("nvmlDeviceRegisterEvents", device, |target| {
        let state::Target::Device(number, device) = target else {
            return Err(INVALID_ARGUMENT);
        };
        let supported = device.event_types.ok_or(NOT_SUPPORTED)?;
        index = Some(number);
        if kinds & !supported == 0 { Ok(()) } else { Err(NOT_SUPPORTED) }
    });
    let Some(index) = index.filter(|_| checked == nvml::nvmlReturn_enum_NVML_SUCCESS) else {
        return checked;
    };
    state::call("nvmlDeviceRegisterEvents", |state| {
        set_at(state, set)?.registered.push((index, kinds));
        Ok(())
    })
}

/// # Safety
///
/// The crate's promise about pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvml::nvmlEventSet_t,
    to: *mut nvml::nvmlEventData_t,
    _timeout_ms: u32,
) -> nvml::nvmlReturn_t {
    state::call("nvmlEventSetWait_v2", |state| {
        let events = state.script()?.events.clone();
        let set = set_at(state, set)?;
        while let Some(event) = events.get(set.next) {
            set.next += 1;
            if set.registered.iter().any(|(index, kinds)| *index == event.device && kinds & event.kind != 0) {
                let data = nvml::nvmlEventData_t {
                    device: state::handle(event.device, None),
                    eventType: event.kind,
                    eventData: event.data,
                    gpuInstanceId: u32::MAX,
                    computeInstanceId: u32::MAX,
                };
                // SAFETY: the caller's promise.
                return unsafe { put(to, data) };
            }
        }
        Err(TIMEOUT)
    })
}
