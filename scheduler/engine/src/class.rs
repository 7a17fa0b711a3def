//! Classes: nodes that look the same to every shape are one class, and what depends only on (shape, class) is
//! computed once.
//!
//! A class is what a node is, not what is free on it: pool, taints, size, devices, and the values of those label keys
//! that some shape looks at (*relevant* keys). Labels nobody asks about do not split classes, so unique labels cost
//! nothing; the hostname is never part of a class and is checked node by node.
//! Costs: a new relevant key sorts all nodes anew, O(nodes), which happens a few times in the life of a cluster.

use crate::ix::{ClassIx, NodeIx, PoolIx, ShapeIx};
use crate::matching::{
    NodeView, UNSCHEDULABLE, labels_hold, repelling, selector_matches, taints_of, term_matches, tolerated,
};
use crate::node::Node;
use crate::shape::{ResourceNames, Shape, Shapes, keys_of};
use berth_model::{Constraint, Effect, GpuMemoryMib, Labels, NodeSpec, Resources, Taint};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What identifies a class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    pool: PoolIx,
    labels: Labels,
    taints: Vec<Taint>,
    allocatable: Resources,
    devices: Vec<(i64, u8)>,
    volume_limits: BTreeMap<String, u32>,
}

/// A class of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    /// Relevant labels.
    labels: Labels,
    /// Taints, the one of a cordoned node included.
    taints: Vec<Taint>,
    /// A node of the class with nothing on it.
    pub(crate) empty: Node,
    /// Usable nodes of the class, in no order.
    pub(crate) nodes: Vec<NodeIx>,
}

/// Classes of one pool that can take a shape and that it prefers equally.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tier {
    /// Preference points; more is better.
    pub(crate) points: i64,
    pub(crate) classes: SmallVec<[ClassIx; 4]>,
}

/// All classes, and how shapes fit them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    by_key: FxHashMap<Key, ClassIx>,
    all: Vec<Class>,
    by_pool: Vec<Vec<ClassIx>>,
    relevant: Vec<Box<str>>,
    /// Where each node stands in its class's list.
    position: Vec<u32>,
    /// Per shape and pool: how many classes the pool had when the tiers were made, and the tiers.
    tiers: Vec<Vec<(usize, Vec<Tier>)>>,
}

impl Classes {
    /// A class.
    pub(crate) fn at(&self, ix: ClassIx) -> &Class {
        &self.all[ix.i()]
    }

    /// The classes of a pool.
    pub(crate) fn of_pool(&self, pool: PoolIx) -> &[ClassIx] {
        self.by_pool.get(pool.i()).map_or(&[], Vec::as_slice)
    }

    /// Notes the label keys a new shape looks at; true if nodes must be sorted anew.
    pub(crate) fn look_at(&mut self, shape: &Shape) -> bool {
        let mut new = false;
        for key in keys_of(&shape.spec) {
            if !self.relevant.iter().any(|k| &**k == key) {
                self.relevant.push(key.into());
                new = true;
            }
        }
        new
    }

    /// Gives a node its class, and lists it there if it is usable.
    pub(crate) fn join(&mut self, ix: NodeIx, node: &mut Node, pool: PoolIx, names: &mut ResourceNames) {
        node.class = self.class_of(&node.spec, pool, names);
        if !node.usable() {
            return;
        }
        let class = &mut self.all[node.class.i()];
        if self.position.len() <= ix.i() {
            self.position.resize(ix.i() + 1, 0);
        }
        self.position[ix.i()] = class.nodes.len() as u32;
        class.nodes.push(ix);
    }

    /// Takes a node out of its class.
    pub(crate) fn leave(&mut self, ix: NodeIx, class: ClassIx) {
        let at = self.position[ix.i()] as usize;
        let nodes = &mut self.all[class.i()].nodes;
        debug_assert_eq!(nodes[at], ix);
        nodes.swap_remove(at);
        if let Some(moved) = nodes.get(at) {
            self.position[moved.i()] = at as u32;
        }
    }

    fn class_of(&mut self, spec: &Arc<NodeSpec>, pool: PoolIx, names: &mut ResourceNames) -> ClassIx {
        let key = self.key_of(spec, pool);
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let ix = ClassIx::of(self.all.len());
        let mut pristine = NodeSpec::clone(spec);
        for device in &mut pristine.devices {
            device.health = berth_model::DeviceHealth::Healthy;
            device.foreign = GpuMemoryMib::ZERO;
        }
        self.all.push(Class {
            labels: key.labels.clone(),
            taints: key.taints.clone(),
            empty: Node::new(Arc::new(pristine), names, GpuMemoryMib::ZERO),
            nodes: Vec::new(),
        });
        self.by_key.insert(key, ix);
        if self.by_pool.len() <= pool.i() {
            self.by_pool.resize(pool.i() + 1, Vec::new());
        }
        self.by_pool[pool.i()].push(ix);
        ix
    }

    fn key_of(&self, spec: &NodeSpec, pool: PoolIx) -> Key {
        let relevant = |key: &String| self.relevant.iter().any(|k| **k == **key);
        Key {
            pool,
            labels: spec
                .labels
                .iter()
                .filter(|(k, _)| relevant(k))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            taints: taints_of(spec),
            allocatable: spec.allocatable.clone(),
            devices: spec.devices.iter().map(|d| (d.memory.0, d.link_group)).collect(),
            volume_limits: spec.volume_limits.clone(),
        }
    }

    /// Makes sure that [`Self::tiers`] answers for the shape and pool.
    pub(crate) fn prepare(&mut self, shapes: &Shapes, shape: ShapeIx, pool: PoolIx) {
        let count = self.of_pool(pool).len();
        let known = self.tiers.get(shape.i()).and_then(|per_pool| per_pool.get(pool.i()));
        if known.is_none_or(|(made_of, _)| *made_of != count) {
            self.make_tiers(shapes, shape, pool);
        }
    }

    fn make_tiers(&mut self, shapes: &Shapes, shape: ShapeIx, pool: PoolIx) {
        if self.tiers.len() < shapes.len() {
            self.tiers.resize(shapes.len(), Vec::new());
        }
        let per_pool = &mut self.tiers[shape.i()];
        if per_pool.len() <= pool.i() {
            per_pool.resize(pool.i() + 1, (0, Vec::new()));
        }
        let mut tiers: Vec<Tier> = Vec::new();
        for ix in self.of_pool(pool).iter().copied() {
            let Ok(points) = self.all[ix.i()].judge(shapes.at(shape)) else { continue };
            match tiers.iter_mut().find(|t| t.points == points) {
                Some(tier) => tier.classes.push(ix),
                None => tiers.push(Tier { points, classes: SmallVec::from_slice(&[ix]) }),
            }
        }
        tiers.sort_by_key(|t| std::cmp::Reverse(t.points));
        self.tiers[shape.i()][pool.i()] = (self.of_pool(pool).len(), tiers);
    }

    /// The classes of the pool that can take the shape, most preferred first, after [`Self::prepare`].
    pub(crate) fn tiers(&self, shape: ShapeIx, pool: PoolIx) -> &[Tier] {
        self.tiers.get(shape.i()).and_then(|p| p.get(pool.i())).map_or(&[], |(_, tiers)| tiers)
    }
}

impl Class {
    /// Memory of the smallest device in MiB; no fraction needs less than it needs there.
    pub(crate) fn least_total(&self) -> u32 {
        self.empty.devices.iter().map(|d| d.total).min().unwrap_or(0)
    }

    /// What a node shows of itself as a member of the class: everything but its name.
    fn view(&self) -> NodeView<'_> {
        NodeView { labels: &self.labels, name: None }
    }

    /// Preference points of the class for the shape (S12), or the first constraint that keeps it away (S11).
    pub(crate) fn judge(&self, shape: &Shape) -> Result<i64, Constraint> {
        let spec = &*shape.spec;
        if let Some(taint) = repelling(&spec.tolerations, &self.taints) {
            return Err(match taint.key.as_str() {
                UNSCHEDULABLE => Constraint::Unschedulable,
                key => Constraint::Taint(key.to_owned()),
            });
        }
        let affine = labels_hold(&spec.node_selector, self.view())
            && spec.node_affinity.as_ref().is_none_or(|s| selector_matches(s, self.view()));
        if !affine {
            return Err(Constraint::NodeAffinity);
        }
        let reachable = |v: &berth_model::VolumeUse| {
            v.reachable_from.as_ref().is_none_or(|s| selector_matches(s, self.view()))
        };
        if !spec.volumes.iter().all(|v| v.unusable.is_empty() && reachable(v)) {
            return Err(Constraint::Volume);
        }
        if !self.empty.fits(shape) {
            return Err(Constraint::TooSmall);
        }
        Ok(points_of(shape, &self.taints, self.view()))
    }
}

/// Weights of the preferred terms that match, less 100 (a term's largest weight) per taint that would rather keep the
/// pod away (S12).
pub(crate) fn points_of(shape: &Shape, taints: &[Taint], node: NodeView<'_>) -> i64 {
    let spec = &*shape.spec;
    let preferred = spec.preferred_nodes.iter().filter(|p| term_matches(&p.preference, node));
    let repelled =
        taints.iter().filter(|t| t.effect == Effect::PreferNoSchedule && !tolerated(&spec.tolerations, t));
    preferred.map(|p| i64::from(p.weight)).sum::<i64>() - 100 * repelled.count() as i64
}
