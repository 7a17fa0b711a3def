//! The driver's part on the node: what the kubelet calls when a pod with a claim of `gpu.berth.dev` starts and ends (DRA v1).
//!
//! * `claim` reads what was allocated: which devices, how much of each, and the limit (S14).
//! * `cdi` writes it for the container runtime: device files and environment variables, one file per claim.
//! * `prepare` does the one after the other, and the reverse.
//! * `sockets` is how the kubelet finds all that.
//!
//! The CDI files are the only memory: preparing twice writes the same file, unpreparing twice removes it once, and a plugin that
//! starts again knows what it had prepared. What a crash left is cleaned up: unfinished files at the start, files of claims that
//! nobody has any more at the start and every [`CLEAN_EACH`].
//!
//! Absent: what the driver itself would enforce (S14), see `limits`; MIG.

mod cdi;
mod claim;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod prepare;
mod sockets;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use kube::Client;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::{cdi::Specs, prepare::Preparer, sockets::Sockets};
use crate::agent::NodeState;

/// Between two looks for claims that are gone.
const CLEAN_EACH: Duration = Duration::from_secs(600);

/// Messages between kubelet and plugin, as `proto/` describes them.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant, reason = "made from a description")]
mod wire {
    pub mod dra {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
    }
    pub mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

/// Where kubelet and container runtime look.
#[derive(Clone, Debug)]
pub struct PluginSettings {
    /// The kubelet's folder for its plugins' registrations.
    pub registry: PathBuf,
    /// This driver's folder, for its socket.
    pub folder: PathBuf,
    /// The same folder as the kubelet sees it.
    pub folder_of_kubelet: PathBuf,
    /// The folder of CDI files.
    pub cdi: PathBuf,
    /// The folder of device files, here and for the container runtime.
    pub dev: PathBuf,
}

/// Serves the kubelet, for ever. Says when it can be reached.
///
/// # Errors
/// If a folder or socket cannot be made.
pub(crate) async fn run(
    settings: PluginSettings,
    client: Client,
    node: String,
    state: watch::Receiver<Arc<NodeState>>,
    serving: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let specs = Specs::open(settings.cdi.clone(), settings.dev.clone())
        .with_context(|| format!("the folder of CDI files, {}", settings.cdi.display()))?;
    let preparer = Arc::new(Preparer::new(client, node, state, specs));
    let sockets = Sockets::new(&settings);
    let cleaning = Arc::clone(&preparer);
    let clean = async move {
        let mut ticks = interval(CLEAN_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            cleaning.clean().await;
        }
    };
    tokio::select! {
        ended = sockets.serve(preparer, serving) => ended,
        () = clean => Ok(()),
    }
}
