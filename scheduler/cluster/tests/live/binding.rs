//! Pods are bound, whole gangs or none of them, and what is not ours is left alone.

use crate::world::{A_WHILE, SOON, World, ours};
use berth_sim::log::replay;
use berth_testbed::fake::PodTemplate;
use berth_testbed::pods;
use berth_testbed::{Kwok, Options};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

fn condition(pod: &Pod) -> Option<(String, String, String)> {
    let status = pod.status.as_ref()?;
    let said = status.conditions.iter().flatten().find(|said| said.type_ == "PodScheduled")?;
    Some((
        said.status.clone(),
        said.reason.clone().unwrap_or_default(),
        said.message.clone().unwrap_or_default(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_whole_gangs_or_none_and_others_left_alone_through_a_restart() {
    let world = World::start(Options::new()).await;
    world.nodes(2, 4).await;
    let scheduler = world.scheduler("first", json!({}));
    scheduler.ready().await;

    world.create(&PodTemplate::new("other").gpus(1).scheduler("somebody-else"), 2).await;
    world.create(&ours("single", 1), 3).await;
    world.bound("single", 3).await;
    let gang = |name: &str, members: &str| {
        ours(name, 1).label("berth.dev/workload", name).label("berth.dev/min-members", members)
    };
    world.create(&gang("fits", "4"), 4).await;
    world.bound("fits", 4).await;
    // One device is left.
    world.create(&gang("large", "3"), 3).await;
    let waits = |pod: &Pod| {
        condition(pod).is_some_and(|(status, reason, message)| {
            status == "False" && reason == "Unschedulable" && message.starts_with("capacity")
        })
    };
    for index in 0..3 {
        let name = format!("large-{index}");
        let pod = pods::wait(&world.pods("default"), &name, SOON, waits).await.expect("it says why it waits");
        assert_eq!(pods::node(&pod), None);
    }
    let (code, said) = scheduler.get("/debug/explain?pod=default/large-0").expect("an answer");
    assert_eq!(code, 200, "{said}");
    assert!(said.contains("\"workload\": \"default/large\"") && said.contains("capacity: "), "{said}");

    let metrics = scheduler.get("/metrics").expect("an answer").1;
    for line in [
        "berth_api_answers_total{answer=\"done\",request=\"bind\"} 7",
        "berth_pending_workloads{reason=\"capacity\"} 1",
        "berth_pool_gpus{amount=\"allocated\",pool=\"default\"} 7",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(scheduler.stop(), "it ends in order");
    let replayed = replay(&world.event_log("first")).expect("the same is decided again");
    assert!(replayed.decisions >= 8, "{replayed:?}");

    // From the API alone: what is bound counts, and the gang that waited still waits as a whole.
    let scheduler = world.scheduler("second", json!({}));
    scheduler.ready().await;
    world.create(&ours("late", 1), 1).await;
    world.bound("late", 1).await;
    tokio::time::sleep(A_WHILE).await;
    world.bound("large", 0).await;
    world.bound("other", 0).await;
    world.nothing_is_promised_twice(4).await;

    // Nobody plays the kubelet here: the pods are gone at once.
    for name in ["fits-0", "fits-1", "fits-2"] {
        world
            .pods("default")
            .delete(name, &DeleteParams::default().grace_period(0))
            .await
            .expect("it is deleted");
    }
    world.bound("large", 3).await;
    let bound = world.pods("default").get("large-0").await.expect("a pod");
    assert_eq!(condition(&bound).expect("a condition").0, "True");
    world.nothing_is_promised_twice(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_more_weight_is_bound_once_those_that_make_room_have_had_their_grace() {
    let world = World::start(Options::new().kwok(Kwok::new())).await;
    world.nodes(1, 2).await;
    world.project("vision", 2).await;
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;

    let all = world.pods("vision");
    world.create_in("vision", &ours("train", 1).label("berth.dev/priority", "low"), 2).await;
    for index in 0..2 {
        let running = |pod: &Pod| pods::phase(pod) == "Running";
        pods::wait(&all, &format!("train-{index}"), SOON, running).await.expect("it runs");
    }
    let urgent = ours("urgent", 2).label("berth.dev/priority", "very-high");
    world.create_in("vision", &urgent, 1).await;
    for index in 0..2 {
        pods::wait_gone(&all, &format!("train-{index}"), SOON).await.expect("it has made room");
    }
    let bound = |pod: &Pod| pods::node(pod) == Some("node-0");
    let pod = pods::wait(&all, "urgent-0", SOON, bound).await.expect("it is bound");
    assert_eq!(condition(&pod).expect("a condition").0, "True");
    let metrics = scheduler.get("/metrics").expect("an answer").1;
    assert!(metrics.contains("berth_api_answers_total{answer=\"done\",request=\"evict\"} 2"), "{metrics}");
    // Two GPUs within a quota of two, and what the two that were stopped had done.
    let of = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    let used = |quota: &str| {
        of(&format!("berth_gpu_seconds_total{{pool=\"default\",project=\"vision\",quota=\"{quota}\"}}"))
    };
    let lost = of("berth_gpu_seconds_lost_total{pool=\"default\",project=\"vision\"}");
    assert!(lost > 0.0 && lost <= used("within") && used("over") == 0.0, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_gang_of_which_a_bind_is_refused_for_good_is_undone_and_starts_once_it_can() {
    let world = World::start(Options::new().kwok(Kwok::new())).await;
    world.nodes(1, 4).await;
    world.refuse_binds_of("gang-2").await;
    let scheduler = world.scheduler("only", json!({ "bind": { "gangWithinSeconds": 3 } }));
    scheduler.ready().await;
    // Non-preemptible by its priority (S4): a gang is undone all the same.
    let gang = ours("gang", 1).label("berth.dev/workload", "gang").label("berth.dev/min-members", "3");
    let gang = gang.label("berth.dev/priority", "very-high");
    world.create(&gang, 3).await;
    let all = world.pods("default");
    for name in ["gang-0", "gang-1"] {
        pods::wait_gone(&all, name, SOON).await.expect("it is evicted");
    }
    let says = |pod: &Pod| condition(pod).is_some_and(|(.., message)| message.contains("is undone"));
    let pod = pods::wait(&all, "gang-2", SOON, says).await.expect("it says why");
    let (.., message) = condition(&pod).expect("a condition");
    assert!(
        message.contains("default/gang-2 could not be bound") && message.contains("nothing today"),
        "{message}"
    );

    // Whoever made the two makes them again, and the reason is gone.
    world.delete_policy("refuse-binds").await;
    world.create(&gang, 2).await;
    world.bound("gang", 3).await;
}
