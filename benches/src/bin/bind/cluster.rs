//! The cluster that is measured in, and what runs in it.

use crate::measured::Run;
use crate::{Flags, claims};
use berth_testbed::fake::{AT_ONCE, NodeTemplate, PodTemplate, create_all};
use berth_testbed::{Component, Options, Scheduler, Testbed};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// GPUs of a node.
const GPUS: usize = 8;

/// A control plane with nodes.
pub(crate) struct Cluster {
    testbed: Testbed,
    pub(crate) client: Client,
    program: PathBuf,
    folder: tempfile::TempDir,
    nodes: usize,
    at_once: usize,
    /// Pods ask by claims.
    claims: bool,
}

/// Berth's scheduler as a process; killed when dropped.
pub(crate) struct Berth {
    child: Child,
    address: SocketAddr,
}

/// Anything that goes wrong, in words.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Cluster {
    pub(crate) async fn start(flags: &Flags) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(text)?;
        let testbed = Testbed::start(Options::new().for_load()).await.map_err(text)?;
        let mut config = testbed.admin().config().await.map_err(text)?;
        // As Berth's own.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(text)?;
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        for file in std::fs::read_dir(folder).map_err(text)? {
            let read = std::fs::read_to_string(file.map_err(text)?.path()).map_err(text)?;
            let crd: CustomResourceDefinition = serde_saphyr::from_str(&read).map_err(text)?;
            crds.create(&PostParams::default(), &crd).await.map_err(text)?;
        }
        let nodes: Api<Node> = Api::all(client.clone());
        // Where devices are handed out by a driver there is no device plugin.
        let template = NodeTemplate::new("node").gpus(if flags.claims { 0 } else { GPUS as u32 });
        create_all(&nodes, template.nodes(0..flags.nodes), AT_ONCE).await.map_err(text)?;
        if flags.claims {
            claims::publish(&client, flags.nodes).await?;
        }
        let folder = tempfile::tempdir().map_err(text)?;
        let (nodes, at_once) = (flags.nodes, flags.at_once.max(1));
        Ok(Self { testbed, client, program, folder, nodes, at_once, claims: flags.claims })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A template of pods that one run is about.
    fn template(&self, run: &str, scheduler: &str) -> PodTemplate {
        let template = PodTemplate::new(run).request("cpu", "100m").scheduler(scheduler).label("run", run);
        if self.claims { template } else { template.gpus(1) }
    }

    pub(crate) async fn create(&self, template: &PodTemplate, pods: usize) -> Result<(), String> {
        if self.claims {
            return claims::create(&self.client, template, pods).await;
        }
        create_all(&self.pods(), template.pods(0..pods), AT_ONCE).await.map_err(text).map(drop)
    }

    /// Deletes all pods and claims, and waits until the pods are gone.
    async fn clear(&self) -> Result<(), String> {
        let now = DeleteParams::default().grace_period(0);
        self.pods().delete_collection(&now, &ListParams::default()).await.map_err(text)?;
        let begun = Instant::now();
        while !self
            .pods()
            .list_metadata(&ListParams::default().limit(1))
            .await
            .map_err(text)?
            .items
            .is_empty()
        {
            if begun.elapsed() > PATIENCE {
                return Err("pods that were deleted are still there".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if self.claims { claims::clear(&self.client).await } else { Ok(()) }
    }

    /// Binds pods by bare POSTs, node by node; where they have claims, these are written first.
    pub(crate) async fn bare(&self, pods: usize) -> Result<Run, String> {
        self.create(&self.template("bare", "nobody"), pods).await?;
        let watch = self.watch("bare", pods);
        let (api, options) = (self.pods(), PostParams::default());
        let begun = Instant::now();
        let posts = (0..pods).map(|index| {
            let (api, options, name) = (&api, &options, format!("bare-{index}"));
            let claim = self.claims.then(|| claims::allocate(&self.client, index, self.nodes));
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                "target": { "apiVersion": "v1", "kind": "Node", "name": format!("node-{}", index % self.nodes) },
            });
            async move {
                if let Some(written) = claim {
                    written.await?;
                }
                let sent = api.create_subresource::<_, Value>("binding", &name, options, &binding).await;
                sent.map(drop).map_err(text)
            }
        });
        stream::iter(posts).buffer_unordered(self.at_once).try_collect::<()>().await?;
        let (first, last) = ended(watch).await?;
        self.clear().await?;
        let (span, whole) = (last - first, last - begun);
        let name = if self.claims { "bare writes" } else { "bare POSTs" };
        Ok(Run { name, pods, span, whole, cpu: Duration::ZERO, rss_kib: 0, engine: None })
    }

    /// Lets kube-scheduler bind pods.
    pub(crate) async fn kube_scheduler(&self, pods: usize) -> Result<Run, String> {
        self.create(&self.template("kube", "kube"), pods).await?;
        let watch = self.watch("kube", pods);
        let scheduler = Scheduler::new().named("kube").limits(5_000, 10_000);
        self.testbed.start_scheduler(&scheduler).await.map_err(text)?;
        let (first, last) = ended(watch).await?;
        let pid = self.testbed.pid(Component::Scheduler).ok_or("kube-scheduler has ended")?;
        let (cpu, rss_kib) = used(pid)?;
        self.testbed.stop(Component::Scheduler).await.map_err(text)?;
        self.clear().await?;
        let span = last - first;
        Ok(Run { name: "kube-scheduler", pods, span, whole: span, cpu, rss_kib, engine: None })
    }

    /// Lets Berth bind pods.
    pub(crate) async fn berth(&self, pods: usize) -> Result<Run, String> {
        self.create(&self.template("berth", "berth"), pods).await?;
        let watch = self.watch("berth", pods);
        let berth = self.start_berth()?;
        let (first, last) = ended(watch).await?;
        let (cpu, rss_kib) = used(berth.child.id())?;
        let engine = Some(berth.step_seconds("decide")?);
        drop(berth);
        self.clear().await?;
        let span = last - first;
        Ok(Run { name: "Berth", pods, span, whole: span, cpu, rss_kib, engine })
    }

    /// Lets Berth bind a gang; from its last pod that was created to its last bind.
    pub(crate) async fn gang(&self, pods: usize) -> Result<Duration, String> {
        let berth = self.start_berth()?;
        berth.ready().await?;
        let watch = self.watch("gang", pods);
        let template = self.template("gang", "berth").label("berth.dev/workload", "gang");
        self.create(&template.label("berth.dev/min-members", &pods.to_string()), pods).await?;
        let created = Instant::now();
        let (_, last) = ended(watch).await?;
        drop(berth);
        self.clear().await?;
        Ok(last.saturating_duration_since(created))
    }

    pub(crate) fn start_berth(&self) -> Result<Berth, String> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(text)?;
        let config = json!({
            "kubeconfig": self.testbed.admin().kubeconfig(),
            "listen": address.to_string(),
            "lease": { "enabled": false },
            "bind": { "concurrency": self.at_once },
        });
        let (file, log) = (self.folder.path().join("berth.yaml"), self.folder.path().join("berth.log"));
        std::fs::write(&file, config.to_string()).map_err(text)?;
        let log = std::fs::File::create(log).map_err(text)?;
        let mut command = Command::new(&self.program);
        command.arg0(crate::BERTH);
        let child =
            command.arg("--config").arg(file).stdout(Stdio::null()).stderr(log).spawn().map_err(text)?;
        Ok(Berth { child, address })
    }

    /// Notes when the first and the last of the pods of a run is seen on a node.
    pub(crate) fn watch(&self, run: &'static str, pods: usize) -> Watch {
        let config = watcher::Config::default().labels(&format!("run={run}")).fields("spec.nodeName!=");
        let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(self.client.clone(), "default");
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, config));
            let (mut seen, mut first) = (HashSet::new(), None);
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
                let now = Instant::now();
                let first = *first.get_or_insert(now);
                seen.extend(pod.metadata.name);
                if seen.len() == pods {
                    return (first, now);
                }
            }
            unreachable!("a watch goes on for ever")
        })
    }
}

/// Ends with the times of the first bind and of the last.
pub(crate) type Watch = JoinHandle<(Instant, Instant)>;

pub(crate) async fn ended(watch: Watch) -> Result<(Instant, Instant), String> {
    let done = tokio::time::timeout(PATIENCE, watch).await;
    done.map_err(|_| format!("not all pods are bound after {} s", PATIENCE.as_secs()))?.map_err(text)
}

/// CPU time and the most memory of a process.
pub(crate) fn used(pid: u32) -> Result<(Duration, u64), String> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(text);
    let stat = read("stat")?;
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // User and system time, in hundredths of a second on every Linux.
    let cpu = Duration::from_millis((ticks(11) + ticks(12)) * 10);
    let status = read("status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    Ok((cpu, kib.unwrap_or(0)))
}

impl Berth {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn ready(&self) -> Result<(), String> {
        let begun = Instant::now();
        while self.get("/readyz").is_none_or(|said| said.split(' ').nth(1) != Some("200")) {
            if begun.elapsed() > PATIENCE {
                return Err("Berth does not get ready".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// How long a step of its rounds took in all.
    fn step_seconds(&self, step: &str) -> Result<Duration, String> {
        let said = self.get("/metrics").ok_or("Berth serves no metrics")?;
        let name = format!("berth_step_seconds_sum{{step=\"{step}\"}} ");
        let line = said.lines().find_map(|line| line.strip_prefix(&name));
        let seconds: f64 = line.and_then(|line| line.parse().ok()).ok_or("Berth has not decided")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: berth\r\n\r\n").ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
