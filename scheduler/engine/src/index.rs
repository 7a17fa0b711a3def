//! Free nodes in order, so that a placement looks at a bounded number of nodes (S12).
//!
//! Every usable node stands, within its class, in exactly one list by the number of its wholly free devices (nodes with
//! no GPU memory left at all have a list of their own), and in one list per distinct amount of memory left on its
//! shared devices. Each list is ordered by free CPU, most first, then by node id.
//! Costs: a node that changes leaves and enters its lists, O(log nodes) each; the first node of a list that fits is
//! found in O(log nodes) plus the nodes skipped because another resource is short.

use crate::ix::{ClassIx, NodeIx};
use crate::node::Node;
use berth_model::NodeId;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A node in a list: most free CPU first, then the smallest id.
pub(crate) type Entry = (Reverse<i64>, NodeId, NodeIx);

/// Nodes by free CPU.
pub(crate) type List = BTreeSet<Entry>;

/// The lists of one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    /// Nodes with no GPU memory left, or no GPU.
    pub(crate) spent: List,
    /// Nodes with some GPU memory left, by the number of wholly free devices.
    pub(crate) whole: Vec<List>,
    /// Nodes by memory left on a shared device, in MiB.
    pub(crate) shared: BTreeMap<u32, List>,
}

/// All lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    classes: Vec<Lists>,
    none: Lists,
}

impl Index {
    /// The lists of a class.
    pub(crate) fn of(&self, class: ClassIx) -> &Lists {
        self.classes.get(class.i()).unwrap_or(&self.none)
    }

    /// Enters a usable node as it is now.
    pub(crate) fn insert(&mut self, ix: NodeIx, node: &Node) {
        if self.classes.len() <= node.class.i() {
            self.classes.resize_with(node.class.i() + 1, Lists::default);
        }
        let lists = &mut self.classes[node.class.i()];
        let entry = entry(ix, node);
        lists.level(node).insert(entry);
        for left in lefts(node) {
            lists.shared.entry(left).or_default().insert(entry);
        }
    }

    /// Removes a node; it must not have changed since it was entered.
    pub(crate) fn remove(&mut self, ix: NodeIx, node: &Node) {
        let lists = &mut self.classes[node.class.i()];
        let entry = entry(ix, node);
        let listed = lists.level(node).remove(&entry);
        debug_assert!(listed, "the node was entered as it is");
        for left in lefts(node) {
            if let Some(list) = lists.shared.get_mut(&left) {
                list.remove(&entry);
                if list.is_empty() {
                    lists.shared.remove(&left);
                }
            }
        }
    }
}

impl Lists {
    fn level(&mut self, node: &Node) -> &mut List {
        if node.devices.free.is_empty() && node.devices.shared.is_empty() {
            return &mut self.spent;
        }
        let level = node.devices.free.count() as usize;
        if self.whole.len() <= level {
            self.whole.resize_with(level + 1, List::default);
        }
        &mut self.whole[level]
    }

    /// Every list that holds each node once, most wholly free devices first.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &List> {
        self.whole.iter().rev().chain(std::iter::once(&self.spent))
    }
}

fn entry(ix: NodeIx, node: &Node) -> Entry {
    (Reverse(node.free.cpu), node.spec.id, ix)
}

/// The distinct amounts left on shared devices.
fn lefts(node: &Node) -> SmallVec<[u32; 8]> {
    let mut lefts: SmallVec<[u32; 8]> =
        node.devices.shared.iter().map(|index| node.devices.get(index).left()).collect();
    lefts.sort_unstable();
    lefts.dedup();
    lefts
}
