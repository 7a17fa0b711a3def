//! A real node: pods run on it, and all of it goes. As anybody but root these tests only say that they were left out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// What a node leaves behind outside of its namespaces: the folder, control groups and mounts named after it, processes.
fn traces(folder: &Path) -> Vec<String> {
    let listed =
        |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|it| it.path());
    let mut found: Vec<PathBuf> = listed(Path::new("/sys/fs/cgroup")).collect();
    found.extend(found.clone().iter().flat_map(|group| listed(group)));
    found.extend(listed(folder.parent().unwrap()));
    let lines = listed(Path::new("/proc")).filter_map(|process| fs::read(process.join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    let all = found.iter().map(|path| path.display().to_string()).chain(lines);
    all.chain(mounts.lines().map(str::to_owned)).filter(|text| text.contains(name)).collect()
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
    assert_eq!(object.status.unwrap().node_info.unwrap().container_runtime_version, "containerd://2.4.2");

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

    // An image of our own, and a file of this machine where any node has it.
    fs::write(node.folder().join("cdi/note"), "found\n").unwrap();
    let image = Image::new("berth.dev/test/own:1").file("/bin/own", &Program::Box.path().await.unwrap());
    node.import(&image.entrypoint(["/bin/own", "print", "own"])).await.unwrap();
    let template = PodTemplate::new("own").image("berth.dev/test/own:1").on_node("real");
    let mut pod = template.arguments(["file", "/mnt/note"]).pod(0);
    let spec = pod.spec.as_mut().unwrap();
    spec.volumes =
        Some(serde_json::from_value(json!([{"name": "cdi", "hostPath": {"path": "/run/cdi"}}])).unwrap());
    let mounts = json!([{"name": "cdi", "mountPath": "/mnt"}]);
    spec.containers[0].volume_mounts = Some(serde_json::from_value(mounts).unwrap());
    assert_eq!(pods::run(&pods, &pod).await.unwrap().log, "own\nfound\n");

    // A pod that stays has an address that this machine reaches, outlives its kubelet, and is ended in order.
    let listens = ["forward", "tcp:0.0.0.0:8000", "unix:/nowhere"];
    let stays = PodTemplate::new("stays").arguments(listens).on_node("real").pod(0);
    pods.create(&PostParams::default(), &stays).await.unwrap();
    let pod = pods::wait(&pods, "stays-0", SOON, |pod| phase(pod) == "Running").await.unwrap();
    let address = pod.status.unwrap().pod_ip.unwrap();
    let begun = Instant::now();
    while let Err(error) = TcpStream::connect(format!("{address}:8000")) {
        assert!(begun.elapsed() < SOON, "{address}: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.kill(NodePart::Kubelet).unwrap();
    node.start_again(NodePart::Kubelet).unwrap();
    pods.delete("stays-0", &DeleteParams::default()).await.unwrap();
    pods::wait_gone(&pods, "stays-0", SOON).await.unwrap();

    // Whatever still runs goes with the node.
    pods.create(&PostParams::default(), &PodTemplate::new("left").on_node("real").pod(0)).await.unwrap();
    pods::wait(&pods, "left-0", SOON, |pod| phase(pod) == "Running").await.unwrap();
    let folder = node.folder().to_owned();
    let interface = format!("/sys/class/net/berth-test-{}", node.address().split('.').nth(2).unwrap());
    assert!(traces(&folder).len() > 5 && Path::new(&interface).exists(), "there is something to be removed");
    drop(node);
    assert_eq!(traces(&folder), Vec::<String>::new());
    // The kernel removes interfaces a moment after the last process of their namespace.
    let begun = Instant::now();
    while Path::new(&interface).exists() {
        assert!(begun.elapsed() < SOON, "{interface} is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_killed_process_leaves_nothing_of_its_node() {
    if !root() {
        return;
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_berth-testbed"))
        .args(["up", "--no-controllers", "--real-node", "real"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("The node real is in ")).unwrap();
    let folder = PathBuf::from(line.split(&[' ', ';']).nth(5).unwrap());
    assert!(folder.join("kubelet").is_dir() && traces(&folder).len() > 5, "{:?}", traces(&folder));
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while !traces(&folder).is_empty() {
        assert!(begun.elapsed() < SOON, "left: {:?}", traces(&folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}
