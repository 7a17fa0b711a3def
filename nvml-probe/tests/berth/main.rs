//! Parts of a GPU through Berth itself: its scheduler, its agent, a real API server and a real node; only the hardware is
//! scripted. As anybody but root this test only says that it was left out.

#[path = "../common/mod.rs"]
mod common;
mod installed;
#[path = "../node/world.rs"]
mod world;

use std::time::{Duration, Instant};

use berth_testbed::pods;
use installed::Installed;
use k8s_openapi::api::{
    core::v1::{Event, Pod},
    resource::v1::ResourceClaim,
};
use kube::{Api, api::LogParams};
use nvml_fake::script::Process;
use world::{World, eventually, runs};

const GIB: u64 = 1 << 30;

/// One world for all of it, as it takes long to make: each step begins where the one before ended.
#[tokio::test(flavor = "multi_thread")]
async fn berth_hands_out_parts_of_a_gpu() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a real node needs root");
        return;
    }
    let mut it = Installed::start().await;
    s13_two_share_the_device_and_the_third_says_why_it_waits(&it).await;
    s33_a_scheduler_that_starts_anew_gives_nothing_out_twice(&mut it).await;
    the_third_is_bound_within_a_second_of_the_firsts_end(&it).await;
    s17_foreign_memory_is_not_given_out(&mut it.world).await;
    s19_a_pod_over_its_limit_is_reported_within_ten_seconds(&mut it.world).await;
    s18_an_xid_keeps_new_pods_away_until_the_device_has_recovered(&mut it.world).await;
    nothing_is_left(&it.world).await;
    it.end().await;
}

fn waits(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let said = conditions.iter().find(|said| said.type_ == "PodScheduled" && said.status == "False")?;
    said.message.clone()
}

async fn add(world: &World, name: &str) {
    world.add_pod_for("berth", name, "30Gi", "40Gi").await;
}

/// Why a pod waits, once it says so in these words.
async fn until_waits(world: &World, name: &str, words: &str) {
    eventually(&format!("{name} says why it waits: {words}"), async || {
        let pod = world.pods().get(name).await.unwrap();
        assert_eq!(pods::node(&pod), None, "{name} is bound");
        waits(&pod).filter(|said| said.contains(words))
    })
    .await;
}

async fn s13_two_share_the_device_and_the_third_says_why_it_waits(it: &Installed) {
    let world = &it.world;
    for name in ["one", "two"] {
        add(world, name).await;
        world.until_runs(name).await;
        let log = eventually("it has spoken", async || {
            let log = world.pods().logs(name, &LogParams::default()).await.ok()?;
            log.contains("the device is there").then_some(log)
        })
        .await;
        let told = pods::environment(&log);
        assert_eq!(told["NVIDIA_VISIBLE_DEVICES"], "GPU-00000000-0000-0000-0000-000000000000");
        assert_eq!(told["BERTH_GPU_MEMORY_REQUEST_MIB"], "30720");
        assert_eq!(told["BERTH_GPU_MEMORY_LIMIT_MIB"], "40960");
    }
    add(world, "three").await;
    until_waits(world, "three", "capacity").await;
    let claims: Api<ResourceClaim> = Api::default_namespaced(world.client.clone());
    let mut shares = Vec::new();
    for claim in claims.list(&Default::default()).await.unwrap().items {
        let Some(status) = claim.status.filter(|status| status.allocation.is_some()) else { continue };
        assert_eq!(status.reserved_for.unwrap().len(), 1);
        let result = status.allocation.unwrap().devices.unwrap().results.unwrap().remove(0);
        assert_eq!(result.consumed_capacity.unwrap()["memory"].0, "30Gi");
        shares.push(result.share_id.unwrap());
    }
    shares.dedup();
    assert_eq!(shares.len(), 2, "{shares:?}");
}

async fn s33_a_scheduler_that_starts_anew_gives_nothing_out_twice(it: &mut Installed) {
    it.restart().await;
    add(&it.world, "more").await;
    until_waits(&it.world, "more", "capacity").await;
    it.world.end_pod("more").await;
    until_waits(&it.world, "three", "capacity").await;
}

async fn the_third_is_bound_within_a_second_of_the_firsts_end(it: &Installed) {
    it.world.end_pod("one").await;
    let gone = Instant::now();
    let bound = |pod: &Pod| pods::node(pod).is_some();
    pods::wait(&it.world.pods(), "three", world::SOON, bound).await.unwrap();
    let took = gone.elapsed();
    eprintln!("bound {} ms after the end was seen", took.as_millis());
    assert!(took < Duration::from_secs(1), "{took:?}");
    it.world.until_runs("three").await;
}

async fn s17_foreign_memory_is_not_given_out(world: &mut World) {
    world.end_pod("two").await;
    // A process of this machine that no pod has.
    let stranger =
        Process { pid: std::process::id(), kinds: "C".into(), used: Some(30 * GIB), ..Process::default() };
    world.script.devices[0].processes = vec![stranger];
    world.script.devices[0].memory.as_mut().unwrap().used = 31 * GIB;
    world.set();
    eventually("the agent sees it", async || {
        world.figures().contains("berth_gpu_memory_foreign_bytes").then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    add(world, "four").await;
    until_waits(world, "four", "capacity").await;
    world.script.devices[0].processes.clear();
    world.script.devices[0].memory.as_mut().unwrap().used = GIB;
    world.set();
    world.until_runs("four").await;
}

async fn s19_a_pod_over_its_limit_is_reported_within_ten_seconds(world: &mut World) {
    let pid = world.process_of(&world.pods().get("four").await.unwrap());
    world.script.devices[0].processes =
        vec![Process { pid, kinds: "C".into(), used: Some(45 * GIB), ..Process::default() }];
    world.script.devices[0].memory.as_mut().unwrap().used = 46 * GIB;
    world.set();
    let begun = Instant::now();
    let events: Api<Event> = Api::default_namespaced(world.client.clone());
    let said = eventually("the report", async || {
        let all = events.list(&Default::default()).await.unwrap().items;
        let said = all.into_iter().find(|event| event.reason.as_deref() == Some("GpuMemoryOverLimit"))?;
        assert_eq!(said.involved_object.name.as_deref(), Some("four"));
        said.message
    })
    .await;
    eprintln!("reported after {} ms: {said}", begun.elapsed().as_millis());
    assert!(begun.elapsed() < Duration::from_secs(10), "{said}");
    world.script.devices[0].processes.clear();
    world.script.devices[0].memory.as_mut().unwrap().used = GIB;
    world.set();
}

async fn s18_an_xid_keeps_new_pods_away_until_the_device_has_recovered(world: &mut World) {
    world.xid(79, Some(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.end_pod("three").await;
    add(world, "five").await;
    until_waits(world, "five", "").await;
    assert_eq!(world.phase("four").await, "Running", "who runs is not touched");
    world.recovered();
    world.until_runs("five").await;
}

async fn nothing_is_left(world: &World) {
    for name in ["four", "five"] {
        assert!(runs(&world.pods().get(name).await.unwrap()));
        world.end_pod(name).await;
    }
    let claims: Api<ResourceClaim> = Api::default_namespaced(world.client.clone());
    eventually("no claims", async || {
        claims.list(&Default::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    assert_eq!(world.cdi_files(), Vec::<String>::new());
}
