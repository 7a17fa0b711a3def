//! Which of the nodes that take a pod it gets (S12, decision 0001).

use super::devices::{Device, need};
use super::fits::could_take;
use super::labels::{points, taints};
use super::score::Room;
use super::state::{HOSTNAME, Shape, State};
use berth_model::{GpuRequest, Labels, NodeId, NodeSpec, Operator, Placement, PoolId, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Only nodes whose label has this value.
pub(crate) type Domain = (String, String);

impl State {
    /// The place for one more pod in a pool, if a node takes it.
    pub(crate) fn choose(&self, shape: &Shape, pool: PoolId, domain: Option<&Domain>) -> Option<Placement> {
        let inside = |node: &&NodeSpec| {
            domain.is_none_or(|(key, value)| super::labels::label(node, key) == Some(value.as_str()))
        };
        let nodes: Vec<&NodeSpec> = self
            .ready_nodes(pool)
            .into_iter()
            .filter(inside)
            .filter(|node| self.is_open(pool, node))
            .filter(|node| self.takes(shape, node))
            .collect();
        let one_by_one =
            domain.is_some() || names_nodes(shape) || prefers_names(shape) || self.prefers_neighbours(shape);
        let liking = |node: &NodeSpec| {
            points(&shape.spec, node) + if one_by_one { self.neighbour_points(shape, node) } else { 0 }
        };
        let most = nodes.iter().map(|node| liking(node)).max()?;
        let best: Vec<&NodeSpec> = nodes.into_iter().filter(|node| liking(node) == most).collect();
        let candidates =
            if one_by_one { best } else { self.candidates(shape, self.spent_first(shape, pool, best)) };
        let node = if let [only] = candidates[..] {
            only
        } else {
            candidates.into_iter().min_by_key(|node| self.score(shape, node, pool))?
        };
        let strategy = self.pools[&pool].device;
        let gpus = self.choose_devices(node.id, shape.spec.gpu, strategy)?;
        Some(Placement { node: node.id, gpus })
    }

    /// Of the nodes for a pod without GPUs, those that have no GPU memory left, if there are any.
    fn spent_first<'a>(&self, shape: &Shape, pool: PoolId, nodes: Vec<&'a NodeSpec>) -> Vec<&'a NodeSpec> {
        let spent = |node: &&NodeSpec| !self.devices(node.id).iter().any(|d| d.free || d.shared);
        let binpack = self.pools[&pool].cpu == Strategy::Binpack;
        if shape.spec.gpu == GpuRequest::None && binpack && nodes.iter().any(spent) {
            return nodes.into_iter().filter(spent).collect();
        }
        nodes
    }

    /// Of each list of each class, the node with the most free CPU and the one with the least.
    fn candidates<'a>(&'a self, shape: &Shape, nodes: Vec<&'a NodeSpec>) -> Vec<&'a NodeSpec> {
        let mut classes: Vec<(Class, Vec<NodeId>)> = Vec::new();
        for node in nodes {
            let class = self.class(node);
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, members)) => members.push(node.id),
                None => classes.push((class, vec![node.id])),
            }
        }
        let mut found = BTreeSet::new();
        for (_, members) in classes {
            for list in self.lists(shape.spec.gpu, &members) {
                let by_cpu = |id: &&NodeId| (self.free(**id).cpu, **id);
                let most = list.iter().max_by_key(|id| (by_cpu(id).0, std::cmp::Reverse(**id)));
                let least = list.iter().min_by_key(by_cpu);
                found.extend(most.into_iter().chain(least).copied());
            }
        }
        found.into_iter().map(|id| &self.nodes[&id]).collect()
    }

    /// The lists of decision 0001, of the nodes of one class that take the pod.
    fn lists(&self, request: GpuRequest, members: &[NodeId]) -> Vec<Vec<NodeId>> {
        let mut by_free: BTreeMap<Option<usize>, Vec<NodeId>> = BTreeMap::new();
        let mut by_left: BTreeMap<i64, Vec<NodeId>> = BTreeMap::new();
        for id in members {
            let devices = self.devices(*id);
            let free = devices.iter().filter(|d| d.free).count();
            let some = devices.iter().any(|d| d.free || d.shared);
            by_free.entry(some.then_some(free)).or_default().push(*id);
            let lefts: BTreeSet<i64> = devices.iter().filter(|d| d.shared).map(|d| d.left).collect();
            lefts.into_iter().for_each(|left| by_left.entry(left).or_default().push(*id));
        }
        let at_least =
            |n: usize| by_free.iter().filter(move |(free, _)| **free >= Some(n)).map(|(_, l)| l.clone());
        match request {
            GpuRequest::None => by_free.values().cloned().collect(),
            GpuRequest::Whole(n) => at_least(n as usize).collect(),
            GpuRequest::Share { devices, .. } | GpuRequest::Memory { devices, .. } => {
                let smallest = self.nodes[&members[0]].devices.iter().map(|d| d.memory.0).min().unwrap_or(0);
                let tight = by_left.range(need(request, smallest)..).take(4).map(|(_, list)| list.clone());
                at_least(usize::from(devices == 1)).chain(tight).collect()
            }
        }
    }

    fn score(&self, shape: &Shape, node: &NodeSpec, pool: PoolId) -> (i128, i64, NodeId) {
        let pool = &self.pools[&pool];
        let strategy = if shape.spec.gpu == GpuRequest::None { pool.cpu } else { pool.gpu };
        let left = self.free(node.id).cpu - shape.spec.requests.cpu.0;
        match strategy {
            Strategy::Spread => {
                let free = self.devices(node.id).iter().filter(|d| d.free).count() as i128;
                let asks = shape.spec.gpu != GpuRequest::None;
                (if asks { -free } else { 0 }, -left, node.id)
            }
            _ => (self.stranded(shape, node, pool), left, node.id),
        }
    }

    /// Cost of the node after the placement, less before, plus price times the GPU share taken.
    fn stranded(&self, shape: &Shape, node: &NodeSpec, pool: &berth_model::PoolSpec) -> i128 {
        let grant = self.choose_devices(node.id, shape.spec.gpu, pool.device).expect("it takes the pod");
        let kinds = self.kinds(pool.id);
        let before = self.room(node, |_| 0, 0);
        let free = self.free(node.id);
        let each = |device: &Device| match grant {
            berth_model::GpuGrant::Shared { devices, each, .. } if devices.contains(device.index) => each.0,
            berth_model::GpuGrant::Whole(devices) if devices.contains(device.index) => device.total.max(1),
            _ => 0,
        };
        let mut after = self.room(node, each, grant.devices().0);
        after.cpu = free.cpu - shape.spec.requests.cpu.0;
        after.memory = free.memory - shape.spec.requests.memory.0;
        let taken = i128::from(self.gpu_cost(node.id, shape.spec.gpu, grant));
        kinds.cost(node, &after) - kinds.cost(node, &before) + taken * i128::from(kinds.price(node)) * 65536
    }

    /// What is left on a node when `taken` more MiB are taken of each device; those in `mask` are no longer free.
    fn room(&self, node: &NodeSpec, taken: impl Fn(&Device) -> i64, mask: u64) -> Room {
        let free = self.free(node.id);
        let devices = self.devices(node.id);
        let whole = devices.iter().filter(|d| d.free && mask >> d.index.0 & 1 == 0).count();
        let parts = devices.iter().filter(|d| d.shared || d.free && mask >> d.index.0 & 1 == 1);
        let mut parts: Vec<(i64, i64)> =
            parts.map(|d| (d.left - taken(d), d.total)).filter(|p| p.0 > 0).collect();
        parts.sort_by(|a, b| b.cmp(a));
        Room { cpu: free.cpu, memory: free.memory, whole, parts }
    }

    fn class(&self, node: &NodeSpec) -> Class {
        let keys = &self.keys;
        let labels =
            node.labels.iter().filter(|(k, _)| keys.contains(*k)).map(|(k, v)| (k.clone(), v.clone()));
        Class {
            labels: labels.collect(),
            taints: taints(node),
            allocatable: node.allocatable.clone(),
            devices: node.devices.iter().map(|d| (d.memory.0, d.link_group)).collect(),
            volume_limits: node.volume_limits.clone(),
        }
    }

    /// The shapes of all pods that wait or are on a node, with their numbers, of those that ask for GPUs.
    pub(crate) fn gpu_shapes(&self) -> Vec<(Arc<Shape>, u64)> {
        let mut shapes: Vec<(Arc<Shape>, u64)> = Vec::new();
        for workload in self.workloads.values() {
            for role in 0..workload.roles.len() {
                let shape = self.shape_of(workload, role);
                let ended =
                    self.ended.keys().filter(|p| p.workload == workload.id && usize::from(p.role) == role);
                let present = u64::from(workload.roles[role].count) - ended.count() as u64;
                if shape.spec.gpu == GpuRequest::None || present == 0 {
                    continue;
                }
                match shapes.iter_mut().find(|(known, _)| known.same(&shape)) {
                    Some((_, n)) => *n += present,
                    None => shapes.push((shape, present)),
                }
            }
        }
        shapes
    }

    /// The nodes of a pool that have GPUs, and whether their class takes the shape.
    pub(crate) fn gpu_nodes(&self, pool: PoolId, shape: &Shape) -> Vec<(&NodeSpec, bool)> {
        let nodes = self.ready_nodes(pool).into_iter().filter(|node| !node.devices.is_empty());
        nodes.map(|node| (node, could_take(shape, node, false))).collect()
    }
}

/// What nodes of one class have in common.
#[derive(PartialEq)]
struct Class {
    labels: Labels,
    taints: Vec<berth_model::Taint>,
    allocatable: berth_model::Resources,
    devices: Vec<(i64, u8)>,
    volume_limits: BTreeMap<String, u32>,
}

/// True if the pod prefers nodes by their names.
fn prefers_names(shape: &Shape) -> bool {
    let named = |t: &berth_model::NodeTerm| {
        !t.match_fields.is_empty() || t.match_expressions.iter().any(|r| r.key == HOSTNAME)
    };
    shape.spec.preferred_nodes.iter().any(|p| named(&p.preference))
}

/// True if the pod lists the only nodes it may run on.
pub(crate) fn names_nodes(shape: &Shape) -> bool {
    let pod = &shape.spec;
    let names = |t: &berth_model::NodeTerm| {
        let by_label = t.match_expressions.iter().filter(|r| r.key == HOSTNAME);
        t.match_fields.iter().chain(by_label).any(|r| r.operator == Operator::In)
    };
    let terms = pod.node_affinity.as_ref().map(|s| &s.node_selector_terms);
    pod.node_selector.contains_key(HOSTNAME) || terms.is_some_and(|t| !t.is_empty() && t.iter().all(names))
}
