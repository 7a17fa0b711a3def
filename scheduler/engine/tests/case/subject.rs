//! Those who can be asked to decide: the engine, and the reference.

use super::show;
use crate::reference::Reference;
use berth_engine::{Engine, Settings};
use berth_model::{Amounts, Budget, Event, Explanation, PoolId, QueueId, Timestamp, WorkloadId};

/// Somebody who takes in events and decides.
pub(crate) trait Subject {
    /// Takes in an event, or says why not.
    fn apply(&mut self, event: Event) -> Result<(), String>;
    /// What it decides, as lines.
    fn decide(&mut self, now: Timestamp, budget: Budget) -> Vec<String>;
    /// The fair share of a queue in a pool.
    fn fair_share(&mut self, queue: QueueId, pool: PoolId) -> Amounts;
    /// Why a workload waits.
    fn explain(&mut self, workload: WorkloadId) -> Option<Explanation>;
}

/// A new engine.
pub(crate) fn engine() -> Box<dyn Subject> {
    Box::new(Engine::new(Settings::default()))
}

/// A new reference. It accepts every event, keeps to no budget and explains nothing.
pub(crate) fn reference() -> Box<dyn Subject> {
    Box::new(Reference::default())
}

impl Subject for Engine {
    fn apply(&mut self, event: Event) -> Result<(), String> {
        self.apply(event).map_err(|error| error.to_string())
    }

    fn decide(&mut self, now: Timestamp, budget: Budget) -> Vec<String> {
        self.decide(now, budget).iter().map(show::decision).collect()
    }

    fn fair_share(&mut self, queue: QueueId, pool: PoolId) -> Amounts {
        self.queue_usage(queue, pool).expect("a queue in a pool").fair_share
    }

    fn explain(&mut self, workload: WorkloadId) -> Option<Explanation> {
        Engine::explain(self, workload)
    }
}

impl Subject for Reference {
    fn apply(&mut self, event: Event) -> Result<(), String> {
        self.apply(&event);
        Ok(())
    }

    fn decide(&mut self, now: Timestamp, _budget: Budget) -> Vec<String> {
        let decided = self.decide(now);
        let done = decided.done.iter().map(show::decision);
        done.chain(decided.reported.iter().map(|(workload, kind)| show::report(*workload, *kind))).collect()
    }

    fn fair_share(&mut self, queue: QueueId, pool: PoolId) -> Amounts {
        self.state.fair_share(queue, pool)
    }

    fn explain(&mut self, _workload: WorkloadId) -> Option<Explanation> {
        None
    }
}
