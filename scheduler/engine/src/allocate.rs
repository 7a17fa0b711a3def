//! The allocation loop: whose turn it is, which pool, and all minimums or nothing (S5, S6, S8 to S10).
//!
//! Each turn takes the first group in S8/S9 order and tries to start its first member, pool by pool. Success places the
//! pods; failure parks the whole group with a verdict per pool. Either way the loop gets shorter, so a call ends.
//! Costs: one attempt costs the pods placed or tried, each a bounded number of candidates; a group that is parked costs
//! nothing until it wakes (S30).

use crate::Engine;
use crate::choose::{Choice, Scope};
use crate::device::charge;
use crate::ix::{GroupIx, NodeIx, PodIx, PoolIx, QueueIx};
use crate::org::Triple;
use crate::park::Unblock;
use crate::place::Step;
use crate::rest::{Hope, Means};
use crate::verdict::{Refusal, nearest};
use crate::waiting::Said;
use crate::workload::Template;
use berth_model::{Budget, Cause, Decision, GpuRequest, NodeId, Placement, PoolState, Reason, ReasonKind};
use smallvec::SmallVec;
use std::cmp::Reverse;

impl Engine {
    /// Starts whatever can start with what is free, in order, without stopping anybody.
    pub(crate) fn allocate(&mut self, budget: Budget, decisions: &mut Vec<Decision>) {
        if self.waiting.turns.is_empty() {
            return;
        }
        self.order_turns();
        for _ in 0..budget.steps {
            let Some(group) = self.waiting.turns.next() else { break };
            let project = self.waiting.at(group).queue;
            self.attempt(group, decisions);
            self.next_turn(project);
        }
    }

    /// Orders all queues that have anything to try.
    fn order_turns(&mut self) {
        let mut turns = std::mem::take(&mut self.waiting.turns);
        self.rank_all(&mut turns);
        self.waiting.turns = turns;
    }

    /// Something about a project's groups, or what it uses, has changed.
    pub(crate) fn next_turn(&mut self, project: QueueIx) {
        let mut turns = std::mem::take(&mut self.waiting.turns);
        self.rank(&mut turns, project);
        self.waiting.turns = turns;
    }

    /// The pools that a group tries, in order (S10). Others of the workload may bind it to one pool; that may be one it
    /// may not use, since nodes can change their pool.
    pub(crate) fn nth_pool(&self, group: GroupIx, at: usize) -> Option<PoolIx> {
        self.pools_of(group).nth(at)
    }

    /// As [`Self::nth_pool`]: all of them.
    pub(crate) fn pools_of(&self, group: GroupIx) -> impl Iterator<Item = PoolIx> + '_ {
        let key = &self.waiting.at(group).key;
        let template = self.templates.at(key.template);
        let order = self.pools.order(&template.pools, &self.org.at(template.queue).pools);
        let mut once = key.pool.is_some();
        order.filter(move |pool| match key.pool {
            None => true,
            Some(only) => *pool == only && std::mem::take(&mut once),
        })
    }

    pub(crate) fn asks_for_memory(&self, template: &Template) -> bool {
        template.roles.iter().any(|role| matches!(self.shapes.at(role.shape).gpu, GpuRequest::Memory { .. }))
    }

    /// What `want` asks of the quotas in a pool. MiB of a device are charged by the device (S13), which is not chosen
    /// yet: the largest device of the pool, that is the least charge, counts; without any device, none.
    pub(crate) fn ask(&self, template: &Template, want: &[u32], pool: PoolIx) -> Triple {
        self.ask_of(template, want.iter().map(|want| i64::from(*want)), pool)
    }

    /// As [`Self::ask`], for any number of pods per role.
    pub(crate) fn ask_of(
        &self,
        template: &Template,
        pods: impl Iterator<Item = i64>,
        pool: PoolIx,
    ) -> Triple {
        let mut ask = [0; 3];
        for (role, pods) in template.roles.iter().zip(pods).filter(|(_, pods)| *pods > 0) {
            let shape = self.shapes.at(role.shape);
            let total = match shape.gpu {
                GpuRequest::Memory { .. } => {
                    let classes = self.classes.of_pool(pool).iter().map(|c| self.classes.at(*c));
                    let there = classes.filter(|c| !c.nodes.is_empty());
                    there.flat_map(|c| c.empty.devices.iter().map(|d| d.total)).max()
                }
                _ => Some(1),
            };
            let gpu = total.map_or(0, |total| charge(shape.gpu, total).0 * i64::from(shape.gpu.devices()));
            crate::org::add(&mut ask, [gpu, shape.cpu, shape.memory], pods);
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
        let mut said = Vec::new();
        let mut unblocks: SmallVec<[Unblock; 4]> = SmallVec::new();
        for at in 0.. {
            let Some(pool) = self.nth_pool(group, at) else { break };
            match self.try_pool(group, pool) {
                Ok(()) => return self.commit(group, decisions),
                Err(refusal) => {
                    unblocks.extend(refusal.unblock);
                    said.push(Said { pool: self.pools.spec(pool).id, reason: *refusal.reason });
                }
            }
        }
        self.second.rests.wake_anew(group);
        if self.fits_later(group).is_some() {
            return self.keep_leaving(group, decisions);
        }
        self.consider_hold(group, &said);
        if said.is_empty() {
            let reason = Reason::Pool { pool: None, state: PoolState::Empty };
            said.push(Said { pool: Default::default(), reason });
        }
        let dominant = nearest(&said);
        self.park(group, said, dominant, &unblocks);
    }

    /// The first pool in which the first member of a group would fit if all leaving pods were gone and all that have room
    /// kept were there (S23). The trial is left as it is then.
    pub(crate) fn fits_later(&mut self, group: GroupIx) -> Option<PoolIx> {
        let pools: SmallVec<[PoolIx; 4]> = self.pools_of(group).collect();
        pools
            .into_iter()
            .find(|pool| !self.refusal_stands(group, *pool, Means::Later) && self.fits_later_in(group, *pool))
    }

    /// As [`Self::fits_later`], in one pool.
    fn fits_later_in(&mut self, group: GroupIx, pool: PoolIx) -> bool {
        if !self.later_differs(pool) {
            // A pod that begins to leave wakes whoever hopes for anything there.
            self.refuse(group, pool, Means::Later, None);
            return false;
        }
        let kind = self.kind_wanted(group);
        if !kind.as_ref().is_some_and(|kind| self.no_room_later(pool, kind)) {
            let bound = self.heed_hold(group, pool, false);
            self.lift_leaving(pool);
            let Err(refusal) = self.try_bound(group, pool, bound) else { return true };
            self.roll_back();
            if let Some(kind) = kind.filter(|_| refusal.reason.kind() == ReasonKind::Capacity) {
                self.note_no_room_later(pool, kind);
            }
        }
        self.refuse(group, pool, Means::Later, Some(Hope::Pool(pool)));
        false
    }

    /// Keeps the room of the trial under way until the leaving pods are gone that it counts on.
    pub(crate) fn keep_leaving(&mut self, group: GroupIx, decisions: &mut Vec<Decision>) {
        let (_, _, workload) = self.waiting.at(group).first().expect("an active group has members");
        let outcome = self.conclude(workload);
        self.keep_room(workload, &outcome, Cause::Reclaim, decisions);
    }

    /// Tries to place all that the first member of the group wants into a pool, and leaves alone the room that is held
    /// for others. On failure nothing has changed.
    pub(crate) fn try_pool(&mut self, group: GroupIx, pool: PoolIx) -> Result<(), Refusal> {
        let bound = self.heed_hold(group, pool, true);
        self.try_bound(group, pool, bound)
    }

    /// As [`Self::try_pool`], if it is known whether the group must leave anything alone.
    fn try_bound(&mut self, group: GroupIx, pool: PoolIx, bound: bool) -> Result<(), Refusal> {
        if !bound {
            return self.try_pool_freely(group, pool);
        }
        let mark = self.trial.len();
        if self.try_pool_freely(group, pool).is_ok() {
            return Ok(());
        }
        self.show_all();
        self.try_pool_freely(group, pool)?;
        self.roll_back_to(mark);
        Err(self.held_back(group, pool))
    }

    /// As [`Self::try_pool`], wherever there is room.
    pub(crate) fn try_pool_freely(&mut self, group: GroupIx, pool: PoolIx) -> Result<(), Refusal> {
        let id = self.pools.spec(pool).id;
        if self.pools.at(pool).usable == 0 {
            let state = if self.pools.at(pool).nodes == 0 { PoolState::Empty } else { PoolState::NotReady };
            return Err(Refusal::new(Reason::Pool { pool: Some(id), state }, Unblock::Structure(pool)));
        }
        let waiting = self.waiting.at(group);
        let want = waiting.key.want.clone();
        let template = self.templates.at(waiting.key.template);
        let known = waiting.ask.filter(|(first, _)| *first == pool);
        let ask = known.map_or_else(|| self.ask(template, &want, pool), |(_, ask)| ask);
        if let Err(shut) = self.org.gate(template.queue, pool, ask, template.preemptible) {
            let mut refusal = self.shut(shut, template.queue, pool, ask, ask);
            if self.asks_for_memory(template) {
                // What MiB come to depends on the devices the pool has.
                refusal.unblock.push(Unblock::Structure(pool));
            }
            return Err(refusal);
        }
        match template.topology.clone().filter(|_| !waiting.key.elastic) {
            None => self.try_scope(group, pool, &want, Scope::Everywhere),
            Some(topology) => self.try_domains(group, pool, &want, &topology),
        }
    }

    /// Places what the first member of the group wants within a scope, hardest role first, or changes nothing.
    pub(crate) fn try_scope(
        &mut self,
        group: GroupIx,
        pool: PoolIx,
        want: &[u32],
        scope: Scope,
    ) -> Result<(), Refusal> {
        let mark = self.trial.len();
        let (_, _, workload) = self.waiting.at(group).first().expect("an active group has members");
        let ix = self.workloads.at(workload.0).template;
        let roles = self.hardest_first(ix, want);
        for (at, role) in roles.iter().copied().enumerate() {
            let template = self.templates.at(ix);
            let pods: SmallVec<[u32; 8]> =
                self.workloads.at(workload.0).waiting(template, role).take(want[role] as usize).collect();
            for (placed, pod) in pods.into_iter().enumerate() {
                let pod = PodIx { workload, pod };
                let chosen = self.choose(pod, pool, scope).or_else(|| self.beside_hold(pod, pool, scope));
                let refusal = match chosen {
                    None => self.no_room(pod, pool, (placed as u32, want[role]), at > 0, want),
                    Some(choice) => match self.through_gates(pod, choice, (pool, scope), want) {
                        Err(shut) => shut,
                        Ok(choice) => {
                            self.try_put(pod, choice.node, choice.gpus);
                            continue;
                        }
                    },
                };
                self.roll_back_to(mark);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// The gates once the devices are known: only MiB of a device are charged by the device (S13), all else has passed. If
    /// the chosen ones do not pass, others may that are charged less.
    fn through_gates(
        &mut self,
        pod: PodIx,
        choice: Choice,
        (pool, scope): (PoolIx, Scope),
        want: &[u32],
    ) -> Result<Choice, Refusal> {
        let shape = self.kind_of(pod).0;
        let of = self.workloads.at(pod.workload.0).template;
        if !self.asks_for_memory(self.templates.at(of)) {
            return Ok(choice);
        }
        let cost = self.cost(shape, choice.node, choice.gpus);
        let template = self.templates.at(of);
        let Err(shut) = self.org.gate(template.queue, pool, cost, template.preemptible) else {
            return Ok(choice);
        };
        if let Some(choice) = self.cheapest_through_gates(pod, pool, scope) {
            return Ok(choice);
        }
        let template = self.templates.at(of);
        let ask = self.ask(template, want, pool);
        let mut refusal = self.shut(shut, template.queue, pool, ask, cost);
        // MiB of another device may come to less.
        refusal.unblock.push(Unblock::Everywhere);
        Err(refusal)
    }

    /// The node that takes a pod whose devices are charged least, then with the smallest id, if that passes the gates. Costs a
    /// look at every node of the pool; only where devices of a pool differ in memory does anybody come here.
    fn cheapest_through_gates(&mut self, pod: PodIx, pool: PoolIx, scope: Scope) -> Option<Choice> {
        let kind = self.kind_of(pod);
        let (gpu, strategy) = (self.shapes.at(kind.0).gpu, self.pools.spec(pool).device);
        let template = self.workloads.at(pod.workload.0).template;
        let there = self.nodes.iter().filter(|(_, node)| node.pool == Some(pool));
        let there: Vec<(NodeId, NodeIx)> = there.map(|(ix, node)| (node.id, NodeIx(ix))).collect();
        let mut best: Option<(i64, NodeId, Choice)> = None;
        for (id, node) in there {
            if self.is_held_from_others(node) || !self.could_take(kind, pool, scope, node) {
                continue;
            }
            let Some(gpus) = self.nodes.at(node.0).devices.choose(gpu, strategy) else { continue };
            let cost = self.cost(kind.0, node, gpus);
            let template = self.templates.at(template);
            let better = best.as_ref().is_none_or(|(charge, other, _)| (cost[0], id) < (*charge, *other));
            if better
                && self.org.gate(template.queue, pool, cost, template.preemptible).is_ok()
                && self.accepts(kind, pool, node)
            {
                best = Some((cost[0], id, Choice { node, gpus }));
            }
        }
        best.map(|(_, _, choice)| choice)
    }

    /// The roles that want pods, those with the most devices per pod first, then the most CPU.
    pub(crate) fn hardest_first(
        &self,
        template: crate::ix::TemplateIx,
        want: &[u32],
    ) -> SmallVec<[usize; 2]> {
        let template = self.templates.at(template);
        let mut roles: SmallVec<[usize; 2]> = (0..want.len()).filter(|r| want[*r] > 0).collect();
        if roles.len() == 1 {
            return roles;
        }
        roles.sort_by_key(|r| {
            let shape = self.shapes.at(template.roles[*r].shape);
            (Reverse(charge(shape.gpu, 1).0 * i64::from(shape.gpu.devices())), Reverse(shape.cpu), *r)
        });
        roles
    }

    /// Turns the trial under way into decisions, and lets the workload wait for what it lacks next.
    fn commit(&mut self, group: GroupIx, decisions: &mut Vec<Decision>) {
        let (_, _, workload) = self.waiting.at(group).first().expect("an active group has members");
        let trial = std::mem::take(&mut self.trial);
        for step in &trial {
            let Step::Put(pod) = *step else { continue };
            self.second.fresh.push(pod);
            self.note_starting(pod, true);
            let placed = *self.pod(pod);
            if let Some(node) = placed.node {
                let at = Placement { node: self.nodes.at(node.0).id, gpus: placed.gpus };
                decisions.push(Decision::Place { pod: self.pod_id(pod), at });
                if let Some(pool) = self.nodes.at(node.0).pool {
                    self.pools.shift(pool);
                }
            }
        }
        self.trial = trial;
        self.trial.clear();
        self.tell_anew(workload);
        self.requeue(workload);
        self.wake_neighbours();
    }
}
