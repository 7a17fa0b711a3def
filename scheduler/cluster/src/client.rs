//! Clients of the API server.
//!
//! Three, so that none waits behind another's requests: one for watches, whose connections stay open; one for binds and the
//! lease; one for everything else that is written. None retries by itself: kube's retry sends any request again after a
//! 503 or a 504, and a bind whose answer was lost must be looked at instead.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::time::Duration;

/// A connection that says nothing for this long is taken for dead. Watches are sent a bookmark about once a minute.
const SILENT_MAX: Duration = Duration::from_secs(150);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What can go wrong before the first request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig file cannot be used.
    #[error("kubeconfig {path}: {problem}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("no way to the API server was found: {0}")]
    Infer(#[from] kube::config::InferConfigError),
    /// Keys or certificates cannot be used.
    #[error("a client of the API server cannot be made: {0}")]
    Client(#[from] kube::Error),
}

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For watches and lists.
    pub watch: Client,
    /// For binds, and for the lease.
    pub bind: Client,
    /// For evictions, conditions, annotations and Events.
    pub write: Client,
}

/// How to reach the API server: by a kubeconfig file, else as kubectl would, else as the service account of the pod.
///
/// # Errors
/// If none of these can be read.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    let Some(path) = kubeconfig else { return Ok(Config::infer().await?) };
    let bad = |problem: String| ConnectError::Kubeconfig { path: path.display().to_string(), problem };
    let read = Kubeconfig::read_from(path).map_err(|error| bad(error.to_string()))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(read, &options).await.map_err(|error| bad(error.to_string()))
}

impl Clients {
    /// Clients of one API server. They belong to the runtime in which this is called.
    ///
    /// # Errors
    /// If keys or certificates cannot be used.
    pub fn new(config: &Config) -> Result<Self, ConnectError> {
        let client = || {
            let mut config = config.clone();
            config.default_retry = false;
            config.connect_timeout = Some(CONNECT_MAX);
            config.read_timeout = Some(SILENT_MAX);
            Client::try_from(config)
        };
        Ok(Self { watch: client()?, bind: client()?, write: client()? })
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}
