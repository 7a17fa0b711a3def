//! Everything dies once in the middle of a load: the scheduler, the API server, etcd.

use crate::world::{A_WHILE, World};
use berth_testbed::fake::PodTemplate;
use berth_testbed::{Component, Options};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Pods of one GPU each.
const PODS: usize = 5_000;
/// GPUs that the project may have: the rest of the pods must wait.
const QUOTA: usize = 4_000;
const NODES: usize = 640;
const GPUS: usize = 8;
/// On a machine on which much else runs.
const PATIENCE: Duration = Duration::from_secs(480);

/// By uid, every node on which a pod has been seen.
type Seen = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Notes where pods are, whatever happens to the API server.
fn observe(pods: Api<Pod>) -> Seen {
    let seen = Seen::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        let config = watcher::Config::default().fields("spec.nodeName!=");
        let mut events = std::pin::pin!(watcher(pods, config));
        while let Some(event) = events.next().await {
            let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else {
                if event.is_err() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                continue;
            };
            let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            let mut all = notes.lock().expect("no panic");
            let nodes = all.entry(pod.metadata.uid.unwrap_or_default()).or_default();
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    });
    seen
}

async fn until(seen: &Seen, bound: usize) {
    let begun = Instant::now();
    loop {
        let now = seen.lock().expect("no panic").len();
        if now >= bound {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{now} of {bound} pods are bound");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_outlives_the_death_of_the_scheduler_of_the_api_server_and_of_etcd() {
    let world = World::start(Options::new().for_load()).await;
    world.nodes(NODES, GPUS as u32).await;
    let pools = json!([{ "name": "default", "gpu": { "quota": QUOTA } }]);
    world.berth("Department", "research", json!({ "pools": pools })).await;
    world.berth("Project", "vision", json!({ "department": "research", "pools": pools })).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "vision" } });
    world.object("/api/v1/namespaces", namespace).await;
    let pod = PodTemplate::new("pod").gpus(1).scheduler("berth").label("berth.dev/priority", "very-high");
    world.create_in("vision", &pod, PODS).await;
    let seen = observe(world.pods("vision"));

    // No event log: the disk is not what is tried here.
    let change = json!({ "eventLog": { "path": null } });
    let first = world.scheduler("first", change.clone());
    until(&seen, QUOTA / 5).await;
    first.kill();
    let second = world.scheduler("second", change);
    until(&seen, QUOTA * 2 / 5).await;
    world.testbed.kill(Component::ApiServer).expect("it is killed");
    world.testbed.start_again(Component::ApiServer).await.expect("it comes back");
    until(&seen, QUOTA * 3 / 5).await;
    world.testbed.kill(Component::Etcd).expect("it is killed");
    world.testbed.start_again(Component::Etcd).await.expect("it comes back");
    until(&seen, QUOTA).await;
    tokio::time::sleep(A_WHILE).await;

    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for (uid, nodes) in seen.lock().expect("no panic").iter() {
        assert_eq!(nodes.len(), 1, "{uid} has been on {nodes:?}");
        *by_node.entry(nodes[0].clone()).or_default() += 1;
    }
    assert!(by_node.values().all(|pods| *pods <= GPUS), "{by_node:?}");
    let places = world.places("vision").await;
    assert_eq!(places.len(), PODS, "none is lost");
    assert_eq!(places.values().flatten().count(), QUOTA, "the quota is used and not exceeded");
    assert!(second.stop(), "it ends in order");
}
