//! The measured cases: how each is set up. What is timed is [`decide`], or [`one_by_one`] where it says so.

use crate::cluster::{self, GPUS_PER_NODE};
use crate::load::{self, Seed};
use crate::openb::Openb;
use berth_engine::Engine;
use berth_model::{Budget, Decision, Event, NodeSpec, PodSpec, PodState, Strategy, Timestamp, WorkloadId};
use std::sync::Arc;

/// How full the fill cases make a cluster, in per cent of its GPUs.
pub const FULL_PERCENT: i64 = 95;
/// Pods of the large gang.
pub const GANG: u32 = 512;
/// Pods of the gang that cannot run.
pub const TOO_MANY: u32 = 10;

const SEED: Seed = Seed(12_345);
/// An id that no load reaches.
const GANG_ID: u64 = 1 << 40;

/// A cluster and what is submitted to it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its nodes, without pods.
    pub nodes: Vec<NodeSpec>,
    /// The pods, one workload each, in this order.
    pub pods: Vec<Arc<PodSpec>>,
}

impl Case {
    /// Eight-GPU nodes, filled with pods of 1, 2, 4 and 8 GPUs.
    pub fn whole_gpus(nodes: u32) -> Self {
        Self::whole_gpus_to(nodes, FULL_PERCENT)
    }

    fn whole_gpus_to(nodes: u32, percent: i64) -> Self {
        let gpus = u64::from(nodes * GPUS_PER_NODE) * percent as u64 / 100;
        Self { nodes: cluster::dgx(nodes).collect(), pods: load::whole_gpu_mix(gpus, SEED) }
    }

    /// The nodes of the openb trace, filled with its mix of shares, CPU-only pods and required models.
    pub fn openb(openb: &Openb, nodes: u32) -> Self {
        let nodes = openb.nodes(nodes);
        let pods = openb.pods(&nodes, FULL_PERCENT, SEED);
        Self { nodes, pods }
    }

    /// The empty cluster.
    pub fn engine(&self) -> Engine {
        cluster::engine(self.nodes.iter().cloned(), Strategy::Binpack)
    }

    /// The submissions.
    pub fn events(&self) -> Vec<Event> {
        load::submissions(&self.pods, 0)
    }

    /// The cluster with everything submitted and nothing decided.
    pub fn submitted(&self) -> Engine {
        let mut engine = self.engine();
        submit(&mut engine, self.events());
        engine
    }
}

/// A cluster whose GPUs are half full, and the gang submitted.
pub fn before_gang(nodes: u32, gang: u32) -> Engine {
    let mut engine = Case::whole_gpus_to(nodes, 50).submitted();
    decide(&mut engine);
    submit(&mut engine, [load::gang(GANG_ID, gang, &load::whole(GPUS_PER_NODE))]);
    engine
}

/// A cluster in which all nodes but nine have one GPU left, and a gang of ten pods with eight GPUs each submitted: it
/// has room for nine.
pub fn before_verdict(nodes: u32) -> Engine {
    let mut engine = nearly_full(nodes);
    submit(&mut engine, [too_large()]);
    engine
}

/// The cluster of [`before_verdict`] without the gang.
pub fn nearly_full(nodes: u32) -> Engine {
    let pods = vec![load::whole(GPUS_PER_NODE - 1); (nodes - (TOO_MANY - 1)) as usize];
    let mut engine = Case { nodes: cluster::dgx(nodes).collect(), pods }.submitted();
    decide(&mut engine);
    engine
}

/// The gang of [`before_verdict`].
pub fn too_large() -> Event {
    load::gang(GANG_ID, TOO_MANY, &load::whole(GPUS_PER_NODE))
}

/// Applies events.
///
/// # Panics
/// If one is refused.
pub fn submit(engine: &mut Engine, events: impl IntoIterator<Item = Event>) {
    for event in events {
        engine.apply(event).expect("the event is valid");
    }
}

/// One cycle without a bound.
pub fn decide(engine: &mut Engine) -> Vec<Decision> {
    engine.decide(Timestamp(0), Budget::UNLIMITED)
}

/// Applies the events one by one and decides after each, as a cluster with little load does. Returns the pods placed.
pub fn one_by_one(engine: &mut Engine, events: Vec<Event>) -> usize {
    let decided = events.into_iter().map(|event| {
        submit(engine, [event]);
        placed(&decide(engine))
    });
    decided.sum()
}

/// One by one in order; a pod that does not fit at its turn is dropped for good. Returns the pods placed.
pub fn one_by_one_or_never(engine: &mut Engine, pods: &[Arc<PodSpec>]) -> usize {
    let decided = (0..).zip(pods).map(|(id, pod)| {
        submit(engine, [load::gang(id, 1, pod)]);
        let placed = placed(&decide(engine));
        if placed == 0 {
            submit(engine, [Event::WorkloadRemoved(WorkloadId(id))]);
        }
        placed
    });
    decided.sum()
}

/// Tells the engine that what it placed runs.
pub fn confirm(engine: &mut Engine, decisions: &[Decision]) {
    let running = decisions.iter().filter_map(|decision| match decision {
        Decision::Place { pod, at } => {
            Some(Event::PodRunning(PodState::new(*pod, at.node, at.gpus, Timestamp(0))))
        }
        _ => None,
    });
    submit(engine, running);
}

/// How many pods were placed.
pub fn placed(decisions: &[Decision]) -> usize {
    decisions.iter().filter(|decision| matches!(decision, Decision::Place { .. })).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_model::Reason;

    #[test]
    fn every_case_measures_what_it_says() {
        let case = Case::whole_gpus(50);
        assert!(placed(&decide(&mut case.submitted())) > case.pods.len() * 95 / 100);
        let case = Case::openb(&Openb::common(), 200);
        assert!(one_by_one(&mut case.engine(), case.events()) > case.pods.len() / 2);
        assert_eq!(placed(&decide(&mut before_gang(50, 8))), 8);
        let mut engine = before_verdict(50);
        let decisions = decide(&mut engine);
        let Some(Decision::Report { reason, .. }) = decisions.first() else {
            panic!("no verdict: {decisions:?}")
        };
        let Reason::Capacity { placed, wanted, .. } = reason.as_ref() else {
            panic!("not about room: {reason:?}")
        };
        assert_eq!((*placed, *wanted), (TOO_MANY - 1, TOO_MANY));
        assert_eq!(decide(&mut engine), []);
    }
}
