//! Starting one want: pool by pool, all of it or nothing (S5, S6, S10, S31), and why not (S29).

use super::fits::could_take;
use super::labels::label;
use super::order::Want;
use super::prefer::Domain;
use super::state::{Shape, State};
use berth_model::{
    GpuRequest, NodeSpec, Placement, PodId, PodOutcome, PoolId, ReasonKind, TopologyRequest, WorkloadSpec,
};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Pods and where they go, in the order in which they were placed.
pub(crate) type Places = Vec<(PodId, Placement)>;

impl State {
    /// Places all that is wanted and says where, or changes nothing and says why not.
    pub(crate) fn start(&mut self, want: &Want, pods: &[PodId]) -> Result<Places, ReasonKind> {
        let workload = self.workloads[&want.workload].clone();
        if self.forbidden(&workload) {
            return Err(ReasonKind::Policy);
        }
        let mut kinds = Vec::new();
        for pool in self.pools_for(want) {
            match self.try_pool(&workload, want, pods, pool) {
                Ok(placed) => return Ok(placed),
                Err(kind) => kinds.push(kind),
            }
        }
        Err(nearest(&kinds))
    }

    /// The pods that would be placed for a want, in the order in which they are tried.
    pub(crate) fn pods_wanted(&self, want: &Want) -> Vec<PodId> {
        let workload = &self.workloads[&want.workload];
        let of_role = |role: usize| {
            self.waiting(workload, role).into_iter().take(want.pods[role] as usize).collect::<Vec<_>>()
        };
        hardest_first(workload, &want.pods).into_iter().flat_map(of_role).collect()
    }

    /// S11: a node type is missing or refused, or a scheduling gate is there.
    pub(crate) fn forbidden(&self, workload: &WorkloadSpec) -> bool {
        let refused = self.node_type_rule(workload).is_some_and(|rule| {
            workload.node_type.as_ref().is_none_or(|chosen| !rule.values.contains(chosen))
        });
        refused || workload.roles.iter().any(|role| !role.pod.scheduling_gates.is_empty())
    }

    /// Places these pods in a pool, or changes nothing.
    pub(crate) fn try_pool(
        &mut self,
        workload: &WorkloadSpec,
        want: &Want,
        pods: &[PodId],
        pool: PoolId,
    ) -> Result<Places, ReasonKind> {
        if self.ready_nodes(pool).is_empty() {
            return Err(ReasonKind::Pool);
        }
        self.gate(workload, pool, self.ask(want, pool))?;
        let Some(topology) = workload.topology.as_ref().filter(|_| !want.elastic) else {
            return self.try_domain(workload, pods, pool, None);
        };
        for domain in self.domains_of(workload, want, pool, topology) {
            if let Ok(placed) = self.try_domain(workload, pods, pool, Some(&domain)) {
                return Ok(placed);
            }
        }
        let before = self.pods.clone();
        match self.try_domain(workload, pods, pool, None) {
            Ok(_) if topology.required => {
                self.pods = before;
                Err(ReasonKind::Feasibility)
            }
            anywhere => anywhere,
        }
    }

    /// S31: the domains in which all minimums would be together, least free GPUs first, then by value.
    pub(crate) fn domains_of(
        &self,
        workload: &WorkloadSpec,
        want: &Want,
        pool: PoolId,
        topology: &TopologyRequest,
    ) -> Vec<Domain> {
        let key = &topology.key;
        let nodes = self.ready_nodes(pool);
        let values: BTreeSet<&str> = nodes.iter().filter_map(|node| label(node, key)).collect();
        let free = |value: &str| -> usize {
            let here = nodes.iter().filter(|node| label(node, key) == Some(value));
            here.map(|node| self.devices(node.id).iter().filter(|d| d.free).count()).sum()
        };
        let mut found: Vec<(usize, &str)> = values
            .into_iter()
            .filter(|value| self.completes(workload, want, key, value))
            .map(|value| (free(value), value))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, value)| (key.clone(), value.to_owned())).collect()
    }

    /// True if the wanted pods and those already in the domain are all minimums.
    fn completes(&self, workload: &WorkloadSpec, want: &Want, key: &str, value: &str) -> bool {
        workload.roles.iter().enumerate().all(|(role, spec)| {
            let of_role = |pod: &PodId| pod.workload == workload.id && usize::from(pod.role) == role;
            let here = self.pods.iter().filter(|(pod, seat)| {
                of_role(pod) && seat.leaving.is_none() && label(&self.nodes[&seat.node], key) == Some(value)
            });
            let done = self.ended.iter().filter(|(pod, o)| of_role(pod) && **o == PodOutcome::Succeeded);
            here.count() as u32 + done.count() as u32 + want.pods[role] >= spec.min
        })
    }

    /// Places all pods in the pool, in one domain if one is given, or changes nothing.
    fn try_domain(
        &mut self,
        workload: &WorkloadSpec,
        pods: &[PodId],
        pool: PoolId,
        domain: Option<&Domain>,
    ) -> Result<Places, ReasonKind> {
        let before = self.pods.clone();
        let mut placed = Places::new();
        for pod in pods {
            match self.try_pod(workload, *pod, pool, domain) {
                Ok(at) => placed.push((*pod, at)),
                Err(kind) => {
                    self.pods = before;
                    return Err(kind);
                }
            }
        }
        Ok(placed)
    }

    /// Places one pod where it is preferred.
    pub(crate) fn try_pod(
        &mut self,
        workload: &WorkloadSpec,
        pod: PodId,
        pool: PoolId,
        domain: Option<&Domain>,
    ) -> Result<Placement, ReasonKind> {
        let shape = self.shape(pod);
        let beside = || self.beside(&shape, pool).filter(|_| domain.is_none());
        let Some(at) = self.choose(&shape, pool, domain).or_else(beside) else {
            let nodes = self.ready_nodes(pool);
            let allowed = |node: &&NodeSpec| could_take(&shape, node, true) && self.allowed(&shape, node);
            let some = nodes.iter().any(allowed);
            return Err(if some { ReasonKind::Capacity } else { ReasonKind::Feasibility });
        };
        let at = match self.gate(workload, pool, self.cost(pod, at.node, at.gpus)) {
            Ok(()) => at,
            Err(shut) => self.cheapest(workload, (pod, &shape), pool, domain).ok_or(shut)?,
        };
        self.place(pod, at, self.now);
        Ok(at)
    }

    /// Of the places that pass the gates with the devices that they would take, the one that is charged least (S13).
    fn cheapest(
        &self,
        workload: &WorkloadSpec,
        (pod, shape): (PodId, &Shape),
        pool: PoolId,
        domain: Option<&Domain>,
    ) -> Option<Placement> {
        let inside = |node: &&NodeSpec| {
            domain.is_none_or(|(key, value)| label(node, key) == Some(value.as_str()))
                && self.is_open(pool, node)
                && self.takes(shape, node)
        };
        let nodes = self.ready_nodes(pool).into_iter().filter(inside);
        let places = nodes.filter_map(|node| {
            let gpus = self.choose_devices(node.id, shape.spec.gpu, self.pools[&pool].device)?;
            Some(Placement { node: node.id, gpus })
        });
        let cost = |at: &Placement| self.cost(pod, at.node, at.gpus);
        let passing = places.filter(|at| self.gate(workload, pool, cost(at)).is_ok());
        passing.min_by_key(|at| (cost(at)[0], at.node))
    }
}

/// The roles that want pods: those that ask for the most of the GPUs first, then the most CPU. The rules leave this
/// open; MiB go before whole devices.
pub(crate) fn hardest_first(workload: &WorkloadSpec, pods: &[u32]) -> Vec<usize> {
    let mut roles: Vec<usize> = (0..pods.len()).filter(|role| pods[*role] > 0).collect();
    roles.sort_by_key(|role| {
        let pod = &workload.roles[*role].pod;
        let memory = if let GpuRequest::Memory { memory, devices, .. } = pod.gpu {
            memory.0 * i64::from(devices)
        } else {
            0
        };
        let share = match pod.gpu {
            GpuRequest::Whole(n) => i64::from(n) * 1_000_000,
            GpuRequest::Share { share, devices, .. } => share.0 * i64::from(devices),
            _ => 0,
        };
        (Reverse(memory), Reverse(share), Reverse(pod.requests.cpu.0), *role)
    });
    roles
}

/// S29: the kind of the pool nearest to starting; without a pool, that there is none.
fn nearest(kinds: &[ReasonKind]) -> ReasonKind {
    let order = [
        ReasonKind::Capacity,
        ReasonKind::Limit,
        ReasonKind::Quota,
        ReasonKind::Feasibility,
        ReasonKind::Pool,
    ];
    order.into_iter().find(|kind| kinds.contains(kind)).unwrap_or(ReasonKind::Pool)
}
