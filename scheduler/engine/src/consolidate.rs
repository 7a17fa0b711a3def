//! Moving running work so that fragments of free room come together (S26), and giving back victims that are not needed
//! after all (S20).
//!
//! A set of moves counts only if, with the beneficiary in its place, every pod that is stopped finds another one. New
//! places are kept from the start.
//! Costs: a set costs the placements of what it moves; a pool without enough free GPU share in all is not looked at, and
//! for each pod only [`MOST_PLAYS`] sets are played through, those whose candidates started last. Putting a victim back costs
//! the pods of the beneficiary on its nodes; all of them where pods are particular about other pods.

use crate::Engine;
use crate::choose::Scope;
use crate::ix::{NodeIx, PodIx, PoolIx, ShapeIx, WorkloadIx};
use crate::legal::{Hunt, Rule, Taken};
use crate::rest::Hope;
use crate::room::Need;
use crate::victims::{Unit, UnitId};
use crate::workload::Pod;
use berth_model::{GpuRequest, PodId, Priority, Timestamp, WorkloadId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Sets of moves that are played through for one pod.
pub(crate) const MOST_PLAYS: u64 = 256;

/// By how much charges may exceed what is taken.
const ROUNDING: [i64; 3] = [1000, 0, 0];

/// S9, among those that are moved.
pub(crate) type Turn = (Reverse<Priority>, bool, Timestamp, WorkloadId);

/// The pods of a beneficiary in the trial under way, in the order in which they got their places, and where they are.
#[derive(Debug)]
struct Seated {
    pods: Vec<PodIx>,
    /// By node: positions in that list.
    by_node: FxHashMap<NodeIx, SmallVec<[usize; 2]>>,
}

impl Seated {
    fn of(engine: &Engine, pods: Vec<PodIx>) -> Self {
        let all: SmallVec<[usize; 8]> = (0..pods.len()).collect();
        let mut seated = Self { pods, by_node: FxHashMap::default() };
        seated.reseat(engine, &[], &all);
        seated
    }

    /// Positions of those on some nodes, in order.
    fn on(&self, nodes: &[NodeIx]) -> SmallVec<[usize; 8]> {
        let here = nodes.iter().filter_map(|node| self.by_node.get(node)).flatten();
        let mut here: SmallVec<[usize; 8]> = here.copied().collect();
        here.sort_unstable();
        here
    }

    /// Those that were on some nodes are elsewhere now.
    fn reseat(&mut self, engine: &Engine, nodes: &[NodeIx], moved: &[usize]) {
        for node in nodes {
            self.by_node.remove(node);
        }
        for at in moved {
            if let Some(node) = engine.pod(self.pods[*at]).node {
                self.by_node.entry(node).or_default().push(*at);
            }
        }
    }
}

impl Engine {
    /// The one layer of consolidation, if the pool allows it and has enough free in all.
    pub(crate) fn consolidate_rules(&self, hunt: &Hunt) -> Vec<Rule> {
        let spec = self.pools.spec(hunt.pool);
        let free = self.pools.at(hunt.pool).unclaimed;
        // Charges in MiB are rounded up, device by device.
        let lacks = |at: usize| hunt.ask[at] > 0 && hunt.ask[at] > free[at] + ROUNDING[at];
        // A node that has shrunk below what runs there takes nothing off the others.
        let enough = !lacks(0) && (!(lacks(1) || lacks(2)) || self.some_node_is_short(hunt.pool));
        if spec.consolidation && spec.max_moves > 0 && enough { vec![Rule::Consolidate] } else { Vec::new() }
    }

    /// What could let the one layer come about, after it did not.
    pub(crate) fn lacks_for_moves(&self, hunt: &Hunt) -> Option<Hope> {
        let spec = self.pools.spec(hunt.pool);
        let gpu = hunt.ask[0] - ROUNDING[0];
        let lacks_gpu = hunt.ask[0] > 0 && gpu > self.pools.at(hunt.pool).unclaimed[0];
        let hope = if lacks_gpu { Hope::Free(hunt.pool, gpu) } else { Hope::Pool(hunt.pool) };
        (spec.consolidation && spec.max_moves > 0).then_some(hope)
    }

    fn some_node_is_short(&self, pool: PoolIx) -> bool {
        let mut nodes = self.nodes.iter().map(|(_, node)| node).filter(|node| node.pool == Some(pool));
        nodes.any(|node| node.free.cpu < 0 || node.free.memory < 0)
    }

    /// True if the units, stopped for one pod on a node, all find other places.
    pub(crate) fn all_find_places(
        &mut self,
        hunt: &Hunt,
        need: &Need,
        node: NodeIx,
        units: &[&Unit],
    ) -> bool {
        self.second.plays += 1;
        if !self.enough_places(hunt, need, node, units) {
            return false;
        }
        let mark = self.trial.len();
        for unit in units {
            unit.pods.iter().for_each(|pod| self.try_lift(*pod));
        }
        let strategy = self.pools.spec(hunt.pool).device;
        let gpu = self.shapes.at(need.kind.0).gpu;
        let found = self.nodes.at(node.0).devices.choose(gpu, strategy).is_some_and(|gpus| {
            self.try_put(need.pod, node, gpus);
            self.place_again(hunt, units.iter().map(|unit| (unit.id, &unit.pods[..])))
        });
        self.roll_back_to(mark);
        found
    }

    /// False if there are not enough places for all pods of the units with this many whole devices or more, of whatever
    /// size: each place takes that many free devices of one node, with the units gone and the beneficiary there. Only
    /// devices are counted, and every device that anybody leaves counts as free.
    fn enough_places(&self, hunt: &Hunt, need: &Need, node: NodeIx, units: &[&Unit]) -> bool {
        let mut sizes: SmallVec<[u32; 16]> = SmallVec::new();
        let mut gone: SmallVec<[(NodeIx, i64); 8]> = SmallVec::from_slice(&[(node, 0)]);
        for pod in units.iter().flat_map(|unit| &unit.pods) {
            let state = self.pod(*pod);
            let Some(there) = state.node else { continue };
            if let GpuRequest::Whole(count) = self.shapes.at(self.kind_of(*pod).0).gpu {
                sizes.push(count);
            }
            let devices = i64::from(state.gpus.devices().count());
            match gone.iter_mut().find(|(known, _)| *known == there) {
                Some((_, sum)) => *sum += devices,
                None => gone.push((there, devices)),
            }
        }
        if let GpuRequest::Whole(count) = self.shapes.at(need.kind.0).gpu {
            gone[0].1 -= i64::from(count);
        }
        let free = |ix: NodeIx| i64::from(self.nodes.at(ix.0).devices.free.count());
        sizes.sort_unstable_by_key(|size| Reverse(*size));
        (1..=sizes.len()).rev().filter(|n| *n == sizes.len() || sizes[*n] < sizes[*n - 1]).all(|wanted| {
            let size = i64::from(sizes[wanted - 1]);
            let changed = gone.iter().map(|(ix, more)| (free(*ix) + more).max(0) / size).sum::<i64>();
            let mut places = changed;
            let classes = self.classes.of_pool(hunt.pool).iter();
            let levels = classes.flat_map(|class| self.index.of(*class).whole.iter().enumerate());
            for (level, list) in levels.filter(|(level, _)| *level as i64 >= size) {
                for (_, state) in list.iter() {
                    if places >= wanted as i64 {
                        return true;
                    }
                    let nodes =
                        self.index.state(*state).nodes().filter(|(_, ix)| gone.iter().all(|(g, _)| g != ix));
                    places += nodes.take(wanted).count() as i64 * (level as i64 / size);
                }
            }
            places >= wanted as i64
        })
    }

    /// Finds new places for everything that was taken, in the trial under way.
    pub(crate) fn replace_moved(&mut self, hunt: &Hunt, taken: &Taken) -> bool {
        self.place_again(hunt, taken.units.iter().map(|unit| (unit.id, &unit.pods[..])))
    }

    /// Places the pods of units that were lifted, workload by workload in S9 order; few enough workloads.
    fn place_again<'a>(&mut self, hunt: &Hunt, units: impl Iterator<Item = (UnitId, &'a [PodIx])>) -> bool {
        let mut moves: BTreeMap<Turn, (WorkloadIx, Vec<PodIx>)> = BTreeMap::new();
        for (id, pods) in units {
            let ix = pods[0].workload;
            moves.entry(self.turn_to_move(id, ix)).or_insert_with(|| (ix, Vec::new())).1.extend(pods);
        }
        moves.len() <= self.pools.spec(hunt.pool).max_moves as usize
            && moves.into_iter().all(|((_, elastic, ..), (ix, pods))| self.move_one(hunt, ix, pods, elastic))
    }

    fn turn_to_move(&self, id: UnitId, ix: WorkloadIx) -> Turn {
        let workload = self.workloads.at(ix.0);
        let elastic = matches!(id, UnitId::Pod(_));
        let priority = Reverse(self.templates.at(workload.template).priority);
        (priority, elastic, workload.submitted, workload.id)
    }

    /// When it is the turn of a unit to find another place, and what it is, if others that are the same would find it
    /// too: a single pod that may be in the pool, in no topology domain, of queues within their limits.
    pub(crate) fn moves_alike(&self, hunt: &Hunt, unit: &Unit) -> Option<(Turn, (ShapeIx, u32))> {
        let [pod] = unit.pods[..] else { return None };
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let kind = self.kind_of(pod);
        let by_devices = matches!(self.shapes.at(kind.0).gpu, GpuRequest::Memory { .. });
        let plain = !by_devices
            && self.local_to_pools()
            && template.topology.is_none()
            && self.may_use(template, hunt.pool)
            && self.org.within_limits(template.queue, hunt.pool);
        plain.then(|| (self.turn_to_move(unit.id, pod.workload), kind))
    }

    /// Places pods of one workload that were lifted, hardest role first, if it could start in the pool anew.
    fn move_one(&mut self, hunt: &Hunt, ix: WorkloadIx, mut pods: Vec<PodIx>, elastic: bool) -> bool {
        let of = self.workloads.at(ix.0).template;
        let template = self.templates.at(of);
        if !self.may_use(template, hunt.pool) {
            return false;
        }
        let mut want: SmallVec<[u32; 2]> = smallvec::smallvec![0; template.roles.len()];
        pods.iter().for_each(|pod| want[usize::from(template.role_of(pod.pod).0)] += 1);
        let ask = self.ask(template, &want, hunt.pool);
        if self.org.gate(template.queue, hunt.pool, ask, template.preemptible).is_err() {
            return false;
        }
        let topology = template.topology.clone().filter(|_| !elastic);
        let roles = self.hardest_first(of, &want);
        let template = self.templates.at(of);
        pods.sort_by_key(|pod| {
            let (role, index) = template.role_of(pod.pod);
            (roles.iter().position(|r| *r == usize::from(role)), index)
        });
        let Some(topology) = topology else { return self.move_into(hunt, &pods, Scope::Everywhere) };
        let Some(level) = self.topologies.find(&topology.key) else { return false };
        let domains = self.domains_that_complete(ix, hunt.pool, &want, level);
        domains.into_iter().any(|domain| self.move_into(hunt, &pods, Scope::Domain(level, domain)))
            || (!topology.required && self.move_into(hunt, &pods, Scope::Everywhere))
    }

    fn move_into(&mut self, hunt: &Hunt, pods: &[PodIx], scope: Scope) -> bool {
        let mark = self.trial.len();
        for pod in pods {
            let choice = self.choose(*pod, hunt.pool, scope);
            let open = choice.filter(|choice| {
                let template = self.templates.at(self.workloads.at(pod.workload.0).template);
                let cost = self.cost(self.kind_of(*pod).0, choice.node, choice.gpus);
                self.org.gate(template.queue, hunt.pool, cost, template.preemptible).is_ok()
            });
            let Some(choice) = open else {
                self.roll_back_to(mark);
                return false;
            };
            self.try_put(*pod, choice.node, choice.gpus);
        }
        true
    }

    /// Puts back every victim that turns out not to be needed, the dearest first.
    pub(crate) fn put_back(&mut self, hunt: &Hunt, taken: &mut Taken, scope: Scope) {
        if taken.units.len() < 2 {
            return;
        }
        let mut order: Vec<usize> = (0..taken.units.len()).collect();
        order.sort_by_cached_key(|at| {
            let unit = &taken.units[*at];
            let mut pods: Vec<PodId> = unit.order.iter().map(|(_, pod)| *pod).collect();
            pods.sort_unstable();
            let whole = matches!(unit.id, UnitId::Whole(_));
            Reverse((unit.lost(), pods.len(), self.workloads.at(unit.pods[0].workload.0).id, whole, pods))
        });
        let touched = self.touched_by_trial();
        let own = touched.iter().map(|(pod, _)| *pod).filter(|pod| pod.workload == hunt.beneficiary);
        let mut own = Seated::of(self, own.collect());
        let seats: FxHashMap<PodIx, Option<Pod>> = touched.into_iter().collect();
        let mut needed = vec![true; taken.units.len()];
        for at in order {
            needed[at] = !self.can_return(hunt, &taken.units[at].pods, &seats, &mut own, scope);
        }
        for at in (0..needed.len()).rev().filter(|at| !needed[*at]) {
            let department = self.judged_department(hunt, taken.units[at].queue);
            taken.remove(at, department);
        }
    }

    /// Puts a victim back where it was, if the beneficiary's pods on its nodes find other free room and the others still
    /// fit where they are.
    fn can_return(
        &mut self,
        hunt: &Hunt,
        victim: &[PodIx],
        seats: &FxHashMap<PodIx, Option<Pod>>,
        own: &mut Seated,
        scope: Scope,
    ) -> bool {
        let mark = self.trial.len();
        let mut nodes: Vec<NodeIx> = victim.iter().filter_map(|pod| seats[pod]?.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let on_them = own.on(&nodes);
        let moving: SmallVec<[PodIx; 8]> = on_them.iter().map(|at| own.pods[*at]).collect();
        moving.iter().for_each(|pod| self.try_lift(*pod));
        for pod in victim {
            if let Some(was) = seats[pod] {
                self.try_return(*pod, was);
            }
        }
        let mut staying = (0..own.pods.len()).filter(|at| !on_them.contains(at)).map(|at| own.pods[at]);
        let fits = moving.iter().all(|pod| self.move_into(hunt, &[*pod], scope))
            && (self.local_to_pools() || staying.all(|pod| self.still_fits(hunt, pod)))
            && self.within_bounds(hunt);
        if fits {
            own.reseat(self, &nodes, &on_them);
        } else {
            self.roll_back_to(mark);
        }
        fits
    }

    /// True if a pod of the trial under way would be let onto its node again.
    fn still_fits(&mut self, hunt: &Hunt, pod: PodIx) -> bool {
        let Pod { node: Some(node), gpus, .. } = *self.pod(pod) else { return false };
        let mark = self.trial.len();
        self.try_lift(pod);
        let fits = self.fits_kept(pod, node, gpus, hunt.pool);
        self.roll_back_to(mark);
        fits
    }
}
