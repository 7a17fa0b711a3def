//! Namespaces of projects on a real API server, with exactly the deployed rights.

use crate::proxy::{Fault, Proxy};
use crate::world::{SOON, World, ours, says};
use berth_testbed::Options;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::time::Instant;

const PROJECTS: &str = "/apis/berth.dev/v1alpha1/projects";
const NAMESPACES: &str = "/api/v1/namespaces";

fn spec(more: Value) -> Value {
    let mut spec =
        json!({ "department": "research", "pools": [{ "name": "default", "gpu": { "quota": 2 } }] });
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    spec
}

/// A configuration that looks often what is to be said.
fn often() -> Value {
    json!({ "write": { "statusEverySeconds": 1 } })
}

async fn department(world: &World) {
    world
        .berth("Department", "research", json!({ "pools": [{ "name": "default", "gpu": { "quota": 4 } }] }))
        .await;
}

async fn owned(world: &World, project: &str) {
    let so = |it: Option<&Value>| says(it, "NamespaceReady", "True", "") && says(it, "Ready", "True", "");
    world.until(&format!("{PROJECTS}/{project}"), "it owns its namespace", so).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_project_gets_its_namespace_which_outlives_it_and_takes_none_of_others() {
    let world = World::start(Options::new()).await;
    world.nodes(1, 4).await;
    let scheduler = world.scheduler("only", often());
    scheduler.ready().await;
    department(&world).await;
    world.berth("Project", "vision", spec(json!({}))).await;
    owned(&world, "vision").await;
    let path = format!("{NAMESPACES}/vision");
    let made = world.found(&path).await.expect("it is there");
    assert_eq!(made["metadata"]["labels"]["berth.dev/project"], "vision");
    assert_eq!(made["metadata"]["labels"]["app.kubernetes.io/managed-by"], "berth");
    world.create_in("vision", &ours("train", 1), 1).await;
    let used = |it: Option<&Value>| it.is_some_and(|it| it["status"]["total"]["gpu"]["allocated"] == "1");
    world.until(&format!("{PROJECTS}/vision"), "its pod counts", used).await;

    // Somebody else's stays somebody else's, unless it is named.
    world.namespace("old", json!({ "team": "x" })).await;
    let before = world.found(&format!("{NAMESPACES}/old")).await;
    world.berth("Project", "old", spec(json!({}))).await;
    let not = |it: Option<&Value>| {
        let why = "namespace old was there before and is not taken over";
        says(it, "NamespaceReady", "False", why) && says(it, "Ready", "False", why)
    };
    world.until(&format!("{PROJECTS}/old"), "it is not taken over", not).await;
    world.berth("Project", "naming", spec(json!({ "namespace": "old" }))).await;
    owned(&world, "naming").await;
    assert_eq!(world.found(&format!("{NAMESPACES}/old")).await, before, "nothing is written on it");

    // A restart finds it all as it is, and makes what was deleted meanwhile.
    scheduler.kill();
    world.berth("Project", "speech", spec(json!({}))).await;
    let scheduler = world.scheduler("again", often());
    owned(&world, "speech").await;
    assert_eq!(world.found(&path).await, Some(made), "it is as it was made");

    // The namespace stays when its project goes, and is found by the next of its name.
    let now = DeleteParams::default().grace_period(0);
    world.pods("vision").delete("train-0", &now).await.expect("it is deleted");
    let begun = Instant::now();
    let delete = || http::Request::delete(format!("{PROJECTS}/vision")).body(Vec::new()).expect("a request");
    while let Err(error) = world.client.request::<Value>(delete()).await {
        assert!(begun.elapsed() < SOON && error.to_string().contains("cannot be deleted"), "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    world.until(&format!("{PROJECTS}/vision"), "it is gone", |it| it.is_none()).await;
    let left = world.found(&path).await.expect("it is still there");
    assert_eq!(left["metadata"]["labels"]["berth.dev/project"], "vision");
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left}");
    world.berth("Project", "vision", spec(json!({}))).await;
    owned(&world, "vision").await;
    assert!(scheduler.stop(), "it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_why_a_namespace_is_not_made_is_said_and_what_is_lost_is_asked_for_again() {
    let world = World::start(Options::new()).await;
    department(&world).await;
    let rule = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"] }]);
    let validation =
        json!([{ "expression": "object.metadata.name != 'secret'", "message": "nothing today" }]);
    world.policy("no-secret", rule, validation).await;
    let probe = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "secret" } });
    let begun = Instant::now();
    // It holds once a trial is refused.
    loop {
        let request = http::Request::post(format!("{NAMESPACES}?dryRun=All"))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&probe).expect("JSON"))
            .expect("a request");
        match world.client.request::<Value>(request).await {
            Err(error) if error.to_string().contains("nothing today") => break,
            other => assert!(begun.elapsed() < SOON, "{other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    let faults = [Fault::AnswerLost, Fault::Twice, Fault::RequestLost, Fault::None];
    let proxy = Proxy::start(world.client.clone(), &faults).await;
    let mut config = often();
    config["kubeconfig"] = json!(proxy.kubeconfig());
    let scheduler = world.scheduler("only", config);
    scheduler.ready().await;
    for name in ["a", "b", "c", "d"] {
        world.berth("Project", name, spec(json!({}))).await;
    }
    for name in ["a", "b", "c", "d"] {
        owned(&world, name).await;
    }
    world.berth("Project", "secret", spec(json!({}))).await;
    let refused = |it: Option<&Value>| {
        says(it, "NamespaceReady", "False", "namespace secret could not be made")
            && says(it, "NamespaceReady", "False", "nothing today")
            && says(it, "Ready", "True", "")
    };
    world.until(&format!("{PROJECTS}/secret"), "why it is not made", refused).await;
    world.delete_policy("no-secret").await;
    owned(&world, "secret").await;
    let asked = proxy.asked();
    let faulty = asked.values().flatten().filter(|(_, fault)| *fault != Fault::None).count();
    assert!(faulty >= 3, "{asked:?}");
    // One was there already when it was asked for.
    assert!(asked.values().flatten().any(|(_, fault)| *fault == Fault::Twice), "{asked:?}");
    assert!(asked.iter().all(|(name, all)| all.iter().all(|(project, _)| project == name)), "{asked:?}");
}
