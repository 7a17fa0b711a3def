//! The allocation loop: whose turn it is, which pool, and all minimums or nothing (S5, S6, S8 to S10).
//!
//! Each turn takes the first group in S8/S9 order and tries to start its first member, pool by pool. Success places the
//! pods; failure parks the whole group with a verdict per pool. Either way the loop gets shorter, so a call ends.
//! Costs: one attempt costs the pods placed or tried, each a bounded number of candidates; a group that is parked costs
//! nothing until it wakes (S30).

use crate::Engine;
use crate::choose::Scope;
use crate::device::charge;
use crate::ix::{GroupIx, PodIx, PoolIx, QueueIx};
use crate::node::slots;
use crate::org::{Shut, Triple, resource};
use crate::park::Unblock;
use crate::waiting::{QueueKey, Said};
use crate::workload::Template;
use berth_model::{
    Budget, Constraint, Decision, GpuRequest, Placement, PolicyReason, PoolState, Reason, ReasonKind,
};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Why a group cannot start in a pool, and what would unblock it.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) unblock: SmallVec<[Unblock; 2]>,
}

impl Refusal {
    fn new(reason: Reason, unblock: Unblock) -> Self {
        Self { reason, unblock: SmallVec::from_slice(&[unblock]) }
    }
}

impl Engine {
    /// Starts whatever can start with what is free, in order, without stopping anybody.
    pub(crate) fn allocate(&mut self, budget: Budget, decisions: &mut Vec<Decision>) {
        let busy: Vec<QueueIx> = self.waiting.busy().collect();
        for project in busy {
            self.rank(project);
        }
        for _ in 0..budget.steps {
            let Some(group) = self.waiting.next() else { break };
            let project = self.waiting.at(group).queue;
            self.attempt(group, decisions);
            self.rank(project);
        }
    }

    /// Brings the places of a project and its department in line with their next group and what they use (S8).
    fn rank(&mut self, project: QueueIx) {
        let department = *self.org.at(project).path.last().expect("a path");
        let key = self.waiting.head(project).map(|group| self.queue_key(project, group));
        self.waiting.rank_project(department, project, key);
        let head = self.waiting.first_of(department).and_then(|project| self.waiting.head(project));
        let key = head.map(|group| self.queue_key(department, group));
        self.waiting.rank_department(department, key);
    }

    fn queue_key(&mut self, queue: QueueIx, group: GroupIx) -> QueueKey {
        let (ask, pool) = self.first_ask(group);
        let group = self.waiting.at(group);
        let (submitted, workload, _) = *group.members.first().expect("an active group has members");
        let over_quota = pool.is_some_and(|pool| !self.org.in_pool(queue, pool).within_quota(ask));
        QueueKey { over_quota, rank: Reverse(self.org.at(queue).rank), submitted, workload }
    }

    /// What the group asks for in the first pool of its order, remembered while it has that first pool.
    fn first_ask(&mut self, ix: GroupIx) -> (Triple, Option<PoolIx>) {
        let group = self.waiting.at(ix);
        let template = self.templates.at(group.key.template);
        let project = &self.org.at(template.queue).pools;
        let first = group.key.pool.or_else(|| self.pools.order(&template.pools, project).next());
        if first != group.first_pool
            && let Some(pool) = first
        {
            let ask = self.ask(template, &group.key.want, pool);
            let group = self.waiting.at_mut(ix);
            (group.ask, group.first_pool) = (ask, first);
        }
        (self.waiting.at(ix).ask, first)
    }

    /// What `want` asks of the quotas in a pool. MiB of a device are charged by the device (S13), which is not chosen
    /// yet: the largest device of the pool, that is the least charge, counts.
    pub(crate) fn ask(&self, template: &Template, want: &[u32], pool: PoolIx) -> Triple {
        let mut ask = [0; 3];
        for (role, want) in template.roles.iter().zip(want).filter(|(_, want)| **want > 0) {
            let shape = self.shapes.at(role.shape);
            let total = match shape.gpu {
                GpuRequest::Memory { .. } => {
                    let classes = self.classes.of_pool(pool).iter();
                    classes
                        .flat_map(|c| self.classes.at(*c).empty.devices.iter().map(|d| d.total))
                        .max()
                        .unwrap_or(1)
                }
                _ => 1,
            };
            let gpu = charge(shape.gpu, total).0 * i64::from(shape.gpu.devices());
            crate::org::add(&mut ask, [gpu, shape.cpu, shape.memory], i64::from(*want));
        }
        ask
    }

    /// Tries to start the first member of a group: places it, or parks the group.
    fn attempt(&mut self, group: GroupIx, decisions: &mut Vec<Decision>) {
        let key = &self.waiting.at(group).key;
        let template = self.templates.at(key.template);
        if let Some(policy) = self.policy(template) {
            let said = vec![Said { pool: Default::default(), reason: Reason::Policy(policy) }];
            return self.park(group, said, 0, &[Unblock::Owner]);
        }
        let project = &self.org.at(template.queue).pools;
        let pools: SmallVec<[PoolIx; 4]> = match key.pool {
            Some(pool) => SmallVec::from_slice(&[pool]),
            None => self.pools.order(&template.pools, project).collect(),
        };
        let mut said = Vec::new();
        let mut unblocks: SmallVec<[Unblock; 4]> = SmallVec::new();
        for pool in pools {
            match self.try_pool(group, pool) {
                Ok(()) => return self.commit(group, decisions),
                Err(refusal) => {
                    unblocks.extend(refusal.unblock);
                    said.push(Said { pool: self.pools.spec(pool).id, reason: refusal.reason });
                }
            }
        }
        if said.is_empty() {
            let reason = Reason::Pool { pool: None, state: PoolState::Empty };
            said.push(Said { pool: Default::default(), reason });
        }
        let dominant = nearest(&said);
        self.park(group, said, dominant, &unblocks);
    }

    /// A rule of the administrator, or a gate, that keeps the workload from being scheduled at all (S11).
    fn policy(&self, template: &Template) -> Option<PolicyReason> {
        let rule = self.org.at(template.queue).path.iter().find_map(|q| self.org.at(*q).node_types.as_ref());
        if let Some(rule) = rule {
            let (key, allowed) = (rule.key.clone(), rule.values.clone());
            match &template.node_type {
                None => return Some(PolicyReason::NodeTypeMissing { key, allowed }),
                Some(value) if !rule.values.iter().any(|v| **v == **value) => {
                    return Some(PolicyReason::NodeTypeRefused { key, value: value.to_string(), allowed });
                }
                Some(_) => {}
            }
        }
        let gates = |shape| self.shapes.at(shape).spec.scheduling_gates.iter().cloned();
        let mut gates: Vec<String> = template.roles.iter().flat_map(|r| gates(r.shape)).collect();
        gates.sort();
        gates.dedup();
        (!gates.is_empty()).then_some(PolicyReason::Gated { gates })
    }

    /// Tries to place all that the first member of the group wants into a pool. On failure nothing has changed.
    fn try_pool(&mut self, group: GroupIx, pool: PoolIx) -> Result<(), Refusal> {
        let id = self.pools.spec(pool).id;
        if self.pools.at(pool).usable == 0 {
            let state = if self.pools.at(pool).nodes == 0 { PoolState::Empty } else { PoolState::NotReady };
            return Err(Refusal::new(Reason::Pool { pool: Some(id), state }, Unblock::Structure(pool)));
        }
        let key = &self.waiting.at(group).key;
        let (template, want) = (key.template, key.want.clone());
        let template = self.templates.at(template);
        let ask = self.ask(template, &want, pool);
        if let Err(shut) = self.org.gate(template.queue, pool, ask, template.preemptible) {
            return Err(self.shut(shut, pool, ask, ask));
        }
        match template.topology.clone().filter(|_| !self.waiting.at(group).key.elastic) {
            None => self.try_scope(group, pool, &want, Scope::Everywhere),
            Some(topology) => self.try_domains(group, pool, &want, &topology),
        }
    }

    /// A gate that is shut, as a refusal. `ask` is what the workload asks for, `request` what did not pass.
    fn shut(&self, shut: Shut, pool: PoolIx, ask: Triple, request: Triple) -> Refusal {
        let queue = self.org.at(shut.queue).id.expect("unmanaged queues have no gates");
        let (pool_id, asked) = (self.pools.spec(pool).id, ask[shut.resource]);
        let (resource, used) = (resource(shut.resource), shut.used);
        let reason = if shut.limit {
            Reason::Limit { queue, pool: pool_id, resource, limit: shut.bound, used, asked }
        } else {
            Reason::Quota { queue, pool: pool_id, resource, quota: shut.bound, used, asked }
        };
        Refusal::new(reason, Unblock::Queue(shut.queue, pool, request))
    }

    /// Tries the domains of a topology level one after the other, the one with the least room that suffices first
    /// (S31); if the level is only preferred, then the whole pool.
    fn try_domains(
        &mut self,
        group: GroupIx,
        pool: PoolIx,
        want: &[u32],
        topology: &berth_model::TopologyRequest,
    ) -> Result<(), Refusal> {
        let (level, _) = self.topologies.intern(&topology.key);
        for domain in self.domains_with_room(group, pool, want, level) {
            if self.try_scope(group, pool, want, Scope::Domain(level, domain)).is_ok() {
                return Ok(());
            }
        }
        if !topology.required {
            return self.try_scope(group, pool, want, Scope::Everywhere);
        }
        // Would it fit without the requirement? If not, that is the nearer reason.
        match self.try_scope(group, pool, want, Scope::Everywhere) {
            Err(refusal) => Err(refusal),
            Ok(()) => {
                self.roll_back();
                let nodes = self.pools.at(pool).nodes;
                let failed = vec![(Constraint::Topology, nodes)];
                let reason = Reason::Feasibility { pool: self.pools.spec(pool).id, role: 0, nodes, failed };
                Err(Refusal::new(reason, Unblock::Any(pool)))
            }
        }
    }

    /// Places what the first member of the group wants within a scope, hardest role first, or changes nothing.
    fn try_scope(&mut self, group: GroupIx, pool: PoolIx, want: &[u32], scope: Scope) -> Result<(), Refusal> {
        debug_assert!(self.trial.is_empty());
        let (_, _, workload) = *self.waiting.at(group).members.first().expect("an active group has members");
        let ix = self.workloads.at(workload.0).template;
        let roles = self.hardest_first(ix, want);
        for (at, role) in roles.iter().copied().enumerate() {
            let template = self.templates.at(ix);
            let (shape, preemptible, queue) =
                (template.roles[role].shape, template.preemptible, template.queue);
            let pods: SmallVec<[u32; 8]> =
                self.workloads.at(workload.0).waiting(template, role).take(want[role] as usize).collect();
            for (placed, pod) in pods.into_iter().enumerate() {
                let pod = PodIx { workload, pod };
                let refusal = match self.choose(pod, pool, scope) {
                    None => self.no_room(pod, pool, (placed as u32, want[role]), at > 0, want),
                    Some(choice) => {
                        let cost = self.cost(shape, choice.node, choice.gpus);
                        match self.org.gate(queue, pool, cost, preemptible) {
                            Err(shut) => {
                                self.shut(shut, pool, self.ask(self.templates.at(ix), want, pool), cost)
                            }
                            Ok(()) => {
                                self.put(pod, choice.node, choice.gpus, self.now);
                                self.trial.push(pod);
                                continue;
                            }
                        }
                    }
                };
                self.roll_back();
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// The roles that want pods, those with the most devices per pod first, then the most CPU.
    fn hardest_first(&self, template: crate::ix::TemplateIx, want: &[u32]) -> SmallVec<[usize; 2]> {
        let template = self.templates.at(template);
        let mut roles: SmallVec<[usize; 2]> = (0..want.len()).filter(|r| want[*r] > 0).collect();
        roles.sort_by_key(|r| {
            let shape = self.shapes.at(template.roles[*r].shape);
            (Reverse(charge(shape.gpu, 1).0 * i64::from(shape.gpu.devices())), Reverse(shape.cpu), *r)
        });
        roles
    }

    /// The verdict when a pod finds no node: the state is still that of the trial, `placed` pods of its role are in.
    fn no_room(
        &self,
        pod: PodIx,
        pool: PoolIx,
        (placed, wanted): (u32, u32),
        others_placed: bool,
        all: &[u32],
    ) -> Refusal {
        let id = self.pools.spec(pool).id;
        let kind = self.kind_of(pod);
        let role = self.templates.at(self.workloads.at(pod.workload.0).template).role_of(pod.pod).0;
        let nodes = self.pools.at(pool).nodes;
        if self.classes.tiers(kind.0, pool).is_empty() {
            let failed = self.failed_constraints(kind.0, pool);
            let reason = Reason::Feasibility { pool: id, role, nodes, failed };
            return Refusal::new(reason, Unblock::Structure(pool));
        }
        let about_pods = !self.neighbours.idle();
        if (about_pods || self.shapes.at(kind.0).local)
            && let Some(failed) = self.forbidden_everywhere(kind, pool, &self.floors(kind.0))
        {
            return Refusal::new(Reason::Feasibility { pool: id, role, nodes, failed }, Unblock::Everywhere);
        }
        let (closest, missing) = self.closest(kind.0, pool);
        let reason = Reason::Capacity { pool: id, role, placed, wanted, closest, missing };
        let several = all.iter().filter(|w| **w > 0).count() > 1;
        let unblock = match self.shapes.at(kind.0).local {
            _ if about_pods => Unblock::Everywhere,
            true => Unblock::Any(pool),
            false if several && others_placed => Unblock::Any(pool),
            false => Unblock::Room(pool, kind.0, i64::from(wanted - placed)),
        };
        Refusal::new(reason, unblock)
    }

    /// Turns the trial under way into decisions, and lets the workload wait for what it lacks next.
    fn commit(&mut self, group: GroupIx, decisions: &mut Vec<Decision>) {
        let (_, _, workload) = *self.waiting.at(group).members.first().expect("an active group has members");
        let trial = std::mem::take(&mut self.trial);
        for pod in &trial {
            let placed = self.pod(*pod);
            if let Some(node) = placed.node {
                let at = Placement { node: self.nodes.at(node.0).spec.id, gpus: placed.gpus };
                decisions.push(Decision::Place { pod: self.pod_id(*pod), at });
            }
        }
        self.trial = trial;
        self.trial.clear();
        self.workloads.at_mut(workload.0).reported = 0;
        self.requeue(workload);
    }

    /// Tells every workload whose reason is new or of another kind than before why it waits (S29).
    pub(crate) fn report(&mut self, decisions: &mut Vec<Decision>) {
        for ix in std::mem::take(&mut self.waiting.to_report) {
            let group = self.waiting.at_mut(ix);
            let untold = std::mem::take(&mut group.unreported);
            let Some((said, dominant)) = &group.verdict else { continue };
            let reason = said[*dominant].reason.clone();
            for workload in untold {
                let Some(workload) = self.workloads.get_mut(workload.0) else { continue };
                let kind = reason.kind() as u8 + 1;
                if workload.reported != kind {
                    workload.reported = kind;
                    decisions.push(Decision::Report { workload: workload.id, reason: reason.clone() });
                }
            }
        }
    }

    /// The domains of a level in which every role finds room for all it wants by itself, least free GPUs first.
    fn domains_with_room(
        &self,
        group: GroupIx,
        pool: PoolIx,
        want: &[u32],
        level: crate::ix::TopologyIx,
    ) -> Vec<u32> {
        let template = self.templates.at(self.waiting.at(group).key.template);
        let strategy = self.pools.spec(pool).device;
        let topology = self.topologies.at(level);
        let mut found: Vec<(i64, &str, u32)> = Vec::new();
        for domain in 0..topology.len() {
            let here = topology.nodes[domain].iter().map(|n| self.nodes.at(n.0));
            let here: Vec<_> = here.filter(|n| n.usable() && n.pool == Some(pool)).collect();
            let fits = template.roles.iter().zip(want).all(|(role, want)| {
                let shape = self.shapes.at(role.shape);
                let room: i64 = here.iter().map(|n| slots(&n.free, &n.devices, shape, strategy)).sum();
                room >= i64::from(*want)
            });
            if fits {
                let free = here.iter().map(|n| i64::from(n.devices.free.count())).sum();
                found.push((free, &topology.values[domain], domain as u32));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, domain)| domain).collect()
    }
}

/// The position of the verdict of the pool nearest to starting (S29): of those that lack least in kind, the first.
fn nearest(said: &[Said]) -> usize {
    let distance = |s: &Said| match s.reason.kind() {
        ReasonKind::Waiting => 0,
        ReasonKind::Capacity => 1,
        ReasonKind::Limit => 2,
        ReasonKind::Quota => 3,
        ReasonKind::Feasibility => 4,
        ReasonKind::Pool => 5,
        ReasonKind::Policy => 6,
    };
    (0..said.len()).min_by_key(|at| distance(&said[*at])).unwrap_or(0)
}
