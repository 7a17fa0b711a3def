//! What the node preference remembers: costs and scores stay true until a node or the shapes present change.
//!
//! Costs: one slot per node for what is left on it; scores by (node, shape) in a table of fixed size, in which a newer
//! score replaces an older one. Nothing here decides: forgetting everything changes no decision.

use crate::ix::{NodeIx, ShapeIx};

/// How many scores are remembered; a power of two.
const SCORES: usize = 1 << 14;

/// What is known of nodes. `epoch` is that of the shapes present.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// Per node: the epoch in which its cost was computed, and the cost.
    costs: Vec<(u64, i64)>,
    /// Per node: how often it has changed.
    versions: Vec<u32>,
    /// Scores of late.
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

impl Remembered {
    /// The cost of what is left on a node, if it is known.
    pub(crate) fn cost(&self, epoch: u64, ix: NodeIx) -> Option<i64> {
        self.costs.get(ix.i()).filter(|(then, _)| *then == epoch).map(|(_, cost)| *cost)
    }

    /// Remembers the cost of what is left on a node.
    pub(crate) fn learn_cost(&mut self, epoch: u64, ix: NodeIx, cost: i64) {
        if self.costs.len() <= ix.i() {
            self.costs.resize(ix.i() + 1, (u64::MAX, 0));
        }
        self.costs[ix.i()] = (epoch, cost);
    }

    fn slot(node: NodeIx, shape: ShapeIx) -> usize {
        let mixed = (u64::from(node.0) << 32 | u64::from(shape.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - SCORES.ilog2())) as usize
    }

    /// The score of a pod of the shape on the node, if it is known and still true.
    pub(crate) fn score(&self, epoch: u64, node: NodeIx, shape: ShapeIx) -> Option<i64> {
        let known = self.scores.get(Self::slot(node, shape))?;
        let version = self.versions.get(node.i()).copied().unwrap_or(0);
        let same = known.node == node && known.shape == shape;
        (same && known.epoch == epoch && known.version == version).then_some(known.score)
    }

    /// Remembers a score.
    pub(crate) fn learn_score(&mut self, epoch: u64, node: NodeIx, shape: ShapeIx, score: i64) {
        if self.scores.is_empty() {
            let none = Scored { node, shape, epoch: u64::MAX, version: 0, score: 0 };
            self.scores = vec![none; SCORES];
        }
        let version = self.versions.get(node.i()).copied().unwrap_or(0);
        self.scores[Self::slot(node, shape)] = Scored { node, shape, epoch, version, score };
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
}
