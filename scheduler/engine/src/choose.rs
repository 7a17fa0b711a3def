//! Which node a pod gets (S11, S12): from a bounded number of candidates, the one with the least score.
//!
//! *Candidates*, per class that can take the shape, most preferred classes first: from each list by wholly free devices
//! the fitting node with the least and the one with the most free CPU (ties: smallest id), and for a fraction the same
//! from the lists of the four tightest amounts left on shared devices that have such a node. That is as good as looking
//! at all nodes (docs/decisions/0001-least-stranding.md) and does not grow with their number.
//!
//! Nodes are looked at one by one only where the choice is among few or depends on each: inside one topology domain, for
//! pods that name their nodes, for preferences about other pods, and for the strategies kept for comparison.

use crate::Engine;
use crate::class::points_of;
use crate::index::List;
use crate::ix::{ClassIx, NodeIx, PodIx, PoolIx, ShapeIx, TopologyIx};
use crate::matching::{NodeView, labels_hold, repelling, selector_matches, taints_of};
use crate::neighbours::Floor;
use crate::node::Node;
use crate::score::{Candidate, Score, score};
use crate::shape::{Pinned, Shape};
use berth_model::{Constraint, GpuGrant, GpuRequest, Strategy, VolumeUse};
use std::cmp::Reverse;

/// How many of the tightest amounts left on shared devices are looked at per class.
const TIGHTEST: usize = 4;

/// Where a pod may go within its pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Anywhere.
    Everywhere,
    /// Only into this domain of this level.
    Domain(TopologyIx, u32),
}

/// A node and the devices on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    pub(crate) node: NodeIx,
    pub(crate) gpus: GpuGrant,
}

/// What the choice is about.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    shape: &'a Shape,
    kind: (ShapeIx, u32),
    pool: PoolIx,
    strategy: Strategy,
    floors: &'a [Floor],
    /// Nothing need be judged node by node but what is free.
    plain: bool,
}

/// Candidates with their preference points.
pub(crate) type Candidates = Vec<(Reverse<i64>, NodeIx)>;

impl Engine {
    /// The node for a waiting pod, or none if no node of the pool takes it now.
    pub(crate) fn choose(&mut self, pod: PodIx, pool: PoolIx, scope: Scope) -> Option<Choice> {
        let kind = self.kind_of(pod);
        self.profile.refresh(&self.shapes);
        self.classes.prepare(&self.shapes, kind.0, pool);
        let plain = scope == Scope::Everywhere && !self.shapes.at(kind.0).local && self.neighbours.idle();
        let gains = self.pools.at(pool).gains + 1;
        if plain && self.lifted == 0 && self.misfit(kind.0, pool) == gains {
            return None;
        }
        let choice = self.best(kind, pool, scope);
        // What does not fit while a trial holds room may fit once the trial is undone.
        if choice.is_none() && plain && self.trial.is_empty() {
            self.note_misfit(kind.0, pool, gains);
        }
        choice
    }

    fn misfit(&self, shape: ShapeIx, pool: PoolIx) -> u64 {
        self.misfits.get(shape.i()).and_then(|p| p.get(pool.i())).copied().unwrap_or(0)
    }

    fn note_misfit(&mut self, shape: ShapeIx, pool: PoolIx, gains: u64) {
        if self.misfits.len() <= shape.i() {
            self.misfits.resize(shape.i() + 1, Vec::new());
        }
        let per_pool = &mut self.misfits[shape.i()];
        if per_pool.len() <= pool.i() {
            per_pool.resize(pool.i() + 1, 0);
        }
        per_pool[pool.i()] = gains;
    }

    fn best(&mut self, kind: (ShapeIx, u32), pool: PoolIx, scope: Scope) -> Option<Choice> {
        let mut found = std::mem::take(&mut self.candidates);
        found.clear();
        let floors = self.floors(kind.0);
        let spec = self.pools.spec(pool);
        let shape = self.shapes.at(kind.0);
        let strategy = if shape.gpu == GpuRequest::None { spec.cpu } else { spec.gpu };
        let plain = !shape.local && self.neighbours.idle();
        let ask = Ask { shape, kind, pool, strategy, floors: &floors, plain };
        let prefers = shape.prefers_names || self.neighbours.wishes(kind.0).is_some_and(|w| w.prefers());
        if prefers || shape.pinned.is_some() || scope != Scope::Everywhere {
            self.listed(&ask, scope, &mut found);
        } else {
            for tier in self.classes.tiers(kind.0, pool) {
                match strategy {
                    Strategy::Binpack | Strategy::Spread => self.indexed(&ask, &tier.classes, &mut found),
                    Strategy::BestFit | Strategy::Fgd => self.all_of(&ask, &tier.classes, &mut found),
                }
                if !found.is_empty() {
                    break;
                }
            }
        }
        let choice = self.pick(kind, pool, strategy, &found);
        self.candidates = found;
        choice
    }

    /// What the domains of each spread constraint of the shape hold. As in Kubernetes, nodes that are not ready count.
    pub(crate) fn floors(&self, shape: ShapeIx) -> Vec<Floor> {
        let Some(wishes) = self.neighbours.wishes(shape).filter(|w| w.spreads()) else { return Vec::new() };
        let spec = &*self.shapes.at(shape).spec;
        self.neighbours.floors(&self.topologies, wishes, |ix, affinity, taints| {
            let node = &self.nodes.at(ix.0).spec;
            let view = NodeView::of(node);
            let affine = || {
                labels_hold(&spec.node_selector, view)
                    && spec.node_affinity.as_ref().is_none_or(|s| selector_matches(s, view))
            };
            (!affinity || affine()) && (!taints || repelling(&spec.tolerations, &taints_of(node)).is_none())
        })
    }

    /// The nodes that a pod names.
    fn named(&self, pinned: &Pinned) -> Vec<NodeIx> {
        let by_name = pinned.names.iter().filter_map(|name| self.node_names.get(name).copied());
        let by_host = pinned.hosts.iter().filter_map(|host| self.hosts.get(host)).flatten().copied();
        let mut named: Vec<NodeIx> = by_name.chain(by_host).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// True if the node takes one more pod of the shape now.
    fn takes(&self, ask: &Ask<'_>, ix: NodeIx) -> bool {
        let node = self.nodes.at(ix.0);
        node.fits(ask.shape) && (ask.plain || self.admits(ask.shape, ask.kind, ask.floors, ix).is_ok())
    }

    /// True if a node of the pool takes one more pod of the kind now, everything considered.
    pub(crate) fn accepts(&self, kind: (ShapeIx, u32), pool: PoolIx, ix: NodeIx) -> bool {
        let (shape, floors) = (self.shapes.at(kind.0), self.floors(kind.0));
        let plain = !shape.local && self.neighbours.idle();
        let ask = Ask { shape, kind, pool, strategy: Strategy::Binpack, floors: &floors, plain };
        self.takes(&ask, ix)
    }

    /// True if a node is one that could take a pod of the kind if it were empty.
    pub(crate) fn could_take(
        &mut self,
        kind: (ShapeIx, u32),
        pool: PoolIx,
        scope: Scope,
        ix: NodeIx,
    ) -> bool {
        self.classes.prepare(&self.shapes, kind.0, pool);
        let node = self.nodes.at(ix.0);
        let inside = match scope {
            Scope::Everywhere => true,
            Scope::Domain(level, domain) => self.topologies.at(level).domain(ix) == domain,
        };
        let mut tiers = self.classes.tiers(kind.0, pool).iter();
        inside
            && node.usable()
            && node.pool == Some(pool)
            && tiers.any(|tier| tier.classes.contains(&node.class))
    }

    /// As [`Self::takes`], for a node from a list of which every node has the devices.
    fn takes_with_devices(&self, ask: &Ask<'_>, ix: NodeIx) -> bool {
        if ask.plain { self.nodes.at(ix.0).free.fits(ask.shape) } else { self.takes(ask, ix) }
    }

    /// What can only be judged on the node itself, resources apart: names, exclusive volumes, other pods.
    pub(crate) fn admits(
        &self,
        shape: &Shape,
        kind: (ShapeIx, u32),
        floors: &[Floor],
        ix: NodeIx,
    ) -> Result<(), Constraint> {
        if shape.local {
            let node = self.nodes.at(ix.0);
            let view = NodeView::of(&node.spec);
            let spec = &*shape.spec;
            let named = labels_hold(&spec.node_selector, view)
                && spec.node_affinity.as_ref().is_none_or(|s| selector_matches(s, view));
            if !named {
                return Err(Constraint::NodeAffinity);
            }
            let taken = |handle: &str| self.mounted.get(handle).is_some_and(|n| *n > 0);
            let closed = |v: &VolumeUse| {
                v.exclusive && taken(&v.handle)
                    || v.reachable_from.as_ref().is_some_and(|s| !selector_matches(s, view))
            };
            if spec.volumes.iter().any(closed) {
                return Err(Constraint::Volume);
            }
        }
        if self.neighbours.idle() {
            return Ok(());
        }
        self.neighbours.judge(&self.topologies, kind, ix, floors)
    }

    /// Candidates from the index, for classes preferred equally.
    fn indexed(&self, ask: &Ask<'_>, classes: &[ClassIx], found: &mut Candidates) {
        let asks_none = ask.shape.gpu == GpuRequest::None;
        if asks_none {
            // Where no GPU memory is left none can be stranded.
            for class in classes {
                self.ends(ask, &self.index.of(*class).spent, found);
            }
            if !found.is_empty() && ask.strategy == Strategy::Binpack {
                return;
            }
        }
        for class in classes {
            let lists = self.index.of(*class);
            let least = match ask.shape.gpu {
                GpuRequest::Whole(n) => n as usize,
                // Without a free device only a shared one can do: those have lists of their own.
                request if request.devices() == 1 => 1,
                _ => 0,
            };
            for list in lists.whole.iter().skip(least) {
                self.ends(ask, list, found);
            }
            if ask.shape.gpu.is_fraction() {
                self.tightest(ask, *class, found);
            }
        }
    }

    /// Candidates for a fraction among nodes with a shared device, the tightest amounts left that suffice.
    fn tightest(&self, ask: &Ask<'_>, class: ClassIx, found: &mut Candidates) {
        let need = crate::device::need(ask.shape.gpu, self.classes.at(class).least_total());
        let mut levels = 0;
        for list in self.index.of(class).shared.range(need..).map(|(_, list)| list) {
            let before = found.len();
            self.ends(ask, list, found);
            levels += usize::from(found.len() > before);
            if levels == TIGHTEST {
                break;
            }
        }
    }

    /// The fitting nodes of a list with the most and the least free CPU; ties go to the smallest id.
    fn ends(&self, ask: &Ask<'_>, list: &List, found: &mut Candidates) {
        if ask.shape.gpu.is_fraction() {
            self.ends_of(ask, list, found, |ix| self.takes(ask, ix));
        } else {
            self.ends_of(ask, list, found, |ix| self.takes_with_devices(ask, ix));
        }
    }

    fn ends_of(&self, ask: &Ask<'_>, list: &List, found: &mut Candidates, takes: impl Fn(NodeIx) -> bool) {
        let need = if ask.shape.cpu == 0 { i64::MIN } else { ask.shape.cpu };
        let mut enough = list.iter().take_while(|(cpu, _, _)| cpu.0 >= need);
        let Some((most, _, first)) = enough.find(|(_, _, ix)| takes(*ix)) else { return };
        found.push((Reverse(0), *first));
        if list.last().is_some_and(|(least, _, _)| least == most) {
            return;
        }
        let bottom = (Reverse(need), berth_model::NodeId(u32::MAX), NodeIx(u32::MAX));
        let Some((least, _, last)) = list.range(..=bottom).rev().find(|(_, _, ix)| takes(*ix)) else {
            return;
        };
        if least == most {
            return;
        }
        // Among equals the end comes largest id first: take the first of the run instead.
        let run = list.range((*least, berth_model::NodeId(0), NodeIx(0))..).map(|(_, _, ix)| *ix);
        let first = run.take_while(|ix| ix != last).find(|ix| takes(*ix)).unwrap_or(*last);
        found.push((Reverse(0), first));
    }

    /// All nodes of the classes that take the pod.
    fn all_of(&self, ask: &Ask<'_>, classes: &[ClassIx], found: &mut Candidates) {
        let nodes = classes.iter().flat_map(|c| self.classes.at(*c).nodes.iter().copied());
        found.extend(nodes.filter(|ix| self.takes(ask, *ix)).map(|ix| (Reverse(0), ix)));
    }

    /// All nodes of a scope, or those the pod names, that take it, with their preference points.
    fn listed(&self, ask: &Ask<'_>, scope: Scope, found: &mut Candidates) {
        let wishes = self.neighbours.wishes(ask.kind.0);
        for tier in self.classes.tiers(ask.kind.0, ask.pool) {
            let mut consider = |ix: NodeIx, node: &Node| {
                if tier.classes.contains(&node.class) && self.takes(ask, ix) {
                    let points = wishes.map_or(0, |w| self.neighbours.points(&self.topologies, w, ix));
                    let own = if ask.shape.prefers_names {
                        points_of(ask.shape, &node.spec.taints, NodeView::of(&node.spec))
                    } else {
                        tier.points
                    };
                    found.push((Reverse(own + points), ix));
                }
            };
            match (scope, &ask.shape.pinned) {
                (Scope::Domain(level, domain), _) => {
                    for ix in self.topologies.at(level).nodes[domain as usize].iter().copied() {
                        let node = self.nodes.at(ix.0);
                        if node.usable() && node.pool == Some(ask.pool) {
                            consider(ix, node);
                        }
                    }
                }
                (Scope::Everywhere, Some(pinned)) => {
                    for ix in self.named(pinned) {
                        let node = self.nodes.at(ix.0);
                        if node.usable() && node.pool == Some(ask.pool) {
                            consider(ix, node);
                        }
                    }
                }
                (Scope::Everywhere, None) => {
                    for ix in tier.classes.iter().flat_map(|c| self.classes.at(*c).nodes.iter().copied()) {
                        consider(ix, self.nodes.at(ix.0));
                    }
                }
            }
        }
    }

    /// The best of the candidates: most points, then the least score.
    fn pick(
        &mut self,
        kind: (ShapeIx, u32),
        pool: PoolIx,
        strategy: Strategy,
        found: &[(Reverse<i64>, NodeIx)],
    ) -> Option<Choice> {
        let device = self.pools.spec(pool).device;
        let shape = self.shapes.at(kind.0);
        let mut best: Option<((Reverse<i64>, Score), NodeIx)> = None;
        if let [(_, only)] = found {
            best = Some(((Reverse(0), Score::default()), *only));
        } else {
            for (points, ix) in found.iter().copied() {
                let candidate =
                    Candidate { ix, node: self.nodes.at(ix.0), kind: kind.0, shape, pool, device };
                let score = score(strategy, &candidate, &mut self.profile, &mut self.classes, &self.shapes);
                if best.as_ref().is_none_or(|(known, _)| (points, score) < *known) {
                    best = Some(((points, score), ix));
                }
            }
        }
        let node = best?.1;
        let gpus = self.nodes.at(node.0).devices.choose(shape.gpu, device)?;
        Some(Choice { node, gpus })
    }
}
