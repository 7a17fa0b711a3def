//! The shapes present, as the node preference sees them (S12).
//!
//! *Kinds* are the commonest GPU shapes among running and pending pods, at most 64, each in a slot, so that a set of kinds
//! is two words. A kind's weight is its number of pods rounded down to a power of two: a pure function of what is present,
//! which changes seldom, so that everything computed from it can be kept until it does. A kind that is gone keeps its
//! slot, without weight, until another needs it, and there are twice as many slots as kinds: shapes that come and go do
//! not make the tables anew.
//! Costs: counting a pod is O(1) unless a power of two is passed; then the weights are added up anew, O(shapes + kinds
//! times classes), and tables only if a shape has become a kind that had no slot.

use crate::class::Classes;
use crate::device::need;
use crate::ix::{ClassIx, PoolIx, ShapeIx};
use crate::kinds::{ClassView, Feeds, KindMask};
use crate::remember::{About, Remembered, Usage};
use crate::shape::{Shape, Shapes};
use berth_model::{GpuRequest, GpuShare};
use smallvec::SmallVec;

/// How many kinds are looked at.
const KINDS: usize = 64;
/// How many slots there are for kinds.
const SLOTS: usize = KindMask::BITS as usize;
/// How many costs of devices are remembered per pool; a power of two.
const DEVICE_COSTS: usize = 1 << 9;
/// One, in the fixed point of weights' shares.
const ONE: u64 = 1 << 16;

/// A common shape.
#[derive(Clone, Copy, Debug)]
struct Kind {
    shape: ShapeIx,
    weight: u64,
}

/// A kind in a pool.
#[derive(Clone, Debug)]
struct KindInPool {
    /// How often its weight counts as hard to place; 0 if no class of the pool can take it.
    hard: u64,
    /// For kinds that cannot go everywhere: what a pod asks of each device it may use, over all of those, as a fraction.
    demand: Option<(u64, u64)>,
}

/// A pool's kinds and classes, and what they weigh.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolView {
    /// Of which choice of kinds and which classes the tables are made.
    made_of: Option<(u64, u64)>,
    kinds: Vec<KindInPool>,
    /// Per class of the pool, in its order: the kinds it takes, and half its price per device, in [`ONE`]ths.
    takes: Vec<(ClassIx, KindMask, u64)>,
    /// What follows is of this epoch.
    epoch: u64,
    /// Per kind: plain weight, and weight with hard kinds counted more.
    weights: Vec<(u64, u64)>,
    total: (u64, u64),
    /// Kinds that weigh something.
    live: KindMask,
    /// What a device costs that none but these kinds can use, and in which epoch it did.
    memo: Vec<(u64, KindMask, u64)>,
}

/// A class: its tables, of which kinds they are made, and its price.
#[derive(Clone, Debug, Default)]
struct ClassEntry {
    made_of: Option<(u64, KindMask)>,
    price: u64,
    view: ClassView,
}

/// Counts of shapes, kinds, and the tables made from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles {
    present: Vec<i64>,
    /// Grows whenever anything computed from what is here may have changed; 0 before anything is.
    epoch: u64,
    stale: bool,
    /// Kinds by slot; those without weight are only kept for their slot.
    kinds: Vec<Kind>,
    /// By shape.
    slots: Vec<Option<u8>>,
    /// Where to look first for a slot to use again.
    next_slot: usize,
    /// Grows when a slot is given to another shape.
    chosen: u64,
    /// What the kinds ask of CPU and memory, and of which choice of kinds this is.
    feeds: (Option<u64>, Feeds),
    /// Grows when classes get or lose nodes, or a pool's strategy is another.
    structure: u64,
    pools: Vec<PoolView>,
    classes: Vec<ClassEntry>,
    /// What was reckoned of late.
    pub(crate) remembered: Remembered,
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

    /// The nodes of a class are no longer as many as before, or a pool's strategy is another.
    pub(crate) fn classes_changed(&mut self) {
        self.stale = true;
        self.structure += 1;
    }

    /// Weighs the kinds anew if the shapes present have changed enough.
    pub(crate) fn refresh(&mut self, shapes: &Shapes) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.epoch += 1;
        let wanted = self.wanted(shapes);
        for kind in &mut self.kinds {
            kind.weight = 0;
        }
        // Those that have a slot first, so that theirs is not given away.
        for kind in &wanted {
            if let Some(slot) = self.slot_of(kind.shape) {
                self.kinds[slot] = *kind;
            }
        }
        for kind in wanted {
            if self.slot_of(kind.shape).is_none() {
                self.enter(kind);
            }
        }
    }

    fn slot_of(&self, shape: ShapeIx) -> Option<usize> {
        self.slots.get(shape.i()).copied().flatten().map(usize::from)
    }

    /// The shapes that are to be kinds, heaviest first where there are too many.
    fn wanted(&self, shapes: &Shapes) -> Vec<Kind> {
        let common =
            self.present.iter().enumerate().filter(|(_, n)| **n > 0).map(|(at, n)| (ShapeIx::of(at), *n));
        let mut wanted: Vec<Kind> = common
            .filter(|(shape, _)| shapes.at(*shape).gpu != GpuRequest::None)
            .map(|(shape, n)| Kind { shape, weight: weight(n) })
            .collect();
        if wanted.len() > KINDS {
            wanted.select_nth_unstable_by(KINDS, |a, b| rank(a, shapes).cmp(&rank(b, shapes)));
            wanted.truncate(KINDS);
        }
        wanted
    }

    /// Gives a kind a new slot, or one whose kind is gone.
    fn enter(&mut self, kind: Kind) {
        self.chosen += 1;
        let mut slots = (0..SLOTS).map(|at| (self.next_slot + at) % SLOTS);
        let vacant = slots.find(|slot| self.kinds.get(*slot).is_none_or(|kind| kind.weight == 0));
        let slot = vacant.expect("there are more slots than kinds");
        self.next_slot = (slot + 1) % SLOTS;
        match self.kinds.get_mut(slot) {
            Some(gone) => {
                self.slots[gone.shape.i()] = None;
                *gone = kind;
            }
            None => self.kinds.push(kind),
        }
        if self.slots.len() <= kind.shape.i() {
            self.slots.resize(kind.shape.i() + 1, None);
        }
        self.slots[kind.shape.i()] = Some(slot as u8);
    }

    /// Makes sure that [`Self::view`], [`Self::price`] and [`Self::tables`] answer for the pool.
    pub(crate) fn prepare(&mut self, pool: PoolIx, classes: &mut Classes, shapes: &Shapes) {
        if self.pools.len() <= pool.i() {
            self.pools.resize_with(pool.i() + 1, PoolView::default);
        }
        if self.pools[pool.i()].epoch == self.epoch {
            return;
        }
        if self.pools[pool.i()].made_of != Some(self.made_of()) {
            let memo = std::mem::take(&mut self.pools[pool.i()].memo);
            self.pools[pool.i()] = PoolView { memo, ..self.pool_view(pool, classes, shapes) };
            self.view_classes(pool, classes, shapes);
        }
        self.pools[pool.i()].weigh(self.epoch, &self.kinds);
        for (class, _, price) in &self.pools[pool.i()].takes {
            self.classes[class.i()].price = *price;
        }
    }

    /// Makes the tables of a pool's classes, those that are not as they should be.
    fn view_classes(&mut self, pool: PoolIx, classes: &Classes, shapes: &Shapes) {
        let kinds: Vec<&Shape> = self.kinds.iter().map(|kind| shapes.at(kind.shape)).collect();
        if self.feeds.0 != Some(self.chosen) {
            self.feeds = (Some(self.chosen), Feeds::new(&kinds));
        }
        for (class, mask, _) in &self.pools[pool.i()].takes {
            if self.classes.len() <= class.i() {
                self.classes.resize_with(class.i() + 1, ClassEntry::default);
            }
            let entry = &mut self.classes[class.i()];
            if entry.made_of != Some((self.chosen, *mask)) {
                entry.view = ClassView::new(&classes.at(*class).empty.devices, *mask, &kinds);
                entry.made_of = Some((self.chosen, *mask));
            }
        }
    }

    /// What a pool, one of its classes, and CPU and memory suffice for, after [`Self::prepare`].
    pub(crate) fn tables(&mut self, pool: PoolIx, class: ClassIx) -> (&mut PoolView, &ClassView, &Feeds) {
        (&mut self.pools[pool.i()], &self.classes[class.i()].view, &self.feeds.1)
    }

    /// The tables of a class after [`Self::prepare`].
    pub(crate) fn view(&self, class: ClassIx) -> &ClassView {
        &self.classes[class.i()].view
    }

    /// Half of the restricted demand that the class's devices have to serve, per device, in [`ONE`]ths, after
    /// [`Self::prepare`].
    pub(crate) fn price(&self, class: ClassIx) -> u64 {
        self.classes[class.i()].price
    }

    fn pool_view(&self, pool: PoolIx, classes: &mut Classes, shapes: &Shapes) -> PoolView {
        let of_pool = classes.of_pool(pool).to_vec();
        let mut view = PoolView { made_of: Some(self.made_of()), ..PoolView::default() };
        view.takes = of_pool.iter().map(|class| (*class, 0, 0)).collect();
        let devices = |class: ClassIx, classes: &Classes| {
            let class = classes.at(class);
            (class.nodes.len() * class.empty.devices.len()) as u64
        };
        let all = of_pool.iter().filter(|c| devices(**c, classes) > 0).count();
        for (at, kind) in self.kinds.iter().enumerate() {
            classes.prepare(shapes, kind.shape, pool);
            let tiers = classes.tiers(kind.shape, pool).iter();
            let taking: SmallVec<[ClassIx; 32]> = tiers.flat_map(|t| t.classes.iter().copied()).collect();
            let there: SmallVec<[ClassIx; 32]> =
                taking.iter().copied().filter(|c| devices(*c, classes) > 0).collect();
            let usable = there.len();
            let total: u64 = there.iter().map(|c| devices(*c, classes)).sum();
            for (_, mask, _) in view.takes.iter_mut().filter(|(class, _, _)| taking.contains(class)) {
                *mask |= 1 << at;
            }
            let shape = shapes.at(kind.shape);
            let several = if let GpuRequest::Whole(n) = shape.gpu { u64::from(n) } else { 1 };
            view.kinds.push(KindInPool {
                // Kinds that need several devices, or cannot go everywhere, are hard to place: they count more.
                hard: match usable {
                    0 => 0,
                    _ if several > 1 || usable < all => 2 * several,
                    _ => 1,
                },
                demand: (0 < usable && usable < all)
                    .then(|| (devices_asked(shape, &there, classes), total.max(1))),
            });
        }
        view
    }

    /// The cost and the charge of something that was reckoned when other shapes were present, if it was kept and is true
    /// of the same kinds.
    pub(crate) fn reckon_again(
        &mut self,
        pool: PoolIx,
        about: About,
    ) -> Option<(i64, u64, Option<Box<Usage>>)> {
        let usage = self.remembered.usage(about)?.filter(|usage| usage.made_of == self.made_of())?;
        Some((self.pools[pool.i()].cost(&usage.parts), usage.taken, None))
    }

    /// Changes when other shapes become kinds, classes get or lose nodes, or a pool's strategy is another.
    pub(crate) fn made_of(&self) -> (u64, u64) {
        (self.chosen, self.structure)
    }

    /// Until when what is reckoned holds: it changes with the shapes present.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The kinds by slot: shape and weight, 0 for one that is gone.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (ShapeIx, u64)> {
        self.kinds.iter().map(|k| (k.shape, k.weight))
    }
}

impl PoolView {
    /// The kinds that weigh something.
    pub(crate) fn live(&self) -> KindMask {
        self.live
    }

    /// What capacity costs of which kinds can use so many millionths of a device.
    pub(crate) fn cost(&mut self, parts: &[(KindMask, u64)]) -> i64 {
        parts.iter().map(|(kinds, share)| self.cost_of(*kinds, *share)).sum::<u64>() as i64
    }

    /// What so many millionths of a device cost that only these kinds can use.
    pub(crate) fn cost_of(&mut self, kinds: KindMask, share: u64) -> u64 {
        share * self.device_cost(kinds & self.live)
    }

    /// What it costs per device that only the kinds in `usable` can use it: with `q` the share of kinds that cannot,
    /// by plain weight, and `h` the same with hard kinds counted more, `q^16 + h/16`, in 2^-32ths.
    fn device_cost(&mut self, usable: KindMask) -> u64 {
        let slot = memo_slot(usable);
        let (epoch, kinds, cost) = self.memo[slot];
        if epoch == self.epoch && kinds == usable {
            return cost;
        }
        let (mut plain, mut hard) = self.total;
        let mut rest = usable;
        while rest != 0 {
            let (p, h) = self.weights[rest.trailing_zeros() as usize];
            (plain, hard) = (plain - p, hard - h);
            rest &= rest - 1;
        }
        let share = |part: u64, total: u64| (part * ONE).checked_div(total).unwrap_or(0);
        let cost = power_16(share(plain, self.total.0)) + (share(hard, self.total.1) << 16) / 16;
        self.memo[slot] = (self.epoch, usable, cost);
        cost
    }

    /// Adds up the weights of the kinds as they are now.
    fn weigh(&mut self, epoch: u64, kinds: &[Kind]) {
        self.epoch = epoch;
        self.memo.resize(DEVICE_COSTS, (0, 0, 0));
        self.weights.clear();
        self.total = (0, 0);
        self.live = 0;
        self.takes.iter_mut().for_each(|(_, _, price)| *price = 0);
        for (at, (kind, here)) in kinds.iter().zip(&self.kinds).enumerate() {
            if kind.weight == 0 || here.hard == 0 {
                self.weights.push((0, 0));
                continue;
            }
            let (plain, hard) = (kind.weight, kind.weight * here.hard);
            self.weights.push((plain, hard));
            self.live |= 1 << at;
            self.total = (self.total.0 + plain, self.total.1 + hard);
            if let Some((asked, devices)) = here.demand {
                let price = plain * asked / devices;
                let takers = self.takes.iter_mut().filter(|(_, mask, _)| mask >> at & 1 == 1);
                takers.for_each(|(_, _, sum)| *sum += price);
            }
        }
        self.takes.iter_mut().for_each(|(_, _, price)| *price = (*price).min(ONE) / 2);
    }
}

/// `q^16` for a `q` in [`ONE`]ths, in 2^-32ths.
fn power_16(q: u64) -> u64 {
    (0..4).fold(u128::from(q) << 16, |power, _| (power * power) >> 32) as u64
}

/// Where the cost of a device is remembered that these kinds can use.
fn memo_slot(usable: KindMask) -> usize {
    let mixed = (usable as u64 ^ ((usable >> 64) as u64).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - DEVICE_COSTS.ilog2())) as usize
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
}
