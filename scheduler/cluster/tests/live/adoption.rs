//! The first start in a cluster in which much runs already (S3).

use crate::world::{SOON, Scheduler, World, ours};
use berth_testbed::pods;
use berth_testbed::{Kwok, Options};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime};

/// Nobody is told to end for so long.
const NONE_FOR: Duration = Duration::from_secs(30);

/// When the Lease was made, by its own word; none before.
async fn made(world: &World) -> Option<SystemTime> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "berth-system");
    let lease = leases.get_opt("berth-scheduler").await.expect("an answer")?;
    lease.metadata.creation_timestamp.map(|at| at.0.into())
}

async fn leads(world: &World, scheduler: &Scheduler) -> SystemTime {
    let begun = Instant::now();
    while !scheduler.said().contains("leads") {
        assert!(begun.elapsed() < SOON, "it does not lead:\n{}", scheduler.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    made(world).await.expect("there is a Lease")
}

/// How many of two running pods have not been told to end.
async fn running(world: &World) -> usize {
    let mut count = 0;
    for index in 0..2 {
        let pod = world.pods("vision").get_opt(&format!("train-{index}")).await.expect("an answer");
        count += usize::from(pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()));
    }
    count
}

/// Waits until somebody is told to end; when that was.
async fn evicted(world: &World) -> SystemTime {
    let begun = Instant::now();
    while running(world).await == 2 {
        assert!(begun.elapsed() < SOON, "nobody was told to end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    SystemTime::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_what_runs_at_the_first_start_is_adopted_and_a_restart_does_not_begin_the_time_anew() {
    let world = World::start(Options::new().kwok(Kwok::new())).await;
    world.nodes(1, 2).await;
    world.project("vision", 2).await;
    let low = ours("train", 1).label("berth.dev/priority", "low");
    // Somebody else has put them there before Berth came.
    world.create_in("vision", &low.clone().on_node("node-0"), 2).await;
    for index in 0..2 {
        let so = |pod: &Pod| pods::phase(pod) == "Running";
        pods::wait(&world.pods("vision"), &format!("train-{index}"), SOON, so).await.expect("it runs");
    }

    let config = json!({
        "lease": { "enabled": true, "durationSeconds": 6 },
        "evict": { "noneForSeconds": NONE_FOR.as_secs() },
    });
    let first = world.scheduler("first", config.clone());
    let begins = leads(&world, &first).await;
    let urgent = ours("urgent", 2).label("berth.dev/priority", "very-high");
    world.create_in("vision", &urgent, 1).await;
    // They count at once: there is no room, and that is said.
    let waits = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|it| it.type_ == "PodScheduled" && it.status == "False")
    };
    pods::wait(&world.pods("vision"), "urgent-0", SOON, waits).await.expect("it waits");
    tokio::time::sleep(NONE_FOR / 3).await;
    assert_eq!(running(&world).await, 2);

    // The next one goes on with the time of the first.
    first.kill();
    let second = world.scheduler("second", config.clone());
    assert_eq!(leads(&world, &second).await, begins);
    let led = SystemTime::now();
    let at = evicted(&world).await;
    let since = |from: SystemTime| at.duration_since(from).expect("it is later");
    eprintln!("told to end {:?} after the first start, {:?} after the second", since(begins), since(led));
    assert!(since(begins) >= NONE_FOR, "{:?}", since(begins));
    assert!(since(led) < NONE_FOR, "the time began anew");
    assert!(second.said().contains("nobody is told to end before this time is over"), "{}", second.said());
    let bound = |pod: &Pod| pods::node(pod) == Some("node-0");
    pods::wait(&world.pods("vision"), "urgent-0", SOON, bound).await.expect("it has the room");

    // Whoever starts later finds the time over.
    assert!(second.stop(), "it ends in order");
    let third = world.scheduler("third", config);
    assert_eq!(leads(&world, &third).await, begins);
    third.ready().await;
    assert!(!third.said().contains("nobody is told to end"), "{}", third.said());
}
