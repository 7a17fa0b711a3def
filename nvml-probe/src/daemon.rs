//! `nvml-probe run`: the agent's flags, its log, and its end.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use berth_api::names::driver;
use clap::Args;
use nvml_probe::{
    Config,
    agent::{
        APPLICATION_XIDS, Kubernetes, PluginSettings, SamplerSettings, SchedulerSettings, Settings, start,
    },
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The agent's flags.
#[derive(Args)]
pub(crate) struct Run {
    /// The name of this node in the API.
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// Milliseconds between two samples, 100 to 10000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    interval_millis: u64,
    /// Where /metrics, /healthz and /readyz are served: a loopback address, or the pod's.
    #[arg(long, env = "NVML_PROBE_LISTEN", default_value = "127.0.0.1:9402")]
    listen: SocketAddr,
    /// The agent's own folder, in which it keeps faults of devices over a restart.
    #[arg(long, default_value = "/var/lib/kubelet/plugins/gpu.berth.dev")]
    state: PathBuf,
    /// XIDs that say nothing about a device's health (S18), separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = APPLICATION_XIDS)]
    ignored_xids: Vec<u64>,
    /// A kubeconfig file; without one as kubectl would, else as the pod's service account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Publish the devices and hand them out as the DRA driver `gpu.berth.dev`: on nodes where NVIDIA's device plugin does not
    /// run. Needs Kubernetes 1.34, for parts of devices 1.36.
    #[arg(long, env = "NVML_PROBE_DRA")]
    dra: bool,
    /// The kubelet's folder, here and for the kubelet.
    #[arg(long, default_value = "/var/lib/kubelet")]
    kubelet: PathBuf,
    /// The kubelet's folder as the kubelet sees it, if that is another path.
    #[arg(long)]
    kubelet_sees: Option<PathBuf>,
    /// The folder of CDI files that the container runtime reads.
    #[arg(long, default_value = "/var/run/cdi")]
    cdi: PathBuf,
    /// The folder of device files, here and for the container runtime.
    #[arg(long, default_value = "/dev")]
    dev: PathBuf,
    /// Do without an API server: only metrics.
    #[arg(long, conflicts_with_all = ["kubeconfig", "dra"])]
    standalone: bool,
    /// The scheduler to which live memory is streamed, as `host:port`; each address of the host is a replica.
    #[arg(long, env = "BERTH_SCHEDULER", requires = "scheduler_ca")]
    scheduler: Option<String>,
    /// The authority that signed the scheduler's certificate, as PEM.
    #[arg(long, env = "BERTH_SCHEDULER_CA")]
    scheduler_ca: Option<PathBuf>,
    /// The token of this agent's ServiceAccount that was made for the audience `berth-scheduler`.
    #[arg(long, env = "BERTH_SCHEDULER_TOKEN", default_value = "/var/run/secrets/berth.dev/scheduler/token")]
    scheduler_token: PathBuf,
    /// Log as JSON.
    #[arg(long)]
    log_json: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(run: Run, probe: Config, proc_root: PathBuf) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if run.log_json {
        log.json().init()
    } else {
        log.init()
    }
    if run.node_name.is_empty() {
        bail!("--node-name: is empty, allowed: the node's name in the API");
    }
    std::fs::create_dir_all(&run.state).with_context(|| format!("--state: {}", run.state.display()))?;
    let settings = run.settings(probe, proc_root);
    // Two threads: one may be held by something slow, and the agent stays small.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let running = start(settings).await?;
        tracing::info!(address = %running.address, "serving");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.stop().await;
        Ok(())
    })
}

impl Run {
    fn settings(self, probe: Config, proc_root: PathBuf) -> Settings {
        let own = |kubelet: &Path| kubelet.join("plugins").join(driver::NAME);
        let plugin = self.dra.then(|| PluginSettings {
            registry: self.kubelet.join("plugins_registry"),
            folder: own(&self.kubelet),
            folder_of_kubelet: own(self.kubelet_sees.as_ref().unwrap_or(&self.kubelet)),
            cdi: self.cdi,
            dev: self.dev,
        });
        let (ca, token) = (self.scheduler_ca, self.scheduler_token);
        Settings {
            scheduler: self.scheduler.map(|address| SchedulerSettings { address, ca, token }),
            node: self.node_name,
            interval: Duration::from_millis(self.interval_millis),
            listen: self.listen,
            sampler: SamplerSettings {
                probe,
                proc_root,
                faults: Some(self.state.join("faults.json")),
                ignored_xids: self.ignored_xids,
            },
            kubernetes: (!self.standalone).then_some(Kubernetes { kubeconfig: self.kubeconfig, plugin }),
        }
    }
}
