//! What the agents have said, and what the engine has been told of it.
//!
//! Level-triggered, as the mirror is: an update changes what is *seen* of a node and marks it; [`Board::events`] compares the
//! marked nodes with what was *told*. Of a device the engine knows what the mirror has told of it, which is its health as it is
//! published and no foreign memory, and what was told here since. What cannot be told yet, because the mirror does not know the
//! node, the device or the pod, is told when the node is marked again: by its next update, or because the mirror has told
//! something new ([`Board::look_again`], [`Board::published`], [`Board::pods_again`]).
//!
//! A device is as well as the worse of what is published and what its agent says: published taints come from others, too.
//!
//! Foreign memory (S17) that rises is told at once, with a fall only of [`FALL_MIN`] or to nothing: what flickers by a
//! few MiB would wake the workloads that wait for it, again and again, for nothing.
//!
//! Silence (S18): a node whose agent has not been heard for the time that is set has its devices told as silent until it is
//! heard again. The time runs from the later of its last word and [`Board::expect`], which whoever leads calls
//! once it does. A node that never had an agent is not looked at.
//!
//! Costs: an update is linear in what it says; a marked node is compared in its devices and pods; a node that is not
//! marked costs one look per period of silence. Limits on everything that an agent may say: [`DEVICES_MAX`], [`PODS_MAX`],
//! [`NAME_MAX`].

use std::collections::{BTreeMap, VecDeque};

use berth_model::{DeviceHealth, DeviceIndex, Event, GpuMemoryMib, Millis, NodeId, PodId, Timestamp};
use rustc_hash::FxHashMap;

use super::wire;

/// The most devices of a node, as in the model.
pub const DEVICES_MAX: usize = 64;
/// The most pods that use a node's devices.
pub const PODS_MAX: usize = 4096;
/// The longest name, in bytes.
pub const NAME_MAX: usize = 253;
/// Foreign memory that falls by less stands.
pub const FALL_MIN: u64 = 64;
/// More memory than any device has.
const MIB_MAX: u64 = u32::MAX as u64;

/// What names stand for in the model.
pub trait Names {
    /// A node.
    fn node(&self, name: &str) -> Option<NodeId>;
    /// The devices that are published of it, by number: their names, and how well they are.
    fn devices(&self, node: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)>;
    /// A pod that is on a node, by its uid.
    fn pod(&self, uid: &str) -> Option<PodId>;
}

/// One stream of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    node: u32,
    number: u32,
}

/// Why an update is refused. The board is as before, and the stream must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another stream of the same node has begun.
    #[error("another stream of this node has begun")]
    Superseded,
    /// Something was lost.
    #[error("update {found} came where {wanted} was due")]
    Gap {
        /// The number that was due.
        wanted: u64,
        /// The number that came.
        found: u64,
    },
    /// The update says something that it may not.
    #[error("{field}: is {value}, allowed: {allowed}")]
    Bad {
        /// The field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

/// The nodes.
#[derive(Debug)]
pub struct Board {
    nodes: Vec<Node>,
    by_name: FxHashMap<Box<str>, u32>,
    /// Places of nodes that are gone.
    free: Vec<u32>,
    marked: Vec<u32>,
    /// Every node that can fall silent, once, and when to look at it.
    watched: VecDeque<(Timestamp, u32)>,
    silent_after: Millis,
}

#[derive(Debug)]
struct Node {
    name: Box<str>,
    stream: u32,
    sequence: u64,
    marked: bool,
    watched: bool,
    silent: bool,
    /// When the agent was last heard, or was first expected.
    heard: Option<Timestamp>,
    devices: Vec<Device>,
    /// What the engine knows of the devices, by its numbers; of those beyond the end, what is published.
    told: Vec<Told>,
    pods: BTreeMap<u32, Pod>,
    /// What was told and is no more.
    ended: Vec<(Box<str>, Box<str>)>,
}

#[derive(Debug)]
struct Device {
    name: Box<str>,
    health: Option<DeviceHealth>,
    foreign: Option<u64>,
}

/// What the engine knows of a device.
#[derive(Clone, Copy, Debug)]
struct Told {
    health: DeviceHealth,
    foreign: u64,
}

#[derive(Debug)]
struct Pod {
    uid: Box<str>,
    memory: Vec<Memory>,
}

/// A pod's memory on a device.
#[derive(Debug)]
struct Memory {
    device: u32,
    mib: u64,
    told: Option<(PodId, u64)>,
}

impl Board {
    /// A board on which a node is silent when it was not heard for so long.
    pub fn new(silent_after: Millis) -> Self {
        Self {
            nodes: Vec::new(),
            by_name: FxHashMap::default(),
            free: Vec::new(),
            marked: Vec::new(),
            watched: VecDeque::new(),
            silent_after,
        }
    }

    /// A node has an agent, by what it has published: if that was never heard, it may be silent from now on for the time
    /// that is set.
    pub fn expect(&mut self, name: &str, now: Timestamp) {
        let ix = self.node(name);
        if self.nodes[ix as usize].heard.is_none() {
            self.hear(ix, now);
        }
    }

    /// A node is gone; if an agent still speaks for it, its stream ends.
    pub fn gone(&mut self, name: &str) {
        let Some(ix) = self.by_name.remove(name) else { return };
        let node = &mut self.nodes[ix as usize];
        let (stream, marked, watched) = (node.stream + 1, node.marked, node.watched);
        *node = Node { stream, marked, watched, ..Node::new("") };
        self.free.push(ix);
    }

    /// A stream of a node begins; the one before it, if there is one, is superseded.
    pub fn open(&mut self, name: &str, now: Timestamp) -> StreamId {
        let ix = self.node(name);
        let node = &mut self.nodes[ix as usize];
        node.stream += 1;
        node.sequence = 0;
        let number = node.stream;
        self.hear(ix, now);
        StreamId { node: ix, number }
    }

    /// Takes in an update of a stream.
    ///
    /// # Errors
    /// If it may not be said, or not now; the board is as before.
    pub fn apply(&mut self, stream: StreamId, update: &wire::Update, now: Timestamp) -> Result<(), Refusal> {
        let node = &mut self.nodes[stream.node as usize];
        if node.stream != stream.number {
            return Err(Refusal::Superseded);
        }
        let wanted = node.sequence + 1;
        if update.sequence != wanted {
            return Err(Refusal::Gap { wanted, found: update.sequence });
        }
        check(node, update)?;
        node.sequence = wanted;
        node.take_in(update);
        let says_something = update.snapshot.is_some()
            || !(update.devices.is_empty() && update.memory.is_empty() && update.gone.is_empty());
        if says_something {
            self.mark(stream.node);
        }
        self.hear(stream.node, now);
        Ok(())
    }

    /// The engine has been told of a node anew, its devices as they are published: all that is known is told again.
    pub fn look_again(&mut self, name: &str) {
        let Some(ix) = self.by_name.get(name).copied() else { return };
        self.nodes[ix as usize].told.clear();
        self.pods_again(name);
    }

    /// The engine has been told how well a device is, as it is published.
    pub fn published(&mut self, name: &str, device: DeviceIndex, health: DeviceHealth) {
        let Some(ix) = self.by_name.get(name).copied() else { return };
        if let Some(told) = self.nodes[ix as usize].told.get_mut(usize::from(device.0)) {
            told.health = health;
        }
        self.mark(ix);
    }

    /// The engine has been told of pods of a node anew, of which it has forgotten what they use.
    pub fn pods_again(&mut self, name: &str) {
        let Some(ix) = self.by_name.get(name).copied() else { return };
        let pods = self.nodes[ix as usize].pods.values_mut();
        pods.flat_map(|pod| &mut pod.memory).for_each(|memory| memory.told = None);
        self.mark(ix);
    }

    /// What the engine must be told so that it knows what is known.
    pub fn events(&mut self, names: &impl Names, now: Timestamp) -> Vec<Event> {
        self.look_for_silence(now);
        let mut events = Vec::new();
        for ix in std::mem::take(&mut self.marked) {
            let node = &mut self.nodes[ix as usize];
            node.marked = false;
            node.tell(names, &mut events);
        }
        events
    }

    /// When a node may next be found silent.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.watched.front().map(|(at, _)| *at)
    }

    fn node(&mut self, name: &str) -> u32 {
        if let Some(ix) = self.by_name.get(name) {
            return *ix;
        }
        let ix = self.free.pop().unwrap_or(self.nodes.len() as u32);
        self.by_name.insert(name.into(), ix);
        match self.nodes.get_mut(ix as usize) {
            Some(free) => free.name = name.into(),
            None => self.nodes.push(Node::new(name)),
        }
        ix
    }

    fn mark(&mut self, ix: u32) {
        let node = &mut self.nodes[ix as usize];
        if !std::mem::replace(&mut node.marked, true) {
            self.marked.push(ix);
        }
    }

    fn hear(&mut self, ix: u32, now: Timestamp) {
        let node = &mut self.nodes[ix as usize];
        let heard = node.heard.map_or(now, |before| before.max(now));
        node.heard = Some(heard);
        let was_silent = std::mem::take(&mut node.silent);
        if !std::mem::replace(&mut node.watched, true) {
            self.watched.push_back((heard.plus(self.silent_after), ix));
        }
        if was_silent {
            self.mark(ix);
        }
    }

    fn look_for_silence(&mut self, now: Timestamp) {
        while let Some((_, ix)) = self.watched.front().copied().filter(|(at, _)| *at <= now) {
            self.watched.pop_front();
            let node = &mut self.nodes[ix as usize];
            let Some(heard) = node.heard else {
                node.watched = false;
                continue;
            };
            let at = heard.plus(self.silent_after);
            if at > now {
                self.watched.push_back((at, ix));
                continue;
            }
            (node.silent, node.watched) = (true, false);
            tracing::warn!(node = %node.name, "its agent is silent");
            self.mark(ix);
        }
    }
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            stream: 0,
            sequence: 0,
            marked: false,
            watched: false,
            silent: false,
            heard: None,
            devices: Vec::new(),
            told: Vec::new(),
            pods: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    /// An update that was checked.
    fn take_in(&mut self, update: &wire::Update) {
        let mut before = BTreeMap::new();
        if let Some(snapshot) = &update.snapshot {
            before = self.begin_anew(snapshot);
        }
        for pod in &update.pods {
            let memory = before.remove(pod.uid.as_str()).unwrap_or_default();
            self.pods.insert(pod.number, Pod { uid: pod.uid.as_str().into(), memory });
        }
        for (uid, memory) in before {
            self.end(&uid, &memory);
        }
        for state in &update.devices {
            let device = &mut self.devices[state.device as usize];
            device.health = health(state.health()).or(device.health);
            device.foreign = state.foreign_mib.or(device.foreign);
        }
        for said in &update.memory {
            let Some(pod) = self.pods.get_mut(&said.pod) else { continue };
            match pod.memory.iter_mut().find(|memory| memory.device == said.device) {
                Some(memory) => memory.mib = said.mib,
                None => pod.memory.push(Memory { device: said.device, mib: said.mib, told: None }),
            }
        }
        for number in &update.gone {
            if let Some(pod) = self.pods.remove(number) {
                self.end(&pod.uid, &pod.memory);
            }
        }
    }

    /// A pod is no more: what was told of it is to be taken back.
    fn end(&mut self, uid: &str, memory: &[Memory]) {
        let told = memory.iter().filter(|memory| memory.told.is_some());
        let names = told.map(|memory| self.devices[memory.device as usize].name.clone());
        self.ended.extend(names.map(|device| (uid.into(), device)));
    }

    /// Devices and pods anew. The pods' memory that was told is given back by uid, with the devices' new numbers and nothing in use.
    fn begin_anew(&mut self, snapshot: &wire::Snapshot) -> BTreeMap<Box<str>, Vec<Memory>> {
        let old = std::mem::take(&mut self.devices);
        let place = |name: &str| snapshot.devices.iter().position(|new| new == name);
        let moved: Vec<Option<u32>> =
            old.iter().map(|device| place(&device.name).map(|at| at as u32)).collect();
        let new = |name: &String| Device { name: name.as_str().into(), health: None, foreign: None };
        self.devices = snapshot.devices.iter().map(new).collect();
        std::mem::take(&mut self.pods)
            .into_values()
            .map(|pod| {
                let kept = pod.memory.into_iter().filter_map(|memory| {
                    let device = (*moved.get(memory.device as usize)?)?;
                    memory.told.is_some().then_some(Memory { device, mib: 0, told: memory.told })
                });
                (pod.uid, kept.collect())
            })
            .collect()
    }

    fn tell(&mut self, names: &impl Names, events: &mut Vec<Event>) {
        let Some(id) = names.node(&self.name) else { return };
        let mut indices = [None; DEVICES_MAX];
        for (at, (name, published)) in names.devices(id).take(DEVICES_MAX).enumerate() {
            let device = DeviceIndex(at as u8);
            let seen = self.devices.iter().position(|seen| *seen.name == *name);
            if let Some(index) = seen.and_then(|number| indices.get_mut(number)) {
                *index = Some(device);
            }
            if self.told.len() == at {
                self.told.push(Told { health: published, foreign: 0 });
            }
            let seen = seen.map(|number| &self.devices[number]);
            let health = worse(published, self.silent, seen.and_then(|seen| seen.health));
            let told = &mut self.told[at];
            if told.health != health {
                events.push(Event::DeviceHealth { node: id, device, health });
                told.health = health;
            }
            if let Some(mib) = seen.and_then(|seen| seen.foreign).filter(|mib| differs(told.foreign, *mib)) {
                events.push(Event::DeviceForeign { node: id, device, memory: GpuMemoryMib(mib as i64) });
                told.foreign = mib;
            }
        }
        for pod in self.pods.values_mut() {
            pod.tell(names, &indices, events);
        }
        for (uid, name) in self.ended.drain(..) {
            let at = names.devices(id).position(|(known, _)| *known == *name);
            if let (Some(pod), Some(at)) = (names.pod(&uid), at) {
                let device = DeviceIndex(at as u8);
                events.push(Event::PodMemory { pod, device, memory: GpuMemoryMib(0) });
            }
        }
    }
}

/// How well a device is, by what is published of it and what its agent says.
fn worse(published: DeviceHealth, silent: bool, said: Option<DeviceHealth>) -> DeviceHealth {
    match (published, silent) {
        (DeviceHealth::Healthy, true) => DeviceHealth::Silent,
        (DeviceHealth::Healthy, false) => said.unwrap_or(DeviceHealth::Healthy),
        _ => published,
    }
}

/// True if foreign memory that is now so much is to be told.
fn differs(told: u64, now: u64) -> bool {
    now > told || (now < told && (now == 0 || told - now >= FALL_MIN))
}

impl Pod {
    fn tell(
        &mut self,
        names: &impl Names,
        indices: &[Option<DeviceIndex>; DEVICES_MAX],
        events: &mut Vec<Event>,
    ) {
        let Some(pod) = names.pod(&self.uid) else { return };
        for memory in &mut self.memory {
            let Some(device) = indices[memory.device as usize] else { continue };
            if memory.told != Some((pod, memory.mib)) {
                events.push(Event::PodMemory { pod, device, memory: GpuMemoryMib(memory.mib as i64) });
                memory.told = Some((pod, memory.mib));
            }
        }
        self.memory.retain(|memory| memory.mib > 0);
    }
}

fn health(health: wire::Health) -> Option<DeviceHealth> {
    match health {
        wire::Health::Unspecified => None,
        wire::Health::Healthy => Some(DeviceHealth::Healthy),
        wire::Health::Unhealthy => Some(DeviceHealth::Unhealthy),
        wire::Health::Lost => Some(DeviceHealth::Lost),
    }
}

/// Whether an update says nothing that it may not.
fn check(node: &Node, update: &wire::Update) -> Result<(), Refusal> {
    let bad = |field, value: String, allowed: String| Err(Refusal::Bad { field, value, allowed });
    let (devices, known) = match &update.snapshot {
        None if node.sequence == 0 => {
            return bad("snapshot", "absent".to_owned(), "one in the first update of a stream".to_owned());
        }
        None => (node.devices.len(), node.pods.len()),
        Some(snapshot) if snapshot.node != *node.name => {
            return bad("snapshot.node", snapshot.node.clone(), node.name.to_string());
        }
        Some(snapshot) => (snapshot.devices.len(), 0),
    };
    if devices > DEVICES_MAX {
        return bad("snapshot.devices", format!("{devices} of them"), format!("at most {DEVICES_MAX}"));
    }
    if known + update.pods.len() > PODS_MAX {
        let found = format!("{} of them", known + update.pods.len());
        return bad("pods", found, format!("at most {PODS_MAX} at a time"));
    }
    let mut new = update.pods.iter().map(|pod| pod.number);
    if let Some(number) = new.find(|number| update.snapshot.is_none() && node.pods.contains_key(number)) {
        return bad("pods.number", number.to_string(), "a number that no other pod has".to_owned());
    }
    let names = update.snapshot.iter().flat_map(|snapshot| &snapshot.devices);
    let mut names = names.chain(update.pods.iter().map(|pod| &pod.uid));
    if let Some(name) = names.find(|name| name.is_empty() || name.len() > NAME_MAX) {
        return bad("a name", format!("{} bytes long", name.len()), format!("1 to {NAME_MAX}"));
    }
    let numbers = update.devices.iter().map(|state| state.device);
    let mut numbers = numbers.chain(update.memory.iter().map(|memory| memory.device));
    if let Some(number) = numbers.find(|number| *number as usize >= devices) {
        return bad("device", number.to_string(), format!("less than {devices}"));
    }
    let amounts = update.devices.iter().filter_map(|state| state.foreign_mib);
    let mut amounts = amounts.chain(update.memory.iter().map(|memory| memory.mib));
    if let Some(amount) = amounts.find(|amount| *amount > MIB_MAX) {
        return bad("MiB", amount.to_string(), format!("at most {MIB_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
