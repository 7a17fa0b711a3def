//! What is served over HTTP: metrics, health, and answers for those who look for a fault.
//!
//! It asks the deciding thread by messages and waits a bounded time; nothing here can hold that thread up.

use crate::inputs::Ask;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A thread that has begun no round for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the answers come from.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) registry: Registry,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) alive: Arc<AtomicU64>,
    pub(crate) event_log: Option<PathBuf>,
}

/// The routes.
pub(crate) fn routes(served: Served) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/debug/explain", get(explain))
        .route("/debug/events", get(events))
        .with_state(served)
}

async fn metrics(State(it): State<Served>) -> Response {
    // A thread that is busy leaves the gauges as they were.
    let _ = it.ask(Ask::Measure).await;
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&it.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(it): State<Served>) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let last = Duration::from_millis(it.alive.load(Ordering::Relaxed));
    let silent = now.saturating_sub(last);
    if last.is_zero() || silent < STUCK_AFTER {
        return "ok\n".into_response();
    }
    let said = format!("the deciding thread has begun no round for {} s\n", silent.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
}

async fn ready(State(it): State<Served>) -> Response {
    if *it.ready.borrow() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the first lists are not all in yet\n").into_response()
}

async fn explain(State(it): State<Served>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let pod = query.get("pod").map(String::as_str).unwrap_or_default();
    let Some((namespace, name)) = pod.split_once('/') else {
        let said = format!("pod: is `{pod}`, allowed: NAMESPACE/NAME\n");
        return (StatusCode::BAD_REQUEST, said).into_response();
    };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    match it.ask(|reply| Ask::Explain { namespace, name, reply }).await {
        Some(Some(said)) => {
            ([(header::CONTENT_TYPE, "application/json")], format!("{said:#}\n")).into_response()
        }
        Some(None) => (StatusCode::NOT_FOUND, format!("there is no pod {pod}\n")).into_response(),
        None => busy(),
    }
}

async fn events(State(it): State<Served>) -> Response {
    let Some(path) = &it.event_log else {
        let said = "no event log is kept; set eventLog.path in the configuration\n";
        return (StatusCode::NOT_FOUND, said).into_response();
    };
    if it.ask(Ask::Flush).await.is_none() {
        return busy();
    }
    match tokio::fs::File::open(path).await {
        Ok(file) => {
            let body = axum::body::Body::from_stream(tokio_util::io::ReaderStream::new(file));
            ([(header::CONTENT_TYPE, "application/jsonl")], body).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}\n", path.display())).into_response()
        }
    }
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the deciding thread is busy\n").into_response()
}

impl Served {
    /// Asks the deciding thread; none if it does not answer in time.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(ask(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.ok().flatten()
    }
}
