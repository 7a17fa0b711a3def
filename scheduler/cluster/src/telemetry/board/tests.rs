//! Updates in, events out; and whatever an agent says, the board tells the engine what is so.

use super::*;
use berth_model::WorkloadId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use wire::{DeviceState, Pod as WirePod, PodMemory, Snapshot, Update};

const MINUTE: Millis = Millis::from_secs(60);

/// Nodes `n-<id>`, devices `d-<index>`, pods `p-<n>`; those that are known.
struct Known {
    nodes: BTreeSet<String>,
    pods: BTreeSet<String>,
    devices: Vec<(String, DeviceHealth)>,
}

impl Known {
    fn all() -> Self {
        let names = |letter: &str| (0..8).map(|number| format!("{letter}-{number}")).collect();
        let devices = (0..8).map(|number| (format!("d-{number}"), DeviceHealth::Healthy)).collect();
        Self { nodes: names("n"), pods: names("p"), devices }
    }
}

fn number(name: &str) -> u32 {
    name.split_once('-').unwrap().1.parse().unwrap()
}

fn pod_id(number: u32) -> PodId {
    PodId { workload: WorkloadId(number.into()), role: 0, index: 0 }
}

impl Names for Known {
    fn node(&self, name: &str) -> Option<NodeId> {
        self.nodes.contains(name).then(|| NodeId(number(name)))
    }

    fn devices(&self, _: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)> {
        self.devices.iter().map(|(name, health)| (&**name, *health))
    }

    fn pod(&self, uid: &str) -> Option<PodId> {
        self.pods.contains(uid).then(|| pod_id(number(uid)))
    }
}

fn snapshot(node: &str, devices: &[&str]) -> Update {
    let devices = devices.iter().map(|&name| name.to_owned()).collect();
    Update { sequence: 1, snapshot: Some(Snapshot { node: node.to_owned(), devices }), ..Update::default() }
}

fn state(device: u32, health: wire::Health, foreign: u64) -> DeviceState {
    DeviceState { device, health: health.into(), foreign_mib: Some(foreign) }
}

fn next(sequence: u64, devices: Vec<DeviceState>, memory: Vec<PodMemory>) -> Update {
    Update { sequence, devices, memory, ..Update::default() }
}

fn health(device: u8, health: DeviceHealth) -> Event {
    Event::DeviceHealth { node: NodeId(1), device: DeviceIndex(device), health }
}

fn foreign(device: u8, mib: i64) -> Event {
    Event::DeviceForeign { node: NodeId(1), device: DeviceIndex(device), memory: GpuMemoryMib(mib) }
}

fn memory(pod: u32, device: u8, mib: i64) -> Event {
    Event::PodMemory { pod: pod_id(pod), device: DeviceIndex(device), memory: GpuMemoryMib(mib) }
}

const HEALTHY: wire::Health = wire::Health::Healthy;

/// A board with one device and one pod of one node, all of it told.
fn begun() -> (Board, StreamId) {
    let mut board = Board::new(MINUTE);
    let stream = board.open("n-1", Timestamp(0));
    let first = Update {
        pods: vec![WirePod { number: 7, uid: "p-3".to_owned() }],
        devices: vec![state(0, HEALTHY, 100)],
        memory: vec![PodMemory { pod: 7, device: 0, mib: 10 }],
        ..snapshot("n-1", &["d-0"])
    };
    board.apply(stream, &first, Timestamp(0)).unwrap();
    let told = board.events(&Known::all(), Timestamp(0));
    assert_eq!(told, [foreign(0, 100), memory(3, 0, 10)]);
    assert_eq!(board.events(&Known::all(), Timestamp(0)), []);
    (board, stream)
}

#[test]
fn only_what_changed_is_told() {
    let (mut board, stream) = begun();
    let changed =
        next(2, vec![state(0, wire::Health::Unhealthy, 100)], vec![PodMemory { pod: 7, device: 0, mib: 12 }]);
    board.apply(stream, &changed, Timestamp(1)).unwrap();
    let told = board.events(&Known::all(), Timestamp(1));
    assert_eq!(told, [health(0, DeviceHealth::Unhealthy), memory(3, 0, 12)]);
    board.apply(stream, &Update { gone: vec![7], ..next(3, vec![], vec![]) }, Timestamp(2)).unwrap();
    assert_eq!(board.events(&Known::all(), Timestamp(2)), [memory(3, 0, 0)]);
}

#[test]
fn foreign_memory_that_flickers_is_not_told() {
    let (mut board, stream) = begun();
    let mut foreign_now = |sequence, mib| {
        board.apply(stream, &next(sequence, vec![state(0, HEALTHY, mib)], vec![]), Timestamp(1)).unwrap();
        board.events(&Known::all(), Timestamp(1))
    };
    assert_eq!(foreign_now(2, 99), []);
    assert_eq!(foreign_now(3, 101), [foreign(0, 101)]);
    assert_eq!(foreign_now(4, 101 - FALL_MIN), [foreign(0, 101 - FALL_MIN as i64)]);
    assert_eq!(foreign_now(5, 0), [foreign(0, 0)]);
}

#[test]
fn a_silent_agent_makes_its_devices_silent_until_it_is_heard() {
    let (mut board, stream) = begun();
    let known = Known { devices: vec![("d-0".to_owned(), DeviceHealth::Healthy)], ..Known::all() };
    board.apply(stream, &next(2, vec![], vec![]), Timestamp(50_000)).unwrap();
    assert_eq!(board.events(&known, Timestamp(60_000)), [], "a heartbeat is a word");
    assert_eq!(board.events(&known, Timestamp(109_999)), []);
    assert_eq!(board.next_timer(), Some(Timestamp(110_000)));
    assert_eq!(board.events(&known, Timestamp(110_000)), [health(0, DeviceHealth::Silent)]);
    assert_eq!(board.events(&known, Timestamp(300_000)), []);
    board.apply(stream, &next(3, vec![], vec![]), Timestamp(300_001)).unwrap();
    assert_eq!(board.events(&known, Timestamp(300_001)), [health(0, DeviceHealth::Healthy)]);
    assert_eq!(board.events(&known, Timestamp(360_001)), [health(0, DeviceHealth::Silent)]);
}

#[test]
fn s18_an_agent_that_was_never_heard_is_silent_once_it_was_expected_for_long_enough() {
    let mut board = Board::new(MINUTE);
    let known = Known { devices: vec![("d-0".to_owned(), DeviceHealth::Healthy)], ..Known::all() };
    board.expect("n-1", Timestamp(1000));
    board.expect("n-1", Timestamp(50_000));
    assert_eq!(board.events(&known, Timestamp(60_999)), []);
    assert_eq!(board.events(&known, Timestamp(61_000)), [health(0, DeviceHealth::Silent)]);
    board.expect("n-1", Timestamp(62_000));
    assert_eq!(board.events(&known, Timestamp(62_000)), [], "that it is expected is no word of it");
}

#[test]
fn s18_a_device_is_as_well_as_the_worse_of_what_is_published_and_what_is_said() {
    let (mut board, stream) = begun();
    let mut known = Known::all();
    let mut published = |board: &mut Board, health| {
        known.devices[0].1 = health;
        board.published("n-1", DeviceIndex(0), health);
        board.events(&known, Timestamp(1))
    };
    assert_eq!(published(&mut board, DeviceHealth::Unhealthy), []);
    board.apply(stream, &next(2, vec![state(0, wire::Health::Lost, 100)], vec![]), Timestamp(1)).unwrap();
    // The taint goes, and what the agent says still counts.
    assert_eq!(published(&mut board, DeviceHealth::Healthy), [health(0, DeviceHealth::Lost)]);
    board.apply(stream, &next(3, vec![state(0, HEALTHY, 100)], vec![]), Timestamp(1)).unwrap();
    assert_eq!(board.events(&Known::all(), Timestamp(1)), [health(0, DeviceHealth::Healthy)]);
}

#[test]
fn what_the_engine_has_forgotten_is_told_again() {
    let (mut board, stream) = begun();
    board
        .apply(stream, &next(2, vec![state(0, wire::Health::Unhealthy, 100)], vec![]), Timestamp(1))
        .unwrap();
    board.events(&Known::all(), Timestamp(1));
    board.pods_again("n-1");
    assert_eq!(board.events(&Known::all(), Timestamp(1)), [memory(3, 0, 10)]);
    board.look_again("n-1");
    let all = [health(0, DeviceHealth::Unhealthy), foreign(0, 100), memory(3, 0, 10)];
    assert_eq!(board.events(&Known::all(), Timestamp(1)), all);
    board.gone("n-1");
    assert_eq!(board.apply(stream, &next(3, vec![], vec![]), Timestamp(1)), Err(Refusal::Superseded));
    assert_eq!(board.events(&Known::all(), Timestamp(100_000)), [], "who is gone is not silent");
    board.open("n-2", Timestamp(100_000));
    assert_eq!(board.nodes.len(), 1, "its place is taken by another");
}

#[test]
fn what_the_model_does_not_know_yet_is_told_later() {
    let mut board = Board::new(MINUTE);
    let stream = board.open("n-1", Timestamp(0));
    let first = Update {
        pods: vec![WirePod { number: 1, uid: "p-3".to_owned() }],
        devices: vec![state(0, HEALTHY, 1)],
        memory: vec![PodMemory { pod: 1, device: 0, mib: 10 }],
        ..snapshot("n-1", &["d-0"])
    };
    board.apply(stream, &first, Timestamp(0)).unwrap();
    let mut known = Known { nodes: BTreeSet::new(), pods: BTreeSet::new(), ..Known::all() };
    assert_eq!(board.events(&known, Timestamp(0)), []);
    known.nodes = Known::all().nodes;
    board.look_again("n-1");
    assert_eq!(board.events(&known, Timestamp(0)), [foreign(0, 1)]);
    known.pods = Known::all().pods;
    board.apply(stream, &next(2, vec![state(0, HEALTHY, 1)], vec![]), Timestamp(1)).unwrap();
    assert_eq!(board.events(&known, Timestamp(1)), [memory(3, 0, 10)]);
}

#[test]
fn a_new_stream_supersedes_the_old_and_only_differences_are_told() {
    let (mut board, old) = begun();
    let new = board.open("n-1", Timestamp(1));
    assert_eq!(board.apply(old, &next(2, vec![], vec![]), Timestamp(1)), Err(Refusal::Superseded));
    // The device has another number now, the pod too, and another pod is gone.
    let first = Update {
        pods: vec![WirePod { number: 1, uid: "p-3".to_owned() }],
        devices: vec![state(1, HEALTHY, 100), state(0, HEALTHY, 5)],
        memory: vec![PodMemory { pod: 1, device: 1, mib: 10 }],
        ..snapshot("n-1", &["d-5", "d-0"])
    };
    board.apply(new, &first, Timestamp(1)).unwrap();
    let told = board.events(&Known::all(), Timestamp(1));
    assert_eq!(told, [foreign(5, 5)]);
    let newer = board.open("n-1", Timestamp(2));
    let first = Update { devices: vec![state(0, HEALTHY, 100)], ..snapshot("n-1", &["d-0"]) };
    board.apply(newer, &first, Timestamp(2)).unwrap();
    assert_eq!(board.events(&Known::all(), Timestamp(2)), [memory(3, 0, 0)]);
}

#[test]
fn what_may_not_be_said_is_refused_by_name_and_changes_nothing() {
    let (mut board, stream) = begun();
    let mut refused = |update: &Update| {
        let refusal = board.apply(stream, update, Timestamp(1)).unwrap_err().to_string();
        assert_eq!(board.events(&Known::all(), Timestamp(1)), []);
        refusal
    };
    assert_eq!(refused(&next(3, vec![], vec![])), "update 3 came where 2 was due");
    assert_eq!(refused(&next(2, vec![state(1, HEALTHY, 0)], vec![])), "device: is 1, allowed: less than 1");
    let much = next(2, vec![state(0, HEALTHY, 1 << 40)], vec![]);
    assert_eq!(refused(&much), "MiB: is 1099511627776, allowed: at most 4294967295");
    let other = Update { sequence: 2, ..snapshot("n-2", &[]) };
    assert_eq!(refused(&other), "snapshot.node: is n-2, allowed: n-1");
    let names: Vec<String> = (0..65).map(|number| format!("d-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = Update { sequence: 2, ..snapshot("n-1", &names) };
    assert_eq!(refused(&many), "snapshot.devices: is 65 of them, allowed: at most 64");
    let nameless = Update { sequence: 2, ..snapshot("n-1", &[""]) };
    assert_eq!(refused(&nameless), "a name: is 0 bytes long, allowed: 1 to 253");
    let mut board = Board::new(MINUTE);
    let stream = board.open("n-1", Timestamp(0));
    let refusal = board.apply(stream, &next(1, vec![], vec![]), Timestamp(0)).unwrap_err().to_string();
    assert_eq!(refusal, "snapshot: is absent, allowed: one in the first update of a stream");
}

/// What the engine would know after these events.
#[derive(Debug, Default, PartialEq)]
struct Engine {
    health: BTreeMap<DeviceIndex, DeviceHealth>,
    foreign: BTreeMap<DeviceIndex, i64>,
    memory: BTreeMap<(PodId, DeviceIndex), i64>,
}

impl Engine {
    fn hear(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::DeviceHealth { device, health, .. } => _ = self.health.insert(device, health),
                Event::DeviceForeign { device, memory, .. } => _ = self.foreign.insert(device, memory.0),
                Event::PodMemory { pod, device, memory: GpuMemoryMib(0) } => {
                    _ = self.memory.remove(&(pod, device))
                }
                Event::PodMemory { pod, device, memory } => _ = self.memory.insert((pod, device), memory.0),
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    /// An agent that says what is so, in any steps and over any number of streams, is understood.
    #[test]
    fn the_engine_knows_what_the_agent_sees(steps in prop::collection::vec(
        (any::<bool>(), prop::collection::btree_map((0..3_u32, 0..4_u32), 1..4_u64, 0..6), 0..3_u64), 1..20,
    )) {
        let (mut board, mut engine) = (Board::new(MINUTE), Engine::default());
        let mut stream = board.open("n-1", Timestamp(0));
        let (mut sequence, mut said) = (0, BTreeMap::<(u32, u32), u64>::new());
        for (anew, now, foreign) in steps {
            if anew {
                stream = board.open("n-1", Timestamp(0));
                sequence = 0;
            }
            let mut update = Update::default();
            if sequence == 0 {
                update = snapshot("n-1", &["d-0", "d-1", "d-2", "d-3"]);
                update.pods = (0..3).map(|pod| WirePod { number: pod, uid: format!("p-{pod}") }).collect();
                said.clear();
            }
            sequence += 1;
            update.sequence = sequence;
            update.devices = (0..4).map(|device| state(device, HEALTHY, foreign * FALL_MIN)).collect();
            let both = now.keys().chain(said.keys()).copied().collect::<BTreeSet<_>>();
            update.memory = both.into_iter().map(|(pod, device)| {
                PodMemory { pod, device, mib: now.get(&(pod, device)).copied().unwrap_or(0) }
            }).collect();
            board.apply(stream, &update, Timestamp(0)).unwrap();
            said = now;
            engine.hear(board.events(&Known::all(), Timestamp(0)));
            let want: BTreeMap<_, _> = said.iter()
                .map(|((pod, device), mib)| ((pod_id(*pod), DeviceIndex(*device as u8)), *mib as i64)).collect();
            prop_assert_eq!(&engine.memory, &want);
            prop_assert!(engine.foreign.values().all(|mib| *mib == (foreign * FALL_MIN) as i64));
        }
    }

    /// Whatever is said, nothing breaks, and what is refused changes nothing.
    #[test]
    fn nothing_that_is_said_breaks_it(updates in prop::collection::vec(any_update(), 1..30)) {
        let mut board = Board::new(MINUTE);
        let stream = board.open("n-1", Timestamp(0));
        let mut sequence = 0;
        for mut update in updates {
            update.sequence = sequence + 1;
            if board.apply(stream, &update, Timestamp(0)).is_ok() {
                sequence += 1;
                board.events(&Known::all(), Timestamp(0));
            } else {
                prop_assert_eq!(board.events(&Known::all(), Timestamp(0)), []);
            }
        }
    }
}

prop_compose! {
    fn any_update()(
        devices in prop::option::of(prop::collection::vec("d-[0-3]", 0..5)),
        pods in prop::collection::vec((0..5_u32, "p-[0-5]"), 0..4),
        states in prop::collection::vec((0..5_u32, 0..4_i32, prop::option::of(0..300_u64)), 0..4),
        memory in prop::collection::vec((0..6_u32, 0..5_u32, 0..5_u64), 0..5),
        gone in prop::collection::vec(0..6_u32, 0..3),
    ) -> Update {
        Update {
            sequence: 0,
            snapshot: devices.map(|devices| Snapshot { node: "n-1".to_owned(), devices }),
            pods: pods.into_iter().map(|(number, uid)| WirePod { number, uid }).collect(),
            devices: states.into_iter()
                .map(|(device, health, foreign_mib)| DeviceState { device, health, foreign_mib }).collect(),
            memory: memory.into_iter().map(|(pod, device, mib)| PodMemory { pod, device, mib }).collect(),
            gone,
        }
    }
}
