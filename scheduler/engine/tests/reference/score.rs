//! What GPU capacity left on a node costs, over the kinds of pods present (decision 0001).

use super::devices::need;
use super::fits::could_take;
use super::state::{Shape, State};
use berth_model::{GpuRequest, NodeSpec, PoolId};
use std::sync::Arc;

/// 1 in fixed point.
const ONE: u64 = 1 << 16;

/// What is left on a node: shared devices as (left, total) in MiB, most left first.
pub(crate) struct Room {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) whole: usize,
    pub(crate) parts: Vec<(i64, i64)>,
}

/// A common shape.
struct Kind {
    shape: Arc<Shape>,
    weight: u64,
    hard: u64,
    /// What it asks of each device it may use, if it may not use all.
    demand: u64,
}

/// The kinds of a pool.
pub(crate) struct Kinds(Vec<Kind>);

impl State {
    /// The kinds present, as a pool sees them. Fewer than 64 are assumed.
    pub(crate) fn kinds(&self, pool: PoolId) -> Kinds {
        let shapes = self.gpu_shapes();
        assert!(shapes.len() <= 64, "more kinds than the engine looks at");
        let kind = |(shape, pods): (Arc<Shape>, u64)| {
            let nodes = self.gpu_nodes(pool, &shape);
            let all = nodes.len();
            let takers: Vec<&NodeSpec> = nodes.iter().filter(|(_, takes)| *takes).map(|(n, _)| *n).collect();
            let weight = if takers.is_empty() { 0 } else { 1 << pods.ilog2() };
            let n = whole(&shape).max(1);
            let everywhere = takers.len() == all;
            let hard = if n > 1 || !everywhere { weight * 2 * n } else { weight };
            let devices: u64 = takers.iter().map(|node| node.devices.len() as u64).sum();
            let demand = if everywhere { 0 } else { weight * asked(&shape, &takers) / devices.max(1) };
            Kind { shape, weight, hard, demand }
        };
        Kinds(shapes.into_iter().map(kind).collect())
    }
}

/// Whole devices asked for.
fn whole(shape: &Shape) -> u64 {
    if let GpuRequest::Whole(n) = shape.spec.gpu { u64::from(n) } else { 0 }
}

/// Devices asked for, in fixed point; MiB as the share of the largest device it may use.
fn asked(shape: &Shape, takers: &[&NodeSpec]) -> u64 {
    match shape.spec.gpu {
        GpuRequest::None => 0,
        GpuRequest::Whole(n) => u64::from(n) * ONE,
        GpuRequest::Share { share, devices, .. } => share.0 as u64 * u64::from(devices) * ONE / 1_000_000,
        GpuRequest::Memory { memory, devices, .. } => {
            let largest = takers.iter().flat_map(|n| &n.devices).map(|d| d.memory.0).max().unwrap_or(1);
            memory.0 as u64 * u64::from(devices) * ONE / largest as u64
        }
    }
}

impl Kinds {
    /// Half of the demand for the node's devices by those who cannot go everywhere, at most half a device each.
    pub(crate) fn price(&self, node: &NodeSpec) -> u64 {
        let demand =
            self.0.iter().filter(|k| could_take(&k.shape, node, false)).map(|k| k.demand).sum::<u64>();
        demand.min(ONE) / 2
    }

    /// What is left on the node costs this, in millionths of a device times 2^-32.
    pub(crate) fn cost(&self, node: &NodeSpec, room: &Room) -> i128 {
        let whole = std::iter::repeat_n(None, room.whole);
        let ranks = whole.chain(room.parts.iter().copied().map(Some));
        let cost = |(at, part): (usize, Option<(i64, i64)>)| {
            let usable = |kind: &&Kind| can_use(kind, node, room, at as i64 + 1, part);
            let (mut y, mut z) = (0, 0);
            self.0.iter().filter(usable).for_each(|kind| (y, z) = (y + kind.weight, z + kind.hard));
            let share = part.map_or(1_000_000, |(left, total)| left * 1_000_000 / total);
            i128::from(share) * i128::from(self.stranded(y, z))
        };
        ranks.enumerate().map(cost).sum()
    }

    /// `q^16 + h/16` for a device that kinds of weight `y`, hard weight `z`, can use.
    fn stranded(&self, y: u64, z: u64) -> u64 {
        let w: u64 = self.0.iter().map(|k| k.weight).sum();
        let v: u64 = self.0.iter().map(|k| k.hard).sum();
        let share = |part: u64, sum: u64| (part << 16).checked_div(sum).unwrap_or(0);
        let (q, h) = (share(w - y, w), share(v - z, v));
        let squared = |x: u128| (x * x) >> 32;
        let power = squared(squared(squared(squared(u128::from(q) << 16))));
        power as u64 + (h << 16) / 16
    }
}

/// True if the kind can use the device of this rank: a wholly free one, or one with (left, total) MiB.
fn can_use(kind: &Kind, node: &NodeSpec, room: &Room, rank: i64, part: Option<(i64, i64)>) -> bool {
    let spec = &kind.shape.spec;
    let (c, m) = (spec.requests.cpu.0, spec.requests.memory.0);
    let n = whole(&kind.shape) as i64;
    // What a share needs is taken from the node's largest device.
    let largest = node.devices.iter().map(|d| d.memory.0).max().unwrap_or(1);
    let device_fits = match part {
        None => true,
        Some((left, _)) => n == 0 && need(spec.gpu, largest) <= left,
    };
    could_take(&kind.shape, node, false)
        && room.cpu >= c
        && room.memory >= m
        && room.whole as i64 >= n
        && device_fits
        && rank * c <= n.max(1) * room.cpu
        && rank * m <= n.max(1) * room.memory
}
