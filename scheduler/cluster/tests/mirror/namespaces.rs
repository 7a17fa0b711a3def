//! Namespaces of projects: made, found, left alone.

use crate::status::{conditions, edit, look, look_without_namespaces, status};
use crate::world::World;
use berth_cluster::{Change, Kind, Outcome};
use serde_json::json;

fn said(world: &World, project: &str) -> Vec<String> {
    conditions(&status(world, Kind::Project, project))
}

fn owner(world: &World, namespace: &str) -> serde_json::Value {
    let key = (Kind::Namespace, String::new(), namespace.to_owned());
    world.api[&key]["metadata"]["labels"]["berth.dev/project"].clone()
}

/// A project in the department of [`World::project`] that names its namespace.
fn naming(world: &mut World, name: &str, namespace: &str) {
    let pools = json!([{"name": "default", "gpu": {"quota": "1"}}]);
    let spec = json!({"department": "d", "namespace": namespace, "pools": pools});
    world.set(Kind::Project, "", name, json!({"spec": spec}));
}

const OWNED: [&str; 2] = ["Ready=True: ", "NamespaceReady=True: "];

#[test]
fn s2_the_namespace_of_a_project_is_made_again_if_it_goes_and_stays_when_the_project_goes() {
    let mut world = World::new();
    world.project("p", 1);
    world.sync();
    look(&mut world);
    assert_eq!((said(&world, "p"), owner(&world, "p")), (OWNED.map(String::from).to_vec(), json!("p")));
    world.restart();
    assert_eq!(look(&mut world), 0, "a restart finds everything as it should be");

    edit(&mut world, Kind::Namespace, "p", |it| {
        it["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    });
    world.sync();
    assert!(world.mirror.has_news());
    look(&mut world);
    let leaves = "NamespaceReady=False: namespace p is being deleted; it is made anew then";
    assert_eq!(said(&world, "p")[1], leaves);
    world.delete(Kind::Namespace, "", "p");
    world.sync();
    look(&mut world);
    assert_eq!((said(&world, "p"), owner(&world, "p")), (OWNED.map(String::from).to_vec(), json!("p")));

    // One that is being deleted gets none any more, and what is there stays; the next of its name finds it.
    edit(&mut world, Kind::Project, "p", |it| {
        it["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    });
    world.sync();
    look(&mut world);
    world.delete(Kind::Project, "", "p");
    world.sync();
    look(&mut world);
    assert_eq!(owner(&world, "p"), json!("p"));
    world.project("p", 1);
    world.sync();
    look(&mut world);
    assert_eq!(said(&world, "p"), OWNED);
}

#[test]
fn s2_s3_a_namespace_that_was_there_before_is_not_taken_over_unless_it_is_named() {
    let mut world = World::new();
    world.node("n0", 4);
    world.namespace("p", None);
    world.project("p", 0);
    world.pod("p/a", 1, json!({"metadata": {"labels": {"berth.dev/preemptible": "false"}}}));
    // Nobody's quota holds there: it is as without a project.
    assert_eq!(world.act(), ["a -> n0"]);
    look(&mut world);
    let problem = "namespace p was there before and is not taken over unless spec.namespace names it or its label \
                   berth.dev/project is p";
    assert_eq!(
        said(&world, "p"),
        [format!("Ready=False: {problem}"), format!("NamespaceReady=False: {problem}")]
    );
    let left = &status(&world, Kind::Project, "p")["workloads"];
    assert_eq!(*left, json!({"running": 0, "pending": 0}));

    // People may give it away, and take it back.
    world.namespace("p", Some("p"));
    world.sync();
    look(&mut world);
    assert_eq!(said(&world, "p"), OWNED);
    assert_eq!(status(&world, Kind::Project, "p")["workloads"], json!({"running": 1, "pending": 0}));
    world.pod("p/b", 1, json!({"metadata": {"labels": {"berth.dev/preemptible": "false"}}}));
    assert_eq!(world.act(), ["b pending: quota"]);
    world.namespace("p", Some("other"));
    world.now += 60_000;
    world.act();
    look(&mut world);
    assert!(said(&world, "p")[0].starts_with("Ready=False: namespace p was there before"));
    assert_eq!(world.bound(), ["a -> n0", "b -> n0"]);
}

#[test]
fn s2_of_several_projects_one_owns_a_namespace() {
    let mut world = World::new();
    world.project("p", 1);
    world.namespace("old", None);
    for name in ["r", "q"] {
        naming(&mut world, name, "old");
    }
    world.sync();
    look(&mut world);
    assert_eq!(said(&world, "q"), OWNED);
    assert_eq!(said(&world, "r")[0], "Ready=False: namespace old belongs to project q");
    assert_eq!(owner(&world, "old"), json!(null), "nothing is written on it");
    // The label says more than names, while who it names wants it.
    world.namespace("old", Some("r"));
    world.sync();
    look(&mut world);
    assert_eq!(
        (said(&world, "r"), &*said(&world, "q")[0]),
        (OWNED.map(String::from).to_vec(), "Ready=False: namespace old belongs to project r",)
    );
    world.namespace("old", Some("p"));
    world.sync();
    look(&mut world);
    assert_eq!(said(&world, "q"), OWNED);
}

#[test]
fn s2_why_a_namespace_could_not_be_made_is_said_and_it_is_tried_again() {
    let mut world = World::new();
    world.project("p", 1);
    world.sync();
    world.mirror.has_news();
    let failed = |why: &str| Change::Outcome(Outcome::NamespaceNotMade("p".into(), why.to_owned()));
    world.pending.push(failed("nothing today"));
    world.sync();
    assert!(world.mirror.has_news(), "it is said soon");
    world.pending.push(failed("nothing today"));
    world.sync();
    assert!(!world.mirror.has_news(), "and not again");
    let key = (Kind::Namespace, String::new(), "p".to_owned());
    world.pending.push(failed("nothing today"));
    // The finalizer comes first; then what is so.
    let said_of = |world: &mut World| {
        look_without_namespaces(world);
        look_without_namespaces(world);
        said(world, "p")[1].clone()
    };
    assert_eq!(said_of(&mut world), "NamespaceReady=False: namespace p could not be made: nothing today");
    assert!(!world.api.contains_key(&key));
    look(&mut world);
    assert_eq!(said(&world, "p"), OWNED);
    world.delete(Kind::Namespace, "", "p");
    world.sync();
    assert_eq!(said_of(&mut world), "NamespaceReady=False: namespace p is not there yet", "it is forgotten");
}
