//! Watches: what the API server says, as changes.
//!
//! One follower per kind of object reads a list and then the changes after it, and sends both in batches into one bounded
//! channel; a follower whose batches are not taken stops reading, and the API server ends its watch when that takes too
//! long. Whatever is missed so, or by a lost connection, a restarted API server or an expired version (410), is made good by
//! a new list: `ListBegun`, everything that is there, `ListEnded`.
//!
//! Lists are streamed (`sendInitialEvents`) where the API server can, else read in pages.
//!
//! Kinds of others (JobSets, RayClusters, ...) are followed while they are served, which is looked at every minute.
//!
//! | module | what it holds |
//! |---|---|
//! | `kinds` | what is watched, and as what it is told |
//! | `claims` | which claims of volumes are bound, for binds that wait for them |

mod claims;
mod kinds;

use crate::change::{Change, Kind, Name, Object};
use crate::metrics::Metrics;
use crate::pause::Pause;
use berth_api::names::driver;
pub(crate) use claims::Claim;
pub use claims::Claims;
use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use prometheus::IntCounter;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// The most changes in one batch.
const BATCH_MAX: usize = 512;
/// The most batches that wait to be taken in.
const BATCHES_MAX: usize = 16;
/// Objects in a page, where lists cannot be streamed.
const PAGE: u32 = 500;

/// Changes that are taken in together.
#[derive(Debug)]
pub struct Batch {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// True for the last batch of the first list of one of the kinds that are waited for.
    pub first_list_ended: bool,
}

/// Watches that run.
#[derive(Debug)]
pub struct Watches {
    /// What they tell.
    pub batches: mpsc::Receiver<Batch>,
    /// How many kinds are waited for: once so many first lists have ended, all is known that there is.
    pub kinds: usize,
    /// Which claims are bound.
    pub claims: Claims,
}

/// Where a follower sends what it reads.
#[derive(Clone)]
struct Feed {
    batches: mpsc::Sender<Batch>,
    claims: Claims,
    metrics: Metrics,
}

/// Starts all watches. They end when [`Watches`] is dropped.
///
/// # Errors
/// If the API server does not say which kinds it serves.
pub async fn start(client: Client, metrics: Metrics) -> Result<Watches, kube::Error> {
    let (send, batches) = mpsc::channel(BATCHES_MAX);
    let claims = Claims::default();
    let feed = Feed { batches: send, claims: claims.clone(), metrics };
    let kinds = kinds::start(client, feed).await?;
    Ok(Watches { batches, kinds, claims })
}

/// What a follower follows.
struct Followed<K> {
    api: Api<K>,
    kind: Kind,
    /// What the objects are told as.
    object: fn(Box<K>) -> Object,
    /// Whether others are told as the same kind, so that a list of these says nothing about those.
    shared: bool,
    /// Whether it may cease to be served: then all are gone, and the follower ends.
    optional: bool,
}

/// How a follower goes on after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// After a pause, where it was.
    Again,
    /// After a pause, from a new list.
    List,
    /// From a new list, in pages.
    Pages,
    /// It is not served.
    Absent,
}

/// Follows one kind until nobody takes what it says, or until an optional kind is served no more.
async fn follow<K>(it: Followed<K>, feed: Feed)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut reading = Reading::new(it.kind, it.object, it.shared, &feed.metrics);
    let mut pause = Pause::new(Duration::from_millis(250), Duration::from_secs(15));
    let mut streamed = true;
    loop {
        let config = watcher::Config::default().page_size(PAGE);
        // Devices of other drivers are many, and none of our business.
        let config = match it.kind {
            Kind::Slice => config.fields(&format!("spec.driver={}", driver::NAME)),
            _ => config,
        };
        let config = if streamed { config.streaming_lists() } else { config };
        let mut events = pin!(watcher(it.api.clone(), config).ready_chunks(BATCH_MAX));
        let next = loop {
            let Some(chunk) = events.next().await else { break Next::List };
            let mut failed = None;
            let mut batch = Batch { changes: Vec::with_capacity(chunk.len()), first_list_ended: false };
            for event in chunk {
                match event {
                    Ok(event) => reading.read(event, &mut batch),
                    Err(error) => failed = Some(error),
                }
            }
            if !batch.changes.is_empty() {
                pause.reset();
                if feed.send(batch).await.is_err() {
                    return;
                }
            }
            let Some(error) = failed else { continue };
            let next = next(&error, streamed);
            say(it.kind, &error, next);
            if next != Next::Again {
                break next;
            }
            pause.wait().await;
        };
        match next {
            Next::Pages => streamed = false,
            Next::Absent if it.optional => {
                let _ = feed.send(reading.none()).await;
                return;
            }
            _ => pause.wait().await,
        }
    }
}

/// What to do after an error. An expired version (410) that comes as an event is dealt with by the watcher itself.
fn next(error: &watcher::Error, streamed: bool) -> Next {
    let code = |error: &kube::Error| match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            match code(error) {
                404 => Next::Absent,
                // An API server that does not know what was asked for.
                400 | 422 if streamed => Next::Pages,
                410 => Next::List,
                _ => Next::Again,
            }
        }
        watcher::Error::WatchError(_) | watcher::Error::WatchFailed(_) => Next::Again,
        watcher::Error::NoResourceVersion => Next::List,
    }
}

fn say(kind: Kind, error: &watcher::Error, next: Next) {
    match error {
        // Connections end now and then; that is no trouble.
        watcher::Error::WatchFailed(_) => tracing::debug!(?kind, %error, ?next, "a watch has ended"),
        _ => tracing::warn!(?kind, %error, ?next, "a watch has failed"),
    }
}

/// Names of one of several sources that are told as the same kind.
#[derive(Debug, Default)]
struct Shared {
    known: BTreeSet<Name>,
    listed: Option<BTreeSet<Name>>,
}

/// How what is read becomes changes.
struct Reading<K> {
    kind: Kind,
    object: fn(Box<K>) -> Object,
    shared: Option<Shared>,
    first: bool,
    lists: IntCounter,
    changes: IntCounter,
}

impl<K: Resource<DynamicType = ()>> Reading<K> {
    fn new(kind: Kind, object: fn(Box<K>) -> Object, shared: bool, metrics: &Metrics) -> Self {
        let word = word(kind);
        Self {
            kind,
            object,
            shared: shared.then(Shared::default),
            first: true,
            lists: metrics.lists.with_label_values(&[&word]),
            changes: metrics.changes.with_label_values(&[&word]),
        }
    }

    fn read(&mut self, event: Event<K>, batch: &mut Batch) {
        match event {
            Event::Init => {
                self.lists.inc();
                match &mut self.shared {
                    Some(shared) => shared.listed = Some(BTreeSet::new()),
                    None => batch.changes.push(Change::ListBegun(self.kind)),
                }
            }
            Event::InitApply(it) | Event::Apply(it) => {
                self.changes.inc();
                if let Some(shared) = &mut self.shared {
                    shared.set(Name::of(it.meta()));
                }
                batch.changes.push(Change::Set((self.object)(Box::new(it))));
            }
            Event::Delete(it) => {
                self.changes.inc();
                let name = Name::of(it.meta());
                if let Some(shared) = &mut self.shared {
                    shared.known.remove(&name);
                }
                let uid = it.meta().uid.as_deref().map(Into::into);
                batch.changes.push(Change::Gone(self.kind, name, uid));
            }
            Event::InitDone => {
                match &mut self.shared {
                    Some(shared) => {
                        let gone = shared.list_ended();
                        batch
                            .changes
                            .extend(gone.into_iter().map(|name| Change::Gone(self.kind, name, None)));
                    }
                    None => batch.changes.push(Change::ListEnded(self.kind)),
                }
                batch.first_list_ended |= std::mem::take(&mut self.first);
            }
        }
    }

    /// That there are none of it.
    fn none(&mut self) -> Batch {
        let changes = match &mut self.shared {
            Some(shared) => {
                let gone = std::mem::take(&mut shared.known);
                gone.into_iter().map(|name| Change::Gone(self.kind, name, None)).collect()
            }
            None => vec![Change::ListBegun(self.kind), Change::ListEnded(self.kind)],
        };
        Batch { changes, first_list_ended: std::mem::take(&mut self.first) }
    }
}

impl Shared {
    fn set(&mut self, name: Name) {
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        self.known.insert(name);
    }

    fn list_ended(&mut self) -> Vec<Name> {
        let listed = self.listed.take().unwrap_or_default();
        let gone: Vec<Name> = self.known.difference(&listed).cloned().collect();
        self.known = listed;
        gone
    }
}

impl Feed {
    async fn send(&self, batch: Batch) -> Result<(), mpsc::error::SendError<Batch>> {
        for change in &batch.changes {
            self.claims.see(change);
        }
        let sent = self.batches.send(batch).await;
        let waiting = self.batches.max_capacity() - self.batches.capacity();
        self.metrics.waiting.with_label_values(&["changes"]).set(waiting as i64);
        sent
    }
}

/// The kind in a word, for metrics.
fn word(kind: Kind) -> String {
    match kind {
        Kind::Owner(gang) => format!("{gang:?}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_api::slim::owners::PyTorchJob;
    use kube::core::Status;

    fn job(name: &str) -> PyTorchJob {
        let mut job = PyTorchJob::default();
        job.metadata.name = Some(name.to_owned());
        job
    }

    fn reading(shared: bool) -> Reading<PyTorchJob> {
        let object = |_| Object::Namespace(Box::default());
        let metrics = Metrics::new(&prometheus::Registry::new()).expect("names are free");
        Reading::new(Kind::Namespace, object, shared, &metrics)
    }

    fn read(it: &mut Reading<PyTorchJob>, events: Vec<Event<PyTorchJob>>) -> Batch {
        let mut batch = Batch { changes: Vec::new(), first_list_ended: false };
        events.into_iter().for_each(|event| it.read(event, &mut batch));
        batch
    }

    fn list(names: &[&str]) -> Vec<Event<PyTorchJob>> {
        let mut events = vec![Event::Init];
        events.extend(names.iter().map(|name| Event::InitApply(job(name))));
        events.push(Event::InitDone);
        events
    }

    #[test]
    fn a_list_is_told_as_one_and_the_first_is_marked() {
        let mut it = reading(false);
        let batch = read(&mut it, list(&["a"]));
        assert!(matches!(batch.changes[..], [Change::ListBegun(_), Change::Set(_), Change::ListEnded(_)]));
        assert!(batch.first_list_ended);
        assert!(!read(&mut it, list(&["a"])).first_list_ended);
    }

    #[test]
    fn of_a_kind_with_several_sources_only_its_own_are_gone() {
        let mut it = reading(true);
        assert_eq!(read(&mut it, list(&["a", "b"])).changes.len(), 2);
        let again = read(&mut it, list(&["b"])).changes;
        assert!(matches!(&again[1], Change::Gone(_, name, None) if &*name.name == "a"));
        assert_eq!(it.none().changes.len(), 1);
    }

    #[test]
    fn errors_are_told_apart() {
        let api = |code| kube::Error::Api(Status { code, ..Status::default() }.boxed());
        let start = |code| next(&watcher::Error::WatchStartFailed(api(code)), true);
        assert_eq!([404, 410, 422, 500].map(start), [Next::Absent, Next::List, Next::Pages, Next::Again]);
        let paged = next(&watcher::Error::InitialListFailed(api(422)), false);
        assert_eq!(paged, Next::Again);
    }
}
