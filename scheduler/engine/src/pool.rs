//! Node pools: which node belongs to which (S1), and the order in which a workload tries them (S10).

use crate::ix::PoolIx;
use crate::org::Triple;
use berth_model::{GpuShare, Labels, PoolId, PoolSpec};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// None once the pool is removed; its index is not used again.
    pub(crate) spec: Option<Arc<PoolSpec>>,
    /// Nodes in the pool.
    pub(crate) nodes: u32,
    /// Nodes in the pool that are ready and not cordoned.
    pub(crate) open: u32,
    /// Nodes in the pool that are ready, cordoned ones included.
    pub(crate) usable: u32,
    /// Healthy devices of ready, schedulable nodes.
    pub(crate) devices: i64,
    /// CPU and memory of ready, schedulable nodes.
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    /// What pods of unmanaged namespaces take of those nodes.
    pub(crate) unmanaged: Triple,
    /// GPU share given out, in millionths of a device.
    pub(crate) allocated: i64,
    /// What the nodes that take pods have, whatever its health, less what stays there and what has room kept there.
    pub(crate) unclaimed: Triple,
    /// Grows whenever something becomes free in the pool, or a node changes. What did not fit at one count does not
    /// fit at the same count.
    pub(crate) gains: u64,
    /// Grows with everything that happens in the pool outside of trials: pods, nodes, shares.
    pub(crate) stirs: u64,
    /// The same for pods and nodes alone.
    pub(crate) shifts: u64,
}

impl Pool {
    /// What is divided among departments (S7).
    pub(crate) fn capacity(&self) -> Triple {
        let all = [self.devices * GpuShare::DEVICE.0, self.cpu, self.memory];
        std::array::from_fn(|at| (all[at] - self.unmanaged[at]).max(0))
    }
}

/// All pools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    all: Vec<Pool>,
    by_id: FxHashMap<PoolId, PoolIx>,
    /// Existing pools in order of name.
    by_name: Vec<PoolIx>,
    /// The sum of the stirs of all pools.
    stirs: u64,
}

impl Pools {
    /// Pods or nodes of a pool have changed.
    pub(crate) fn shift(&mut self, pool: PoolIx) {
        self.all[pool.i()].shifts += 1;
        self.stir(pool);
    }

    /// Something has happened in a pool.
    pub(crate) fn stir(&mut self, pool: PoolIx) {
        self.all[pool.i()].stirs += 1;
        self.stirs += 1;
    }

    /// How much has happened in all pools.
    pub(crate) fn stirs(&self) -> u64 {
        self.stirs
    }

    /// The pool with this identifier.
    pub(crate) fn find(&self, id: PoolId) -> Option<PoolIx> {
        self.by_id.get(&id).copied()
    }

    /// A pool.
    pub(crate) fn at(&self, ix: PoolIx) -> &Pool {
        &self.all[ix.i()]
    }

    /// A pool, to change it.
    pub(crate) fn at_mut(&mut self, ix: PoolIx) -> &mut Pool {
        &mut self.all[ix.i()]
    }

    /// The description of an existing pool.
    pub(crate) fn spec(&self, ix: PoolIx) -> &PoolSpec {
        self.all[ix.i()].spec.as_ref().expect("an existing pool")
    }

    /// Existing pools in order of name.
    pub(crate) fn by_name(&self) -> &[PoolIx] {
        &self.by_name
    }

    /// How many pools there have been.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds or changes a pool.
    pub(crate) fn set(&mut self, spec: PoolSpec) -> PoolIx {
        let id = spec.id;
        let ix = match self.find(id) {
            Some(ix) => {
                self.all[ix.i()].spec = Some(Arc::new(spec));
                ix
            }
            None => {
                self.all.push(Pool {
                    spec: Some(Arc::new(spec)),
                    nodes: 0,
                    open: 0,
                    usable: 0,
                    devices: 0,
                    cpu: 0,
                    memory: 0,
                    unmanaged: [0; 3],
                    allocated: 0,
                    unclaimed: [0; 3],
                    gains: 0,
                    stirs: 0,
                    shifts: 0,
                });
                let ix = PoolIx::of(self.all.len() - 1);
                self.by_id.insert(id, ix);
                ix
            }
        };
        self.sort();
        ix
    }

    /// Removes a pool.
    pub(crate) fn remove(&mut self, ix: PoolIx) {
        if let Some(spec) = self.all[ix.i()].spec.take() {
            self.by_id.remove(&spec.id);
        }
        self.sort();
    }

    fn sort(&mut self) {
        let existing = (0..self.all.len()).map(PoolIx::of).filter(|ix| self.all[ix.i()].spec.is_some());
        let mut by_name: Vec<PoolIx> = existing.collect();
        by_name.sort_by(|a, b| self.spec(*a).name.cmp(&self.spec(*b).name));
        self.by_name = by_name;
    }

    /// The pool of a node with these labels: the first by name that selects it, else `default` (S1).
    pub(crate) fn of_labels(&self, labels: &Labels) -> Option<PoolIx> {
        let selects = |ix: &&PoolIx| self.spec(**ix).selects(labels);
        let default = |ix: &&PoolIx| self.spec(**ix).name == PoolSpec::DEFAULT_NAME;
        self.by_name.iter().find(selects).or_else(|| self.by_name.iter().find(default)).copied()
    }

    /// The pools that a workload tries, in order: its own list, else its project's, else all by name (S10).
    /// Pools that do not exist are left out.
    pub(crate) fn order<'a>(
        &'a self,
        own: &'a [PoolId],
        project: &'a [PoolId],
    ) -> impl Iterator<Item = PoolIx> + 'a {
        let listed = if own.is_empty() { project } else { own };
        let all = listed.is_empty().then_some(&self.by_name);
        listed.iter().filter_map(|id| self.find(*id)).chain(all.into_iter().flatten().copied())
    }
}
