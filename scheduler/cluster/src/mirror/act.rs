//! Decisions -> actions: names instead of identifiers, and what the mirror must remember of them.

use super::Mirror;
use super::groups::Told;
use crate::action::{Action, Bind, Notice, PodRef, Reservation, Victim};
use crate::change::Outcome;
use crate::words;
use berth_model::words::Words;
use berth_model::{
    Cause, Constraint, Decision, DeviceSpec, Event, Eviction, Labels, Millis, NodeId, NodeSpec, Placement,
    PodId, PolicyReason, PoolId, Reason, Timestamp, Warning, WorkloadId,
};
use std::collections::{BTreeMap, BTreeSet};

/// The shortest grace that is sent: 0 would delete the object while its containers still run (S23).
pub(super) const GRACE_MIN: Millis = Millis::from_secs(1);

impl Mirror {
    /// What is to be done for these decisions, which were made at `now`, and for what has come up since the last call.
    pub fn carry_out(&mut self, decisions: &[Decision], now: Timestamp) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = std::mem::take(&mut self.waiting_actions);
        let mut binds: Vec<(WorkloadId, Bind)> = Vec::new();
        let mut victims: BTreeMap<WorkloadId, BTreeSet<Victim>> = BTreeMap::new();
        for decision in decisions {
            if let Decision::Evict { pod, beneficiary: Some(beneficiary), .. } = decision {
                victims.entry(*beneficiary).or_default().extend(self.victim(pod.workload));
            }
        }
        for decision in decisions {
            match decision {
                Decision::Place { pod, at } => binds.extend(self.place(*pod, *at)),
                Decision::Evict { pod, grace, beneficiary, cause } => {
                    actions.extend(self.evict(*pod, *grace, *beneficiary, *cause));
                }
                Decision::Reserve { pod, at, until } => {
                    let victims = victims.get(&pod.workload).cloned().unwrap_or_default();
                    actions.extend(self.reserve(*pod, *at, *until, victims));
                }
                Decision::Release { pod } => {
                    actions.extend(self.reference(*pod).map(|pod| Action::Release { pod }));
                }
                Decision::Warn { pod, warning } => actions.extend(self.warn(*pod, *warning)),
                Decision::Report { workload, reason } => actions.extend(self.report(*workload, reason)),
            }
        }
        let mut all: Vec<Action> = Vec::new();
        for (workload, bind) in binds {
            match all.last_mut() {
                Some(Action::Bind(group)) if self.belongs(&group[0].pod, workload) => group.push(bind),
                _ => all.push(Action::Bind(vec![bind])),
            }
        }
        all.extend(actions);
        all
    }

    fn place(&mut self, pod: PodId, at: Placement) -> Option<(WorkloadId, Bind)> {
        let group = self.groups.find(pod.workload)?;
        let group = self.groups.get_mut(group)?;
        Self::start_begins(group);
        let slot = group.slot_mut(pod)?;
        (slot.told, slot.gpus) = (Told::Placed(at.node), at.gpus);
        // Without one its pod is expected: it is bound when it comes.
        let ix = slot.pod?;
        slot.expected = None;
        let node = self.nodes.name(at.node)?.clone();
        self.pods.get_mut(ix)?.binding = Some(node);
        match self.bind_of(ix, at)? {
            Ok(bind) => Some((pod.workload, bind)),
            Err(why) => {
                // Its claim has gone, or another that was placed with it has taken its volume: it is decided anew.
                let pod = self.reference(pod)?;
                self.outcome(Outcome::BindFailed(pod, why));
                None
            }
        }
    }

    fn evict(
        &mut self,
        pod: PodId,
        grace: Millis,
        beneficiary: Option<WorkloadId>,
        cause: Cause,
    ) -> Option<Action> {
        let name = beneficiary.and_then(|id| self.group_name(id));
        if let (Some(beneficiary), Some(group)) = (beneficiary, self.groups.find(pod.workload)) {
            let at = self.now;
            if let Some(group) = self.groups.get_mut(group) {
                group.evictions.retain(|eviction| eviction.beneficiary != beneficiary);
                group.evictions.push(Eviction { beneficiary, at });
            }
        }
        let ix = self.seated(pod)?;
        let entry = self.pods.get_mut(ix)?;
        entry.evicted = true;
        let text = words::eviction(cause, name.as_deref());
        let notice = Notice { cause: words::cause(cause), beneficiary: name, text };
        Some(Action::Evict { pod: entry.reference(), grace: grace.max(GRACE_MIN), notice })
    }

    fn reserve(
        &self,
        pod: PodId,
        at: Placement,
        until: Timestamp,
        victims: BTreeSet<Victim>,
    ) -> Option<Action> {
        let reservation = Reservation {
            node: self.nodes.name(at.node)?.to_string(),
            gpus: at.gpus,
            until,
            at: self.now,
            victims: victims.into_iter().collect(),
        };
        Some(Action::Reserve { pod: self.reference(pod)?, reservation })
    }

    fn warn(&self, pod: PodId, warning: Warning) -> Option<Action> {
        let (reason, message) = words::warning(warning, self);
        Some(Action::Warn { pod: self.reference(pod)?, reason, message })
    }

    /// Why the waiting pods of a workload wait.
    fn report(&self, workload: WorkloadId, reason: &Reason) -> Option<Action> {
        let group = self.groups.get(self.groups.find(workload)?)?;
        let waiting = group.slots().filter(|slot| slot.told == Told::Waiting).filter_map(|slot| slot.pod);
        let pods: Vec<PodRef> =
            waiting.filter_map(|ix| self.pods.get(ix)).map(super::pods::Entry::reference).collect();
        let gated = matches!(reason, Reason::Policy(PolicyReason::Gated { .. }));
        let said = if gated { "SchedulingGated" } else { "Unschedulable" };
        let mut message = format!("{}: {}", reason.kind(), Words::new(self).reason(reason));
        if let Reason::Feasibility { role, failed, .. } = reason
            && failed.iter().any(|(constraint, _)| *constraint == Constraint::NodeAffinity)
            && let Some(role) = group.roles.get(usize::from(*role))
        {
            let hints = [words::other_way(&role.spec).map(str::to_owned), self.selected(&role.spec)];
            hints.into_iter().flatten().for_each(|hint| message = format!("{message}; {hint}"));
        }
        (!pods.is_empty()).then_some(Action::Pending { pods, reason: said, message })
    }

    /// An eviction will not happen: the engine is told with the next events.
    pub(super) fn stale_eviction(&mut self, ix: u32) {
        let Some(seat) = self.pods.get(ix).and_then(|entry| entry.seat) else { return };
        // Of what is undone the engine was never told.
        let Some(group) = self.groups.get(seat.group).filter(|_| !self.is_undoing(seat.group)) else {
            return;
        };
        let pod = PodId { workload: group.id, role: seat.role, index: seat.slot };
        let told = group.roles[usize::from(seat.role)].slots[seat.slot as usize].told;
        if matches!(told, Told::On { leaving: None, .. } | Told::Placed(_)) {
            self.waiting_events.push(Event::EvictFailed { pod });
        }
    }

    /// What a workload is called, namespace and all.
    pub fn group_name(&self, workload: WorkloadId) -> Option<String> {
        self.groups.find(workload).and_then(|ix| self.groups.get(ix)).map(super::groups::Group::name)
    }

    /// The workload of a pod, by the pod's namespace and name.
    pub fn workload_of(&self, namespace: &str, name: &str) -> Option<WorkloadId> {
        let ix = self.pods.find(&crate::change::Name::new(namespace, name))?;
        let seat = self.pods.get(ix)?.seat?;
        self.groups.get(seat.group).map(|group| group.id)
    }

    /// Where the engine has a pod: `waiting`, `on NODE`, or `absent`.
    pub fn told(&self, namespace: &str, name: &str) -> String {
        let slot = || {
            let ix = self.pods.find(&crate::change::Name::new(namespace, name))?;
            let seat = self.pods.get(ix)?.seat?;
            Some(self.groups.get(seat.group)?.roles[usize::from(seat.role)].slots[seat.slot as usize].told)
        };
        match slot() {
            Some(Told::Waiting) => "waiting".to_owned(),
            Some(Told::Placed(node) | Told::On { node, .. }) => {
                format!("on {}", self.nodes.name(node).map_or("a node that is gone", |name| &**name))
            }
            Some(Told::New | Told::Absent) | None => "absent".to_owned(),
        }
    }

    /// The devices that Berth's driver has published of a node, by number; those that are gone are lost.
    pub fn published(&self, node: NodeId) -> impl Iterator<Item = (&str, &DeviceSpec)> {
        self.nodes.published(node)
    }

    /// A node as the engine has been told of it.
    pub fn told_node(&self, node: NodeId) -> Option<&NodeSpec> {
        self.nodes.told_spec(node)
    }

    /// The pool of a node with these labels (S1).
    pub fn pool_of(&self, labels: &Labels) -> Option<PoolId> {
        self.organisation.pool_of(labels)
    }

    /// The node of a name, if the engine has been told of it.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.nodes.id(name)
    }

    /// The pod of a uid, if it uses devices of Berth's driver and the engine has been told that it is on a node.
    pub fn pod_on_node(&self, uid: &str) -> Option<PodId> {
        let seat = self.pods.get(self.pods.with_devices(uid)?)?.seat?;
        let group = self.groups.get(seat.group)?;
        let told = group.roles[usize::from(seat.role)].slots[seat.slot as usize].told;
        matches!(told, Told::On { .. }).then_some(PodId {
            workload: group.id,
            role: seat.role,
            index: seat.slot,
        })
    }

    fn victim(&self, workload: WorkloadId) -> Option<Victim> {
        let key = &self.groups.get(self.groups.find(workload)?)?.key.key;
        Some(Victim {
            namespace: key.namespace.clone(),
            kind: format!("{:?}", key.kind),
            name: key.name.clone(),
        })
    }

    fn seated(&self, pod: PodId) -> Option<u32> {
        let group = self.groups.get(self.groups.find(pod.workload)?)?;
        group.roles.get(usize::from(pod.role))?.slots.get(pod.index as usize)?.pod
    }

    /// A pod by its name.
    pub fn reference(&self, pod: PodId) -> Option<PodRef> {
        self.pods.get(self.seated(pod)?).map(super::pods::Entry::reference)
    }

    fn belongs(&self, pod: &PodRef, workload: WorkloadId) -> bool {
        self.workload_of(&pod.namespace, &pod.name) == Some(workload)
    }
}
