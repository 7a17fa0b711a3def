//! Events about pools, queues and nodes.

use crate::Engine;
use crate::apply::{Applied, conflict, invalid, queue_name, unknown};
use crate::device::Devices;
use crate::ix::{NodeIx, PodIx, PoolIx, QueueIx};
use crate::matching::HOSTNAME;
use crate::node::Node;
use crate::workload::Stage;
use berth_model::{
    DepartmentSpec, DeviceHealth, DeviceIndex, GpuMemoryMib, NodeId, NodeSpec, PoolId, PoolSpec, ProjectSpec,
    QueueId, QueueQuota, Quota,
};
use std::sync::Arc;

impl Engine {
    pub(crate) fn set_pool(&mut self, spec: PoolSpec) -> Applied {
        let same_name =
            |ix: &&PoolIx| self.pools.spec(**ix).name == spec.name && self.pools.spec(**ix).id != spec.id;
        if self.pools.by_name().iter().any(|ix| same_name(&ix)) {
            return Err(conflict(spec.id, format!("the name {} is taken by another pool", spec.name)));
        }
        if spec.selector.is_none() && spec.name != PoolSpec::DEFAULT_NAME {
            return Err(invalid(
                &spec.name,
                "selector",
                "none",
                "a label key and value; only `default` has none",
            ));
        }
        self.pools.set(spec);
        // What is remembered was computed under the old strategy.
        self.profile.classes_changed();
        self.assign_nodes();
        Ok(())
    }

    pub(crate) fn remove_pool(&mut self, id: PoolId) -> Applied {
        let ix = self.find_pool("poolRemoved", id)?;
        self.pools.remove(ix);
        self.assign_nodes();
        Ok(())
    }

    /// Moves nodes to the pools that select them now (S1), and lets every group look for its pools again.
    fn assign_nodes(&mut self) {
        let all: Vec<NodeIx> = self.nodes.iter().map(|(slot, _)| NodeIx(slot)).collect();
        for ix in all {
            let node = self.nodes.at(ix.0);
            if self.pools.of_labels(&node.spec.labels) != node.pool {
                self.detach(ix);
                self.attach(ix);
                self.requeue_all_on(ix);
            }
        }
        self.wake_everybody();
    }

    /// Lets all workloads on a node wait anew: the pool they are in may be another.
    fn requeue_all_on(&mut self, ix: NodeIx) {
        for at in 0..self.nodes.at(ix.0).pods.len() {
            self.requeue(self.nodes.at(ix.0).pods[at].workload);
        }
    }

    /// Wakes every parked group, after a change of the rules themselves.
    fn wake_everybody(&mut self) {
        self.shares.mark_all();
        self.second.rests.wake_all();
        for group in (0..self.waiting.len()).map(crate::ix::GroupIx::of) {
            self.waiting.at_mut(group).ask = None;
            self.wake(group);
        }
    }

    pub(crate) fn set_department(&mut self, spec: DepartmentSpec) -> Applied {
        self.check_quotas(&format!("department {}", spec.name), &spec.quotas)?;
        let id = QueueId::Department(spec.id);
        let ix = self.org.find(id).unwrap_or_else(|| self.org.add(Some(id), &spec.name, None));
        let queue = self.org.at_mut(ix);
        queue.name = spec.name.into();
        queue.created = spec.created;
        queue.rank = spec.rank;
        queue.node_types = spec.node_types;
        self.set_quotas(ix, &spec.quotas);
        self.retype(ix);
        self.rules_changed(ix);
        Ok(())
    }

    pub(crate) fn set_project(&mut self, spec: ProjectSpec) -> Applied {
        let name = format!("project {}", spec.name);
        self.check_quotas(&name, &spec.quotas)?;
        let parent = self.find_queue("projectSet", QueueId::Department(spec.department))?;
        if let Some(pool) = spec.pools.iter().find(|p| self.pools.find(**p).is_none()) {
            return Err(invalid(name, "pools", pool, "pools that exist"));
        }
        let id = QueueId::Project(spec.id);
        let ix = self.org.find(id).unwrap_or_else(|| self.org.add(Some(id), &spec.name, Some(parent)));
        self.org.adopt(parent, ix);
        let queue = self.org.at_mut(ix);
        queue.name = spec.name.into();
        queue.created = spec.created;
        queue.rank = spec.rank;
        queue.node_types = spec.node_types;
        queue.pools = spec.pools;
        let due_otherwise = std::mem::replace(&mut queue.hold_after, spec.hold_after) != spec.hold_after;
        if due_otherwise {
            self.forget_dues();
        }
        self.set_quotas(ix, &spec.quotas);
        self.retype(ix);
        self.rules_changed(ix);
        Ok(())
    }

    fn check_quotas(&self, object: &str, quotas: &[(PoolId, QueueQuota)]) -> Applied {
        for (at, (pool, quota)) in quotas.iter().enumerate() {
            if self.pools.find(*pool).is_none() {
                return Err(invalid(object, "quotas", pool, "pools that exist"));
            }
            if quotas[..at].iter().any(|(p, _)| p == pool) {
                return Err(invalid(object, "quotas", pool, "each pool once"));
            }
            check_quota(object, quota)?;
        }
        Ok(())
    }

    fn set_quotas(&mut self, queue: QueueIx, quotas: &[(PoolId, QueueQuota)]) {
        for pool in (0..self.pools.len()).map(PoolIx::of) {
            self.org.in_pool_mut(queue, pool).quota = QueueQuota::default();
        }
        for (id, quota) in quotas {
            if let Some(pool) = self.pools.find(*id) {
                self.org.in_pool_mut(queue, pool).quota = *quota;
            }
        }
    }

    /// Wakes every group of a project, or of all projects of a department.
    fn rules_changed(&mut self, queue: QueueIx) {
        self.shares.mark_all();
        self.second.rests.wake_all();
        for group in (0..self.waiting.len()).map(crate::ix::GroupIx::of) {
            if self.org.at(self.waiting.at(group).queue).path.contains(&queue) {
                self.waiting.at_mut(group).ask = None;
                self.wake(group);
            }
        }
    }

    pub(crate) fn set_quota(&mut self, queue: QueueId, pool: PoolId, quota: QueueQuota) -> Applied {
        let ix = self.find_queue("quotaSet", queue)?;
        let pool = self.find_pool("quotaSet", pool)?;
        check_quota(&queue_name(queue), &quota)?;
        self.org.in_pool_mut(ix, pool).quota = quota;
        self.mark_pool(pool);
        self.second.rests.wake_all();
        self.org.loosen(ix, pool);
        Ok(())
    }

    pub(crate) fn remove_queue(&mut self, event: &'static str, id: QueueId) -> Applied {
        let ix = self.find_queue(event, id)?;
        let children = self.org.children(ix).count();
        if children > 0 {
            return Err(conflict(queue_name(id), format!("it still has {children} projects")));
        }
        let workloads = self.org.at(ix).workloads;
        if workloads > 0 {
            return Err(conflict(queue_name(id), format!("it still has {workloads} workloads")));
        }
        self.org.remove(ix);
        self.shares.mark_all();
        self.second.rests.wake_all();
        Ok(())
    }

    pub(crate) fn set_node(&mut self, mut spec: NodeSpec) -> Applied {
        check_node(&spec)?;
        if self.node_names.get(&*spec.name).is_some_and(|ix| self.nodes.at(ix.0).spec.id != spec.id) {
            return Err(conflict(spec.id, format!("the name {} is taken by another node", spec.name)));
        }
        let Some(ix) = self.node_ids.get(&spec.id).copied() else {
            let id = spec.id;
            let name = spec.name.as_str().into();
            let node = Node::new(Arc::new(spec), &mut self.names, self.settings.foreign_allowance);
            let ix = NodeIx(self.nodes.insert(node));
            self.node_ids.insert(id, ix);
            self.node_names.insert(name, ix);
            self.enter_host(ix);
            self.attach(ix);
            return Ok(());
        };
        let old = self.nodes.at(ix.0).spec.clone();
        let listed = spec.devices.len();
        keep_lost_devices(&mut spec, &old, &self.nodes.at(ix.0).devices);
        self.detach(ix);
        self.node_names.remove(&*old.name);
        self.leave_host(ix);
        self.node_names.insert(spec.name.as_str().into(), ix);
        let pods = std::mem::take(&mut self.nodes.at_mut(ix.0).pods);
        let mut node = Node::new(Arc::new(spec), &mut self.names, self.settings.foreign_allowance);
        node.listed = listed;
        for pod in pods {
            let state = self.pod(pod);
            let leaving = state.stage == Stage::Leaving;
            node.take(pod, self.shapes.at(self.kind_of(pod).0), state.gpus, leaving);
        }
        *self.nodes.at_mut(ix.0) = node;
        self.enter_host(ix);
        self.attach(ix);
        if let Some(pool) = self.nodes.at(ix.0).pool {
            self.note_structure(pool, true);
        }
        self.requeue_all_on(ix);
        Ok(())
    }

    pub(crate) fn remove_node(&mut self, id: NodeId) -> Applied {
        let ix = self.find_node("nodeRemoved", id)?;
        let kept: Vec<PodIx> = self.nodes.at(ix.0).kept().collect();
        self.lose_room_on(ix);
        let pods: Vec<PodIx> = self.nodes.at(ix.0).pods.to_vec();
        for pod in &pods {
            self.release(*pod);
            self.arrive(*pod);
        }
        self.detach(ix);
        self.forget_change(ix);
        self.leave_host(ix);
        if let Some(node) = self.nodes.remove(ix.0) {
            self.node_names.remove(&*node.spec.name);
        }
        self.node_ids.remove(&id);
        for pod in pods.into_iter().chain(kept) {
            self.requeue(pod.workload);
        }
        Ok(())
    }

    fn enter_host(&mut self, ix: NodeIx) {
        let spec = &self.nodes.at(ix.0).spec;
        if let Some(host) = spec.labels.get(HOSTNAME) {
            self.hosts.entry(host.as_str().into()).or_default().push(ix);
        }
    }

    fn leave_host(&mut self, ix: NodeIx) {
        let spec = &self.nodes.at(ix.0).spec;
        let Some(host) = spec.labels.get(HOSTNAME).map(String::as_str) else { return };
        if let Some(nodes) = self.hosts.get_mut(host) {
            nodes.retain(|n| *n != ix);
            if nodes.is_empty() {
                self.hosts.remove(host);
            }
        }
    }

    pub(crate) fn set_condition(&mut self, id: NodeId, ready: bool, unschedulable: bool) -> Applied {
        let ix = self.find_node("nodeCondition", id)?;
        let spec = &self.nodes.at(ix.0).spec;
        if (spec.ready, spec.unschedulable) == (ready, unschedulable) {
            return Ok(());
        }
        let spec = NodeSpec { ready, unschedulable, ..NodeSpec::clone(spec) };
        let recordoned = self.nodes.at(ix.0).spec.unschedulable != unschedulable;
        self.detach(ix);
        self.nodes.at_mut(ix.0).spec = Arc::new(spec);
        self.attach(ix);
        if let Some(pool) = self.nodes.at(ix.0).pool.filter(|_| recordoned) {
            self.note_structure(pool, true);
        }
        Ok(())
    }

    pub(crate) fn set_health(&mut self, id: NodeId, device: DeviceIndex, health: DeviceHealth) -> Applied {
        let ix = self.find_device("deviceHealth", id, device)?;
        let before = i64::from(self.nodes.at(ix.0).devices.healthy());
        self.change_devices(ix, |devices| devices.set_health(device, health));
        let node = self.nodes.at(ix.0);
        let change = i64::from(node.devices.healthy()) - before;
        if let Some(pool) = node.pool.filter(|_| node.usable() && !node.spec.unschedulable) {
            self.pools.at_mut(pool).devices += change;
        }
        self.gained(ix);
        Ok(())
    }

    pub(crate) fn set_foreign(&mut self, id: NodeId, device: DeviceIndex, memory: GpuMemoryMib) -> Applied {
        let ix = self.find_device("deviceForeign", id, device)?;
        if memory.0 < 0 {
            return Err(invalid(format!("{id} {device}"), "memory", memory.0, "0 or more MiB"));
        }
        self.change_devices(ix, |devices| devices.set_foreign(device, memory));
        self.gained(ix);
        Ok(())
    }

    /// Changes what the devices of a node are.
    fn change_devices(&mut self, ix: NodeIx, change: impl FnOnce(&mut Devices)) {
        self.change_node(ix, |engine| engine.nodes.at_mut(ix.0).change_devices(change));
        if let Some(pool) = self.nodes.at(ix.0).pool {
            self.victims.touch_node(pool, ix);
            self.pools.shift(pool);
        }
        self.look_later_on(ix);
    }

    fn find_device(
        &self,
        event: &'static str,
        id: NodeId,
        device: DeviceIndex,
    ) -> Result<NodeIx, berth_model::EventError> {
        let ix = self.find_node(event, id)?;
        if usize::from(device.0) >= self.nodes.at(ix.0).listed {
            return Err(unknown(event, format!("{id} {device}")));
        }
        Ok(ix)
    }

    /// Takes a node out of pool, class, index and domains, with all that its pods count for there.
    fn detach(&mut self, ix: NodeIx) {
        self.lift_room_on(ix);
        self.note_change(ix);
        self.profile.classes_changed();
        self.count_pods(ix, -1);
        let node = self.nodes.at_mut(ix.0);
        let usable = node.usable();
        if let Some(pool) = node.pool {
            self.touch_all_on(ix, pool);
        }
        let node = self.nodes.at_mut(ix.0);
        if let Some(pool) = node.pool.take() {
            if usable {
                self.index.remove(ix, self.nodes.at(ix.0));
                self.classes.leave(ix, self.nodes.at(ix.0).class);
            }
            self.count_node(ix, pool, usable, -1);
            self.note_structure(pool, false);
        }
        self.topologies.leave(ix);
    }

    /// Puts a node into the pool that selects it, its class, the index and its domains.
    fn attach(&mut self, ix: NodeIx) {
        self.profile.classes_changed();
        for topology in self.topologies.indices() {
            self.topologies.join(topology, ix, &self.nodes.at(ix.0).spec);
        }
        let pool = self.pools.of_labels(&self.nodes.at(ix.0).spec.labels);
        self.nodes.at_mut(ix.0).pool = pool;
        if let Some(pool) = pool {
            let node = self.nodes.at_mut(ix.0);
            let usable = node.usable();
            self.classes.join(ix, node, pool, &mut self.names);
            self.note_arrival(ix);
            self.touch_all_on(ix, pool);
            if usable {
                self.index.insert(ix, self.nodes.at(ix.0));
            }
            self.count_node(ix, pool, usable, 1);
            self.note_structure(pool, false);
        }
        self.count_pods(ix, 1);
        self.return_room(Some);
        self.look_later_on(ix);
    }

    /// Those who lack room may have it once those that leave the node are gone.
    fn look_later_on(&mut self, ix: NodeIx) {
        let node = self.nodes.at(ix.0);
        let differs = node.kept().next().is_some()
            || node.pods.iter().any(|pod| self.pod(*pod).stage == Stage::Leaving);
        if let Some(pool) = node.pool.filter(|_| differs) {
            self.wake_short(pool);
        }
    }

    /// Notes that a node and all its pods came to a pool or leave it.
    fn touch_all_on(&mut self, ix: NodeIx, pool: PoolIx) {
        self.victims.touch_node(pool, ix);
        for at in 0..self.nodes.at(ix.0).pods.len() {
            self.victims.touch(pool, ix, self.nodes.at(ix.0).pods[at]);
        }
    }

    fn count_node(&mut self, ix: NodeIx, pool: PoolIx, usable: bool, sign: i64) {
        let node = self.nodes.at(ix.0);
        let open = node.spec.ready && !node.spec.unschedulable;
        let devices = i64::from(node.devices.healthy());
        let bump = |n: &mut u32, by: bool| *n = (i64::from(*n) + sign * i64::from(by)) as u32;
        let pool = self.pools.at_mut(pool);
        bump(&mut pool.nodes, true);
        bump(&mut pool.usable, usable);
        bump(&mut pool.open, open);
        if usable {
            let has = node.spec.allocatable.clone();
            let devices = node.devices.len() as i64 * berth_model::GpuShare::DEVICE.0;
            crate::org::add(&mut pool.unclaimed, [devices, has.cpu.0, has.memory.0], sign);
        }
        if open {
            pool.devices += sign * devices;
            pool.cpu += sign * node.spec.allocatable.cpu.0;
            pool.memory += sign * node.spec.allocatable.memory.0;
        }
    }

    fn count_pods(&mut self, ix: NodeIx, sign: i64) {
        let pool = self.nodes.at(ix.0).pool;
        for at in 0..self.nodes.at(ix.0).pods.len() {
            let pod = self.nodes.at(ix.0).pods[at];
            let (shape, labels) = self.kind_of(pod);
            if !self.neighbours.idle() {
                let stage = self.pod(pod).stage;
                self.neighbours.count(&self.topologies, (shape, labels), (ix, stage), sign as i32, None);
            }
            let Some(pool) = pool else { continue };
            let cost = self.cost(shape, ix, self.pod(pod).gpus);
            let state = *self.pod(pod);
            let template = self.templates.at(self.workloads.at(pod.workload.0).template);
            let (queue, preemptible) = (template.queue, template.preemptible);
            self.charge(queue, pool, (cost, preemptible), &state, sign);
            if state.stays() && self.nodes.at(ix.0).usable() {
                crate::org::add(&mut self.pools.at_mut(pool).unclaimed, cost, -sign);
            }
            self.pools.at_mut(pool).allocated += sign * cost[0];
            if queue == self.unmanaged && self.nodes.at(ix.0).open() {
                crate::org::add(&mut self.pools.at_mut(pool).unmanaged, cost, sign);
            }
            if sign < 0 {
                self.org.loosen_path(queue, pool);
            }
        }
    }

    /// Sorts all usable nodes into classes anew, because a label has become relevant.
    pub(crate) fn reclassify(&mut self) {
        self.profile.classes_changed();
        let all: Vec<NodeIx> =
            self.nodes.iter().filter(|(_, n)| n.pool.is_some()).map(|(slot, _)| NodeIx(slot)).collect();
        for ix in all {
            let usable = self.nodes.at(ix.0).usable();
            if usable {
                self.index.remove(ix, self.nodes.at(ix.0));
                self.classes.leave(ix, self.nodes.at(ix.0).class);
            }
            let node = self.nodes.at_mut(ix.0);
            if let Some(pool) = node.pool {
                self.classes.join(ix, node, pool, &mut self.names);
                self.victims.touch_node(pool, ix);
            }
            if usable {
                self.index.insert(ix, self.nodes.at(ix.0));
            }
        }
    }
}

fn check_quota(object: &str, quota: &QueueQuota) -> Applied {
    if quota.gpu.quota == Quota::Unmanaged {
        return Err(invalid(
            object,
            "gpu quota",
            "unmanaged",
            "an amount or unlimited: GPUs are always managed (S2)",
        ));
    }
    for (field, bound) in [("gpu", quota.gpu), ("cpu", quota.cpu), ("memory", quota.memory)] {
        if let Quota::Of(amount) = bound.quota
            && amount < 0
        {
            return Err(invalid(object, field, amount, "0 or more"));
        }
        if let Some(limit) = bound.limit.filter(|l| *l < 0) {
            return Err(invalid(object, field, limit, "a limit of 0 or more"));
        }
    }
    Ok(())
}

fn check_node(spec: &NodeSpec) -> Applied {
    if spec.devices.len() > 64 {
        return Err(invalid(&spec.name, "devices", spec.devices.len(), "at most 64"));
    }
    let scalars = [
        ("cpu", spec.allocatable.cpu.0),
        ("memory", spec.allocatable.memory.0),
        ("ephemeral", spec.allocatable.ephemeral.0),
    ];
    let extended = spec.allocatable.extended.values().map(|n| ("extended", *n));
    let devices = spec
        .devices
        .iter()
        .flat_map(|d| [("devices.memory", d.memory.0 - 1), ("devices.foreign", d.foreign.0)]);
    for (field, amount) in scalars.into_iter().chain(extended).chain(devices) {
        if amount < 0 {
            return Err(invalid(&spec.name, field, amount, "0 or more (device memory: 1 or more MiB)"));
        }
    }
    if let Some(device) = spec.devices.iter().find(|d| d.memory.0 > i64::from(u32::MAX)) {
        return Err(invalid(&spec.name, "devices.memory", device.memory.0, "at most 4,294,967,295 MiB"));
    }
    Ok(())
}

/// Devices that are no longer listed are lost, not forgotten: pods may still be on them.
fn keep_lost_devices(spec: &mut NodeSpec, old: &NodeSpec, now: &Devices) {
    for (device, now) in old.devices.iter().zip(now.iter()).skip(spec.devices.len()) {
        let foreign = GpuMemoryMib(now.foreign.into());
        spec.devices.push(berth_model::DeviceSpec { health: DeviceHealth::Lost, foreign, ..device.clone() });
    }
}
