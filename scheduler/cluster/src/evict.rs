//! Evictions, by the Eviction API: disruption budgets hold, and the pod has its grace (S23).
//!
//! Before a pod is told to end it is written on it for whom and why (S33), so that whoever takes over knows. An eviction that a
//! budget does not allow is tried again for a while, and then given up: that is told, and what was written is taken back.
//! An eviction whose answer was lost is sent again: to end twice is to end.

use crate::action::{Notice, PodRef};
use crate::answer::{Answer, ask};
use crate::change::Outcome;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::pause::Pause;
use crate::write::Writer;
use berth_api::names::written;
use berth_model::Millis;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// How evictions are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at a time.
    pub concurrency: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// How long a disruption budget may forbid it before it is given up.
    pub refused_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { concurrency: 16, timeout: Duration::from_secs(10), refused_within: Duration::from_secs(60) }
    }
}

/// Takes evictions over.
#[derive(Clone)]
pub(crate) struct Evictor {
    it: Arc<Shared>,
}

struct Shared {
    client: Client,
    lease: Lease,
    settings: Settings,
    metrics: Metrics,
    writer: Writer,
    outcomes: mpsc::Sender<Outcome>,
    permits: Semaphore,
    /// Evictions are handed over by a thread that is none of the runtime's.
    runtime: Handle,
}

impl std::fmt::Debug for Evictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evictor").field("settings", &self.it.settings).finish_non_exhaustive()
    }
}

impl Evictor {
    pub(crate) fn new(
        client: Client,
        lease: Lease,
        settings: Settings,
        metrics: Metrics,
        writer: Writer,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        let permits = Semaphore::new(settings.concurrency.max(1));
        let runtime = Handle::current();
        Self { it: Arc::new(Shared { client, lease, settings, metrics, writer, outcomes, permits, runtime }) }
    }

    /// Takes an eviction over.
    pub(crate) fn evict(&self, pod: PodRef, grace: Millis, notice: Notice) {
        let it = self.it.clone();
        self.it.runtime.spawn(async move {
            let Some(outcome) = it.evict(&pod, grace, &notice).await else { return };
            match &outcome {
                Outcome::EvictFailed(_, why) => {
                    tracing::warn!(%pod, why, "an eviction is given up");
                    it.write_down(&pod, Value::Null).await;
                }
                _ => it.writer.warn(&pod, "Evicted", notice.text),
            }
            let _ = it.outcomes.send(outcome).await;
        });
    }
}

impl Shared {
    /// None if the lease is lost.
    async fn evict(&self, pod: &PodRef, grace: Millis, notice: &Notice) -> Option<Outcome> {
        let written = json!({
            "cause": notice.cause,
            "for": notice.beneficiary,
            "at": Timestamp::now().as_millisecond(),
        });
        self.write_down(pod, Value::String(written.to_string())).await;
        let until = Instant::now() + self.settings.refused_within;
        let mut pause = Pause::new(Duration::from_secs(1), Duration::from_secs(5));
        loop {
            let answer = {
                let _permit = self.permits.acquire().await.ok()?;
                if !self.lease.allows().await {
                    return None;
                }
                self.send(pod, grace).await
            };
            self.metrics.answer("evict", &answer);
            match answer {
                Answer::Done(_) | Answer::Absent => return Some(Outcome::Evicted(pod.clone())),
                // Another pod of the name is there: this one is gone.
                Answer::Refused(409, _) => return Some(Outcome::Evicted(pod.clone())),
                Answer::Refused(_, why) => return Some(Outcome::EvictFailed(pod.clone(), why)),
                Answer::Busy(_) if Instant::now() >= until => {
                    let why = "a disruption budget does not allow it".to_owned();
                    return Some(Outcome::EvictFailed(pod.clone(), why));
                }
                Answer::Lost(why) if Instant::now() >= until => {
                    return Some(Outcome::EvictFailed(pod.clone(), why));
                }
                Answer::Busy(_) | Answer::Lost(_) => pause.wait().await,
            }
        }
    }

    async fn send(&self, pod: &PodRef, grace: Millis) -> Answer<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        // A part of a second counts as a whole one: 0 would not let it end at all.
        let seconds = u32::try_from(((grace.0 + 999) / 1000).max(1)).unwrap_or(u32::MAX);
        let delete = DeleteParams {
            grace_period_seconds: Some(seconds),
            preconditions: Some(Preconditions { uid: Some(pod.uid.to_string()), resource_version: None }),
            ..DeleteParams::default()
        };
        let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
        let sent = async { pods.evict(&pod.name, &params).await.map(drop) };
        ask(self.settings.timeout, sent).await
    }

    /// Writes on a pod for whom it is evicted, or takes that off. What cannot be written does not stop the eviction.
    async fn write_down(&self, pod: &PodRef, value: Value) {
        let annotations = json!({ written::EVICTED: value });
        let mut pause = Pause::new(Duration::from_millis(200), Duration::from_secs(1));
        for _ in 0..3 {
            if !self.lease.allows().await || self.writer.annotate(pod, &annotations).await {
                return;
            }
            pause.wait().await;
        }
    }
}
