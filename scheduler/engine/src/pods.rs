//! Events about workloads and pods.

use crate::Engine;
use crate::apply::{Applied, conflict, invalid, unknown};
use crate::ask::check_pod;
use crate::ix::{GroupIx, NodeIx, PodIx, ShapeIx, WorkloadIx};
use crate::waiting::{GroupKey, Member};
use crate::workload::{Pod, Role, Stage, Template, Workload};
use berth_model::{
    EventError, GpuGrant, Labels, PodId, PodSpec, PodState, QueueId, RoleSpec, WorkloadId, WorkloadSpec,
};
use smallvec::SmallVec;
use std::sync::Arc;

impl Engine {
    pub(crate) fn set_workload(&mut self, spec: WorkloadSpec) -> Applied {
        self.check_workload(&spec)?;
        if let Some(ix) = self.workload_ids.get(&spec.id).copied() {
            return self.change_workload(ix, &spec);
        }
        let template = self.template_of(&spec);
        let template = self.templates.intern(template);
        let pods = self.templates.at(template).pods() as usize;
        let id = spec.id;
        let workload = Workload {
            id,
            name: spec.name.into(),
            template,
            submitted: spec.submitted,
            grace: spec.grace,
            expected_runtime: spec.expected_runtime,
            start_timeout: spec.start_timeout,
            stale_grace: spec.stale_grace,
            evictions: spec.evictions,
            pool: None,
            pods: smallvec::smallvec![Pod::default(); pods],
            groups: SmallVec::new(),
            reported: 0,
        };
        let ix = WorkloadIx(self.workloads.insert(workload));
        self.workload_ids.insert(id, ix);
        self.note_written(ix, spec.stale_since);
        self.count_presence(ix, 1);
        self.count_workload(ix, 1);
        self.enqueue(ix);
        Ok(())
    }

    fn count_workload(&mut self, ix: WorkloadIx, sign: i64) {
        let template = self.templates.at(self.workloads.at(ix.0).template);
        let (project, priority) = (template.queue, template.priority);
        let priorities = &mut self.org.at_mut(project).priorities;
        let count = priorities.entry(priority).or_default();
        let first = *count == 0;
        *count = (i64::from(*count) + sign) as u32;
        if *count == 0 {
            priorities.remove(&priority);
        }
        if first {
            self.second.rests.wake_above(project, priority);
        }
        for queue in self.org.at(project).path.clone() {
            let count = &mut self.org.at_mut(queue).workloads;
            *count = (i64::from(*count) + sign) as u32;
        }
    }

    /// Counts the workload's pods that run or wait among the shapes present (S12).
    fn count_presence(&mut self, ix: WorkloadIx, sign: i64) {
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        let mut first = 0;
        for role in &template.roles {
            let pods = &workload.pods[first..first + role.count as usize];
            first += role.count as usize;
            let present = pods.iter().filter(|p| !matches!(p.stage, Stage::Succeeded | Stage::Gone)).count();
            self.profile.count(role.shape, sign * present as i64, self.shapes.at(role.shape));
        }
    }

    fn check_workload(&self, spec: &WorkloadSpec) -> Applied {
        let name = if spec.name.is_empty() { spec.id.to_string() } else { format!("workload {}", spec.name) };
        if let Some(project) = spec.project {
            self.find_queue("workloadSet", QueueId::Project(project))?;
        }
        if let Some(pool) = spec.pools.iter().find(|p| self.pools.find(**p).is_none()) {
            return Err(invalid(name, "pools", pool, "pools that exist"));
        }
        if spec.roles.is_empty() || spec.roles.len() > 1 << 16 {
            return Err(invalid(name, "roles", spec.roles.len(), "1 to 65,536 roles"));
        }
        for (at, role) in spec.roles.iter().enumerate() {
            if role.min > role.count {
                return Err(invalid(name, "roles.min", role.min, format!("at most count, {}", role.count)));
            }
            if spec.roles[..at].iter().any(|r| r.name == role.name) {
                return Err(invalid(name, "roles.name", &role.name, "each name once"));
            }
            check_pod(&name, &role.pod)?;
        }
        Ok(())
    }

    /// The template of a valid workload; shapes, labels and topologies it uses are entered.
    fn template_of(&mut self, spec: &WorkloadSpec) -> Template {
        let queue = spec.project.and_then(|p| self.org.find(QueueId::Project(p))).unwrap_or(self.unmanaged);
        let namespace = match spec.project {
            Some(_) => self.org.at(queue).name.clone(),
            None => spec.namespace.as_str().into(),
        };
        let node_type = self.node_type(queue, spec.node_type.as_deref());
        if let Some(topology) = &spec.topology {
            self.enter_topology(&topology.key);
        }
        let roles = spec.roles.iter().map(|role| {
            let pod = with_node_type(&role.pod, node_type.as_ref());
            let (shape, labels) = self.enter_shape(&pod, &namespace, &role.labels);
            let (name, pod) = (role.name.as_str().into(), role.pod.clone());
            Role { name, shape, pod, labels, count: role.count, min: role.min }
        });
        let roles = roles.collect();
        Template {
            queue,
            priority: spec.priority,
            preemptible: spec.preemptible,
            pools: spec.pools.iter().copied().collect(),
            node_type: spec.node_type.as_deref().map(Into::into),
            topology: spec.topology.clone(),
            roles,
        }
    }

    /// The label and value that a chosen node type comes to in a queue.
    fn node_type(&self, queue: crate::ix::QueueIx, chosen: Option<&str>) -> Option<(String, String)> {
        let rule = self.org.at(queue).path.iter().find_map(|q| self.org.at(*q).node_types.as_ref())?;
        Some((rule.key.clone(), chosen?.to_owned()))
    }

    /// Gives the workloads of a project or department that chose a node type the label that this comes to now.
    pub(crate) fn retype(&mut self, queue: crate::ix::QueueIx) {
        let all: Vec<WorkloadIx> = self.workloads.iter().map(|(slot, _)| WorkloadIx(slot)).collect();
        for ix in all {
            let mut template = self.templates.at(self.workloads.at(ix.0).template).clone();
            if template.node_type.is_none() || !self.org.at(template.queue).path.contains(&queue) {
                continue;
            }
            let node_type = self.node_type(template.queue, template.node_type.as_deref());
            for role in &mut template.roles {
                let pod = with_node_type(&role.pod, node_type.as_ref());
                let (namespace, labels) = self.neighbours.identity(role.labels);
                role.shape = self.enter_shape(&pod, &namespace, &labels).0;
            }
            self.dequeue(ix);
            self.count_presence(ix, -1);
            self.workloads.at_mut(ix.0).template = self.templates.intern(template);
            self.count_presence(ix, 1);
            self.enqueue(ix);
        }
    }

    fn enter_topology(&mut self, key: &str) {
        let (topology, new) = self.topologies.intern(key);
        if new {
            self.join_topology(topology);
        }
    }

    fn join_topology(&mut self, topology: crate::ix::TopologyIx) {
        for (slot, node) in self.nodes.iter() {
            self.topologies.join(topology, NodeIx(slot), &node.spec);
        }
    }

    fn enter_shape(&mut self, pod: &Arc<PodSpec>, namespace: &str, labels: &Arc<Labels>) -> (ShapeIx, u32) {
        let (shape, new) = self.shapes.intern(&mut self.names, pod, namespace, labels);
        let identity = self.neighbours.identify(namespace, labels);
        self.budgets.identified(identity, namespace, labels);
        if !new {
            return (shape, identity);
        }
        if self.classes.look_at(self.shapes.at(shape)) {
            self.reclassify();
        }
        let known = self.topologies.indices().count();
        let terms = self.neighbours.listen(shape, self.shapes.at(shape), &mut self.topologies);
        for topology in self.topologies.indices().skip(known) {
            self.join_topology(topology);
        }
        if !terms.is_empty() {
            for (node, stage, pod) in self.seats() {
                let kind = self.kind_of(pod);
                self.neighbours.count(&self.topologies, kind, (node, stage), 1, Some(&terms));
            }
        }
        (shape, identity)
    }

    fn change_workload(&mut self, ix: WorkloadIx, spec: &WorkloadSpec) -> Applied {
        let old = self.templates.at(self.workloads.at(ix.0).template).clone();
        self.check_change(ix, &old, &spec.roles)?;
        let queue = spec.project.and_then(|p| self.org.find(QueueId::Project(p))).unwrap_or(self.unmanaged);
        if queue != old.queue && self.workloads.at(ix.0).pods.iter().any(Pod::on_node) {
            return Err(conflict(spec.id, "it cannot change its project while pods of it are on nodes"));
        }
        let new = self.template_of(spec);
        self.dequeue(ix);
        self.lift_room_of(ix);
        self.count_presence(ix, -1);
        self.count_workload(ix, -1);
        if new.preemptible != old.preemptible {
            self.recharge(ix, &new);
        }
        let mut pods: SmallVec<[Pod; 1]> = SmallVec::new();
        let mut moves: Vec<(u32, u32)> = Vec::new();
        for role in &new.roles {
            let was = old.roles.iter().position(|r| r.name == role.name);
            for index in 0..role.count {
                let kept = was.filter(|at| index < old.roles[*at].count).map(|at| old.first_of(at) + index);
                moves.extend(kept.map(|before| (before, pods.len() as u32)));
                pods.push(kept.map_or_else(Pod::default, |at| self.workloads.at(ix.0).pods[at as usize]));
            }
        }
        let template = self.templates.intern(new);
        self.renumber(ix, &pods, &moves);
        let workload = self.workloads.at_mut(ix.0);
        workload.template = template;
        workload.pods = pods;
        workload.submitted = spec.submitted;
        workload.grace = spec.grace;
        workload.expected_runtime = spec.expected_runtime;
        workload.start_timeout = spec.start_timeout;
        workload.stale_grace = spec.stale_grace;
        workload.name = spec.name.as_str().into();
        let known = workload.evictions.len();
        for eviction in &spec.evictions {
            if !workload.evictions[..known].iter().any(|e| e.beneficiary == eviction.beneficiary) {
                workload.evictions.push(*eviction);
            }
        }
        self.note_written(ix, spec.stale_since);
        let position = |pod: PodIx| {
            let found = moves.iter().find(|(before, _)| *before == pod.pod);
            found.map(|(_, after)| PodIx { workload: ix, pod: *after })
        };
        self.return_room(position);
        self.touch_pods_of(ix);
        self.count_presence(ix, 1);
        self.count_workload(ix, 1);
        self.enqueue(ix);
        Ok(())
    }

    /// A role with pods on nodes may change in number, not below those, and not in what a pod asks for.
    fn check_change(&self, ix: WorkloadIx, old: &Template, roles: &[RoleSpec]) -> Applied {
        let workload = self.workloads.at(ix.0);
        for (at, was) in old.roles.iter().enumerate() {
            let first = old.first_of(at) as usize;
            let pods = &workload.pods[first..first + was.count as usize];
            let Some(highest) = pods.iter().rposition(Pod::on_node) else { continue };
            let now = roles.iter().find(|r| *r.name == *was.name);
            let enough = now.is_some_and(|r| r.count as usize > highest);
            if !enough {
                let count = now.map_or(0, |r| r.count);
                let allowed = format!("more than {highest}: that pod is on a node");
                return Err(invalid(workload.id, "roles.count", count, allowed));
            }
            let same = |r: &RoleSpec| {
                takes_the_same(&r.pod, &self.shapes.at(was.shape).spec)
                    && r.labels == self.neighbours.identity(was.labels).1
            };
            if !now.is_some_and(same) {
                return Err(conflict(
                    workload.id,
                    format!("role {} has pods on nodes, its pod is fixed", was.name),
                ));
            }
        }
        Ok(())
    }

    /// Whether and for whom the placed pods of a workload may be stopped may have changed.
    fn touch_pods_of(&mut self, ix: WorkloadIx) {
        for pod in 0..self.workloads.at(ix.0).pods.len() as u32 {
            let pod = PodIx { workload: ix, pod };
            let Some(node) = self.pod(pod).node else { continue };
            let Some(pool) = self.nodes.at(node.0).pool else { continue };
            self.victims.touch(pool, node, pod);
            self.pools.shift(pool);
        }
    }

    fn recharge(&mut self, ix: WorkloadIx, new: &Template) {
        for pod in 0..self.workloads.at(ix.0).pods.len() as u32 {
            let pod = PodIx { workload: ix, pod };
            let Pod { node: Some(node), gpus, .. } = *self.pod(pod) else { continue };
            let Some(pool) = self.nodes.at(node.0).pool else { continue };
            let (cost, state) = (self.cost(self.kind_of(pod).0, node, gpus), *self.pod(pod));
            self.charge(new.queue, pool, (cost, !new.preemptible), &state, -1);
            self.charge(new.queue, pool, (cost, new.preemptible), &state, 1);
            self.org.loosen_path(new.queue, pool);
        }
    }

    /// What all pods do on nodes. One that is moved may leave the node on which it has room kept: it is there twice.
    fn seats(&self) -> Vec<(NodeIx, Stage, PodIx)> {
        let mut seats = Vec::new();
        for (slot, node) in self.nodes.iter() {
            let mut pods: Vec<PodIx> = node.pods.to_vec();
            pods.sort_unstable();
            pods.dedup();
            for pod in pods {
                let (state, moved) = (self.pod(pod), self.reservations.moved(pod));
                let here = |state: &&Pod| state.node == Some(NodeIx(slot));
                let stages = Some(state).into_iter().chain(moved).filter(here);
                seats.extend(stages.map(|state| (NodeIx(slot), state.stage, pod)));
            }
        }
        seats
    }

    /// Tells the nodes the new positions of pods that are on them; `moves` are positions before and after.
    fn renumber(&mut self, ix: WorkloadIx, pods: &[Pod], moves: &[(u32, u32)]) {
        self.renumber_leaving(ix, moves);
        let nodes: std::collections::BTreeSet<_> = pods.iter().filter_map(|p| p.node).collect();
        for node in nodes {
            self.nodes.at_mut(node.0).renumber(ix, moves);
            let listed = &mut self.nodes.at_mut(node.0).pods;
            listed.retain(|p| p.workload != ix);
            let here = pods.iter().enumerate().filter(|(_, p)| p.node == Some(node));
            listed.extend(here.map(|(pod, _)| PodIx { workload: ix, pod: pod as u32 }));
            if let Some(pool) = self.nodes.at(node.0).pool {
                for (before, after) in moves {
                    for pod in [*before, *after] {
                        self.victims.touch(pool, node, PodIx { workload: ix, pod });
                    }
                }
            }
        }
    }

    pub(crate) fn remove_workload(&mut self, id: WorkloadId) -> Applied {
        let ix = self.find_workload("workloadRemoved", id)?;
        self.dequeue(ix);
        self.forget_room_of(ix);
        self.count_presence(ix, -1);
        for pod in 0..self.workloads.at(ix.0).pods.len() as u32 {
            self.release(PodIx { workload: ix, pod });
        }
        self.count_workload(ix, -1);
        self.check_hold_of(ix);
        self.stale.forget(id);
        self.break_circles(ix);
        self.workloads.remove(ix.0);
        self.workload_ids.remove(&id);
        Ok(())
    }

    /// Takes a pod off its node for good: what it used is free for others.
    pub(crate) fn release(&mut self, pod: PodIx) {
        let Some(node) = self.pod(pod).node else { return };
        self.unseat(pod);
        self.forget_warnings(pod);
        self.disruption_confirmed(pod);
        self.forget_excess(pod);
        self.reservations.leaving.remove(&pod);
        self.gained(node);
        if let Some(pool) = self.nodes.at(node.0).pool {
            let project = self.templates.at(self.workloads.at(pod.workload.0).template).queue;
            self.org.loosen_path(project, pool);
        }
    }

    pub(crate) fn find_pod(&self, event: &'static str, id: PodId) -> Result<PodIx, EventError> {
        let workload = self.find_workload(event, id.workload)?;
        let template = self.templates.at(self.workloads.at(workload.0).template);
        let pod = template.position(id).ok_or_else(|| unknown(event, id))?;
        Ok(PodIx { workload, pod })
    }

    pub(crate) fn pod_running(&mut self, state: PodState) -> Applied {
        let pod = self.find_pod("podRunning", state.pod)?;
        let node = self.find_node("podRunning", state.node)?;
        let was = *self.pod(pod);
        if was.on_node() {
            let same = was.node == Some(node) && (state.gpus == GpuGrant::None || state.gpus == was.gpus);
            if !same {
                return Err(conflict(state.pod, "it is already on another node or on other devices"));
            }
            if was.since != state.since {
                self.reseat(pod, |was| was.since = state.since);
            }
        } else {
            if !matches!(was.stage, Stage::Waiting | Stage::Reserved) {
                return Err(conflict(state.pod, "it has ended"));
            }
            let gpus = self.grant_found(pod, node, &state)?;
            self.dequeue(pod.workload);
            self.give_up_room(pod);
            self.put(pod, node, gpus, state.since);
            self.tell_anew(pod.workload);
            self.enqueue(pod.workload);
        }
        self.note_starting(pod, state.starting);
        if let Some(until) = state.leaving {
            self.leaving(pod, until, state.evicted);
        }
        Ok(())
    }

    /// The devices of a pod that is found running: those stated, or any that are free.
    fn grant_found(&self, pod: PodIx, node: NodeIx, state: &PodState) -> Result<GpuGrant, EventError> {
        let request = self.shapes.at(self.kind_of(pod).0).gpu;
        let devices = self.nodes.at(node.0).devices_now();
        let mask = state.gpus.devices();
        if mask.is_empty() {
            let found = devices.any(request);
            return found
                .ok_or_else(|| conflict(state.pod, format!("{} has no free devices for it", state.node)));
        }
        self.check_grant(pod, node, state.pod, state.gpus)?;
        for index in mask.iter() {
            let device = devices.get(index);
            if device.whole() || (!request.is_fraction() && !device.idle()) {
                return Err(conflict(state.pod, format!("{} {index} is already taken (S16)", state.node)));
            }
        }
        Ok(state.gpus)
    }

    /// Checks that a grant is of the kind and number that the pod asks for.
    pub(crate) fn check_grant(
        &self,
        pod: PodIx,
        node: NodeIx,
        id: PodId,
        gpus: GpuGrant,
    ) -> Result<(), EventError> {
        let request = self.shapes.at(self.kind_of(pod).0).gpu;
        let (devices, mask) = (self.nodes.at(node.0).devices.len(), gpus.devices());
        let within = devices == 64 || mask.0 >> devices == 0;
        let shared = matches!(gpus, GpuGrant::Shared { .. });
        if !within || mask.count() != request.devices() || shared != request.is_fraction() {
            let allowed = format!("{} of the {devices} devices of the node", request.devices());
            return Err(invalid(id, "gpus", format!("{gpus:?}"), allowed));
        }
        Ok(())
    }

    /// Lets a workload wait for what it lacks now.
    pub(crate) fn requeue(&mut self, ix: WorkloadIx) {
        self.dequeue(ix);
        self.enqueue(ix);
    }

    /// The turns of a workload's groups change, while the second pass goes from one to the next.
    pub(crate) fn touch_turns(&mut self, ix: WorkloadIx) {
        let groups = self.workloads.at(ix.0).groups.iter();
        self.second.touched.extend(groups.map(|group| (*group, ix)));
    }

    /// Takes a workload out of all groups it waits in.
    pub(crate) fn dequeue(&mut self, ix: WorkloadIx) {
        let workload = self.workloads.at_mut(ix.0);
        let member = (workload.submitted, workload.id, ix);
        for group in std::mem::take(&mut workload.groups) {
            self.first_changes(group, member);
            self.waiting.leave(group, member);
            self.mark_waiting(group);
            if self.waiting.at(group).members.is_empty() {
                self.wake(group);
            }
            self.note_next_due(group);
        }
    }

    /// Enters a workload into the group of those who lack the same: all minimums at once, else one more pod of each
    /// role that may have more. A workload that can no longer reach its minimum, because pods have failed, waits for
    /// nothing.
    pub(crate) fn enqueue(&mut self, ix: WorkloadIx) {
        self.enter_groups(ix);
        self.check_hold_of(ix);
    }

    fn enter_groups(&mut self, ix: WorkloadIx) {
        self.second.stamp += 1;
        self.note_staleness(ix);
        let workload = self.workloads.at(ix.0);
        self.holds.some_declared |= workload.expected_runtime.is_some();
        let stays = |(at, pod): (usize, &Pod)| {
            let moved = self.reservations.moved(PodIx { workload: ix, pod: at as u32 });
            if pod.stays() { pod.node } else { moved?.node }
        };
        let staying = workload.pods.iter().enumerate().find_map(stays);
        let first = staying.or_else(|| workload.pods.iter().find(|p| p.on_node())?.node);
        let pool = first.and_then(|node| self.nodes.at(node.0).pool);
        let has_room = self.has_room(ix);
        let workload = self.workloads.at_mut(ix.0);
        workload.pool = pool;
        let pending = workload.pods.iter().any(|p| p.stage == Stage::Waiting);
        if !pending {
            return;
        }
        let template = self.templates.at(workload.template);
        if has_room && workload.lacks_minimum(template) {
            return;
        }
        let Some(missing) = workload.missing(template) else { return };
        let roles = template.roles.len();
        let (pool, of) = (workload.pool, workload.template);
        if missing.iter().any(|m| *m > 0) {
            let together = template.topology.is_some() && workload.pods.iter().any(Pod::on_node);
            let alone = together.then_some(workload.id);
            let runtime = WorkloadSpec::runtime_step(self.workloads.at(ix.0).expected_runtime);
            let key = GroupKey { template: of, pool, want: missing, elastic: false, alone, runtime };
            self.enter_group(ix, key);
            self.note_due(ix);
            return;
        }
        for role in 0..roles {
            let workload = self.workloads.at(ix.0);
            if workload.waiting(self.templates.at(of), role).next().is_some() {
                let mut want: SmallVec<[u32; 2]> = smallvec::smallvec![0; roles];
                want[role] = 1;
                let key = GroupKey { template: of, pool, want, elastic: true, alone: None, runtime: None };
                self.enter_group(ix, key);
            }
        }
    }

    fn enter_group(&mut self, ix: WorkloadIx, key: GroupKey) {
        let group = self.waiting.find(&key).unwrap_or_else(|| {
            let template = self.templates.at(key.template);
            let (queue, priority) = (template.queue, template.priority);
            self.waiting.add(key, queue, priority)
        });
        let workload = self.workloads.at_mut(ix.0);
        workload.groups.push(group);
        let member = (workload.submitted, workload.id, ix);
        let workload = self.workloads.at(ix.0);
        let (key, template) = (&self.waiting.at(group).key, self.templates.at(workload.template));
        let counted = |role: usize| !key.elastic || key.want[role] > 0;
        let waits = (0..template.roles.len())
            .map(|role| if counted(role) { workload.waiting(template, role).count() as u32 } else { 0 });
        let waits = waits.collect();
        self.waiting.join(group, member, waits);
        self.first_changes(group, member);
        self.mark_waiting(group);
    }

    /// What a parked group was refused in the second pass was refused its first member; if that was alone, as one who may
    /// stop fewer than others (S25).
    fn first_changes(&mut self, group: GroupIx, member: Member) {
        let state = self.waiting.at(group);
        let first = state.members.first_key_value().map(|(member, _)| *member);
        let spares = |(_, _, first): Member| !self.may_not_stop(first).is_empty();
        let is_first = first == Some(member);
        if state.verdict.is_some() && (is_first || (state.members.len() == 2 && first.is_some_and(spares))) {
            self.second.rests.wake_anew(group);
        }
    }

    /// What waits in a group has changed.
    fn mark_waiting(&mut self, group: crate::ix::GroupIx) {
        let queue = self.waiting.at(group).queue;
        let pools: SmallVec<[crate::ix::PoolIx; 4]> = self.pools_of(group).collect();
        for pool in pools {
            self.mark_demand(queue, pool);
        }
    }
}

/// A mandatory node type is one more label that the node must have (S11).
fn with_node_type(pod: &Arc<PodSpec>, node_type: Option<&(String, String)>) -> Arc<PodSpec> {
    match node_type {
        None => pod.clone(),
        Some((key, value)) => {
            let mut spec = PodSpec::clone(pod);
            spec.node_selector.insert(key.clone(), value.clone());
            Arc::new(spec)
        }
    }
}

/// True if pods of both specs take the same of a node and say the same about other pods.
fn takes_the_same(a: &PodSpec, b: &PodSpec) -> bool {
    let taken = |p: &PodSpec| (p.gpu, p.requests.clone(), p.host_ports.clone(), p.volumes.clone());
    let said = |p: &PodSpec| (p.pod_affinity.clone(), p.pod_anti_affinity.clone(), p.topology_spread.clone());
    taken(a) == taken(b) && said(a) == said(b)
}
