//! `Reserve`: will there be room for the pod when those that leave are gone? (S6, S11, S13 to S18, S23)
//!
//! Judged after all places and evictions of the list, on a load built for the purpose: the pods of the node that
//! stay, those that leave later than `until`, and what the list reserved there before. Costs: the pods of the node.
//! Absent: reservations of earlier lists, because no decision says when one is dropped; so nobody is accused of
//! taking room that an earlier list kept. Absent too: rules about other pods, and that a whole gang gets room.

use super::cluster::{Cluster, Node, Pod};
use super::devices::grant_fits;
use super::ledger::enter;
use super::list::List;
use super::load::Load;
use super::place::new_pod;
use super::violation::Findings;
use crate::{Placement, PodId, Timestamp};

impl Cluster {
    pub(super) fn reserve(&self, id: PodId, at: Placement, until: Timestamp, list: &mut List) {
        let mut out = Vec::new();
        let kept = self.room_later(id, at, until, list, &mut Findings::new(&id, &mut out));
        list.out.append(&mut out);
        list.kept_pods.insert(id);
        let Some(pod) = kept else { return };
        if let Some(bill) = &pod.bill {
            enter(&mut list.kept_bills, bill, 1);
        }
        if let Some(pool) = self.nodes.get(&at.node).and_then(|node| node.pool) {
            list.kept_in.entry(id.workload).or_insert(pool);
        }
        list.kept.entry(at.node).or_default().push(pod);
    }

    /// Judges the room, and gives the pod as it would be there.
    fn room_later(
        &self,
        id: PodId,
        at: Placement,
        until: Timestamp,
        list: &List,
        f: &mut Findings<'_>,
    ) -> Option<Pod> {
        f.want(!list.kept_pods.contains(&id), "S23", || "room is kept for it twice".to_owned());
        let (w, shape, node) = self.parties(id, at, f)?;
        // A victim that is moved (S26) is still leaving when room is kept for it.
        let moved = self.pods.get(&id).is_some_and(|pod| pod.leaving.is_some_and(|l| !l.by_owner));
        let waits = moved || self.is_pending(id);
        f.want(waits, "S23", || format!("room is kept for it: {}", self.why_not_pending(id, w)));
        let load = self.load_at(node, until, list);
        self.may_run(w, &shape.spec, node, f);
        load.lacking(&shape.spec, &node.spec, f);
        grant_fits(&shape.spec, &node.spec, at.gpus, &load, list.allowance, f);
        let bill = self.bill(id, shape, node, at.gpus);
        if let Some(bill) = &bill {
            self.ledger.gates_later(bill, &list.kept_bills, f);
        }
        self.one_pool(id, node.pool, f);
        let kept_in = list.kept_in.get(&id.workload);
        f.want(kept_in.is_none_or(|pool| node.pool == Some(*pool)), "S5", || {
            format!("room is kept for it in {:?} and for its workload in {kept_in:?}", node.pool)
        });
        Some(new_pod(shape, at, list.now, bill))
    }

    /// What will be taken of a node at that time, with the room that the list keeps for others.
    fn load_at(&self, node: &Node, until: Timestamp, list: &List) -> Load {
        let mut load = Load::default();
        let here = node.pods.iter().filter_map(|id| self.pods.get(id));
        for pod in here.filter(|pod| pod.leaving.is_none_or(|leaving| leaving.until > until)) {
            load.change(&pod.shape.spec, pod.grant, 1);
        }
        for pod in list.kept.get(&node.spec.id).into_iter().flatten() {
            load.change(&pod.shape.spec, pod.grant, 1);
        }
        load
    }
}
