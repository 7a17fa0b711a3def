//! What the deciding thread waits for: outcomes of requests, changes, questions, the lease, the end; or a timer.

use berth_cluster::lease::{Leading, Lease};
use berth_cluster::watch::Batch;
use berth_cluster::{Change, Outcome};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// Batches that are taken in together at most.
const BATCHES_MAX: usize = 32;
/// Outcomes that are taken in together at most.
const OUTCOMES_MAX: usize = 4096;

/// A question from outside.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Why the workload of a pod waits.
    Explain {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The answer; none if there is no such pod.
        reply: oneshot::Sender<Option<serde_json::Value>>,
    },
    /// Bring the gauges up to date.
    Measure(oneshot::Sender<()>),
    /// Write all of the event log.
    Flush(oneshot::Sender<()>),
}

/// What has come up.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) changes: Vec<Change>,
    pub(crate) lists_ended: usize,
    pub(crate) asks: Vec<Ask>,
    /// The process is to end, or nothing can come any more.
    pub(crate) stop: bool,
}

/// Where it comes from.
pub(crate) struct Inputs {
    pub(crate) runtime: Handle,
    pub(crate) outcomes: mpsc::Receiver<Outcome>,
    pub(crate) batches: mpsc::Receiver<Batch>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) lease: Lease,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Inputs {
    /// Waits for something, at most so long, and takes in what there is. Outcomes come first: they free what others wait for.
    pub(crate) fn wait(&mut self, at_most: Duration) -> Taken {
        let mut taken = Taken::default();
        let Self { runtime, outcomes, batches, asks, lease, stop } = self;
        let until = Instant::now() + at_most;
        runtime.clone().block_on(async {
            let mut answers = Vec::new();
            let leads = lease.now() != Leading::No;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => taken.stop = true,
                _ = outcomes.recv_many(&mut answers, OUTCOMES_MAX) => {}
                ask = asks.recv() => taken.asks.extend(ask),
                batch = batches.recv() => match batch {
                    Some(batch) => taken.batch(batch),
                    None => taken.stop = true,
                },
                _ = lease.begun(), if !leads => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
            taken.changes.extend(answers.drain(..).map(Change::Outcome));
        });
        while let Ok(outcome) = self.outcomes.try_recv() {
            taken.changes.push(Change::Outcome(outcome));
        }
        for _ in 0..BATCHES_MAX {
            let Ok(batch) = self.batches.try_recv() else { break };
            taken.batch(batch);
        }
        while let Ok(ask) = self.asks.try_recv() {
            taken.asks.push(ask);
        }
        taken
    }
}

impl Taken {
    fn batch(&mut self, batch: Batch) {
        self.changes.extend(batch.changes);
        self.lists_ended += usize::from(batch.first_list_ended);
    }
}
