//! Starts everything, and ends it.

use crate::admit;
use crate::config::Config;
use crate::decide::{Decider, Limits, Round};
use crate::gpu_time::GpuTime;
use crate::inputs::Inputs;
use crate::live;
use crate::metrics::{Known, Metrics};
use crate::record::Record;
use crate::serve::{Served, routes};
use anyhow::Context;
use berth_cluster::client::{self, Clients};
use berth_cluster::lease::{self, Lease};
use berth_cluster::watch::{self as watches, Watches};
use berth_cluster::{Act, Mirror, metrics as requests};
use berth_engine::Engine;
use berth_model::Budget;
use prometheus::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long binds that are under way may take to be answered when the process ends.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// Questions that wait.
const ASKS_MAX: usize = 16;

/// A scheduler that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it is served.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    give_back: watch::Sender<bool>,
    lease: Lease,
    holder: Option<JoinHandle<()>>,
    act: Arc<Act>,
    decided: oneshot::Receiver<()>,
    server: JoinHandle<()>,
    heard: Option<JoinHandle<()>>,
    admitting: Option<JoinHandle<()>>,
}

/// Starts a scheduler in the runtime in which this is called, under a name unlike any other.
///
/// # Errors
/// If the API server cannot be reached, the address is taken, or the event log cannot be written.
pub async fn start(config: &Config, identity: String) -> anyhow::Result<Running> {
    let kube = client::config(config.kubeconfig.as_deref()).await?;
    let clients = Clients::new(&kube)?;
    let registry = Registry::new();
    let counted = requests::Metrics::new(&registry)?;
    let metrics = Metrics::new(&registry)?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;

    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (ready, is_ready) = watch::channel(false);
    let alive = Arc::new(AtomicU64::new(0));
    let event_log = config.event_log.path.clone();
    let served = Served { registry, asks, ready: is_ready.clone(), alive: alive.clone(), event_log };
    let (address, server) = serve(config.listen, served).await?;

    let (stop, stopped) = watch::channel(false);
    let (give_back, given_back) = watch::channel(false);
    let (lease, holder) = if config.lease.enabled {
        let settings = config.lease(identity.clone());
        let (lease, holder) = lease::hold(clients.bind.clone(), settings, is_ready, given_back);
        (lease, Some(holder))
    } else {
        (Lease::always(), None)
    };
    let watches = watches::start(clients.watch.clone(), counted.clone());
    let Watches { batches, kinds, claims } = watches.await.context("asking the API server what it serves")?;
    let (act, outcomes) = Act::start(&clients, &lease, claims, config.act(identity), &counted);
    let act = Arc::new(act);
    let admitting = admit::start(&config.admission, config.scheduler_names.clone()).await?;
    let (live, heard) = live::start(&config.telemetry, &clients, lease.clone()).await?.unzip();
    let decider = Decider {
        mirror: Mirror::new(config.mirror()),
        engine: Engine::new(config.engine()),
        act: act.clone(),
        lease: lease.clone(),
        limits: limits(config),
        record: record(config)?,
        metrics,
        known: Known::default(),
        gpu_time: GpuTime::default(),
        live,
        lists_missing: kinds,
        ready,
        alive,
        round: Round::default(),
    };
    let runtime = Handle::current();
    let inputs = Inputs { runtime, outcomes, batches, asks: asked, lease: lease.clone(), stop: stopped };
    let (done, decided) = oneshot::channel();
    std::thread::Builder::new().name("decide".to_owned()).spawn(move || {
        decider.run(inputs);
        let _ = done.send(());
    })?;
    Ok(Running { address, stop, give_back, lease, holder, act, decided, server, heard, admitting })
}

async fn serve(listen: SocketAddr, served: Served) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen: {listen}"))?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes(served)).await {
            tracing::error!(%error, "nothing is served any more");
        }
    });
    Ok((address, server))
}

fn limits(config: &Config) -> Limits {
    Limits {
        budget: Budget { steps: config.decide.steps_max },
        binds_max: config.decide.binds_max as usize,
        status_every: Duration::from_secs(config.write.status_every_seconds.into()),
        adopting: Duration::from_secs(config.evict.none_for_seconds.into()),
    }
}

fn record(config: &Config) -> anyhow::Result<Option<Record>> {
    let Some(path) = &config.event_log.path else { return Ok(None) };
    let record = Record::create(path, config.event_log.mib_max, &config.engine());
    record.map(Some).with_context(|| format!("eventLog.path: {} cannot be written", path.display()))
}

impl Running {
    /// Returns when the lease is lost: then nothing may be done any more.
    pub async fn lost(&mut self) {
        self.lease.lost().await;
    }

    /// Ends in order: decides no more, waits for the binds under way, gives the lease back.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.decided.await;
        if !self.act.settle(SETTLE_WITHIN).await {
            tracing::warn!(binds = self.act.binds_waiting(), "ends with binds that were not answered");
        }
        self.give_back.send_replace(true);
        if let Some(holder) = self.holder {
            let _ = holder.await;
        }
        self.server.abort();
        self.heard.iter().chain(&self.admitting).for_each(JoinHandle::abort);
    }
}
