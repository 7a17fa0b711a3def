//! Node states (S12): nodes of one class with the same left on them are in one state.
//!
//! Whether a pod fits a node, which kind of device it would get there and what that would strand is the same for all
//! nodes of a state; only ports, volumes and other pods are a matter of the node itself. There are far fewer states than
//! nodes, so the index holds states, and what is reckoned for one node is remembered for all of its state.
//! Costs: a node that changes leaves one state and enters another, O(devices + log nodes). A state without nodes is kept
//! for a while, since others come to be in it: at most as many as there are with nodes, and [`KEPT`].

use crate::device::Devices;
use crate::index::Part;
use crate::ix::{ClassIx, NodeIx, Slab, StateIx};
use crate::node::{Free, Node};
use berth_model::{DeviceMask, NodeId};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::hash::Hasher;

/// States without nodes that are kept in any case.
const KEPT: usize = 1 << 10;

/// A node, in the order in which ties break.
pub(crate) type Member = (NodeId, NodeIx);

/// What is left of the devices. Which device has how much does not matter if all are of one size: then there is one form
/// of each multiset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Gpus {
    /// How many devices are wholly free and how many are shared; the sets themselves if devices are of several sizes.
    free: u64,
    shared: u64,
    /// What is left of the shared ones, then of those wholly free ones that are not whole, each in ascending order; if
    /// devices are of several sizes, of each that is free or shared.
    lefts: SmallVec<[u32; 8]>,
}

/// A state and the nodes in it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// A number that no other state has, not even a later one.
    pub(crate) id: u64,
    hash: u64,
    class: ClassIx,
    /// What is free besides GPUs; of the pods, only whether there may be one more.
    free: Free,
    gpus: Gpus,
    /// The size of each device, and the most that is left on one; none if they differ in size.
    even: Option<(u32, u32)>,
    /// Of the nodes, the one with the smallest identifier: often the only one.
    first: Option<Member>,
    others: BTreeSet<Member>,
}

/// Devices of one size: how many are wholly free, and what is left of shared ones, in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike<'a> {
    pub(crate) total: u32,
    pub(crate) free: u32,
    pub(crate) lefts: &'a [u32],
}

/// All states that nodes are in, and some that nodes were in.
#[derive(Clone, Debug, Default)]
pub(crate) struct States {
    all: Slab<State>,
    by_hash: FxHashMap<u64, SmallVec<[StateIx; 2]>>,
    /// Where each node is.
    of_node: Vec<StateIx>,
    /// States that nodes have left, the last one at the time.
    left: Vec<StateIx>,
    occupied: usize,
    /// How many there have been.
    made: u64,
}

impl Gpus {
    fn of(devices: &Devices) -> Self {
        if devices.even().is_none() {
            let open = DeviceMask(devices.free.0 | devices.shared.0);
            let lefts = open.iter().map(|index| devices.get(index).left()).collect();
            return Self { free: devices.free.0, shared: devices.shared.0, lefts };
        }
        let mut lefts: SmallVec<[u32; 8]> =
            devices.shared.iter().map(|index| devices.get(index).left()).collect();
        lefts.sort_unstable();
        let shared = lefts.len();
        let free = devices.free.iter().map(|index| devices.get(index));
        lefts.extend(free.filter(|device| device.left() < device.total).map(|device| device.left()));
        lefts[shared..].sort_unstable();
        Self { free: devices.free.count().into(), shared: shared as u64, lefts }
    }
}

impl State {
    /// True if a node is in this state.
    fn is_of(&self, node: &Node, gpus: &Gpus) -> bool {
        let (mine, free) = (&self.free, &node.free);
        let scalars = (mine.cpu, mine.memory, mine.ephemeral, mine.pods);
        self.class == node.class
            && scalars == (free.cpu, free.memory, free.ephemeral, free.pods.clamp(0, 1))
            && mine.extended == free.extended
            && self.gpus == *gpus
    }

    /// What is free besides GPUs; of the pods, only whether there may be one more.
    pub(crate) fn free(&self) -> &Free {
        &self.free
    }

    pub(crate) fn class(&self) -> ClassIx {
        self.class
    }

    /// What is left of devices that are all of one size, if the wholly free ones are whole.
    pub(crate) fn alike(&self) -> Option<Alike<'_>> {
        let gpus = &self.gpus;
        let (total, _) = self.even.filter(|_| gpus.lefts.len() as u64 == gpus.shared)?;
        Some(Alike { total, free: gpus.free as u32, lefts: &gpus.lefts })
    }

    /// The size of each device, and the most that is left on one; none if they differ in size.
    pub(crate) fn even(&self) -> Option<(u32, u32)> {
        self.even
    }

    /// The node with the smallest identifier.
    pub(crate) fn first(&self) -> Option<Member> {
        self.first
    }

    /// The nodes, by identifier.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Member> {
        self.first.iter().chain(&self.others).copied()
    }

    /// Which part of its class it belongs to.
    pub(crate) fn part(&self) -> Part {
        if self.gpus.free == 0 && self.gpus.shared == 0 { Part::Spent } else { Part::Open }
    }

    /// How many devices are wholly free.
    pub(crate) fn wholly_free(&self) -> usize {
        match self.even {
            Some(_) => self.gpus.free as usize,
            None => self.gpus.free.count_ones() as usize,
        }
    }

    /// The distinct amounts left on shared devices, ascending.
    pub(crate) fn shared_lefts(&self) -> SmallVec<[u32; 8]> {
        let gpus = &self.gpus;
        let mut lefts: SmallVec<[u32; 8]> = match self.even {
            Some(_) => gpus.lefts[..gpus.shared as usize].into(),
            None => {
                let open = DeviceMask(gpus.free | gpus.shared).iter().zip(&gpus.lefts);
                let shared = open.filter(|(index, _)| DeviceMask(gpus.shared).contains(*index));
                shared.map(|(_, left)| *left).collect()
            }
        };
        lefts.sort_unstable();
        lefts.dedup();
        lefts
    }

    fn enter(&mut self, member: Member) {
        match self.first {
            None => self.first = Some(member),
            Some(first) if member < first => {
                self.first = Some(member);
                self.others.insert(first);
            }
            Some(_) => {
                self.others.insert(member);
            }
        }
    }

    fn leave(&mut self, member: Member) {
        if self.first == Some(member) {
            self.first = self.others.pop_first();
        } else {
            let listed = self.others.remove(&member);
            debug_assert!(listed, "the node was entered");
        }
    }
}

impl States {
    /// A state.
    pub(crate) fn at(&self, ix: StateIx) -> &State {
        self.all.at(ix.0)
    }

    /// The state that a node is in.
    pub(crate) fn of(&self, node: NodeIx) -> StateIx {
        self.of_node[node.i()]
    }

    /// Enters a node as it is now; true if it is the only one in its state.
    pub(crate) fn enter(&mut self, ix: NodeIx, node: &Node) -> (StateIx, bool) {
        let at = self.intern(node);
        if self.of_node.len() <= ix.i() {
            self.of_node.resize(ix.i() + 1, at);
        }
        self.of_node[ix.i()] = at;
        let state = self.all.at_mut(at.0);
        let first = state.first.is_none();
        self.occupied += usize::from(first);
        state.enter((node.id, ix));
        (at, first)
    }

    /// Takes a node out of its state; true if no other is left in it.
    pub(crate) fn leave(&mut self, ix: NodeIx, node: &Node) -> (StateIx, bool) {
        let at = self.of_node[ix.i()];
        let state = self.all.at_mut(at.0);
        state.leave((node.id, ix));
        let last = state.first.is_none();
        if last {
            self.occupied -= 1;
            self.left.push(at);
        }
        (at, last)
    }

    fn intern(&mut self, node: &Node) -> StateIx {
        let gpus = Gpus::of(&node.devices);
        let hash = hash(node, &gpus);
        let same_hash = self.by_hash.entry(hash).or_default();
        if let Some(known) = same_hash.iter().find(|ix| self.all.at(ix.0).is_of(node, &gpus)) {
            return *known;
        }
        self.made += 1;
        let state = State {
            id: self.made,
            hash,
            class: node.class,
            free: Free { pods: node.free.pods.clamp(0, 1), ..node.free.clone() },
            gpus,
            even: node.devices.even().map(|total| (total, node.devices.most_left())),
            first: None,
            others: BTreeSet::new(),
        };
        let ix = StateIx(self.all.insert(state));
        same_hash.push(ix);
        ix
    }

    /// Forgets the states without nodes if there are many.
    pub(crate) fn sweep(&mut self) {
        if self.left.len() <= self.occupied + KEPT {
            return;
        }
        for ix in std::mem::take(&mut self.left) {
            let Some(state) = self.all.get(ix.0).filter(|state| state.first.is_none()) else { continue };
            let hash = state.hash;
            if let Some(same_hash) = self.by_hash.get_mut(&hash) {
                same_hash.retain(|known| *known != ix);
                if same_hash.is_empty() {
                    self.by_hash.remove(&hash);
                }
            }
            self.all.remove(ix.0);
        }
    }
}

fn hash(node: &Node, gpus: &Gpus) -> u64 {
    let free = &node.free;
    let mut hasher = FxHasher::default();
    for amount in [free.cpu, free.memory, free.ephemeral].into_iter().chain(free.extended.iter().copied()) {
        hasher.write_i64(amount);
    }
    for number in [node.class.0.into(), gpus.free, gpus.shared] {
        hasher.write_u64(number);
    }
    for left in &gpus.lefts {
        hasher.write_u32(*left);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ResourceNames;
    use berth_model::{DeviceIndex, DeviceSpec, GpuGrant, GpuMemoryMib, NodeSpec};
    use std::sync::Arc;

    /// A node with devices of these sizes.
    fn node(id: u32, mib: &[i64]) -> Node {
        let spec = NodeSpec {
            id: NodeId(id),
            name: String::new(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            devices: mib.iter().map(|mib| DeviceSpec::new(GpuMemoryMib(*mib), "x")).collect(),
            volume_limits: Default::default(),
            ready: true,
            unschedulable: false,
        };
        Node::new(Arc::new(spec), &mut ResourceNames::default(), GpuMemoryMib(512))
    }

    fn shared(device: u8, mib: i64) -> GpuGrant {
        let devices = DeviceMask::one(DeviceIndex(device));
        GpuGrant::Shared { devices, each: GpuMemoryMib(mib), limit: GpuMemoryMib(mib) }
    }

    #[test]
    fn s12_nodes_with_the_same_left_are_in_one_state() {
        let (mut first, mut second) = (node(7, &[1000, 1000]), node(3, &[1000, 1000]));
        first.devices.take(shared(0, 400));
        second.devices.take(shared(1, 400));
        let mut states = States::default();
        assert_eq!(states.enter(NodeIx(0), &first), (StateIx(0), true));
        assert_eq!(states.enter(NodeIx(1), &second), (StateIx(0), false));
        assert_eq!(states.at(StateIx(0)).first(), Some((NodeId(3), NodeIx(1))));
        assert_eq!(states.at(StateIx(0)).even(), Some((1000, 1000)));
        assert_eq!(states.leave(NodeIx(1), &second), (StateIx(0), false));
        assert_eq!(states.at(StateIx(0)).first(), Some((NodeId(7), NodeIx(0))));
        assert_eq!(states.leave(NodeIx(0), &first), (StateIx(0), true));
    }

    #[test]
    fn s12_which_device_has_how_much_matters_where_they_differ_in_size() {
        let (mut first, mut second) = (node(0, &[1000, 2000]), node(1, &[1000, 2000]));
        first.devices.take(shared(0, 400));
        second.devices.take(shared(1, 400));
        let mut states = States::default();
        let (of_first, of_second) = (states.enter(NodeIx(0), &first), states.enter(NodeIx(1), &second));
        assert_ne!(of_first.0, of_second.0);
        assert!(states.at(of_first.0).alike().is_none());
    }

    #[test]
    fn s17_foreign_memory_on_a_free_device_makes_another_state() {
        let (first, mut second) = (node(0, &[1000]), node(1, &[1000]));
        second.devices.set_foreign(DeviceIndex(0), GpuMemoryMib(100));
        let mut states = States::default();
        let (of_first, of_second) = (states.enter(NodeIx(0), &first), states.enter(NodeIx(1), &second));
        assert_ne!(of_first.0, of_second.0);
        assert!(states.at(of_first.0).alike().is_some() && states.at(of_second.0).alike().is_none());
    }

    #[test]
    fn s12_states_without_nodes_are_forgotten_in_time() {
        let mut states = States::default();
        for cpu in 0..10 * KEPT as i64 {
            let mut node = node(0, &[]);
            node.free.cpu = cpu;
            states.enter(NodeIx(0), &node);
            states.leave(NodeIx(0), &node);
            states.sweep();
        }
        assert!(states.by_hash.len() <= KEPT + 1);
    }
}
