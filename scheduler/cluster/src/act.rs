//! Actions -> requests.
//!
//! Whoever decides hands actions over and goes on: nothing here makes him wait. Binds go first and on connections of their
//! own; evictions, and everything else that is written, come beside them at a bounded rate. What became of a bind or
//! an eviction comes back through one bounded channel.
//!
//! What is under way is bounded by those who decide: they ask [`Act::binds_waiting`] and decide no more while it is much.

use crate::action::Action;
use crate::bind::{self, Binder};
use crate::change::Outcome;
use crate::client::Clients;
use crate::evict::{self, Evictor};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::watch::Claims;
use crate::write::{self, Writer};
use std::time::Duration;
use tokio::sync::mpsc;

/// Outcomes that wait to be taken in.
const OUTCOMES_MAX: usize = 4096;

/// How actions are carried out.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Binds.
    pub bind: bind::Settings,
    /// Evictions.
    pub evict: evict::Settings,
    /// Everything else.
    pub write: write::Settings,
}

/// Carries out actions.
#[derive(Debug)]
pub struct Act {
    binder: Binder,
    evictor: Evictor,
    writer: Writer,
}

impl Act {
    /// Starts to carry out; what becomes of it comes through the channel.
    pub fn start(
        clients: &Clients,
        lease: &Lease,
        claims: Claims,
        settings: Settings,
        metrics: &Metrics,
    ) -> (Self, mpsc::Receiver<Outcome>) {
        let (send, outcomes) = mpsc::channel(OUTCOMES_MAX);
        let writer = Writer::start(
            clients.write.clone(),
            lease.clone(),
            settings.write,
            metrics.clone(),
            send.clone(),
        );
        let evictor = Evictor::new(
            clients.write.clone(),
            lease.clone(),
            settings.evict,
            metrics.clone(),
            writer.clone(),
            send.clone(),
        );
        let parts = bind::Parts {
            client: clients.bind.clone(),
            lease: lease.clone(),
            claims,
            writer: writer.clone(),
            metrics: metrics.clone(),
            outcomes: send,
        };
        let binder = Binder::start(parts, settings.bind);
        (Self { binder, evictor, writer }, outcomes)
    }

    /// Takes actions over; returns at once.
    pub fn carry_out(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Bind(binds) => self.binder.bind(binds),
                Action::Evict { pod, grace, notice } => self.evictor.evict(pod, grace, notice),
                Action::Reserve { pod, reservation } => self.writer.reserve(pod, reservation),
                Action::Release { pod } => self.writer.release(pod),
                Action::Pending { pods, reason, message } => self.writer.pending(pods, reason, message),
                Action::Status(status) => self.writer.status(status),
                Action::Namespace { name, project } => self.writer.namespace(name, project),
                Action::Finalizers { project, version, finalizers } => {
                    self.writer.finalizers(project, version, finalizers);
                }
                Action::StaleSince { pod, since } => self.writer.stale_since(pod, since),
                Action::Template { namespace, gpu } => self.writer.template(&namespace, gpu),
                Action::Warn { pod, reason, message } => self.writer.warn(&pod, reason, message),
            }
        }
    }

    /// Binds that were handed over and not answered yet.
    pub fn binds_waiting(&self) -> usize {
        self.binder.waiting()
    }

    /// Returns once no bind is under way, or after this time; true in the first case.
    pub async fn settle(&self, within: Duration) -> bool {
        let settled = async {
            while self.binds_waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(within, settled).await.is_ok()
    }
}
