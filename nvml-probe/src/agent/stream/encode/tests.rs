//! What is said, from states.

use std::sync::Arc;

use super::*;
use crate::{
    DeviceInfo, Failure,
    agent::{DriverState, PodIndex, Shares},
};

fn uid(number: u32) -> PodUid {
    PodUid::parse(&format!("0f3b1c2d-1111-2222-3333-{number:012}")).unwrap()
}

/// A device with foreign MiB and the MiB of pods; none: it cannot be reached.
fn device(name: &str, seen: Option<(u64, &[(u32, u64)])>) -> DeviceState {
    let shares = seen.map(|(foreign, pods)| Shares {
        pods: pods.iter().map(|(number, mib)| (uid(*number), Bytes(mib << 20))).collect(),
        foreign: Some(Bytes(foreign << 20)),
        ..Shares::default()
    });
    DeviceState {
        name: DeviceName::of_uuid(name),
        info: Arc::new(DeviceInfo::failed(0, &Failure::Lost)),
        grantable_mib: 1,
        reserved_mib: 0,
        fitness: if shares.is_some() { Fitness::Healthy } else { Fitness::Lost },
        sample: None,
        health: None,
        last_xid: None,
        shares,
    }
}

fn state(devices: Vec<DeviceState>) -> NodeState {
    let driver = DriverState::Starting;
    NodeState { tick: 1, driver, devices, pods: Arc::new(PodIndex::default()) }
}

fn memory(update: &Update) -> Vec<(u32, u32, u64)> {
    update.memory.iter().map(|memory| (memory.pod, memory.device, memory.mib)).collect()
}

#[test]
fn first_everything_then_what_changed_and_nothing_when_nothing_did() {
    let mut encoder = Encoder::new("n-1");
    let now = state(vec![device("a", Some((5, &[(1, 10)]))), device("b", Some((0, &[])))]);
    let first = encoder.update(&now).unwrap();
    let snapshot = first.snapshot.as_ref().unwrap();
    assert_eq!((first.sequence, snapshot.node.as_str(), snapshot.devices.len()), (1, "n-1", 2));
    assert_eq!((first.devices.len(), first.pods.len(), memory(&first)), (2, 1, vec![(1, 0, 10)]));
    assert_eq!(encoder.update(&now), None);
    assert_eq!(encoder.heartbeat(), Update { sequence: 2, ..Update::default() });
    // The pod takes the second device too, and another one comes.
    let now = state(vec![device("a", Some((5, &[(1, 10)]))), device("b", Some((0, &[(1, 3), (2, 4)])))]);
    let next = encoder.update(&now).unwrap();
    assert_eq!((next.sequence, next.devices.len(), memory(&next)), (3, 0, vec![(1, 1, 3), (2, 1, 4)]));
    assert_eq!(next.pods, [Pod { number: 2, uid: uid(2).as_str().to_owned() }]);
    // It leaves the first; the other one goes.
    let now = state(vec![device("a", Some((5, &[]))), device("b", Some((0, &[(1, 3)])))]);
    let next = encoder.update(&now).unwrap();
    assert_eq!((memory(&next), next.gone), (vec![(1, 0, 0)], vec![2]));
}

#[test]
fn what_is_not_known_stands_as_it_was_said() {
    let mut encoder = Encoder::new("n-1");
    encoder.update(&state(vec![device("a", Some((5, &[(1, 10)])))]));
    let lost = encoder.update(&state(vec![device("a", None)])).unwrap();
    assert_eq!(lost.devices, [WireDevice { device: 0, health: Health::Lost.into(), foreign_mib: None }]);
    assert_eq!((memory(&lost), lost.gone.len()), (vec![], 0));
    let back = encoder.update(&state(vec![device("a", Some((5, &[(1, 10)])))])).unwrap();
    assert_eq!((memory(&back), back.devices.len()), (vec![], 1));
}

#[test]
fn other_devices_are_another_snapshot() {
    let mut encoder = Encoder::new("n-1");
    encoder.update(&state(vec![device("a", Some((5, &[(1, 10)])))]));
    let next = encoder
        .update(&state(vec![device("a", Some((5, &[(1, 10)]))), device("b", Some((0, &[])))]))
        .unwrap();
    assert!(next.snapshot.is_some() && next.sequence == 2);
    assert_eq!((next.devices.len(), next.pods.len(), memory(&next)), (2, 1, vec![(1, 0, 10)]));
}

#[test]
fn what_cannot_wait_is_urgent_and_the_rest_is_not() {
    let mut encoder = Encoder::new("n-1");
    let at = |foreign, pods| state(vec![device("a", Some((foreign, pods)))]);
    let first = at(100, &[(1, 10)]);
    assert!(encoder.is_urgent(&first), "nothing was said yet");
    encoder.update(&first);
    assert!(!encoder.is_urgent(&first));
    assert!(!encoder.is_urgent(&at(163, &[(1, 70_000)])), "a pod's memory, and a little that is foreign");
    assert!(encoder.is_urgent(&at(164, &[(1, 10)])));
    assert!(encoder.is_urgent(&at(36, &[(1, 10)])));
    assert!(encoder.is_urgent(&at(100, &[(1, 10), (2, 1)])), "a pod comes");
    assert!(encoder.is_urgent(&at(100, &[])), "a pod goes");
    assert!(encoder.is_urgent(&state(vec![device("a", None)])), "a device is lost");
    assert!(encoder.is_urgent(&state(vec![device("b", Some((100, &[(1, 10)])))])), "another device");
}
