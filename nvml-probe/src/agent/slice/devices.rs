//! A device of the state -> a device of a ResourceSlice.
//!
//! `memory` is consumable in steps of 1 MiB, by as many claims as fit (S13); a claim that names no amount takes all of it, which
//! is the whole device (S16). All amounts are whole MiB, at discovery: the capacity does not move with what is in use.

use std::collections::BTreeMap;

use berth_api::names::driver;
use k8s_openapi::{
    api::resource::v1::{
        CapacityRequestPolicy, CapacityRequestPolicyRange, Device, DeviceAttribute, DeviceCapacity,
        DeviceTaint,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    Driver,
    agent::{DeviceState, Fitness, NodeState},
    inventory::kernels_bus_id,
};

/// The longest text that an attribute may have.
const TEXT_MAX: usize = 64;
/// The most devices of a slice in which any has a taint, and of a node in the model.
const DEVICES_MAX: usize = 64;

/// The devices, in the order of their names.
pub(super) fn of(state: &NodeState) -> Vec<Device> {
    let driver = state.driver.up();
    if state.devices.len() > DEVICES_MAX {
        tracing::error!(devices = state.devices.len(), "only the first {DEVICES_MAX} devices are published");
    }
    state.devices.iter().take(DEVICES_MAX).map(|it| device(it, driver)).collect()
}

fn device(state: &DeviceState, driver: Option<&Driver>) -> Device {
    let capacity = BTreeMap::from([(driver::MEMORY.to_owned(), memory(state.grantable_mib))]);
    Device {
        name: state.name.as_str().to_owned(),
        attributes: Some(attributes(state, driver)),
        capacity: Some(capacity),
        allow_multiple_allocations: Some(true),
        taints: taints(state),
        ..Device::default()
    }
}

fn memory(mib: u64) -> DeviceCapacity {
    let quantity = |mib: u64| Quantity(quantity(mib));
    DeviceCapacity {
        value: quantity(mib),
        request_policy: Some(CapacityRequestPolicy {
            default: Some(quantity(mib)),
            valid_range: Some(CapacityRequestPolicyRange {
                min: quantity(1),
                max: Some(quantity(mib)),
                step: Some(quantity(1)),
            }),
            valid_values: None,
        }),
    }
}

/// As the API server writes it back, so that nothing differs when nothing does.
fn quantity(mib: u64) -> String {
    let units = ["Mi", "Gi", "Ti", "Pi"];
    let (mut value, mut unit) = (mib, 0);
    while value > 0 && value.is_multiple_of(1024) && unit + 1 < units.len() {
        (value, unit) = (value / 1024, unit + 1);
    }
    if value == 0 { "0".to_owned() } else { format!("{value}{}", units[unit]) }
}

fn attributes(state: &DeviceState, driver: Option<&Driver>) -> BTreeMap<String, DeviceAttribute> {
    let info = &state.info;
    let text = |text: &String| {
        let cut =
            text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= TEXT_MAX).last();
        DeviceAttribute { string: Some(text[..cut.unwrap_or(0)].to_owned()), ..DeviceAttribute::default() }
    };
    let number = |number: i64| DeviceAttribute { int: Some(number), ..DeviceAttribute::default() };
    let version = |text: &String| {
        Some(DeviceAttribute { version: Some(semantic(text)?), ..DeviceAttribute::default() })
    };
    let numa = info.numa_nodes.known().filter(|nodes| nodes.len() == 1).and_then(|nodes| nodes.first());
    let found = [
        (driver::UUID, info.uuid.known().map(text)),
        (driver::PRODUCT, info.product.known().map(text)),
        (driver::RESERVED_MIB, i64::try_from(state.reserved_mib).ok().map(number)),
        (driver::NUMA_NODE, numa.map(|node| number(i64::from(*node)))),
        (driver::PCI_BUS_ID, info.pci.known().map(|pci| text(&kernels_bus_id(&pci.bus_id)))),
        (driver::COMPUTE_CAPABILITY, info.compute_capability.known().and_then(version)),
        (driver::DRIVER_VERSION, driver.and_then(|driver| driver.version.known()).and_then(version)),
        (driver::CUDA_VERSION, driver.and_then(|driver| driver.cuda.known()).and_then(version)),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// `580.82.07` -> `580.82.7`: a semantic version has three numbers without zeros before them.
fn semantic(version: &str) -> Option<String> {
    let mut numbers = version.split('.').map(|number| number.parse::<u64>());
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    let (major, minor, patch) = (next()?, next()?, next()?);
    Some(format!("{major}.{minor}.{patch}"))
}

fn taints(state: &DeviceState) -> Option<Vec<DeviceTaint>> {
    let taint = |key: &str, value: Option<String>| DeviceTaint {
        key: key.to_owned(),
        value,
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    let mut taints = Vec::new();
    if state.info.mig_mode.known().is_some_and(|mode| mode.enabled) {
        taints.push(taint(driver::MIG, None));
    }
    if state.fitness != Fitness::Healthy {
        taints.push(taint(driver::UNHEALTHY, Some(state.fitness.word())));
    }
    (!taints.is_empty()).then_some(taints)
}

/// A taint that stays keeps the time since which it is there.
pub(super) fn keep_times(device: &mut Device, known: &Device) {
    let known = known.taints.as_deref().unwrap_or_default();
    for taint in device.taints.iter_mut().flatten() {
        let same = |other: &&DeviceTaint| other.key == taint.key && other.value == taint.value;
        taint.time_added = known.iter().find(same).and_then(|taint| taint.time_added.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_the_api_server_does() {
        let all = [0, 1, 1023, 1024, 81_408, 81_920, 1 << 20];
        assert_eq!(all.map(quantity), ["0", "1Mi", "1023Mi", "1Gi", "81408Mi", "80Gi", "1Ti"]);
    }

    #[test]
    fn versions_are_semantic() {
        assert_eq!(semantic("580.82.07").as_deref(), Some("580.82.7"));
        assert_eq!(semantic("13.0").as_deref(), Some("13.0.0"));
        assert_eq!(semantic("unknown"), None);
    }
}
