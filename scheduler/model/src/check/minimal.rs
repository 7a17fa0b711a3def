//! Whether every victim was needed (S20): each unit is put back in its place beside what is reserved.
//!
//! It was needed if then some reservation of the attempt lacks room on its node, or a limit of the beneficiary's queues
//! is exceeded, or the others could not be taken (S22). Where it may have been in the way of rules about other pods, or
//! nobody told which devices it has, it is taken as needed. Costs: the pods of its nodes for each unit.
//! Absent: victims that would not be needed if the beneficiary went elsewhere, and times at which room may be held for
//! somebody else (decision 0003).

use super::attempt::{Taking, Unit};
use super::census::Shape;
use super::cluster::{Cluster, Node, Pod};
use super::devices::grant_fits;
use super::ledger::{MEASURES, triple};
use super::list::List;
use super::load::Load;
use super::violation::Findings;
use crate::{GpuGrant, GpuRequest, PodId, QueueId, Unsatisfiable};
use std::collections::BTreeSet;

impl Cluster {
    /// Judges all units of a taking back.
    pub(super) fn minimal(&self, taking: &Taking, list: &mut List) {
        let kept = taking.rooms.iter().filter_map(|id| self.kept.get(id));
        if kept.into_iter().any(|kept| minds_others(&kept.shape)) || self.may_be_held_from(taking.beneficiary)
        {
            return;
        }
        for (at, unit) in taking.units.iter().enumerate() {
            let needed = self.in_the_way(unit, taking, list)
                || self.over_limit(unit, taking)
                || self.needed_by_law(taking, at, list);
            let what =
                || format!("is no victim that {} needs: all its room is there without", taking.beneficiary);
            list.about(&unit.pods[0]).want(needed, "S20", what);
        }
    }

    /// True if some reservation of the attempt has no room on its node with the unit there.
    fn in_the_way(&self, unit: &Unit, taking: &Taking, list: &List) -> bool {
        let pods: Vec<&Pod> = unit.pods.iter().filter_map(|id| self.pods.get(id)).collect();
        let unclear = |pod: &&Pod| minds_others(&pod.shape) || is_anonymous(pod);
        if pods.iter().any(unclear) {
            return true;
        }
        let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.node).collect();
        nodes.into_iter().filter_map(|node| self.nodes.get(&node)).any(|node| {
            let mut beside = self.beside(node, taking);
            let here = pods.iter().filter(|pod| pod.node == node.spec.id);
            here.for_each(|pod| beside.change(&pod.shape.spec, pod.grant, 1));
            !beside.anonymous.is_empty() || self.lacks_room(node, &beside, unit, taking, list)
        })
    }

    /// What is on a node with the attempt, its victims gone and its reservations there.
    fn beside(&self, node: &Node, taking: &Taking) -> Load {
        let (mut leaving, mut reserved, mut own) = (Load::default(), node.reserved.clone(), Load::default());
        let victims: BTreeSet<&PodId> = taking.units.iter().flat_map(|unit| &unit.pods).collect();
        for pod in node.pods.iter().filter(|id| !victims.contains(id)).filter_map(|id| self.pods.get(id)) {
            if pod.leaving.is_some() {
                leaving.change(&pod.shape.spec, pod.grant, 1);
            }
        }
        for kept in node.kept.intersection(&taking.rooms).filter_map(|id| self.kept.get(id)) {
            reserved.change(&kept.shape.spec, kept.at.gpus, -1);
            own.change(&kept.shape.spec, kept.at.gpus, 1);
        }
        let others = node.staying().with(&leaving.with(&reserved, i64::max), std::ops::Add::add);
        others.with(&own, std::ops::Add::add)
    }

    fn lacks_room(&self, node: &Node, beside: &Load, unit: &Unit, taking: &Taking, list: &List) -> bool {
        let rooms = node.kept.intersection(&taking.rooms).filter(|id| !unit.pods.contains(id));
        rooms.filter_map(|id| self.kept.get(id)).any(|kept| {
            let mut load = beside.clone();
            load.change(&kept.shape.spec, kept.at.gpus, -1);
            let mut out = Vec::new();
            let mut f = Findings::new(&"", &mut out);
            load.lacking(&kept.shape.spec, &node.spec, &mut f);
            grant_fits(&kept.shape.spec, &node.spec, kept.at.gpus, &load, list.allowance, &mut f);
            !out.is_empty()
        })
    }

    /// True if a limit of a queue that it shares with the beneficiary would be exceeded with the unit there.
    fn over_limit(&self, unit: &Unit, taking: &Taking) -> bool {
        let own = taking.rooms.iter().find(|id| id.workload == taking.beneficiary);
        let Some(own) = own.and_then(|id| self.kept.get(id)?.bill.as_ref()) else { return false };
        let theirs = |queue: &&QueueId| unit.queues.is_some_and(|(_, queues)| queues.contains(queue));
        own.queues.iter().filter(theirs).any(|queue| {
            let quota = self.ledger.quota((*queue, taking.pool));
            let used = triple(&self.ledger.used((*queue, taking.pool)).then().all);
            MEASURES.iter().enumerate().any(|(m, measure)| {
                let rule = (measure.quota)(&quota);
                let limit = rule.limit;
                unit.amounts[m] > 0 && limit.is_some_and(|limit| used[m] + unit.amounts[m] > limit)
            })
        })
    }
}

/// True if it may be kept away by other pods, or keep them away, other than by what it takes.
pub(super) fn minds_others(shape: &Shape) -> bool {
    let spec = &shape.spec;
    let hard = |when: Unsatisfiable| when == Unsatisfiable::DoNotSchedule;
    !spec.pod_affinity.required.is_empty()
        || !spec.pod_anti_affinity.required.is_empty()
        || spec.topology_spread.iter().any(|constraint| hard(constraint.when_unsatisfiable))
        || spec.volumes.iter().any(|volume| volume.exclusive)
}

fn is_anonymous(pod: &Pod) -> bool {
    pod.grant == GpuGrant::None && pod.shape.spec.gpu != GpuRequest::None
}
