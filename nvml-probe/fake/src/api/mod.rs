//! The functions that the library exports, under NVML's names and with its types.
#![allow(non_snake_case)]

mod device;
mod events;
mod mig;
mod processes;
mod system;

use std::ffi::c_char;

use nvml_wrapper_sys::bindings as nvml;

use crate::state::{INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_SUPPORTED, Outcome};

/// Writes a value where the caller wants it.
///
/// # Safety
///
/// `to` is null, or points to room for a `T` that nobody else uses now.
unsafe fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { to.write(value) };
    Ok(())
}

/// Writes a value, or says that there is none.
///
/// # Safety
///
/// As for [`put`].
unsafe fn put_some<T>(to: *mut T, value: Option<T>) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { put(to, value.ok_or(NOT_SUPPORTED)?) }
}

/// Writes a text and its end.
///
/// # Safety
///
/// `to` is null, or points to room for `length` bytes that nobody else uses now.
unsafe fn put_text(to: *mut c_char, length: u32, text: &str) -> Outcome {
    if to.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: not null, the text and its end fit into `length`, and the caller promises the rest.
    unsafe {
        to.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}

/// A place on the PCI bus, from `domain:bus:device.function`.
fn pci_info(bus_id: &str) -> nvml::nvmlPciInfo_t {
    let mut fields = bus_id.split([':', '.']).map(|field| u32::from_str_radix(field, 16).unwrap_or(0));
    let mut next = || fields.next().unwrap_or(0);
    let mut info = nvml::nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: next(),
        bus: next(),
        device: next(),
        pciDeviceId: 0x2330_10DE,
        pciSubSystemId: 0x16C1_10DE,
        busId: [0; 32],
    };
    for (to, from) in info.busId.iter_mut().zip(bus_id.bytes().take(31)) {
        *to = from as c_char;
    }
    info
}
