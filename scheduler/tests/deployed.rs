//! What `kubectl apply -k deploy` brings, on real nodes: two replicas of the program in containers, with their rights, their
//! configuration, read-only and as nobody, that bind pods which then run, and of which the second goes on where the first is
//! killed. As anybody but root this only says that it was left out.
//!
//! Different from a cluster: the image is made of the program of this build and the libraries it is linked to.

use berth_testbed::fake::PodTemplate;
use berth_testbed::{ControllerManager, Image, Node, Options, Scheduler, Testbed};
use berth_testbed::{manifests, pods};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(120);
/// As `deploy/kustomization.yaml` has it.
const IMAGE: &str = "berth.dev/scheduler:0.1.0";

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

/// True if a replica says that it acts; one that begins anew says nothing.
fn acts(replica: &Pod) -> std::io::Result<bool> {
    let address = replica.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let mut stream = TcpStream::connect((address, 10380))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: berth\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said.lines().any(|line| line == "berth_leads 1"))
}

/// The name of the replica that acts. On a busy machine one may lose its Lease, and begins anew.
async fn acting(replicas: &[Pod]) -> &str {
    let begun = Instant::now();
    loop {
        let acting: Vec<&Pod> = replicas.iter().filter(|it| acts(it).unwrap_or(false)).collect();
        if let [one] = acting[..] {
            return one.metadata.name.as_deref().expect("a name");
        }
        assert!(begun.elapsed() < SOON, "{} replicas act", acting.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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
    let objects = manifests::kustomized(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy"));
    let program = Path::new(env!("CARGO_BIN_EXE_berth-scheduler"));
    let image = Image::of_program(IMAGE, program).expect("an image");
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let node = Node::start(&testbed, name).await.expect("a node");
        node.import(&image).await.expect("the image");
        nodes.push(node);
    }
    for object in objects.expect("manifests") {
        manifests::apply(&client, &object).await.expect("it is taken");
    }
    let replicas: Api<Pod> = Api::namespaced(client.clone(), "berth-system");
    let first = ready(&client, 2).await;
    runs(&client, "first").await;

    // The one that acts is gone from one moment to the next; its place is taken by the Deployment, its work by the other.
    let now = DeleteParams::default().grace_period(0);
    replicas.delete(acting(&first).await, &now).await.expect("it is deleted");
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
