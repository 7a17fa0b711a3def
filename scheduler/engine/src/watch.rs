//! What parked groups wait for (S30): a verdict is looked at again only when something it depends on has changed.
//!
//! Capacity is watched per (pool, shape) by a count: a group that lacks room for `lack` more pods of a shape wakes when
//! the nodes that have changed since can take that many more than before. For one shape without constraints on other
//! pods this is exact, because the pods a pool can take of it are the sum over its nodes; where it is not exact (several
//! shapes, constraints between pods) the group watches every change.
//! Costs: a changed node is compared with each *shape* watched in its pool, not with each waiting workload.

use crate::ix::{GroupIx, PoolIx, QueueIx, ShapeIx};
use crate::org::Triple;
use rustc_hash::FxHashMap;

/// Something that can change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Watched {
    /// The bounds of a queue in a pool, and what it uses.
    Queue(QueueIx, PoolIx),
    /// Which nodes the pool has and what they are.
    Structure(PoolIx),
    /// Anything about any node of the pool.
    Any(PoolIx),
    /// Anything about any node.
    Everywhere,
}

/// A group that watches, with what it asks of the queue it watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watcher {
    pub(crate) group: GroupIx,
    pub(crate) ask: Triple,
    pub(crate) preemptible: bool,
}

/// A shape that is short in a pool, and who lacks how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Short {
    pub(crate) shape: ShapeIx,
    pub(crate) lacking: Vec<(GroupIx, i64)>,
}

/// All watchers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    watchers: FxHashMap<Watched, Vec<Watcher>>,
    /// Per pool, in the order in which shapes ran short.
    pub(crate) short: Vec<Vec<Short>>,
    /// What each group watches.
    mine: Vec<Vec<Mine>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mine {
    Watched(Watched),
    Short(PoolIx, ShapeIx),
}

impl Watches {
    /// Enters a watcher.
    pub(crate) fn add(&mut self, what: Watched, watcher: Watcher) {
        self.mine(watcher.group).push(Mine::Watched(what));
        self.watchers.entry(what).or_default().push(watcher);
    }

    /// Enters a group that lacks room for `lack` more pods of a shape.
    pub(crate) fn add_short(&mut self, pool: PoolIx, shape: ShapeIx, group: GroupIx, lack: i64) {
        self.mine(group).push(Mine::Short(pool, shape));
        if self.short.len() <= pool.i() {
            self.short.resize(pool.i() + 1, Vec::new());
        }
        let in_pool = &mut self.short[pool.i()];
        match in_pool.iter_mut().find(|s| s.shape == shape) {
            Some(short) => short.lacking.push((group, lack)),
            None => in_pool.push(Short { shape, lacking: vec![(group, lack)] }),
        }
    }

    fn mine(&mut self, group: GroupIx) -> &mut Vec<Mine> {
        if self.mine.len() <= group.i() {
            self.mine.resize(group.i() + 1, Vec::new());
        }
        &mut self.mine[group.i()]
    }

    /// Those who watch this.
    pub(crate) fn of(&self, what: Watched) -> &[Watcher] {
        self.watchers.get(&what).map_or(&[], Vec::as_slice)
    }

    /// True if somebody cares about what happens on the nodes of the pool.
    pub(crate) fn cares(&self, pool: PoolIx) -> bool {
        self.short.get(pool.i()).is_some_and(|s| !s.is_empty())
            || !self.of(Watched::Any(pool)).is_empty()
            || !self.of(Watched::Everywhere).is_empty()
    }

    /// Removes everything that a group watches.
    pub(crate) fn forget(&mut self, group: GroupIx) {
        for mine in std::mem::take(self.mine(group)) {
            match mine {
                Mine::Watched(what) => {
                    if let Some(watchers) = self.watchers.get_mut(&what) {
                        watchers.retain(|w| w.group != group);
                    }
                }
                Mine::Short(pool, shape) => {
                    let in_pool = &mut self.short[pool.i()];
                    if let Some(at) = in_pool.iter().position(|s| s.shape == shape) {
                        in_pool[at].lacking.retain(|(g, _)| *g != group);
                        if in_pool[at].lacking.is_empty() {
                            in_pool.remove(at);
                        }
                    }
                }
            }
        }
    }
}
