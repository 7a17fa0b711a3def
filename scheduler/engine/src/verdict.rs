//! Verdicts: why an attempt failed, what would unblock it, and telling those who wait (S29, S30).

use crate::Engine;
use crate::ix::{PodIx, PoolIx, QueueIx};
use crate::org::{Shut, Triple, resource};
use crate::park::Unblock;
use crate::waiting::Said;
use crate::workload::{Stage, Template};
use berth_model::{Decision, PolicyReason, Reason, ReasonKind};
use smallvec::SmallVec;

/// Why a group cannot start in a pool, and what would unblock it.
pub(crate) struct Refusal {
    pub(crate) reason: Box<Reason>,
    pub(crate) unblock: SmallVec<[Unblock; 2]>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, unblock: Unblock) -> Self {
        Self { reason: Box::new(reason), unblock: SmallVec::from_slice(&[unblock]) }
    }
}

impl Engine {
    /// A rule of the administrator, or a gate, that keeps the workload from being scheduled at all (S11).
    pub(crate) fn policy(&self, template: &Template) -> Option<PolicyReason> {
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

    /// A gate that is shut, as a refusal. `ask` is what the workload asks for, `request` what did not pass.
    pub(crate) fn shut(
        &self,
        shut: Shut,
        project: QueueIx,
        pool: PoolIx,
        ask: Triple,
        request: Triple,
    ) -> Refusal {
        let queue = self.org.at(shut.queue).id.expect("unmanaged queues have no gates");
        let (pool_id, asked) = (self.pools.spec(pool).id, ask[shut.resource]);
        let (resource, used) = (resource(shut.resource), shut.used);
        let reason = if shut.limit {
            Reason::Limit { queue, pool: pool_id, resource, limit: shut.bound, used, asked }
        } else {
            Reason::Quota { queue, pool: pool_id, resource, quota: shut.bound, used, asked }
        };
        // Once this gate opens the next may be shut: both are watched.
        let path = self.org.at(project).path.iter();
        let unblock = path.map(|queue| Unblock::Queue(*queue, pool, request)).collect();
        Refusal { reason: Box::new(reason), unblock }
    }

    /// The verdict when a pod finds no node: the state is still that of the trial, `placed` pods of its role are in.
    pub(crate) fn no_room(
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
        let mut taking = self.classes.tiers(kind.0, pool).iter().flat_map(|t| &t.classes);
        if taking.all(|c| self.classes.at(*c).nodes.is_empty()) {
            let failed = self.failed_constraints(kind.0, pool);
            let reason = Reason::Feasibility { pool: id, role, nodes, failed };
            return Refusal::new(reason, Unblock::Structure(pool));
        }
        let about_pods = !self.neighbours.idle();
        if (about_pods || self.shapes.at(kind.0).local)
            && let Some(failed) = self.forbidden_everywhere(kind, pool, &self.views(kind.0))
        {
            return Refusal::new(Reason::Feasibility { pool: id, role, nodes, failed }, Unblock::Everywhere);
        }
        let (closest, missing) = self.closest(kind, pool);
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

    /// Tells every workload whose reason is new or of another kind than before why it waits (S29).
    pub(crate) fn report(&mut self, decisions: &mut Vec<Decision>) {
        for ix in std::mem::take(&mut self.waiting.to_report) {
            let group = self.waiting.at_mut(ix);
            let untold = std::mem::take(&mut group.unreported);
            let Some((said, dominant)) = &group.verdict else { continue };
            let reason = Box::new(said[*dominant].reason.clone());
            for (_, _, told) in untold {
                let Some(workload) = self.workloads.get(told.0) else { continue };
                // Who has room kept waits for those that leave.
                if workload.pods.iter().any(|pod| pod.stage == Stage::Reserved) {
                    continue;
                }
                // Of several things a workload waits for, the first has the dominant reason.
                let first = workload.groups.iter().find(|g| self.waiting.at(**g).verdict.is_some());
                if first != Some(&ix) {
                    continue;
                }
                let workload = self.workloads.at_mut(told.0);
                let kind = reason.kind() as u8 + 1;
                if workload.reported != kind {
                    workload.reported = kind;
                    decisions.push(Decision::Report { workload: workload.id, reason: reason.clone() });
                }
            }
        }
    }
}

/// The position of the verdict of the pool nearest to starting (S29): of those that lack least in kind, the first.
pub(crate) fn nearest(said: &[Said]) -> usize {
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
