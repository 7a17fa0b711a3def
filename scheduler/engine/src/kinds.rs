//! What the kinds ask for: tables from an amount to the set of kinds it suffices for.
//!
//! What CPU and memory suffice for is the same on all nodes; what devices suffice for is a matter of the class.
//! Costs: a table is made in O(kinds log kinds) when other shapes become kinds; what an amount suffices for, on any number
//! of devices, is one look-up in equal ranges.

use crate::device::{Devices, need};
use crate::shape::Shape;
use berth_model::GpuRequest;

/// A set of kinds, by slot.
pub(crate) type KindMask = u128;

/// Numbers of devices that have a table of what fills them; for more it is reckoned.
const RANKS: usize = 8;

/// Into how many ranges amounts are divided to find one among others; a power of two.
const BUCKETS: usize = 256;

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
/// the order of this need, those that an amount feeds on so many devices are a prefix. Amounts between two *levels* are
/// told apart by no kind on any number of devices that has a table.
#[derive(Clone, Debug, Default)]
struct Amounts {
    /// For one pod.
    one: Steps,
    /// By need per device: what a pod needs, and how many devices it fills.
    needs: Vec<(i64, i64)>,
    /// The kinds of each prefix, the empty one first.
    up_to: Vec<KindMask>,
    /// What it takes to fill one device, two, and so on with a kind.
    levels: Levels,
    /// What an amount suffices for that is as large as none of the levels, as the first, as the second, and so on.
    rows: Vec<Row>,
}

/// Ascending numbers, none twice, in [`BUCKETS`] equal ranges between the first and the last.
#[derive(Clone, Debug, Default)]
struct Levels {
    all: Vec<i64>,
    /// How many numbers are below each range.
    below: Vec<u16>,
    /// A range is as wide as this power of two.
    shift: u32,
}

/// What an amount suffices for: how long the prefix is on one device, two, and so on, and last how many steps it is up for
/// one pod.
type Row = [u8; RANKS + 1];

/// What nothing suffices for.
const NOTHING: Row = [0; RANKS + 1];

/// Which kinds CPU and memory feed.
pub(crate) struct Reach<'a> {
    cpu: Fed<'a>,
    memory: Fed<'a>,
}

/// The kinds that an amount feeds.
struct Fed<'a> {
    of: &'a Amounts,
    amount: i64,
    row: &'a Row,
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
        self.up_to_step(match self.needs.last() {
            Some(most) if *most <= x => self.needs.len(),
            _ => self.needs.partition_point(|need| *need <= x),
        })
    }

    /// The kinds of the first `n` steps.
    fn up_to_step(&self, n: usize) -> KindMask {
        if n == 0 { 0 } else { self.up_to[n - 1] }
    }
}

impl Levels {
    fn new(all: Vec<i64>) -> Self {
        let span = all.last().zip(all.first()).map_or(0, |(last, first)| last.abs_diff(*first));
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(BUCKETS.ilog2());
        let mut levels = Self { all, below: Vec::new(), shift };
        let mut passed = 0;
        levels.below = (0..BUCKETS)
            .map(|bucket| {
                let here = levels.all[passed..].iter().take_while(|level| levels.bucket(**level) < bucket);
                passed += here.count();
                passed as u16
            })
            .collect();
        levels
    }

    /// The range of a number from the first to the last.
    fn bucket(&self, x: i64) -> usize {
        (x.abs_diff(self.all[0]) >> self.shift) as usize
    }

    /// How many numbers are at most `x`.
    fn passed(&self, x: i64) -> usize {
        match (self.all.first(), self.all.last()) {
            (Some(first), Some(last)) if *first <= x && x < *last => {
                let below = usize::from(self.below[self.bucket(x)]);
                below + self.all[below..].iter().take_while(|level| **level <= x).count()
            }
            (_, Some(last)) if *last <= x => self.all.len(),
            _ => 0,
        }
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
        // One more kind is fed on so many devices, or one pod of more kinds, from an amount on.
        let filling = |need| (1..).zip(0..RANKS).map(move |(rank, place)| (to_fill(need, rank), place));
        let mut more: Vec<(i64, usize)> = Vec::with_capacity(needs.len() * RANKS + one.needs.len());
        more.extend(needs.iter().copied().flat_map(filling));
        more.extend(one.needs.iter().map(|need| (*need, RANKS)));
        more.sort_unstable();
        let mut row = NOTHING;
        let (mut rows, mut levels) = (Vec::with_capacity(more.len() + 1), Vec::with_capacity(more.len()));
        rows.push(row);
        for same in more.chunk_by(|a, b| a.0 == b.0) {
            same.iter().for_each(|(_, place)| row[*place] += 1);
            levels.push(same[0].0);
            rows.push(row);
        }
        Self { one, needs, up_to, levels: Levels::new(levels), rows }
    }

    fn by(&self, amount: i64) -> Fed<'_> {
        Fed { of: self, amount, row: self.rows.get(self.levels.passed(amount)).unwrap_or(&NOTHING) }
    }

    /// How many kinds an amount feeds on that many devices, more than there are tables for.
    fn fed(&self, amount: i64, rank: u32) -> usize {
        self.needs.partition_point(|need| to_fill(*need, rank) <= amount)
    }
}

impl Fed<'_> {
    /// Kinds of which one pod finds enough.
    fn one(&self) -> KindMask {
        self.of.one.up_to_step(self.row[RANKS].into())
    }

    /// Those fed on `rank` devices.
    fn on(&self, rank: u32) -> KindMask {
        let long = match self.row[..RANKS].get(rank as usize - 1) {
            Some(long) => (*long).into(),
            None => self.of.fed(self.amount, rank),
        };
        self.of.up_to[long]
    }
}

impl Reach<'_> {
    /// Kinds of which one pod finds enough CPU and memory.
    pub(crate) fn one(&self) -> KindMask {
        self.cpu.one() & self.memory.one()
    }

    /// Kinds fed on `rank` devices, at least one.
    pub(crate) fn on(&self, rank: u32) -> KindMask {
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

    /// What so much CPU and memory suffices for.
    pub(crate) fn reach(&self, cpu: i64, memory: i64) -> Reach<'_> {
        Reach { cpu: self.cpu.by(cpu), memory: self.memory.by(memory) }
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
        assert_eq!([11, 12, 17].map(|x| amounts.by(x).one()), [0, 2, 3]);
        let fed = |x, rank| amounts.by(x).on(rank);
        assert_eq!([8, 9, 11, 12].map(|x| fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!([16, 17].map(|x| fed(x, 2)), [0, 1]);
    }

    #[test]
    fn s12_more_kinds_are_fed_on_fewer_devices() {
        let (cpu, memory) = (vec![(17, 2), (12, 1), (0, 4)], vec![(1, 1); 3]);
        let feeds = Feeds { cpu: Amounts::new(cpu), memory: Amounts::new(memory) };
        let reach = feeds.reach(25, 9);
        assert_eq!([10, 9, 3, 2, 1].map(|rank| reach.on(rank)), [0, 4, 4, 7, 7]);
        assert_eq!(reach.one(), 7);
        assert_eq!(feeds.reach(16, 0).one(), 0);
    }

    #[test]
    fn s12_more_devices_than_there_are_tables_for_are_reckoned() {
        let amounts = Amounts::new(vec![(17, 2), (12, 1), (0, 4)]);
        for (x, expected) in [(0, 4), (76, 4), (77, 5), (107, 5), (108, 7)] {
            assert_eq!(amounts.by(x).on(RANKS as u32 + 1), expected, "{x}");
        }
    }

    #[test]
    fn s12_levels_are_found_by_range() {
        for all in [vec![], vec![5], vec![3, 9], vec![0, 1, i64::MAX], (0..2_000).map(|x| x * x).collect()] {
            let levels = Levels::new(all.clone());
            let near = |x: i64| [x.saturating_sub(1), x, x.saturating_add(1)];
            for x in all.iter().copied().chain([-1, 100, i64::MAX]).flat_map(near) {
                assert_eq!(levels.passed(x), levels.all.partition_point(|level| *level <= x), "{x}");
            }
        }
    }

    #[test]
    fn s12_without_kinds_nothing_is_fed() {
        let reach = Feeds::default();
        assert_eq!((reach.reach(5, 5).one(), Feeds::new(&[]).reach(5, 5).on(1)), (0, 0));
    }
}
