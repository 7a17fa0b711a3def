//! A real node: pods run on it, and all of it goes. As anybody but root these tests only say that they were left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_testbed::fake::PodTemplate;
use berth_testbed::pods::{self, phase};
use berth_testbed::{
    ControllerManager, Image, Node, NodeOptions, NodePart, Options, Program, Scheduler, Testbed,
};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("left out: a real node needs root");
    }
    root
}

/// What a node could leave behind outside of its namespaces.
fn traces() -> BTreeSet<String> {
    let listed = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
    };
    let mut groups: Vec<PathBuf> = listed(Path::new("/sys/fs/cgroup")).collect();
    groups.extend(groups.clone().iter().flat_map(|group| listed(group)));
    let named =
        groups.into_iter().chain(listed(Path::new("/sys/class/net"))).map(|path| path.display().to_string());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    named.chain(mounts.lines().map(str::to_owned)).filter(|name| name.contains("berth-test")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_on_a_real_node_and_all_of_it_goes() {
    if !root() {
        return;
    }
    let options = Options::new().controller_manager(ControllerManager::new()).scheduler(Scheduler::new());
    let testbed = Testbed::start(options).await.unwrap();
    let client = testbed.client().await.unwrap();
    let wanted = NodeOptions::new("real").label("pool", "a").taint("gpu", "yes", "NoSchedule");
    let mut node = Node::start(&testbed, wanted).await.unwrap();
    let object = Api::<NodeObject>::all(client.clone()).get("real").await.unwrap();
    assert_eq!(object.metadata.labels.unwrap()["pool"], "a");
    assert_eq!(object.status.unwrap().node_info.unwrap().container_runtime_version, "containerd://v2.4.2");

    // Found by the scheduler, run, and heard.
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut pod = PodTemplate::new("speaks").arguments(["env", "print", "all is well"]).tolerate_all().pod(0);
    let spec = pod.spec.as_mut().unwrap();
    spec.containers[0].env =
        Some(serde_json::from_value(json!([{"name": "BERTH", "value": "here"}])).unwrap());
    let ended = pods::run(&pods, &pod).await.unwrap();
    assert!(ended.succeeded && ended.log.ends_with("all is well\n"), "{ended:?}");
    assert_eq!(pods::environment(&ended.log)["BERTH"], "here");
    let fails = PodTemplate::new("fails").arguments(["exit", "7"]).on_node("real").pod(0);
    let ended = pods::run(&pods, &fails).await.unwrap();
    assert_eq!((ended.succeeded, ended.exit_code), (false, Some(7)));

    // A device that a CDI file of this machine describes, and an image of our own.
    fs::write(
        node.folder().join("cdi/test.json"),
        json!({
            "cdiVersion": "0.6.0", "kind": "berth.dev/test",
            "devices": [{"name": "one", "containerEdits": {"env": ["DEVICE=one"]}}],
        })
        .to_string(),
    )
    .unwrap();
    let image = Image::new("berth.dev/test/own:1").file("/bin/own", &Program::Box.path().await.unwrap());
    node.import(&image.entrypoint(["/bin/own", "print", "own"])).await.unwrap();
    let template = PodTemplate::new("own").image("berth.dev/test/own:1").on_node("real").arguments(["env"]);
    let pod = template.annotation("cdi.k8s.io/test", "berth.dev/test=one").pod(0);
    let ended = pods::run(&pods, &pod).await.unwrap();
    assert!(ended.log.starts_with("own\n") && ended.log.contains("\nDEVICE=one\n"), "{ended:?}");

    // A pod that stays has an address that this machine reaches, outlives its kubelet, and is ended in order.
    let stays = PodTemplate::new("stays").arguments(["print", "up", "pause"]).on_node("real").pod(0);
    pods.create(&PostParams::default(), &stays).await.unwrap();
    let pod = pods::wait(&pods, "stays-0", SOON, |pod| phase(pod) == "Running").await.unwrap();
    let address = pod.status.unwrap().pod_ip.unwrap();
    assert!(address.starts_with("198.19."), "{address}");
    node.kill(NodePart::Kubelet).unwrap();
    node.start_again(NodePart::Kubelet).unwrap();
    pods.delete("stays-0", &DeleteParams::default()).await.unwrap();
    pods::wait_gone(&pods, "stays-0", SOON).await.unwrap();

    // Whatever still runs goes with the node.
    pods.create(&PostParams::default(), &PodTemplate::new("left").on_node("real").pod(0)).await.unwrap();
    pods::wait(&pods, "left-0", SOON, |pod| phase(pod) == "Running").await.unwrap();
    assert!(!traces().is_empty(), "there is something to be removed");
    let folder = node.folder().to_owned();
    drop(node);
    assert!(!folder.exists());
    for _ in 0..100 {
        if traces().is_empty() {
            break;
        }
        // The kernel removes interfaces a moment after the last process of their namespace.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(traces(), BTreeSet::new());
}
