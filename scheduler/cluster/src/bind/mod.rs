//! Binds: a pipeline of concurrent requests.
//!
//! A bind is one `POST` of a `Binding` with the pod's uid, so that no other pod of its name is bound. What becomes of it:
//!
//! - *Done*: told.
//! - *Refused, or no such pod*: the pod is looked at. Bound to our node after all (an earlier request did it): told as
//!   bound. Gone, or bound elsewhere: told as failed. Neither: told as failed after a pause that doubles with every
//!   failure of the pod, so that a bind that cannot succeed does not spin; its room stays taken until then.
//! - *Lost*: nobody knows. The pod is looked at; if it is still unbound the same bind is sent again, to the same node. So
//!   when the first request arrives late after all, it does what was decided, and no room is promised twice.
//! - *Busy*: sent again after a pause.
//!
//! Invariants: no request is sent without the lease; a pod is bound at most once, for the API server refuses a second
//! binding whatever happens here; every bind that is handed over is answered, unless the lease is lost.
//!
//! Pods with claims of devices: see `claims`. Pods with claims that wait for their first consumer: see `volumes`.

mod claims;
mod volumes;

use crate::action::{Bind, PodRef};
use crate::answer::{Answer, ask};
use crate::change::Outcome;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::pause::Pause;
use crate::trace::Trace;
use crate::watch::Claims;
use crate::write::Writer;
use berth_api::slim;
use futures::future::join_all;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::IntGauge;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tracing::Instrument;

/// How binds are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at a time, each on a connection of its own.
    pub concurrency: usize,
    /// How long one may take before its answer counts as lost.
    pub timeout: Duration,
    /// How long the volumes of a pod may take to be made.
    pub volumes_within: Duration,
    /// The first and the longest pause before a failed bind is told.
    pub pause: (Duration, Duration),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 64,
            timeout: Duration::from_secs(10),
            volumes_within: Duration::from_secs(600),
            pause: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

/// What the binder works with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) lease: Lease,
    pub(crate) claims: Claims,
    pub(crate) writer: Writer,
    pub(crate) metrics: Metrics,
    pub(crate) outcomes: mpsc::Sender<Outcome>,
}

/// Takes binds over.
#[derive(Debug)]
pub(crate) struct Binder {
    groups: mpsc::UnboundedSender<Vec<Bind>>,
    /// Binds that are not answered, as it is measured.
    waiting: IntGauge,
}

/// One for all requests.
struct Shared {
    parts: Parts,
    settings: Settings,
    permits: Arc<Semaphore>,
    /// Binds that are not answered, as it is measured.
    waiting: IntGauge,
    failures: Mutex<BTreeMap<Box<str>, (Pause, Instant)>>,
}

/// Pods that were bound together, until all of them are answered.
struct Group {
    size: usize,
    left: AtomicUsize,
    bound: AtomicUsize,
}

/// How a bind ended.
enum End {
    Bound,
    /// Told at once.
    Gone(String),
    /// Told after a pause.
    Failed(String),
    /// The lease is lost: nothing is told any more.
    Stopped,
}

impl End {
    /// Tells a trace, which ends with that.
    fn trace(&self, trace: Trace) {
        match self {
            Self::Bound => trace.ended("bound", None),
            Self::Gone(why) => trace.ended("gone", Some(why)),
            Self::Failed(why) => trace.ended("failed", Some(why)),
            Self::Stopped => trace.ended("stopped", Some("the lease is lost")),
        }
    }
}

/// How a pod stands.
enum Look {
    Ours,
    Unbound,
    Gone(String),
}

/// An answer of which only that it came is of interest.
#[derive(serde::Deserialize)]
struct Ack {}

impl Binder {
    pub(crate) fn start(parts: Parts, settings: Settings) -> Self {
        let (groups, mut taken) = mpsc::unbounded_channel::<Vec<Bind>>();
        let waiting = parts.metrics.waiting.with_label_values(&["binds"]);
        let shared = Arc::new(Shared {
            parts,
            permits: Arc::new(Semaphore::new(settings.concurrency.max(1))),
            settings,
            waiting: waiting.clone(),
            failures: Mutex::default(),
        });
        tokio::spawn(async move {
            while let Some(binds) = taken.recv().await {
                shared.begin(binds).await;
            }
        });
        Self { groups, waiting }
    }

    /// Takes binds over that belong together.
    pub(crate) fn bind(&self, binds: Vec<Bind>) {
        let count = binds.len() as i64;
        self.waiting.add(count);
        if self.groups.send(binds).is_err() {
            self.waiting.sub(count);
        }
    }

    /// Binds that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get().max(0) as usize
    }
}

impl Shared {
    /// Starts binds in order, as many at a time as there are permits. If volumes must be made first, those of all are, and
    /// nothing is bound before: so a gang whose volumes cannot be made is not begun (S5).
    async fn begin(self: &Arc<Self>, binds: Vec<Bind>) {
        let size = binds.len();
        let group = Arc::new(Group { size, left: AtomicUsize::new(size), bound: AtomicUsize::new(0) });
        if binds.iter().any(|bind| !bind.claims.is_empty()) {
            tokio::spawn(self.clone().begin_with_volumes(binds, group));
        } else {
            self.send(binds, &group).await;
        }
    }

    async fn begin_with_volumes(self: Arc<Self>, binds: Vec<Bind>, group: Arc<Group>) {
        let made = join_all(binds.iter().map(|bind| self.volumes(bind))).await;
        let failed = made.iter().zip(&binds).find_map(|(made, bind)| match made {
            Err(End::Failed(why)) => Some(format!("not all volumes of {} were made: {why}", bind.pod)),
            Err(_) => Some("it may not act any more".to_owned()),
            Ok(()) => None,
        });
        let Some(failed) = failed else { return self.send(binds, &group).await };
        for (mut bind, made) in binds.into_iter().zip(made) {
            let (it, group) = (self.clone(), group.clone());
            let end = made.err().unwrap_or_else(|| End::Failed(failed.clone()));
            end.trace(std::mem::take(&mut bind.trace));
            tokio::spawn(async move { it.ended(&bind, end, &group).await });
        }
    }

    async fn send(self: &Arc<Self>, binds: Vec<Bind>, group: &Arc<Group>) {
        for mut bind in binds {
            let (it, group) = (self.clone(), group.clone());
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            tokio::spawn(async move {
                let trace = std::mem::take(&mut bind.trace);
                let end = it.bind(&bind).instrument(trace.span()).await;
                drop(permit);
                end.trace(trace);
                it.ended(&bind, end, &group).await;
            });
        }
    }

    /// Binds one pod, its claim of devices first; what was written on that is taken back if it is not bound.
    async fn bind(&self, bind: &Bind) -> End {
        let Some(wanted) = bind.allocation.as_deref() else { return self.bind_pod(bind).await };
        let end = match self.allocate(bind, wanted).await {
            Ok(()) => self.bind_pod(bind).await,
            Err(end) => end,
        };
        if let End::Failed(_) | End::Gone(_) = end {
            self.give_back(bind, wanted).await;
        }
        end
    }

    /// Binds one pod, whatever it takes.
    async fn bind_pod(&self, bind: &Bind) -> End {
        let mut pause = Pause::new(Duration::from_millis(100), Duration::from_secs(5));
        // Everything that is still to be written about this pod would be wrong once it is bound.
        self.parts.writer.bound(&bind.pod.uid);
        loop {
            if !self.parts.lease.allows().await {
                return End::Stopped;
            }
            let begun = Instant::now();
            let answer = self.post(bind).await;
            self.parts.metrics.bind_seconds.observe(begun.elapsed().as_secs_f64());
            self.parts.metrics.answer("bind", &answer);
            let refused = match answer {
                Answer::Done(Ack {}) => return End::Bound,
                Answer::Busy(after) => {
                    tokio::time::sleep(after.unwrap_or_else(|| pause.next())).await;
                    continue;
                }
                Answer::Absent => Some("there is no such pod or node".to_owned()),
                Answer::Refused(_, why) => Some(why),
                Answer::Lost(why) => {
                    tracing::warn!(pod = %bind.pod, node = %bind.node, why, "the answer to a bind was lost");
                    None
                }
            };
            match (self.look(bind).await, refused) {
                (None, _) => return End::Stopped,
                (Some(Look::Ours), _) => return End::Bound,
                (Some(Look::Gone(why)), _) => return End::Gone(why),
                (Some(Look::Unbound), Some(why)) => return End::Failed(why),
                (Some(Look::Unbound), None) => pause.wait().await,
            }
        }
    }

    async fn post(&self, bind: &Bind) -> Answer<Ack> {
        let pod = &bind.pod;
        let metadata = json!({ "name": pod.name, "namespace": &*pod.namespace, "uid": pod.uid });
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": { "apiVersion": "v1", "kind": "Node", "name": &*bind.node },
        });
        let options = PostParams::default();
        let pods = self.pods(pod);
        ask(self.settings.timeout, pods.create_subresource("binding", &pod.name, &options, &binding)).await
    }

    /// Looks how a pod stands, as often as it takes to know; none if the lease is lost.
    async fn look(&self, bind: &Bind) -> Option<Look> {
        let mut pause = Pause::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            if !self.parts.lease.allows().await {
                return None;
            }
            let pods = self.pods(&bind.pod);
            let answer = ask(self.settings.timeout, pods.get(&bind.pod.name)).await;
            self.parts.metrics.answer("look", &answer);
            match answer {
                Answer::Done(pod) => return Some(judge(&pod, bind)),
                Answer::Absent => return Some(Look::Gone("the pod is gone".to_owned())),
                Answer::Busy(Some(after)) => tokio::time::sleep(after).await,
                Answer::Busy(None) | Answer::Refused(..) | Answer::Lost(_) => pause.wait().await,
            }
        }
    }

    fn pods(&self, pod: &PodRef) -> Api<slim::Pod> {
        Api::namespaced(self.parts.client.clone(), &pod.namespace)
    }

    /// Tells how a bind ended.
    async fn ended(&self, bind: &Bind, end: End, group: &Group) {
        self.waiting.dec();
        let pod = bind.pod.clone();
        let outcome = match end {
            End::Bound => {
                self.forget_failures(&pod);
                group.bound.fetch_add(1, Ordering::AcqRel);
                Some(Outcome::Bound(pod))
            }
            End::Gone(why) => {
                self.forget_failures(&pod);
                Some(Outcome::BindFailed(pod, why))
            }
            End::Failed(why) => {
                let pause = self.failed(&pod);
                tracing::warn!(pod = %pod, node = %bind.node, why, ?pause, "a bind has failed");
                self.parts.writer.warn(
                    &pod,
                    "FailedBinding",
                    format!("it was not bound to {}: {why}", bind.node),
                );
                tokio::time::sleep(pause).await;
                Some(Outcome::BindFailed(pod, why))
            }
            End::Stopped => None,
        };
        if let Some(outcome) = outcome
            && self.parts.outcomes.send(outcome).await.is_err()
        {
            tracing::debug!("nobody takes outcomes any more");
        }
        if group.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.say(bind, group.size, group.bound.load(Ordering::Acquire));
        }
    }

    /// One Event for all that were bound together, on the last of them.
    fn say(&self, bind: &Bind, size: usize, bound: usize) {
        let text = match (size, bound) {
            (_, 0) => return,
            (1, _) => format!("{} is bound to {}", bind.pod, bind.node),
            (size, bound) => {
                format!(
                    "{bound} of {size} pods that were placed together are bound; {} to {}",
                    bind.pod, bind.node
                )
            }
        };
        self.parts.writer.note(&bind.pod, "Scheduled", text);
    }

    /// How long to wait before a failure is told.
    fn failed(&self, pod: &PodRef) -> Duration {
        let (first, longest) = self.settings.pause;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        failures.retain(|_, (_, at)| now.duration_since(*at) < longest * 4);
        let (pause, at) = failures.entry(pod.uid.clone()).or_insert((Pause::new(first, longest), now));
        *at = now;
        pause.next()
    }

    fn forget_failures(&self, pod: &PodRef) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod.uid);
    }
}

fn judge(pod: &slim::Pod, bind: &Bind) -> Look {
    if pod.metadata.uid.as_deref() != Some(&*bind.pod.uid) {
        return Look::Gone("the pod is gone, another has its name".to_owned());
    }
    match pod.spec.node_name.as_deref() {
        None | Some("") => Look::Unbound,
        Some(node) if *node == *bind.node => Look::Ours,
        Some(node) => Look::Gone(format!("it is bound to {node}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Leading;

    #[tokio::test]
    async fn what_is_not_answered_is_measured_until_it_is() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().expect("an address"));
        let client = Client::try_from(config).expect("a client");
        let metrics = Metrics::new(&prometheus::Registry::new()).expect("names are free");
        let lease = Lease::told(tokio::sync::watch::channel(Leading::Lost).1);
        let (outcomes, _taken) = mpsc::channel(1);
        let settings = Default::default();
        let writer =
            Writer::start(client.clone(), lease.clone(), settings, metrics.clone(), outcomes.clone());
        let (claims, measured) = (Claims::default(), metrics.waiting.with_label_values(&["binds"]));
        let parts = Parts { client, lease, claims, writer, metrics, outcomes };
        let binder = Binder::start(parts, Settings::default());
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let (claims, open) = (Vec::new(), Vec::new());
        let trace = Trace::default();
        binder.bind(vec![Bind { pod, node: "n0".into(), allocation: None, claims, open, trace }]);
        assert_eq!((binder.waiting(), measured.get()), (1, 1));
        while binder.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!(measured.get(), 0);
    }
}
