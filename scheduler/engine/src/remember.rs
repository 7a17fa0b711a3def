//! What the node preference remembers: all of it stays true until the shapes present or the nodes concerned change.
//!
//! What the rest of a state costs: one slot per state. Measures by (state, shape) in a table of bounded size, in which
//! a newer one replaces the older one of two. For both, if they are asked for again after the weights have changed, which
//! kinds can use what: that stays true until other shapes become kinds or classes change. The best node by (shape, part of a class), until
//! a node of the part changes: a row per shape, all of them forgotten when they become too many.
//! Nothing here decides: forgetting everything changes no decision. `epoch` is that of the shapes present.

use crate::index::Part;
use crate::ix::{ClassIx, NodeIx, ShapeIx, StateIx};
use crate::kinds::KindMask;
use crate::score::Score;
use smallvec::SmallVec;

/// How many measures are remembered at first, and at most; powers of two.
const MEASURES: (usize, usize) = (1 << 9, 1 << 15);
/// Of a key, how many bits are the shape.
const SHAPE_BITS: u32 = 24;
/// How many best nodes are remembered.
const BESTS: usize = 1 << 15;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// By place of the state.
    costs: Table,
    /// Pairs of measures: none, or a power of two.
    measures: Table,
    /// How many measures have been replaced while they were true.
    replaced: usize,
    /// By part and shape.
    bests: [Vec<Bests>; 2],
    /// Best nodes there is room for in the rows.
    in_rows: usize,
}

/// What kinds can use of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// For which kinds and classes.
    pub(crate) made_of: (u64, u64),
    /// Share of devices that the pod is charged, in millionths.
    pub(crate) taken: u64,
    /// Which kinds can use how much of what remains, in millionths of a device.
    pub(crate) parts: Parts,
}

/// Sets of kinds, and how much they can use.
pub(crate) type Parts = SmallVec<[(KindMask, u64); 4]>;

/// What is asked about: the rest of a state, or a pod of a shape on it. A state is given by place and number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct About {
    pub(crate) at: StateIx,
    pub(crate) state: u64,
    pub(crate) shape: Option<ShapeIx>,
}

/// Numbers, and what those were reckoned from that were asked for in several epochs.
#[derive(Clone, Debug, Default)]
struct Table {
    numbers: Vec<Number>,
    /// As long as the numbers, if any is kept.
    usages: Vec<Option<Box<Usage>>>,
}

/// What it is about, when it was true, and its value.
#[derive(Clone, Copy, Debug, Default)]
struct Number {
    key: u64,
    epoch: u64,
    value: i64,
}

/// A node, and what speaks for it.
pub(crate) type Scored = (Score, NodeIx);

/// The best nodes of a part of each class for a shape.
#[derive(Clone, Debug, Default)]
struct Bests {
    epoch: u64,
    /// By class.
    row: Vec<Best>,
}

/// The best node of a part of a class, if a node takes the shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    /// How often the part had changed when it was the best; never `u64::MAX` times.
    pub(crate) changes: u64,
    pub(crate) best: Option<Scored>,
}

impl Default for Best {
    fn default() -> Self {
        Self { changes: u64::MAX, best: None }
    }
}

impl About {
    /// A number that says it all: 0 if it is too large to be said, since states are numbered from 1.
    fn key(self) -> u64 {
        let shape = self.shape.map_or(0, |shape| u64::from(shape.0) + 1);
        if self.state < 1 << (u64::BITS - SHAPE_BITS) && shape < 1 << SHAPE_BITS {
            self.state << SHAPE_BITS | shape
        } else {
            0
        }
    }
}

impl Table {
    fn new(len: usize) -> Self {
        Self { numbers: vec![Number::default(); len], usages: Vec::new() }
    }

    fn usage(&self, at: usize) -> Option<&Usage> {
        self.usages.get(at)?.as_deref()
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.numbers.swap(a, b);
        if !self.usages.is_empty() {
            self.usages.swap(a, b);
        }
    }

    /// Sets a number. What another number there was reckoned from is forgotten.
    fn set(&mut self, at: usize, number: Number, usage: Option<Box<Usage>>) {
        if usage.is_some() {
            self.usages.resize(self.numbers.len(), None);
        }
        let other = self.numbers[at].key != number.key;
        if let Some(kept) = self.usages.get_mut(at).filter(|_| other || usage.is_some()) {
            *kept = usage;
        }
        self.numbers[at] = number;
    }
}

impl Remembered {
    /// The first of the pair of places where a measure may be, if there is a table.
    fn pair(&self, key: u64) -> usize {
        let mixed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        (2 * mixed as usize) & self.measures.numbers.len().wrapping_sub(1)
    }

    fn find(&self, about: About) -> Option<(&Table, usize)> {
        let key = about.key();
        let (table, at) = match about.shape {
            None => (&self.costs, about.at.i()),
            Some(_) => {
                let at = self.pair(key);
                let second = self.measures.numbers.get(at)?.key != key;
                (&self.measures, at + usize::from(second))
            }
        };
        (key != 0 && table.numbers.get(at)?.key == key).then_some((table, at))
    }

    /// The cost or measure, if it is known and still true.
    pub(crate) fn value(&self, epoch: u64, about: About) -> Option<i64> {
        let (table, at) = self.find(about)?;
        let number = &table.numbers[at];
        (number.epoch == epoch).then_some(number.value)
    }

    /// If a cost or measure was known in another epoch: what it was reckoned from, as far as that was kept.
    pub(crate) fn usage(&self, about: About) -> Option<Option<&Usage>> {
        self.find(about).map(|(table, at)| table.usage(at))
    }

    /// Remembers a cost or measure, and what it was reckoned from if that is to be kept.
    pub(crate) fn learn(&mut self, epoch: u64, about: About, value: i64, usage: Option<Box<Usage>>) {
        let number = Number { key: about.key(), epoch, value };
        if about.shape.is_none() {
            if self.costs.numbers.len() <= about.at.i() {
                self.costs.numbers.resize(about.at.i() + 1, Number::default());
            }
            return self.costs.set(about.at.i(), number, usage);
        }
        self.make_room();
        let at = self.pair(number.key);
        if self.measures.numbers[at].key != number.key {
            self.measures.swap(at, at + 1);
        }
        let before = self.measures.numbers[at];
        self.replaced += usize::from(before.key != number.key && before.epoch == epoch);
        self.measures.set(at, number, usage);
    }

    /// Makes the table of measures twice as large, and empty, if it has replaced as much as it holds.
    fn make_room(&mut self) {
        let len = self.measures.numbers.len();
        if len == 0 || len < MEASURES.1 && self.replaced > len {
            self.measures = Table::new((2 * len).max(MEASURES.0));
            self.replaced = 0;
        }
    }

    /// The best nodes of a part of each class for the shape, as far as they were remembered in this epoch.
    pub(crate) fn bests(&self, epoch: u64, shape: ShapeIx, part: Part) -> &[Best] {
        let bests = self.bests[part as usize].get(shape.i()).filter(|bests| bests.epoch == epoch);
        bests.map_or(&[], |bests| &bests.row)
    }

    /// Remembers the best node of a part of a class for the shape.
    pub(crate) fn learn_best(
        &mut self,
        (epoch, changes): (u64, u64),
        shape: ShapeIx,
        class: ClassIx,
        part: Part,
        best: Option<Scored>,
    ) {
        let long = class.i() + 1;
        if long > BESTS {
            return;
        }
        let rows = &mut self.bests[part as usize];
        if rows.len() <= shape.i() {
            rows.resize(shape.i() + 1, Bests::default());
        }
        let more = long.saturating_sub(rows[shape.i()].row.len());
        if self.in_rows + more > BESTS {
            self.bests.iter_mut().flatten().for_each(|bests| bests.row = Vec::new());
            self.in_rows = 0;
        }
        let bests = &mut self.bests[part as usize][shape.i()];
        if bests.epoch != epoch {
            bests.epoch = epoch;
            bests.row.fill(Best::default());
        }
        if bests.row.len() < long {
            self.in_rows += long - bests.row.len();
            bests.row.resize(long, Best::default());
        }
        bests.row[class.i()] = Best { changes, best };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(state: u64, shape: u32) -> About {
        About { at: StateIx(0), state, shape: Some(ShapeIx(shape)) }
    }

    #[test]
    fn s12_a_measure_holds_for_its_epoch_and_what_it_is_made_from_for_longer() {
        let mut known = Remembered::default();
        assert_eq!((known.value(1, about(1, 0)), known.usage(about(1, 0))), (None, None));
        known.learn(1, about(1, 0), 5, None);
        assert_eq!((known.value(1, about(1, 0)), known.value(2, about(1, 0))), (Some(5), None));
        assert_eq!(known.usage(about(1, 0)), Some(None));
        let usage = Usage { taken: 7, ..Usage::default() };
        known.learn(2, about(1, 0), 6, Some(Box::new(usage.clone())));
        known.learn(3, about(1, 0), 8, None);
        assert_eq!(known.value(3, about(1, 0)), Some(8));
        assert_eq!(known.usage(about(1, 0)), Some(Some(&usage)));
        assert_eq!(known.value(3, About { shape: None, ..about(1, 0) }), None);
    }

    #[test]
    fn s12_the_cost_of_a_state_is_not_that_of_a_later_one_in_its_place() {
        let mut known = Remembered::default();
        let first = About { at: StateIx(4), state: 9, shape: None };
        known.learn(1, first, 5, Some(Box::default()));
        let second = About { state: 10, ..first };
        assert_eq!((known.value(1, second), known.usage(second)), (None, None));
        known.learn(1, second, 6, None);
        assert_eq!((known.value(1, first), known.value(1, second)), (None, Some(6)));
        assert_eq!(known.usage(second), Some(None));
    }

    #[test]
    fn s12_measures_are_never_mistaken_and_never_too_many() {
        let mut known = Remembered::default();
        for state in 1..200_000 {
            known.learn(1, about(state, 3), state as i64, None);
            assert_eq!(known.value(1, about(state, 3)), Some(state as i64));
        }
        let kept = (1..200_000).filter_map(|state| Some((state, known.value(1, about(state, 3))?)));
        let kept: Vec<(u64, i64)> = kept.collect();
        assert!(kept.iter().all(|(state, value)| *state as i64 == *value));
        assert!((MEASURES.1 / 2..=MEASURES.1).contains(&kept.len()), "{}", kept.len());
        known.learn(1, about(u64::MAX, 3), 1, None);
        assert_eq!(known.value(1, about(u64::MAX, 3)), None);
    }
}
