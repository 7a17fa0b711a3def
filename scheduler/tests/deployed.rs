//! What `kubectl apply -k deploy` brings, on real nodes: two replicas of the program in containers, with their rights, their
//! configuration, read-only and as nobody, that bind pods which then run, and of which the second goes on where the first is
//! killed. As anybody but root this only says that it was left out.
//!
//! Different from a cluster: the image is made of the program of this build and the libraries it is linked to.

use berth_testbed::fake::PodTemplate;
use berth_testbed::pods;
use berth_testbed::{ControllerManager, Image, Node, Options, Scheduler, Testbed};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch};
use kube::api::{PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(120);
const IMAGE: &str = "berth.dev/scheduler";

/// A file under `deploy`.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The program and what it is linked to, as an image.
fn image(tag: &str) -> Image {
    let program = env!("CARGO_BIN_EXE_berth-scheduler");
    let linked = Command::new("ldd").arg(program).output().expect("ldd, which comes with glibc");
    let linked = String::from_utf8(linked.stdout).expect("text");
    let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
    let image = Image::new(&format!("{IMAGE}:{tag}")).file("/berth-scheduler", Path::new(program));
    let image = paths.fold(image, |image, path| image.file(path, &PathBuf::from(path)));
    image.entrypoint(["/berth-scheduler"])
}

/// All that `deploy/kustomization.yaml` brings, as `kubectl apply -k` sends it but for the hash in the name of the
/// configuration; and the tag of the image.
fn manifests() -> (Vec<Value>, String) {
    let all: Value = serde_saphyr::from_str(&file("kustomization.yaml")).expect("YAML");
    let files = all["resources"].as_array().expect("resources").iter().map(|name| name.as_str().unwrap());
    let texts: Vec<String> = files.map(file).collect();
    let read = |text: &str| serde_saphyr::from_str(text).expect("YAML");
    let mut objects: Vec<Value> = texts.iter().flat_map(|text| text.split("\n---\n")).map(read).collect();
    let made = &all["configMapGenerator"][0];
    let name = made["files"][0].as_str().expect("a file");
    let configuration = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": made["name"], "namespace": made["namespace"] },
        "data": { name: file(name) },
    });
    let first = objects.iter().position(|object| object["kind"] == "Deployment").expect("a Deployment");
    assert_eq!(all["images"][0]["name"], IMAGE);
    let tag = all["images"][0]["newTag"].as_str().expect("a tag").to_owned();
    let container = &mut objects[first]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], IMAGE);
    container["image"] = format!("{IMAGE}:{tag}").into();
    objects.insert(first, configuration);
    (objects, tag)
}

async fn apply(client: &Client, object: &Value) {
    let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    let types = object.types.clone().expect("a kind");
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().expect("a name");
    let strict =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
    api.patch(&name, &strict, &Patch::Apply(&object)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
}

/// Waits until so many replicas are ready; returns them.
async fn ready(client: &Client, count: usize) -> Vec<Pod> {
    let replicas: Api<Pod> = Api::namespaced(client.clone(), "berth-system");
    let begun = Instant::now();
    loop {
        let found = replicas.list(&ListParams::default()).await.expect("a list").items;
        let is_ready = |pod: &&Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            pod.metadata.deletion_timestamp.is_none()
                && conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
        };
        let so: Vec<Pod> = found.iter().filter(is_ready).cloned().collect();
        if so.len() == count {
            return so;
        }
        if begun.elapsed() > SOON {
            for pod in &found {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let said = replicas.logs(name, &kube::api::LogParams::default()).await;
                eprintln!("{name}: {:?}\n{said:?}", pod.status);
            }
            let events: Api<Event> = Api::namespaced(client.clone(), "berth-system");
            let events = events.list(&ListParams::default()).await.expect("a list").items;
            let said: Vec<_> = events.into_iter().filter_map(|event| event.message).collect();
            panic!("{} of {count} replicas are ready: {said:#?}", so.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// True if a replica says that it acts.
fn acts(replica: &Pod) -> bool {
    let address = replica.status.as_ref().and_then(|status| status.pod_ip.as_deref()).expect("an address");
    let mut stream = TcpStream::connect((address, 10380)).expect("it listens");
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: berth\r\n\r\n").expect("it is asked");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    said.lines().any(|line| line == "berth_leads 1")
}

/// Runs a pod that Berth is to bind; it says something and ends.
async fn runs(client: &Client, name: &str) {
    let pod = PodTemplate::new(name).arguments(["print", "bound"]).tolerate_all().scheduler("berth").pod(0);
    let ended = pods::run(&Api::default_namespaced(client.clone()), &pod).await.expect("it runs");
    assert!(ended.succeeded && ended.log == "bound\n", "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_runs_on_real_nodes_and_survives_a_replica() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a real node needs root");
        return;
    }
    let options = Options::new().controller_manager(ControllerManager::new()).scheduler(Scheduler::new());
    let testbed = Testbed::start(options).await.expect("a control plane");
    let client = testbed.client().await.expect("a client");
    let (objects, tag) = manifests();
    let image = image(&tag);
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let node = Node::start(&testbed, name).await.expect("a node");
        node.import(&image).await.expect("the image");
        nodes.push(node);
    }
    for object in &objects {
        apply(&client, object).await;
    }
    let replicas: Api<Pod> = Api::namespaced(client.clone(), "berth-system");
    let first = ready(&client, 2).await;
    runs(&client, "first").await;

    // The one that acts is gone from one moment to the next; its place is taken by the Deployment, its work by the other.
    let acting: Vec<&Pod> = first.iter().filter(|replica| acts(replica)).collect();
    let [acting] = acting[..] else { panic!("{} replicas act", acting.len()) };
    let now = DeleteParams::default().grace_period(0);
    replicas.delete(acting.metadata.name.as_deref().expect("a name"), &now).await.expect("it is deleted");
    runs(&client, "second").await;
    ready(&client, 2).await;

    // A third pod that asks for more than there is waits with a reason, on the pod itself.
    let big = PodTemplate::new("big").request("cpu", "100000").scheduler("berth").pod(0);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &big).await.expect("a pod");
    let told = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|it| it.type_ == "PodScheduled" && it.message.is_some())
    };
    pods::wait(&pods, "big-0", SOON, told).await.expect("a reason");
}
