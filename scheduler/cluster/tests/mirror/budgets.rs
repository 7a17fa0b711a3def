//! Disruption budgets (S20): what they forbid is known before anything is decided.

use crate::world::World;
use berth_cluster::Kind;
use berth_model::Event;
use serde_json::{Value, json};

/// A pod of the application that the budget is about.
fn app() -> Value {
    json!({"metadata": {"labels": {"app": "train"}}})
}

/// `p` runs over its quota on all of a node of so many GPUs, and its budget allows this; `q` may have them all.
fn world(gpus: u32, allowed: u32) -> World {
    let mut world = World::new();
    world.project("p", 0);
    world.project("q", gpus);
    world.node("n0", gpus);
    (0..gpus).for_each(|index| world.pod(&format!("p/low-{index}"), 1, app()));
    assert_eq!(world.act().len(), gpus as usize);
    world.budget("p/train", "train", allowed);
    world
}

fn evictions(said: &[String]) -> usize {
    said.iter().filter(|said| said.starts_with("evict")).count()
}

#[test]
fn s20_what_a_budget_forbids_is_not_decided_until_it_allows_it() {
    let mut world = world(1, 0);
    world.pod("q/high", 1, json!({}));
    assert_eq!(world.act(), ["high pending: capacity"]);
    world.now += 600_000;
    assert_eq!(world.act(), [""; 0]);
    world.budget("p/train", "train", 1);
    assert_eq!(evictions(&world.act()), 1);
}

#[test]
fn s20_a_budget_that_is_gone_forbids_nothing() {
    for relisted in [false, true] {
        let mut world = world(1, 0);
        world.pod("q/high", 1, json!({}));
        assert_eq!(evictions(&world.act()), 0);
        world.delete(Kind::Budget, "p", "train");
        if relisted {
            world.pending.clear();
            world.relist();
        }
        assert_eq!(evictions(&world.act()), 1);
    }
}

#[test]
fn s20_what_is_not_counted_yet_allows_nothing() {
    let mut world = world(1, 1);
    let spec = json!({"selector": {"matchLabels": {"app": "train"}}});
    let status = json!({"disruptionsAllowed": 1, "observedGeneration": 1});
    let budget =
        |generation: u32| json!({"metadata": {"generation": generation}, "spec": spec, "status": status});
    world.set(Kind::Budget, "p", "train", budget(2));
    world.pod("q/high", 1, json!({}));
    assert_eq!(evictions(&world.act()), 0, "its status speaks of what it asked for before");
    world.set(Kind::Budget, "p", "train", budget(1));
    assert_eq!(evictions(&world.act()), 1);
}

#[test]
fn s20_an_eviction_counts_once_whether_its_pod_or_its_budget_is_seen_first() {
    for budget_first in [false, true] {
        let mut world = world(3, 2);
        world.pod("q/high-0", 1, json!({}));
        let actions = world.round();
        let victim = actions.iter().find_map(|action| match action {
            berth_cluster::Action::Evict { pod, .. } => Some(pod.name.to_string()),
            _ => None,
        });
        let victim = format!("p/{}", victim.expect("an eviction"));
        // The API server counts one less, and the pod leaves.
        let leave = |world: &mut World| {
            world.edit(&victim, |pod| pod["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z"));
            world.sync();
        };
        if budget_first {
            world.budget("p/train", "train", 1);
            world.sync();
            leave(&mut world);
        } else {
            leave(&mut world);
            world.budget("p/train", "train", 1);
            world.sync();
        }
        let due = world.mirror.next_timer();
        world.now += 3_000;
        assert!(due.is_some_and(|due| due.0 <= world.now), "{due:?}");
        world.sync();
        assert_eq!(world.budgets_left(), ["p/train 1"], "budget first: {budget_first}");
        (1..3).for_each(|index| world.pod(&format!("q/high-{index}"), 1, json!({})));
        assert_eq!(evictions(&world.act()), 1, "one more and no other");
    }
}

#[test]
fn s20_pods_that_come_and_go_where_there_are_no_budgets_have_none_told() {
    let mut world = world(1, 1);
    world.pod("open/a", 0, json!({}));
    world.act();
    world.events.clear();
    world.delete(Kind::Pod, "open", "a");
    world.sync();
    world.now += 10_000;
    world.sync();
    let told = world.events.iter().filter(|event| matches!(event, Event::BudgetSet(_))).count();
    assert_eq!(told, 0);
}
