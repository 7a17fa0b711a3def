//! Streams of agents: any bytes, and any sequence of messages, openings, silences and forgotten nodes. Never a panic; what is
//! refused changes nothing; what the engine is told is within bounds and about what is there, and told once; and no agent can make
//! well what is published as unwell.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use berth_cluster::telemetry::board::{DEVICES_MAX, FALL_MIN};
use berth_cluster::telemetry::{Board, Names, StreamId, wire};
use berth_model::{
    DeviceHealth, DeviceIndex, Event, GpuMemoryMib, Millis, NodeId, PodId, Timestamp, WorkloadId,
};
use prost::Message;
use wire::{DeviceState, Pod, PodMemory, Snapshot, Update};

const NODES: [&str; 3] = ["n-0", "n-1", "unknown"];
const DEVICES: [&str; 4] = ["d-0", "d-1", "d-2", "d-9"];
const PODS: [&str; 4] = ["p-0", "p-1", "p-2", "unknown"];

/// Two nodes with three devices, and three pods.
struct Known {
    health: [[DeviceHealth; 3]; 2],
}

impl Names for Known {
    fn node(&self, name: &str) -> Option<NodeId> {
        NODES[..2].iter().position(|known| *known == name).map(|at| NodeId(at as u32))
    }

    fn devices(&self, node: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)> {
        DEVICES[..3].iter().copied().zip(self.health[node.0 as usize])
    }

    fn pod(&self, uid: &str) -> Option<PodId> {
        let at = PODS[..3].iter().position(|known| *known == uid)?;
        Some(PodId { workload: WorkloadId(at as u64), role: 0, index: 0 })
    }
}

/// What the engine has been told.
#[derive(Default)]
struct Told {
    health: BTreeMap<(NodeId, DeviceIndex), DeviceHealth>,
    foreign: BTreeMap<(NodeId, DeviceIndex), GpuMemoryMib>,
}

pub(crate) fn run(from: &mut Unstructured<'_>) -> Result<()> {
    let mut known = Known { health: [[DeviceHealth::Healthy; 3]; 2] };
    let mut board = Board::new(Millis::from_secs(60));
    let mut told = Told::default();
    let mut now = Timestamp(1_000_000);
    let mut streams: Vec<(StreamId, u64)> = Vec::new();
    while !from.is_empty() {
        now = now.plus(Millis(from.int_in_range(0..=20_000)?));
        let node = *from.choose(&NODES)?;
        match from.int_in_range(0..=11)? {
            0 => streams.push((board.open(node, now), 0)),
            1 => board.expect(node, now),
            2 => board.gone(node),
            3 => board.look_again(node),
            4 => board.pods_again(node),
            5 => publish(from, &mut known, &mut board, &mut told, node)?,
            6 => bytes(from, &mut board, &streams, now)?,
            _ => speak(from, &mut board, &mut streams, now)?,
        }
        if from.ratio(1, 3)? {
            tell(&mut board, &known, &mut told, now);
        }
    }
    tell(&mut board, &known, &mut told, now);
    Ok(())
}

fn health(from: &mut Unstructured<'_>) -> Result<DeviceHealth> {
    from.choose(&[DeviceHealth::Healthy, DeviceHealth::Unhealthy, DeviceHealth::Lost]).copied()
}

/// The node's slice says something else of a device's health, and the engine has been told.
fn publish(
    from: &mut Unstructured<'_>,
    known: &mut Known,
    board: &mut Board,
    told: &mut Told,
    node: &str,
) -> Result<()> {
    let Some(id) = known.node(node) else { return Ok(()) };
    let device = from.int_in_range(0..=2)?;
    let now = health(from)?;
    known.health[id.0 as usize][device] = now;
    told.health.insert((id, DeviceIndex(device as u8)), now);
    board.published(node, DeviceIndex(device as u8), now);
    Ok(())
}

/// Bytes as they come off the wire.
fn bytes(
    from: &mut Unstructured<'_>,
    board: &mut Board,
    streams: &[(StreamId, u64)],
    now: Timestamp,
) -> Result<()> {
    let length = from.int_in_range(0..=200)?.min(from.len());
    let Ok(update) = Update::decode(from.bytes(length)?) else { return Ok(()) };
    assert_eq!(Update::decode(&*update.encode_to_vec()).as_ref(), Ok(&update));
    if let Some((stream, _)) = streams.last() {
        let before = format!("{board:?}");
        if board.apply(*stream, &update, now).is_err() {
            assert_eq!(format!("{board:?}"), before, "what was refused has changed something: {update:?}");
        }
    }
    Ok(())
}

/// A message that may well be right.
fn speak(
    from: &mut Unstructured<'_>,
    board: &mut Board,
    streams: &mut [(StreamId, u64)],
    now: Timestamp,
) -> Result<()> {
    if streams.is_empty() {
        return Ok(());
    }
    let at = if from.ratio(9, 10)? { streams.len() - 1 } else { from.choose_index(streams.len())? };
    let (stream, sequence) = &mut streams[at];
    let update = update(from, *sequence)?;
    let before = format!("{board:?}");
    match board.apply(*stream, &update, now) {
        Ok(()) => *sequence = update.sequence,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            assert_eq!(format!("{board:?}"), before, "what was refused has changed something: {update:?}");
        }
    }
    Ok(())
}

fn update(from: &mut Unstructured<'_>, sequence: u64) -> Result<Update> {
    let mut update = Update { sequence: sequence.wrapping_add(1), ..Update::default() };
    if from.ratio(1, 20)? {
        update.sequence = u64::arbitrary(from)?;
    }
    if sequence == 0 || from.ratio(1, 8)? {
        let mut devices = Vec::new();
        for _ in 0..from.int_in_range(0..=4)? {
            devices.push((*from.choose(&DEVICES)?).to_owned());
        }
        update.snapshot = Some(Snapshot { node: (*from.choose(&NODES)?).to_owned(), devices });
    }
    for _ in 0..from.int_in_range(0..=2)? {
        update.pods.push(Pod { number: number(from)?, uid: (*from.choose(&PODS)?).to_owned() });
    }
    for _ in 0..from.int_in_range(0..=2)? {
        let foreign_mib = if from.ratio(1, 2)? { Some(mib(from)?) } else { None };
        update.devices.push(DeviceState {
            device: number(from)?,
            health: from.int_in_range(-1..=4)?,
            foreign_mib,
        });
    }
    for _ in 0..from.int_in_range(0..=2)? {
        update.memory.push(PodMemory { pod: number(from)?, device: number(from)?, mib: mib(from)? });
    }
    for _ in 0..from.int_in_range(0..=1)? {
        update.gone.push(number(from)?);
    }
    Ok(update)
}

fn number(from: &mut Unstructured<'_>) -> Result<u32> {
    if from.ratio(1, 20)? { u32::arbitrary(from) } else { from.int_in_range(0..=3) }
}

fn mib(from: &mut Unstructured<'_>) -> Result<u64> {
    if from.ratio(1, 20)? { u64::arbitrary(from) } else { from.int_in_range(0..=300) }
}

/// Tells the engine all that is to be told.
fn tell(board: &mut Board, known: &Known, told: &mut Told, now: Timestamp) {
    for event in board.events(known, now) {
        match event {
            Event::DeviceHealth { node, device, health } => {
                assert!(device.index() < DEVICES[..3].len().min(DEVICES_MAX));
                told.health.insert((node, device), health);
            }
            Event::DeviceForeign { node, device, memory } => {
                assert!(device.index() < 3 && (0..=i64::from(u32::MAX)).contains(&memory.0), "{memory}");
                let before = told.foreign.insert((node, device), memory).unwrap_or_default();
                let fall = before.0 - memory.0;
                assert!(fall < 0 || fall >= FALL_MIN as i64 || memory.0 == 0, "{before} to {memory}");
            }
            Event::PodMemory { pod, device, memory } => {
                assert!(pod.workload.0 < 3 && device.index() < 3);
                assert!((0..=i64::from(u32::MAX)).contains(&memory.0), "{memory}");
            }
            other => panic!("{other:?} is nothing that an agent says"),
        }
    }
    let again = board.events(known, now);
    assert_eq!(again, Vec::new(), "told twice");
    // Whatever agents say, a device that is published as unwell is told as unwell.
    for ((node, device), health) in &told.health {
        let published = known.health[node.0 as usize][device.index()];
        assert!(
            published == DeviceHealth::Healthy || *health == published,
            "{device} of {node} is published as {published:?} and told as {health:?}"
        );
    }
}
