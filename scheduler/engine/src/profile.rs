//! The shapes present, as the node preference sees them (S12).
//!
//! *Kinds* are the commonest GPU shapes among running and pending pods, at most 64, so that a set of kinds is one
//! word. A kind's weight is its number of pods rounded down to a power of two: a pure function of what is present, which
//! changes seldom, so that everything computed from it can be kept until it does.
//! Costs: counting a pod is O(1) unless a power of two is passed; then kinds are chosen anew, O(shapes log shapes), and
//! the tables of a class, O(kinds log kinds), when the class is next looked at.

use crate::class::Classes;
use crate::device::{Devices, need};
use crate::ix::{ClassIx, NodeIx, PoolIx, ShapeIx};
use crate::shape::{Shape, Shapes};
use berth_model::{GpuRequest, GpuShare};
use rustc_hash::FxHashMap;

/// How many kinds are looked at.
pub(crate) const KINDS: usize = 64;
/// How many scores are remembered; a power of two.
const SCORES: usize = 1 << 14;
/// How many node states' costs are remembered per pool.
const STATES: usize = 1 << 14;
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
    /// Per class of the pool, in its order: the kinds it takes, and half its price per device, in [`ONE`]ths.
    takes: Vec<(ClassIx, KindMask, u64)>,
    /// What a device costs that none but these kinds can use.
    memo: FxHashMap<KindMask, u64>,
    /// What a node costs by class, CPU, memory and wholly free devices, if none is shared.
    states: FxHashMap<(ClassIx, i64, i64, u32), i64>,
}

/// What the kinds ask for, as the nodes of a class see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassView {
    epoch: u64,
    /// The kinds the tables are made of, and those of them that the class takes.
    of: Option<(u64, KindMask)>,
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
    /// Grows when other shapes are kinds than before.
    chosen: u64,
    pools: Vec<PoolView>,
    classes: Vec<ClassView>,
    /// Per node: the epoch in which its cost was computed, and the cost.
    costs: Vec<(u64, i64)>,
    /// Per node: how often it has changed.
    versions: Vec<u32>,
    /// Scores of late, by node and shape; a slot holds one.
    scores: Vec<Scored>,
}

/// A remembered score.
#[derive(Clone, Copy, Debug)]
struct Scored {
    node: NodeIx,
    shape: ShapeIx,
    epoch: u64,
    version: u32,
    score: i64,
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
        // Most often everything fits: look at the largest first.
        if let Some((need, all)) = self.0.last()
            && *need <= x
        {
            return *all;
        }
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
        let fed = |(need, devices, _): &(i64, i64, KindMask)| {
            need.saturating_mul(rank) <= x.saturating_mul(*devices)
        };
        if let Some(most) = self.0.last().filter(|most| fed(most)) {
            return most.2;
        }
        match self.0.partition_point(fed) {
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

    /// The kinds that the class takes.
    pub(crate) fn taken(&self) -> KindMask {
        self.whole | self.shared
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
            kinds.select_nth_unstable_by(KINDS, |a, b| rank(a, shapes).cmp(&rank(b, shapes)));
            kinds.truncate(KINDS);
            kinds.sort_unstable_by_key(|kind| kind.shape);
        }
        if !kinds.iter().map(|k| k.shape).eq(self.kinds.iter().map(|k| k.shape)) {
            self.chosen += 1;
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
            let taken = self.pools[pool.i()].takes.iter().find(|(c, _, _)| *c == class);
            let (mask, price) = taken.map_or((0, 0), |(_, mask, price)| (*mask, *price));
            if self.classes[class.i()].of != Some((self.chosen, mask)) {
                self.classes[class.i()] = self.class_view(&classes.at(class).empty.devices, mask, shapes);
            }
            let view = &mut self.classes[class.i()];
            (view.epoch, view.price) = (self.epoch, price);
        }
    }

    /// The tables of a class after [`Self::prepare`].
    pub(crate) fn view(&self, class: ClassIx) -> &ClassView {
        &self.classes[class.i()]
    }

    fn pool_view(&self, pool: PoolIx, classes: &mut Classes, shapes: &Shapes) -> PoolView {
        let of_pool = classes.of_pool(pool).to_vec();
        let mut view = PoolView { epoch: self.epoch, classes: of_pool.len(), ..PoolView::default() };
        view.takes = of_pool.iter().map(|class| (*class, 0, 0)).collect();
        let devices = |class: &ClassIx, classes: &Classes| {
            let class = classes.at(*class);
            (class.nodes.len() * class.empty.devices.len()) as u64
        };
        let all = of_pool.iter().filter(|c| devices(c, classes) > 0).count();
        for (at, kind) in self.kinds.iter().enumerate() {
            classes.prepare(shapes, kind.shape, pool);
            let (mut usable, mut total) = (0, 0);
            let taking: Vec<ClassIx> =
                classes.tiers(kind.shape, pool).iter().flat_map(|t| t.classes.iter().copied()).collect();
            for class in &taking {
                let devices = devices(class, classes);
                usable += usize::from(devices > 0);
                total += devices;
            }
            let shape = shapes.at(kind.shape);
            let several = if let GpuRequest::Whole(n) = shape.gpu { u64::from(n) } else { 1 };
            // Kinds that need several devices, or cannot go everywhere, are hard to place: they count more.
            let hard = if several > 1 || usable < all { 2 * several } else { 1 };
            let weight = if usable == 0 { 0 } else { kind.weight };
            view.weights.push((weight, weight * hard));
            view.total.0 += weight;
            view.total.1 += weight * hard;
            let demand =
                if usable < all { weight * devices_asked(shape, &taking, classes) / total.max(1) } else { 0 };
            for (class, mask, price) in &mut view.takes {
                if taking.contains(class) {
                    *mask |= 1 << at;
                    *price += demand;
                }
            }
        }
        view.takes.iter_mut().for_each(|(_, _, price)| *price = (*price).min(ONE) / 2);
        view
    }

    fn class_view(&self, devices: &Devices, mask: KindMask, shapes: &Shapes) -> ClassView {
        let mut view = ClassView {
            of: Some((self.chosen, mask)),
            up_to: vec![0; devices.len() + 1],
            ..ClassView::default()
        };
        let total = devices.iter().map(|d| d.total).max().unwrap_or(1);
        let (mut cpu, mut memory, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu_each, mut memory_each) = (Vec::new(), Vec::new());
        for (at, kind) in self.kinds.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1) {
            let shape = shapes.at(kind.shape);
            let bit = 1 << at;
            let n = if let GpuRequest::Whole(n) = shape.gpu { n } else { 1 };
            if matches!(shape.gpu, GpuRequest::Whole(_)) {
                view.whole |= bit;
                (n as usize..=devices.len()).for_each(|free| view.up_to[free] |= bit);
            } else {
                view.shared |= bit;
                view.up_to.iter_mut().for_each(|mask| *mask |= bit);
                share.push((i64::from(need(shape.gpu, total)), bit));
            }
            cpu.push((shape.cpu, bit));
            memory.push((shape.memory, bit));
            cpu_each.push((shape.cpu, i64::from(n), bit));
            memory_each.push((shape.memory, i64::from(n), bit));
        }
        view.cpu = Steps::new(cpu);
        view.memory = Steps::new(memory);
        view.share = Steps::new(share);
        view.cpu_each = Ratios::new(cpu_each);
        view.memory_each = Ratios::new(memory_each);
        view
    }

    /// The cost of a node without shared devices, if it is known.
    pub(crate) fn known_state(&self, pool: PoolIx, state: (ClassIx, i64, i64, u32)) -> Option<i64> {
        self.pools[pool.i()].states.get(&state).copied()
    }

    /// Remembers the cost of a node without shared devices.
    pub(crate) fn learn_state(&mut self, pool: PoolIx, state: (ClassIx, i64, i64, u32), cost: i64) {
        let states = &mut self.pools[pool.i()].states;
        if states.len() >= STATES {
            states.clear();
        }
        states.insert(state, cost);
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
        let share = |part: u64, total: u64| (part * ONE).checked_div(total).unwrap_or(0);
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

    fn slot(node: NodeIx, shape: ShapeIx) -> usize {
        let mixed = (u64::from(node.0) << 32 | u64::from(shape.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - SCORES.ilog2())) as usize
    }

    /// The score of a pod of the shape on the node, if it is known and still true.
    pub(crate) fn known_score(&self, node: NodeIx, shape: ShapeIx) -> Option<i64> {
        let known = self.scores.get(Self::slot(node, shape))?;
        let version = self.versions.get(node.i()).copied().unwrap_or(0);
        let same = known.node == node && known.shape == shape;
        (same && known.epoch == self.epoch && known.version == version).then_some(known.score)
    }

    /// Remembers a score.
    pub(crate) fn learn_score(&mut self, node: NodeIx, shape: ShapeIx, score: i64) {
        if self.scores.is_empty() {
            let none = Scored { node, shape, epoch: u64::MAX, version: 0, score: 0 };
            self.scores = vec![none; SCORES];
        }
        let version = self.versions.get(node.i()).copied().unwrap_or(0);
        self.scores[Self::slot(node, shape)] = Scored { node, shape, epoch: self.epoch, version, score };
    }

    /// Forgets what is known of a node that changes.
    pub(crate) fn forget(&mut self, ix: NodeIx) {
        if self.versions.len() <= ix.i() {
            self.versions.resize(ix.i() + 1, 0);
        }
        self.versions[ix.i()] = self.versions[ix.i()].wrapping_add(1);
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
    (0..4).fold(u128::from(q) << 16, |power, _| (power * power) >> 32) as u64
}

/// The number of pods rounded down to a power of two.
fn weight(pods: i64) -> u64 {
    if pods <= 0 { 0 } else { 1 << (63 - pods.leading_zeros()) }
}

/// The order in which shapes are chosen as kinds.
fn rank(kind: &Kind, shapes: &Shapes) -> (std::cmp::Reverse<u64>, i64, i64, GpuRequest, u64) {
    let shape = shapes.at(kind.shape);
    (std::cmp::Reverse(kind.weight), shape.cpu, shape.memory, shape.gpu, shape.content)
}

/// How many devices, in [`ONE`]ths, a pod of the shape takes.
fn devices_asked(shape: &Shape, taking: &[ClassIx], classes: &Classes) -> u64 {
    match shape.gpu {
        GpuRequest::None => 0,
        GpuRequest::Whole(n) => u64::from(n) * ONE,
        GpuRequest::Share { share, devices, .. } => {
            share.0.unsigned_abs() * u64::from(devices) * ONE / GpuShare::DEVICE.0.unsigned_abs()
        }
        GpuRequest::Memory { devices, .. } => {
            let totals = taking.iter().flat_map(|c| classes.at(*c).empty.devices.iter().map(|d| d.total));
            let total = totals.max().unwrap_or(1);
            u64::from(need(shape.gpu, total)) * u64::from(devices) * ONE / u64::from(total.max(1))
        }
    }
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
