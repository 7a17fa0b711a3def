//! Workloads as the mirror forms them of pods (S5), each pod in a slot of a role, and what the engine knows of each slot.
//!
//! # Data structure
//!
//! A role is pods with one name, one specification and the same labels, those apart that number them. Its slots are the
//! engine's pod indices: they never move, and one whose pod is gone is taken by the next pod. A slot without a pod is
//! *absent* for the engine, so that nothing is placed that does not exist; the two exceptions are slots whose pod was
//! evicted by a decision and is about to be replaced by its controller, which are *expected* for half a minute.
//! Beyond eight, slots are counted in powers of two, so that a role that grows pod by pod is told anew only now and then.

use super::start::Start;
use crate::change::Name;
use berth_api::group::{Key, Kind};
use berth_model::{
    Eviction, GpuGrant, Labels, NodeId, PodId, PodOutcome, PodSpec, ProjectId, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What makes pods one workload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GroupKey {
    pub(crate) project: Option<ProjectId>,
    pub(crate) key: Key,
}

/// What the engine knows of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Nothing: the workload has not been told with it.
    New,
    /// That there is no pod.
    Absent,
    /// That a pod waits.
    Waiting,
    /// It has placed the pod there; the cluster does not show it yet.
    Placed(NodeId),
    /// That the pod is there.
    On {
        node: NodeId,
        /// When it will be gone, if it is leaving.
        leaving: Option<Timestamp>,
        /// It does not run yet (S5).
        starting: bool,
    },
}

/// The place of one pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) pod: Option<u32>,
    pub(crate) told: Told,
    /// A pod that was here is gone, in this way, and the engine has not been told.
    pub(crate) gone: Option<PodOutcome>,
    /// Until then a pod is expected here.
    pub(crate) expected: Option<Timestamp>,
    /// The devices that were told of it, or that it was placed on; none if the engine has chosen them for a pod that it
    /// found.
    pub(crate) gpus: GpuGrant,
}

impl Told {
    /// The node on which the engine counts the pod.
    pub(crate) const fn node(self) -> Option<NodeId> {
        match self {
            Self::Placed(node) | Self::On { node, .. } => Some(node),
            Self::New | Self::Absent | Self::Waiting => None,
        }
    }
}

impl Slot {
    pub(crate) const NEW: Self =
        Self { pod: None, told: Told::New, gone: None, expected: None, gpus: GpuGrant::None };

    /// True if a pod that comes may have it.
    const fn is_free(&self) -> bool {
        self.pod.is_none() && self.expected.is_none()
    }
}

/// Pods that are alike.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: Box<str>,
    pub(crate) spec: Arc<PodSpec>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) min_members: Option<u32>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) pods: u32,
}

impl Role {
    fn same(&self, other: &Wanted<'_>) -> bool {
        let spec = Arc::ptr_eq(&self.spec, other.spec) || self.spec == *other.spec;
        *self.name == *other.role
            && self.min_members == other.min_members
            && spec
            && (Arc::ptr_eq(&self.labels, other.labels) || self.labels == *other.labels)
    }

    /// How many slots the engine should know of: those there are, and so many without a pod, free ones among them.
    pub(crate) fn count(&self, phantoms: u32) -> u32 {
        let free = self.slots.iter().filter(|slot| slot.is_free()).count() as u32;
        let least = self.slots.len() as u32 + phantoms.saturating_sub(free);
        if least > 8 { least.next_power_of_two() } else { least }
    }

    /// True if nobody is in it and the engine counts on nobody.
    fn is_empty(&self) -> bool {
        let idle = |slot: &Slot| {
            slot.pod.is_none()
                && slot.gone.is_none()
                && slot.expected.is_none()
                && matches!(slot.told, Told::New | Told::Absent)
        };
        self.pods == 0 && self.slots.iter().all(idle)
    }
}

/// The role that a pod wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) role: &'a str,
    pub(crate) spec: &'a Arc<PodSpec>,
    pub(crate) labels: &'a Arc<Labels>,
    pub(crate) min_members: Option<u32>,
}

/// A workload.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: WorkloadId,
    pub(crate) key: GroupKey,
    pub(crate) roles: Vec<Role>,
    /// Pods in it.
    pub(crate) pods: u32,
    /// As last told.
    pub(crate) told: Option<Box<WorkloadSpec>>,
    /// For whom it was evicted, and when, of late (S25).
    pub(crate) evictions: Vec<Eviction>,
    /// Why it cannot be scheduled, whatever there is.
    pub(crate) problem: Option<Box<str>>,
    /// It is a gang whose start has not reached the minimum (S5).
    pub(crate) start: Option<Box<Start>>,
    /// The reason that was last said of it.
    pub(crate) said: Option<Box<str>>,
}

impl Group {
    /// The controller's object that may say how many pods it has.
    pub(crate) fn owner(&self) -> (Kind, Name) {
        (self.key.key.kind, Name::new(&self.key.key.namespace, &self.key.key.name))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.key.key.namespace, self.key.key.name)
    }

    /// All slots, role by role.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.roles.iter().flat_map(|role| &role.slots)
    }

    /// A slot for a pod: one in which a pod is expected, else one that is free, else a new one.
    pub(crate) fn seat(&mut self, wanted: &Wanted<'_>, pod: u32) -> (u16, u32) {
        let role = self.role(wanted);
        let slots = &mut self.roles[role].slots;
        let expected = |placed: bool| {
            move |slot: &Slot| {
                slot.pod.is_none()
                    && slot.expected.is_some()
                    && matches!(slot.told, Told::Placed(_)) == placed
            }
        };
        let at = slots
            .iter()
            .position(expected(true))
            .or_else(|| slots.iter().position(expected(false)))
            .or_else(|| slots.iter().position(Slot::is_free));
        let at = at.unwrap_or_else(|| {
            // Most workloads are one pod.
            slots.reserve_exact(usize::from(slots.is_empty()));
            slots.push(Slot::NEW);
            slots.len() - 1
        });
        let slot = &mut slots[at];
        slot.pod = Some(pod);
        slot.expected = None;
        self.roles[role].pods += 1;
        self.pods += 1;
        (role as u16, at as u32)
    }

    /// A pod leaves its slot, in this way.
    pub(crate) fn unseat(&mut self, role: u16, slot: u32, outcome: PodOutcome, expected: Option<Timestamp>) {
        let role = &mut self.roles[usize::from(role)];
        role.pods -= 1;
        self.pods -= 1;
        let slot = &mut role.slots[slot as usize];
        slot.pod = None;
        slot.gone = Some(outcome);
        // Only what is on a node can be evicted and wanted again.
        let on_node = matches!(slot.told, Told::On { .. });
        slot.expected = expected.filter(|_| on_node && outcome == PodOutcome::Evicted);
        if slot.expected.is_none() && outcome == PodOutcome::Evicted {
            slot.gone = Some(PodOutcome::Deleted);
        }
    }

    /// The slot of a pod.
    pub(crate) fn slot_mut(&mut self, pod: PodId) -> Option<&mut Slot> {
        self.roles.get_mut(usize::from(pod.role))?.slots.get_mut(pod.index as usize)
    }

    /// The role that a pod wants: a known one, else one that is empty, else a new one.
    fn role(&mut self, wanted: &Wanted<'_>) -> usize {
        if let Some(known) = self.roles.iter().position(|role| role.same(wanted)) {
            return known;
        }
        let (name, spec, labels) = (wanted.role.into(), wanted.spec.clone(), wanted.labels.clone());
        if let Some(empty) = self.roles.iter().position(Role::is_empty) {
            let role = &mut self.roles[empty];
            (role.name, role.spec, role.labels, role.min_members) = (name, spec, labels, wanted.min_members);
            return empty;
        }
        let role = Role { name, spec, labels, min_members: wanted.min_members, slots: Vec::new(), pods: 0 };
        self.roles.reserve_exact(usize::from(self.roles.is_empty()));
        self.roles.push(role);
        self.roles.len() - 1
    }
}

/// All workloads.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_key: BTreeMap<GroupKey, u32>,
    by_id: BTreeMap<WorkloadId, u32>,
    all: Vec<Option<Group>>,
    free: Vec<u32>,
    next: u64,
}

impl Groups {
    pub(crate) fn get(&self, ix: u32) -> Option<&Group> {
        self.all.get(ix as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, ix: u32) -> Option<&mut Group> {
        self.all.get_mut(ix as usize)?.as_mut()
    }

    /// The workload of an identifier.
    pub(crate) fn find(&self, id: WorkloadId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The workload that a pod belongs to; a new one if there is none.
    pub(crate) fn of(&mut self, key: &GroupKey) -> u32 {
        if let Some(known) = self.by_key.get(key) {
            return *known;
        }
        let group = Group {
            id: WorkloadId(self.next),
            key: key.clone(),
            roles: Vec::new(),
            pods: 0,
            told: None,
            evictions: Vec::new(),
            problem: None,
            start: None,
            said: None,
        };
        self.next += 1;
        let id = group.id;
        let ix = match self.free.pop() {
            Some(ix) => {
                self.all[ix as usize] = Some(group);
                ix
            }
            None => {
                self.all.push(Some(group));
                (self.all.len() - 1) as u32
            }
        };
        self.by_key.insert(key.clone(), ix);
        self.by_id.insert(id, ix);
        ix
    }

    /// The workload of a key, if there is one.
    pub(crate) fn known(&self, key: &GroupKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Takes a workload out to change it beside the others; [`Groups::put_back`] must follow.
    pub(crate) fn take(&mut self, ix: u32) -> Option<Group> {
        self.all.get_mut(ix as usize)?.take()
    }

    /// Puts back what was taken out.
    pub(crate) fn put_back(&mut self, ix: u32, group: Group) {
        self.all[ix as usize] = Some(group);
    }

    /// A workload is gone.
    pub(crate) fn remove(&mut self, ix: u32) {
        if let Some(group) = self.all.get_mut(ix as usize).and_then(Option::take) {
            self.by_key.remove(&group.key);
            self.by_id.remove(&group.id);
            self.free.push(ix);
        }
    }

    /// All workloads, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Group)> {
        self.all.iter().enumerate().filter_map(|(ix, group)| Some((ix as u32, group.as_ref()?)))
    }
}
