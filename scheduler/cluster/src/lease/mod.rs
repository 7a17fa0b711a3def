//! Who leads: one of several replicas, by an object of `coordination.k8s.io/v1`.
//!
//! The leader writes the object every half second; whoever sees it unchanged for its duration (2 s) by his own clock takes
//! it over. He looks every half second and just then, so a leader that is gone is replaced after 2.5 s and three
//! requests at the latest. The leader counts its time from *before* it
//! sent the write, the others from after they saw it: what it may still do is over before another begins.
//!
//! A leader that could not renew has lost the lease for good: what it knows of its own requests is worth
//! nothing any more, and the process ends.

mod election;

use crate::answer::{Answer, ask};
pub use election::Record;
use election::{Election, Step};
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// How the lease is held.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is, unlike any other, this process after a restart included.
    pub identity: String,
    /// How long it holds without being renewed, in whole seconds.
    pub duration: Duration,
    /// How often it is renewed, and looked at.
    pub renew: Duration,
}

/// Whether this process leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leading {
    /// Another does, or nobody.
    No,
    /// It does, until then if it does not renew.
    Until(Instant),
    /// It does, and there is no lease.
    Always,
    /// It did, and does not any more.
    Lost,
}

/// Tells whether this process leads; clones tell the same.
#[derive(Clone, Debug)]
pub struct Lease {
    leading: watch::Receiver<Leading>,
    made: Arc<OnceLock<Timestamp>>,
}

impl Lease {
    /// For a single replica: it always leads.
    pub fn always() -> Self {
        Self::told(watch::channel(Leading::Always).1)
    }

    /// Told by other means than an object.
    pub fn told(leading: watch::Receiver<Leading>) -> Self {
        Self { leading, made: Arc::default() }
    }

    /// When the object was made, by the clock of the API server: at the first start in the cluster. Known to who leads.
    pub fn made(&self) -> Option<SystemTime> {
        self.made.get().map(|made| SystemTime::from(*made))
    }

    /// True if this process may act now.
    pub fn may_act(&self) -> bool {
        match *self.leading.borrow() {
            Leading::Always => true,
            Leading::Until(until) => Instant::now() < until,
            Leading::No | Leading::Lost => false,
        }
    }

    /// Waits while it is open whether this process still leads, as it is while a renewal is late; true if it may act.
    pub(crate) async fn allows(&self) -> bool {
        let mut leading = self.leading.clone();
        loop {
            let now = *leading.borrow_and_update();
            match now {
                Leading::Always => return true,
                Leading::Until(until) if Instant::now() < until => return true,
                Leading::Lost => return false,
                Leading::No | Leading::Until(_) => {
                    if leading.changed().await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// What is so now.
    pub fn now(&self) -> Leading {
        *self.leading.borrow()
    }

    /// Returns once this process leads, or has lost the lease.
    pub async fn begun(&mut self) -> Leading {
        self.until(|leading| *leading != Leading::No).await
    }

    /// Returns once the lease is lost.
    pub async fn lost(&mut self) {
        self.until(|leading| *leading == Leading::Lost).await;
    }

    async fn until(&mut self, so: impl FnMut(&Leading) -> bool) -> Leading {
        let leading = self.leading.wait_for(so).await.map(|leading| *leading);
        match leading {
            Ok(leading) => leading,
            // Nobody renews any more; with no lease at all nothing ever changes.
            Err(_) if self.now() == Leading::Always => std::future::pending().await,
            Err(_) => Leading::Lost,
        }
    }
}

/// Tries to lead once `ready` says so, and goes on leading until `stop` does: then the lease is given back, so that another
/// need not wait.
pub fn hold(
    client: Client,
    settings: Settings,
    mut ready: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) -> (Lease, tokio::task::JoinHandle<()>) {
    let (tell, leading) = watch::channel(Leading::No);
    let api = Api::namespaced(client, &settings.namespace);
    let election = Election::new(settings.identity.clone(), settings.duration);
    let made = Arc::default();
    let holder = Holder { api, settings, election, tell, made: Arc::clone(&made), begun: Instant::now() };
    let task = tokio::spawn(async move {
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        holder.run(stop).await;
    });
    (Lease { leading, made }, task)
}

struct Holder {
    api: Api<Object>,
    settings: Settings,
    election: Election,
    tell: watch::Sender<Leading>,
    made: Arc<OnceLock<Timestamp>>,
    begun: Instant,
}

impl Holder {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut next = self.begun;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            next = Instant::now() + self.settings.renew;
            self.turn().await;
            // Whoever waits for another's lease to run out looks just then.
            if let Some(over) = self.election.over(self.now()) {
                next = next.min(self.begun + over);
            }
            if self.election.is_lost(self.now()) {
                tracing::error!(lease = self.settings.name, "the lease could not be renewed and is lost");
                self.tell.send_replace(Leading::Lost);
                return;
            }
        }
        if self.election.until().is_some() {
            let step = Step::Write(self.election.released());
            self.write(step).await;
            tracing::info!(lease = self.settings.name, "the lease is given back");
        }
        self.tell.send_replace(Leading::Lost);
    }

    /// Time since the beginning, by a clock that does not jump.
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How long a request may take: the leader must know in time to ask again.
    fn patience(&self) -> Duration {
        self.settings.renew.max(self.settings.duration / 2)
    }

    async fn turn(&mut self) {
        if !self.election.knows_last() {
            match ask(self.patience(), self.api.get_opt(&self.settings.name)).await {
                Answer::Done(object) => {
                    let now = self.now();
                    self.election.saw(object.map(read), now);
                }
                other => return tracing::warn!(answer = ?other.word(), "the lease cannot be read"),
            }
        }
        let step = self.election.step(self.now(), Timestamp::now().as_microsecond());
        self.write(step).await;
    }

    async fn write(&mut self, step: Step) {
        let before = self.now();
        let options = PostParams::default();
        let answer = match step {
            Step::Wait => return,
            Step::Create(record) => {
                let object = self.object(&record);
                ask(self.patience(), self.api.create(&options, &object)).await
            }
            Step::Write(record) => {
                let object = self.object(&record);
                ask(self.patience(), self.api.replace(&self.settings.name, &options, &object)).await
            }
        };
        match answer {
            Answer::Done(object) => {
                let led = self.election.until().is_some();
                if let Some(made) = &object.metadata.creation_timestamp {
                    self.made.get_or_init(|| made.0);
                }
                self.election.wrote(read(object), before);
                if let Some(until) = self.election.until() {
                    self.tell.send_replace(Leading::Until(self.begun + until));
                    if !led {
                        tracing::info!(
                            lease = self.settings.name,
                            identity = self.settings.identity,
                            "leads"
                        );
                    }
                }
            }
            other => {
                tracing::debug!(answer = ?other, "the lease was not written");
                self.election.failed();
            }
        }
    }

    fn object(&self, record: &Record) -> Object {
        let time = |micros: i64| Timestamp::from_microsecond(micros).ok().map(MicroTime);
        Object {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                resource_version: record.version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: Some(record.duration.as_secs().max(1) as i32),
                acquire_time: time(record.acquired_us),
                renew_time: time(record.renewed_us),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn read(object: Object) -> Record {
    let spec = object.spec.unwrap_or_default();
    let micros = |time: Option<MicroTime>| time.map_or(0, |time| time.0.as_microsecond());
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(1)).unwrap_or(1);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds),
        acquired_us: micros(spec.acquire_time),
        renewed_us: micros(spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: object.metadata.resource_version,
    }
}
