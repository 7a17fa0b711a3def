//! The agent on a real node: kubelet, containerd and Kubernetes' own scheduler are real, only the hardware is scripted. As
//! anybody but root these tests only say that they were left out.

#[path = "../common/mod.rs"]
mod common;
mod world;

use std::{fs, time::Duration};

use berth_testbed::{NodePart, pods};
use k8s_openapi::api::{
    core::v1::{Node as NodeObject, Pod},
    resource::v1::{ResourceClaim, ResourceSlice},
};
use kube::{
    Api,
    api::{DeleteParams, LogParams, PostParams},
};
use nvml_fake::script::Process;
use world::{SOON, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_gpu_are_handed_out_on_a_real_node() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a real node needs root");
        return;
    }
    let mut world = World::start().await;
    let client = world.client.clone();

    // The device is published, with the memory that can be given out.
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    let slice = eventually("the slice", async || slices.get_opt("gpu-0-gpu.berth.dev").await.unwrap()).await;
    let device = &slice.spec.devices.as_ref().unwrap()[0];
    assert_eq!(device.name, "gpu-00000000-0000-0000-0000-000000000000");
    assert_eq!(device.capacity.as_ref().unwrap()["memory"].value.0, "81408Mi");
    assert_eq!(slice.metadata.owner_references.as_ref().unwrap()[0].name, "gpu-0");

    // What is enforced is said on the node.
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let message = eventually("the condition", async || {
        let conditions = nodes.get("gpu-0").await.unwrap().status?.conditions?;
        let ours = conditions.into_iter().find(|it| it.type_ == "GpuMemoryLimitsEnforced")?;
        assert_eq!(ours.status, "False");
        ours.message
    })
    .await;
    assert!(message.contains("watched only"), "{message}");

    // Two pods share the device, each told what it has; a third does not fit.
    let all: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["one", "two", "three"] {
        all.create(&PostParams::default(), &world.pod(name, "30Gi")).await.unwrap();
    }
    let runs = |pod: &Pod| pods::phase(pod) == "Running";
    let running = async || {
        let found = all.list(&Default::default()).await.unwrap().items;
        let names: Vec<String> = found.into_iter().filter(runs).filter_map(|pod| pod.metadata.name).collect();
        (names.len() == 2).then_some(names)
    };
    let names = eventually("two pods run", running).await;
    for name in &names {
        let log = eventually("it has spoken", async || {
            let log = all.logs(name, &LogParams::default()).await.ok()?;
            log.contains("the device is there").then_some(log)
        })
        .await;
        let told = pods::environment(&log);
        assert_eq!(told["NVIDIA_VISIBLE_DEVICES"], "GPU-00000000-0000-0000-0000-000000000000");
        assert_eq!(told["BERTH_GPU_MEMORY_REQUEST_MIB"], "30720");
        assert_eq!(told["BERTH_GPU_MEMORY_LIMIT_MIB"], "40960");
    }
    let third = ["one", "two", "three"].into_iter().find(|name| !names.iter().any(|it| it == name)).unwrap();
    assert_eq!(pods::phase(&all.get(third).await.unwrap()), "Pending");
    assert_eq!(world.cdi_files().len(), 2);

    // A process of a pod's container takes memory, and is seen to be the pod's.
    let pod = all.get(&names[0]).await.unwrap();
    let pid = world.process_of(&pod);
    world.script.devices[0].processes =
        vec![Process { pid, kinds: "C".into(), used: Some(7 << 30), ..Process::default() }];
    world.set();
    let line = format!("pod=\"{}\",uid=\"{}\"}} 7516192768", names[0], pod.metadata.uid.as_ref().unwrap());
    eventually("the pod's memory", async || world.figures().contains(&line).then_some(())).await;
    world.script.devices[0].processes.clear();
    world.set();

    // Agent and kubelet are killed; both start again, and nothing is lost.
    world.kill_agent();
    world.node.kill(NodePart::Kubelet).unwrap();
    fs::write(world.node.folder().join("cdi/.gpu.berth.dev-claim-torn.json.unfinished"), "{").unwrap();
    world.start_agent();
    world.node.start_again(NodePart::Kubelet).unwrap();
    world.node.ready(&client).await.unwrap();
    world.until_ready().await;
    assert_eq!(world.cdi_files().len(), 2, "nothing but the two pods' files: {:?}", world.cdi_files());

    // One ends: its file goes, and the third takes its place.
    let force = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
    all.delete(&names[0], &force).await.unwrap();
    pods::wait_gone(&all, &names[0], SOON).await.unwrap();
    pods::wait(&all, third, SOON, runs).await.unwrap();
    assert_eq!(world.cdi_files().len(), 2);

    // An XID keeps new pods away until the device says that it has recovered.
    world.xid(79, Some(1));
    let taint = async || {
        let device = slices.get("gpu-0-gpu.berth.dev").await.unwrap().spec.devices?.remove(0);
        device.taints.and_then(|taints| taints.into_iter().next()?.value)
    };
    eventually("the taint", async || taint().await.filter(|value| value == "xid-79")).await;
    all.delete(&names[1], &force).await.unwrap();
    pods::wait_gone(&all, &names[1], SOON).await.unwrap();
    all.create(&PostParams::default(), &world.pod("four", "30Gi")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(pods::phase(&all.get("four").await.unwrap()), "Pending");
    assert_eq!(pods::phase(&all.get(third).await.unwrap()), "Running", "who runs is not touched");
    world.recovered();
    pods::wait(&all, "four", SOON, runs).await.unwrap();

    // A claim that asks for what may not be is refused in words, and the slice that somebody deletes comes back.
    all.create(&PostParams::default(), &world.pod_with("bad", "1Gi", Some("900Gi"))).await.unwrap();
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client.clone());
    eventually("the refusal", async || {
        let found = events.list(&Default::default()).await.unwrap().items;
        let words = found.into_iter().filter_map(|event| event.message);
        words.into_iter().find(|words| words.contains("limit: is 900Gi, allowed: 1024Mi to 81408Mi"))
    })
    .await;
    slices.delete("gpu-0-gpu.berth.dev", &DeleteParams::default()).await.unwrap();
    eventually("the slice again", async || slices.get_opt("gpu-0-gpu.berth.dev").await.unwrap()).await;

    // Everything goes, and nothing is left.
    for name in [third, "four", "bad"] {
        all.delete(name, &force).await.unwrap();
        pods::wait_gone(&all, name, SOON).await.unwrap();
    }
    let claims: Api<ResourceClaim> = Api::default_namespaced(client.clone());
    eventually("no claims", async || {
        claims.list(&Default::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    assert_eq!(world.cdi_files(), Vec::<String>::new());
}
