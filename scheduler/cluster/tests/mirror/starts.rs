//! Gangs that are below their minimum: of which only some pods could be bound or began to run (S5), and that have lost some
//! (S27).

use crate::world::World;
use berth_cluster::{Action, Kind};
use serde_json::{Value, json};

/// The day after the pods were created.
const BEGIN_MS: i64 = 1_767_312_000_000;

/// A gang of three pods that may not be preempted, each with a GPU; a Job has them.
fn world() -> World {
    let mut world = World::new();
    world.now = BEGIN_MS;
    world.node("n0", 3);
    (0..3).for_each(|index| member(&mut world, &format!("a-{index}"), json!({})));
    world
}

fn member(world: &mut World, name: &str, more: Value) {
    let mut pod = json!({
        "metadata": {
            "labels": {"berth.dev/workload": "train", "berth.dev/preemptible": "false"},
            "annotations": {"berth.dev/min-members": "3"},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "job", "controller": true}
            ],
        },
    });
    pod["metadata"].as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    world.pod(name, 1, pod);
}

fn pass(world: &mut World, seconds: i64) {
    world.now += seconds * 1000;
}

#[test]
fn s5_a_gang_that_is_not_completed_in_time_is_undone_held_and_tried_again() {
    let mut world = world();
    assert_eq!(world.act_but(&["a-2"]), ["a-0 -> n0, a-1 -> n0, a-2 -> n0"]);
    // What is missing is decided again and again.
    assert_eq!(world.act_but(&["a-2"]), ["a-2 -> n0"]);
    pass(&mut world, 9);
    assert_eq!(world.act_but(&["a-2"]), ["a-2 -> n0"]);
    pass(&mut world, 1);
    let actions = world.round();
    let evicted: Vec<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Evict { pod, notice, .. } => {
                assert_eq!(notice.cause, "undone");
                assert!(
                    notice.text.contains("open/a-2 could not be bound: it is refused"),
                    "{}",
                    notice.text
                );
                Some(&*pod.name)
            }
            _ => None,
        })
        .collect();
    assert_eq!(evicted, ["a-0", "a-1"], "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Bind(_))), "{actions:?}");

    // They go, and their controller makes others: none of them starts before its time, and then all do.
    for (old, new) in [("a-0", "b-0"), ("a-1", "b-1")] {
        world.delete(Kind::Pod, "open", old);
        member(&mut world, new, json!({}));
    }
    let said = world.act();
    assert!(said.iter().any(|said| said.contains("pending: its gang was not completed")), "{said:?}");
    pass(&mut world, 9);
    assert!(world.act().iter().all(|said| !said.contains("->")), "it is held");
    pass(&mut world, 2);
    assert_eq!(world.act(), ["b-0 -> n0, b-1 -> n0, a-2 -> n0"]);
    pass(&mut world, 600);
    assert_eq!(world.act(), [""; 0]);
}

#[test]
fn s5_a_gang_that_is_completed_in_time_is_left_alone() {
    let mut world = world();
    world.act_but(&["a-2"]);
    pass(&mut world, 5);
    assert_eq!(world.act(), ["a-2 -> n0"]);
    pass(&mut world, 600);
    assert_eq!(world.act(), [""; 0]);
    // Nor is one that is whole and loses a pod: S27 says what becomes of that.
    world.delete(Kind::Pod, "open", "a-2");
    member(&mut world, "b-2", json!({"creationTimestamp": "2026-01-02T01:00:00Z"}));
    world.act_but(&["b-2"]);
    pass(&mut world, 600);
    let said = world.act_but(&["b-2"]);
    assert!(said.iter().all(|said| !said.contains("evict")), "{said:?}");
}

#[test]
fn s5_s33_a_start_that_another_leader_began_is_completed_or_undone() {
    for replaced in [false, true] {
        let mut world = world();
        world.act_but(&["a-2"]);
        for name in ["a-0", "a-1"] {
            world.edit(name, |pod| {
                pod["status"] = json!({"phase": "Running", "startTime": "2026-01-02T00:00:01Z"});
            });
        }
        if replaced {
            world.delete(Kind::Pod, "open", "a-2");
            member(&mut world, "a-2", json!({"creationTimestamp": "2026-01-02T00:00:05Z"}));
        }
        pass(&mut world, 60);
        world.restart();
        world.act_but(&["a-2"]);
        pass(&mut world, 10);
        let said = world.act_but(&["a-2"]);
        let undone = said.contains(&"evict a-0".to_owned()) && said.contains(&"evict a-1".to_owned());
        assert_eq!(undone, !replaced, "{said:?}");
    }
}

#[test]
fn s5_an_undoing_that_a_budget_forbids_goes_on() {
    let mut world = world();
    world.act_but(&["a-2"]);
    pass(&mut world, 10);
    let actions = world.round();
    let Some(Action::Evict { pod, .. }) = actions.iter().find(|it| matches!(it, Action::Evict { .. })) else {
        panic!("{actions:?}")
    };
    let failed = berth_cluster::Outcome::EvictFailed(pod.clone(), "a budget".to_owned());
    world.pending.push(berth_cluster::Change::Outcome(failed));
    assert_eq!(world.says().iter().filter(|said| said.starts_with("evict")).count(), 1);
}

/// A gang of two is bound that must run within a minute; `a-0` runs.
fn starting() -> World {
    let mut world = World::new();
    world.now = BEGIN_MS;
    world.node("n0", 2);
    for name in ["a-0", "a-1"] {
        let mut pod = two();
        pod["metadata"]["annotations"]["berth.dev/start-timeout"] = json!("60s");
        // Its namespace's Job made it long before there was room.
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        world.pod(name, 1, pod);
    }
    assert_eq!(world.act(), ["a-0 -> n0, a-1 -> n0"]);
    runs(&mut world, "a-0");
    world
}

fn runs(world: &mut World, name: &str) {
    world.edit(name, |pod| {
        pod["status"] = json!({"phase": "Running", "startTime": "2026-01-02T00:00:01Z"});
    });
}

#[test]
fn s5_a_gang_that_does_not_run_in_time_gives_its_room_back() {
    for restarted in [false, true] {
        let mut world = starting();
        // The kubelet has taken it, and its image does not come.
        world.edit("a-1", |pod| {
            pod["status"] = json!({"phase": "Pending", "startTime": "2026-01-02T00:00:01Z"});
        });
        pass(&mut world, 50);
        assert_eq!(world.act(), [""; 0]);
        if restarted {
            world.restart();
        }
        pass(&mut world, 5);
        assert_eq!(world.act(), [""; 0]);
        pass(&mut world, 6);
        let said = world.act();
        let both = said.contains(&"evict a-0".to_owned()) && said.contains(&"evict a-1".to_owned());
        assert!(both, "restarted: {restarted}, {said:?}");
    }
}

#[test]
fn s5_a_gang_that_runs_in_time_keeps_its_room() {
    let mut world = starting();
    pass(&mut world, 50);
    runs(&mut world, "a-1");
    assert_eq!(world.act(), [""; 0]);
    pass(&mut world, 3600);
    assert_eq!(world.act(), [""; 0]);
    world.restart();
    assert_eq!(world.act(), [""; 0]);
}

#[test]
fn s5_what_no_kubelet_has_begun_with_is_on_its_node_since_it_is_seen_there() {
    let mut world = starting();
    pass(&mut world, 50);
    world.restart();
    pass(&mut world, 50);
    assert_eq!(world.act(), [""; 0]);
    pass(&mut world, 11);
    assert!(world.act().contains(&"evict a-1".to_owned()));
}

/// What a pod of a gang of two says that may be preempted.
fn two() -> Value {
    json!({"metadata": {
        "labels": {"berth.dev/workload": "train", "berth.dev/preemptible": "true"},
        "annotations": {"berth.dev/min-members": "2"},
    }})
}

/// Such a gang ran, and has lost a pod just now.
fn below_its_minimum() -> World {
    let mut world = World::new();
    world.now = BEGIN_MS;
    world.node("n0", 2);
    for name in ["a-0", "a-1"] {
        world.pod(name, 1, two());
    }
    assert_eq!(world.act(), ["a-0 -> n0, a-1 -> n0"]);
    world.edit("a-1", |pod| pod["status"]["phase"] = json!("Failed"));
    assert!(world.act().contains(&"stale a-0".to_owned()));
    world
}

#[test]
fn s27_s33_since_when_a_gang_is_below_its_minimum_is_written_down_and_outlives_a_restart() {
    let mut world = below_its_minimum();
    assert_eq!(world.act(), [""; 0], "once");
    pass(&mut world, 40);
    world.restart();
    assert_eq!(world.act(), [""; 0]);
    pass(&mut world, 19);
    assert_eq!(world.act(), [""; 0]);
    pass(&mut world, 1);
    assert!(world.act().contains(&"evict a-0".to_owned()), "60 s after it began");
}

#[test]
fn s27_s33_a_gang_that_is_whole_again_says_nothing_of_it() {
    let mut world = below_its_minimum();
    world.pod("a-2", 1, two());
    let said: Vec<String> = [world.act(), world.act()].concat();
    assert!(said.contains(&"a-2 -> n0".to_owned()) && said.contains(&"not stale a-0".to_owned()), "{said:?}");
    world.restart();
    pass(&mut world, 100);
    assert_eq!(world.act(), [""; 0]);
}
