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
use crate::device::{Devices, charge, need};
use crate::ix::{PoolIx, ShapeIx, StateIx};
use crate::kinds::{ClassView, KindMask, Reach};
use crate::node::Node;
use crate::profile::Profiles;
use crate::remember::{About, Parts, Usage};
use crate::shape::{Shape, Shapes};
use crate::state::{Alike, State};
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
    fn now(place: &Place<'_>) -> Self {
        match place.state.alike() {
            Some(alike) => Self { free: alike.free, parts: alike.parts() },
            None => Self::on(&place.node.devices),
        }
    }

    /// After the placement; and the share that the pod is charged.
    fn after(place: &Place<'_>) -> (Self, u64) {
        let request = place.shape.gpu;
        match (place.state.alike(), request) {
            (_, GpuRequest::None) => (Self::now(place), 0),
            (Some(alike), GpuRequest::Whole(count)) => {
                let left = Self { free: alike.free - count, parts: alike.parts() };
                (left, GpuShare::devices(count).0.unsigned_abs())
            }
            (Some(alike), _) if request.devices() == 1 && place.device == DeviceStrategy::Binpack => {
                (Self::after_share(alike, request), charge(request, alike.total).0.unsigned_abs())
            }
            _ => {
                let devices = &place.node.devices;
                let grant = devices.choose(request, place.device).unwrap_or_default();
                (Self::after_grant(devices, grant), devices.charge(request, grant).0.unsigned_abs())
            }
        }
    }

    /// A share goes to the fullest shared device that has it left, else to a free one (S15).
    fn after_share(alike: Alike<'_>, request: GpuRequest) -> Self {
        let need = need(request, alike.total);
        let mut left = Self { free: alike.free, parts: alike.parts() };
        match left.parts.iter().rposition(|(left, _)| *left >= need.max(1)) {
            Some(at) => {
                left.parts[at].0 -= need;
                left.settle(at);
            }
            None => {
                left.free -= 1;
                left.parts.push((alike.total - need, alike.total));
                left.settle(left.parts.len() - 1);
            }
        }
        if left.parts.last().is_some_and(|(left, _)| *left == 0) {
            left.parts.pop();
        }
        left
    }

    /// Moves a part to where it belongs among the others, which are in order.
    fn settle(&mut self, mut at: usize) {
        let parts = &mut self.parts;
        while at + 1 < parts.len() && parts[at] < parts[at + 1] {
            parts.swap(at, at + 1);
            at += 1;
        }
        while at > 0 && parts[at - 1] < parts[at] {
            parts.swap(at - 1, at);
            at -= 1;
        }
    }

    fn after_grant(devices: &Devices, grant: GpuGrant) -> Self {
        let taken = grant.devices().0;
        let free = DeviceMask(devices.free.0 & !taken);
        match grant {
            GpuGrant::None | GpuGrant::Whole(_) => Self::of(devices, free, devices.shared, None),
            GpuGrant::Shared { devices: mask, each, .. } => {
                let shared = DeviceMask(devices.shared.0 | taken);
                Self::of(devices, free, shared, Some((mask, each.0 as u32)))
            }
        }
    }

    fn on(devices: &Devices) -> Self {
        Self::of(devices, devices.free, devices.shared, None)
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

impl Alike<'_> {
    fn parts(&self) -> SmallVec<[(u32, u32); 8]> {
        self.lefts.iter().rev().map(|left| (*left, self.total)).collect()
    }
}

/// Tells which kinds, out of some, can use how much of what is left on a node, in millionths of a device.
fn usable(
    (view, reach): (&ClassView, &Reach<'_>),
    some: KindMask,
    left: &Left,
    mut tell: impl FnMut(KindMask, u64),
) {
    if left.free == 0 && left.parts.is_empty() {
        return;
    }
    let base = some & view.up_to(left.free) & reach.one();
    // From the last rank, which the fewest kinds can use, to the first; once all are fed they remain so.
    let mut fed = 0;
    let mut on = |rank: u32| {
        if base & !fed != 0 {
            fed = reach.on(rank);
        }
        base & fed
    };
    for (at, (have, total)) in left.parts.iter().enumerate().rev() {
        tell(on(left.free + 1 + at as u32) & view.fit(*have), share(*have, *total));
    }
    // Ranks that the same kinds can use cost the same.
    let (mut alike, mut kinds) = (0, 0);
    for rank in (1..=left.free).rev() {
        let now = on(rank);
        if now != kinds && alike > 0 {
            tell(kinds, alike * 1_000_000);
            alike = 0;
        }
        (alike, kinds) = (alike + 1, now);
    }
    if alike > 0 {
        tell(kinds, alike * 1_000_000);
    }
}

/// What the GPU capacity left in a state costs, now or after a placement, and the share that the placement is charged.
/// If that was asked before, when other shapes were present, what it is reckoned from is to be kept.
fn reckon(profiles: &mut Profiles, place: &Place<'_>, about: About) -> (i64, u64, Option<Box<Usage>>) {
    let again = profiles.remembered.usage(about).is_some();
    let (free, class) = (place.state.free(), place.state.class());
    let ((left, taken), (cpu, memory)) = match about.shape {
        None => ((Left::now(place), 0), (free.cpu, free.memory)),
        Some(_) => (Left::after(place), (free.cpu - place.shape.cpu, free.memory - place.shape.memory)),
    };
    let made_of = profiles.made_of();
    let (pool, view, feeds) = profiles.tables(place.pool, class);
    let reach = feeds.reach(cpu, memory);
    if again {
        let mut parts = Parts::new();
        usable((view, &reach), KindMask::MAX, &left, |kinds, share| parts.push((kinds, share)));
        return (pool.cost(&parts), taken, Some(Box::new(Usage { made_of, taken, parts })));
    }
    let (mut cost, live) = (0, pool.live());
    usable((view, &reach), live, &left, |kinds, share| cost += pool.cost_of(kinds, share));
    (cost as i64, taken, None)
}

/// What the capacity left in a state costs now; remembered until the shapes present change.
fn cost_now(profiles: &mut Profiles, place: &Place<'_>) -> i64 {
    let (epoch, about) = (profiles.epoch(), About { shape: None, ..place.about() });
    if let Some(known) = profiles.remembered.value(epoch, about) {
        return known;
    }
    let (cost, _, usage) =
        profiles.reckon_again(place.pool, about).unwrap_or_else(|| reckon(profiles, place, about));
    profiles.remembered.learn(epoch, about, cost, usage);
    cost
}

/// What a placement looks at: a node, any of its state. Nothing but the state decides.
pub(crate) struct Place<'a> {
    pub(crate) at: StateIx,
    pub(crate) state: &'a State,
    pub(crate) node: &'a Node,
    pub(crate) kind: ShapeIx,
    pub(crate) shape: &'a Shape,
    pub(crate) pool: PoolIx,
    pub(crate) device: DeviceStrategy,
}

impl Place<'_> {
    fn about(&self) -> About {
        About { at: self.at, state: self.state.id, shape: Some(self.kind) }
    }
}

/// What a strategy measures of a placement; the least is best. Remembered until the shapes present change.
pub(crate) fn measure(
    strategy: Strategy,
    place: &Place<'_>,
    profiles: &mut Profiles,
    classes: &Classes,
    shapes: &Shapes,
) -> i64 {
    let (measure, usage) = match strategy {
        Strategy::Binpack => stranded_by(place, profiles),
        Strategy::Fgd => (fragmented_by(place, profiles, shapes), None),
        Strategy::BestFit => (fullness(place, classes), None),
        Strategy::Spread if place.shape.gpu == GpuRequest::None => (0, None),
        Strategy::Spread => (-i64::from(place.node.devices.free.count()), None),
    };
    profiles.remembered.learn(profiles.epoch(), place.about(), measure, usage);
    measure
}

/// The default: cost after less cost before, plus half the price of what is taken.
fn stranded_by(place: &Place<'_>, profiles: &mut Profiles) -> (i64, Option<Box<Usage>>) {
    let before = cost_now(profiles, place);
    let about = place.about();
    let (after, taken, usage) =
        profiles.reckon_again(place.pool, about).unwrap_or_else(|| reckon(profiles, place, about));
    let price = profiles.price(place.state.class());
    (after - before + ((taken * price) << 16) as i64, usage)
}

/// Plain best fit: CPU and GPU left after the placement, each as a share of the largest node of the pool.
fn fullness(place: &Place<'_>, classes: &Classes) -> i64 {
    let all = classes.of_pool(place.pool).iter().map(|c| &classes.at(*c).empty);
    let (cpu, gpus) =
        all.fold((1, 1), |(cpu, gpus), n| (cpu.max(n.free.cpu), gpus.max(n.devices.len() as i64)));
    let node = place.node;
    let left: i64 = free_share(&Left::after(place).0).try_into().unwrap_or(i64::MAX);
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
    let (after, _) = Left::after(place);
    let now = Left::now(place);
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
            let parts = left.parts.iter().filter(|(l, t)| *l >= need(request, *t));
            let parts: u64 = parts.map(|(l, t)| share(*l, *t)).sum();
            i64::from(left.free) * device + parts as i64
        }
    };
    total - usable
}

/// Free GPU share of a node that a pod drawn from the kinds could not use, in millionths of a device. A kind is its
/// shape, its weight, and whether the node's class takes it.
pub(crate) fn stranded_on(node: &Node, kinds: &[(&Shape, u64, bool)]) -> i64 {
    let now = Left::on(&node.devices);
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
