//! Everything dies once in the middle of a load: the scheduler, the API server, etcd.

use crate::world::{A_WHILE, World, ours};
use berth_testbed::fake::{AT_ONCE, PodTemplate, create_all};
use berth_testbed::{Component, Kwok, Options};
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
/// Of them, in gangs.
const GANGS: usize = 125;
const MEMBERS: usize = 8;
/// GPUs that the project may have at first: the rest of the pods must wait.
const QUOTA: u32 = 3_000;
const NODES: usize = 640;
const GPUS: usize = 8;
/// On a machine on which much else runs.
const PATIENCE: Duration = Duration::from_secs(480);

/// By name and uid, every node on which a pod has been seen.
type Seen = Arc<Mutex<BTreeMap<(String, String), Vec<String>>>>;

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
            let (name, uid) = (pod.metadata.name, pod.metadata.uid);
            let mut all = notes.lock().expect("no panic");
            let nodes = all.entry((name.unwrap_or_default(), uid.unwrap_or_default())).or_default();
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
            eprintln!("{now} pods are bound after {} ms more", begun.elapsed().as_millis());
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{now} of {bound} pods are bound");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All pods, which wait: single ones and whole gangs, none of which may be stopped for others.
async fn load(world: &World) {
    let template = |name: &str| ours(name, 1).label("berth.dev/priority", "very-high").namespace("vision");
    let gangs: Vec<PodTemplate> = (0..GANGS)
        .map(|gang| {
            let name = format!("gang-{gang}");
            template(&name)
                .label("berth.dev/workload", &name)
                .label("berth.dev/min-members", &MEMBERS.to_string())
        })
        .collect();
    let single = template("pod");
    let singles = single.pods(0..PODS - GANGS * MEMBERS);
    let all = gangs.iter().flat_map(|gang| gang.pods(0..MEMBERS)).chain(singles);
    create_all(&world.pods("vision"), all, AT_ONCE).await.expect("pods");
}

/// Each pod has been on one node only, no node has more than it can hold, and every gang is whole or not begun.
fn judge(seen: &Seen, bound: usize) {
    let (mut by_node, mut by_gang) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    let all = seen.lock().expect("no panic").clone();
    assert_eq!(all.len(), bound, "the quota is used and not exceeded");
    for ((name, uid), nodes) in all {
        assert_eq!(nodes.len(), 1, "{name} ({uid}) has been on {nodes:?}");
        *by_node.entry(nodes[0].clone()).or_default() += 1;
        if let Some((gang, _)) = name.strip_prefix("gang-").and_then(|rest| rest.split_once('-')) {
            *by_gang.entry(gang.to_owned()).or_default() += 1;
        }
    }
    assert!(by_node.values().all(|pods| *pods <= GPUS), "{by_node:?}");
    assert!(by_gang.values().all(|pods| *pods == MEMBERS), "{by_gang:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_outlives_the_death_of_the_scheduler_of_the_api_server_and_of_etcd() {
    let begun = Instant::now();
    let world = World::start(Options::new().for_load().kwok(Kwok::new())).await;
    world.nodes(NODES, GPUS as u32).await;
    world.project("vision", QUOTA).await;
    load(&world).await;
    let seen = observe(world.pods("vision"));
    eprintln!("{PODS} pods wait after {} ms", begun.elapsed().as_millis());

    // No event log: the disk is not what is tried here. A start that is not undone in a hurry, while nothing answers.
    let change = json!({ "eventLog": { "path": null }, "bind": { "gangWithinSeconds": 60 } });
    let (first, all) = (world.scheduler("first", change.clone()), QUOTA as usize);
    until(&seen, all / 5).await;
    first.kill();
    let mut second = world.scheduler("second", change);
    second.may_be_denied = true;
    until(&seen, all / 2).await;
    world.testbed.kill(Component::ApiServer).expect("it is killed");
    world.testbed.start_again(Component::ApiServer).await.expect("it comes back");
    until(&seen, all).await;
    tokio::time::sleep(A_WHILE).await;
    judge(&seen, all);

    // Those that waited are not lost either.
    let pools = json!({ "spec": { "pools": [{ "name": "default", "gpu": { "quota": PODS } }] } });
    for object in ["departments/research", "projects/vision"] {
        world.patch(&format!("/apis/berth.dev/v1alpha1/{object}"), pools.clone()).await;
    }
    until(&seen, (all + PODS) / 2).await;
    world.testbed.kill(Component::Etcd).expect("it is killed");
    world.testbed.start_again(Component::Etcd).await.expect("it comes back");
    until(&seen, PODS).await;
    judge(&seen, PODS);
    assert_eq!(world.places("vision").await.len(), PODS, "none is lost");
    eprintln!("all was done after {} ms", begun.elapsed().as_millis());
    assert!(second.stop(), "it ends in order");
}
