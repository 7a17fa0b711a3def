//! The shapes present, as the node preference sees them (S12).
//!
//! *Kinds* are the commonest GPU shapes among running and pending pods, at most 64, so that a set of kinds is one
//! word. A kind's weight is its number of pods rounded down to a power of two: a pure function of what is present, which
//! changes seldom, so that everything computed from it can be kept until it does.
//! Costs: counting a pod is O(1) unless a power of two is passed; then kinds are chosen anew, O(shapes log shapes), and
//! the tables of a class, O(kinds log kinds), when the class is next looked at.

use crate::class::Classes;
use crate::device::need;
use crate::ix::{ClassIx, NodeIx, PoolIx, ShapeIx};
use crate::shape::{Shape, Shapes};
use berth_model::{GpuRequest, GpuShare};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// How many kinds are looked at.
pub(crate) const KINDS: usize = 64;
/// One, in the fixed point of weights' shares.
const ONE: u64 = 1 << 16;

/// A set of kinds.
pub(crate) type KindMask = u64;

/// A common shape.
#[derive(Clone, Copy, Debug)]
struct Kind {
    shape: ShapeIx,
    weight: u64,
}

/// What a pool's kinds weigh together.
#[derive(Clone, Debug, Default)]
struct PoolView {
    epoch: u64,
    classes: usize,
    /// Per kind, in the pool: plain weight, and weight with hard kinds counted more.
    weights: Vec<(u64, u64)>,
    total: (u64, u64),
    /// What a device costs that none but these kinds can use.
    memo: FxHashMap<KindMask, u64>,
}

/// What the kinds ask for, as the nodes of a class see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassView {
    epoch: u64,
    /// Half of the restricted demand that the class's devices have to serve, per device, in [`ONE`]ths.
    price: u64,
    whole: KindMask,
    shared: KindMask,
    cpu: Steps,
    memory: Steps,
    cpu_each: Ratios,
    memory_each: Ratios,
    share: Steps,
    /// Kinds that ask for at most this many whole devices, or for a share.
    up_to: Vec<KindMask>,
}

/// Kinds by what they need: those that need at most `x` are a prefix.
#[derive(Clone, Debug, Default)]
struct Steps(Vec<(i64, KindMask)>);

/// Kinds by what they need per device, as fractions `need / devices`.
#[derive(Clone, Debug, Default)]
struct Ratios(Vec<(i64, i64, KindMask)>);

/// Counts of shapes, kinds, and the tables made from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles {
    present: Vec<i64>,
    epoch: u64,
    stale: bool,
    kinds: Vec<Kind>,
    pools: Vec<PoolView>,
    classes: Vec<ClassView>,
    /// Per node: the epoch in which its cost was computed, and the cost.
    costs: Vec<(u64, i64)>,
}

impl Steps {
    fn new(mut needs: Vec<(i64, KindMask)>) -> Self {
        needs.sort_unstable();
        let mut all = 0;
        for (_, mask) in &mut needs {
            all |= *mask;
            *mask = all;
        }
        needs.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 = later.1;
            }
            same
        });
        Self(needs)
    }

    fn at_most(&self, x: i64) -> KindMask {
        match self.0.partition_point(|(need, _)| *need <= x) {
            0 => 0,
            n => self.0[n - 1].1,
        }
    }
}

impl Ratios {
    fn new(mut needs: Vec<(i64, i64, KindMask)>) -> Self {
        needs.sort_by(|a, b| (i128::from(a.0) * i128::from(b.1)).cmp(&(i128::from(b.0) * i128::from(a.1))));
        let mut all = 0;
        for (_, _, mask) in &mut needs {
            all |= *mask;
            *mask = all;
        }
        Self(needs)
    }

    /// Kinds of which pods on `rank` devices need at most `x` in all.
    fn fed(&self, x: i64, rank: i64) -> KindMask {
        match self
            .0
            .partition_point(|(need, devices, _)| need.saturating_mul(rank) <= x.saturating_mul(*devices))
        {
            0 => 0,
            n => self.0[n - 1].2,
        }
    }
}

impl ClassView {
    /// Kinds of which one pod finds CPU and memory, and enough of `free` wholly free devices.
    pub(crate) fn base(&self, cpu: i64, memory: i64, free: u32) -> KindMask {
        let up_to = self.up_to[(free as usize).min(self.up_to.len() - 1)];
        up_to & self.cpu.at_most(cpu) & self.memory.at_most(memory)
    }

    /// Kinds that CPU and memory feed on `rank` devices.
    pub(crate) fn fed(&self, cpu: i64, memory: i64, rank: i64) -> KindMask {
        self.cpu_each.fed(cpu, rank) & self.memory_each.fed(memory, rank)
    }

    /// Kinds that fit a device with `left` MiB; whole kinds only if it is wholly free.
    pub(crate) fn fit(&self, left: u32, free: bool) -> KindMask {
        let shared = self.share.at_most(left.into()) & self.shared;
        if free { shared | self.whole } else { shared }
    }

    /// What a device of the class costs on top, in [`ONE`]ths of a device.
    pub(crate) fn price(&self) -> u64 {
        self.price
    }
}

impl Profiles {
    /// Counts pods of a shape that come (positive) or go.
    pub(crate) fn count(&mut self, ix: ShapeIx, change: i64, shape: &Shape) {
        if self.present.len() <= ix.i() {
            self.present.resize(ix.i() + 1, 0);
        }
        let before = self.present[ix.i()];
        self.present[ix.i()] = before + change;
        self.stale |= shape.gpu != GpuRequest::None && weight(before) != weight(before + change);
    }

    /// Pods of a shape that run or wait.
    pub(crate) fn present(&self, ix: ShapeIx) -> i64 {
        self.present.get(ix.i()).copied().unwrap_or(0)
    }

    /// Grows whenever what is computed from the shapes present, or from the classes, may have changed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The nodes of a class are no longer as many as before.
    pub(crate) fn classes_changed(&mut self) {
        self.stale = true;
    }

    /// Chooses the kinds anew if the shapes present have changed enough.
    pub(crate) fn refresh(&mut self, shapes: &Shapes) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.epoch += 1;
        let common =
            self.present.iter().enumerate().filter(|(_, n)| **n > 0).map(|(at, n)| (ShapeIx::of(at), *n));
        let mut kinds: Vec<Kind> = common
            .filter(|(shape, _)| shapes.at(*shape).gpu != GpuRequest::None)
            .map(|(shape, n)| Kind { shape, weight: weight(n) })
            .collect();
        if kinds.len() > KINDS {
            kinds.sort_by_cached_key(|kind| {
                let shape = shapes.at(kind.shape);
                (std::cmp::Reverse(kind.weight), shape.cpu, shape.memory, shape.gpu, content(shape))
            });
            kinds.truncate(KINDS);
        }
        self.kinds = kinds;
    }

    /// Makes sure that [`Self::view`] and [`Self::device_cost`] answer for the class.
    pub(crate) fn prepare(&mut self, class: ClassIx, pool: PoolIx, classes: &mut Classes, shapes: &Shapes) {
        if self.classes.len() <= class.i() {
            self.classes.resize_with(class.i() + 1, ClassView::default);
        }
        if self.pools.len() <= pool.i() {
            self.pools.resize_with(pool.i() + 1, PoolView::default);
        }
        let count = classes.of_pool(pool).len();
        if self.pools[pool.i()].epoch != self.epoch || self.pools[pool.i()].classes != count {
            self.pools[pool.i()] = self.pool_view(pool, classes, shapes);
        }
        if self.classes[class.i()].epoch != self.epoch {
            self.classes[class.i()] = self.class_view(class, classes, shapes);
        }
    }

    /// The tables of a class after [`Self::prepare`].
    pub(crate) fn view(&self, class: ClassIx) -> &ClassView {
        &self.classes[class.i()]
    }

    fn pool_view(&self, pool: PoolIx, classes: &mut Classes, shapes: &Shapes) -> PoolView {
        let with_gpus: Vec<ClassIx> = gpu_classes(pool, classes);
        let mut view =
            PoolView { epoch: self.epoch, classes: classes.of_pool(pool).len(), ..PoolView::default() };
        for kind in &self.kinds {
            let usable = usable(classes, shapes, kind.shape, pool, &with_gpus);
            let devices = match shapes.at(kind.shape).gpu {
                GpuRequest::Whole(n) => u64::from(n),
                _ => 1,
            };
            // Kinds that need several devices, or cannot go everywhere, are hard to place: they count more.
            let hard = if devices > 1 || usable < with_gpus.len() { 2 * devices } else { 1 };
            let weight = if usable == 0 { 0 } else { kind.weight };
            view.weights.push((weight, weight * hard));
            view.total.0 += weight;
            view.total.1 += weight * hard;
        }
        view
    }

    fn class_view(&self, ix: ClassIx, classes: &mut Classes, shapes: &Shapes) -> ClassView {
        let pool = classes.at(ix).pool;
        let with_gpus = gpu_classes(pool, classes);
        let devices = classes.at(ix).empty.devices.len();
        let mut view = ClassView { epoch: self.epoch, up_to: vec![0; devices + 1], ..ClassView::default() };
        let total = classes.at(ix).empty.devices.iter().map(|d| d.total).max().unwrap_or(1);
        let (mut cpu, mut memory, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu_each, mut memory_each) = (Vec::new(), Vec::new());
        let mut price = 0;
        for (at, kind) in self.kinds.iter().enumerate() {
            classes.prepare(shapes, kind.shape, pool);
            if !classes.takes(kind.shape, pool, ix) {
                continue;
            }
            let shape = shapes.at(kind.shape);
            let bit = 1 << at;
            let n = if let GpuRequest::Whole(n) = shape.gpu { n } else { 1 };
            if matches!(shape.gpu, GpuRequest::Whole(_)) {
                view.whole |= bit;
                (n as usize..=devices).for_each(|free| view.up_to[free] |= bit);
            } else {
                view.shared |= bit;
                view.up_to.iter_mut().for_each(|mask| *mask |= bit);
                share.push((i64::from(need(shape.gpu, total)), bit));
            }
            cpu.push((shape.cpu, bit));
            memory.push((shape.memory, bit));
            cpu_each.push((shape.cpu, i64::from(n), bit));
            memory_each.push((shape.memory, i64::from(n), bit));
            price += restricted_demand(kind, shape, pool, classes, shapes, &with_gpus);
        }
        view.cpu = Steps::new(cpu);
        view.memory = Steps::new(memory);
        view.share = Steps::new(share);
        view.cpu_each = Ratios::new(cpu_each);
        view.memory_each = Ratios::new(memory_each);
        view.price = price.min(ONE) / 2;
        view
    }

    /// What it costs per device that only the kinds in `usable` can use it: with `q` the share of kinds that cannot,
    /// by plain weight, and `h` the same with hard kinds counted more, `q^16 + h/16`, in 2^-32ths.
    pub(crate) fn device_cost(&mut self, pool: PoolIx, usable: KindMask) -> u64 {
        let view = &mut self.pools[pool.i()];
        if let Some(known) = view.memo.get(&usable) {
            return *known;
        }
        let (mut plain, mut hard) = view.total;
        for (at, (p, h)) in view.weights.iter().enumerate() {
            if usable >> at & 1 == 1 {
                plain -= p;
                hard -= h;
            }
        }
        let share = |part: u64, total: u64| if total == 0 { 0 } else { part * ONE / total };
        let cost = power_16(share(plain, view.total.0)) + (share(hard, view.total.1) << 16) / 16;
        view.memo.insert(usable, cost);
        cost
    }

    /// The cost of what is left on a node, if it is known.
    pub(crate) fn remembered(&self, ix: NodeIx) -> Option<i64> {
        self.costs.get(ix.i()).filter(|(epoch, _)| *epoch == self.epoch).map(|(_, cost)| *cost)
    }

    /// Remembers the cost of what is left on a node.
    pub(crate) fn remember(&mut self, ix: NodeIx, cost: i64) {
        if self.costs.len() <= ix.i() {
            self.costs.resize(ix.i() + 1, (u64::MAX, 0));
        }
        self.costs[ix.i()] = (self.epoch, cost);
    }

    /// Forgets the cost of a node that changes.
    pub(crate) fn forget(&mut self, ix: NodeIx) {
        if let Some(known) = self.costs.get_mut(ix.i()) {
            known.0 = u64::MAX;
        }
    }

    /// The kinds, as shape, number of pods and tables need them: for the `fgd` strategy.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (ShapeIx, u64)> {
        self.kinds.iter().map(|k| (k.shape, k.weight))
    }
}

/// `q^16` for a `q` in [`ONE`]ths, in 2^-32ths.
fn power_16(q: u64) -> u64 {
    (0..4).fold(u128::from(q) << 16, |power, _| power * power >> 32) as u64
}

/// The number of pods rounded down to a power of two.
fn weight(pods: i64) -> u64 {
    if pods <= 0 { 0 } else { 1 << (63 - pods.leading_zeros()) }
}

/// The classes of a pool that have GPUs, and nodes.
fn gpu_classes(pool: PoolIx, classes: &Classes) -> Vec<ClassIx> {
    let has = |c: &ClassIx| classes.at(*c).empty.devices.len() > 0 && !classes.at(*c).nodes.is_empty();
    classes.of_pool(pool).iter().copied().filter(has).collect()
}

fn usable(classes: &mut Classes, shapes: &Shapes, shape: ShapeIx, pool: PoolIx, among: &[ClassIx]) -> usize {
    classes.prepare(shapes, shape, pool);
    among.iter().filter(|class| classes.takes(shape, pool, **class)).count()
}

/// What pods of a kind that cannot go everywhere ask of each device they may use, in [`ONE`]ths.
fn restricted_demand(
    kind: &Kind,
    shape: &Shape,
    pool: PoolIx,
    classes: &mut Classes,
    shapes: &Shapes,
    with_gpus: &[ClassIx],
) -> u64 {
    let may: Vec<ClassIx> =
        with_gpus.iter().copied().filter(|c| classes.takes(kind.shape, pool, *c)).collect();
    if may.len() == with_gpus.len() || usable(classes, shapes, kind.shape, pool, &may) == 0 {
        return 0;
    }
    let devices: u64 =
        may.iter().map(|c| classes.at(*c)).map(|c| (c.nodes.len() * c.empty.devices.len()) as u64).sum();
    let each = match shape.gpu {
        GpuRequest::Whole(n) => u64::from(n) * ONE,
        GpuRequest::Share { share, devices, .. } => {
            share.0.unsigned_abs() * u64::from(devices) * ONE / GpuShare::DEVICE.0.unsigned_abs()
        }
        GpuRequest::Memory { devices, .. } => {
            let total = classes.at(may[0]).empty.devices.iter().map(|d| d.total).max().unwrap_or(1);
            u64::from(need(shape.gpu, total)) * u64::from(devices) * ONE / u64::from(total.max(1))
        }
        GpuRequest::None => 0,
    };
    kind.weight * each / devices.max(1)
}

/// A number that depends on the content of a shape alone, the same in every engine.
fn content(shape: &Shape) -> u64 {
    let mut hasher = FxHasher::default();
    shape.spec.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_weights_are_powers_of_two() {
        let cases = [(0, 0), (1, 1), (2, 2), (3, 2), (4, 4), (1000, 512)];
        for (pods, expected) in cases {
            assert_eq!(weight(pods), expected);
        }
    }

    #[test]
    fn s12_powers_are_exact_at_the_ends() {
        assert_eq!(power_16(0), 0);
        assert_eq!(power_16(ONE), 1 << 32);
        assert_eq!(power_16(ONE / 2), 1 << 16);
    }

    #[test]
    fn s12_prefixes_answer_what_fits() {
        let steps = Steps::new(vec![(5, 1), (3, 2), (5, 4)]);
        assert_eq!([2, 3, 4, 5, 9].map(|x| steps.at_most(x)), [0, 2, 2, 7, 7]);
        let ratios = Ratios::new(vec![(16, 2, 1), (12, 1, 2)]);
        assert_eq!([7, 8, 11, 12].map(|x| ratios.fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!(ratios.fed(16, 2), 1);
    }
}
