//! `/metrics`, `/healthz` and `/readyz`.
//!
//! Healthy: the sampler has finished a tick within [`STUCK_AFTER`] intervals; a driver that hangs in a call makes it
//! unhealthy, one that is not there does not. Ready: the first sample is taken, and the kubelet can reach the plugin if
//! there is one.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{sync::watch, time::Instant};

use crate::agent::{NodeState, metrics};

/// Intervals without a tick after which the sampler counts as stuck.
const STUCK_AFTER: u32 = 30;
/// It may take at least so long.
const STUCK_AFTER_LEAST: Duration = Duration::from_secs(30);

/// What is served.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) node: Arc<str>,
    pub(crate) state: watch::Receiver<Arc<NodeState>>,
    /// When the last tick was finished.
    pub(crate) last_tick: Arc<std::sync::Mutex<Instant>>,
    pub(crate) interval: Duration,
    /// Whether the kubelet's plugin serves; none if there is none.
    pub(crate) plugin: Option<watch::Receiver<bool>>,
}

/// The routes.
pub(crate) fn routes(served: Served) -> Router {
    Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(served)
}

async fn figures(State(served): State<Served>) -> (StatusCode, String) {
    let state = Arc::clone(&served.state.borrow());
    match metrics::text(&state, &served.node) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn healthy(State(served): State<Served>) -> (StatusCode, String) {
    let last = served.last_tick.lock().map_or_else(|broken| *broken.into_inner(), |last| *last);
    let silent = last.elapsed();
    if silent > (served.interval * STUCK_AFTER).max(STUCK_AFTER_LEAST) {
        let text = format!("the driver has not answered for {} s\n", silent.as_secs());
        return (StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    if served.state.borrow().tick == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "no sample was taken yet\n".to_owned());
    }
    if served.plugin.as_ref().is_some_and(|plugin| !*plugin.borrow()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the kubelet's plugin does not serve yet\n".to_owned());
    }
    (StatusCode::OK, "ok\n".to_owned())
}
