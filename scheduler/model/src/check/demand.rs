//! What there is to divide, who asks for how much, and the fair shares that follow (S7), from the judge's own picture.
//!
//! Costs: all workloads, and the nodes and pods of the pool; asked for once for each attempt that reclaims something.
//! Absent: any judgement.

use super::census::Shape;
use super::cluster::{Cluster, Node, Workload};
use super::devices::{charge, enough_devices, share_of};
use super::fair::{Claim, divide};
use super::ledger::{Bill, MEASURES, Part, Triple, triple};
use super::load::Load;
use super::selectors::nameless;
use super::violation::Findings;
use crate::{
    Amounts, DepartmentId, DeviceHealth, GpuMemoryMib, GpuRequest, GpuShare, NodeId, PodId, PodSpec, PoolId,
    QueueId, Quota, Timestamp,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Fair shares in a pool, by queue; what a queue does not manage is 0.
pub(super) type Shares = BTreeMap<QueueId, Triple>;

/// The demand in a pool.
struct Reading<'a> {
    cluster: &'a Cluster,
    pool: PoolId,
    nodes: Vec<&'a Node>,
    /// By the largest device of the pool MiB are charged.
    largest: Option<&'a crate::DeviceSpec>,
    /// Whether some node could take a pod when empty.
    feasible: HashMap<(Option<&'a str>, Vec<&'a str>, &'a PodSpec), bool>,
}

impl Cluster {
    /// S7: the fair shares in a pool.
    pub(super) fn fair_shares(&self, pool: PoolId) -> Shares {
        let (capacity, demands) = (self.capacity(pool), self.demands(pool));
        let mut shares = Shares::new();
        for (m, measure) in MEASURES.iter().enumerate() {
            let claim = |queue, rank, created| self.claim((queue, pool), rank, created, m, &demands);
            let claims: Vec<_> = self
                .departments
                .values()
                .filter_map(|d| claim(QueueId::Department(d.id), d.rank, d.created))
                .collect();
            let parts = divide(capacity[m], measure.unit, &claims);
            let parts: BTreeMap<_, _> = claims.iter().map(|claim| claim.queue).zip(parts).collect();
            for department in self.departments.keys() {
                // What one that does not manage the resource would have divided, its projects divide.
                let part = parts.get(&QueueId::Department(*department)).copied().unwrap_or(capacity[m]);
                let members = self.projects.values().filter(|p| p.department == *department);
                let claims: Vec<_> =
                    members.filter_map(|p| claim(QueueId::Project(p.id), p.rank, p.created)).collect();
                let parts = divide(part, measure.unit, &claims);
                let parts = claims.iter().map(|claim| claim.queue).zip(parts);
                parts.for_each(|(queue, part)| shares.entry(queue).or_default()[m] = part);
            }
            parts.into_iter().for_each(|(queue, part)| shares.entry(queue).or_default()[m] = part);
        }
        shares
    }

    /// What a queue asks for; none if it does not manage the resource.
    fn claim(
        &self,
        account: (QueueId, PoolId),
        rank: i32,
        created: Timestamp,
        measure: usize,
        demands: &BTreeMap<QueueId, Triple>,
    ) -> Option<Claim> {
        let quota = self.ledger.quota(account);
        let rule = (MEASURES[measure].quota)(&quota);
        let amount = match rule.quota {
            Quota::Unmanaged if !rule.managed() => return None,
            Quota::Unmanaged | Quota::Unlimited => i64::MAX,
            Quota::Of(amount) => amount,
        };
        let devices = match quota.gpu.quota {
            Quota::Of(share) => (share / GpuShare::DEVICE.0).clamp(1, i64::from(u32::MAX)) as u32,
            Quota::Unlimited | Quota::Unmanaged => 1,
        };
        let demand = demands.get(&account.0).map_or(0, |demand| demand[measure]);
        Some(Claim {
            queue: account.0,
            rank,
            weight: quota.weight.unwrap_or(devices),
            created,
            quota: amount,
            wants: demand.min(rule.limit.unwrap_or(i64::MAX)),
        })
    }

    /// S7: what nodes that take pods can give out, less what pods of unmanaged namespaces take there.
    fn capacity(&self, pool: PoolId) -> Triple {
        let mut sum = [0; 3];
        let ready = |node: &&Node| node.pool == Some(pool) && node.spec.ready && !node.spec.unschedulable;
        for node in self.nodes.values().filter(ready) {
            let healthy = node.spec.devices.iter().filter(|d| d.health == DeviceHealth::Healthy).count();
            let Amounts { mut gpu, mut cpu, mut memory } = Amounts {
                gpu: GpuShare::devices(healthy as u32),
                cpu: node.spec.allocatable.cpu,
                memory: node.spec.allocatable.memory,
            };
            for (id, pod) in node.pods.iter().filter_map(|id| Some((id, self.pods.get(id)?))) {
                if self.workloads.get(&id.workload).is_some_and(|w| w.spec.project.is_none()) {
                    gpu -= charge(&pod.shape.spec, &node.spec, pod.grant);
                    cpu -= pod.shape.spec.requests.cpu;
                    memory -= pod.shape.spec.requests.memory;
                }
            }
            let left = triple(&Amounts { gpu, cpu, memory });
            (0..3).for_each(|m| sum[m] += left[m]);
        }
        sum.map(|amount| amount.max(0))
    }

    /// S7: what projects use and wait for, and the sums of their departments.
    fn demands(&self, pool: PoolId) -> BTreeMap<QueueId, Triple> {
        let mut demands: BTreeMap<DepartmentId, Triple> = BTreeMap::new();
        let mut out: BTreeMap<QueueId, Triple> = BTreeMap::new();
        for project in self.projects.values() {
            let used = self.ledger.used((QueueId::Project(project.id), pool));
            out.insert(QueueId::Project(project.id), triple(&used.counted().all));
        }
        let mut reading = Reading::new(self, pool);
        for w in self.workloads.values() {
            let Some(project) = w.spec.project else { continue };
            let waits = reading.waits_for(w);
            let demand = out.entry(QueueId::Project(project)).or_default();
            (0..3).for_each(|m| demand[m] += waits[m]);
        }
        for project in self.projects.values() {
            let own = out[&QueueId::Project(project.id)];
            let sum = demands.entry(project.department).or_default();
            (0..3).for_each(|m| sum[m] += own[m]);
        }
        out.extend(demands.into_iter().map(|(id, demand)| (QueueId::Department(id), demand)));
        out
    }
}

impl<'a> Reading<'a> {
    fn new(cluster: &'a Cluster, pool: PoolId) -> Self {
        let ready = |node: &&Node| node.pool == Some(pool) && node.spec.ready;
        let nodes: Vec<_> = cluster.nodes.values().filter(ready).collect();
        let devices = nodes.iter().flat_map(|node| &node.spec.devices);
        let largest = devices.max_by_key(|device| device.memory);
        Self { cluster, pool, nodes, largest, feasible: HashMap::new() }
    }

    /// What the waiting pods of a workload ask for that count in this pool.
    fn waits_for(&mut self, w: &'a Workload) -> Triple {
        let mut sum = [0; 3];
        if !self.may_use(w) {
            return sum;
        }
        for (next, pods) in wants(w, &self.waiting(w), self.cluster.kept_of(w.spec.id).next().is_some()) {
            let waiting = || w.shapes.iter().zip(&pods).filter(|(_, pods)| **pods > 0);
            if !self.passes_gates(w, &next) || !waiting().all(|(shape, _)| self.feasible(w, shape)) {
                continue;
            }
            for (shape, pods) in waiting() {
                let each = triple(&self.charge(shape));
                (0..3).for_each(|m| sum[m] += each[m] * i64::from(*pods));
            }
        }
        sum
    }

    /// The pods of each role that wait and have no room kept.
    fn waiting(&self, w: &Workload) -> Vec<u32> {
        let kept = |role| {
            let waits = |id: &&PodId| id.role == role && self.cluster.is_pending(**id);
            self.cluster.kept_of(w.spec.id).map(|(id, _)| id).filter(waits).count() as u32
        };
        (0..w.shapes.len() as u16)
            .map(|role| self.cluster.pending(w, role).saturating_sub(kept(role)))
            .collect()
    }

    /// True if the workload is bound to the pool, or to none and may use it. It is bound by its first pod that stays or
    /// has room kept, else by its first that leaves.
    fn may_use(&self, w: &Workload) -> bool {
        let cluster = self.cluster;
        let pods = cluster.pods_of(w.spec.id).map(|(id, pod)| (pod.leaving.is_some(), *id, pod.node));
        let kept = cluster.kept_of(w.spec.id).map(|(id, kept)| (false, *id, kept.at.node));
        let there = |(_, _, node): &(bool, PodId, NodeId)| cluster.nodes.contains_key(node);
        let first = pods.chain(kept).filter(there).min();
        let bound = first.and_then(|(_, _, node)| cluster.nodes.get(&node)?.pool);
        let project = w.spec.project.and_then(|id| cluster.projects.get(&id));
        let listed =
            if w.spec.pools.is_empty() { project.map_or(&[][..], |p| &p.pools) } else { &w.spec.pools };
        bound.is_none_or(|bound| bound == self.pool) && (listed.is_empty() || listed.contains(&self.pool))
    }

    /// S6: whether these pods pass the quotas, and by themselves the limits: a queue at its limit still wants what waits.
    fn passes_gates(&self, w: &Workload, pods: &[u32]) -> bool {
        let Some(project) = w.spec.project.and_then(|id| self.cluster.projects.get(&id)) else {
            return false;
        };
        let mut amounts = Amounts::default();
        for (shape, pods) in w.shapes.iter().zip(pods) {
            (0..*pods).for_each(|_| amounts += self.charge(shape));
        }
        let queues = [QueueId::Project(project.id), QueueId::Department(project.department)];
        let (pool, preemptible) = (self.pool, w.spec.preemptible);
        let bill = Bill { queues, pool, amounts, preemptible, part: Part::Staying };
        let ledger = &self.cluster.ledger;
        ledger.would_pass(&bill, |account| ledger.used(account).counted().against_quotas())
    }

    /// What a waiting pod is charged.
    fn charge(&self, shape: &Shape) -> Amounts {
        let gpu = match shape.spec.gpu {
            GpuRequest::None => GpuShare::ZERO,
            GpuRequest::Whole(devices) => GpuShare::devices(devices),
            GpuRequest::Share { share, devices, .. } => GpuShare(share.0 * i64::from(devices)),
            GpuRequest::Memory { memory, devices, .. } => {
                let each = self.largest.map_or(GpuShare::ZERO, |device| share_of(memory, device));
                GpuShare(each.0 * i64::from(devices))
            }
        };
        Amounts { gpu, cpu: shape.spec.requests.cpu, memory: shape.spec.requests.memory }
    }

    /// S11: whether some node of the pool could take the pod when empty.
    fn feasible(&mut self, w: &'a Workload, shape: &'a Arc<Shape>) -> bool {
        let rule = self.cluster.node_type_rule(w);
        let rule = rule.map_or(Vec::new(), |rule| {
            std::iter::once(&rule.key).chain(&rule.values).map(String::as_str).collect()
        });
        let key = (w.spec.node_type.as_deref(), rule, &*shape.spec);
        if let Some(known) = self.feasible.get(&key) {
            return *known;
        }
        let found = self.nodes.iter().any(|node| self.could_take(w, &shape.spec, node));
        self.feasible.insert(key, found);
        found
    }

    /// Names of nodes do not count, nor what is wrong with devices now.
    fn could_take(&self, w: &Workload, pod: &PodSpec, node: &Node) -> bool {
        let mut spec = node.spec.clone();
        for device in &mut spec.devices {
            (device.health, device.foreign) = (DeviceHealth::Healthy, GpuMemoryMib::ZERO);
        }
        let (mut out, empty) = (Vec::new(), Load::default());
        let mut f = Findings::new(&"", &mut out);
        self.cluster.may_run(w, &nameless(pod), &spec, &mut f);
        empty.lacking(pod, &spec, &mut f);
        out.is_empty() && enough_devices(pod.gpu, &spec, &empty, GpuMemoryMib::ZERO)
    }
}

/// What a workload wants next, and the waiting pods that it stands for: its missing minimums for all, if it can have them
/// and has no room kept, else one pod more of each role that waits for those of the role.
fn wants(w: &Workload, waiting: &[u32], has_kept: bool) -> Vec<(Vec<u32>, Vec<u32>)> {
    let roles = w.spec.roles.iter().zip(&w.heads);
    let missing: Vec<u32> =
        roles.map(|(role, heads)| role.min.saturating_sub(heads.standing + heads.succeeded)).collect();
    if missing.iter().any(|pods| *pods > 0) {
        let possible = missing.iter().zip(waiting).all(|(missing, waiting)| missing <= waiting);
        return (possible && !has_kept).then(|| (missing, waiting.to_vec())).into_iter().collect();
    }
    let only =
        |role: usize, pods: u32| (0..waiting.len()).map(|r| if r == role { pods } else { 0 }).collect();
    let growing = waiting.iter().enumerate().filter(|(_, pods)| **pods > 0);
    growing.map(|(role, pods)| (only(role, 1), only(role, *pods))).collect()
}
