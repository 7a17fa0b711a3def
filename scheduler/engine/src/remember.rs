//! What the node preference remembers: all of it stays true until the shapes present or the nodes concerned change.
//!
//! What the rest of a state costs: one slot per state. Measures by (state, shape) in a table of fixed size, in which a
//! newer one replaces the older one of two. For both, if they are asked for again after the weights have changed, which
//! kinds can use what: that stays true until other shapes become kinds. The best node by (shape, part of a class), until
//! a node of the part changes: a row per shape, all of them forgotten when they become too many.
//! Nothing here decides: forgetting everything changes no decision. `epoch` is that of the shapes present.

use crate::index::Part;
use crate::ix::{ClassIx, NodeIx, ShapeIx, StateIx};
use crate::kinds::KindMask;
use crate::score::Score;
use smallvec::SmallVec;

/// How many measures are remembered; a power of two.
const MEASURES: usize = 1 << 15;
/// How many best nodes are remembered.
const BESTS: usize = 1 << 15;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    costs: Vec<Reckoned>,
    measures: Vec<[Measure; 2]>,
    /// By part, shape, class.
    bests: [Vec<Vec<Best>>; 2],
    /// Best nodes there is room for in the rows.
    in_rows: usize,
}

/// What kinds can use of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// For which choice of kinds.
    pub(crate) chosen: u64,
    /// Share of devices that the pod is charged, in millionths.
    pub(crate) taken: u64,
    /// Which kinds can use how much of what remains, in millionths of a device.
    pub(crate) parts: SmallVec<[(KindMask, u64); 4]>,
}

/// What is asked about: the rest of a state, or a pod of a shape on it. A state is given by place and number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct About {
    pub(crate) at: StateIx,
    pub(crate) state: u64,
    pub(crate) shape: Option<ShapeIx>,
}

/// A number, the state it is about, and what it was reckoned from.
#[derive(Clone, Debug, Default)]
struct Reckoned {
    state: u64,
    epoch: u64,
    value: i64,
    usage: Option<Box<Usage>>,
}

/// A number about a shape as well.
#[derive(Clone, Debug, Default)]
struct Measure {
    shape: Option<ShapeIx>,
    reckoned: Reckoned,
}

/// A node, and what speaks for it.
pub(crate) type Scored = (Score, NodeIx);

/// The best node of a part of a class, if a node takes the shape. No epoch is 0.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    epoch: u64,
    changes: u64,
    best: Option<Scored>,
}

impl Measure {
    fn is(&self, about: About) -> bool {
        self.reckoned.state == about.state && self.shape == about.shape
    }
}

impl Remembered {
    fn slot(state: u64, shape: ShapeIx) -> usize {
        let mixed = (state << 20 ^ u64::from(shape.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (u64::BITS - (MEASURES / 2).ilog2())) as usize
    }

    fn reckoned(&self, about: About) -> Option<&Reckoned> {
        let reckoned = match about.shape {
            None => self.costs.get(about.at.i())?,
            Some(shape) => {
                let slot = self.measures.get(Self::slot(about.state, shape))?;
                &slot.iter().find(|measure| measure.is(about))?.reckoned
            }
        };
        (reckoned.state == about.state).then_some(reckoned)
    }

    /// The cost or measure, if it is known and still true.
    pub(crate) fn value(&self, epoch: u64, about: About) -> Option<i64> {
        self.reckoned(about).filter(|known| known.epoch == epoch).map(|known| known.value)
    }

    /// If a cost or measure was known in another epoch: what it was reckoned from, as far as that was kept.
    pub(crate) fn usage(&self, about: About) -> Option<Option<&Usage>> {
        self.reckoned(about).map(|known| known.usage.as_deref())
    }

    /// Remembers a cost or measure, and what it was reckoned from if that is to be kept.
    pub(crate) fn learn(&mut self, epoch: u64, about: About, value: i64, usage: Option<Box<Usage>>) {
        let reckoned = match about.shape {
            None => {
                if self.costs.len() <= about.at.i() {
                    self.costs.resize(about.at.i() + 1, Reckoned::default());
                }
                &mut self.costs[about.at.i()]
            }
            Some(shape) => {
                if self.measures.is_empty() {
                    self.measures = vec![Default::default(); MEASURES / 2];
                }
                let slot = &mut self.measures[Self::slot(about.state, shape)];
                if !slot[0].is(about) {
                    slot.swap(0, 1);
                }
                if !slot[0].is(about) {
                    slot[0] = Measure { shape: about.shape, reckoned: Reckoned::default() };
                }
                &mut slot[0].reckoned
            }
        };
        if reckoned.state != about.state {
            *reckoned = Reckoned { state: about.state, ..Reckoned::default() };
        }
        (reckoned.epoch, reckoned.value) = (epoch, value);
        if usage.is_some() {
            reckoned.usage = usage;
        }
    }

    /// The best node of a part of a class for the shape, if it is known and still true.
    pub(crate) fn best(
        &self,
        (epoch, changes): (u64, u64),
        shape: ShapeIx,
        class: ClassIx,
        part: Part,
    ) -> Option<Option<Scored>> {
        let known = self.bests[part as usize].get(shape.i())?.get(class.i())?;
        (known.epoch == epoch && known.changes == changes).then_some(known.best)
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
            rows.resize(shape.i() + 1, Vec::new());
        }
        let more = long.saturating_sub(rows[shape.i()].len());
        if self.in_rows + more > BESTS {
            self.bests.iter_mut().flatten().for_each(|row| *row = Vec::new());
            self.in_rows = 0;
        }
        let row = &mut self.bests[part as usize][shape.i()];
        if row.len() < long {
            self.in_rows += long - row.len();
            row.resize(long, Best::default());
        }
        row[class.i()] = Best { epoch, changes, best };
    }
}
