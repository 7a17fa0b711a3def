//! Devices as Berth's driver publishes them (S16, S18).

use crate::world::World;
use berth_cluster::Kind;
use berth_model::{DeviceHealth, Event};
use serde_json::json;

/// A node whose devices Berth's driver hands out.
fn published(devices: &[&str]) -> World {
    let mut world = World::new();
    world.node("n0", 0);
    world.slice("n0", 1, devices);
    world.sync();
    world
}

#[test]
fn s18_devices_come_from_the_slices_and_those_that_are_unwell_count_for_nothing() {
    let mut world = published(&["a", "b!"]);
    assert_eq!((world.engine_usage().1, world.devices("n0")), (1_000_000, vec!["a".into(), "b!".into()]));
    world.events.clear();
    world.slice("n0", 1, &["a", "b"]);
    world.sync();
    assert_eq!(world.engine_usage().1, 2_000_000);
    let [Event::DeviceHealth { health: DeviceHealth::Healthy, device, .. }] = &world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!(device.0, 1);
}

#[test]
fn a_slice_that_comes_before_its_node_or_goes_before_it_counts_while_both_are_there() {
    let mut world = World::new();
    world.slice("n0", 1, &["a"]);
    world.sync();
    world.node("n0", 0);
    world.sync();
    assert_eq!(world.engine_usage(), (1, 1_000_000, 0));
    world.delete(Kind::Slice, "", "n0-1");
    world.sync();
    assert_eq!(world.engine_usage(), (1, 0, 0));
}

#[test]
fn a_newer_generation_counts_and_a_device_keeps_its_number() {
    let mut world = published(&["b", "c"]);
    world.slice("n0", 2, &["a", "c"]);
    world.sync();
    let node = world.mirror.node_named("n0").expect("a node");
    let numbered: Vec<_> = world.mirror.published(node).map(|(name, spec)| (name, spec.health)).collect();
    let (well, lost) = (DeviceHealth::Healthy, DeviceHealth::Lost);
    assert_eq!(numbered, [("b", lost), ("c", well), ("a", well)]);
    assert_eq!(world.engine_usage().1, 2_000_000);
    // The old one is taken away only now, and says nothing any more.
    world.delete(Kind::Slice, "", "n0-1");
    world.sync();
    assert_eq!(world.engine_usage().1, 2_000_000);
}

#[test]
fn slices_of_other_drivers_are_none_of_ours() {
    let mut world = World::new();
    world.node("n0", 0);
    let spec = json!({"driver": "gpu.nvidia.com", "nodeName": "n0", "pool": {"name": "n0", "generation": 1},
        "devices": [{"name": "a"}]});
    world.set(Kind::Slice, "", "others", json!({"spec": spec}));
    world.sync();
    assert_eq!(world.engine_usage(), (1, 0, 0));
}

#[test]
fn a_node_that_is_managed_both_ways_takes_nothing_until_it_is_one_of_them() {
    let mut world = published(&["a"]);
    world.node("n0", 2);
    world.pod("p", 0, json!({}));
    assert_eq!(world.says(), ["p pending: feasibility"]);
    // The agent gave its devices up: the device plugin's count stands.
    world.delete(Kind::Slice, "", "n0-1");
    assert_eq!(world.says(), ["p -> n0"]);
    assert_eq!(world.engine_usage().1, 2_000_000);
}

#[test]
fn a_malformed_slice_is_a_problem_of_its_node_and_of_no_other() {
    let mut world = published(&["a"]);
    world.node("n1", 1);
    let devices = json!([{"name": "a", "capacity": {"memory": {"value": "much"}}}]);
    let spec = json!({"driver": "gpu.berth.dev", "nodeName": "n0", "pool": {"name": "n0", "generation": 2},
        "devices": devices});
    world.set(Kind::Slice, "", "n0-2", json!({"spec": spec}));
    world.pod("p", 0, json!({}));
    assert_eq!(world.says(), ["p -> n1"]);
}
