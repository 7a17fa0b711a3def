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

/// What the kinds ask of one resource. Kinds that need less per device are fed on more devices, whatever the amount: in
/// the order of this need, those that an amount feeds on so many devices are a prefix.
#[derive(Clone, Debug, Default)]
struct Amounts {
    /// For one pod.
    one: Steps,
    /// By need per device: what a pod needs, and how many devices it fills.
    needs: Vec<(i64, i64)>,
    /// The kinds of each prefix, the empty one first.
    up_to: Vec<KindMask>,
    /// In the same order, what it takes to fill one device, two, and so on.
    ranks: [Vec<i64>; RANKS],
}

/// Which kinds CPU and memory feed on ever fewer devices.
pub(crate) struct Reach<'a> {
    cpu: Prefix<'a>,
    memory: Prefix<'a>,
}

/// The kinds that an amount feeds.
struct Prefix<'a> {
    of: &'a Amounts,
    amount: i64,
    /// How many, on as many devices as was asked last.
    long: usize,
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
        let one = Steps::new(needs.iter().enumerate().map(|(at, (need, _))| (*need, 1 << at)).collect());
        let mut order: Vec<usize> = (0..needs.len()).collect();
        let product = |need: i64, devices: i64| i128::from(need) * i128::from(devices);
        order.sort_by(|a, b| {
            let (a, b) = (needs[*a], needs[*b]);
            product(a.0, b.1).cmp(&product(b.0, a.1))
        });
        let mut up_to: Vec<KindMask> = vec![0];
        let mut all = 0;
        up_to.extend(order.iter().map(|at| {
            all |= 1 << at;
            all
        }));
        let needs: Vec<(i64, i64)> = order.iter().map(|at| needs[*at]).collect();
        let filling = |rank: u32| needs.iter().map(|need| to_fill(*need, rank)).collect();
        Self { one, up_to, ranks: std::array::from_fn(|at| filling(at as u32 + 1)), needs }
    }

    /// How many kinds an amount feeds on `rank` devices, at least one: no fewer than `least`.
    fn fed(&self, amount: i64, rank: u32, least: usize) -> usize {
        let Some(filling) = self.ranks.get(rank as usize - 1) else {
            return self.needs.partition_point(|need| to_fill(*need, rank) <= amount);
        };
        match filling.last() {
            None => 0,
            // Most often it feeds all.
            Some(most) if *most <= amount => filling.len(),
            Some(_) => least + filling[least..].partition_point(|need| *need <= amount),
        }
    }
}

impl Prefix<'_> {
    /// Those fed on `rank` devices.
    fn on(&mut self, rank: u32) -> KindMask {
        self.long = self.of.fed(self.amount, rank, self.long);
        self.of.up_to[self.long]
    }
}

impl Reach<'_> {
    /// Kinds fed on `rank` devices: at least one, and no more than were asked about before.
    pub(crate) fn on(&mut self, rank: u32) -> KindMask {
        self.cpu.on(rank) & self.memory.on(rank)
    }
}

/// What it takes to fill `rank` devices with pods that need so much for so many devices each.
fn to_fill((need, devices): (i64, i64), rank: u32) -> i64 {
    let product = need.saturating_mul(rank.into());
    product / devices + i64::from(product % devices > 0)
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

    /// Kinds that CPU and memory feed on ever fewer devices.
    pub(crate) fn reach<'a>(&'a self, cpu: i64, memory: i64) -> Reach<'a> {
        let prefix = |of: &'a Amounts, amount| Prefix { of, amount, long: 0 };
        Reach { cpu: prefix(&self.cpu, cpu), memory: prefix(&self.memory, memory) }
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
        let fed = |x, rank| amounts.up_to[amounts.fed(x, rank, 0)];
        assert_eq!([8, 9, 11, 12].map(|x| fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!([16, 17].map(|x| fed(x, 2)), [0, 1]);
    }

    #[test]
    fn s12_more_kinds_are_fed_on_fewer_devices() {
        let (cpu, memory) = (vec![(17, 2), (12, 1), (0, 4)], vec![(1, 1); 3]);
        let feeds = Feeds { cpu: Amounts::new(cpu), memory: Amounts::new(memory) };
        let mut reach = feeds.reach(25, 9);
        assert_eq!([10, 9, 3, 2, 1].map(|rank| reach.on(rank)), [0, 4, 4, 7, 7]);
    }

    #[test]
    fn s12_more_devices_than_there_are_tables_for_are_reckoned() {
        let amounts = Amounts::new(vec![(17, 2), (12, 1), (0, 4)]);
        for (x, expected) in [(0, 4), (76, 4), (77, 5), (107, 5), (108, 7)] {
            assert_eq!(amounts.up_to[amounts.fed(x, RANKS as u32 + 1, 0)], expected, "{x}");
        }
    }
}
