//! What `kubectl apply -k deploy/agent` brings, on a real node with scripted hardware: the agent in its container publishes the
//! node's devices, and the kubelet knows its driver. As anybody but root this only says that it was left out.
//!
//! Different from a cluster: the image is made of the program of this build and the libraries it is linked to, and has a
//! scripted driver's library where NVIDIA's container runtime would put the real one.

mod common;

use berth_testbed::{
    ControllerManager, Image, Node, NodeOptions, Options, Scheduler, Testbed, manifests, pods,
};
use common::{Machine, sound};
use k8s_openapi::api::{core::v1::Pod, resource::v1::ResourceSlice};
use kube::{
    Client,
    api::{Api, ListParams, LogParams},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(120);
/// As `deploy/agent/kustomization.yaml` has it.
const IMAGE: &str = "berth.dev/nvml-probe:0.1.0";
/// A folder in which libraries are looked for.
const LIBRARIES: &str = "/usr/lib";

/// Waits until the only agent says that it is ready: it sees devices, and the kubelet has registered its driver.
async fn ready(client: &Client) {
    let agents: Api<Pod> = Api::namespaced(client.clone(), "berth-agent");
    let begun = Instant::now();
    loop {
        let found = agents.list(&ListParams::default()).await.unwrap().items;
        let conditions = found.iter().filter_map(|pod| pod.status.as_ref()?.conditions.as_ref()).flatten();
        if conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True") {
            return;
        }
        if begun.elapsed() > SOON {
            for pod in &found {
                let name = pod.metadata.name.as_deref().unwrap();
                let said = agents.logs(name, &LogParams::default()).await;
                eprintln!("{name}, {}: {said:?}", pods::phase(pod));
            }
            panic!("{} agents, none of them ready", found.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_agent_publishes_the_devices_of_a_real_node() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a real node needs root");
        return;
    }
    let options = Options::new().controller_manager(ControllerManager::new()).scheduler(Scheduler::new());
    let testbed = Testbed::start(options).await.unwrap();
    let client = testbed.client().await.unwrap();
    let machine = Machine::new(sound(2));
    let image = Image::of_program(IMAGE, Path::new(env!("CARGO_BIN_EXE_nvml-probe"))).unwrap();
    let image = image
        .file(&format!("{LIBRARIES}/libnvidia-ml.so.1"), &machine.library())
        .file(&format!("{LIBRARIES}/nvml-fake.json"), &machine.folder().join("nvml-fake.json"));
    let options = NodeOptions::new("gpu-0").label("nvidia.com/gpu.present", "true");
    let node = Node::start(&testbed, options).await.unwrap();
    node.import(&image).await.unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent");
    for object in manifests::kustomized(&deploy).unwrap() {
        manifests::apply(&client, &object).await.unwrap();
    }
    ready(&client).await;
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    let slice = slices.get("gpu-0-gpu.berth.dev").await.unwrap();
    let devices = slice.spec.devices.unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].capacity.as_ref().unwrap()["memory"].value.0, "81408Mi");
}
