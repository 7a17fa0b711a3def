//! Why a workload waits (S29): the verdicts of the allocation loop, with what would change them.
//!
//! The loop records a reason per pool when it parks a group; nothing here decides anew. What is added is read off the
//! state: how many nodes fail at which constraint, where the least is missing, and what stands in the way next.

use crate::Engine;
use crate::ix::{GroupIx, NodeIx, PoolIx, ShapeIx};
use crate::node::{Node, slots};
use crate::org::{Triple, amounts};
use crate::shape::Shape;
use berth_model::{
    Change, Constraint, Explanation, GpuRequest, GpuShare, Missing, NodeId, PolicyReason, PoolReason, Reason,
    Resource, WorkloadId,
};

impl Engine {
    /// Why a workload is pending; none for a workload that does not exist. The reason is none if nothing of it is
    /// pending, or if no call of `decide` has looked at it yet.
    pub fn explain(&self, workload: WorkloadId) -> Option<Explanation> {
        let ix = *self.workload_ids.get(&workload)?;
        let state = self.workloads.at(ix.0);
        let parked = state.groups.iter().copied().find(|g| self.waiting.at(*g).verdict.is_some());
        let mut explanation = Explanation {
            workload,
            running: state.running(),
            pending: state.pending(),
            asked: parked.map(|group| amounts(self.asked(group))).unwrap_or_default(),
            reason: None,
            change: None,
            next: None,
            pools: Vec::new(),
        };
        let Some(group) = parked else {
            explanation.reason = self.waiting_reason(ix);
            explanation.change = explanation.reason.as_ref().map(|reason| self.change(reason));
            return Some(explanation);
        };
        let Some((said, dominant)) = &self.waiting.at(group).verdict else { return Some(explanation) };
        for said in said {
            let pool = said.pool;
            let reason = self.holding(ix, pool).unwrap_or_else(|| said.reason.clone());
            // Where it is not known when room that is held will be free, what is missing says more.
            let told = if let Reason::Holding { until: None, .. } = reason { &said.reason } else { &reason };
            let change = self.change(told);
            let next = self.next_obstacle(group, &reason);
            explanation.pools.push(PoolReason { pool, reason, change, next });
        }
        let nearest = explanation.pools[*dominant].clone();
        explanation.reason = Some(nearest.reason);
        explanation.change = Some(nearest.change);
        explanation.next = nearest.next;
        Some(explanation)
    }

    /// What a group asks of the quotas in the first pool of its order.
    fn asked(&self, group: GroupIx) -> Triple {
        let key = &self.waiting.at(group).key;
        let pool = self.nth_pool(group, 0);
        pool.map_or([0; 3], |pool| self.ask(self.templates.at(key.template), &key.want, pool))
    }

    /// The smallest change of the reason's own number.
    fn change(&self, reason: &Reason) -> Change {
        match reason.clone() {
            Reason::Quota { queue, pool, resource, quota: bound, used, asked }
            | Reason::Limit { queue, pool, resource, limit: bound, used, asked } => {
                Change::Raise { queue, pool, resource, by: used + asked - bound }
            }
            Reason::Policy(
                PolicyReason::NodeTypeMissing { allowed, .. } | PolicyReason::NodeTypeRefused { allowed, .. },
            ) => Change::Choose { allowed },
            Reason::Policy(PolicyReason::Gated { gates }) => Change::Ungate { gates },
            Reason::Pool { pool, .. } => Change::Nodes { pool: pool.unwrap_or_default(), constraint: None },
            Reason::Feasibility { pool, failed, .. } => {
                let most = failed.into_iter().max_by_key(|(_, nodes)| *nodes);
                Change::Nodes { pool, constraint: most.map(|(constraint, _)| constraint) }
            }
            Reason::Capacity { pool, closest: Some(node), missing, placed, wanted, .. } => {
                Change::Free { pool, node, missing, pods: wanted - placed }
            }
            Reason::Capacity { pool, closest: None, .. } => Change::Nodes { pool, constraint: None },
            Reason::Waiting { until, .. } | Reason::Holding { until: Some(until), .. } => {
                Change::Wait { until }
            }
            Reason::Holding { pool, .. } => Change::Nodes { pool, constraint: None },
            Reason::Held { until: Some(until), .. } if until > self.now => {
                Change::Declare { runtime: until.since(self.now) }
            }
            Reason::Held { workload, .. } => Change::After { workload },
        }
    }

    /// What would stand in the way if a gate opened: too little room now, as far as each role alone can tell.
    fn next_obstacle(&self, group: GroupIx, reason: &Reason) -> Option<Reason> {
        let (Reason::Quota { pool, .. } | Reason::Limit { pool, .. }) = reason else { return None };
        let pool_ix = self.pools.find(*pool)?;
        let key = &self.waiting.at(group).key;
        let template = self.templates.at(key.template);
        let strategy = self.pools.spec(pool_ix).device;
        for (at, (role, want)) in
            template.roles.iter().zip(&key.want).enumerate().filter(|(_, (_, w))| **w > 0)
        {
            let shape = self.shapes.at(role.shape);
            let takes = |class: &crate::ix::ClassIx| {
                let class = self.classes.at(*class);
                !class.nodes.is_empty() && class.judge(shape).is_ok()
            };
            let classes: Vec<_> = self.classes.of_pool(pool_ix).iter().copied().filter(takes).collect();
            let failed = self.failed_constraints(role.shape, pool_ix);
            if classes.is_empty() {
                let nodes = self.pools.at(pool_ix).nodes;
                return Some(Reason::Feasibility { pool: *pool, role: at as u16, nodes, failed });
            }
            let nodes =
                classes.iter().flat_map(|c| self.classes.at(*c).nodes.iter()).map(|n| self.nodes.at(n.0));
            let room: i64 = nodes.map(|n| slots(&n.free, &n.devices, shape, strategy)).sum();
            if room < i64::from(*want) {
                let (closest, missing) = self.closest((role.shape, role.labels), pool_ix);
                let (role, placed) = (at as u16, room as u32);
                return Some(Reason::Capacity { pool: *pool, role, placed, wanted: *want, closest, missing });
            }
        }
        None
    }

    /// How many nodes of the pool fail at which constraint, each at the first it fails, most nodes first. Looks at
    /// classes, not at nodes.
    pub(crate) fn failed_constraints(&self, shape: ShapeIx, pool: PoolIx) -> Vec<(Constraint, u32)> {
        let shape = self.shapes.at(shape);
        let of_pool = self.pools.at(pool);
        let mut failed: Vec<(Constraint, u32)> = Vec::new();
        if of_pool.nodes > of_pool.usable {
            failed.push((Constraint::NotReady, of_pool.nodes - of_pool.usable));
        }
        for class in self.classes.of_pool(pool).iter().map(|c| self.classes.at(*c)) {
            let nodes = class.nodes.len() as u32;
            let Err(constraint) = class.judge(shape) else { continue };
            match failed.iter_mut().find(|(c, _)| *c == constraint) {
                Some((_, count)) => *count += nodes,
                None => failed.push((constraint, nodes)),
            }
        }
        failed.retain(|(_, nodes)| *nodes > 0);
        failed.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        failed
    }

    /// For a shape whose constraints must be judged node by node: how many nodes fail at which, if every node that its
    /// class would allow does.
    pub(crate) fn forbidden_everywhere(
        &self,
        kind: (ShapeIx, u32),
        pool: PoolIx,
        views: &[crate::neighbours::View],
    ) -> Option<Vec<(Constraint, u32)>> {
        let shape = self.shapes.at(kind.0);
        let mut failed = self.failed_constraints(kind.0, pool);
        let tiers = self.classes.tiers(kind.0, pool).iter();
        for ix in tiers.flat_map(|t| &t.classes).flat_map(|c| self.classes.at(*c).nodes.iter()) {
            let node = self.nodes.at(ix.0);
            let constraint = match self.admits(shape, kind, views, *ix) {
                Err(constraint) => constraint,
                Ok(()) if !node.ports_free(shape) => Constraint::HostPort,
                Ok(()) => return None,
            };
            match failed.iter_mut().find(|(c, _)| *c == constraint) {
                Some((_, count)) => *count += 1,
                None => failed.push((constraint, 1)),
            }
        }
        failed.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Some(failed)
    }

    /// Where the least is missing for one more pod of the kind, and what: of the nodes with the most wholly free
    /// devices, those with the most left on a shared one, and those with the most CPU, of each class that could take it.
    /// Where other constraints are to be met on the node, of all that meet them.
    pub(crate) fn closest(&self, kind: (ShapeIx, u32), pool: PoolIx) -> (Option<NodeId>, Vec<Missing>) {
        let asked = self.shapes.at(kind.0);
        let classes = self.classes.tiers(kind.0, pool).iter().flat_map(|t| t.classes.iter());
        let mut best: Option<((i64, usize, NodeId), NodeIx)> = None;
        let mut consider = |ix: NodeIx| {
            let node = self.nodes.at(ix.0);
            let missing = missing(node, asked);
            let gpu = missing.iter().find(|m| matches!(m.resource, Resource::Gpu | Resource::GpuMemory));
            let key = (gpu.map_or(0, |m| m.amount), missing.len(), node.id);
            if best.is_none_or(|(known, _)| key < known) {
                best = Some((key, ix));
            }
        };
        if asked.local || !self.neighbours.idle() {
            let views = self.views(kind.0);
            for ix in classes.flat_map(|c| self.classes.at(*c).nodes.iter().copied()) {
                let free = self.nodes.at(ix.0).ports_free(asked);
                if free && self.admits(asked, kind, &views, ix).is_ok() {
                    consider(ix);
                }
            }
        } else {
            for class in classes {
                let lists = self.index.of(*class);
                let tightest = lists.shared.iter().next_back().map(|(_, list)| list);
                lists
                    .levels()
                    .chain(tightest)
                    .filter_map(|list| self.index.first(list))
                    .for_each(&mut consider);
            }
        }
        best.map_or((None, Vec::new()), |((_, _, id), ix)| (Some(id), missing_named(self, ix, asked)))
    }
}

fn missing_named(engine: &Engine, ix: NodeIx, shape: &Shape) -> Vec<Missing> {
    let node = engine.nodes.at(ix.0);
    let mut all = missing(node, shape);
    for (at, n) in &shape.extended {
        let amount = n - node.free.extended(*at);
        if amount > 0 {
            all.push(Missing { resource: Resource::Extended(engine.names.name(*at).to_owned()), amount });
        }
    }
    all
}

/// What one more pod of the shape lacks on a node, extended resources apart.
fn missing(node: &Node, shape: &Shape) -> Vec<Missing> {
    let mut all = Vec::new();
    let mut lack = |resource, amount: i64| {
        if amount > 0 {
            all.push(Missing { resource, amount });
        }
    };
    let devices = &node.devices;
    match shape.gpu {
        GpuRequest::None => {}
        GpuRequest::Whole(n) => {
            lack(Resource::Gpu, (i64::from(n) - i64::from(devices.free.count())) * GpuShare::DEVICE.0);
        }
        request if !node.fits_gpu(request) => {
            let open = (0..devices.len() as u8).map(berth_model::DeviceIndex);
            let open = open.filter(|d| devices.free.contains(*d) || devices.shared.contains(*d));
            let mut lefts: Vec<i64> = open
                .map(|d| devices.get(d))
                .map(|d| i64::from(crate::device::need(request, d.total)) - i64::from(d.left()))
                .collect();
            lefts.sort_unstable();
            let needed = crate::device::need(request, devices.iter().map(|d| d.total).max().unwrap_or(0));
            lack(
                Resource::GpuMemory,
                lefts.get(request.devices() as usize - 1).copied().unwrap_or(needed.into()).max(1),
            );
        }
        _ => {}
    }
    let asked = |have: i64, need: i64| if need == 0 { 0 } else { need - have };
    lack(Resource::Cpu, asked(node.free.cpu, shape.cpu));
    lack(Resource::Memory, asked(node.free.memory, shape.memory));
    lack(Resource::Ephemeral, asked(node.free.ephemeral, shape.ephemeral));
    lack(Resource::Pods, 1 - node.free.pods);
    for (driver, over) in node.volumes_over(shape) {
        lack(Resource::Volumes(driver.to_owned()), over);
    }
    all
}
