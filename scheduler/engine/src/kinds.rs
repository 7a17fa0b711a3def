//! What the kinds ask for: tables from an amount to the set of kinds it suffices for.
//!
//! What CPU and memory suffice for is the same on all nodes; what devices suffice for is a matter of the class.
//! Costs: a table is made in O(kinds log kinds) when other shapes become kinds; a look-up is a binary search.

use crate::device::{Devices, need};
use crate::shape::Shape;
use berth_model::GpuRequest;

/// A set of kinds, by slot.
pub(crate) type KindMask = u128;

/// Numbers of devices that have a table of what fills them; for more it is reckoned.
const RANKS: usize = 8;

/// What the kinds ask of devices, as the nodes of a class see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassView {
    whole: KindMask,
    shared: KindMask,
    share: Steps,
    /// Kinds that ask for at most this many whole devices, or for a share.
    up_to: Vec<KindMask>,
}

/// What the kinds ask of CPU and memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds {
    cpu: Amounts,
    memory: Amounts,
}

/// What the kinds ask of one resource.
#[derive(Clone, Debug, Default)]
struct Amounts {
    /// For one pod.
    one: Steps,
    /// To fill one device, two, and so on.
    ranks: [Steps; RANKS],
    /// By kind: what a pod needs, and how many devices it fills.
    needs: Vec<(i64, i64)>,
}

/// Kinds by what they need, ascending: an amount suffices for those up to it. Beside each, the kinds up to there.
#[derive(Clone, Debug, Default)]
struct Steps {
    needs: Vec<i64>,
    up_to: Vec<KindMask>,
}

impl Steps {
    fn new(mut needs: Vec<(i64, KindMask)>) -> Self {
        needs.sort_unstable();
        let mut steps = Self::default();
        let mut all = 0;
        for (need, mask) in needs {
            all |= mask;
            if steps.needs.last() == Some(&need) {
                steps.up_to.pop();
            } else {
                steps.needs.push(need);
            }
            steps.up_to.push(all);
        }
        steps
    }

    fn at_most(&self, x: i64) -> KindMask {
        // Most often everything fits: look at the largest first.
        let n = match self.needs.last() {
            Some(most) if *most <= x => self.needs.len(),
            _ => self.needs.partition_point(|need| *need <= x),
        };
        if n == 0 { 0 } else { self.up_to[n - 1] }
    }
}

/// How many devices a pod of the kind fills: whole ones, or a part of one.
fn devices_of(shape: &Shape) -> i64 {
    if let GpuRequest::Whole(n) = shape.gpu { n.into() } else { 1 }
}

impl Amounts {
    fn new(needs: Vec<(i64, i64)>) -> Self {
        let steps = |need: &dyn Fn(i64, i64) -> i64| {
            let needs = needs.iter().enumerate();
            Steps::new(needs.map(|(at, (n, devices))| (need(*n, *devices), 1 << at)).collect())
        };
        Self {
            one: steps(&|need, _| need),
            ranks: std::array::from_fn(|at| steps(&|need, devices| to_fill(need, devices, at as i64 + 1))),
            needs,
        }
    }

    /// Kinds of which pods that fill `rank` devices, at least one, need at most `x` in all.
    fn fed(&self, x: i64, rank: u32) -> KindMask {
        if let Some(steps) = self.ranks.get(rank as usize - 1) {
            return steps.at_most(x);
        }
        let fed = |(need, devices): &(i64, i64)| to_fill(*need, *devices, rank.into()) <= x;
        let masks = self.needs.iter().enumerate().map(|(at, need)| KindMask::from(fed(need)) << at);
        masks.fold(0, |all, mask| all | mask)
    }
}

/// What it takes to fill `rank` devices with pods that need `need` for `devices` each.
fn to_fill(need: i64, devices: i64, rank: i64) -> i64 {
    let product = i128::from(need) * i128::from(rank);
    ((product + i128::from(devices) - 1) / i128::from(devices.max(1))).try_into().unwrap_or(i64::MAX)
}

impl Feeds {
    /// For kinds given by slot.
    pub(crate) fn new(kinds: &[&Shape]) -> Self {
        let needs =
            |need: fn(&Shape) -> i64| kinds.iter().map(|kind| (need(kind), devices_of(kind))).collect();
        Self { cpu: Amounts::new(needs(|kind| kind.cpu)), memory: Amounts::new(needs(|kind| kind.memory)) }
    }

    /// Kinds of which one pod finds enough CPU and memory.
    pub(crate) fn one(&self, cpu: i64, memory: i64) -> KindMask {
        self.cpu.one.at_most(cpu) & self.memory.one.at_most(memory)
    }

    /// Kinds that CPU and memory feed on `rank` devices, at least one.
    pub(crate) fn fed(&self, cpu: i64, memory: i64, rank: u32) -> KindMask {
        self.cpu.fed(cpu, rank) & self.memory.fed(memory, rank)
    }
}

impl ClassView {
    /// The tables of a class of nodes with these devices, for the kinds it takes, out of kinds given by slot.
    pub(crate) fn new(devices: &Devices, taken: KindMask, kinds: &[&Shape]) -> Self {
        let mut view = Self { up_to: vec![0; devices.len() + 1], ..Self::default() };
        let total = devices.iter().map(|d| d.total).max().unwrap_or(1);
        let mut share = Vec::new();
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
        view.share = Steps::new(share);
        view
    }

    /// Kinds that find enough of `free` wholly free devices.
    pub(crate) fn up_to(&self, free: u32) -> KindMask {
        self.up_to[(free as usize).min(self.up_to.len() - 1)]
    }

    /// Kinds that fit a device with `left` MiB that is shared.
    pub(crate) fn fit(&self, left: u32) -> KindMask {
        self.share.at_most(left.into())
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
    fn s12_tables_answer_what_an_amount_suffices_for() {
        let steps = Steps::new(vec![(5, 1), (3, 2), (5, 4)]);
        assert_eq!([2, 3, 4, 5, 9].map(|x| steps.at_most(x)), [0, 2, 2, 7, 7]);
        let amounts = Amounts::new(vec![(17, 2), (12, 1)]);
        assert_eq!([11, 12, 17].map(|x| amounts.one.at_most(x)), [0, 2, 3]);
        assert_eq!([8, 9, 11, 12].map(|x| amounts.fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!([16, 17].map(|x| amounts.fed(x, 2)), [0, 1]);
    }

    #[test]
    fn s12_more_devices_than_there_are_tables_for_are_reckoned() {
        let amounts = Amounts::new(vec![(17, 2), (12, 1), (0, 4)]);
        let beyond = RANKS as i64 + 1;
        for (x, expected) in [(0, 4), (76, 4), (77, 5), (107, 5), (108, 7)] {
            assert_eq!(amounts.fed(x, beyond as u32), expected, "{x}");
        }
    }
}
