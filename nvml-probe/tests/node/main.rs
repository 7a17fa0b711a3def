//! The agent on a real node: kubelet, containerd and Kubernetes' own scheduler are real, only the hardware is scripted. As
//! anybody but root these tests only say that they were left out.

#[path = "../common/mod.rs"]
mod common;
mod world;

use std::{fs, time::Duration};

use berth_testbed::{NodePart, pods};
use k8s_openapi::api::{
    core::v1::{Event, Node as NodeObject},
    resource::v1::{ResourceClaim, ResourceSlice},
};
use kube::{
    Api,
    api::{DeleteParams, LogParams},
};
use nvml_fake::script::Process;
use world::{World, eventually, runs};

const SLICE: &str = "gpu-0-gpu.berth.dev";

/// One world for all of it, as it takes long to make: each step begins where the one before ended.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_gpu_are_handed_out_on_a_real_node() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a real node needs root");
        return;
    }
    let mut world = World::start().await;
    the_device_is_published_with_the_memory_that_can_be_given_out(&world).await;
    what_is_enforced_is_said_on_the_node(&world).await;
    let ([one, other], third) = two_pods_share_the_device_and_a_third_does_not_fit(&world).await;
    memory_of_a_process_is_seen_to_be_its_pods(&mut world, &one).await;
    agent_and_kubelet_are_killed_and_nothing_is_lost(&mut world).await;
    one_ends_and_the_third_takes_its_place(&world, &one, third).await;
    an_xid_keeps_new_pods_away_until_the_device_has_recovered(&mut world, &other, third).await;
    a_claim_that_asks_for_what_may_not_be_is_refused_in_words(&world).await;
    a_slice_that_somebody_deletes_comes_back(&world).await;
    everything_goes_and_nothing_is_left(&world, [third, "four", "bad"]).await;
}

fn slices(world: &World) -> Api<ResourceSlice> {
    Api::all(world.client.clone())
}

async fn the_device_is_published_with_the_memory_that_can_be_given_out(world: &World) {
    let slice = eventually("the slice", async || slices(world).get_opt(SLICE).await.unwrap()).await;
    let device = &slice.spec.devices.as_ref().unwrap()[0];
    assert_eq!(device.name, "gpu-00000000-0000-0000-0000-000000000000");
    assert_eq!(device.capacity.as_ref().unwrap()["memory"].value.0, "81408Mi");
    assert_eq!(slice.metadata.owner_references.as_ref().unwrap()[0].name, "gpu-0");
}

async fn what_is_enforced_is_said_on_the_node(world: &World) {
    let nodes: Api<NodeObject> = Api::all(world.client.clone());
    let message = eventually("the condition", async || {
        let conditions = nodes.get("gpu-0").await.unwrap().status?.conditions?;
        let ours = conditions.into_iter().find(|it| it.type_ == "GpuMemoryLimitsEnforced")?;
        assert_eq!(ours.status, "False");
        ours.message
    })
    .await;
    assert!(message.contains("watched only"), "{message}");
}

/// Each is told what it has. Returns the two, and the one that waits.
async fn two_pods_share_the_device_and_a_third_does_not_fit(world: &World) -> ([String; 2], &'static str) {
    let names = ["one", "two", "three"];
    for name in names {
        world.add_pod(name, "30Gi", "40Gi").await;
    }
    let pods = world.pods();
    let running: [String; 2] = eventually("two pods run", async || {
        let found = pods.list(&Default::default()).await.unwrap().items;
        let names: Vec<String> = found.into_iter().filter(runs).filter_map(|pod| pod.metadata.name).collect();
        names.try_into().ok()
    })
    .await;
    for name in &running {
        let log = eventually("it has spoken", async || {
            let log = pods.logs(name, &LogParams::default()).await.ok()?;
            log.contains("the device is there").then_some(log)
        })
        .await;
        let told = pods::environment(&log);
        assert_eq!(told["NVIDIA_VISIBLE_DEVICES"], "GPU-00000000-0000-0000-0000-000000000000");
        assert_eq!(told["BERTH_GPU_MEMORY_REQUEST_MIB"], "30720");
        assert_eq!(told["BERTH_GPU_MEMORY_LIMIT_MIB"], "40960");
    }
    let third = names.into_iter().find(|name| !running.iter().any(|it| it == name)).unwrap();
    assert_eq!(world.phase(third).await, "Pending");
    assert_eq!(world.cdi_files().len(), 2);
    (running, third)
}

async fn memory_of_a_process_is_seen_to_be_its_pods(world: &mut World, name: &str) {
    let pod = world.pods().get(name).await.unwrap();
    let pid = world.process_of(&pod);
    world.script.devices[0].processes =
        vec![Process { pid, kinds: "C".into(), used: Some(7 << 30), ..Process::default() }];
    world.set();
    let line = format!("pod=\"{name}\",uid=\"{}\"}} 7516192768", pod.metadata.uid.as_ref().unwrap());
    eventually("the pod's memory", async || world.figures().contains(&line).then_some(())).await;
    world.script.devices[0].processes.clear();
    world.set();
}

async fn agent_and_kubelet_are_killed_and_nothing_is_lost(world: &mut World) {
    world.kill_agent();
    world.node.kill(NodePart::Kubelet).unwrap();
    fs::write(world.node.folder().join("cdi/.gpu.berth.dev-claim-torn.json.unfinished"), "{").unwrap();
    world.start_agent();
    world.node.start_again(NodePart::Kubelet).unwrap();
    world.node.ready(&world.client).await.unwrap();
    world.until_ready().await;
    assert_eq!(world.cdi_files().len(), 2, "nothing but the two pods' files: {:?}", world.cdi_files());
}

async fn one_ends_and_the_third_takes_its_place(world: &World, one: &str, third: &str) {
    world.end_pod(one).await;
    world.until_runs(third).await;
    assert_eq!(world.cdi_files().len(), 2, "the file of the one that ended is gone");
}

async fn an_xid_keeps_new_pods_away_until_the_device_has_recovered(
    world: &mut World,
    other: &str,
    third: &str,
) {
    world.xid(79, Some(1));
    eventually("the taint", async || {
        let device = slices(world).get(SLICE).await.unwrap().spec.devices?.remove(0);
        device.taints?.into_iter().next()?.value.filter(|value| value == "xid-79")
    })
    .await;
    world.end_pod(other).await;
    world.add_pod("four", "30Gi", "40Gi").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.phase("four").await, "Pending");
    assert_eq!(world.phase(third).await, "Running", "who runs is not touched");
    world.recovered();
    world.until_runs("four").await;
}

async fn a_claim_that_asks_for_what_may_not_be_is_refused_in_words(world: &World) {
    world.add_pod("bad", "1Gi", "900Gi").await;
    let events: Api<Event> = Api::default_namespaced(world.client.clone());
    eventually("the refusal", async || {
        let found = events.list(&Default::default()).await.unwrap().items;
        let mut words = found.into_iter().filter_map(|event| event.message);
        words.find(|words| words.contains("limit: is 900Gi, allowed: 1024Mi to 81408Mi"))
    })
    .await;
}

async fn a_slice_that_somebody_deletes_comes_back(world: &World) {
    slices(world).delete(SLICE, &DeleteParams::default()).await.unwrap();
    eventually("the slice again", async || slices(world).get_opt(SLICE).await.unwrap()).await;
}

async fn everything_goes_and_nothing_is_left(world: &World, names: [&str; 3]) {
    for name in names {
        world.end_pod(name).await;
    }
    let claims: Api<ResourceClaim> = Api::default_namespaced(world.client.clone());
    eventually("no claims", async || {
        claims.list(&Default::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    assert_eq!(world.cdi_files(), Vec::<String>::new());
}
