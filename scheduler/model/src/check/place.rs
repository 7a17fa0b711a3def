//! `Place`: is the pod wanted, may it run there, and is there room now? (S1, S5, S6, S10, S11, S13, S14, S16 to S18)
//! A pod for which room is kept goes there, beside what is still on the node, and with the others of its attempt; it is
//! charged already (S23). Any other leaves alone what is kept.
//!
//! A place that breaks a rule is reported and then mirrored all the same, because whoever decided counts on it.
//! Absent: whether the place is a good one (S10's order of pools, S12, S15) and whose turn it was (S8, S9).

use super::census::Shape;
use super::cluster::{Cluster, Node, Pod, Workload};
use super::devices::grant_fits;
use super::ledger::{Bill, Used};
use super::list::List;
use super::violation::Findings;
use crate::{Placement, PodId, PoolId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Cluster {
    pub(super) fn place(&mut self, id: PodId, at: Placement, list: &mut List) {
        let had_minimum = self.workloads.get(&id.workload).is_some_and(|w| w.has_minimum(|h| h.standing));
        let (now, allowance) = (list.now, list.allowance);
        let kept = self.give_up(id);
        let mut f = list.about(&id);
        let Some((w, shape, node)) = self.parties(id, at, &mut f) else { return };
        if !self.is_pending(id) {
            f.add("S5", self.why_not_pending(id, w));
            return;
        }
        let as_kept = kept.as_ref().is_some_and(|kept| kept.at == at);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.at != at) {
            f.add("S23", format!("is placed at {at:?}, and room is kept for it at {:?}", kept.at));
        }
        let taken = if as_kept { Cow::Borrowed(&node.load) } else { node.taken() };
        self.may_run(w, &shape.spec, &node.spec, &mut f);
        self.in_listed_pool(w, node, &mut f);
        taken.lacking(&shape.spec, &node.spec, &mut f);
        grant_fits(&shape.spec, &node.spec, at.gpus, &taken, allowance, &mut f);
        self.neighbours(shape, &node.spec, &mut f);
        let bill = self.bill(id, shape, node, at.gpus);
        // Who has room kept is counted already when the others have left; until then they are there.
        let count = if as_kept { Used::now } else { Used::counted };
        bill.iter().for_each(|bill| self.ledger.gates(bill, count, &mut f));
        self.one_pool(id, node.pool, &mut f);
        let pod = new_pod(shape, at, now, bill);
        list.placed.entry(id.workload).or_insert(had_minimum);
        list.placed_pods.insert(id);
        self.seat(id, pod);
        self.note(id.workload);
    }

    /// The workload, shape and node of a place; without one of them there is nothing to judge.
    pub(super) fn parties(
        &self,
        id: PodId,
        at: Placement,
        f: &mut Findings<'_>,
    ) -> Option<(&Workload, &Arc<Shape>, &Node)> {
        let workload = self.workloads.get(&id.workload);
        let shape = workload.and_then(|w| w.shapes.get(usize::from(id.role)));
        f.want(shape.is_some(), "S5", || "the pod's workload or role is unknown".to_owned());
        let node = self.nodes.get(&at.node);
        f.want(node.is_some(), "S11", || format!("{} is unknown", at.node));
        Some((workload?, shape?, node?))
    }

    pub(super) fn why_not_pending(&self, id: PodId, w: &Workload) -> String {
        if let Some(pod) = self.pods.get(&id) {
            return format!("is not pending: it is on {} already", pod.node);
        }
        if let Some(outcome) = w.ended.get(&id) {
            return format!("is not pending: it is {outcome:?}");
        }
        let role = &w.spec.roles[usize::from(id.role)];
        format!("is not wanted: role {} has {} pods", role.name, role.count)
    }

    /// S5, S10: in one pool with the pods of the workload that stay, and with the room that is kept for others of it.
    pub(super) fn one_pool(&self, id: PodId, pool: Option<PoolId>, f: &mut Findings<'_>) {
        let staying = self.pods_of(id.workload).filter(|(_, pod)| pod.leaving.is_none());
        let kept = self.kept_of(id.workload).filter(|(other, _)| **other != id);
        let nodes = staying.map(|(_, pod)| pod.node).chain(kept.map(|(_, kept)| kept.at.node));
        let mut others = None;
        for node in nodes {
            let there = self.nodes.get(&node).and_then(|node| node.pool);
            if there == pool {
                return;
            }
            others = Some(there);
        }
        if let Some(there) = others {
            f.add("S5", format!("is in pool {pool:?}, its workload in {there:?}"));
        }
    }
}

/// A pod that is placed.
pub(super) fn new_pod(shape: &Arc<Shape>, at: Placement, since: crate::Timestamp, bill: Option<Bill>) -> Pod {
    Pod {
        shape: Arc::clone(shape),
        node: at.node,
        grant: at.gpus,
        since,
        starting: true,
        leaving: None,
        measured: BTreeMap::new(),
        bill,
    }
}
