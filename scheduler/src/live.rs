//! What the agents say of devices and pods, brought to the engine (S17 to S19).
//!
//! The streams write to a board; what it has to tell is fetched here at most every [`EVERY`], so that however much the agents
//! say, the deciding thread is not busier for it. The board must know what the mirror has told the engine of the same
//! devices and pods, since that overwrites what was told here: [`Live::note`].

use crate::config::Telemetry;
use anyhow::Context;
use berth_cluster::Mirror;
use berth_cluster::client::Clients;
use berth_cluster::lease::Lease;
use berth_cluster::telemetry::{Board, Names, Reviewer, Settings, Shared, serve};
use berth_model::{DeviceHealth, Event, Millis, NodeId, PodId, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How often it is fetched.
pub(crate) const EVERY: Duration = Duration::from_millis(200);

/// What was heard, and when it was last fetched.
#[derive(Debug)]
pub(crate) struct Live {
    board: Shared,
    fetched: Instant,
    /// The nodes that the engine knows.
    nodes: BTreeMap<NodeId, Box<str>>,
}

/// Begins to hear the agents, if that is set; the task hears them until it is aborted.
pub(crate) async fn start(
    config: &Telemetry,
    clients: &Clients,
    lease: Lease,
) -> anyhow::Result<Option<(Live, JoinHandle<()>)>> {
    let (Some(listen), Some(certificate), Some(key)) = (config.listen, &config.certificate, &config.key)
    else {
        return Ok(None);
    };
    let tls = (pem("telemetry.certificate", certificate)?, pem("telemetry.key", key)?);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("telemetry.listen: {listen}"))?;
    let board = Shared::new(Board::new(Millis::from_secs(config.silent_after_seconds.into())));
    let settings = Settings { tls: Some(tls), ..Settings::default() };
    let reviewer = Reviewer::new(clients.write.clone(), &config.agents.namespace, &config.agents.name);
    let heard = board.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = serve(listener, settings, heard, lease, reviewer).await {
            tracing::error!(%error, "no agent is heard any more");
        }
    });
    Ok(Some((Live { board, fetched: Instant::now(), nodes: BTreeMap::new() }, task)))
}

/// A PEM file that a field of the configuration names.
pub(crate) fn pem(field: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{field}: {} cannot be read", path.display()))
}

impl Live {
    /// It leads from now on: whoever has published devices is expected to speak.
    pub(crate) fn begin(&self, mirror: &Mirror, now: Timestamp) {
        let mut board = self.board.lock();
        for (id, name) in &self.nodes {
            if mirror.published(*id).next().is_some() {
                board.expect(name, now);
            }
        }
    }

    /// The mirror has told this; `leads` if agents speak to this replica.
    pub(crate) fn note(&mut self, event: &Event, mirror: &Mirror, leads: bool, now: Timestamp) {
        let mut board = self.board.lock();
        match event {
            Event::NodeSet(spec) => {
                self.nodes.insert(spec.id, spec.name.as_str().into());
                if leads && mirror.published(spec.id).next().is_some() {
                    board.expect(&spec.name, now);
                }
                board.look_again(&spec.name);
            }
            Event::NodeRemoved(node) => {
                self.nodes.remove(node).into_iter().for_each(|name| board.gone(&name));
            }
            Event::DeviceHealth { node, device, health } => {
                if let Some(name) = self.nodes.get(node) {
                    board.published(name, *device, *health);
                }
            }
            Event::PodRunning(state) => {
                self.nodes.get(&state.node).into_iter().for_each(|name| board.pods_again(name));
            }
            _ => {}
        }
    }

    /// What the engine is to be told; nothing if it was asked a moment ago.
    pub(crate) fn events(&mut self, mirror: &Mirror, now: Timestamp) -> Vec<Event> {
        if self.fetched.elapsed() < EVERY {
            return Vec::new();
        }
        self.fetched = Instant::now();
        self.board.lock().events(&Known(mirror), now)
    }
}

/// Names as the mirror knows them.
struct Known<'a>(&'a Mirror);

impl Names for Known<'_> {
    fn node(&self, name: &str) -> Option<NodeId> {
        self.0.node_named(name)
    }

    fn devices(&self, node: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)> {
        self.0.published(node).map(|(name, spec)| (name, spec.health))
    }

    fn pod(&self, uid: &str) -> Option<PodId> {
        self.0.pod_on_node(uid)
    }
}
