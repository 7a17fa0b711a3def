//! What our own objects say of themselves, and a project that is deleted.

use crate::world::{SOON, World, apply_file, ours, says};
use berth_testbed::{ControllerManager, Kwok, Options};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PROJECTS: &str = "/apis/berth.dev/v1alpha1/projects";

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_project_says_what_it_uses_and_stays_while_something_is_left_in_it() {
    let world = World::start(Options::new().kwok(Kwok::new())).await;
    world.nodes(1, 4).await;
    let scheduler = world.scheduler("only", json!({ "write": { "statusEverySeconds": 1 } }));
    scheduler.ready().await;
    let project =
        json!({ "department": "research", "pools": [{ "name": "default", "gpu": { "quota": 2 } }] });
    world.berth("Project", "vision", project).await;
    let vision = format!("{PROJECTS}/vision");
    let missing = |it: Option<&Value>| says(it, "Ready", "False", "spec.department: research does not exist");
    world.until(&vision, "its department is missing", missing).await;
    world
        .berth("Department", "research", json!({ "pools": [{ "name": "default", "gpu": { "quota": 4 } }] }))
        .await;
    world.until(&vision, "it is in force", |it| says(it, "Ready", "True", "")).await;

    world.until("/api/v1/namespaces/vision", "it is made", |it| it.is_some()).await;
    world.create_in("vision", &ours("train", 1), 3).await;
    let used = |it: Option<&Value>| {
        let status = it.map(|it| &it["status"]);
        status.is_some_and(|status| {
            status["workloads"] == json!({ "running": 3, "pending": 0 })
                && status["total"]["gpu"]["allocated"] == "3"
                && status["total"]["gpu"]["quota"] == "2"
                && status["left"] == json!({ "workloads": 3, "volumeClaims": 0 })
        })
    };
    world.until(&vision, "what it uses", used).await;

    // The API server refuses it at once, and says what is left.
    let delete = || http::Request::delete(&vision).body(Vec::new()).expect("a request");
    let refused = world.client.request::<Value>(delete()).await.expect_err("it is refused").to_string();
    let why = "Project vision cannot be deleted: workloads: 3, volume claims: 0 are left in its namespace";
    assert!(refused.contains(why), "{refused}");

    // What the API server does not know yet, or nobody has told it to refuse, the finalizer holds.
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    bindings.delete("projects.berth.dev", &DeleteParams::default()).await.expect("it is deleted");
    let begun = Instant::now();
    while let Err(error) = world.client.request::<Value>(delete()).await {
        assert!(begun.elapsed() < SOON, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.until(&vision, "it is blocked", |it| says(it, "DeletionBlocked", "True", "workloads: 3")).await;
    for index in 0..3 {
        let name = format!("train-{index}");
        let now = DeleteParams::default().grace_period(0);
        world.pods("vision").delete(&name, &now).await.expect("it is deleted");
    }
    world.until(&vision, "it is gone", |it| it.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_taken_and_their_gang_starts_whole() {
    let options = Options::new().controller_manager(ControllerManager::new()).kwok(Kwok::new());
    let world = World::start(options).await;
    world.nodes(1, 8).await;
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    apply_file(&world.client, "example/organisation.yaml").await;
    for name in ["vision", "speech"] {
        let so = |it: Option<&Value>| says(it, "Ready", "True", "") && says(it, "NamespaceReady", "True", "");
        world.until(&format!("{PROJECTS}/{name}"), "it is in force", so).await;
    }
    apply_file(&world.client, "example/job.yaml").await;
    // Pods of Jobs come to an end on pretended nodes.
    let ran = |it: Option<&Value>| it.is_some_and(|it| it["status"]["succeeded"] == 4);
    world.until("/apis/batch/v1/namespaces/vision/jobs/train", "all of it ran", ran).await;
    let others =
        std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example"));
    assert_eq!(others.expect("a folder").count(), 2, "every example is tried");
}

#[test]
fn every_manifest_is_named_in_the_kustomization() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let all = std::fs::read_to_string(deploy.join("kustomization.yaml")).expect("it can be read");
    for folder in ["crds", "scheduler"] {
        for file in std::fs::read_dir(deploy.join(folder)).expect("a folder") {
            let name = file.expect("a file").file_name().into_string().expect("a name");
            assert!(all.contains(&format!("  - {folder}/{name}\n")), "{folder}/{name} is not in it");
        }
    }
}
