//! The best set of victims for one pod over all nodes of a pool (S20), without looking at all of them.
//!
//! Candidates come most recently started first, pods above their minimum before all others. Freeing `m` devices' worth
//! on a node costs at least `m` times the running time of its most recently started candidate, and nodes are met in the
//! order of those: once the best set found costs no more than that bound, no node not met yet can be better. Sets found
//! stay in a heap for the next pod of the same attempt; before one is used it is judged again (S22), and found anew only where
//! that is not enough: the node has changed, or what happens elsewhere matters there.
//! Costs: one reclaim among many equal ones solves one node; an attempt for n pods solves each node about once.

use crate::Engine;
use crate::choose::Scope;
use crate::consolidate::MOST_PLAYS;
use crate::ix::{NodeIx, PodIx, ShapeIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::room::{ELSEWHERE, Elsewhere, Need, Set, SetKey};
use crate::victims::{Cost, Place, Stream, Unit, UnitId};
use crate::workload::Stage;
use berth_model::GpuRequest;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Candidates in order, from several streams.
#[derive(Debug, Default)]
struct Cursor {
    elastic: bool,
    heads: BinaryHeap<Reverse<(Place, Stream)>>,
}

/// A search for pods of one shape in one attempt.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    cursor: Cursor,
    started: bool,
    met: FxHashSet<NodeIx>,
    /// Nodes that the trial has changed since the last search.
    pub(crate) changed: Vec<NodeIx>,
    /// The best set of each node met that has one, and after how many steps of the trial it was found.
    sets: BinaryHeap<Reverse<(SetKey, NodeIx, usize)>>,
    /// The sets themselves, by node.
    found: FxHashMap<NodeIx, Set>,
}

impl Engine {
    /// The best set for one more pod.
    pub(crate) fn best_set(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        scope: Scope,
        frontier: &mut Frontier,
    ) -> Option<(NodeIx, Set)> {
        if !frontier.started {
            frontier.started = true;
            frontier.cursor.elastic = true;
            self.open_streams(hunt, taken, &mut frontier.cursor);
        }
        let mut elsewhere = self.units_elsewhere(hunt, taken, need);
        self.look_again(hunt, taken, need, scope, frontier, &mut elsewhere);
        let missing = self.least_missing(hunt, need);
        if !elsewhere.about.is_empty() && frontier.met.is_empty() {
            self.meet_all(hunt, taken, need, scope, frontier, &mut elsewhere);
        }
        let most = match hunt.rule {
            Rule::Consolidate => self.second.plays + MOST_PLAYS,
            Rule::Reclaim(..) | Rule::Preempt(_) => u64::MAX,
        };
        loop {
            let enough = self.second.plays >= most;
            let bound = self.bound_of_rest(hunt, taken, &mut frontier.cursor, missing).filter(|_| !enough);
            if let Some(Reverse((key, node, found_at))) = frontier.sets.peek() {
                let first = key.order.first();
                let settled =
                    bound.is_none_or(|(cost, place)| (key.cost, first) < (cost, Some(&(place.0, place.1))));
                if settled {
                    let (node, found_at) = (*node, *found_at);
                    let known = frontier.sets.pop().map(|Reverse((key, _, _))| key);
                    let current = frontier.found.get(&node).filter(|set| Some(&set.key) == known.as_ref());
                    let Some(set) = current else { continue };
                    // What was found before the last steps of the trial may have changed since.
                    if found_at < self.trial.len() && !self.lasts(hunt, taken, need, set) {
                        self.renew(hunt, taken, need, frontier, node, &mut elsewhere);
                        let renewed = frontier.found.get(&node).map(|set| &set.key);
                        if renewed != known.as_ref() {
                            continue;
                        }
                    }
                    return frontier.found.remove(&node).map(|set| (node, set));
                }
            }
            bound?;
            let Some((_, _, pod)) = self.next_candidate(hunt, taken, &mut frontier.cursor) else { continue };
            self.meet(hunt, taken, need, scope, frontier, pod, &mut elsewhere);
        }
    }

    /// Solves all nodes: those without candidates may be open once somebody elsewhere is gone.
    fn meet_all(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        scope: Scope,
        frontier: &mut Frontier,
        elsewhere: &mut Elsewhere,
    ) {
        let all: Vec<NodeIx> = self.nodes.iter().map(|(slot, _)| NodeIx(slot)).collect();
        for node in all {
            if self.could_take(need.kind, hunt.pool, scope, node) && frontier.met.insert(node) {
                self.renew(hunt, taken, need, frontier, node, elsewhere);
            }
        }
    }

    /// Solves the nodes that a candidate leads to and that have not been met.
    #[expect(clippy::too_many_arguments, reason = "the state of one search")]
    fn meet(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        scope: Scope,
        frontier: &mut Frontier,
        pod: PodIx,
        elsewhere: &mut Elsewhere,
    ) {
        let units: SmallVec<[UnitId; 2]> = self.units_of(pod).collect();
        for id in units {
            for node in self.nodes_of_all(id) {
                if frontier.met.insert(node)
                    && self.could_take(need.kind, hunt.pool, scope, node)
                    && self.may_free_enough(hunt, taken, need, node)
                {
                    self.renew(hunt, taken, need, frontier, node, elsewhere);
                }
            }
        }
    }

    /// False if a node would not have enough devices even without everybody there whom the rule lets be stopped.
    fn may_free_enough(&self, hunt: &Hunt, taken: &Taken, need: &Need, ix: NodeIx) -> bool {
        let GpuRequest::Whole(count) = self.shapes.at(need.kind.0).gpu else { return true };
        let node = self.nodes.at(ix.0);
        let mut open = node.devices.free;
        for pod in &node.pods {
            let state = self.pod(*pod);
            let template = self.templates.at(self.workloads.at(pod.workload.0).template);
            let may = state.stage == Stage::Placed
                && template.preemptible
                && self.stream_allowed(hunt, taken, (template.queue, template.priority, 0));
            if may {
                open.0 |= state.gpus.devices().0;
            }
        }
        open.count() >= count
    }

    /// Looks again at the nodes that the trial has changed.
    fn look_again(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        scope: Scope,
        frontier: &mut Frontier,
        elsewhere: &mut Elsewhere,
    ) {
        let mut changed = std::mem::take(&mut frontier.changed);
        changed.sort_unstable();
        changed.dedup();
        for node in changed {
            if frontier.met.contains(&node) && self.could_take(need.kind, hunt.pool, scope, node) {
                self.renew(hunt, taken, need, frontier, node, elsewhere);
            }
        }
    }

    fn renew(
        &mut self,
        hunt: &Hunt,
        taken: &Taken,
        need: &Need,
        frontier: &mut Frontier,
        node: NodeIx,
        elsewhere: &mut Elsewhere,
    ) {
        let best = self.best_on(hunt, taken, need, node, elsewhere);
        // Room that is held for another is open only to who must stop somebody there (decision 0003).
        let stops = |unit: &Unit| self.nodes_of(unit).contains(&node);
        let open = |set: &Set| match self.index.is_hidden(node) {
            true => set.units.iter().any(stops),
            false => !set.units.is_empty(),
        };
        match best.filter(open) {
            Some(set) => {
                frontier.sets.push(Reverse((set.key.clone(), node, self.trial.len())));
                frontier.found.insert(node, set);
            }
            None => {
                frontier.found.remove(&node);
            }
        }
    }

    fn open_streams(&self, hunt: &Hunt, taken: &Taken, cursor: &mut Cursor) {
        let streams: Vec<Stream> = self.victims.streams(hunt.pool, cursor.elastic).collect();
        for stream in streams.into_iter().filter(|stream| self.stream_allowed(hunt, taken, *stream)) {
            let first = self.victims.after(hunt.pool, cursor.elastic, stream, None);
            cursor.heads.extend(first.map(|place| Reverse((place, stream))));
        }
    }

    /// The next candidate, and what any set with only later ones costs at least. None if there are no more.
    fn bound_of_rest(
        &self,
        hunt: &Hunt,
        taken: &Taken,
        cursor: &mut Cursor,
        missing: i64,
    ) -> Option<(Cost, Place)> {
        if cursor.heads.is_empty() && cursor.elastic {
            cursor.elastic = false;
            self.open_streams(hunt, taken, cursor);
        }
        let Reverse((place, _)) = cursor.heads.peek()?;
        if cursor.elastic {
            return Some(([0, 0, 0, 1], *place));
        }
        let ran = |place: &Place| i128::from(self.now.since(place.0.0).0);
        // Somebody is stopped, of one of the streams, who has run at least as long as the next there.
        let each = cursor.heads.iter().map(|Reverse((place, (_, _, cpu)))| i128::from(*cpu) * ran(place));
        let cost = match hunt.rule {
            Rule::Consolidate => [ran(place), 0, 0, 1],
            Rule::Reclaim(..) | Rule::Preempt(_) => {
                [i128::from(missing) * ran(place), each.min().unwrap_or(0), 1, 1]
            }
        };
        Some((cost, *place))
    }

    fn next_candidate(&self, hunt: &Hunt, taken: &Taken, cursor: &mut Cursor) -> Option<Place> {
        let Reverse((place, stream)) = cursor.heads.pop()?;
        let next = self.victims.after(hunt.pool, cursor.elastic, stream, Some(place));
        cursor.heads.extend(next.map(|next| Reverse((next, stream))));
        let placed = self.pod(place.2).stage == crate::workload::Stage::Placed;
        (placed && self.stream_allowed(hunt, taken, stream)).then_some(place)
    }

    /// The least GPU share that any node of the pool lacks for the pod, in millionths.
    fn least_missing(&self, hunt: &Hunt, need: &Need) -> i64 {
        let shape = self.shapes.at(need.kind.0);
        let tiers = self.classes.tiers(need.kind.0, hunt.pool).iter();
        let lists: Vec<_> =
            tiers.flat_map(|tier| &tier.classes).map(|class| (*class, self.index.of(*class))).collect();
        let most_free = |(_, lists): &(_, &crate::index::Lists)| {
            lists.whole.iter().rposition(|list| !list.is_empty()).unwrap_or(0)
        };
        let free = lists.iter().map(most_free).max().unwrap_or(0) as i64;
        match shape.gpu {
            GpuRequest::Whole(count) => (i64::from(count) - free).max(0) * 1_000_000,
            request if request.is_fraction() && request.devices() == 1 && free == 0 => {
                let missing = |(class, lists): &(crate::ix::ClassIx, &crate::index::Lists)| {
                    let left = lists.shared.keys().next_back().copied().unwrap_or(0);
                    let totals = self.classes.at(*class).empty.devices.iter().map(|device| device.total);
                    let lacks = totals.map(|total| {
                        let lacks = crate::device::need(request, total).saturating_sub(left);
                        i64::from(lacks) * 1_000_000 / i64::from(total.max(1))
                    });
                    lacks.min().unwrap_or(0)
                };
                lists.iter().map(missing).min().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Units that can matter on a node without being there.
    pub(crate) fn units_elsewhere(&mut self, hunt: &Hunt, taken: &Taken, need: &Need) -> Elsewhere {
        Elsewhere { about: self.units_about(hunt, taken, need), debtors: None }
    }

    /// Units with pods that keep the pod away from nodes, or let it there, other than by what they take (S11).
    fn units_about(&mut self, hunt: &Hunt, taken: &Taken, need: &Need) -> Vec<UnitId> {
        let exclusive = self.shapes.at(need.kind.0).spec.volumes.iter().any(|volume| volume.exclusive);
        if self.neighbours.idle() && !exclusive {
            return Vec::new();
        }
        let mut found: Vec<UnitId> = Vec::new();
        for elastic in [true, false] {
            let mut cursor = Cursor { elastic, ..Cursor::default() };
            self.open_streams(hunt, taken, &mut cursor);
            while !cursor.heads.is_empty() {
                if let Some((_, _, pod)) = self.next_candidate(hunt, taken, &mut cursor)
                    && self.concerns(pod, need.kind)
                {
                    found.extend(self.units_of(pod));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// True if a pod, wherever it is, can matter for where one of a kind may go.
    fn concerns(&self, pod: PodIx, kind: (ShapeIx, u32)) -> bool {
        let own = self.kind_of(pod);
        let [wanted, has] = [kind.0, own.0].map(|shape| &self.shapes.at(shape).spec.volumes);
        let shared = wanted.iter().any(|v| v.exclusive && has.iter().any(|other| other.handle == v.handle));
        shared || self.neighbours.concerns(own, kind)
    }

    /// Units of the queues whose limit or bound is to be passed that may be stopped and pay for it, the most recently
    /// started first.
    pub(crate) fn debtors(&mut self, hunt: &Hunt, taken: &Taken, need: &Need) -> Vec<UnitId> {
        if need.debts == [[0; 3]; 2] {
            return Vec::new();
        }
        let concerned = |engine: &Self, stream: &Stream| {
            let path = &engine.org.at(stream.0).path;
            let debtor = |(queue, debt): (_, &crate::org::Triple)| *debt != [0; 3] && path.contains(queue);
            [hunt.project, hunt.department].iter().zip(&need.debts).any(debtor)
        };
        let mut found: Vec<UnitId> = Vec::new();
        for elastic in [true, false] {
            let mut cursor = Cursor { elastic, ..Cursor::default() };
            self.open_streams(hunt, taken, &mut cursor);
            cursor.heads.retain(|Reverse((_, stream))| concerned(self, stream));
            while found.len() < ELSEWHERE && !cursor.heads.is_empty() {
                let Some((_, _, pod)) = self.next_candidate(hunt, taken, &mut cursor) else { continue };
                let units = self.units_of(pod).filter(|id| !found.contains(id));
                let units: SmallVec<[UnitId; 2]> = units.collect();
                let helps = |id: &UnitId| self.may_be_stopped(hunt, *id) && self.pays_some(hunt, need, *id);
                found.extend(units.into_iter().filter(helps));
            }
        }
        found.sort_unstable();
        found
    }

    /// True if a unit pays anything of the debts.
    fn pays_some(&self, hunt: &Hunt, need: &Need, id: UnitId) -> bool {
        let pays = self.pays(hunt, &self.unit(id));
        let both = pays.iter().flatten().zip(need.debts.iter().flatten());
        both.into_iter().any(|(paid, debt)| *paid > 0 && *debt > 0)
    }
}
