//! What is written besides binds: conditions, `nominatedNodeName`, annotations (S29, S33), Events, and what our own objects
//! say of themselves.
//!
//! Coalesced per pod, at a bounded rate, on a client of its own: nothing here stands in the way of a bind. While many binds
//! are under way Events only trickle, since the API server does as much for one as for a bind; the rest follow. Everything
//! is a patch with the pod's uid, so that another pod of its name is left alone.
//!
//! The condition `PodScheduled=False` must not be written over the `True` that a bind writes. A pod that is handed over to be bound has
//! its condition taken out of the queue; if a write is under way just then, the pod is looked at afterwards, and put right.

mod objects;
mod queue;

use crate::action::{PodRef, Reservation};
use crate::answer::{Answer, ask};
use crate::change::{Name, Outcome};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::mirror::Status;
use berth_api::convert;
use berth_api::names::written;
use berth_api::slim;
use berth_model::GpuRequest;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use queue::{Condition, Item, OnObject, OnPod, Queue, Said};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// The name under which Events are written.
const REPORTER: &str = "berth-scheduler";
/// From so many binds that are not answered on, Events trickle.
const MANY_BINDS: i64 = 16;
/// How far apart Events are that trickle.
const TRICKLE: Duration = Duration::from_millis(100);
/// The longest text that an Event takes.
const NOTE_MAX: usize = 1000;
/// The same Event about the same pod is said again only after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// Pods of which it is remembered that a condition was written, or an Event; beyond, the oldest half is forgotten.
const REMEMBERED_MAX: usize = 20_000;

/// How much is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests per second.
    pub per_second: u32,
    /// How long one may take.
    pub timeout: Duration,
    /// The name of this process, in Events.
    pub instance: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 4,
            per_second: 100,
            timeout: Duration::from_secs(10),
            instance: REPORTER.to_owned(),
        }
    }
}

/// Takes over what is to be written.
#[derive(Clone)]
pub(crate) struct Writer {
    it: Arc<Shared>,
}

struct Shared {
    client: Client,
    lease: Lease,
    settings: Settings,
    metrics: Metrics,
    outcomes: mpsc::Sender<Outcome>,
    queue: Mutex<Queue>,
    wake: Notify,
    turn: tokio::sync::Mutex<Instant>,
    /// When the next Event may be written although many binds are under way.
    trickle: Mutex<Instant>,
    /// When a condition was first written on a pod: only then it is a transition.
    told: Mutex<HashMap<Box<str>, Instant>>,
    /// Events by pod and reason: what was said last, and when.
    said: Mutex<HashMap<SaidOf, (String, Instant)>>,
    events: AtomicU64,
}

/// The pod of an Event, by uid, and its reason.
type SaidOf = (Box<str>, &'static str);

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("settings", &self.it.settings).finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(
        client: Client,
        lease: Lease,
        settings: Settings,
        metrics: Metrics,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        let workers = settings.concurrency.max(1);
        let it = Arc::new(Shared {
            client,
            lease,
            settings,
            metrics,
            outcomes,
            queue: Mutex::default(),
            wake: Notify::new(),
            turn: tokio::sync::Mutex::new(Instant::now()),
            trickle: Mutex::new(Instant::now()),
            told: Mutex::default(),
            said: Mutex::default(),
            events: AtomicU64::new(0),
        });
        for _ in 0..workers {
            tokio::spawn(work(Arc::downgrade(&it)));
        }
        Self { it }
    }

    /// Says why pods wait: a condition on each, and one Event for all.
    pub(crate) fn pending(&self, pods: Vec<PodRef>, reason: &'static str, message: String) {
        self.put(|queue| {
            if let Some(first) = pods.first() {
                let others = match pods.len() {
                    1 => String::new(),
                    n => format!(" (so it is with {n} pods of its workload)"),
                };
                let word = if reason == "Unschedulable" { "FailedScheduling" } else { reason };
                let text = format!("{message}{others}");
                queue.say(Said { pod: first.clone(), warning: true, reason: word, text });
            }
            for pod in pods {
                queue.condition(pod, Condition { reason, message: message.clone() });
            }
        });
    }

    /// Writes down that room is kept for a pod.
    pub(crate) fn reserve(&self, pod: PodRef, reservation: Reservation) {
        self.put(|queue| queue.room(pod, Some(reservation)));
    }

    /// Takes that back.
    pub(crate) fn release(&self, pod: PodRef) {
        self.put(|queue| queue.room(pod, None));
    }

    /// Since when the gang of a pod has been below its minimum, if it is.
    pub(crate) fn stale_since(&self, pod: PodRef, since: Option<berth_model::Timestamp>) {
        self.put(|queue| queue.stale(pod, since));
    }

    /// What a pool, a department or a project should say of itself.
    pub(crate) fn status(&self, status: Status) {
        self.put(|queue| queue.object(OnObject::Status(status)));
    }

    /// A namespace that is to be there, for this project.
    pub(crate) fn namespace(&self, name: Box<str>, project: Box<str>) {
        self.put(|queue| queue.object(OnObject::Namespace { name, project }));
    }

    /// The finalizers that a project should have.
    pub(crate) fn finalizers(&self, project: Name, version: String, finalizers: Vec<String>) {
        self.put(|queue| queue.object(OnObject::Finalizers { project, version, finalizers }));
    }

    /// A template of claims that pods ask for.
    pub(crate) fn template(&self, namespace: &str, gpu: GpuRequest) {
        if let Some(template) = convert::template(namespace, gpu) {
            self.put(|queue| queue.object(OnObject::Template(template)));
        }
    }

    /// A pod is about to be bound.
    pub(crate) fn bound(&self, uid: &str) {
        self.it.lock().bound(uid);
        guard(&self.it.told).remove(uid);
    }

    /// An Event about something that is as it should be.
    pub(crate) fn note(&self, pod: &PodRef, reason: &'static str, text: String) {
        self.say(pod, false, reason, text);
    }

    /// An Event about something that is not.
    pub(crate) fn warn(&self, pod: &PodRef, reason: &'static str, text: String) {
        self.say(pod, true, reason, text);
    }

    fn say(&self, pod: &PodRef, warning: bool, reason: &'static str, text: String) {
        self.put(|queue| queue.say(Said { pod: pod.clone(), warning, reason, text }));
    }

    /// Puts something into the queue, and wakes who writes it.
    fn put(&self, put: impl FnOnce(&mut Queue)) {
        put(&mut self.it.lock());
        self.it.wake.notify_waiters();
    }

    /// Writes annotations on a pod now, not in their turn; false if that is to be tried again.
    pub(crate) async fn annotate(&self, pod: &PodRef, annotations: &Value) -> bool {
        self.it.annotate(pod, annotations).await
    }
}

/// Writes one thing after the other until nobody hands over any more.
async fn work(it: std::sync::Weak<Shared>) {
    loop {
        let Some(shared) = it.upgrade() else { return };
        let woken = shared.wake.notified();
        let quiet = shared.may_say();
        let item = shared.lock().take(quiet);
        let Some(item) = item else {
            // Now and then it looks whether there is anybody left, and whether Events need wait no longer.
            let pause = if quiet { Duration::from_secs(1) } else { TRICKLE };
            let _ = tokio::time::timeout(pause, woken).await;
            continue;
        };
        shared.my_turn().await;
        if !shared.lease.allows().await {
            return;
        }
        match item {
            Item::Pod(pod) => shared.pod(pod).await,
            Item::Object(it) => shared.object(it).await,
            Item::Event(said) => shared.event(said).await,
        }
        let waiting = shared.lock().len();
        shared.metrics.waiting.with_label_values(&["writes"]).set(waiting as i64);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        guard(&self.queue)
    }

    /// True if an Event may be written now.
    fn may_say(&self) -> bool {
        if self.metrics.waiting.with_label_values(&["binds"]).get() < MANY_BINDS {
            return true;
        }
        let (now, mut next) = (Instant::now(), guard(&self.trickle));
        let may = *next <= now;
        if may {
            *next = now + TRICKLE;
        }
        may
    }

    /// Waits until the rate allows one more; a second's worth may come at once.
    async fn my_turn(&self) {
        let mut turn = self.turn.lock().await;
        let each = Duration::from_secs(1) / self.settings.per_second.max(1);
        let now = Instant::now();
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        *turn = (*turn).max(earliest) + each;
        let at = *turn;
        drop(turn);
        tokio::time::sleep_until(at).await;
    }

    /// Writes what is to be written on a pod, as one patch of the object and one of its status.
    async fn pod(&self, mut it: OnPod) {
        let pod = it.pod.clone();
        if it.check && self.put_right(&pod).await {
            it.check = false;
        }
        let annotated = match annotations(&it) {
            None => true,
            Some(annotations) => self.annotate(&pod, &annotations).await,
        };
        let condition = it.condition.is_some();
        let told = match (&it.room, &it.condition) {
            (None, None) => true,
            _ => self.status(&it).await,
        };
        let again = it.check || !annotated || !told;
        if again {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.lock().written(&pod, condition, again.then_some(it));
        self.wake.notify_waiters();
    }

    /// Writes annotations; false if it is to be tried again.
    async fn annotate(&self, pod: &PodRef, annotations: &Value) -> bool {
        let patch = json!({ "metadata": { "uid": pod.uid, "annotations": annotations } });
        let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let sent = async { self.pods(pod).patch_metadata(&pod.name, &options, &patch).await.map(drop) };
        let answer = ask(self.settings.timeout, sent).await;
        self.judge("annotate", pod, &answer)
    }

    /// Writes the condition and where room is kept; false if it is to be tried again.
    async fn status(&self, it: &OnPod) -> bool {
        let mut status = Map::new();
        if let Some(Condition { reason, message }) = &it.condition {
            let mut condition = json!({
                "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            });
            if self.is_transition(&it.pod.uid) {
                condition["lastTransitionTime"] = json!(format!("{:.0}", Timestamp::now()));
            }
            status.insert("conditions".to_owned(), json!([condition]));
        }
        if let Some(room) = &it.room {
            status.insert("nominatedNodeName".to_owned(), json!(room.as_ref().map(|room| &room.node)));
        }
        self.patch_status(&it.pod, &Value::Object(status)).await
    }

    async fn patch_status(&self, pod: &PodRef, status: &Value) -> bool {
        let patch = json!({ "metadata": { "uid": pod.uid }, "status": status });
        let (options, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let sent = async { self.pods(pod).patch_status(&pod.name, &options, &patch).await.map(drop) };
        let answer = ask(self.settings.timeout, sent).await;
        self.judge("status", pod, &answer)
    }

    /// A condition may have been written over a bind's: if the pod is bound it says so again.
    async fn put_right(&self, pod: &PodRef) -> bool {
        let pods: Api<slim::Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let answer = ask(self.settings.timeout, pods.get(&pod.name)).await;
        let Answer::Done(seen) = &answer else { return self.judge("look", pod, &answer) };
        let said = seen.status.conditions.iter().find(|it| it.type_ == "PodScheduled");
        let wrong = said.is_some_and(|said| said.status != "True");
        if seen.spec.node_name.is_none() || seen.metadata.uid.as_deref() != Some(&*pod.uid) || !wrong {
            return true;
        }
        let condition = json!({
            "type": "PodScheduled", "status": "True", "reason": null, "message": null,
            "lastTransitionTime": format!("{:.0}", Timestamp::now()),
        });
        self.patch_status(pod, &json!({ "conditions": [condition] })).await
    }

    async fn event(&self, said: Said) {
        if !self.is_news(&said) {
            return;
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), &said.pod.namespace);
        let event = self.event_object(&said);
        let options = PostParams::default();
        let sent = async { events.create(&options, &event).await.map(drop) };
        let answer = ask(self.settings.timeout, sent).await;
        self.metrics.answer("event", &answer);
        if !matches!(answer, Answer::Done(())) {
            tracing::debug!(pod = %said.pod, ?answer, text = said.text, "an Event was not written");
        }
    }

    fn event_object(&self, said: &Said) -> Event {
        let now = Timestamp::now();
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}{:x}", said.pod.name, now.as_microsecond(), number & 0xfff)),
                namespace: Some(said.pod.namespace.to_string()),
                ..ObjectMeta::default()
            },
            type_: Some(if said.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(said.reason.to_owned()),
            action: Some("Scheduling".to_owned()),
            note: Some(cut(&said.text).to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(said.pod.name.to_string()),
                namespace: Some(said.pod.namespace.to_string()),
                uid: Some(said.pod.uid.to_string()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.settings.instance.clone()),
            ..Event::default()
        }
    }

    /// False if the same was said of the same pod of late.
    fn is_news(&self, said: &Said) -> bool {
        let mut all = guard(&self.said);
        let now = Instant::now();
        forget(&mut all, |(_, at)| *at);
        let key = (said.pod.uid.clone(), said.reason);
        let known = all.get(&key);
        let news =
            known.is_none_or(|(text, at)| *text != said.text || now.duration_since(*at) > REPEAT_AFTER);
        if news {
            all.insert(key, (said.text.clone(), now));
        }
        news
    }

    fn is_transition(&self, uid: &str) -> bool {
        let mut told = guard(&self.told);
        forget(&mut told, |at| *at);
        told.insert(uid.into(), Instant::now()).is_none()
    }

    /// False if a write is to be tried again.
    fn judge<T>(&self, request: &str, pod: &PodRef, answer: &Answer<T>) -> bool {
        self.metrics.answer(request, answer);
        match answer {
            Answer::Done(_) | Answer::Absent | Answer::Refused(409, _) => true,
            Answer::Refused(_, why) => {
                tracing::warn!(%pod, request, why, "a write was refused");
                true
            }
            Answer::Lost(why) => {
                tracing::debug!(%pod, request, why, "a write is tried again");
                false
            }
            Answer::Busy(_) => false,
        }
    }

    fn pods(&self, pod: &PodRef) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The annotations to be written on a pod, the reservation as a whole; null takes one off.
fn annotations(it: &OnPod) -> Option<Value> {
    let mut annotations = Map::new();
    if let Some(room) = &it.room {
        let text = room.as_ref().and_then(|room| serde_json::to_string(room).ok());
        annotations.insert(written::RESERVATION.to_owned(), json!(text));
    }
    if let Some(since) = &it.stale {
        let text = since.and_then(|at| Timestamp::from_millisecond(at.0).ok()).map(|at| at.to_string());
        annotations.insert(written::STALE_SINCE.to_owned(), json!(text));
    }
    (!annotations.is_empty()).then_some(Value::Object(annotations))
}

/// Keeps a memory from growing without bound.
fn forget<K: std::hash::Hash + Eq, V>(all: &mut HashMap<K, V>, at: impl Fn(&V) -> Instant) {
    if all.len() < REMEMBERED_MAX {
        return;
    }
    let mut times: Vec<Instant> = all.values().map(&at).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    all.retain(|_, value| at(value) > middle);
}

/// As much of a text as an Event takes.
fn cut(text: &str) -> &str {
    let end = (0..=NOTE_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("so"), "so");
        let long = "ü".repeat(900);
        assert_eq!(cut(&long).len(), 1000);
        assert_eq!(cut(&format!("a{long}")).len(), 999);
    }

    #[test]
    fn memory_is_bounded() {
        let begun = Instant::now();
        let mut all: HashMap<usize, Instant> =
            (0..REMEMBERED_MAX).map(|n| (n, begun + Duration::from_millis(n as u64))).collect();
        forget(&mut all, |at| *at);
        assert_eq!(all.len(), REMEMBERED_MAX - REMEMBERED_MAX / 2 - 1);
        assert!(all.contains_key(&(REMEMBERED_MAX - 1)));
    }
}
