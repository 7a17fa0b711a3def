//! Claims of Berth's devices: chosen, written, read back (S13, S14, S16, S33).

use crate::world::{World, given};
use berth_cluster::{Action, Bind, Change, Kind, Outcome};
use serde_json::{Value, json};

/// A node with devices `a` and `b` of 1000 MiB each.
fn world() -> World {
    let mut world = World::new();
    world.node("n0", 0);
    world.slice("n0", 1, &["a", "b"]);
    world.sync();
    world
}

/// The devices that a claim was given.
fn devices(world: &World, claim: &str) -> Vec<String> {
    let key = (Kind::DeviceClaim, "open".to_owned(), claim.to_owned());
    let results = world.api[&key]["status"]["allocation"]["devices"]["results"].as_array().cloned();
    let name = |result: Value| result["device"].as_str().expect("a name").to_owned();
    results.unwrap_or_default().into_iter().map(name).collect()
}

fn only_bind(actions: &[Action]) -> Bind {
    let [Action::Bind(binds)] = actions else { panic!("{actions:?}") };
    binds[0].clone()
}

#[test]
fn s13_s15_pods_share_a_device_and_who_does_not_fit_waits_for_it() {
    let mut world = world();
    for (name, mib) in [("p", 600), ("q", 600), ("r", 400), ("s", 400)] {
        world.claiming(name, Some(mib));
        assert_eq!(world.act(), [format!("{name} -> n0")]);
    }
    let all = ["p", "q", "r", "s"].map(|claim| devices(&world, claim).concat());
    assert_eq!(all, ["a", "b", "a", "b"]);
    world.claiming("t", Some(500));
    assert_eq!(world.act(), ["t pending: capacity"]);
    world.delete(Kind::Pod, "open", "q");
    assert_eq!(world.act(), ["t -> n0"]);
    assert_eq!(devices(&world, "t"), ["b"]);
}

#[test]
fn what_is_written_is_what_was_decided() {
    let mut world = world();
    world.claiming("p", Some(600));
    let bind = only_bind(&world.round());
    let wanted = bind.allocation.as_deref().expect("an allocation");
    let [given] = &wanted.devices[..] else { panic!("{wanted:?}") };
    assert_eq!((&*wanted.claim, &*given.request), ("p", "gpu"));
    assert_eq!((&*given.name, given.memory.0, wanted.limit.map(|it| it.0)), ("a", 600, Some(600)));
    world.claiming("w", None);
    let bind = only_bind(&world.round());
    let wanted = bind.allocation.as_deref().expect("an allocation");
    assert_eq!((&*wanted.devices[0].name, wanted.devices[0].memory.0, wanted.limit), ("b", 1000, None));
}

#[test]
fn whole_gpus_of_the_device_plugin_and_claims_have_nodes_of_their_own() {
    let mut world = world();
    world.pod("plugin", 1, json!({}));
    assert_eq!(world.act(), ["plugin pending: feasibility"]);
    world.node("n1", 2);
    world.claiming("p", Some(1000));
    let mut said = world.act();
    said.sort();
    assert_eq!(said, ["p -> n0", "plugin -> n1"]);
}

#[test]
fn s13_nodes_that_hand_out_whole_gpus_refuse_parts_and_say_how_to_change_that() {
    let mut world = World::new();
    world.node("n0", 2);
    world.claiming("p", Some(100));
    let actions = world.round();
    let [Action::Pending { message, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(message.contains("run it there with --dra, and stop the device plugin"), "{message}");
    let mut world = self::world();
    world.pod("q", 1, json!({}));
    let actions = world.round();
    let [Action::Pending { message, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(message.contains("ask for a claim, not for nvidia.com/gpu"), "{message}");
}

#[test]
fn s33_after_a_restart_the_devices_are_those_that_the_claims_say() {
    let mut world = world();
    // Chosen by somebody else: not those that would be chosen first.
    world.claiming("p", Some(300));
    world.claiming("q", Some(900));
    let [Action::Bind(one), Action::Bind(two)] = &world.round()[..] else { panic!() };
    for (bind, device) in [(&one[0], "b"), (&two[0], "a")] {
        let mut allocation = bind.allocation.as_deref().expect("an allocation").clone();
        allocation.devices[0].name = device.into();
        world.allocate("open", &allocation.claim, given(bind, &allocation));
        world.edit(&bind.pod.name, |pod| pod["spec"]["nodeName"] = json!("n0"));
    }
    let fits = |world: &mut World| {
        world.claiming("r", Some(700));
        let said = world.act();
        let on = devices(world, "r");
        world.delete(Kind::Pod, "open", "r");
        world.allocate("open", "r", json!({}));
        world.act();
        (said, on)
    };
    let expected = (vec!["r -> n0".to_owned()], vec!["b".to_owned()]);
    assert_eq!(fits(&mut world), expected, "what the claims say counts, not what was decided");
    world.restart();
    assert_eq!(fits(&mut world), expected);
}

#[test]
fn s33_a_bind_that_was_begun_takes_its_devices_and_is_carried_on() {
    let mut world = world();
    world.claiming("p", Some(900));
    let bind = only_bind(&world.round());
    let written = given(&bind, bind.allocation.as_deref().expect("an allocation"));
    // The claim is written, and then nobody is there any more.
    world.allocate("open", "p", written);
    world.restart();
    world.claiming("q", Some(900));
    world.claiming("r", Some(900));
    let mut said = world.act();
    said.sort();
    assert_eq!(said, ["p -> n0", "q -> n0", "r pending: capacity"]);
    assert_eq!((devices(&world, "p"), devices(&world, "q")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert!(world.act().is_empty());
}

#[test]
fn a_bind_that_fails_gives_its_devices_back() {
    let mut world = world();
    world.slice("n0", 1, &["a"]);
    world.claiming("p", Some(900));
    let bind = only_bind(&world.round());
    world.allocate("open", "p", given(&bind, bind.allocation.as_deref().expect("an allocation")));
    world.claiming("q", Some(900));
    assert_eq!(world.says(), ["q pending: capacity"]);
    // What became of it is heard before the claim shows it.
    world.pending.push(Change::Outcome(Outcome::BindFailed(bind.pod.clone(), "no".to_owned())));
    world.delete(Kind::Pod, "open", "p");
    world.allocate("open", "p", json!({}));
    assert_eq!(world.says(), ["q -> n0"]);
}

#[test]
fn s18_s33_devices_that_are_not_published_for_a_while_are_not_given_out_twice() {
    let mut world = world();
    world.claiming("p", Some(900));
    world.claiming("q", Some(900));
    world.act();
    world.delete(Kind::Slice, "", "n0-1");
    world.restart();
    world.claiming("r", Some(900));
    assert_eq!(world.act(), ["r pending: feasibility"]);
    world.slice("n0", 1, &["a", "b"]);
    assert_eq!(world.act(), ["r pending: capacity"]);
    world.delete(Kind::Pod, "open", "q");
    assert_eq!(world.act(), ["r -> n0"]);
}

#[test]
fn a_claim_that_is_made_from_a_template_is_waited_for_and_must_be_the_pods_own() {
    let mut world = world();
    world.claiming("other", Some(1));
    let claims = json!([{"name": "gpu", "resourceClaimTemplateName": "part"}]);
    world.pod("p", 0, json!({"spec": {"resourceClaims": claims}}));
    let said = world.act();
    assert!(
        said.contains(&"other -> n0".to_owned()) && said.iter().any(|it| it.starts_with("p pending")),
        "{said:?}"
    );
    let made = |claim: &str| json!([{"name": "gpu", "resourceClaimName": claim}]);
    world.edit("p", |pod| pod["status"]["resourceClaimStatuses"] = made("other"));
    assert!(world.act().iter().all(|it| it.starts_with("p pending")), "it is another's");
    let key = (Kind::DeviceClaim, "open".to_owned(), "other".to_owned());
    let mut claim = world.api[&key].clone();
    let uid = world.api[&(Kind::Pod, "open".to_owned(), "p".to_owned())]["metadata"]["uid"].clone();
    claim["status"] = json!({});
    claim["metadata"] = json!({"ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}
    ]});
    world.set(Kind::DeviceClaim, "open", "p-gpu", claim);
    world.edit("p", |pod| pod["status"]["resourceClaimStatuses"] = made("p-gpu"));
    assert_eq!(world.act(), ["p -> n0"]);
}

#[test]
fn a_template_is_asked_for_once_while_it_is_waited_for_and_by_who_begins_to_lead() {
    let mut world = world();
    let name = "berth-gpu-1x300mi";
    let waiting = json!({
        "metadata": {"annotations": {"berth.dev/gpu-memory": "300Mi"}},
        "spec": {"resourceClaims": [{"name": "berth-gpu", "resourceClaimTemplateName": name}]},
    });
    let asked =
        |said: Vec<String>| said.into_iter().filter(|it| it.starts_with("template")).collect::<Vec<_>>();
    let wanted = [format!("template {name}")];
    world.pod("p", 0, waiting.clone());
    assert_eq!(asked(world.says()), wanted);
    world.pod("q", 0, waiting.clone());
    assert_eq!(asked(world.says()), [""; 0]);
    world.restart();
    assert_eq!(asked(world.says()), wanted);
    world.now += 60_000;
    world.pod("r", 0, waiting);
    assert_eq!(asked(world.says()), wanted);
}

#[test]
fn a_claim_is_no_ones_but_its_users() {
    let mut world = world();
    world.claiming("p", Some(10));
    assert_eq!(world.act(), ["p -> n0"]);
    world.pod("q", 0, json!({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "p"}]}}));
    let actions = world.round();
    let [Action::Pending { message, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(message.contains("\"p, used by pods p\"; allowed: a claim that nobody else uses"), "{message}");
}

#[test]
fn a_pod_that_asks_by_annotation_needs_a_claim_that_says_the_same() {
    let mut world = world();
    let asks = json!({"metadata": {"annotations": {"berth.dev/gpu-memory": "300Mi"}}});
    world.pod("bare", 0, asks.clone());
    let actions = world.round();
    let [Action::Pending { message, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(message.contains("webhook"), "{message}");
    world.delete(Kind::Pod, "open", "bare");
    world.claiming("p", Some(300));
    world.edit("p", |pod| pod["metadata"]["annotations"] = asks["metadata"]["annotations"].clone());
    assert_eq!(world.act(), ["p -> n0"]);
    world.claiming("q", Some(900));
    world.edit("q", |pod| pod["metadata"]["annotations"] = asks["metadata"]["annotations"].clone());
    assert!(world.act()[0].starts_with("q pending"));
}
