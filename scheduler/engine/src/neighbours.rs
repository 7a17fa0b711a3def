//! What pods say about other pods: affinity, anti-affinity and topology spread (S11).
//!
//! Every distinct (selector, namespaces, topology key) is one *term*. A term counts, per domain, the placed pods it
//! selects, and the placed pods that require to be away from those it selects. Checking a node is then a few look-ups,
//! however many pods there are. Costs: placing a pod touches the terms that select its labels (none in clusters
//! without such constraints); a new term counts the placed pods once; a spread constraint looks at its domains once
//! per pod placed.

use crate::ix::{NodeIx, ShapeIx, TermIx, TopologyIx};
use crate::matching::pod_matches;
use crate::shape::Shape;
use crate::topology::{NOWHERE, Topologies};
use crate::workload::Stage;
use berth_model::{Constraint, LabelSelector, Labels, PodAffinityTerm, Unsatisfiable};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Which pods: by labels (none = no pod), in which namespaces (none = all).
type Selection = (Option<LabelSelector>, Option<Vec<Box<str>>>);

/// What identifies a term.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct TermKey {
    selector: Option<LabelSelector>,
    /// None = all namespaces.
    namespaces: Option<Vec<Box<str>>>,
    topology: TopologyIx,
    /// Other terms that must select the pod too: an affinity counts pods that meet all its terms, as in Kubernetes.
    also: Vec<Selection>,
    /// Leaving pods do not count, as in Kubernetes for topology spread.
    staying: bool,
}

#[derive(Clone, Debug)]
struct Term {
    key: TermKey,
    /// Pods on nodes, and those for whom room is kept there (S23).
    all: Counts,
    /// The latter alone.
    kept: Counts,
}

/// Pods that a term is about.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Pods that the term selects, by domain.
    count: Vec<u32>,
    total: u32,
    /// Pods that must be away from those it selects, by domain.
    repelled: Vec<u32>,
    repelled_total: u32,
    /// Those that it selects by node; only where leaving pods do not count.
    by_node: Vec<u32>,
}

/// How a pod's neighbours are counted: with those for whom room is kept or without, and what the domains of its spread
/// constraints hold then. Every view must allow the pod.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) kept: bool,
    pub(crate) floors: Vec<Floor>,
}

/// All views that count.
pub(crate) type Views = SmallVec<[View; 2]>;

/// What the domains of a spread constraint hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor {
    /// The pods in the emptiest domain that counts.
    least: u32,
    /// By domain, the pods on nodes that count.
    counts: Vec<u32>,
}

/// A spread constraint of a shape.
#[derive(Clone, Copy, Debug)]
struct Spread {
    term: TermIx,
    max_skew: u32,
    min_domains: u32,
    soft: bool,
    honor_affinity: bool,
    honor_taints: bool,
    /// The pod counts itself.
    own: bool,
}

/// What a shape wants of other pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    affinity: Vec<(TermIx, bool)>,
    anti: Vec<TermIx>,
    preferred: Vec<(TermIx, i64)>,
    spread: Vec<Spread>,
}

/// Labels and namespace of a pod.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Identity {
    namespace: Box<str>,
    labels: Arc<Labels>,
}

/// All terms, and all identities they may select.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours {
    terms: Vec<Term>,
    by_key: FxHashMap<TermKey, TermIx>,
    identities: Vec<(Identity, Vec<TermIx>)>,
    by_identity: FxHashMap<Identity, u32>,
    wishes: FxHashMap<ShapeIx, Wishes>,
}

impl Neighbours {
    /// True if no pod has ever said anything about others.
    pub(crate) fn idle(&self) -> bool {
        self.terms.is_empty()
    }

    /// The index of a pod's namespace and labels.
    pub(crate) fn identify(&mut self, namespace: &str, labels: &Arc<Labels>) -> u32 {
        let identity = Identity { namespace: namespace.into(), labels: labels.clone() };
        if let Some(known) = self.by_identity.get(&identity) {
            return *known;
        }
        let selected =
            (0..self.terms.len()).map(TermIx::of).filter(|t| self.terms[t.i()].key.selects(&identity));
        let entry = (identity.clone(), selected.collect());
        self.identities.push(entry);
        self.by_identity.insert(identity, self.identities.len() as u32 - 1);
        self.identities.len() as u32 - 1
    }

    /// The namespace and labels behind an index.
    pub(crate) fn identity(&self, identity: u32) -> (Box<str>, Arc<Labels>) {
        let identity = &self.identities[identity as usize].0;
        (identity.namespace.clone(), identity.labels.clone())
    }

    /// Enters what a new shape says about others; returns the terms nobody has counted yet.
    pub(crate) fn listen(&mut self, ix: ShapeIx, shape: &Shape, topologies: &mut Topologies) -> Vec<TermIx> {
        let Some((namespace, labels)) = &shape.identity else { return Vec::new() };
        let before = self.terms.len();
        let own = Identity { namespace: namespace.clone(), labels: Arc::new(labels.clone()) };
        let mut wishes = Wishes::default();
        let spec = &*shape.spec;
        for (at, term) in spec.pod_affinity.required.iter().enumerate() {
            let others = spec.pod_affinity.required.iter().enumerate().filter(|(other, _)| *other != at);
            let also: Vec<_> =
                others.map(|(_, t)| (t.label_selector.clone(), namespaces_of(t, &own.namespace))).collect();
            let term = self.term(term, &own, topologies, also, false);
            wishes.affinity.push((term, self.terms[term.i()].key.selects(&own)));
        }
        for term in &spec.pod_anti_affinity.required {
            let term = self.term(term, &own, topologies, Vec::new(), false);
            wishes.anti.push(term);
        }
        for (terms, sign) in [(&spec.pod_affinity.preferred, 1), (&spec.pod_anti_affinity.preferred, -1)] {
            for weighted in terms {
                let term = self.term(&weighted.pod_affinity_term, &own, topologies, Vec::new(), false);
                wishes.preferred.push((term, sign * i64::from(weighted.weight)));
            }
        }
        for spread in &spec.topology_spread {
            let like = PodAffinityTerm {
                label_selector: spread.label_selector.clone(),
                topology_key: spread.topology_key.clone(),
                ..PodAffinityTerm::default()
            };
            let term = self.term(&like, &own, topologies, Vec::new(), true);
            wishes.spread.push(Spread {
                term,
                max_skew: spread.max_skew,
                min_domains: spread.min_domains.unwrap_or(1),
                soft: spread.when_unsatisfiable == Unsatisfiable::ScheduleAnyway,
                honor_affinity: spread.honor_affinity,
                honor_taints: spread.honor_taints,
                own: self.terms[term.i()].key.selects(&own),
            });
        }
        self.wishes.insert(ix, wishes);
        (before..self.terms.len()).map(TermIx::of).collect()
    }

    fn term(
        &mut self,
        term: &PodAffinityTerm,
        own: &Identity,
        topologies: &mut Topologies,
        also: Vec<Selection>,
        staying: bool,
    ) -> TermIx {
        let key = TermKey {
            selector: term.label_selector.clone(),
            namespaces: namespaces_of(term, &own.namespace),
            topology: topologies.intern(&term.topology_key).0,
            also,
            staying,
        };
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let ix = TermIx::of(self.terms.len());
        for (identity, selected) in &mut self.identities {
            if key.selects(identity) {
                selected.push(ix);
            }
        }
        self.by_key.insert(key.clone(), ix);
        self.terms.push(Term { key, all: Counts::default(), kept: Counts::default() });
        ix
    }

    /// Counts a pod that is placed (`sign` 1) or gone (-1), under all terms or only under `only`.
    pub(crate) fn count(
        &mut self,
        topologies: &Topologies,
        (shape, identity): (ShapeIx, u32),
        (node, stage): (NodeIx, Stage),
        sign: i32,
        only: Option<&[TermIx]>,
    ) {
        let counted = |term: &TermIx| only.is_none_or(|only| only.contains(term));
        for term in self.identities[identity as usize].1.iter().copied().filter(|t| counted(t)) {
            let term = &mut self.terms[term.i()];
            if !(stage == Stage::Leaving && term.key.staying) {
                let domain = topologies.at(term.key.topology).domain(node);
                term.all.bump(domain, node, sign, term.key.staying);
                if stage == Stage::Reserved {
                    term.kept.bump(domain, node, sign, term.key.staying);
                }
            }
        }
        let Some(wishes) = self.wishes.get(&shape) else { return };
        for term in wishes.anti.iter().copied().filter(|t| counted(t)) {
            let term = &mut self.terms[term.i()];
            let domain = topologies.at(term.key.topology).domain(node);
            bump(&mut term.all.repelled, &mut term.all.repelled_total, domain, sign);
            if stage == Stage::Reserved {
                bump(&mut term.kept.repelled, &mut term.kept.repelled_total, domain, sign);
            }
        }
    }

    /// What the shape wants, if it wants anything.
    pub(crate) fn wishes(&self, shape: ShapeIx) -> Option<&Wishes> {
        self.wishes.get(&shape)
    }

    /// True if a pod of the first kind, wherever it is, can matter for where one of the second may go.
    pub(crate) fn concerns(&self, other: (ShapeIx, u32), kind: (ShapeIx, u32)) -> bool {
        let selecting = |identity: u32| &self.identities[identity as usize].1;
        let sought = self.wishes.get(&kind.0).is_some_and(|wishes| {
            let affinity = wishes.affinity.iter().map(|(term, _)| term);
            let mut terms = affinity.chain(&wishes.anti).chain(wishes.spread.iter().map(|s| &s.term));
            terms.any(|term| selecting(other.1).contains(term))
        });
        let repels = || {
            let wishes = self.wishes.get(&other.0);
            wishes.is_some_and(|wishes| wishes.anti.iter().any(|term| selecting(kind.1).contains(term)))
        };
        sought || repels()
    }

    /// The first constraint about pods that keeps a pod away from the node, in some view.
    pub(crate) fn judge(
        &self,
        topologies: &Topologies,
        kind: (ShapeIx, u32),
        node: NodeIx,
        views: &[View],
    ) -> Result<(), Constraint> {
        views.iter().try_for_each(|view| self.judge_by(topologies, kind, node, view))
    }

    fn judge_by(
        &self,
        topologies: &Topologies,
        (shape, identity): (ShapeIx, u32),
        node: NodeIx,
        view: &View,
    ) -> Result<(), Constraint> {
        for term in &self.identities[identity as usize].1 {
            let term = &self.terms[term.i()];
            let domain = topologies.at(term.key.topology).domain(node);
            if term.all.repelled_total > 0 && term.by(view.kept, |c| at(&c.repelled, domain)) > 0 {
                return Err(Constraint::PodAntiAffinity);
            }
        }
        let Some(wishes) = self.wishes.get(&shape) else { return Ok(()) };
        let here = |term: &TermIx| {
            let term = &self.terms[term.i()];
            let domain = topologies.at(term.key.topology).domain(node);
            (term, domain, term.by(view.kept, |c| at(&c.count, domain)))
        };
        if wishes.anti.iter().any(|t| here(t).2 > 0) {
            return Err(Constraint::PodAntiAffinity);
        }
        // The first of a group that wants to be together may start anywhere, as in Kubernetes.
        let first = !wishes.affinity.is_empty()
            && wishes
                .affinity
                .iter()
                .all(|(t, own)| *own && self.terms[t.i()].by(view.kept, |c| c.total) == 0);
        if wishes.affinity.iter().any(|(t, _)| here(t).1 == NOWHERE || !first && here(t).2 == 0) {
            return Err(Constraint::PodAffinity);
        }
        for (spread, floor) in wishes.spread.iter().zip(&view.floors).filter(|(s, _)| !s.soft) {
            let (_, domain, _) = here(&spread.term);
            let count = at(&floor.counts, domain);
            if domain == NOWHERE
                || count + u32::from(spread.own) > spread.max_skew.saturating_add(floor.least)
            {
                return Err(Constraint::TopologySpread);
            }
        }
        Ok(())
    }

    /// Preference points of a node from other pods (S12): weight times pods near, less pods where spreading is wished.
    /// Those for whom room is kept count only if `kept`.
    pub(crate) fn points(&self, topologies: &Topologies, wishes: &Wishes, node: NodeIx, kept: bool) -> i64 {
        let here = |term: TermIx| {
            let term = &self.terms[term.i()];
            let domain = topologies.at(term.key.topology).domain(node);
            i64::from(term.by(kept, |c| at(&c.count, domain)))
        };
        let preferred: i64 = wishes.preferred.iter().map(|(term, weight)| weight * here(*term)).sum();
        preferred - wishes.spread.iter().filter(|s| s.soft).map(|s| here(s.term)).sum::<i64>()
    }

    /// For every spread constraint of the shape, what its domains hold. `eligible` says whether a node counts, given
    /// whether node affinity and taints matter; nodes without the labels of all hard constraints do not.
    pub(crate) fn floors(
        &self,
        topologies: &Topologies,
        wishes: &Wishes,
        kept: bool,
        eligible: impl Fn(NodeIx, bool, bool) -> bool,
    ) -> Vec<Floor> {
        let topology = |s: &Spread| topologies.at(self.terms[s.term.i()].key.topology);
        let hard = || wishes.spread.iter().filter(|s| !s.soft);
        let floor = |spread: &Spread| {
            if spread.soft {
                return Floor::default();
            }
            let (domains, term) = (topology(spread), &self.terms[spread.term.i()]);
            let mut counts = vec![0; domains.len()];
            let (mut known, mut least) = (0, u32::MAX);
            for (domain, nodes) in domains.nodes.iter().enumerate() {
                let counting = nodes.iter().filter(|n| {
                    hard().all(|s| topology(s).domain(**n) != NOWHERE)
                        && eligible(**n, spread.honor_affinity, spread.honor_taints)
                });
                let pods = counting.map(|n| term.by(kept, |c| at(&c.by_node, n.0))).reduce(|a, b| a + b);
                if let Some(pods) = pods {
                    (counts[domain], known, least) = (pods, known + 1, least.min(pods));
                }
            }
            let few = known == 0 || known < spread.min_domains;
            Floor { least: if few { 0 } else { least }, counts }
        };
        wishes.spread.iter().map(floor).collect()
    }
}

impl Wishes {
    /// True if some node is better than another without any being forbidden.
    pub(crate) fn prefers(&self) -> bool {
        !self.preferred.is_empty() || self.spread.iter().any(|s| s.soft)
    }

    /// True if a pod may have to be where certain others are.
    pub(crate) fn depends_on_others(&self) -> bool {
        !self.affinity.is_empty() || self.spread.iter().any(|spread| !spread.soft)
    }

    /// True if a spread constraint must hold.
    pub(crate) fn spreads(&self) -> bool {
        !self.spread.is_empty()
    }
}

impl Term {
    /// A count, with those for whom room is kept or without.
    fn by(&self, kept: bool, count: impl Fn(&Counts) -> u32) -> u32 {
        count(&self.all) - if kept { 0 } else { count(&self.kept) }
    }
}

impl Counts {
    fn bump(&mut self, domain: u32, node: NodeIx, sign: i32, by_node: bool) {
        bump(&mut self.count, &mut self.total, domain, sign);
        if by_node {
            bump(&mut self.by_node, &mut 0, node.0, sign);
        }
    }
}

impl TermKey {
    fn selects(&self, identity: &Identity) -> bool {
        let selects = |selector: &Option<LabelSelector>, namespaces: &Option<Vec<Box<str>>>| {
            selector.as_ref().is_some_and(|s| pod_matches(s, &identity.labels))
                && namespaces.as_ref().is_none_or(|all| all.contains(&identity.namespace))
        };
        selects(&self.selector, &self.namespaces) && self.also.iter().all(|(s, n)| selects(s, n))
    }
}

/// The namespaces a term of a pod in `own` is about; none = all.
fn namespaces_of(term: &PodAffinityTerm, own: &str) -> Option<Vec<Box<str>>> {
    let mut namespaces: Vec<Box<str>> = term.namespaces.iter().map(|n| n.as_str().into()).collect();
    if namespaces.is_empty() {
        namespaces.push(own.into());
    }
    namespaces.sort();
    (!term.all_namespaces).then_some(namespaces)
}

fn at(counts: &[u32], domain: u32) -> u32 {
    counts.get(domain as usize).copied().unwrap_or(0)
}

fn bump(counts: &mut Vec<u32>, total: &mut u32, domain: u32, sign: i32) {
    if domain == NOWHERE {
        return;
    }
    if counts.len() <= domain as usize {
        counts.resize(domain as usize + 1, 0);
    }
    counts[domain as usize] = counts[domain as usize].wrapping_add_signed(sign);
    *total = total.wrapping_add_signed(sign);
}
