//! What the node preference remembers: all of it stays true until the shapes present or the nodes concerned change.
//!
//! What the rest of a state costs: one slot per state. Measures by (state, shape) in a table of fixed size, in which a
//! newer one replaces an older one. The best node by (shape, part of a class), until a node of the part changes: a row per
//! shape, all of them forgotten when they become too many.
//! Nothing here decides: forgetting everything changes no decision. `epoch` is that of the shapes present.

use crate::index::Part;
use crate::ix::{ClassIx, NodeIx, ShapeIx, StateIx};
use crate::score::Score;

/// How many measures are remembered; a power of two.
const MEASURES: usize = 1 << 15;
/// How many best nodes are remembered.
const BESTS: usize = 1 << 15;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    costs: Vec<Cost>,
    measures: Vec<Measure>,
    /// By part, shape, class.
    bests: [Vec<Vec<Best>>; 2],
    /// Best nodes there is room for in the rows.
    in_rows: usize,
}

/// What the rest of a state costs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    state: u64,
    epoch: u64,
    cost: i64,
}

/// How a pod of the shape would do on a node of the state.
#[derive(Clone, Copy, Debug, Default)]
struct Measure {
    state: u64,
    epoch: u64,
    measure: i64,
    shape: Option<ShapeIx>,
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

impl Remembered {
    /// The cost of what is left in a state, given by its place and number, if it is known.
    pub(crate) fn cost(&self, epoch: u64, (at, state): (StateIx, u64)) -> Option<i64> {
        let known = self.costs.get(at.i())?;
        (known.epoch == epoch && known.state == state).then_some(known.cost)
    }

    /// Remembers the cost of what is left in a state.
    pub(crate) fn learn_cost(&mut self, epoch: u64, (at, state): (StateIx, u64), cost: i64) {
        if self.costs.len() <= at.i() {
            self.costs.resize(at.i() + 1, Cost::default());
        }
        self.costs[at.i()] = Cost { state, epoch, cost };
    }

    fn slot(state: u64, shape: ShapeIx) -> usize {
        let mixed = (state << 20 ^ u64::from(shape.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - MEASURES.ilog2())) as usize
    }

    /// The measure of a pod of the shape in the state, if it is known and still true.
    pub(crate) fn measure(&self, epoch: u64, state: u64, shape: ShapeIx) -> Option<i64> {
        let known = self.measures.get(Self::slot(state, shape))?;
        let same = known.state == state && known.shape == Some(shape) && known.epoch == epoch;
        same.then_some(known.measure)
    }

    /// Remembers a measure.
    pub(crate) fn learn_measure(&mut self, epoch: u64, state: u64, shape: ShapeIx, measure: i64) {
        if self.measures.is_empty() {
            self.measures = vec![Measure::default(); MEASURES];
        }
        self.measures[Self::slot(state, shape)] = Measure { state, epoch, measure, shape: Some(shape) };
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
