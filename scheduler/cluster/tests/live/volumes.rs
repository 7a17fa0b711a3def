//! Claims that wait for their first consumer, and disruption budgets.

use crate::world::{A_WHILE, SOON, World, ours};
use berth_testbed::pods;
use berth_testbed::{ControllerManager, Kwok, Options};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use serde_json::json;
use std::time::{Duration, Instant};

const SELECTED: &str = "volume.kubernetes.io/selected-node";

/// A class whose volumes the test makes.
async fn class(world: &World) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "late" },
        "provisioner": "test.berth.dev/none", "volumeBindingMode": "WaitForFirstConsumer",
    });
    world.object("/apis/storage.k8s.io/v1/storageclasses", class).await;
}

async fn claim(world: &World, name: &str) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": {
            "storageClassName": "late", "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    world.object("/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
}

async fn pod(world: &World, name: &str, claim: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "berth.dev/workload": "train", "berth.dev/min-members": "2" } },
        "spec": {
            "schedulerName": "berth",
            "containers": [{
                "name": "main", "image": "none",
                "resources": { "limits": { "nvidia.com/gpu": "1" } },
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
        },
    });
    world.object("/api/v1/namespaces/default/pods", pod).await;
}

fn claims(world: &World) -> Api<PersistentVolumeClaim> {
    Api::namespaced(world.client.clone(), "default")
}

/// The node that is chosen for a claim, once there is one.
async fn selected(world: &World, name: &str) -> String {
    let begun = Instant::now();
    loop {
        let claim = claims(world).get(name).await.expect("a claim");
        let node = claim.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED));
        if let Some(node) = node {
            return node.clone();
        }
        assert!(begun.elapsed() < SOON, "no node is chosen for {name}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a provisioner does: a volume for the claim.
async fn provision(world: &World, name: &str) {
    let claim = claims(world).get(name).await.expect("a claim");
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("pv-{name}") },
        "spec": {
            "storageClassName": "late", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
            "hostPath": { "path": "/none" },
            "claimRef": {
                "kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": claim.metadata.uid,
            },
        },
    });
    world.object("/api/v1/persistentvolumes", volume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_nothing_of_a_gang_is_bound_before_all_its_volumes_are_made() {
    let world = World::start(Options::new().controller_manager(ControllerManager::new())).await;
    world.nodes(2, 1).await;
    class(&world).await;
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    for index in 0..2 {
        claim(&world, &format!("data-{index}")).await;
        pod(&world, &format!("train-{index}"), &format!("data-{index}")).await;
    }
    let nodes = [selected(&world, "data-0").await, selected(&world, "data-1").await];
    provision(&world, "data-0").await;
    tokio::time::sleep(A_WHILE).await;
    world.bound("train", 0).await;
    provision(&world, "data-1").await;
    world.bound("train", 2).await;
    let places = world.places("default").await;
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(places[&format!("train-{index}")].as_ref(), Some(node), "where its volume was made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_claims_get_the_volumes_that_are_on_the_nodes_of_their_pods() {
    let world = World::start(Options::new().controller_manager(ControllerManager::new())).await;
    world.nodes(3, 1).await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "late" },
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    world.object("/apis/storage.k8s.io/v1/storageclasses", class).await;
    for node in ["node-1", "node-2"] {
        let host = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("on-{node}") },
            "spec": {
                "storageClassName": "late", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "2Gi" },
                "local": { "path": "/none" },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [host] }] } },
            },
        });
        world.object("/api/v1/persistentvolumes", volume).await;
    }
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    for index in 0..2 {
        claim(&world, &format!("data-{index}")).await;
        pod(&world, &format!("train-{index}"), &format!("data-{index}")).await;
    }
    world.bound("train", 2).await;
    let places = world.places("default").await;
    for index in 0..2 {
        let claim = claims(&world).get(&format!("data-{index}")).await.expect("a claim");
        let volume = claim.spec.and_then(|spec| spec.volume_name).expect("it is bound");
        let node = places[&format!("train-{index}")].as_deref().expect("it is bound");
        assert_eq!(volume, format!("on-{node}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_volumes_that_are_not_made_in_time_give_the_node_back() {
    let world = World::start(Options::new().controller_manager(ControllerManager::new())).await;
    world.nodes(2, 1).await;
    class(&world).await;
    let scheduler = world.scheduler("only", json!({ "bind": { "volumesWithinSeconds": 2 } }));
    scheduler.ready().await;
    for index in 0..2 {
        claim(&world, &format!("data-{index}")).await;
        pod(&world, &format!("train-{index}"), &format!("data-{index}")).await;
    }
    selected(&world, "data-0").await;
    let begun = Instant::now();
    loop {
        let failed = scheduler.said().lines().filter(|line| line.contains("a bind has failed")).count();
        if failed >= 2 {
            break;
        }
        assert!(begun.elapsed() < SOON, "{}", scheduler.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.bound("train", 0).await;
    // It is tried again, on nodes that are chosen anew.
    selected(&world, "data-0").await;
    for index in 0..2 {
        provision(&world, &format!("data-{index}")).await;
    }
    world.bound("train", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_what_a_disruption_budget_forbids_is_not_stopped() {
    let options = Options::new().kwok(Kwok::new()).controller_manager(ControllerManager::new());
    let world = World::start(options).await;
    world.nodes(1, 2).await;
    world.project("vision", 2).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "train" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "train" } } },
    });
    let budgets = "/apis/policy/v1/namespaces/vision/poddisruptionbudgets";
    world.object(budgets, budget).await;
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    let train = ours("train", 2).label("app", "train");
    world.create_in("vision", &train.label("berth.dev/priority", "low"), 1).await;
    let all = world.pods("vision");
    pods::wait(&all, "train-0", SOON, |pod: &Pod| pods::phase(pod) == "Running").await.expect("it runs");
    let urgent = ours("urgent", 2).label("berth.dev/priority", "very-high");
    world.create_in("vision", &urgent, 1).await;
    tokio::time::sleep(A_WHILE * 3).await;
    let victim = all.get("train-0").await.expect("it is still there");
    assert!(victim.metadata.deletion_timestamp.is_none(), "{:?}", victim.metadata);
    // The search knows of it, so that nobody is asked in vain.
    let asked = |metrics: &str| metrics.lines().any(|line| line.contains("request=\"evict\""));
    let metrics = || scheduler.get("/metrics").expect("an answer").1;
    assert!(!asked(&metrics()), "{}", metrics());
    world.patch(&format!("{budgets}/train"), json!({ "spec": { "minAvailable": 0 } })).await;
    pods::wait(&all, "urgent-0", SOON, |pod: &Pod| pods::node(pod).is_some()).await.expect("it is bound");
    assert!(asked(&metrics()), "{}", metrics());
}
