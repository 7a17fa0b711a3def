//! The devices of a node, counted from its pods, and the choice among them (S13 to S18, S31).

use super::state::State;
use super::views::Seats;
use berth_model::{
    DeviceHealth, DeviceIndex, DeviceMask, DeviceStrategy, GpuGrant, GpuMemoryMib, GpuRequest, GpuShare,
    NodeId,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// S17: foreign memory up to this much counts as reserved.
const ALLOWANCE: i64 = 512;
/// One device.
const DEVICE: i64 = GpuShare::DEVICE.0;

/// One device as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    pub(crate) index: DeviceIndex,
    pub(crate) total: i64,
    /// MiB that fractions can still get.
    pub(crate) left: i64,
    /// It may be taken whole.
    pub(crate) free: bool,
    /// It takes further fractions and is not free.
    pub(crate) shared: bool,
    pub(crate) link_group: u8,
}

/// S13: what a fraction takes of a device, in MiB.
pub(crate) fn need(request: GpuRequest, total: i64) -> i64 {
    match request {
        GpuRequest::Share { share, .. } => (share.0 * total / DEVICE).max(1),
        GpuRequest::Memory { memory, .. } => memory.0,
        GpuRequest::None | GpuRequest::Whole(_) => 0,
    }
}

/// S14: the most the pod may use of a device, in MiB.
pub(crate) fn limit(request: GpuRequest, total: i64) -> i64 {
    let asked = match request {
        GpuRequest::Share { limit: Some(limit), .. } => limit.0 * total / DEVICE,
        GpuRequest::Memory { limit: Some(limit), .. } => limit.0.min(total),
        _ => 0,
    };
    asked.max(need(request, total))
}

/// S13: the charge of one device with `total` MiB, in millionths.
pub(crate) fn charge(request: GpuRequest, total: i64) -> i64 {
    match request {
        GpuRequest::None => 0,
        GpuRequest::Whole(_) => DEVICE,
        GpuRequest::Share { share, .. } => share.0,
        GpuRequest::Memory { memory, .. } => (memory.0 * DEVICE + total - 1) / total,
    }
}

impl State {
    /// The devices of a node as its pods leave them: of each the less of what is and what will be.
    pub(crate) fn devices(&self, node: NodeId) -> Vec<Device> {
        let views = self.views().into_iter().map(|seats| self.devices_among(node, &seats));
        let less = |a: Device, b: Device| {
            let (free, left) = (a.free && b.free, a.left.min(b.left));
            let usable = (a.free || a.shared) && (b.free || b.shared);
            Device { free, left, shared: usable && !free && left > 0, ..a }
        };
        let both = |a: Vec<Device>, b: Vec<Device>| a.into_iter().zip(b).map(|(a, b)| less(a, b)).collect();
        views.reduce(both).expect("a view")
    }

    /// The devices of a node as these pods leave them.
    pub(crate) fn devices_among(&self, node: NodeId, seats: &Seats) -> Vec<Device> {
        let mut used: BTreeMap<DeviceIndex, i64> = BTreeMap::new();
        let mut whole = DeviceMask::default();
        for (_, seat) in seats.iter().filter(|(_, seat)| seat.node == node) {
            match seat.gpus {
                GpuGrant::None => {}
                GpuGrant::Whole(devices) => whole.0 |= devices.0,
                GpuGrant::Shared { devices, each, .. } => {
                    devices.iter().for_each(|d| *used.entry(d).or_default() += each.0);
                }
            }
        }
        let spec = &self.nodes[&node];
        let device = |(at, d): (usize, &berth_model::DeviceSpec)| {
            let index = DeviceIndex(at as u8);
            let open = d.health == DeviceHealth::Healthy && !whole.contains(index);
            let free = open && !used.contains_key(&index) && d.foreign.0 <= ALLOWANCE;
            let left = (d.memory.0 - d.foreign.0 - used.get(&index).copied().unwrap_or(0)).max(0);
            let shared = open && !free && left > 0;
            Device { index, total: d.memory.0, left, free, shared, link_group: d.link_group }
        };
        spec.devices.iter().enumerate().map(device).collect()
    }

    /// The devices a request would get on a node.
    pub(crate) fn choose_devices(
        &self,
        node: NodeId,
        request: GpuRequest,
        strategy: DeviceStrategy,
    ) -> Option<GpuGrant> {
        choose(&self.devices(node), request, strategy)
    }

    /// S13: what a grant on a node is charged, in millionths of a device.
    pub(crate) fn gpu_cost(&self, node: NodeId, request: GpuRequest, grant: GpuGrant) -> i64 {
        let devices = &self.nodes[&node].devices;
        grant.devices().iter().map(|d| charge(request, devices[d.index()].memory.0)).sum()
    }
}

/// The choice among the devices of one node.
pub(crate) fn choose(devices: &[Device], request: GpuRequest, strategy: DeviceStrategy) -> Option<GpuGrant> {
    match request {
        GpuRequest::None => Some(GpuGrant::None),
        GpuRequest::Whole(count) => whole(devices, count as usize).map(GpuGrant::Whole),
        GpuRequest::Share { devices: count, .. } | GpuRequest::Memory { devices: count, .. } => {
            shared(devices, request, count as usize, strategy)
        }
    }
}

/// S31: the smallest group of linked devices that suffices; without one, the largest groups first.
fn whole(devices: &[Device], count: usize) -> Option<DeviceMask> {
    let mut groups: BTreeMap<u8, Vec<DeviceIndex>> = BTreeMap::new();
    for device in devices.iter().filter(|d| d.free) {
        groups.entry(device.link_group).or_default().push(device.index);
    }
    let mut groups: Vec<(u8, Vec<DeviceIndex>)> = groups.into_iter().collect();
    groups.sort_by_key(|(group, members)| (members.len(), *group));
    if let Some((_, members)) = groups.iter().find(|(_, members)| members.len() >= count) {
        return Some(members.iter().copied().take(count).collect());
    }
    let all: Vec<DeviceIndex> = groups.into_iter().rev().flat_map(|(_, members)| members).collect();
    (all.len() >= count).then(|| all.into_iter().take(count).collect())
}

/// S13, S15: one amount holds for all devices of a grant, so several devices are of one size: the smallest size of
/// which there are enough. A single device may be of any size.
fn shared(
    devices: &[Device],
    request: GpuRequest,
    count: usize,
    strategy: DeviceStrategy,
) -> Option<GpuGrant> {
    if count == 1 {
        return several(devices.to_vec(), request, 1, strategy);
    }
    let mut sizes: Vec<i64> = devices.iter().map(|d| d.total).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().find_map(|size| {
        let alike = devices.iter().filter(|d| d.total == size).copied().collect();
        several(alike, request, count, strategy)
    })
}

/// S15: one device after the other.
fn several(
    mut devices: Vec<Device>,
    request: GpuRequest,
    count: usize,
    strategy: DeviceStrategy,
) -> Option<GpuGrant> {
    let mut mask = DeviceMask::default();
    let mut total = 0;
    for _ in 0..count {
        let fitting =
            devices.iter().filter(|d| (d.free || d.shared) && d.left >= need(request, d.total).max(1));
        let best = match strategy {
            DeviceStrategy::Binpack => fitting.min_by_key(|d| (d.free, d.left, d.index)),
            DeviceStrategy::Spread => fitting.max_by_key(|d| (d.left, Reverse(d.index))),
        };
        let best = *best?;
        mask = mask.with(best.index);
        total = best.total;
        devices.retain(|d| d.index != best.index);
    }
    let (each, limit) = (GpuMemoryMib(need(request, total)), GpuMemoryMib(limit(request, total)));
    Some(GpuGrant::Shared { devices: mask, each, limit })
}
