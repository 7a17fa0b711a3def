//! Claims that mean some devices and not others, by selectors in CEL.

use crate::world::World;
use berth_cluster::{Action, Kind};
use serde_json::{Value, json};

const DRIVER: &str = "gpu.berth.dev";

/// A node whose devices are of these products, named `NODE-0` and so on.
fn node(world: &mut World, name: &str, products: &[&str]) {
    world.node(name, 0);
    slice(world, name, products);
}

fn slice(world: &mut World, node: &str, products: &[&str]) {
    let device = |(at, product): (usize, &&str)| {
        let attributes = match *product {
            "" => json!({}),
            product => json!({ "productName": { "string": product } }),
        };
        json!({
            "name": format!("{node}-{at}"), "attributes": attributes, "allowMultipleAllocations": true,
            "capacity": { "memory": { "value": "1000Mi" } },
        })
    };
    let devices: Vec<Value> = products.iter().enumerate().map(device).collect();
    let pool = json!({ "name": node, "generation": 1, "resourceSliceCount": 1 });
    let spec = json!({ "driver": DRIVER, "nodeName": node, "pool": pool, "devices": devices });
    world.set(Kind::Slice, "", node, json!({ "spec": spec }));
}

/// A pod with a claim for 600 MiB of a device for which this holds.
fn selecting(world: &mut World, name: &str, expression: &str) {
    requesting(world, name, &[("gpu", expression, 1)]);
}

fn requesting(world: &mut World, name: &str, requests: &[(&str, &str, u32)]) {
    let ours = json!({ "cel": { "expression": "device.driver == \"gpu.berth.dev\"" } });
    world.set(Kind::DeviceClass, "", DRIVER, json!({ "spec": { "selectors": [ours] } }));
    let request = |(name, expression, count): &(&str, &str, u32)| {
        let selectors = json!([{ "cel": { "expression": expression } }]);
        json!({ "name": name, "exactly": {
            "deviceClassName": DRIVER, "capacity": { "requests": { "memory": "600Mi" } }, "count": count, "selectors": selectors,
        } })
    };
    let requests: Vec<Value> = requests.iter().map(request).collect();
    world.set(Kind::DeviceClaim, "open", name, json!({ "spec": { "devices": { "requests": requests } } }));
    let used = json!([{ "name": "gpu", "resourceClaimName": name }]);
    world.pod(name, 0, json!({ "spec": { "resourceClaims": used } }));
}

fn product(name: &str) -> String {
    format!("device.attributes[\"gpu.berth.dev\"].productName == \"{name}\"")
}

/// The one message of a round.
fn message(world: &mut World) -> String {
    let actions = world.round();
    let [Action::Pending { message, .. }] = &actions[..] else { panic!("{actions:?}") };
    message.clone()
}

#[test]
fn s11_a_pod_goes_where_the_devices_are_that_its_claim_means() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100"]);
    node(&mut world, "n1", &["A100"]);
    world.sync();
    selecting(&mut world, "p", &product("A100"));
    assert_eq!(world.act(), ["p -> n1"]);
    selecting(&mut world, "q", &product("A100"));
    assert_eq!(world.act(), ["q pending: capacity"]);
    // What a node publishes counts from then on, and what it publishes no more does not.
    node(&mut world, "n2", &["A100"]);
    assert_eq!(world.act(), ["q -> n2"]);
    slice(&mut world, "n0", &["A100"]);
    selecting(&mut world, "r", &product("H100"));
    assert_eq!(world.act(), ["r pending: feasibility"]);
    selecting(&mut world, "s", &product("A100"));
    assert_eq!(world.act(), ["s -> n0"]);
}

#[test]
fn s11_capacities_and_versions_select_too_and_a_restart_changes_nothing() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100"]);
    world.sync();
    let has = |amount: &str| {
        format!("device.capacity['gpu.berth.dev'].memory.compareTo(quantity('{amount}')) >= 0")
    };
    selecting(&mut world, "p", &has("1001Mi"));
    assert_eq!(world.act(), ["p pending: feasibility"]);
    selecting(&mut world, "q", &has("1000Mi"));
    assert_eq!(world.act(), ["q -> n0"]);
    world.restart();
    selecting(&mut world, "r", &has("1000Mi"));
    let mut said = world.act();
    said.sort();
    assert_eq!(said, ["p pending: feasibility", "r pending: capacity"]);
}

#[test]
fn a_node_of_which_only_some_devices_are_meant_is_not_offered_and_that_is_said() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100", "A100"]);
    node(&mut world, "n1", &["L40"]);
    world.sync();
    selecting(&mut world, "p", &product("A100"));
    let said = message(&mut world);
    let expected = "productName == \"A100\"), mean all devices of 0 nodes and none of 1; of 1 nodes they mean some, which are not";
    assert!(said.starts_with("feasibility: ") && said.contains(expected), "{said}");
}

#[test]
fn a_selector_that_fails_on_a_device_keeps_its_pods_waiting_until_it_does_not() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100"]);
    node(&mut world, "n1", &[""]);
    world.sync();
    selecting(&mut world, "p", &product("H100"));
    let said = message(&mut world);
    assert!(said.contains("on n1 it fails for n1-0: No such key: productName"), "{said}");
    assert!(said.contains("spec.resourceClaims[gpu].ResourceClaim open/p.selectors: "), "{said}");
    // One that looks first whether it is there does not fail.
    let careful = format!("has(device.attributes['gpu.berth.dev'].productName) && {}", product("H100"));
    selecting(&mut world, "q", &careful);
    assert_eq!(world.act(), ["q -> n0"]);
    slice(&mut world, "n1", &["H100"]);
    assert_eq!(world.act(), ["p -> n1"]);
}

#[test]
fn what_is_not_understood_of_a_selector_is_said() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100"]);
    world.sync();
    selecting(&mut world, "p", "device.driver.reverse() == device.driver");
    let said = message(&mut world);
    let expected = "exactly.selectors[0].cel.expression: \"device.driver.reverse() == device.driver\"; allowed: the function \"reverse\"";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn s13_several_requests_for_the_same_are_one_and_each_gets_its_devices() {
    let mut world = World::new();
    node(&mut world, "n0", &["H100", "H100", "H100"]);
    world.sync();
    let all = product("H100");
    requesting(&mut world, "p", &[("one", &all, 1), ("two", &all, 2)]);
    let actions = world.round();
    let [Action::Bind(binds)] = &actions[..] else { panic!("{actions:?}") };
    let given = &binds[0].allocation.as_ref().expect("an allocation").devices;
    let mut names: Vec<&str> = given.iter().map(|given| &*given.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["n0-0", "n0-1", "n0-2"]);
    assert_eq!(given.iter().map(|given| &*given.request).collect::<Vec<_>>(), ["one", "two", "two"]);
    requesting(&mut world, "q", &[("one", &all, 1), ("two", "true", 1)]);
    let said = world.round();
    let message = said.iter().find_map(|action| match action {
        Action::Pending { message, pods, .. } if *pods[0].name == *"q" => Some(message),
        _ => None,
    });
    let message = message.expect("q waits");
    assert!(message.contains("requests that ask for the same amount of devices"), "{message}");
}
