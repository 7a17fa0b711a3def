//! Live memory and health, to the scheduler that leads.
//!
//! The latest state is looked at when there is room to send, so a scheduler that is slow, or gone, costs the agent nothing:
//! it hears of fewer states, and of each what is different from the last it heard of.
//!
//! The scheduler is a host name with as many addresses as it has replicas (a headless Service). They are asked one after the
//! other; those that do not lead say so. When none would have it, there is a pause that doubles from [`PAUSE_MIN`] to
//! [`PAUSE_MAX`], of which each node waits another part, so that ten thousand do not come at once.
//!
//! CA and token are read anew for each connection: both are replaced now and then.

mod encode;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use self::{
    encode::Encoder,
    wire::{Farewell, telemetry_client::TelemetryClient},
};
use crate::agent::NodeState;

/// The messages, as `scheduler/api/proto/telemetry.proto` describes them.
#[allow(missing_docs, reason = "the description says it")]
pub mod wire {
    tonic::include_proto!("berth.telemetry.v1alpha1");
}

/// An agent that has nothing to say says so that often: a sixth of the time after which it counts as silent (S18).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What need not be told at once is told that often: well within the time in which a pod over its limit is reported (S19).
pub const REST_EACH: Duration = Duration::from_secs(3);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be without any word before it is taken for dead, twice.
const ALIVE: Duration = Duration::from_secs(10);
/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A stream that has lasted so long was good: the next pause is short again.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Where the scheduler is, and how it is talked to.
#[derive(Clone, Debug)]
pub struct SchedulerSettings {
    /// `host:port`; every address of the host is a replica.
    pub address: String,
    /// The authority that signed its certificate, as PEM; none to talk without TLS, for tests alone.
    pub ca: Option<PathBuf>,
    /// The token of the agent's ServiceAccount, made for the scheduler.
    pub token: PathBuf,
}

/// Why a stream did not begin, or ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{path}: {error}")]
    File { path: String, error: std::io::Error },
    #[error("the token is no header")]
    Token,
    #[error("{0}")]
    Connection(String),
    #[error("{}", .0.message())]
    Status(Box<Status>),
}

/// Streams for ever, or until the states end.
pub(crate) async fn run(settings: SchedulerSettings, node: String, state: watch::Receiver<Arc<NodeState>>) {
    let mut pause = PAUSE_MIN;
    let mut attempt = 0_u64;
    loop {
        let addresses = match lookup_host(&settings.address).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::warn!(address = settings.address, %error, "the scheduler is not found");
                Vec::new()
            }
        };
        let begun = Instant::now();
        for address in addresses {
            let ended = Stream { settings: &settings, node: &node, state: state.clone() }.run(address).await;
            match ended {
                Ok(farewell) => tracing::debug!(%address, reason = farewell.reason, "a stream ended"),
                // One of several replicas leads; the others are no news.
                Err(Ended::Status(status)) if status.code() == Code::Unavailable => {
                    tracing::debug!(%address, why = status.message(), "not this one");
                }
                Err(error) => tracing::warn!(%address, %error, "the scheduler does not hear"),
            }
            if state.has_changed().is_err() {
                return;
            }
        }
        pause = if begun.elapsed() >= GOOD_AFTER { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        attempt += 1;
        sleep(part_of(pause, &node, attempt)).await;
    }
}

/// Half of a pause, and a part of the other half, another one for each node and attempt.
fn part_of(pause: Duration, node: &str, attempt: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (node, attempt).hash(&mut hasher);
    let half = pause / 2;
    half + half.mul_f64((hasher.finish() % 1024) as f64 / 1024.0)
}

/// One stream to one replica.
struct Stream<'a> {
    settings: &'a SchedulerSettings,
    node: &'a str,
    state: watch::Receiver<Arc<NodeState>>,
}

impl Stream<'_> {
    async fn run(mut self, address: SocketAddr) -> Result<Farewell, Ended> {
        let channel = self.connect(address).await?;
        let token = read(&self.settings.token)?;
        let bearer = MetadataValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| Ended::Token)?;
        // One update is under way at most, besides what the connection holds.
        let (out, updates) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(updates));
        request.metadata_mut().insert("authorization", bearer);
        let mut client = TelemetryClient::new(channel);
        let answer = client.report(request);
        let said = async {
            self.say(out).await;
            // Nobody hears any more: the answer says why.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => {
                answer.map(tonic::Response::into_inner).map_err(|status| Ended::Status(Box::new(status)))
            }
            () = said => Err(Ended::Connection("nothing is heard any more".to_owned())),
        }
    }

    async fn say(&mut self, out: mpsc::Sender<wire::Update>) {
        let mut encoder = Encoder::new(self.node);
        // Before the first sample there is nothing to say.
        if self.state.wait_for(|state| state.tick > 0).await.is_err() {
            return;
        }
        let mut said = Instant::now();
        loop {
            let Ok(room) = out.reserve().await else { return };
            let state = Arc::clone(&self.state.borrow_and_update());
            let now = Instant::now();
            let update = if encoder.is_urgent(&state) || now >= said + REST_EACH {
                encoder.update(&state)
            } else {
                None
            };
            if let Some(update) = update.or_else(|| (now >= said + HEARTBEAT).then(|| encoder.heartbeat())) {
                room.send(update);
                said = now;
            }
            tokio::select! {
                changed = self.state.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(said + HEARTBEAT) => {}
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<Channel, Ended> {
        // With its causes.
        let failed =
            |error: tonic::transport::Error| Ended::Connection(format!("{:#}", anyhow::Error::new(error)));
        let scheme = if self.settings.ca.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(failed)?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(true);
        if let Some(ca) = &self.settings.ca {
            // The certificate is for the name, whatever the address.
            let host = self
                .settings
                .address
                .rsplit_once(':')
                .map_or(self.settings.address.as_str(), |(host, _)| host);
            let tls =
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)).domain_name(host);
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        match timeout(CONNECT_MAX * 2, endpoint.connect()).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(Ended::Connection("no connection in time".to_owned())),
        }
    }
}

fn read(path: &PathBuf) -> Result<String, Ended> {
    std::fs::read_to_string(path).map_err(|error| Ended::File { path: path.display().to_string(), error })
}
