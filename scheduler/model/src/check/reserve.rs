//! `Reserve` and `Release`: will there be room for the pod when those that leave are gone? (S5, S6, S11, S13 to S18, S23)
//!
//! The room is judged on a load built for the purpose: the pods of the node that stay, and what is reserved there
//! already or leaves later than `until`, whichever is more. Costs: the pods of the node.
//! Absent: rules about other pods, and one domain for the minimums (S31), which are judged when the pods are placed;
//! whether the room could not be had at once.

use super::cluster::{Cluster, Node};
use super::devices::grant_fits;
use super::kept::Kept;
use super::ledger::{Bill, Part, Used};
use super::list::List;
use super::load::Load;
use super::violation::Findings;
use crate::{Placement, PodId, Timestamp, WorkloadId};
use std::collections::BTreeSet;

impl Cluster {
    pub(super) fn reserve(&mut self, id: PodId, at: Placement, until: Timestamp, list: &mut List) {
        let mut out = Vec::new();
        let kept = self.room_later(id, at, until, list, &mut Findings::new(&id, &mut out));
        list.out.append(&mut out);
        let Some(kept) = kept else { return };
        if !self.pods.contains_key(&id) {
            list.kept.insert(id.workload);
        }
        self.give_up(id);
        self.keep(id, kept);
    }

    /// Judges the room, and gives it.
    fn room_later(
        &self,
        id: PodId,
        at: Placement,
        until: Timestamp,
        list: &List,
        f: &mut Findings<'_>,
    ) -> Option<Kept> {
        f.want(!self.kept.contains_key(&id), "S23", || "room is kept for it already".to_owned());
        let (w, shape, node) = self.parties(id, at, f)?;
        // A victim that is moved (S26) is still leaving when room is kept for it.
        let moved = self.pods.get(&id).is_some_and(|pod| pod.leaving.is_some_and(|l| !l.by_owner));
        let waits = moved || self.is_pending(id);
        f.want(waits, "S23", || format!("room is kept for it: {}", self.why_not_pending(id, w)));
        let load = self.load_at(node, until, moved);
        self.may_run(w, &shape.spec, &node.spec, f);
        self.in_listed_pool(w, node, f);
        load.lacking(&shape.spec, &node.spec, f);
        grant_fits(&shape.spec, &node.spec, at.gpus, &load, list.allowance, f);
        let bill = self.bill(id, shape, node, at.gpus).map(|bill| Bill { part: Part::Kept, ..bill });
        if let Some(bill) = bill.as_ref().filter(|_| !self.kept.contains_key(&id)) {
            self.ledger.gates(bill, Used::then, f);
        }
        self.one_pool(id, node.pool, f);
        Some(Kept { shape: shape.clone(), at, bill })
    }

    /// What will be taken of a node at that time; of a node to which a pod is moved, once everything has left.
    fn load_at(&self, node: &Node, until: Timestamp, moved: bool) -> Load {
        let mut late = Load::default();
        for pod in node.pods.iter().filter_map(|id| self.pods.get(id)).filter(|_| !moved) {
            if pod.leaving.is_some_and(|leaving| leaving.until > until) {
                late.change(&pod.shape.spec, pod.grant, 1);
            }
        }
        node.staying().with(&late.with(&node.reserved, i64::max), std::ops::Add::add)
    }

    /// S5: true if the workload has all minimums, those counted for which room is kept.
    fn has_minimum_kept(&self, workload: WorkloadId) -> bool {
        let Some(w) = self.workloads.get(&workload) else { return true };
        let mut kept = vec![0; w.heads.len()];
        for (id, _) in self.kept_of(workload) {
            if let Some(kept) = kept.get_mut(usize::from(id.role)) {
                *kept += 1;
            }
        }
        let roles = w.spec.roles.iter().zip(&w.heads).zip(kept);
        roles.into_iter().all(|((role, heads), kept)| heads.there() + heads.succeeded + kept >= role.min)
    }

    /// S5: room is kept for all minimums or for none. Of one that was stopped later in the list that is left to the next.
    pub(super) fn kept_gangs(&self, list: &mut List) {
        let stopped: BTreeSet<WorkloadId> = list.lost.keys().copied().collect();
        for workload in std::mem::take(&mut list.kept).difference(&stopped) {
            let workload = *workload;
            let complete = self.has_minimum_kept(workload);
            let why = || "room is kept for some of it, not for all its minimums".to_owned();
            list.about(&workload).want(complete, "S5", why);
        }
    }

    /// S23: a room is given up that is kept.
    /// Who was to be moved stays.
    pub(super) fn release(&mut self, id: PodId, list: &mut List) {
        let kept = self.kept.contains_key(&id);
        list.about(&id).want(kept, "S23", || "no room is kept for it to be given up".to_owned());
        self.give_up(id);
        self.not_moved(id);
        list.gave_up = true;
    }
}
