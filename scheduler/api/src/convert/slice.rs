//! A ResourceSlice of Berth's own driver -> devices (S13, S17, S18).
//!
//! A device that has a taint takes no new pods, whatever the taint says: nobody who is placed here tolerates one. The foreign
//! memory of a device is no part of it; that comes with the stream of its agent.

use crate::error::{Bad, Malformed};
use crate::names::driver;
use crate::quantity;
use crate::slim::{self, named};
use berth_model::{DeviceHealth, DeviceSpec, GpuMemoryMib};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value of the taint of a device that is not there any more.
const LOST: &str = "lost";

/// A device as it is published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its name, as claims know it.
    pub name: Box<str>,
    /// What it is.
    pub spec: DeviceSpec,
}

/// The devices of a slice, in its order.
///
/// # Errors
/// A field of the slice is malformed.
pub fn devices(slice: &slim::ResourceSlice) -> Result<Vec<Published>, Malformed> {
    let each = slice.spec.devices.iter().enumerate().map(|(at, device)| {
        let spec = read(device).map_err(|bad| bad.under(format!("spec.devices[{at}]")).of(named(slice)))?;
        Ok(Published { name: device.name.as_str().into(), spec })
    });
    each.collect()
}

fn read(device: &slim::Device) -> Result<DeviceSpec, Bad> {
    let product = device.attributes.get(driver::PRODUCT).and_then(|it| it.string.clone());
    let numa = device.attributes.get(driver::NUMA_NODE).and_then(|it| it.int);
    let memory = memory(device)?;
    // Of a device that does not answer its size may be unknown; the others of its node are none the worse.
    let health = match health(&device.taints) {
        DeviceHealth::Healthy if memory.0 == 0 => DeviceHealth::Unhealthy,
        health => health,
    };
    Ok(DeviceSpec {
        link_group: numa.and_then(|node| u8::try_from(node).ok()).unwrap_or(0),
        health,
        ..DeviceSpec::new(memory.max(GpuMemoryMib(1)), product.unwrap_or_default())
    })
}

/// What can be given out, in whole MiB.
fn memory(device: &slim::Device) -> Result<GpuMemoryMib, Bad> {
    let field = format!("capacity[{}].value", driver::MEMORY);
    let allowed = "memory of one device, at most 4294967295Mi";
    let Some(capacity) = device.capacity.get(driver::MEMORY) else {
        return Err(Bad::new(field, "", allowed));
    };
    let Quantity(text) = &capacity.value;
    let mib = quantity::quantity(text, 1).ok().map(|bytes| bytes >> 20);
    let mib = mib.filter(|mib| (0..=i64::from(u32::MAX)).contains(mib));
    mib.map(GpuMemoryMib).ok_or_else(|| Bad::new(field, text, allowed))
}

fn health(taints: &[slim::DeviceTaint]) -> DeviceHealth {
    let mut keeping_away = taints.iter().filter(|taint| taint.effect != "None").peekable();
    if keeping_away.peek().is_none() {
        return DeviceHealth::Healthy;
    }
    let is_lost =
        |taint: &slim::DeviceTaint| taint.key == driver::UNHEALTHY && taint.value.as_deref() == Some(LOST);
    if keeping_away.any(is_lost) { DeviceHealth::Lost } else { DeviceHealth::Unhealthy }
}
