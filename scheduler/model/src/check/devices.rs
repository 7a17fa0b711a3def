//! GPU devices: which ones a pod may be given, how much of them, and what it is charged (S13, S14, S16 to S18).
//!
//! Pods whose devices nobody told (`GpuGrant::None` of a pod that asks for some) are *anonymous*: the judge only
//! demands that some consistent choice for them remains, and judges that by conditions which every consistent
//! choice meets, so it is never wrong about them and sometimes silent. Absent: the choice among devices (S15).

use super::load::Load;
use super::violation::Findings;
use crate::{
    DeviceHealth, DeviceIndex, DeviceSpec, GpuGrant, GpuMemoryMib, GpuRequest, GpuShare, NodeSpec, PodSpec,
};
use std::cmp::Reverse;

/// S13: MiB that a share of a device comes to: rounded down, at least 1.
pub(super) fn memory_of(share: GpuShare, device: &DeviceSpec) -> GpuMemoryMib {
    GpuMemoryMib((share.0 * device.memory.0 / GpuShare::DEVICE.0).max(1))
}

/// S13: the share of a device that MiB come to: rounded up.
pub(super) fn share_of(memory: GpuMemoryMib, device: &DeviceSpec) -> GpuShare {
    let whole = device.memory.0.max(1);
    GpuShare((memory.0 * GpuShare::DEVICE.0 + whole - 1) / whole)
}

/// S13: what a pod with this grant is charged; of devices nobody told, the least it can be.
pub(super) fn charge(pod: &PodSpec, node: &NodeSpec, grant: GpuGrant) -> GpuShare {
    match pod.gpu {
        GpuRequest::None => GpuShare::ZERO,
        GpuRequest::Whole(devices) => GpuShare::devices(devices),
        GpuRequest::Share { share, devices, .. } => GpuShare(share.0 * i64::from(devices)),
        GpuRequest::Memory { memory, devices, .. } => {
            let given = grant.devices().iter().filter_map(|index| node.devices.get(index.index()));
            if grant != GpuGrant::None {
                return GpuShare(given.map(|device| share_of(memory, device).0).sum());
            }
            let least = node.devices.iter().map(|device| share_of(memory, device)).min();
            GpuShare(least.unwrap_or(GpuShare::DEVICE).0 * i64::from(devices))
        }
    }
}

/// Everything about the devices of a grant on a node that carries `load`.
pub(super) fn grant_fits(
    pod: &PodSpec,
    node: &NodeSpec,
    grant: GpuGrant,
    load: &Load,
    allowance: GpuMemoryMib,
    f: &mut Findings<'_>,
) {
    if !kind_and_count(pod.gpu, grant, f) {
        return;
    }
    for index in grant.devices().iter() {
        let Some(device) = node.devices.get(index.index()) else {
            f.add("S13", format!("{} has no {index}", node.id));
            continue;
        };
        let at = Device { node, index, device, load };
        at.healthy(f);
        match grant {
            GpuGrant::Whole(_) => at.whole(allowance, f),
            GpuGrant::Shared { each, limit, .. } => {
                at.amount(pod.gpu, each, limit, f);
                at.shared(each, f);
            }
            GpuGrant::None => {}
        }
    }
    if pod.gpu != GpuRequest::None && !load.anonymous.is_empty() {
        let mut after = load.clone();
        after.change(pod, grant, 1);
        anonymous_fit(&after, node, f);
    }
}

/// S13, S16 to S18: true if the devices asked for are surely free beside `load`, whose pods all have known devices.
pub(super) fn enough_devices(
    request: GpuRequest,
    node: &NodeSpec,
    load: &Load,
    allowance: GpuMemoryMib,
) -> bool {
    let indices = (0..node.devices.len()).map(|index| DeviceIndex(index as u8));
    let usable = indices.filter(|index| {
        let mut out = Vec::new();
        let mut f = Findings::new(&"", &mut out);
        let at = Device { node, index: *index, device: &node.devices[index.index()], load };
        at.healthy(&mut f);
        match request {
            GpuRequest::Share { share, .. } => at.shared(memory_of(share, at.device), &mut f),
            GpuRequest::Memory { memory, .. } => at.shared(memory, &mut f),
            GpuRequest::None | GpuRequest::Whole(_) => at.whole(allowance, &mut f),
        }
        out.is_empty()
    });
    request.devices() == 0 || usable.take(request.devices() as usize).count() == request.devices() as usize
}

/// S13: as many devices as asked for, whole or shared as asked for.
fn kind_and_count(request: GpuRequest, grant: GpuGrant, f: &mut Findings<'_>) -> bool {
    let (asked, given) = (request.devices(), grant.devices().count());
    let kind = given == 0 || matches!(grant, GpuGrant::Shared { .. }) == request.is_fraction();
    f.want(asked == given && kind, "S13", || {
        format!("asks for {request:?} and is given {given} device(s): {grant:?}")
    });
    asked == given && kind
}

struct Device<'a> {
    node: &'a NodeSpec,
    index: DeviceIndex,
    device: &'a DeviceSpec,
    load: &'a Load,
}

impl Device<'_> {
    fn name(&self) -> String {
        format!("{} of {}", self.index, self.node.id)
    }

    fn healthy(&self, f: &mut Findings<'_>) {
        let health = self.device.health;
        f.want(health == DeviceHealth::Healthy, "S18", || format!("{} is {health:?}", self.name()));
    }

    fn whole(&self, allowance: GpuMemoryMib, f: &mut Findings<'_>) {
        let load = self.load.device(self.index);
        f.want(load.whole == 0, "S13", || format!("{} is given whole to another pod", self.name()));
        f.want(load.shared == 0, "S16", || {
            format!("{} is asked whole and shared by {} pod(s)", self.name(), load.shared)
        });
        let foreign = self.device.foreign;
        f.want(foreign <= allowance, "S17", || {
            format!("{} is asked whole and has {foreign} of foreign memory, allowed {allowance}", self.name())
        });
    }

    fn shared(&self, each: GpuMemoryMib, f: &mut Findings<'_>) {
        let load = self.load.device(self.index);
        f.want(load.whole == 0, "S16", || {
            format!("{} is asked in part and given whole to another pod", self.name())
        });
        let (sum, foreign, memory) = (load.memory + each, self.device.foreign, self.device.memory);
        f.want(sum <= memory, "S13", || {
            format!("{}: {} of {memory} are given out, {each} more do not fit", self.name(), load.memory)
        });
        f.want(sum > memory || sum + foreign <= memory, "S17", || {
            format!(
                "{}: {} of {memory} are given out and {foreign} foreign, {each} more do not fit",
                self.name(),
                load.memory
            )
        });
    }

    /// S13: the amount; S14: the limit.
    fn amount(&self, request: GpuRequest, each: GpuMemoryMib, limit: GpuMemoryMib, f: &mut Findings<'_>) {
        let (wanted, most) = match request {
            GpuRequest::Share { share, limit, .. } => {
                (memory_of(share, self.device), limit.map(|limit| memory_of(limit, self.device)))
            }
            GpuRequest::Memory { memory, limit, .. } => (memory, limit),
            GpuRequest::None | GpuRequest::Whole(_) => return,
        };
        f.want(each == wanted, "S13", || format!("{}: is given {each}, asks for {wanted}", self.name()));
        let most = most.unwrap_or(each);
        f.want(each <= limit && limit <= most, "S14", || {
            format!("{}: the limit is {limit}, allowed {each} to {most}", self.name())
        });
    }
}

/// S13, S16: whether the anonymous pods can still have devices.
fn anonymous_fit(load: &Load, node: &NodeSpec, f: &mut Findings<'_>) {
    let indices = || (0..node.devices.len()).map(|index| DeviceIndex(index as u8));
    let whole: i64 = load.anonymous.iter().map(|(request, pods)| whole_devices(*request) * pods).sum();
    let untouched = |index: &DeviceIndex| !load.devices.contains_key(index);
    let free = indices().filter(untouched).count() as i64;
    f.want(whole <= free, "S13", || {
        format!("{}: pods whose devices are not told have {whole} whole, but only {free} are left", node.id)
    });
    let mut left: Vec<(bool, i64)> = indices()
        .filter(|index| load.device(*index).whole == 0)
        .map(|index| (untouched(&index), node.devices[index.index()].memory.0 - load.device(index).memory.0))
        .collect();
    // The best case for the shares: the smallest of the untouched devices are the ones given whole.
    left.sort_by_key(|(untouched, memory)| (Reverse(*untouched), *memory));
    let room: i64 = left.iter().skip(whole.max(0) as usize).map(|(_, memory)| memory).sum();
    let asked: i64 = load.anonymous.iter().map(|(request, pods)| least_memory(*request, node) * pods).sum();
    f.want(asked == 0 || asked <= room, "S13", || {
        format!("{}: pods whose devices are not told have {asked} MiB, but only {room} are left", node.id)
    });
}

fn whole_devices(request: GpuRequest) -> i64 {
    if let GpuRequest::Whole(devices) = request { i64::from(devices) } else { 0 }
}

fn least_memory(request: GpuRequest, node: &NodeSpec) -> i64 {
    let each = match request {
        GpuRequest::None | GpuRequest::Whole(_) => return 0,
        GpuRequest::Memory { memory, .. } => memory.0,
        GpuRequest::Share { share, .. } => {
            node.devices.iter().map(|device| memory_of(share, device).0).min().unwrap_or_default()
        }
    };
    each * i64::from(request.devices())
}

/// S13, S16, S17: of which devices more is given out than there is. Devices that are gone are not judged.
pub(super) fn devices_exceed(load: &Load, node: &NodeSpec, f: &mut Findings<'_>) {
    for (index, used) in &load.devices {
        let Some(device) = node.devices.get(index.index()) else { continue };
        f.want(used.whole <= 1, "S13", || format!("{index} is given whole to {} pods", used.whole));
        f.want(used.whole == 0 || used.shared == 0, "S16", || {
            format!("{index} is given whole to {} and shared by {} pods", used.whole, used.shared)
        });
        let (given, foreign, memory) = (used.memory, device.foreign, device.memory);
        f.want(given <= memory, "S13", || format!("{index}: {given} of {memory} are given out"));
        f.want(given == GpuMemoryMib::ZERO || given > memory || given + foreign <= memory, "S17", || {
            format!("{index}: {given} of {memory} are given out and {foreign} are foreign")
        });
    }
    if !load.anonymous.is_empty() {
        anonymous_fit(load, node, f);
    }
}
