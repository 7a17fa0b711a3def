//! The agent's parts, started and ended together.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use anyhow::Context;
use kube::{Client, Config, config::KubeConfigOptions};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::Instant};

use crate::agent::{
    NodeState, PluginSettings, PodIndex, Sampler, SamplerSettings, SchedulerSettings, limits, plugin,
    serve::{Served, routes},
    slice, stream, watch as pods,
};

/// After the kubelet could not be served.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name in the API.
    pub node: String,
    /// The time between two samples.
    pub interval: Duration,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
    /// What is read.
    pub sampler: SamplerSettings,
    /// The API server; none to do without one, which leaves metrics alone.
    pub kubernetes: Option<Kubernetes>,
    /// The scheduler to which live memory is streamed; none to stream nothing.
    pub scheduler: Option<SchedulerSettings>,
}

/// The way to the API server.
#[derive(Clone, Debug, Default)]
pub struct Kubernetes {
    /// A kubeconfig file; none: as kubectl would, else as the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the devices are published, and handed out when the kubelet asks: not where NVIDIA's device plugin does that.
    pub plugin: Option<PluginSettings>,
}

/// An agent that runs, until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where metrics and health are served.
    pub address: SocketAddr,
    /// What is known.
    pub state: watch::Receiver<Arc<NodeState>>,
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    sampler: Thread,
}

/// Starts an agent in the runtime in which this is called.
///
/// # Errors
/// If the address is taken, or it is not clear how to reach the API server.
pub async fn start(settings: Settings) -> anyhow::Result<Running> {
    let mut tasks = JoinSet::new();
    let (state_out, state) = watch::channel(Arc::new(NodeState::starting()));
    let (index_out, index) = watch::channel(Arc::new(PodIndex::default()));
    let last_tick = Arc::new(Mutex::new(Instant::now()));

    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("listen: {}", settings.listen))?;
    let address = listener.local_addr()?;
    let (serving_out, serving) = watch::channel(false);
    let has_plugin = settings.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.plugin.is_some());
    let served = Served {
        node: settings.node.as_str().into(),
        state: state.clone(),
        last_tick: Arc::clone(&last_tick),
        interval: settings.interval,
        plugin: has_plugin.then_some(serving),
    };
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, routes(served)).await {
            tracing::error!(%error, "nothing is served any more");
        }
    });
    let node = settings.node;
    if let Some(kubernetes) = settings.kubernetes {
        let client = kubernetes.client().await?;
        tasks.spawn(pods::pods(client.clone(), node.clone(), index_out));
        tasks.spawn(limits::state(client.clone(), node.clone(), state.clone()));
        if let Some(settings) = kubernetes.plugin {
            tasks.spawn(slice::publish(client.clone(), node.clone(), state.clone()));
            tasks.spawn(hand_out(settings, client, node.clone(), state.clone(), serving_out));
        }
    }

    if let Some(scheduler) = settings.scheduler {
        tasks.spawn(stream::run(scheduler, node, state.clone()));
    }

    let stop = Arc::new(AtomicBool::new(false));
    let ticking =
        Ticking { interval: settings.interval, last_tick, index, out: state_out, stop: stop.clone() };
    let sampler = Sampler::new(settings.sampler);
    let sampler =
        std::thread::Builder::new().name("sample".to_owned()).spawn(move || ticking.run(sampler))?;
    Ok(Running { address, state, tasks, stop, sampler: sampler.thread().clone() })
}

/// Serves the kubelet; what cannot be opened is tried again.
async fn hand_out(
    settings: PluginSettings,
    client: Client,
    node: String,
    mut state: watch::Receiver<Arc<NodeState>>,
    serving: watch::Sender<bool>,
) {
    // Before the first sample no device is known.
    if state.wait_for(|state| state.tick > 0).await.is_err() {
        return;
    }
    loop {
        let ended =
            plugin::run(settings.clone(), client.clone(), node.clone(), state.clone(), serving.clone()).await;
        serving.send_replace(false);
        if let Err(error) = ended {
            tracing::error!(error = format!("{error:#}"), "the kubelet is not served");
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// What the sampler's thread works with.
struct Ticking {
    interval: Duration,
    last_tick: Arc<Mutex<Instant>>,
    index: watch::Receiver<Arc<PodIndex>>,
    out: watch::Sender<Arc<NodeState>>,
    stop: Arc<AtomicBool>,
}

impl Ticking {
    fn run(self, mut sampler: Sampler) {
        let mut next = Instant::now();
        let mut was_up = None;
        while !self.stop.load(Ordering::Relaxed) {
            let index = Arc::clone(&self.index.borrow());
            let state = sampler.tick(&index);
            say(&state, &mut was_up);
            self.out.send_replace(Arc::new(state));
            if let Ok(mut last) = self.last_tick.lock() {
                *last = Instant::now();
            }
            // After a call that took long, the ticks that were missed are not made up for.
            next = (next + self.interval).max(Instant::now());
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// Says when NVML comes and goes.
fn say(state: &NodeState, was_up: &mut Option<bool>) {
    use crate::agent::DriverState::{Down, Starting, Up};
    let is_up = matches!(state.driver, Up(_));
    if was_up.replace(is_up) == Some(is_up) {
        return;
    }
    match &state.driver {
        Starting => {}
        Up(driver) => tracing::info!(driver = %driver.version, devices = state.devices.len(), "NVML works"),
        Down(down) => tracing::warn!(%down, "there is no NVML"),
    }
}

impl Kubernetes {
    async fn client(&self) -> anyhow::Result<Client> {
        let config = match &self.kubeconfig {
            Some(path) => {
                let file =
                    kube::config::Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => Config::infer().await?,
        };
        Ok(Client::try_from(config)?)
    }
}

impl Running {
    /// Ends in order.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A driver that hangs in a call must not keep the agent from ending: the thread is not waited for.
        self.sampler.unpark();
    }
}
