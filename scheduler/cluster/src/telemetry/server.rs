//! The streams of the agents.
//!
//! One task per stream: it waits for an update and writes it to the board. A stream is ended when its agent says something
//! that it may not, when a newer one of the same node has begun, and after [`Settings::age_max`], so that tokens are looked at again.
//! A replica that does not lead takes none.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use berth_model::Timestamp;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, Server, ServerTlsConfig},
};

use super::{
    Shared,
    board::{Refusal, StreamId},
    wire::{
        Farewell, Update,
        telemetry_server::{Telemetry, TelemetryServer},
    },
};
use crate::lease::Lease;

/// The largest update; a snapshot of 64 devices and 4096 pods is a third of it.
const UPDATE_MAX: usize = 1 << 20;
/// What an agent may send before it is read.
const WINDOW: u32 = 1 << 16;

/// Who a token belongs to.
pub trait Identify: Send + Sync + 'static {
    /// The node that the bearer may speak for.
    fn node(&self, token: &str) -> impl Future<Output = Result<String, Denied>> + Send;
}

/// Why a bearer may not speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not known who it is.
    #[error("{0}")]
    Unknown(String),
    /// It is known, and may not.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be told now.
    #[error("{0}")]
    NotNow(String),
}

/// How streams are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificate chain and key, as PEM; none to serve without TLS, for tests alone.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// How long a stream may last before the agent must show its token again.
    pub age_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls: None, age_max: Duration::from_secs(3600) }
    }
}

/// Takes streams until it is dropped.
///
/// # Errors
/// If certificate or key cannot be used, or nothing can be accepted any more.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    board: Shared,
    lease: Lease,
    identify: impl Identify,
) -> Result<(), tonic::transport::Error> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .tcp_nodelay(true);
    if let Some((certificate, key)) = &settings.tls {
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))?;
    }
    let receiver = Receiver { board, lease, identify, age_max: settings.age_max };
    let service = TelemetryServer::new(receiver).max_decoding_message_size(UPDATE_MAX);
    server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await
}

struct Receiver<I> {
    board: Shared,
    lease: Lease,
    identify: I,
    age_max: Duration,
}

#[tonic::async_trait]
impl<I: Identify> Telemetry for Receiver<I> {
    async fn report(&self, request: Request<Streaming<Update>>) -> Result<Response<Farewell>, Status> {
        if !self.lease.may_act() {
            return Err(Status::unavailable("this replica does not lead"));
        }
        let from = request.remote_addr();
        let node = self.who(&request).await?;
        let mut updates = request.into_inner();
        let stream = self.board.lock().open(&node, now());
        tracing::debug!(%node, ?from, "an agent speaks");
        let ended = self.listen(&mut updates, stream).await;
        if let Err(status) = &ended {
            tracing::info!(%node, from = shown(from), why = status.message(), "an agent's stream ends");
        }
        ended.map(|reason| Response::new(Farewell { reason: reason.to_owned() }))
    }
}

impl<I: Identify> Receiver<I> {
    async fn who(&self, request: &Request<Streaming<Update>>) -> Result<String, Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let token =
            token.ok_or_else(|| Status::unauthenticated("authorization: a bearer's token is missing"))?;
        self.identify.node(token).await.map_err(|denied| match denied {
            Denied::Unknown(why) => Status::unauthenticated(why),
            Denied::Forbidden(why) => Status::permission_denied(why),
            Denied::NotNow(why) => Status::unavailable(why),
        })
    }

    /// Writes updates to the board until the stream ends.
    async fn listen(
        &self,
        updates: &mut Streaming<Update>,
        stream: StreamId,
    ) -> Result<&'static str, Status> {
        let mut old = pin!(tokio::time::sleep(self.age_max));
        loop {
            let update = tokio::select! {
                update = updates.message() => update?,
                () = &mut old => return Ok("begin anew, with a fresh token"),
            };
            let Some(update) = update else { return Ok("the agent has ended it") };
            self.board.lock().apply(stream, &update, now()).map_err(|refusal| {
                let why = refusal.to_string();
                match refusal {
                    Refusal::Superseded => Status::aborted(why),
                    Refusal::Gap { .. } => Status::data_loss(why),
                    Refusal::Bad { field: "snapshot.node", .. } => Status::permission_denied(why),
                    Refusal::Bad { .. } => Status::invalid_argument(why),
                }
            })?;
        }
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
