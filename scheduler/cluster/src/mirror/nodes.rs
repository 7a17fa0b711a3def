//! Nodes: seen, and told. A node is told when it is new or something that scheduling reads is different, its devices included.

use super::ids::Ids;
use super::seen::Seen;
use super::selections::{Counts, Selections};
use super::slices::Slices;
use crate::change::Name;
use berth_api::convert::{self, NodeFacts, Selection};
use berth_api::slim;
use berth_model::{DeviceIndex, DeviceSpec, Event, NodeId, NodeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    seen: Seen<slim::Node>,
    csi: Seen<slim::CsiNode>,
    slices: Slices,
    selections: Selections,
    ids: Ids<Arc<str>>,
    told: BTreeMap<NodeId, NodeSpec>,
    dirty: BTreeSet<Name>,
    /// What is wrong with a node, by name.
    pub(crate) problems: BTreeMap<Box<str>, String>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            seen: Seen::default(),
            csi: Seen::default(),
            slices: Slices::default(),
            selections: Selections::default(),
            ids: Ids::from(0),
            told: BTreeMap::new(),
            dirty: BTreeSet::new(),
            problems: BTreeMap::new(),
        }
    }
}

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Nodes that are new or different.
    pub(crate) set: Vec<Event>,
    /// Names of nodes that are new, for the pods that are bound to them.
    pub(crate) new: Vec<Arc<str>>,
    /// Names of nodes that have other devices than before.
    pub(crate) devices: Vec<Arc<str>>,
    /// Nodes that are gone, with their names.
    pub(crate) gone: Vec<(NodeId, Arc<str>)>,
}

impl Nodes {
    pub(crate) fn set(&mut self, node: slim::Node) {
        let name = Name::of(&node.metadata);
        if self.seen.set(name.clone(), node) {
            self.dirty.insert(name);
        }
    }

    pub(crate) fn set_csi(&mut self, csi: slim::CsiNode) {
        let name = Name::of(&csi.metadata);
        if self.csi.set(name.clone(), csi) {
            self.dirty.insert(name);
        }
    }

    pub(crate) fn gone(&mut self, name: &Name) {
        if self.seen.gone(name) {
            self.dirty.insert(name.clone());
        }
    }

    pub(crate) fn csi_gone(&mut self, name: &Name) {
        if self.csi.gone(name) {
            self.dirty.insert(name.clone());
        }
    }

    pub(crate) fn set_slice(&mut self, slice: slim::ResourceSlice) {
        let nodes = self.slices.set(slice);
        self.dirty.extend(nodes.iter().map(|node| Name::cluster(node)));
    }

    pub(crate) fn slice_gone(&mut self, name: &Name) {
        let node = self.slices.gone(name);
        self.dirty.extend(node.map(|node| Name::cluster(&node)));
    }

    pub(crate) fn slices_begun(&mut self) {
        self.slices.list_begun();
    }

    pub(crate) fn slices_ended(&mut self) {
        let nodes = self.slices.list_ended();
        self.dirty.extend(nodes.iter().map(|node| Name::cluster(node)));
    }

    pub(crate) fn list_begun(&mut self, csi: bool) {
        if csi { self.csi.list_begun() } else { self.seen.list_begun() }
    }

    pub(crate) fn list_ended(&mut self, csi: bool) {
        let gone = if csi { self.csi.list_ended() } else { self.seen.list_ended() };
        self.dirty.extend(gone);
    }

    /// The node of a name, if it has been told.
    pub(crate) fn id(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).map(NodeId).filter(|id| self.told.contains_key(id))
    }

    /// A node as last told.
    pub(crate) fn spec(&self, id: NodeId) -> Option<&NodeSpec> {
        self.told.get(&id)
    }

    /// The name of a node.
    pub(crate) fn name(&self, id: NodeId) -> Option<&Arc<str>> {
        self.ids.name(id.0)
    }

    /// The number of a device of a node, by its name in a slice of Berth's driver.
    pub(crate) fn device(&self, node: NodeId, device: &str) -> Option<DeviceIndex> {
        self.slices.number(self.name(node)?, device)
    }

    /// The devices that Berth's driver has published of a node, by number, with their names; those that are gone are lost.
    pub(crate) fn published(&self, node: NodeId) -> impl Iterator<Item = (&str, &DeviceSpec)> {
        let devices = self.name(node).map_or(&[][..], |node| self.slices.numbered(node));
        devices.iter().map(|device| (&*device.name, &device.spec))
    }

    /// The nodes as last told.
    pub(crate) fn told(&self) -> impl Iterator<Item = &NodeSpec> {
        self.told.values()
    }

    /// A node as last told.
    pub(crate) fn told_spec(&self, id: NodeId) -> Option<&NodeSpec> {
        self.told.get(&id)
    }

    /// A pod selects devices; if nobody did so before, all nodes that have some are to be judged.
    pub(crate) fn select(&mut self, selection: &Selection) {
        if self.selections.add(selection) {
            self.dirty.extend(self.slices.nodes().map(Name::cluster));
        }
    }

    /// Forgets selections that are not among those that are used.
    pub(crate) fn retain_selections(&mut self, used: &BTreeSet<String>) {
        self.selections.retain(used);
    }

    /// Why selections fail, by label, if that may have changed since the last call.
    pub(crate) fn failures(&mut self) -> Option<BTreeMap<String, String>> {
        self.selections.failures()
    }

    /// On how many nodes all, some or none of the devices are selected.
    pub(crate) fn selected(&self, label: &str) -> Counts {
        self.selections.counts(label)
    }

    /// True if there is something to be told.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Brings what was told to what is seen; those that are gone are for the caller to tell, after their pods.
    pub(crate) fn events(&mut self) -> Changed {
        let mut changed = Changed::default();
        for name in std::mem::take(&mut self.dirty) {
            let Some(node) = self.seen.get(&name) else {
                if let Some(id) = self.id(&name.name) {
                    self.told.remove(&id);
                    changed.gone.push((id, Arc::from(&*name.name)));
                    self.ids.forget(&*name.name);
                    self.slices.forget(&name.name);
                    self.selections.forget(&name.name);
                }
                self.problems.remove(&name.name);
                continue;
            };
            let key: Arc<str> = Arc::from(&*name.name);
            let id = NodeId(self.ids.give(&key));
            let selected = self.selections.judge(&name.name, &self.slices.as_published(&name.name));
            let devices = self.slices.devices(&name.name);
            let read = devices.and_then(|devices| {
                let (csi, devices) = (self.csi.get(&name), Some(&*devices));
                let facts = NodeFacts { id, csi, devices, selected: &selected };
                convert::node(node, facts)
            });
            let spec = match read {
                Ok(spec) => {
                    self.problems.remove(&name.name);
                    spec
                }
                Err(bad) => {
                    // A node that cannot be read takes no new pods; what is known of it stays.
                    self.problems.insert(name.name.clone(), bad.to_string());
                    let Some(known) = self.told.get(&id) else { continue };
                    NodeSpec { unschedulable: true, ..known.clone() }
                }
            };
            changed.tell(self.told.get(&id), &spec, &key);
            self.told.insert(id, spec);
        }
        changed
    }
}

impl Changed {
    /// Tells of a node what differs. That devices become well or unwell happens more often than all else, and costs less.
    fn tell(&mut self, before: Option<&NodeSpec>, now: &NodeSpec, name: &Arc<str>) {
        let Some(before) = before else {
            self.new.push(name.clone());
            self.set.push(Event::NodeSet(now.clone()));
            return;
        };
        if before == now {
            return;
        }
        let well = |spec: &NodeSpec| spec.devices.iter().map(|it| it.health).collect::<Vec<_>>();
        let mut as_well = before.clone();
        as_well.devices.iter_mut().zip(well(now)).for_each(|(device, health)| device.health = health);
        if as_well == *now {
            let both = well(before).into_iter().zip(well(now)).enumerate();
            let differ = both.filter(|(_, (before, now))| before != now);
            self.set.extend(differ.map(|(at, (_, health))| Event::DeviceHealth {
                node: now.id,
                device: DeviceIndex(at as u8),
                health,
            }));
            return;
        }
        if before.devices != now.devices {
            self.devices.push(name.clone());
        }
        self.set.push(Event::NodeSet(now.clone()));
    }
}
