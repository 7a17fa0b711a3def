//! Devices that Berth's own driver publishes, node by node, and the number that each has in the engine.
//!
//! A device keeps its number for as long as its node is told, whatever becomes of the slices: pods are on it by that number. One
//! that is not published any more is lost (S18). New ones are numbered in the order of their names, so that whoever starts
//! now numbers them as whoever started before, if nothing was lost meanwhile; nothing that lives longer than
//! the process may rely on that, and claims name devices by name.
//!
//! Of the slices of a node those of the highest generation count. Costs: a slice that changes costs its node's devices.

use super::seen::Seen;
use crate::change::Name;
use berth_api::convert::{self, Published};
use berth_api::names::driver;
use berth_api::{Malformed, slim};
use berth_model::{DeviceHealth, DeviceIndex, DeviceSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The most devices of a node, as in the model.
const DEVICES_MAX: usize = 64;

/// The slices.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    seen: Seen<slim::ResourceSlice>,
    node_of: BTreeMap<Name, Box<str>>,
    by_node: BTreeMap<Box<str>, BTreeSet<Name>>,
    numbered: BTreeMap<Box<str>, Vec<Published>>,
}

impl Slices {
    /// Takes in a slice; the nodes that are to be looked at again.
    pub(crate) fn set(&mut self, slice: slim::ResourceSlice) -> Vec<Box<str>> {
        if slice.spec.driver != driver::NAME {
            return Vec::new();
        }
        let name = Name::of(&slice.metadata);
        let now: Option<Box<str>> = slice.spec.node_name.as_deref().map(Into::into);
        if !self.seen.set(name.clone(), slice) {
            return Vec::new();
        }
        let before = self.leave(&name);
        if let Some(node) = &now {
            self.by_node.entry(node.clone()).or_default().insert(name.clone());
            self.node_of.insert(name, node.clone());
        }
        let mut nodes: Vec<Box<str>> = before.into_iter().chain(now).collect();
        nodes.dedup();
        nodes
    }

    /// Takes a slice out; the node that is to be looked at again.
    pub(crate) fn gone(&mut self, name: &Name) -> Option<Box<str>> {
        self.seen.gone(name);
        self.leave(name)
    }

    pub(crate) fn list_begun(&mut self) {
        self.seen.list_begun();
    }

    /// A list has ended; the nodes that are to be looked at again.
    pub(crate) fn list_ended(&mut self) -> Vec<Box<str>> {
        let gone = self.seen.list_ended();
        gone.iter().filter_map(|name| self.leave(name)).collect()
    }

    fn leave(&mut self, name: &Name) -> Option<Box<str>> {
        let node = self.node_of.remove(name)?;
        if let Some(slices) = self.by_node.get_mut(&node) {
            slices.remove(name);
            if slices.is_empty() {
                self.by_node.remove(&node);
            }
        }
        Some(node)
    }

    /// The devices of a node by number, as they are published now.
    ///
    /// # Errors
    /// A slice is malformed, or there have been too many devices; what was known stands.
    pub(crate) fn devices(&mut self, node: &str) -> Result<Vec<DeviceSpec>, Malformed> {
        let mut now = self.published(node)?;
        let known = self.numbered.get(node);
        let mut numbered: Vec<Published> = Vec::new();
        for device in known.into_iter().flatten() {
            let lost = Published {
                spec: DeviceSpec { health: DeviceHealth::Lost, ..device.spec.clone() },
                name: device.name.clone(),
            };
            numbered.push(now.remove(&device.name).unwrap_or(lost));
        }
        numbered.extend(now.into_values());
        if numbered.len() > DEVICES_MAX {
            return Err(Malformed {
                object: format!("Node {node}"),
                field: "devices of gpu.berth.dev".to_owned(),
                value: format!("{} of them, those that were lost included", numbered.len()),
                allowed: format!("{DEVICES_MAX}; delete the Node to have the lost ones forgotten"),
            });
        }
        let specs = numbered.iter().map(|device| device.spec.clone()).collect();
        if numbered.is_empty() {
            self.numbered.remove(node);
        } else {
            self.numbered.insert(node.into(), numbered);
        }
        Ok(specs)
    }

    fn published(&self, node: &str) -> Result<BTreeMap<Box<str>, Published>, Malformed> {
        let mut all = BTreeMap::new();
        for slice in self.newest(node) {
            for device in convert::devices(slice)? {
                all.entry(device.name.clone()).or_insert(device);
            }
        }
        Ok(all)
    }

    fn newest(&self, node: &str) -> impl Iterator<Item = &slim::ResourceSlice> {
        let names = self.by_node.get(node).into_iter().flatten();
        let slices: Vec<&slim::ResourceSlice> = names.filter_map(|name| self.seen.get(name)).collect();
        let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
        slices.into_iter().filter(move |slice| Some(slice.spec.pool.generation) == newest)
    }

    /// The devices of a node as its slices describe them.
    pub(crate) fn as_published(&self, node: &str) -> Vec<&slim::Device> {
        self.newest(node).flat_map(|slice| &slice.spec.devices).collect()
    }

    /// Nodes that have slices.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.by_node.keys().map(|node| &**node)
    }

    /// A node is told no more: its devices lose their numbers.
    pub(crate) fn forget(&mut self, node: &str) {
        self.numbered.remove(node);
    }

    /// The devices of a node by number, as last told.
    pub(crate) fn numbered(&self, node: &str) -> &[Published] {
        self.numbered.get(node).map_or(&[], Vec::as_slice)
    }

    /// The number of a device.
    pub(crate) fn number(&self, node: &str, device: &str) -> Option<DeviceIndex> {
        let at = self.numbered(node).iter().position(|known| *known.name == *device)?;
        Some(DeviceIndex(at as u8))
    }
}
