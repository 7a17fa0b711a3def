//! A cluster with one real node, a scripted driver, and the agent's program with the rights of `deploy/agent`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use berth_testbed::{
    ControllerManager, Node, NodePart, Options, Scheduler, Testbed, fake::PodTemplate, manifests, pods,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client,
    api::{Api, DeleteParams, PostParams},
};
use nvml_fake::script::Script;
use serde_json::json;

use crate::common::{Machine, get, sound, xid};

pub(crate) const SOON: Duration = Duration::from_secs(90);

pub(crate) struct World {
    agent: Option<Child>,
    port: u16,
    kubeconfig: PathBuf,
    pub(crate) script: Script,
    machine: Machine,
    pub(crate) node: Node,
    pub(crate) client: Client,
    hears: Option<Hears>,
    pub(crate) testbed: Testbed,
}

/// The scheduler that hears the agent: its port, and by whom its certificate is signed.
pub(crate) struct Hears {
    pub(crate) port: u16,
    pub(crate) ca: PathBuf,
}

pub(crate) fn runs(pod: &Pod) -> bool {
    pods::phase(pod) == "Running"
}

/// Waits until there is something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < SOON, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl World {
    /// With Kubernetes' own scheduler.
    pub(crate) async fn start() -> Self {
        let options = Options::new().controller_manager(ControllerManager::new()).scheduler(Scheduler::new());
        let testbed = Testbed::start(options).await.unwrap();
        let client = testbed.client().await.unwrap();
        Self::begin(testbed, client, None).await
    }

    /// In a control plane; with the scheduler that hears the agent.
    pub(crate) async fn begin(testbed: Testbed, client: Client, hears: Option<Hears>) -> Self {
        let node = Node::start(&testbed, "gpu-0").await.unwrap();
        let kubeconfig = rights(&testbed, &client).await;
        let mut script = sound(1);
        script.devices[0].recovery_action = Some(0);
        let machine = Machine::new(script.clone());
        device_files(&node);
        // A free port, which nobody takes in the moment until the agent has it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut world = Self { agent: None, port, kubeconfig, script, machine, node, client, hears, testbed };
        world.start_agent();
        world.until_ready().await;
        world
    }

    pub(crate) fn start_agent(&mut self) {
        let folder = self.node.folder();
        let log = File::options().append(true).create(true).open(folder.join("logs/agent.log")).unwrap();
        let mut agent = Command::new(env!("CARGO_BIN_EXE_nvml-probe"));
        agent
            .arg("--library")
            .arg(self.machine.library())
            .args(["run", "--dra", "--node-name", "gpu-0", "--interval-millis", "200"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--kubelet")
            .arg(folder.join("kubelet"))
            .args(["--kubelet-sees", "/var/lib/kubelet"])
            .arg("--cdi")
            .arg(folder.join("cdi"))
            .arg("--dev")
            .arg(folder.join("dev"))
            .arg("--state")
            .arg(folder.join("agent"));
        if let Some(Hears { port, ca }) = &self.hears {
            agent.args(["--scheduler", &format!("localhost:{port}")]).arg("--scheduler-ca").arg(ca);
            agent.arg("--scheduler-token").arg(self.token());
        }
        self.agent = Some(agent.stderr(log).spawn().unwrap());
    }

    /// The token that the agent shows to the scheduler.
    pub(crate) fn token(&self) -> PathBuf {
        self.machine.folder().join("token")
    }

    pub(crate) fn kill_agent(&mut self) {
        let mut child = self.agent.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the kubelet knows the driver.
    pub(crate) async fn until_ready(&self) {
        eventually("the agent is ready", async || self.get("/readyz").filter(|(status, _)| *status == 200))
            .await;
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        get(("127.0.0.1", self.port), path)
    }

    pub(crate) fn figures(&self) -> String {
        self.get("/metrics").map_or_else(String::new, |(_, body)| body)
    }

    pub(crate) fn set(&self) {
        self.machine.set(&self.script);
    }

    /// The driver tells of an XID, and which action the device asks for.
    pub(crate) fn xid(&mut self, number: u64, action: Option<u32>) {
        self.script.events.push(xid(0, number));
        self.script.devices[0].recovery_action = action;
        self.set();
    }

    pub(crate) fn recovered(&mut self) {
        self.script.devices[0].recovery_action = Some(0);
        self.set();
    }

    pub(crate) fn cdi_files(&self) -> Vec<String> {
        let found = fs::read_dir(self.node.folder().join("cdi")).unwrap();
        found.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// A process of a pod's only container, as this machine numbers it.
    pub(crate) fn process_of(&self, pod: &Pod) -> u32 {
        let statuses = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
        let id = statuses[0].container_id.as_deref().unwrap().trim_start_matches("containerd://");
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_it =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id));
        processes.into_iter().find(of_it).unwrap()
    }

    /// Makes a pod with a claim template of its own, that says what it sees and stays.
    pub(crate) async fn add_pod(&self, name: &str, memory: &str, limit: &str) {
        self.add_pod_for("default-scheduler", name, memory, limit).await;
    }

    /// The same, for another scheduler.
    pub(crate) async fn add_pod_for(&self, scheduler: &str, name: &str, memory: &str, limit: &str) {
        let template = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"spec": {"devices": {
                "requests": [{"name": "gpu", "exactly": {
                    "deviceClassName": "gpu.berth.dev", "capacity": {"requests": {"memory": memory}},
                }}],
                "config": [{"opaque": {"driver": "gpu.berth.dev", "parameters": {
                    "apiVersion": "gpu.berth.dev/v1alpha1", "kind": "DeviceMemory", "limit": limit,
                }}}],
            }}},
        });
        manifests::apply(&self.client, &serde_json::from_value(template).unwrap()).await.unwrap();
        let says = [
            "env",
            "file",
            "/dev/nvidia0",
            "file",
            "/dev/nvidiactl",
            "print",
            "the device is there",
            "pause",
        ];
        let template = PodTemplate::new(name).arguments(says).tolerate_all().scheduler(scheduler);
        let mut pod = template.pod(0);
        pod.metadata.name = Some(name.to_owned());
        let spec = pod.spec.as_mut().unwrap();
        let claims = json!([{"name": "gpu", "resourceClaimTemplateName": name}]);
        spec.resource_claims = Some(serde_json::from_value(claims).unwrap());
        let resources = spec.containers[0].resources.get_or_insert_default();
        resources.claims = Some(serde_json::from_value(json!([{"name": "gpu"}])).unwrap());
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// Deletes a pod, and waits until it is gone.
    pub(crate) async fn end_pod(&self, name: &str) {
        let soon = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
        self.pods().delete(name, &soon).await.unwrap();
        pods::wait_gone(&self.pods(), name, SOON).await.unwrap();
    }

    pub(crate) async fn phase(&self, name: &str) -> String {
        pods::phase(&self.pods().get(name).await.unwrap()).to_owned()
    }

    pub(crate) async fn until_runs(&self, name: &str) {
        pods::wait(&self.pods(), name, SOON, runs).await.unwrap();
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.node.folder().join("logs/agent.log")).unwrap_or_default();
            eprintln!("the agent's log:\n{log}");
            let log = fs::read_to_string(self.node.log(NodePart::Kubelet)).unwrap_or_default();
            let about_it =
                log.lines().filter(|line| line.contains("gpu.berth.dev") || line.contains("plugin"));
            eprintln!("the kubelet's:\n{}", about_it.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The device's files: nothing is behind them, but containers may open them only if they are given them.
fn device_files(node: &Node) {
    let folder = node.folder().join("dev");
    fs::create_dir(&folder).unwrap();
    for name in ["nvidia0", "nvidiactl"] {
        let made = Command::new("mknod").arg(folder.join(name)).args(["c", "1", "3"]).status().unwrap();
        assert!(made.success());
    }
}

/// Makes what `deploy/agent` says, the DaemonSet apart, and returns the way in that it gives to an agent.
async fn rights(testbed: &Testbed, client: &Client) -> PathBuf {
    install(client, ["agent/namespace.yaml", "agent/rbac.yaml", "agent/deviceclass.yaml"]).await;
    let access = testbed.service_account_on("berth-agent", "nvml-probe", "gpu-0").await.unwrap();
    access.kubeconfig().to_owned()
}

/// Makes what files of `deploy` say.
pub(crate) async fn install(client: &Client, files: impl IntoIterator<Item = &str>) {
    for file in files {
        let path = PathBuf::from(format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR")));
        for object in manifests::objects(&path).unwrap() {
            manifests::apply(client, &object).await.unwrap();
        }
    }
}
