//! Free nodes in order, so that a placement looks at a bounded number of nodes (S12).
//!
//! Every state that usable nodes are in stands, within its class, in exactly one list by the number of wholly free devices
//! (states with no GPU memory left at all have a list of their own), and in one list per distinct amount of memory left
//! on its shared devices. Each list is ordered by free CPU, most first.
//! Costs: a node that changes leaves its state and enters another; only the last to leave and the first to enter change
//! lists, O(log states) each. The first state of a list that fits is found in O(log states) plus the states skipped
//! because another resource is short.

use crate::ix::{ClassIx, NodeIx, StateIx};
use crate::node::Node;
use crate::sorted::Sorted;
use crate::state::{Member, State, States};
use rustc_hash::FxHashSet;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A state in a list: most free CPU first.
pub(crate) type Entry = (Reverse<i64>, StateIx);

/// States by free CPU.
pub(crate) type List = Sorted<Entry>;

/// A part of the nodes of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Those with GPU memory left.
    Open,
    /// Those with none left, or no GPU.
    Spent,
}

/// The lists of one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    /// States with no GPU memory left, or no GPU.
    pub(crate) spent: List,
    /// States with some GPU memory left, by the number of wholly free devices.
    pub(crate) whole: Vec<List>,
    /// States by memory left on a shared device, in MiB.
    pub(crate) shared: BTreeMap<u32, List>,
}

/// All lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    classes: Vec<Lists>,
    /// By class and part: how often nodes have come, gone or changed.
    changes: Vec<[u64; 2]>,
    states: States,
    none: Lists,
    /// Nodes that are kept out of the lists for now.
    hidden: FxHashSet<NodeIx>,
}

impl Index {
    /// The lists of a class.
    pub(crate) fn of(&self, class: ClassIx) -> &Lists {
        self.classes.get(class.i()).unwrap_or(&self.none)
    }

    /// How often nodes of a part of a class have come, gone or changed.
    pub(crate) fn changes(&self, class: ClassIx, part: Part) -> u64 {
        self.changes.get(class.i()).map_or(0, |changes| changes[part as usize])
    }

    /// As [`Self::changes`], of all classes that nodes have entered.
    pub(crate) fn all_changes(&self) -> &[[u64; 2]] {
        &self.changes
    }

    /// A state.
    pub(crate) fn state(&self, ix: StateIx) -> &State {
        self.states.at(ix)
    }

    /// The state that an entered node is in.
    pub(crate) fn state_of(&self, node: NodeIx) -> StateIx {
        self.states.of(node)
    }

    /// The node with the most free CPU in a list; ties go to the smallest id.
    pub(crate) fn first(&self, list: &List) -> Option<NodeIx> {
        first_run(list.iter(), |state| self.state(state).first()).map(|(_, _, (_, ix))| ix)
    }

    /// Takes a usable node out of the sight of choices, whatever happens to it, until it is shown again.
    pub(crate) fn hide(&mut self, ix: NodeIx, node: &Node) {
        self.remove(ix, node);
        self.hidden.insert(ix);
    }

    /// Shows a hidden node again, as it is now.
    pub(crate) fn show(&mut self, ix: NodeIx, node: &Node) {
        if self.hidden.remove(&ix) {
            self.insert(ix, node);
        }
    }

    /// True if a node is hidden.
    pub(crate) fn is_hidden(&self, ix: NodeIx) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&ix)
    }

    /// Enters a usable node as it is now.
    pub(crate) fn insert(&mut self, ix: NodeIx, node: &Node) {
        if self.is_hidden(ix) {
            return;
        }
        if self.classes.len() <= node.class.i() {
            self.classes.resize_with(node.class.i() + 1, Lists::default);
            self.changes.resize(node.class.i() + 1, [0; 2]);
        }
        let (at, first) = self.states.enter(ix, node);
        let state = self.states.at(at);
        self.changes[node.class.i()][state.part() as usize] += 1;
        if first {
            self.classes[node.class.i()].insert(at, state);
        }
    }

    /// Removes a node, as it was entered.
    pub(crate) fn remove(&mut self, ix: NodeIx, node: &Node) {
        if self.is_hidden(ix) {
            return;
        }
        let (at, last) = self.states.leave(ix, node);
        let state = self.states.at(at);
        self.changes[state.class().i()][state.part() as usize] += 1;
        if last {
            self.classes[state.class().i()].remove(at, state);
            self.states.sweep();
        }
    }
}

impl Lists {
    fn insert(&mut self, at: StateIx, state: &State) {
        let entry = (Reverse(state.free().cpu), at);
        self.level(state).insert(entry);
        for left in state.shared_lefts() {
            self.shared.entry(left).or_default().insert(entry);
        }
    }

    fn remove(&mut self, at: StateIx, state: &State) {
        let entry = (Reverse(state.free().cpu), at);
        let listed = self.level(state).remove(&entry);
        debug_assert!(listed, "a state that nodes are in is listed");
        for left in state.shared_lefts() {
            if let Some(list) = self.shared.get_mut(&left) {
                list.remove(&entry);
                if list.is_empty() {
                    self.shared.remove(&left);
                }
            }
        }
    }

    fn level(&mut self, state: &State) -> &mut List {
        if state.part() == Part::Spent {
            return &mut self.spent;
        }
        let level = state.wholly_free();
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

/// Of the first states with the same free CPU of which a node takes the pod, that node with the smallest id, with the CPU
/// and its state. `taker` says which node of a state does.
pub(crate) fn first_run<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    taker: impl Fn(StateIx) -> Option<Member>,
) -> Option<(i64, StateIx, Member)> {
    let mut found: Option<(i64, StateIx, Member)> = None;
    for (Reverse(cpu), state) in entries {
        if found.is_some_and(|(known, _, _)| known != *cpu) {
            break;
        }
        if let Some(member) = taker(*state)
            && found.is_none_or(|(_, _, known)| member < known)
        {
            found = Some((*cpu, *state, member));
        }
    }
    found
}
