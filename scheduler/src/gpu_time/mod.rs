//! GPU time by project and pool: within quota, over quota, and lost to evictions.
//!
//! Fed with the events that the engine took and with what it decided, each at the time of its round. A pod counts from its
//! placing, or since it was found, until it is really gone (S6); with what it is charged (S13); in the pool of its node.
//! Whenever what a project holds in a pool changes, or its quota there, what went before is added up first. So the sums are
//! exact, in millionths of a device times milliseconds, and cost O(log n) per event, not a look at every queue per round.
//!
//! What an evicted pod has held is lost, its grace included, once it is gone; not if its workload goes on without it (an elastic
//! pod, S20), if it succeeded meanwhile, or if the eviction failed.
//!
//! Only who leads counts, so that replicas can be summed. Nothing outlives the process, as with every counter of Prometheus; but
//! what an evicted pod had held is lost from its beginning, whoever led then: of a pod that was found, since it runs.

#[cfg(test)]
mod tests;

use berth_cluster::Mirror;
use berth_model::{
    Decision, Event, GpuGrant, GpuRequest, GpuShare, NodeId, NodeSpec, PodId, PodOutcome, PoolId, ProjectId,
    QueueId, QueueQuota, Quota, Timestamp, WorkloadId, WorkloadSpec,
};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes as the engine knows them.
pub(crate) trait Nodes {
    /// A node.
    fn spec(&self, id: NodeId) -> Option<&NodeSpec>;
    /// The pool of a node (S1).
    fn pool(&self, node: &NodeSpec) -> Option<PoolId>;
}

impl Nodes for Mirror {
    fn spec(&self, id: NodeId) -> Option<&NodeSpec> {
        self.told_node(id)
    }

    fn pool(&self, node: &NodeSpec) -> Option<PoolId> {
        self.pool_of(&node.labels)
    }
}

/// Millionths of a device times milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    /// Of what was within the quota.
    pub(crate) within: i128,
    /// Of what was over it.
    pub(crate) over: i128,
    /// What evicted pods had done.
    pub(crate) lost: i128,
}

/// Of one project in one pool.
#[derive(Debug, Default)]
struct Account {
    project: String,
    pool: String,
    /// What its pods hold.
    held: i64,
    /// Since when that has not been added up.
    at: Timestamp,
    sums: Sums,
    /// As much of the sums as was reported.
    reported: Sums,
}

#[derive(Debug)]
struct Project {
    name: String,
    quotas: Vec<(PoolId, QueueQuota)>,
}

/// What is known of a workload of a project.
#[derive(Debug)]
struct Workload {
    project: ProjectId,
    /// What a pod of each role asks for, and how many must run.
    roles: Box<[(GpuRequest, u32)]>,
}

/// A pod with GPUs that is on a node.
#[derive(Clone, Copy, Debug)]
struct Held {
    node: NodeId,
    gpus: GpuGrant,
    since: Timestamp,
    /// Where it is charged, and what.
    pool: Option<PoolId>,
    share: i64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Stays,
    /// It goes, by the will of its owner.
    Leaves,
    /// It goes, and whether its work is lost, if that is known.
    Evicted(Option<bool>),
}

/// The accounts.
#[derive(Debug, Default)]
pub(crate) struct GpuTime {
    now: Timestamp,
    counting: bool,
    pools: BTreeMap<PoolId, String>,
    projects: BTreeMap<ProjectId, Project>,
    workloads: BTreeMap<WorkloadId, Workload>,
    pods: BTreeMap<PodId, Held>,
    by_node: BTreeSet<(NodeId, PodId)>,
    accounts: BTreeMap<(ProjectId, PoolId), Account>,
}

impl GpuTime {
    /// A round begins.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// It counts from now on.
    pub(crate) fn begin(&mut self) {
        self.counting = true;
        let now = self.now;
        self.accounts.values_mut().for_each(|account| account.at = now);
    }

    /// The engine took an event.
    pub(crate) fn note(&mut self, event: &Event, nodes: &impl Nodes) {
        match event {
            Event::PoolSet(pool) => {
                self.pools.insert(pool.id, pool.name.clone());
                self.move_all(nodes);
            }
            Event::PoolRemoved(pool) => {
                self.move_all(nodes);
                self.pools.remove(pool);
            }
            Event::ProjectSet(it) => {
                self.settle_project(it.id);
                let project = Project { name: it.name.clone(), quotas: it.quotas.clone() };
                self.projects.insert(it.id, project);
            }
            Event::ProjectRemoved(id) => {
                self.settle_project(*id);
                self.projects.remove(id);
            }
            Event::QuotaSet { queue: QueueId::Project(id), pool, quota } => {
                self.settle_project(*id);
                if let Some(project) = self.projects.get_mut(id) {
                    project.quotas.retain(|(of, _)| of != pool);
                    project.quotas.push((*pool, *quota));
                }
            }
            Event::NodeSet(node) => self.move_pods(node.id, nodes),
            Event::NodeRemoved(node) => {
                for pod in self.on(*node) {
                    self.release(pod);
                }
            }
            other => self.note_workload(other, nodes),
        }
    }

    fn note_workload(&mut self, event: &Event, nodes: &impl Nodes) {
        match event {
            Event::WorkloadSet(spec) => self.set_workload(spec, nodes),
            Event::WorkloadRemoved(workload) => {
                let pods: Vec<PodId> = self.of(*workload).map(|(pod, _)| *pod).collect();
                pods.into_iter().for_each(|pod| self.ended(pod, PodOutcome::Deleted));
                self.workloads.remove(workload);
            }
            Event::PodRunning(state) => {
                let fate = self.pods.get(&state.pod).map(|held| held.fate);
                let fate = match (fate.filter(|fate| *fate != Fate::Stays), state.leaving) {
                    (Some(fate), _) => fate,
                    (None, None) => Fate::Stays,
                    (None, Some(_)) if state.evicted => Fate::Evicted(None),
                    (None, Some(_)) => Fate::Leaves,
                };
                // What was decided is confirmed: the kubelet's time has whole seconds, and says no devices where it picks them.
                let known = self.pods.get(&state.pod);
                let gpus =
                    known.filter(|_| state.gpus == GpuGrant::None).map_or(state.gpus, |held| held.gpus);
                let since = known.map_or(state.since, |held| held.since);
                self.hold(state.pod, (state.node, gpus, since), fate, nodes);
            }
            Event::PodLeaving { pod, .. } => {
                if let Some(held) = self.pods.get_mut(pod).filter(|held| held.fate == Fate::Stays) {
                    held.fate = Fate::Leaves;
                }
            }
            Event::PodEnded { pod, outcome } => self.ended(*pod, *outcome),
            Event::EvictFailed { pod } => {
                if let Some(held) = self.pods.get_mut(pod) {
                    held.fate = Fate::Stays;
                }
            }
            Event::BindFailed { pod, .. } => {
                self.release(*pod);
            }
            _ => {}
        }
    }

    /// What the engine decided in this round.
    pub(crate) fn decided(&mut self, decisions: &[Decision], nodes: &impl Nodes) {
        let mut evicted = BTreeSet::new();
        for decision in decisions {
            match decision {
                Decision::Place { pod, at } => {
                    self.hold(*pod, (at.node, at.gpus, self.now), Fate::Stays, nodes);
                }
                Decision::Evict { pod, .. } => {
                    if let Some(held) = self.pods.get_mut(pod) {
                        held.fate = Fate::Evicted(Some(false));
                        evicted.insert(pod.workload);
                    }
                }
                _ => {}
            }
        }
        for workload in evicted {
            if self.is_below_minimum(workload) {
                let last = PodId { workload, role: u16::MAX, index: u32::MAX };
                let all = self.pods.range_mut(PodId { workload, role: 0, index: 0 }..=last);
                let evicted = all.filter(|(_, held)| matches!(held.fate, Fate::Evicted(_)));
                evicted.for_each(|(_, held)| held.fate = Fate::Evicted(Some(true)));
            }
        }
    }

    /// What has come up since this was last asked, in devices times seconds, by project and pool.
    pub(crate) fn report(&mut self, mut say: impl FnMut(&str, &str, [f64; 3])) {
        let keys: Vec<_> = self.accounts.keys().copied().collect();
        for key in keys {
            self.settle(key);
            let Some(account) = self.accounts.get_mut(&key) else { continue };
            let (now, before) = (account.sums, std::mem::replace(&mut account.reported, account.sums));
            let more =
                [now.within - before.within, now.over - before.over, now.lost - before.lost].map(seconds);
            say(&account.project, &account.pool, more);
            let gone = !self.projects.contains_key(&key.0) || !self.pools.contains_key(&key.1);
            if gone && account.held == 0 {
                self.accounts.remove(&key);
            }
        }
    }

    fn set_workload(&mut self, spec: &WorkloadSpec, nodes: &impl Nodes) {
        let pods: Vec<PodId> = self.of(spec.id).map(|(pod, _)| *pod).collect();
        let held: Vec<(PodId, Held)> =
            pods.into_iter().filter_map(|pod| Some((pod, self.release(pod)?))).collect();
        match spec.project {
            // Of a workload that came to a project with pods on nodes nothing would be known; the mirror makes another of it.
            None => drop(self.workloads.remove(&spec.id)),
            Some(project) => {
                let roles = spec.roles.iter().map(|role| (role.pod.gpu, role.min)).collect();
                self.workloads.insert(spec.id, Workload { project, roles });
            }
        }
        for (pod, held) in held {
            self.hold(pod, (held.node, held.gpus, held.since), held.fate, nodes);
        }
    }

    /// A pod is on a node with these devices since then.
    fn hold(
        &mut self,
        pod: PodId,
        (node, gpus, since): (NodeId, GpuGrant, Timestamp),
        fate: Fate,
        nodes: &impl Nodes,
    ) {
        self.release(pod);
        let Some(workload) = self.workloads.get(&pod.workload) else { return };
        let project = workload.project;
        let Some((request, _)) = workload.roles.get(usize::from(pod.role)) else { return };
        let spec = nodes.spec(node);
        let share = charge(*request, gpus, spec);
        if share == 0 {
            return;
        }
        let pool = spec.and_then(|spec| nodes.pool(spec));
        self.pods.insert(pod, Held { node, gpus, since, pool, share, fate });
        self.by_node.insert((node, pod));
        self.charge(project, pool, share);
    }

    /// A pod is on no node any more.
    fn release(&mut self, pod: PodId) -> Option<Held> {
        let held = self.pods.remove(&pod)?;
        self.by_node.remove(&(held.node, pod));
        let project = self.workloads.get(&pod.workload)?.project;
        self.charge(project, held.pool, -held.share);
        Some(held)
    }

    fn ended(&mut self, pod: PodId, outcome: PodOutcome) {
        let lost = match self.pods.get(&pod).map(|held| held.fate) {
            Some(Fate::Evicted(lost)) if outcome != PodOutcome::Succeeded => {
                lost.unwrap_or_else(|| self.is_below_minimum(pod.workload))
            }
            _ => false,
        };
        let project = self.workloads.get(&pod.workload).map(|workload| workload.project);
        let Some((held, project)) = self.release(pod).zip(project) else { return };
        let account = held.pool.and_then(|pool| self.accounts.get_mut(&(project, pool)));
        if let Some(account) = account.filter(|_| lost && self.counting) {
            let worked = self.now.since(held.since).0.max(0);
            account.sums.lost += i128::from(held.share) * i128::from(worked);
        }
    }

    /// True if those of its pods that stay are fewer than it needs. Roles without GPUs lose nothing and are not looked at.
    fn is_below_minimum(&self, workload: WorkloadId) -> bool {
        let Some(it) = self.workloads.get(&workload) else { return true };
        let mut staying = vec![0u32; it.roles.len()];
        for (pod, held) in self.of(workload) {
            if held.fate == Fate::Stays
                && let Some(count) = staying.get_mut(usize::from(pod.role))
            {
                *count += 1;
            }
        }
        it.roles.iter().zip(staying).any(|((gpu, min), staying)| gpu.devices() > 0 && staying < *min)
    }

    /// A project holds so much more in a pool from now on.
    fn charge(&mut self, project: ProjectId, pool: Option<PoolId>, share: i64) {
        let Some(pool) = pool else { return };
        let key = (project, pool);
        self.settle(key);
        let account = self.accounts.entry(key).or_insert_with(|| Account {
            project: self.projects.get(&project).map_or_else(String::new, |it| it.name.clone()),
            pool: self.pools.get(&pool).cloned().unwrap_or_default(),
            at: self.now,
            ..Account::default()
        });
        account.held += share;
    }

    /// Adds up what went before.
    fn settle(&mut self, key: (ProjectId, PoolId)) {
        let Some(account) = self.accounts.get_mut(&key) else { return };
        let quotas = self.projects.get(&key.0).map_or(&[][..], |project| &project.quotas);
        let quota = quotas.iter().find(|(pool, _)| *pool == key.1).map(|(_, quota)| quota.gpu.quota);
        let quota = match quota {
            Some(Quota::Unlimited) => i64::MAX,
            Some(Quota::Of(amount)) => amount,
            // An unset GPU quota is 0 (S2).
            Some(Quota::Unmanaged) | None => 0,
        };
        let span = i128::from(self.now.since(std::mem::replace(&mut account.at, self.now)).0.max(0));
        if self.counting {
            account.sums.within += i128::from(account.held.min(quota)) * span;
            account.sums.over += i128::from((account.held - quota).max(0)) * span;
        }
    }

    fn settle_project(&mut self, project: ProjectId) {
        let all = (project, PoolId(0))..=(project, PoolId(u32::MAX));
        let keys: Vec<_> = self.accounts.range(all).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.settle(key));
    }

    /// Nodes may belong to other pools.
    fn move_all(&mut self, nodes: &impl Nodes) {
        let all: BTreeSet<NodeId> = self.by_node.iter().map(|(node, _)| *node).collect();
        all.into_iter().for_each(|node| self.move_pods(node, nodes));
    }

    /// A node may belong to another pool, or have other devices.
    fn move_pods(&mut self, node: NodeId, nodes: &impl Nodes) {
        for pod in self.on(node) {
            if let Some(held) = self.release(pod) {
                self.hold(pod, (held.node, held.gpus, held.since), held.fate, nodes);
            }
        }
    }

    fn on(&self, node: NodeId) -> Vec<PodId> {
        let least = PodId { workload: WorkloadId(0), role: 0, index: 0 };
        let from = self.by_node.range((node, least)..);
        from.take_while(|(at, _)| *at == node).map(|(_, pod)| *pod).collect()
    }

    fn of(&self, workload: WorkloadId) -> impl Iterator<Item = (&PodId, &Held)> {
        let first = PodId { workload, role: 0, index: 0 };
        self.pods.range(first..).take_while(move |(pod, _)| pod.workload == workload)
    }
}

/// What a pod is charged (S13); of devices that nobody told, the least it can be.
fn charge(request: GpuRequest, gpus: GpuGrant, node: Option<&NodeSpec>) -> i64 {
    match request {
        GpuRequest::None => 0,
        GpuRequest::Whole(devices) => GpuShare::devices(devices).0,
        GpuRequest::Share { share, devices, .. } => share.0 * i64::from(devices),
        GpuRequest::Memory { memory, devices, .. } => {
            let all = node.map_or(&[][..], |node| &node.devices);
            if gpus == GpuGrant::None {
                let least = all.iter().map(|device| memory.share_of(device.memory).0).min();
                return least.unwrap_or(GpuShare::DEVICE.0) * i64::from(devices);
            }
            let given = gpus.devices().iter().filter_map(|index| all.get(index.index()));
            given.map(|device| memory.share_of(device.memory).0).sum()
        }
    }
}

/// Millionths of a device times milliseconds, as devices times seconds.
fn seconds(sum: i128) -> f64 {
    sum as f64 / 1e9
}
