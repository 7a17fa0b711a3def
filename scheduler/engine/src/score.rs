//! What a placement strands of GPU capacity (S12), and what the other strategies prefer.
//!
//! *Stranding.* The free devices of a node in descending order of what is left are its ranks 1, 2, ... A kind can use
//! rank `i` if one of its pods finds CPU and memory on the node, the device fits it (whole kinds: enough devices are
//! wholly free), and CPU and memory suffice to fill `i` devices with it. With `q` the share of kinds that cannot use a
//! device, the device costs what is left of it times `q^16 + h/16` (`h`: the same share with kinds counted more that
//! are hard to place): it is stranded if none of 16 pods drawn from the shapes present could use it, and a little for
//! every one that could not. A placement's score is the cost of its node after it less the cost before, plus half the
//! price of the devices it takes, where a device's price is the demand of those who cannot go elsewhere. The least
//! score wins. Fragmentation gradient descent (Weng et al., USENIX ATC'23) is the case of one draw and one pod; that
//! cannot see that CPU for the next pods runs out, nor wait for a fitting one.
//! Costs: per node state, once while the shapes present are the same, a look-up and a few operations on sets of kinds for
//! each free device.

use crate::class::Classes;
use crate::device::Devices;
use crate::ix::{ClassIx, PoolIx, StateIx};
use crate::kinds::KindMask;
use crate::node::Node;
use crate::profile::Profiles;
use crate::shape::{Shape, Shapes};
use berth_model::{DeviceMask, DeviceStrategy, GpuGrant, GpuRequest, GpuShare, NodeId, Strategy};
use smallvec::SmallVec;

/// What is compared between candidates; the least is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Score {
    /// Strategy's own measure.
    pub(crate) measure: i64,
    /// Free CPU that remains; negative for the spread strategy.
    pub(crate) cpu: i64,
    /// Ties go to the smallest id.
    pub(crate) node: NodeId,
}

/// What is left of a node's devices: shared ones as (left, total) in MiB, most left first, and wholly free ones.
#[derive(Clone, Debug, Default)]
struct Left {
    free: u32,
    parts: SmallVec<[(u32, u32); 8]>,
}

impl Left {
    fn now(devices: &Devices) -> Self {
        Self::of(devices, devices.free, devices.shared, None)
    }

    fn after(devices: &Devices, grant: GpuGrant) -> Self {
        let taken = grant.devices().0;
        match grant {
            GpuGrant::None => Self::now(devices),
            GpuGrant::Whole(_) => {
                Self::of(devices, DeviceMask(devices.free.0 & !taken), devices.shared, None)
            }
            GpuGrant::Shared { devices: mask, each, .. } => {
                let free = DeviceMask(devices.free.0 & !taken);
                let shared = DeviceMask(devices.shared.0 | taken);
                Self::of(devices, free, shared, Some((mask, each.0 as u32)))
            }
        }
    }

    fn of(devices: &Devices, free: DeviceMask, shared: DeviceMask, taken: Option<(DeviceMask, u32)>) -> Self {
        let mut parts: SmallVec<[(u32, u32); 8]> = SmallVec::new();
        for index in shared.iter() {
            let device = devices.get(index);
            let minus = taken.filter(|(mask, _)| mask.contains(index)).map_or(0, |(_, each)| each);
            let left = device.left().saturating_sub(minus);
            if left > 0 {
                parts.push((left, device.total));
            }
        }
        parts.sort_unstable_by(|a, b| b.cmp(a));
        Self { free: free.count(), parts }
    }
}

/// What the GPU capacity left on a node costs, in millionths of a device times 2^-32.
fn cost(
    profiles: &mut Profiles,
    pool: PoolIx,
    class: ClassIx,
    (cpu, memory): (i64, i64),
    left: &Left,
) -> i64 {
    if left.free == 0 && left.parts.is_empty() {
        return 0;
    }
    let base =
        profiles.live(pool) & profiles.view(class).up_to(left.free) & profiles.feeds().one(cpu, memory);
    let fed = |profiles: &Profiles, kinds: KindMask, rank: u32| match kinds {
        0 => 0,
        _ => kinds & profiles.feeds().fed(cpu, memory, rank),
    };
    let mut sum = 0;
    // Ranks that the same kinds can use cost the same, and most often neighbours are alike.
    let mut last: Option<(KindMask, u64)> = None;
    let mut device_cost = |profiles: &mut Profiles, usable: KindMask| match last {
        Some((kinds, known)) if kinds == usable => known,
        _ => {
            let cost = profiles.device_cost(pool, usable);
            last = Some((usable, cost));
            cost
        }
    };
    // Fewer kinds can use a later rank, never others: from the first that is like the last, all are alike.
    let (mut next, until) = (1, left.free);
    let last_whole = if until > 0 { fed(profiles, base, until) } else { 0 };
    while next <= until {
        let usable = fed(profiles, base, next);
        let alike = if usable == last_whole { until + 1 - next } else { 1 };
        sum += u64::from(alike) * 1_000_000 * device_cost(profiles, usable);
        next += alike;
    }
    for (rank, (have, total)) in (left.free + 1..).zip(&left.parts) {
        let usable = fed(profiles, base & profiles.view(class).fit(*have), rank);
        sum += share(*have, *total) * device_cost(profiles, usable);
    }
    sum as i64
}

/// What the capacity left in a state costs now; remembered until the shapes present change.
fn cost_now(profiles: &mut Profiles, place: &Place<'_>) -> i64 {
    let epoch = profiles.epoch();
    if let Some(known) = profiles.remembered.cost(epoch, place.state) {
        return known;
    }
    let Place { node, pool, .. } = place;
    let left = Left::now(&node.devices);
    let now = cost(profiles, *pool, node.class, (node.free.cpu, node.free.memory), &left);
    profiles.remembered.learn_cost(epoch, place.state, now);
    now
}

/// What a placement looks at: a node, any of its state, given by place and number. Nothing but the state decides.
pub(crate) struct Place<'a> {
    pub(crate) state: (StateIx, u64),
    pub(crate) node: &'a Node,
    pub(crate) shape: &'a Shape,
    pub(crate) pool: PoolIx,
    pub(crate) device: DeviceStrategy,
}

impl Place<'_> {
    /// The devices the pod would get.
    fn gpus(&self) -> GpuGrant {
        self.node.devices.choose(self.shape.gpu, self.device).unwrap_or_default()
    }
}

/// What a strategy measures of a placement; the least is best.
pub(crate) fn measure(
    strategy: Strategy,
    place: &Place<'_>,
    profiles: &mut Profiles,
    classes: &Classes,
    shapes: &Shapes,
) -> i64 {
    match strategy {
        Strategy::Binpack => stranded_by(place, profiles),
        Strategy::Fgd => fragmented_by(place, profiles, shapes),
        Strategy::BestFit => fullness(place, classes),
        Strategy::Spread if place.shape.gpu == GpuRequest::None => 0,
        Strategy::Spread => -i64::from(place.node.devices.free.count()),
    }
}

/// The default: cost after less cost before, plus half the price of what is taken.
fn stranded_by(place: &Place<'_>, profiles: &mut Profiles) -> i64 {
    let Place { node, shape, pool, .. } = place;
    let gpus = place.gpus();
    let before = cost_now(profiles, place);
    let left = Left::after(&node.devices, gpus);
    let free = (node.free.cpu - shape.cpu, node.free.memory - shape.memory);
    let after = cost(profiles, *pool, node.class, free, &left);
    let taken = node.devices.charge(shape.gpu, gpus).0.unsigned_abs();
    after - before + ((taken * profiles.price(node.class)) << 16) as i64
}

/// Plain best fit: CPU and GPU left after the placement, each as a share of the largest node of the pool.
fn fullness(place: &Place<'_>, classes: &Classes) -> i64 {
    let all = classes.of_pool(place.pool).iter().map(|c| &classes.at(*c).empty);
    let (cpu, gpus) =
        all.fold((1, 1), |(cpu, gpus), n| (cpu.max(n.free.cpu), gpus.max(n.devices.len() as i64)));
    let node = place.node;
    let left: i64 = free_share(&Left::after(&node.devices, place.gpus())).try_into().unwrap_or(i64::MAX);
    (node.free.cpu - place.shape.cpu) * 1_000_000 / cpu + left / gpus
}

/// What is left of a device, in millionths of it.
fn share(left: u32, total: u32) -> u64 {
    u64::from(left) * 1_000_000 / u64::from(total.max(1))
}

fn free_share(left: &Left) -> u64 {
    let parts = left.parts.iter().map(|(l, t)| share(*l, *t));
    u64::from(left.free) * 1_000_000 + parts.sum::<u64>()
}

/// Fragmentation gradient descent: expected GPU share that one pod drawn from the kinds cannot use, after less before.
fn fragmented_by(place: &Place<'_>, profiles: &Profiles, shapes: &Shapes) -> i64 {
    let node = place.node;
    let after = Left::after(&node.devices, place.gpus());
    let now = Left::now(&node.devices);
    let free = (node.free.cpu, node.free.memory);
    let then = (free.0 - place.shape.cpu, free.1 - place.shape.memory);
    let taken = profiles.view(node.class).taken();
    let mut sum = 0;
    for (at, (kind, weight)) in profiles.kinds().enumerate().filter(|(_, (_, weight))| *weight > 0) {
        let takes = taken >> at & 1 == 1;
        let unusable = |free: (i64, i64), left: &Left| unusable(shapes.at(kind), takes, free, left);
        sum += weight as i64 * (unusable(then, &after) - unusable(free, &now));
    }
    sum
}

fn unusable(kind: &Shape, takes: bool, (cpu, memory): (i64, i64), left: &Left) -> i64 {
    let total = free_share(left) as i64;
    if !takes || kind.cpu > cpu || kind.memory > memory {
        return total;
    }
    let device = GpuShare::DEVICE.0;
    let usable = match kind.gpu {
        GpuRequest::None => 0,
        GpuRequest::Whole(n) => {
            if left.free >= n {
                i64::from(left.free) * device
            } else {
                0
            }
        }
        request => {
            let parts = left.parts.iter().filter(|(l, t)| *l >= crate::device::need(request, *t));
            let parts: u64 = parts.map(|(l, t)| share(*l, *t)).sum();
            i64::from(left.free) * device + parts as i64
        }
    };
    total - usable
}

/// Free GPU share of a node that a pod drawn from the kinds could not use, in millionths of a device. A kind is its
/// shape, its weight, and whether the node's class takes it.
pub(crate) fn stranded_on(node: &Node, kinds: &[(&Shape, u64, bool)]) -> i64 {
    let now = Left::now(&node.devices);
    if now.free == 0 && now.parts.is_empty() {
        return 0;
    }
    let free = (node.free.cpu, node.free.memory);
    let (mut sum, mut weights) = (0, 0);
    for (kind, weight, takes) in kinds {
        sum += *weight as i64 * unusable(kind, *takes, free, &now);
        weights += *weight as i64;
    }
    sum.checked_div(weights).unwrap_or(0)
}
