//! Who may be stopped for whom (S20 to S22, S24, S25, S28): units, their cost, and where to look for them.
//!
//! A *unit* is what is stopped together: one pod of a role that has more than its minimum, or a whole workload. The
//! index lists preemptible placed pods by pool, project and priority, most recently started first, because stopping n
//! devices' worth of pods on a node costs at least n times the running time of the most recent one: that bounds the
//! search from below. It is kept where there are several projects, of which one may take back from another at any time, and
//! for pools in which somebody has looked for victims; elsewhere nothing is noted.
//! Costs: a pod that comes or goes is noted in O(1) and sorted in, O(log pods), at the end of a cycle if many have been
//! noted, else when a search begins: so a search never has more than [`MOST_NOTED`] to sort in, but the first one of a
//! project that is alone.

use crate::Engine;
use crate::budgets::Disruption;
use crate::ix::{ClassIx, NodeIx, PodIx, PoolIx, QueueIx, WorkloadIx};
use crate::org::{Triple, add};
use crate::workload::Stage;
use berth_model::{DeviceIndex, DeviceMask, Millis, PodId, Priority, Timestamp};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Notes that are left for the next search to sort in; more are sorted in at the end of a cycle.
const MOST_NOTED: usize = 256;

/// What is stopped together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum UnitId {
    /// One pod above its role's minimum.
    Pod(PodIx),
    /// A workload with all its placed pods.
    Whole(WorkloadIx),
}

impl UnitId {
    /// The workload that it is, or is of.
    pub(crate) const fn workload(self) -> WorkloadIx {
        match self {
            Self::Pod(PodIx { workload, .. }) | Self::Whole(workload) => workload,
        }
    }
}

/// Lost GPU work (millionths times ms), lost CPU work (milli times ms), workloads stopped as a whole, pods (S20).
pub(crate) type Cost = [i128; 4];

/// A unit with what stopping it costs and frees.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) id: UnitId,
    pub(crate) queue: QueueIx,
    pub(crate) pods: SmallVec<[PodIx; 2]>,
    pub(crate) cost: Cost,
    /// Lost GPU work and CPU work; of a single pod, what it would be if it went with its workload.
    pub(crate) work: [i128; 2],
    /// What its queue is charged for it.
    pub(crate) charge: Triple,
    /// The same as it is judged (S22): pods above the minimum one by one, then the rest at once.
    pub(crate) parts: SmallVec<[(Triple, UnitId); 1]>,
    /// Its pods, most recently started first, then by id.
    pub(crate) order: SmallVec<[(Reverse<Timestamp>, PodId); 2]>,
    /// For how long it has run.
    pub(crate) age: Millis,
    pub(crate) disruption: Disruption,
}

/// A stream of candidates: a project, a priority, and what each pod asks for in milli-CPU.
pub(crate) type Stream = (QueueIx, Priority, i64);

/// Where a pod stands in its stream.
pub(crate) type Place = (Reverse<Timestamp>, PodId, PodIx);

/// The candidates of one pool.
#[derive(Clone, Debug, Default)]
struct PoolVictims {
    /// Pods that came, went or changed since the index was last in order; none while nobody has looked.
    touched: Option<Vec<(PodIx, NodeIx)>>,
    /// Nodes of which the same holds.
    changed: Vec<NodeIx>,
    /// By node: the pods there whose devices nobody can be given by stopping them. Most nodes have none.
    immovable: FxHashMap<NodeIx, SmallVec<[PodIx; 4]>>,
    /// By node: its class, and how many of its devices would be free if everybody went who may be stopped.
    clearable: FxHashMap<NodeIx, (ClassIx, u32)>,
    /// By class and number of such devices: how many nodes.
    by_clearable: FxHashMap<ClassIx, Vec<u32>>,
    entries: FxHashMap<PodIx, (Stream, Place, bool)>,
    /// Pods that go with their workload, and pods of roles above their minimum.
    streams: [BTreeMap<Stream, BTreeSet<Place>>; 2],
}

/// All candidates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Victims {
    pools: Vec<PoolVictims>,
}

impl Victims {
    /// Notes that a pod came, went or changed on a node of a pool.
    pub(crate) fn touch(&mut self, pool: PoolIx, node: NodeIx, pod: PodIx) {
        if let Some(PoolVictims { touched: Some(touched), changed, .. }) = self.pools.get_mut(pool.i()) {
            touched.push((pod, node));
            if changed.last() != Some(&node) {
                changed.push(node);
            }
        }
    }

    /// Notes that a node of a pool came, went or changed.
    pub(crate) fn touch_node(&mut self, pool: PoolIx, node: NodeIx) {
        if let Some(PoolVictims { touched: Some(_), changed, .. }) = self.pools.get_mut(pool.i()) {
            changed.push(node);
        }
    }

    /// How much has been noted in a pool that is not sorted in; none if nothing is noted there.
    fn noted(&self, pool: PoolIx) -> Option<usize> {
        let here = self.pools.get(pool.i())?;
        here.touched.as_ref().map(|touched| touched.len().max(here.changed.len()))
    }

    /// For how many pods with `count` whole devices the nodes of a class could be cleared at most.
    pub(crate) fn clearable_for(&self, pool: PoolIx, class: ClassIx, count: u32) -> u64 {
        let by_count = self.pools[pool.i()].by_clearable.get(&class).map_or(&[][..], Vec::as_slice);
        let each = by_count
            .iter()
            .enumerate()
            .map(|(devices, nodes)| (devices as u64 / u64::from(count.max(1))) * u64::from(*nodes));
        each.sum()
    }

    /// The streams of a pool: with `elastic`, of pods above their minimum.
    pub(crate) fn streams(&self, pool: PoolIx, elastic: bool) -> impl Iterator<Item = Stream> + '_ {
        self.pools[pool.i()].streams[usize::from(elastic)].keys().copied()
    }

    /// The next pod of a stream after a place.
    pub(crate) fn after(
        &self,
        pool: PoolIx,
        elastic: bool,
        stream: Stream,
        last: Option<Place>,
    ) -> Option<Place> {
        use std::ops::Bound::{Excluded, Unbounded};
        let places = self.pools[pool.i()].streams[usize::from(elastic)].get(&stream)?;
        match last {
            None => places.first().copied(),
            Some(last) => places.range((Excluded(last), Unbounded)).next().copied(),
        }
    }
}

impl Unit {
    /// True if it is a single pod of a workload.
    pub(crate) fn is_single_of(&self, workload: WorkloadIx) -> bool {
        matches!(self.id, UnitId::Pod(pod) if pod.workload == workload)
    }

    /// What of its work is lost if it is stopped (S20).
    pub(crate) fn lost(&self) -> [i128; 2] {
        if matches!(self.id, UnitId::Whole(_)) { self.work } else { [0; 2] }
    }

    /// Counts a pod that was taken by itself before to its workload.
    pub(crate) fn count_in(&mut self, single: &Self) {
        (0..2).for_each(|at| self.work[at] += single.work[at]);
        [self.cost[0], self.cost[1]] = self.work;
        self.cost[3] += single.pods.len() as i128;
        self.order.extend(single.order.iter().copied());
        self.order.sort_unstable();
        self.age = self.age.max(single.age);
    }

    /// Takes over a pod that was taken by itself before, and is counted in.
    pub(crate) fn absorb(&mut self, single: Self) {
        add(&mut self.charge, single.charge, 1);
        self.parts.extend(single.parts);
        self.pods.extend(single.pods);
        self.disruption.absorb(single.disruption);
    }
}

impl Engine {
    /// Where somebody may look for victims at any time, brings the candidates in order, if that is more than a little work.
    pub(crate) fn keep_victims(&mut self) {
        for at in 0..self.pools.by_name().len() {
            let pool = self.pools.by_name()[at];
            let noted = self.victims.noted(pool);
            if noted.is_none_or(|noted| noted > MOST_NOTED) && (noted.is_some() || self.org.is_shared()) {
                self.refresh_victims(pool);
            }
        }
    }

    /// Brings the candidates of a pool in order.
    pub(crate) fn refresh_victims(&mut self, pool: PoolIx) {
        let mut all = std::mem::take(&mut self.victims.pools);
        if all.len() <= pool.i() {
            all.resize_with(pool.i() + 1, PoolVictims::default);
        }
        let here = &mut all[pool.i()];
        if here.touched.is_none() {
            let nodes = self.nodes.iter().filter(|(_, node)| node.pool == Some(pool));
            here.changed = nodes.map(|(slot, _)| NodeIx(slot)).collect();
        }
        let mut touched = here.touched.take().unwrap_or_else(|| {
            let nodes = self.nodes.iter().filter(|(_, node)| node.pool == Some(pool));
            nodes.flat_map(|(slot, node)| node.pods.iter().map(move |pod| (*pod, NodeIx(slot)))).collect()
        });
        touched.sort_unstable();
        touched.dedup();
        for (pod, node) in touched.iter().copied() {
            here.enter_immovable(pod, node, self.is_immovable(pod, node));
        }
        let mut changed = std::mem::take(&mut here.changed);
        changed.sort_unstable();
        changed.dedup();
        for node in changed {
            let immovable = here.immovable.get(&node).map_or(&[][..], |pods| pods);
            here.enter_node(node, self.clearable(node, pool, immovable));
        }
        let mut elastic: Vec<WorkloadIx> = Vec::new();
        for (pod, _) in &touched {
            let Some(workload) = self.workloads.get(pod.workload.0) else {
                here.enter(*pod, None);
                continue;
            };
            let template = self.templates.at(workload.template);
            if pod.pod >= template.pods() {
                here.enter(*pod, None);
                continue;
            }
            if template.roles.iter().any(|role| role.min < role.count) {
                elastic.push(pod.workload);
            }
            here.enter(*pod, self.candidate_entry(*pod, pool));
        }
        // One pod more or less, and all of a role are above the minimum, or none is.
        elastic.sort_unstable();
        elastic.dedup();
        for workload in elastic {
            let template = self.templates.at(self.workloads.at(workload.0).template);
            for pod in 0..template.pods() {
                let pod = PodIx { workload, pod };
                here.enter(pod, self.candidate_entry(pod, pool));
            }
        }
        touched.clear();
        here.touched = Some(touched);
        self.victims.pools = all;
    }

    /// The class of a node of the pool, and how many devices are free or held only by those who may be stopped.
    fn clearable(&self, ix: NodeIx, pool: PoolIx, immovable: &[PodIx]) -> Option<(ClassIx, u32)> {
        let node = self.nodes.get(ix.0).filter(|node| node.pool == Some(pool) && node.usable())?;
        debug_assert!(
            node.pods.iter().all(|pod| immovable.contains(pod) == self.is_immovable(*pod, ix)),
            "whoever becomes immovable, or movable, is noted"
        );
        let mut open = (0..node.devices.len() as u8)
            .map(DeviceIndex)
            .filter(|device| node.devices.get(*device).healthy)
            .collect::<DeviceMask>();
        for pod in immovable {
            open.0 &= !self.pod(*pod).gpus.devices().0;
        }
        Some((node.class, open.count()))
    }

    /// True if a pod is in the list of a node and keeps its devices there whoever is stopped.
    fn is_immovable(&self, pod: PodIx, node: NodeIx) -> bool {
        let Some(workload) = self.workloads.get(pod.workload.0) else { return false };
        let Some(state) = workload.pods.get(pod.pod as usize) else { return false };
        let stays = state.stage == Stage::Placed && !self.templates.at(workload.template).preemptible;
        let keeps = stays || state.node != Some(node) || state.stage == Stage::Reserved;
        keeps && self.nodes.get(node.0).is_some_and(|node| node.pods.contains(&pod))
    }

    fn candidate_entry(&self, pod: PodIx, pool: PoolIx) -> Option<(Stream, Place, bool)> {
        let state = self.pod(pod);
        let there = state.node.and_then(|node| self.nodes.at(node.0).pool);
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        if state.stage != Stage::Placed || there != Some(pool) || !template.preemptible {
            return None;
        }
        let (role, _) = template.role_of(pod.pod);
        let place = (Reverse(state.since), self.pod_id(pod), pod);
        let stream = (template.queue, template.priority, self.shapes.at(self.kind_of(pod).0).cpu);
        Some((stream, place, self.above_minimum(pod.workload, role.into()) > 0))
    }

    /// The pods of a workload that are placed and not leaving.
    pub(crate) fn placed_of(&self, workload: WorkloadIx) -> Vec<PodIx> {
        self.workloads.at(workload.0).placed().map(|pod| PodIx { workload, pod }).collect()
    }

    /// The pods of a workload that have not been told to end.
    pub(crate) fn running_of(&self, workload: WorkloadIx) -> Vec<PodIx> {
        let pods = (0u32..).zip(&self.workloads.at(workload.0).pods).filter(|(_, pod)| pod.runs());
        pods.map(|(pod, _)| PodIx { workload, pod }).collect()
    }

    /// How many more pods of a role are placed than its minimum needs.
    pub(crate) fn above_minimum(&self, workload: WorkloadIx, role: usize) -> u32 {
        let state = self.workloads.at(workload.0);
        let template = self.templates.at(state.template);
        let (first, role) = (template.first_of(role) as usize, &template.roles[role]);
        if role.min == role.count || state.lacks_minimum(template) {
            return 0;
        }
        let pods = &state.pods[first..first + role.count as usize];
        let placed = pods.iter().filter(|pod| pod.stage == Stage::Placed).count() as u32;
        let done = pods.iter().filter(|pod| pod.stage == Stage::Succeeded).count();
        (placed + done as u32).saturating_sub(role.min).min(placed)
    }

    /// A unit, with what it costs now. A pod is charged to its queue as long as it is not leaving.
    pub(crate) fn unit(&self, id: UnitId) -> Unit {
        let (workload, alone) = match id {
            UnitId::Pod(pod) => (pod.workload, Some(pod)),
            UnitId::Whole(workload) => (workload, None),
        };
        let state = self.workloads.at(workload.0);
        let all = state.placed().map(|pod| PodIx { workload, pod });
        let pods: SmallVec<[PodIx; 2]> = all.filter(|pod| alone.is_none_or(|alone| alone == *pod)).collect();
        let queue = self.templates.at(state.template).queue;
        let mut unit = Unit {
            id,
            queue,
            cost: [0, 0, i128::from(alone.is_none()), pods.len() as i128],
            work: [0; 2],
            charge: [0; 3],
            parts: SmallVec::new(),
            order: SmallVec::new(),
            age: alone.map_or_else(|| self.running_time(workload), |pod| self.now.since(self.pod(pod).since)),
            disruption: self.disruption(&pods),
            pods,
        };
        for pod in &unit.pods {
            let state = self.pod(*pod);
            let Some(node) = state.node else { continue };
            let charge = self.cost(self.kind_of(*pod).0, node, state.gpus);
            add(&mut unit.charge, charge, 1);
            unit.order.push((Reverse(state.since), self.pod_id(*pod)));
            let ran = i128::from(self.now.since(state.since).0);
            unit.work[0] += i128::from(charge[0]) * ran;
            unit.work[1] += i128::from(charge[1]) * ran;
        }
        if alone.is_none() {
            [unit.cost[0], unit.cost[1]] = unit.work;
        }
        unit.order.sort_unstable();
        unit.parts = self.parts_of(&unit);
        unit
    }

    fn parts_of(&self, unit: &Unit) -> SmallVec<[(Triple, UnitId); 1]> {
        let UnitId::Whole(workload) = unit.id else { return SmallVec::from_slice(&[(unit.charge, unit.id)]) };
        let template = self.templates.at(self.workloads.at(workload.0).template);
        let (mut parts, mut rest) = (SmallVec::new(), unit.charge);
        for role in 0..template.roles.len() {
            let above = self.above_minimum(workload, role) as usize;
            if above == 0 {
                continue;
            }
            let of_role = unit.pods.iter().filter(|pod| usize::from(template.role_of(pod.pod).0) == role);
            let mut each: Vec<(Triple, UnitId)> = of_role
                .filter_map(|pod| {
                    let state = self.pod(*pod);
                    Some((self.cost(self.kind_of(*pod).0, state.node?, state.gpus), UnitId::Pod(*pod)))
                })
                .collect();
            each.sort_unstable();
            for part in each.into_iter().take(above) {
                add(&mut rest, part.0, -1);
                parts.push(part);
            }
        }
        parts.push((rest, unit.id));
        parts
    }

    /// For how long a workload has run: its longest running placed pod.
    pub(crate) fn running_time(&self, workload: WorkloadIx) -> Millis {
        let placed = self.workloads.at(workload.0).pods.iter().filter(|pod| pod.stage == Stage::Placed);
        placed.map(|pod| self.now.since(pod.since)).max().unwrap_or_default()
    }

    /// The units that a placed pod is part of: by itself if its role is above the minimum, and its workload.
    pub(crate) fn units_of(&self, pod: PodIx) -> impl Iterator<Item = UnitId> + use<> {
        let template = self.templates.at(self.workloads.at(pod.workload.0).template);
        let (role, _) = template.role_of(pod.pod);
        let alone = self.above_minimum(pod.workload, role.into()) > 0;
        let whole = template.roles.iter().any(|role| role.min > 0);
        let alone = alone.then_some(UnitId::Pod(pod));
        alone.into_iter().chain(whole.then_some(UnitId::Whole(pod.workload)))
    }

    /// The nodes on which a unit has placed pods, by its identifier.
    pub(crate) fn nodes_of_all(&self, id: UnitId) -> SmallVec<[NodeIx; 2]> {
        let (workload, alone) = match id {
            UnitId::Pod(pod) => (pod.workload, Some(pod.pod)),
            UnitId::Whole(workload) => (workload, None),
        };
        let pods = self.workloads.at(workload.0).pods.iter().enumerate();
        let placed = pods.filter(|(at, pod)| {
            pod.stage == Stage::Placed && alone.is_none_or(|alone| alone as usize == *at)
        });
        let mut nodes: SmallVec<[NodeIx; 2]> = placed.filter_map(|(_, pod)| pod.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The nodes on which a unit has pods.
    pub(crate) fn nodes_of(&self, unit: &Unit) -> SmallVec<[NodeIx; 2]> {
        let mut nodes: SmallVec<[NodeIx; 2]> =
            unit.pods.iter().filter_map(|pod| self.pod(*pod).node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

impl PoolVictims {
    fn enter_immovable(&mut self, pod: PodIx, node: NodeIx, now: bool) {
        if now {
            let pods = self.immovable.entry(node).or_default();
            if !pods.contains(&pod) {
                pods.push(pod);
            }
        } else if let Some(pods) = self.immovable.get_mut(&node) {
            pods.retain(|known| *known != pod);
            if pods.is_empty() {
                self.immovable.remove(&node);
            }
        }
    }

    fn enter_node(&mut self, node: NodeIx, now: Option<(ClassIx, u32)>) {
        let before = match now {
            Some(now) => self.clearable.insert(node, now),
            None => self.clearable.remove(&node),
        };
        if let Some((class, devices)) = before
            && let Some(nodes) = self.by_clearable.get_mut(&class)
        {
            nodes[devices as usize] -= 1;
        }
        if let Some((class, devices)) = now {
            let nodes = self.by_clearable.entry(class).or_default();
            if nodes.len() <= devices as usize {
                nodes.resize(devices as usize + 1, 0);
            }
            nodes[devices as usize] += 1;
        }
    }

    fn enter(&mut self, pod: PodIx, entry: Option<(Stream, Place, bool)>) {
        let known = self.entries.get(&pod).copied();
        if known == entry {
            return;
        }
        if let Some((stream, place, elastic)) = known {
            let streams = &mut self.streams[usize::from(elastic)];
            if let Some(places) = streams.get_mut(&stream) {
                places.remove(&place);
                if places.is_empty() {
                    streams.remove(&stream);
                }
            }
            self.entries.remove(&pod);
        }
        if let Some((stream, place, elastic)) = entry {
            self.streams[usize::from(elastic)].entry(stream).or_default().insert(place);
            self.entries.insert(pod, (stream, place, elastic));
        }
    }
}
