//! What the kinds ask for, as the nodes of one class see it: tables from an amount to the set of kinds it suffices for.
//!
//! Costs: a table is made in O(kinds log kinds) when other shapes become kinds; a look-up is a binary search.

use crate::device::{Devices, need};
use crate::shape::Shape;
use berth_model::GpuRequest;

/// A set of kinds, by slot.
pub(crate) type KindMask = u64;

/// What the kinds ask for, as the nodes of a class see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassView {
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

/// Kinds, by slot, in the orders that tables are made in: sorted once for all classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    cpu: Vec<usize>,
    memory: Vec<usize>,
    cpu_each: Vec<usize>,
    memory_each: Vec<usize>,
}

/// Kinds by what they need: those that need at most `x` are a prefix.
#[derive(Clone, Debug, Default)]
struct Steps(Vec<(i64, KindMask)>);

/// Kinds by what they need per device, as fractions `need / devices`.
#[derive(Clone, Debug, Default)]
struct Ratios(Vec<(i64, i64, KindMask)>);

impl Steps {
    fn new(mut needs: Vec<(i64, KindMask)>) -> Self {
        needs.sort_unstable();
        Self::in_order(needs.into_iter())
    }

    /// From needs in ascending order.
    fn in_order(needs: impl Iterator<Item = (i64, KindMask)>) -> Self {
        let mut steps: Vec<(i64, KindMask)> = Vec::with_capacity(needs.size_hint().1.unwrap_or(0));
        for (need, mask) in needs {
            match steps.last_mut() {
                Some((last, all)) if *last == need => *all |= mask,
                last => {
                    let before = last.map_or(0, |(_, all)| *all);
                    steps.push((need, before | mask));
                }
            }
        }
        Self(steps)
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
    /// From needs in ascending order of `need / devices`.
    fn in_order(needs: impl Iterator<Item = (i64, i64, KindMask)>) -> Self {
        let mut all = 0;
        let with_lesser = |(need, devices, mask): (i64, i64, KindMask)| {
            all |= mask;
            (need, devices, all)
        };
        Self(needs.map(with_lesser).collect())
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

/// How many devices a pod of the kind fills: whole ones, or a part of one.
fn devices_of(shape: &Shape) -> i64 {
    if let GpuRequest::Whole(n) = shape.gpu { n.into() } else { 1 }
}

impl Orders {
    /// The orders of kinds given by slot.
    pub(crate) fn new(kinds: &[&Shape]) -> Self {
        let sorted = |compare: &dyn Fn(&Shape, &Shape) -> std::cmp::Ordering| {
            let mut slots: Vec<usize> = (0..kinds.len()).collect();
            slots.sort_by(|a, b| compare(kinds[*a], kinds[*b]));
            slots
        };
        let each = |need: fn(&Shape) -> i64| {
            sorted(&|a, b| {
                let (a, b) = ((need(a), devices_of(a)), (need(b), devices_of(b)));
                (i128::from(a.0) * i128::from(b.1)).cmp(&(i128::from(b.0) * i128::from(a.1)))
            })
        };
        Self {
            cpu: sorted(&|a, b| a.cpu.cmp(&b.cpu)),
            memory: sorted(&|a, b| a.memory.cmp(&b.memory)),
            cpu_each: each(|shape| shape.cpu),
            memory_each: each(|shape| shape.memory),
        }
    }
}

impl ClassView {
    /// The tables of a class of nodes with these devices, for the kinds it takes, out of kinds given by slot.
    pub(crate) fn new(devices: &Devices, taken: KindMask, kinds: &[&Shape], orders: &Orders) -> Self {
        let mut view = Self { up_to: vec![0; devices.len() + 1], ..Self::default() };
        let total = devices.iter().map(|d| d.total).max().unwrap_or(1);
        let mut share = Vec::with_capacity(KindMask::BITS as usize);
        for (at, shape) in kinds.iter().enumerate().filter(|(at, _)| taken >> at & 1 == 1) {
            let bit = 1 << at;
            if let GpuRequest::Whole(n) = shape.gpu {
                view.whole |= bit;
                (n as usize..=devices.len()).for_each(|free| view.up_to[free] |= bit);
            } else {
                view.shared |= bit;
                view.up_to.iter_mut().for_each(|mask| *mask |= bit);
                share.push((i64::from(need(shape.gpu, total)), bit));
            }
        }
        let among =
            |order: &[usize]| order.iter().copied().filter(|at| taken >> at & 1 == 1).collect::<Vec<_>>();
        let steps = |order: &[usize], need: fn(&Shape) -> i64| {
            Steps::in_order(among(order).into_iter().map(|at| (need(kinds[at]), 1 << at)))
        };
        let ratios = |order: &[usize], need: fn(&Shape) -> i64| {
            Ratios::in_order(
                among(order).into_iter().map(|at| (need(kinds[at]), devices_of(kinds[at]), 1 << at)),
            )
        };
        view.share = Steps::new(share);
        view.cpu = steps(&orders.cpu, |shape| shape.cpu);
        view.memory = steps(&orders.memory, |shape| shape.memory);
        view.cpu_each = ratios(&orders.cpu_each, |shape| shape.cpu);
        view.memory_each = ratios(&orders.memory_each, |shape| shape.memory);
        view
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_prefixes_answer_what_fits() {
        let steps = Steps::new(vec![(5, 1), (3, 2), (5, 4)]);
        assert_eq!([2, 3, 4, 5, 9].map(|x| steps.at_most(x)), [0, 2, 2, 7, 7]);
        let ratios = Ratios::in_order([(16, 2, 1), (12, 1, 2)].into_iter());
        assert_eq!([7, 8, 11, 12].map(|x| ratios.fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!(ratios.fed(16, 2), 1);
    }
}
