//! Workloads that want their minimums in one topology domain: a rack, an NVLink domain, a zone (S31).
//!
//! Costs: every domain of the level in the pool is asked once how many pods of each role it can take, O(nodes); then the
//! fitting ones are tried, the one with the least free GPUs first, which keeps the large ones whole.

use crate::Engine;
use crate::choose::Scope;
use crate::ix::{GroupIx, PoolIx, TopologyIx, WorkloadIx};
use crate::node::slots;
use crate::park::Unblock;
use crate::verdict::Refusal;
use crate::workload::{Pod, Stage};
use berth_model::{Constraint, Reason};

impl Engine {
    /// Tries the domains of a topology level one after the other, the one with the least room that suffices first
    /// (S31); if the level is only preferred, then the whole pool.
    pub(crate) fn try_domains(
        &mut self,
        group: GroupIx,
        pool: PoolIx,
        want: &[u32],
        topology: &berth_model::TopologyRequest,
    ) -> Result<(), Refusal> {
        let mark = self.trial.len();
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
                self.roll_back_to(mark);
                let nodes = self.pools.at(pool).nodes;
                let failed = vec![(Constraint::Topology, nodes)];
                let reason = Reason::Feasibility { pool: self.pools.spec(pool).id, role: 0, nodes, failed };
                Err(Refusal::new(reason, Unblock::Any(pool)))
            }
        }
    }

    /// The domains of a level in a pool in which the wanted pods of a workload would complete its minimums, least free
    /// GPUs first.
    pub(crate) fn domains_that_complete(
        &self,
        workload: WorkloadIx,
        pool: PoolIx,
        want: &[u32],
        level: TopologyIx,
    ) -> Vec<u32> {
        let topology = self.topologies.at(level);
        let mut found: Vec<(i64, &str, u32)> = Vec::new();
        for domain in 0..topology.len() {
            let here = topology.nodes[domain].iter().map(|node| self.nodes.at(node.0));
            let mut here = here.filter(|node| node.usable() && node.pool == Some(pool)).peekable();
            if here.peek().is_some() && self.would_complete(workload, want, level, domain as u32) {
                let free = here.map(|node| i64::from(node.devices.free.count())).sum();
                found.push((free, &topology.values[domain], domain as u32));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, domain)| domain).collect()
    }

    /// True if the wanted pods in the domain, with those of the workload that are there, are all its minimums (S31).
    fn completes(&self, group: GroupIx, want: &[u32], level: TopologyIx, domain: u32) -> bool {
        let first = self.waiting.at(group).first();
        first.is_some_and(|(_, _, workload)| self.would_complete(workload, want, level, domain))
    }

    fn would_complete(&self, workload: WorkloadIx, want: &[u32], level: TopologyIx, domain: u32) -> bool {
        let workload = self.workloads.at(workload.0);
        let template = self.templates.at(workload.template);
        let counts = |pod: &&Pod| match (pod.stage, pod.node) {
            (Stage::Placed, Some(node)) => self.topologies.at(level).domain(node) == domain,
            (stage, _) => stage == Stage::Succeeded,
        };
        template.roles.iter().zip(want).enumerate().all(|(at, (role, want))| {
            let first = template.first_of(at) as usize;
            let pods = &workload.pods[first..first + role.count as usize];
            pods.iter().filter(counts).count() as u32 + want >= role.min
        })
    }

    /// True if the pods that the group still wants would complete the minimums in the domain.
    pub(crate) fn may_complete(&self, group: GroupIx, level: TopologyIx, domain: u32) -> bool {
        let want = self.waiting.at(group).key.want.clone();
        self.completes(group, &want, level, domain)
    }

    /// The domains of a level in which every role finds room for all it wants by itself, least free GPUs first.
    fn domains_with_room(&self, group: GroupIx, pool: PoolIx, want: &[u32], level: TopologyIx) -> Vec<u32> {
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
            if fits && self.completes(group, want, level, domain as u32) {
                let free = here.iter().map(|n| i64::from(n.devices.free.count())).sum();
                found.push((free, &topology.values[domain], domain as u32));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, domain)| domain).collect()
    }
}
