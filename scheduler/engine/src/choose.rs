//! Which node a pod gets (S11, S12): from a bounded number of candidates, the one with the least score.
//!
//! *Candidates*, per class that can take the shape, most preferred classes first: from each list by wholly free devices
//! the fitting node with the least and the one with the most free CPU (ties: smallest id), and for a fraction the same
//! from the lists of the four tightest amounts left on shared devices that have such a node. That is as good as looking
//! at all nodes (docs/decisions/0001-least-stranding.md) and does not grow with their number.
//!
//! The best node of a class is remembered until a node of the class changes, so that a choice looks into the few classes
//! that have changed since a pod of the shape was last placed.
//!
//! Nodes are looked at one by one only where the choice is among few or depends on each: inside one topology domain, for
//! pods that name their nodes, for preferences about other pods, and for the strategies kept for comparison.

use crate::Engine;
use crate::class::points_of;
use crate::device::need;
use crate::index::{List, Part, first_run};
use crate::ix::{ClassIx, NodeIx, PodIx, PoolIx, ShapeIx, StateIx, TopologyIx};
use crate::matching::{NodeView, labels_hold, repelling, selector_matches, volumes_differ};
use crate::neighbours::{Floor, View, Views};
use crate::node::Node;
use crate::remember::{About, Scored};
use crate::score::{Place, Score, measure};
use crate::shape::{Pinned, Shape};
use crate::state::{Member, State};
use berth_model::{Constraint, GpuGrant, GpuRequest, Strategy, VolumeUse};
use smallvec::SmallVec;
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
    kind: (ShapeIx, u32),
    pool: PoolIx,
    strategy: Strategy,
    views: &'a [View],
    /// The smallest device of the class that is looked at, and what a fraction takes of it.
    least: (u32, u32),
    /// Nothing need be judged node by node but what is free.
    plain: bool,
}

/// A node that takes the pod, with its state and preference points.
pub(crate) type Found = (Reverse<i64>, StateIx, Member);

/// Candidates.
pub(crate) type Candidates = Vec<Found>;

impl Engine {
    /// The node for a waiting pod, or none if no node of the pool takes it now.
    pub(crate) fn choose(&mut self, pod: PodIx, pool: PoolIx, scope: Scope) -> Option<Choice> {
        let kind = self.kind_of(pod);
        self.profile.refresh(&self.shapes);
        self.profile.prepare(pool, &mut self.classes, &self.shapes);
        self.classes.prepare(&self.shapes, kind.0, pool);
        let plain = scope == Scope::Everywhere && !self.shapes.at(kind.0).local && self.neighbours.idle();
        let gains = self.pools.at(pool).gains + 1;
        if plain && self.lifted == 0 && self.misfit(kind.0, pool) == gains {
            return None;
        }
        let choice = self.best(kind, pool, scope);
        // What does not fit while a trial holds room may fit once the trial is undone.
        if choice.is_none() && plain && self.trial.is_empty() && !self.holds.hiding() {
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
        let views = self.views(kind.0);
        let spec = self.pools.spec(pool);
        let device = spec.device;
        let shape = self.shapes.at(kind.0);
        let strategy = if shape.gpu == GpuRequest::None { spec.cpu } else { spec.gpu };
        let plain = !shape.local && self.neighbours.idle();
        let prefers = shape.prefers_names || self.neighbours.wishes(kind.0).is_some_and(|w| w.prefers());
        let one_by_one = prefers || shape.pinned.is_some() || scope != Scope::Everywhere;
        let ask = Ask { kind, pool, strategy, views: &views, least: (0, 0), plain };
        let tiers = self.classes.tiers(kind.0, pool).len();
        let (_, node) = match strategy {
            _ if one_by_one => self.best_among(&ask, |engine, found| engine.listed(&ask, scope, found)),
            Strategy::Binpack | Strategy::Spread => (0..tiers).find_map(|tier| self.indexed(&ask, tier)),
            Strategy::BestFit | Strategy::Fgd => (0..tiers)
                .find_map(|tier| self.best_among(&ask, |engine, found| engine.all_of(&ask, tier, found))),
        }?;
        let gpus = self.nodes.at(node.0).devices.choose(self.shapes.at(kind.0).gpu, device)?;
        Some(Choice { node, gpus })
    }

    /// In which ways the neighbours of a pod of the shape count: with those for whom room is kept, and without them (S23).
    pub(crate) fn views(&self, shape: ShapeIx) -> Views {
        let both = [true, false].into_iter().take(if self.reservations.is_empty() { 1 } else { 2 });
        both.map(|kept| View { kept, floors: self.floors(shape, kept) }).collect()
    }

    /// What the domains of each spread constraint of the shape hold. As in Kubernetes, nodes that are not ready count, and
    /// cordoned ones whose taint is not there yet.
    fn floors(&self, shape: ShapeIx, kept: bool) -> Vec<Floor> {
        let Some(wishes) = self.neighbours.wishes(shape).filter(|w| w.spreads()) else { return Vec::new() };
        let spec = &*self.shapes.at(shape).spec;
        self.neighbours.floors(&self.topologies, wishes, kept, |ix, affinity, taints| {
            let node = &self.nodes.at(ix.0).spec;
            let view = NodeView::of(node);
            let affine = || {
                labels_hold(&spec.node_selector, view)
                    && spec.node_affinity.as_ref().is_none_or(|s| selector_matches(s, view))
            };
            (!affinity || affine()) && (!taints || repelling(&spec.tolerations, &node.taints).is_none())
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
        let shape = self.shapes.at(ask.kind.0);
        node.fits(shape) && (ask.plain || self.admits(shape, ask.kind, ask.views, ix).is_ok())
    }

    /// True if a node of the pool takes one more pod of the kind now, everything considered.
    pub(crate) fn accepts(&self, kind: (ShapeIx, u32), pool: PoolIx, ix: NodeIx) -> bool {
        let views = self.views(kind.0);
        let shape = self.shapes.at(kind.0);
        let plain = !shape.local && self.neighbours.idle();
        let ask = Ask { kind, pool, strategy: Strategy::Binpack, views: &views, least: (0, 0), plain };
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

    /// The node with the smallest id, out of a state in one of the lists for the shape, that takes one more pod now.
    fn taker(&self, ask: &Ask<'_>, shape: &Shape, ix: StateIx) -> Option<Member> {
        let state = self.index.state(ix);
        if !state.free().fits(shape) || !self.has_share(ask, state, shape) {
            return None;
        }
        if ask.plain { state.first() } else { state.nodes().find(|(_, ix)| self.takes(ask, *ix)) }
    }

    /// True if the devices suffice; of the lists for whole devices every state has them.
    fn has_share(&self, ask: &Ask<'_>, state: &State, shape: &Shape) -> bool {
        match (shape.gpu, state.even()) {
            (GpuRequest::None | GpuRequest::Whole(_), _) => true,
            (request, Some((total, most))) if request.devices() == 1 => match ask.least {
                (least, takes) if least == total => takes <= most,
                _ => need(request, total).max(1) <= most,
            },
            (request, _) => state.first().is_some_and(|(_, ix)| self.nodes.at(ix.0).fits_gpu(request)),
        }
    }

    /// What can only be judged on the node itself, resources apart: names, exclusive volumes, other pods.
    pub(crate) fn admits(
        &self,
        shape: &Shape,
        kind: (ShapeIx, u32),
        views: &[View],
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
            let fits = self.org.as_if || node.volumes_fit_now(shape);
            if !fits || spec.volumes.iter().any(closed) || !volumes_differ(&spec.volumes, view) {
                return Err(Constraint::Volume);
            }
        }
        if self.neighbours.idle() {
            return Ok(());
        }
        self.neighbours.judge(&self.topologies, kind, ix, views)
    }

    /// The best of the candidates from the index, for classes preferred equally.
    fn indexed(&mut self, ask: &Ask<'_>, tier: usize) -> Option<Scored> {
        let mut best = None;
        // Where no GPU memory is left none can be stranded.
        if self.shapes.at(ask.kind.0).gpu == GpuRequest::None {
            best = self.best_of_tier(ask, tier, Part::Spent);
            if best.is_some() && ask.strategy == Strategy::Binpack {
                return best;
            }
        }
        better(best, self.best_of_tier(ask, tier, Part::Open))
    }

    fn best_of_tier(&mut self, ask: &Ask<'_>, tier: usize, part: Part) -> Option<Scored> {
        let mut best: Option<Scored> = None;
        let mut changed: SmallVec<[ClassIx; 16]> = SmallVec::new();
        let known = match ask.plain {
            true => self.profile.remembered.bests(self.profile.epoch(), ask.kind.0, part),
            false => &[],
        };
        let changes = self.index.all_changes();
        for class in &self.classes.tiers(ask.kind.0, ask.pool)[tier].classes {
            let now = changes.get(class.i()).map_or(0, |changes| changes[part as usize]);
            match known.get(class.i()).filter(|known| known.changes == now) {
                Some(known) => best = better(best, known.best),
                None => changed.push(*class),
            }
        }
        for class in changed {
            best = better(best, self.best_of_class(ask, class, part));
        }
        best
    }

    fn best_of_class(&mut self, ask: &Ask<'_>, class: ClassIx, part: Part) -> Option<Scored> {
        let least = self.classes.at(class).least_total();
        let takes = need(self.shapes.at(ask.kind.0).gpu, least).max(1);
        let ask = &Ask { least: (least, takes), ..*ask };
        let best = self.best_among(ask, |engine, found| match part {
            Part::Spent => engine.ends(ask, &engine.index.of(class).spent, found),
            Part::Open => engine.open(ask, class, found),
        });
        if ask.plain {
            let now = (self.profile.epoch(), self.index.changes(class, part));
            self.profile.remembered.learn_best(now, ask.kind.0, class, part, best);
        }
        best
    }

    /// Candidates among the nodes of a class with GPU memory left.
    fn open(&self, ask: &Ask<'_>, class: ClassIx, found: &mut Candidates) {
        let least = match self.shapes.at(ask.kind.0).gpu {
            GpuRequest::Whole(n) => n as usize,
            // Without a free device only a shared one can do: those have lists of their own.
            request if request.devices() == 1 => 1,
            _ => 0,
        };
        for list in self.index.of(class).whole.iter().skip(least).filter(|list| !list.is_empty()) {
            self.ends(ask, list, found);
        }
        if self.shapes.at(ask.kind.0).gpu.is_fraction() {
            self.tightest(ask, class, found);
        }
    }

    /// Candidates for a fraction among nodes with a shared device, the tightest amounts left that suffice.
    fn tightest(&self, ask: &Ask<'_>, class: ClassIx, found: &mut Candidates) {
        let mut levels = 0;
        for list in self.index.of(class).shared.range(ask.least.1..).map(|(_, list)| list) {
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
        let shape = self.shapes.at(ask.kind.0);
        let need = if shape.cpu == 0 { i64::MIN } else { shape.cpu };
        let enough = list.iter().take_while(|(cpu, _)| cpu.0 >= need);
        let Some((most, state, first)) = first_run(enough, |state| self.taker(ask, shape, state)) else {
            return;
        };
        found.push((Reverse(0), state, first));
        if list.last().is_some_and(|(least, _)| least.0 == most) {
            return;
        }
        let ascending = list.down_from((Reverse(need), StateIx(u32::MAX)));
        let last = first_run(ascending, |state| self.taker(ask, shape, state));
        if let Some((_, state, last)) = last.filter(|(least, _, _)| *least != most) {
            found.push((Reverse(0), state, last));
        }
    }

    /// All nodes that take the pod, of classes preferred equally.
    fn all_of(&self, ask: &Ask<'_>, tier: usize, found: &mut Candidates) {
        let classes = &self.classes.tiers(ask.kind.0, ask.pool)[tier].classes;
        let nodes = classes.iter().flat_map(|c| self.classes.at(*c).nodes.iter().copied());
        let taking = nodes.filter(|ix| !self.index.is_hidden(*ix) && self.takes(ask, *ix));
        found.extend(taking.map(|ix| (Reverse(0), self.index.state_of(ix), (self.nodes.at(ix.0).id, ix))));
    }

    /// All nodes of a scope, or those the pod names, that take it, with their preference points.
    fn listed(&self, ask: &Ask<'_>, scope: Scope, found: &mut Candidates) {
        let wishes = self.neighbours.wishes(ask.kind.0);
        let shape = self.shapes.at(ask.kind.0);
        for tier in self.classes.tiers(ask.kind.0, ask.pool) {
            let mut consider = |ix: NodeIx, node: &Node| {
                if tier.classes.contains(&node.class) && !self.index.is_hidden(ix) && self.takes(ask, ix) {
                    let points =
                        wishes.map_or(0, |w| self.neighbours.points(&self.topologies, w, ix, self.org.as_if));
                    let own = if shape.prefers_names {
                        points_of(shape, &node.spec.taints, NodeView::of(&node.spec))
                    } else {
                        tier.points
                    };
                    found.push((Reverse(own + points), self.index.state_of(ix), (node.id, ix)));
                }
            };
            match (scope, &shape.pinned) {
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

    /// The best of the candidates that are found: most points, then the least score.
    fn best_among(&mut self, ask: &Ask<'_>, find: impl FnOnce(&Self, &mut Candidates)) -> Option<Scored> {
        let mut found = std::mem::take(&mut self.candidates);
        found.clear();
        find(self, &mut found);
        let mut best: Option<(Reverse<i64>, Scored)> = None;
        for (points, state, (id, ix)) in found.iter().copied() {
            let (measure, cpu) = self.score(ask, state, ix);
            let scored = (points, (Score { measure, cpu, node: id }, ix));
            if best.is_none_or(|known| scored < known) {
                best = Some(scored);
            }
        }
        self.candidates = found;
        best.map(|(_, scored)| scored)
    }

    /// The strategy's own measure of a node, and the free CPU that remains as it sees it.
    fn score(&mut self, ask: &Ask<'_>, at: StateIx, ix: NodeIx) -> (i64, i64) {
        let state = self.index.state(at);
        let about = About { at, state: state.id, shape: Some(ask.kind.0) };
        let shape = self.shapes.at(ask.kind.0);
        let cpu = state.free().cpu - shape.cpu;
        let known = self.profile.remembered.value(self.profile.epoch(), about);
        let measure = known.unwrap_or_else(|| {
            let (node, device) = (self.nodes.at(ix.0), self.pools.spec(ask.pool).device);
            let place = Place { at, state, node, kind: ask.kind.0, shape, pool: ask.pool, device };
            measure(ask.strategy, &place, &mut self.profile, &self.classes, &self.shapes)
        });
        match ask.strategy {
            Strategy::Binpack => (measure, cpu),
            Strategy::Spread => (measure, -cpu),
            // These know no second criterion.
            Strategy::Fgd | Strategy::BestFit => (measure, 0),
        }
    }
}

/// The better of two, if there are any.
fn better(a: Option<Scored>, b: Option<Scored>) -> Option<Scored> {
    match (a, b) {
        // Scores differ: nodes do.
        (Some((known, _)), Some((other, _))) => {
            if other < known {
                b
            } else {
                a
            }
        }
        (a, b) => a.or(b),
    }
}
