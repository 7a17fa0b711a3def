//! S13, S14, S16, S17, S18: devices.

use crate::dsl::*;
use GpuRequest::{Memory, Share, Whole};
use berth_model::*;

/// Two pods, the second of which is placed; the rule it breaks.
fn after(there: GpuRequest, given: GpuGrant, asked: GpuRequest, decided: GpuGrant, expected: &[&str]) {
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(there)).workload(2, gpus(asked));
    world.running(first(1), 1, given).decides(0, &[place(first(2), 1, decided)], expected);
}

/// One pod on a node that is changed.
fn on(edit: impl FnOnce(&mut NodeSpec), asked: GpuRequest, decided: GpuGrant, expected: &[&str]) {
    let mut world = World::new();
    world.node(1, edit).workload(1, gpus(asked)).decides(0, &[place(first(1), 1, decided)], expected);
}

fn memory(mib: i64, devices: u32, limit: Option<i64>) -> GpuRequest {
    Memory { memory: GpuMemoryMib(mib), devices, limit: limit.map(GpuMemoryMib) }
}

#[test]
fn as_many_devices_as_asked_for() {
    on(|_| {}, Whole(2), whole(&[1, 3]), &[]);
    on(|_| {}, Whole(2), whole(&[1]), &["S13"]);
    on(|_| {}, Whole(2), GpuGrant::None, &["S13"]);
    on(|_| {}, Whole(1), whole(&[4]), &["S13"]);
    on(|_| {}, Whole(1), shared(&[0], DEVICE), &["S13"]);
    on(|_| {}, GpuRequest::None, whole(&[0]), &["S13"]);
    on(|_| {}, share(500_000), whole(&[0]), &["S13"]);
    on(|_| {}, memory(10, 2, None), shared(&[0, 2], 10), &[]);
    on(|_| {}, memory(10, 2, None), shared(&[0], 10), &["S13"]);
}

#[test]
fn a_share_is_rounded_down_and_at_least_one() {
    on(|_| {}, share(333_333), shared(&[0], 26_666), &[]);
    on(|_| {}, share(333_333), shared(&[0], 26_667), &["S13"]);
    on(|_| {}, share(333_333), shared(&[0], 26_665), &["S13"]);
    on(|_| {}, share(1), shared(&[0], 1), &[]);
    on(|n| n.devices[0].memory = GpuMemoryMib(1000), share(500_000), shared(&[0], 500), &[]);
    on(|_| {}, memory(10, 1, None), shared(&[0], 11), &["S13"]);
}

#[test]
fn the_limit_is_at_least_the_request() {
    let burst = Share { share: GpuShare(100_000), devices: 1, limit: Some(GpuShare(200_000)) };
    on(|_| {}, burst, bursting(&[0], 8000, 16_000), &[]);
    on(|_| {}, burst, bursting(&[0], 8000, 16_001), &["S14"]);
    on(|_| {}, burst, bursting(&[0], 8000, 7999), &["S14"]);
    on(|_| {}, share(100_000), bursting(&[0], 8000, 8001), &["S14"]);
    on(|_| {}, memory(10, 1, Some(20)), bursting(&[0], 10, 20), &[]);
    on(|_| {}, memory(10, 1, Some(20)), bursting(&[0], 10, 21), &["S14"]);
    // The limits may exceed the device together.
    let wide = memory(40_000, 1, Some(DEVICE));
    after(wide, bursting(&[0], 40_000, DEVICE), wide, bursting(&[0], 40_000, DEVICE), &[]);
}

#[test]
fn the_parts_of_a_device_fit_it() {
    let half = share(500_000);
    after(half, shared(&[0], 40_000), half, shared(&[0], 40_000), &[]);
    after(memory(40_001, 1, None), shared(&[0], 40_001), half, shared(&[0], 40_000), &["S13"]);
    after(memory(40_001, 1, None), shared(&[0], 40_001), half, shared(&[1], 40_000), &[]);
    after(Whole(1), whole(&[0]), Whole(1), whole(&[0]), &["S13"]);
    after(Whole(1), whole(&[0]), Whole(3), whole(&[1, 2, 3]), &[]);
}

#[test]
fn whole_and_shared_never_mix() {
    let half = share(500_000);
    after(half, shared(&[0], 40_000), Whole(1), whole(&[0]), &["S16"]);
    after(Whole(1), whole(&[0]), half, shared(&[0], 40_000), &["S16"]);
    after(Whole(1), whole(&[0]), half, shared(&[1], 40_000), &[]);
}

#[test]
fn foreign_memory_is_not_given_out() {
    let foreign = |mib: i64| move |n: &mut NodeSpec| n.devices[0].foreign = GpuMemoryMib(mib);
    on(foreign(512), Whole(1), whole(&[0]), &[]);
    on(foreign(513), Whole(1), whole(&[0]), &["S17"]);
    on(foreign(513), Whole(1), whole(&[1]), &[]);
    on(foreign(40_000), share(500_000), shared(&[0], 40_000), &[]);
    on(foreign(40_001), share(500_000), shared(&[0], 40_000), &["S17"]);
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(Whole(1)));
    let measured =
        Event::DeviceForeign { node: NodeId(1), device: DeviceIndex(0), memory: GpuMemoryMib(600) };
    world.event(measured).decides(0, &[place(first(1), 1, whole(&[0]))], &["S17"]);
}

#[test]
fn unhealthy_devices_take_no_pods() {
    for health in [DeviceHealth::Unhealthy, DeviceHealth::Lost, DeviceHealth::Silent] {
        on(|n| n.devices[0].health = health, Whole(1), whole(&[0]), &["S18"]);
        on(|n| n.devices[0].health = health, share(500_000), shared(&[0], 40_000), &["S18"]);
        on(|n| n.devices[0].health = health, Whole(1), whole(&[1]), &[]);
        let mut world = World::new();
        world.node(1, |_| {}).workload(1, gpus(Whole(1))).workload(2, gpus(Whole(1)));
        world.running(first(1), 1, whole(&[0]));
        world.event(Event::DeviceHealth { node: NodeId(1), device: DeviceIndex(1), health }).audits(&[]);
        world.decides(0, &[place(first(2), 1, whole(&[1]))], &["S18"]);
    }
}

#[test]
fn pods_whose_devices_nobody_told_leave_some_choice() {
    after(Whole(3), GpuGrant::None, Whole(1), whole(&[0]), &[]);
    after(Whole(3), GpuGrant::None, Whole(1), whole(&[3]), &[]);
    after(Whole(3), GpuGrant::None, Whole(2), whole(&[0, 1]), &["S13"]);
    after(Whole(3), GpuGrant::None, share(500_000), shared(&[2], 40_000), &[]);
    after(Whole(4), GpuGrant::None, share(500_000), shared(&[2], 40_000), &["S13"]);
    after(memory(DEVICE, 1, None), GpuGrant::None, Whole(3), whole(&[0, 1, 2]), &[]);
    after(memory(DEVICE, 1, None), GpuGrant::None, Whole(4), whole(&[0, 1, 2, 3]), &["S13"]);
}

#[test]
fn the_audit_sees_what_was_given_out_twice() {
    let both = |asked: GpuRequest, grants: [GpuGrant; 2], foreign: i64, rule: &str| {
        let mut world = World::new();
        world.node(1, |n| n.devices[0].foreign = GpuMemoryMib(foreign));
        world.workload(1, gpus(asked)).workload(2, gpus(asked)).audits(&[]);
        let places = [place(first(1), 1, grants[0]), place(first(2), 1, grants[1])];
        world.decides(0, &places, &[rule]).audits(&[rule]);
    };
    both(Whole(1), [whole(&[0]), whole(&[0])], 0, "S13");
    both(memory(50_000, 1, None), [shared(&[0], 50_000), shared(&[0], 50_000)], 0, "S13");
    both(memory(30_000, 1, None), [shared(&[0], 30_000), shared(&[0], 30_000)], 20_001, "S17");
    let mut mixed = World::new();
    mixed.node(1, |_| {}).workload(1, gpus(Whole(1))).workload(2, gpus(share(500_000)));
    let places = [place(first(1), 1, whole(&[0])), place(first(2), 1, shared(&[0], 40_000))];
    mixed.decides(0, &places, &["S16"]).audits(&["S16"]);
    // From an event on, what is found on the node is nobody's fault; the decision has been reported.
    mixed.node(1, |_| {}).audits(&[]);
}
