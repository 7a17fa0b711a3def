//! Pods as seen, each with its seat: the place in a workload under which the engine knows it.
//!
//! # Data structure and costs
//!
//! A slab of entries with indices by name, by node, and by what must be read again when something around changes. What
//! pods of one controller have in common is interned (`berth_api::keep`), so an entry is about a third of a KiB. A change
//! of a pod costs O(log n); the end of a list looks at every pod once.

use super::groups::Group;
use crate::action::PodRef;
use crate::change::Name;
use berth_api::keep;
use berth_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A place in a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) group: u32,
    pub(crate) role: u16,
    pub(crate) slot: u32,
}

/// A pod.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kept: keep::Pod,
    pub(crate) seat: Option<Seat>,
    /// The node it was asked to be bound to, until the watch shows it bound or the bind has failed.
    pub(crate) binding: Option<Arc<str>>,
    /// It was evicted by a decision, and how that turned out is not known to be otherwise.
    pub(crate) evicted: bool,
    /// It is on a node whose devices do not suffice for it: what it takes besides is counted.
    pub(crate) misfit: bool,
    /// Why it cannot be scheduled at all, whatever there is.
    pub(crate) problem: Option<Box<str>>,
    /// Claims it uses, by name.
    pub(crate) claims: Box<[String]>,
    /// Claims of devices that it uses, by name.
    pub(crate) device_claims: Box<[String]>,
    /// The label of the selection that these make, if they do.
    pub(crate) selected: Option<Box<str>>,
    listed: u32,
}

impl Entry {
    /// The pod by name and uid.
    pub(crate) fn reference(&self) -> PodRef {
        PodRef {
            namespace: self.kept.namespace.clone(),
            name: self.kept.name.clone(),
            uid: self.kept.uid.clone(),
        }
    }

    /// It is on a node and does not run there yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.kept.phase == keep::Phase::Pending
    }

    /// Since when it is on its node, as far as is known; one that the kubelet has not begun with is there since now.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        let created = self.kept.created.as_ref().filter(|_| !self.is_starting());
        let time = self.kept.started.as_ref().or(created);
        time.map_or(now, |time| Timestamp(time.0.as_millisecond()).min(now))
    }

    /// When it will have been deleted, if it is being.
    pub(crate) fn leaving(&self) -> Option<Timestamp> {
        self.kept.deleted.as_ref().map(|time| Timestamp(time.0.as_millisecond()))
    }

    /// True if nothing of it runs any more, or ever will.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.kept.phase, keep::Phase::Succeeded | keep::Phase::Failed)
    }

    /// When it was created.
    pub(crate) fn created(&self) -> Timestamp {
        Timestamp(self.kept.created.as_ref().map_or(0, |time| time.0.as_millisecond()))
    }
}

/// All pods.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_name: HashMap<Name, u32>,
    by_node: BTreeMap<Arc<str>, BTreeSet<u32>>,
    by_claim: BTreeMap<Name, BTreeSet<u32>>,
    /// Pods on nodes that use devices of drivers.
    by_uid: HashMap<Box<str>, u32>,
    /// Pods with selectors of namespaces.
    pub(crate) about_namespaces: BTreeSet<u32>,
    /// Grows with every list; pods set since have it.
    list: u32,
}

impl Pods {
    /// The pod of a name.
    pub(crate) fn find(&self, name: &Name) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, ix: u32) -> Option<&Entry> {
        self.entries.get(ix as usize)?.as_ref()
    }

    /// The pods that are in a workload.
    pub(crate) fn of(&self, group: &Group) -> impl Iterator<Item = &Entry> {
        group.slots().filter_map(|slot| self.get(slot.pod?))
    }

    pub(crate) fn get_mut(&mut self, ix: u32) -> Option<&mut Entry> {
        self.entries.get_mut(ix as usize)?.as_mut()
    }

    /// A new pod; it has no seat yet.
    pub(crate) fn insert(&mut self, name: Name, kept: keep::Pod) -> u32 {
        let entry = Entry {
            kept,
            seat: None,
            binding: None,
            evicted: false,
            misfit: false,
            problem: None,
            claims: Box::default(),
            device_claims: Box::default(),
            selected: None,
            listed: self.list,
        };
        let ix = match self.free.pop() {
            Some(ix) => {
                self.entries[ix as usize] = Some(entry);
                ix
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        self.by_name.insert(name, ix);
        self.index(ix);
        ix
    }

    /// The pod as it is now; gives back how it was.
    pub(crate) fn replace(&mut self, ix: u32, kept: keep::Pod) -> Option<keep::Pod> {
        self.unindex(ix);
        let list = self.list;
        let entry = self.get_mut(ix)?;
        entry.listed = list;
        let old = std::mem::replace(&mut entry.kept, kept);
        self.index(ix);
        Some(old)
    }

    /// A pod is gone.
    pub(crate) fn remove(&mut self, ix: u32) -> Option<Entry> {
        self.unindex(ix);
        let entry = self.entries.get_mut(ix as usize)?.take()?;
        self.by_name.remove(&Name::new(&entry.kept.namespace, &entry.kept.name));
        self.about_namespaces.remove(&ix);
        for claim in entry.claims.iter().chain(&entry.device_claims) {
            self.uses_no_more(ix, &Name::new(&entry.kept.namespace, claim));
        }
        self.free.push(ix);
        Some(entry)
    }

    /// Notes what a pod must be read again for. The claims of a pod do not change.
    pub(crate) fn depends(&mut self, ix: u32, claims: &[String], namespaces: bool) {
        let Some(entry) = self.entries.get_mut(ix as usize).and_then(Option::as_mut) else { return };
        if entry.claims.is_empty() && !claims.is_empty() {
            entry.claims = claims.into();
            for claim in claims {
                let name = Name::new(&entry.kept.namespace, claim);
                self.by_claim.entry(name).or_default().insert(ix);
            }
        }
        if namespaces {
            self.about_namespaces.insert(ix);
        }
    }

    /// The devices that a pod's claims mean.
    pub(crate) fn selects(&mut self, ix: u32, label: Option<String>) {
        if let Some(entry) = self.entries.get_mut(ix as usize).and_then(Option::as_mut) {
            entry.selected = label.map(Into::into);
        }
    }

    /// Notes which claims of devices a pod uses; those that are made from templates come one by one.
    pub(crate) fn uses_devices(&mut self, ix: u32, claims: Vec<String>) {
        let Some(entry) = self.entries.get_mut(ix as usize).and_then(Option::as_mut) else { return };
        if *entry.device_claims == *claims {
            return;
        }
        let namespace = entry.kept.namespace.clone();
        let before = std::mem::replace(&mut entry.device_claims, claims.clone().into());
        for claim in &before {
            self.uses_no_more(ix, &Name::new(&namespace, claim));
        }
        for claim in &claims {
            self.by_claim.entry(Name::new(&namespace, claim)).or_default().insert(ix);
        }
    }

    fn uses_no_more(&mut self, ix: u32, claim: &Name) {
        if let Some(pods) = self.by_claim.get_mut(claim) {
            pods.remove(&ix);
            if pods.is_empty() {
                self.by_claim.remove(claim);
            }
        }
    }

    /// Pods that use a claim, of volumes or of devices.
    pub(crate) fn using(&self, claim: &Name) -> impl Iterator<Item = u32> + '_ {
        self.by_claim.get(claim).into_iter().flatten().copied()
    }

    /// Pods that use any claim.
    pub(crate) fn using_any(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_claim.values().flatten().copied()
    }

    /// Pods bound to a node.
    pub(crate) fn on(&self, node: &str) -> impl Iterator<Item = u32> + '_ {
        self.by_node.get(node).into_iter().flatten().copied()
    }

    /// The pod of a uid, if it is on a node and uses devices of drivers.
    pub(crate) fn with_devices(&self, uid: &str) -> Option<u32> {
        self.by_uid.get(uid).copied()
    }

    /// All pods, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let some = |(ix, entry): (usize, &'_ Option<Entry>)| entry.is_some().then_some(ix as u32);
        let all: Vec<u32> = self.entries.iter().enumerate().filter_map(some).collect();
        all.into_iter().filter_map(|ix| Some((ix, self.get(ix)?)))
    }

    /// A list begins.
    pub(crate) fn list_begun(&mut self) {
        self.list += 1;
    }

    /// A list has ended; names what was not in it.
    pub(crate) fn list_ended(&self) -> Vec<u32> {
        self.iter().filter(|(_, entry)| entry.listed != self.list).map(|(ix, _)| ix).collect()
    }

    fn index(&mut self, ix: u32) {
        let Some(entry) = self.get(ix) else { return };
        let Some(node) = entry.kept.node.clone() else { return };
        if !entry.kept.template.spec.resource_claims.is_empty() {
            let uid = entry.kept.uid.clone();
            self.by_uid.insert(uid, ix);
        }
        self.by_node.entry(node).or_default().insert(ix);
    }

    fn unindex(&mut self, ix: u32) {
        let Some(entry) = self.entries.get(ix as usize).and_then(Option::as_ref) else { return };
        self.by_uid.remove(&entry.kept.uid);
        let Some(node) = entry.kept.node.clone() else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.remove(&ix);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }
}
