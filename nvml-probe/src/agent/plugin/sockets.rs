//! How the kubelet finds the driver: it watches a folder for sockets, asks the one it finds who is there, and calls the other.
//!
//! Sockets that an agent left are replaced. A kubelet that starts again finds the socket by itself; one that refused the driver
//! looks at it again only when the socket is new, so it is made anew.
//!
//! The name of the socket that the kubelet finds has an `@` for a reason: as the server's host the kubelet sends the socket's
//! path, percent-encoded, and our side of HTTP/2 refuses such a host. With an `@` in it, what stands before is a user's name,
//! in which percents are allowed, and the rest is a host.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use berth_api::names::driver;
use tokio::{
    net::UnixListener,
    sync::{Notify, watch},
    time::sleep,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use super::{
    PluginSettings,
    prepare::Preparer,
    wire::{
        dra::dra_plugin_server::DraPluginServer,
        registration::{
            InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
            registration_server::{Registration, RegistrationServer},
        },
    },
};
use crate::files;

/// After the kubelet has refused the driver.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// What the kubelet knows drivers as.
const PLUGIN_TYPE: &str = "DRAPlugin";
/// The interface that is served.
const SERVICE: &str = "v1.DRAPlugin";
const SOCKET: &str = "dra.sock";

pub(super) struct Sockets {
    registration: PathBuf,
    service: PathBuf,
    endpoint: PathBuf,
}

/// Answers who is there.
#[derive(Clone)]
struct Registrar {
    endpoint: String,
    refused: Arc<Notify>,
    serving: watch::Sender<bool>,
}

/// A socket that goes when this goes.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = files::remove(&self.0);
    }
}

impl Sockets {
    pub(super) fn new(settings: &PluginSettings) -> Self {
        Self {
            registration: settings.registry.join(format!("agent@{}.sock", driver::NAME)),
            service: settings.folder.join(SOCKET),
            endpoint: settings.folder_of_kubelet.join(SOCKET),
        }
    }

    /// Serves both, for ever.
    pub(super) async fn serve(
        self,
        preparer: Arc<Preparer>,
        serving: watch::Sender<bool>,
    ) -> anyhow::Result<()> {
        let (listener, _service) = listen(&self.service)?;
        let service = DraPluginServer::from_arc(preparer);
        let service =
            Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener));
        let registrar = Registrar {
            endpoint: self.endpoint.display().to_string(),
            refused: Arc::new(Notify::new()),
            serving,
        };
        let registration = async {
            loop {
                // The kubelet calls the service as soon as it sees this one.
                let (listener, _registration) = listen(&self.registration)?;
                let server = Server::builder().add_service(RegistrationServer::new(registrar.clone()));
                tokio::select! {
                    ended = server.serve_with_incoming(UnixListenerStream::new(listener)) => ended?,
                    () = registrar.refused.notified() => {}
                }
                sleep(AFTER_REFUSAL).await;
            }
        };
        tokio::select! {
            ended = service => Ok(ended?),
            ended = registration => ended,
        }
    }
}

fn listen(path: &Path) -> anyhow::Result<(UnixListener, Socket)> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    files::remove(path).with_context(|| path.display().to_string())?;
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    Ok((listener, Socket(path.to_owned())))
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: PLUGIN_TYPE.to_owned(),
            name: driver::NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec![SERVICE.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        self.serving.send_replace(status.plugin_registered);
        if status.plugin_registered {
            tracing::info!("the kubelet knows the driver");
        } else {
            tracing::error!(error = status.error, "the kubelet refuses the driver");
            self.refused.notify_one();
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
