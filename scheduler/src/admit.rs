//! The webhook that gives pods their claims (`berth-admission`). Every replica answers, whether it leads or not.

use crate::config::Admission;
use crate::live::pem;
use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Identity, Server, ServerTlsConfig};

/// Where pods are asked about.
const PATH: &str = "/admit/pods";
/// The largest question; the API server takes no object of more than 3 MiB.
const ASKED_MAX: usize = 8 << 20;

/// Begins to answer, if that is set; the task answers until it is aborted.
pub(crate) async fn start(
    config: &Admission,
    schedulers: BTreeSet<String>,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let (Some(listen), Some(certificate), Some(key)) = (config.listen, &config.certificate, &config.key)
    else {
        return Ok(None);
    };
    let identity = Identity::from_pem(pem("admission.certificate", certificate)?, pem("admission.key", key)?);
    let tls = ServerTlsConfig::new().identity(identity);
    let mut server = Server::builder().tls_config(tls).context("admission.certificate")?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("admission.listen: {listen}"))?;
    let routes = Router::new()
        .route(PATH, post(answer))
        .layer(DefaultBodyLimit::max(ASKED_MAX))
        .with_state(Arc::new(schedulers));
    Ok(Some(tokio::spawn(async move {
        let served =
            server.add_routes(Routes::from(routes)).serve_with_incoming(TcpListenerStream::new(listener));
        if let Err(error) = served.await {
            tracing::error!(%error, "nothing is admitted any more");
        }
    })))
}

async fn answer(State(schedulers): State<Arc<BTreeSet<String>>>, asked: Bytes) -> Response {
    match berth_admission::review(&asked, &schedulers) {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}
