//! What somebody has decided, done to a state or told to an engine that does not decide.

use crate::reference::state::State;
use berth_engine::Engine;
use berth_model::{Decision, Event, PodState, Timestamp};
use std::collections::BTreeSet;

/// Tells an engine that does not decide what was decided.
pub(super) fn tell(engine: &mut Engine, decision: &Decision, now: Timestamp) {
    let event = match decision {
        Decision::Place { pod, at } => Event::PodRunning(PodState::new(*pod, at.node, at.gpus, now)),
        Decision::Evict { pod, grace, .. } => Event::PodLeaving { pod: *pod, until: now.plus(*grace) },
        _ => return,
    };
    engine.apply(event.clone()).unwrap_or_else(|error| panic!("impossible: {error}: {event:?}"));
}

impl State {
    /// Does what somebody else has decided.
    pub(crate) fn carry_out(&mut self, decisions: &[Decision], now: Timestamp) {
        self.now = now;
        let mut victims = BTreeSet::new();
        let mut last = None;
        for decision in decisions {
            let keeps = match decision {
                Decision::Place { pod, at } => {
                    self.reservations.retain(|r| r.pods.iter().all(|(kept, _)| kept != pod));
                    self.place(*pod, *at, now);
                    None
                }
                Decision::Evict { pod, beneficiary, cause, .. } => {
                    self.evict(*pod, *beneficiary, *cause);
                    if last.is_some() {
                        victims.clear();
                    }
                    victims.insert(*pod);
                    None
                }
                Decision::Reserve { pod, at, until } => {
                    let same = last == Some((pod.workload, *until));
                    self.found_reserved(*pod, *at, *until, same);
                    let newest = self.reservations.last_mut().expect("the one just made");
                    newest.victims.clone_from(&victims);
                    Some((pod.workload, *until))
                }
                Decision::Release { pod } => {
                    self.reservations.retain(|r| r.pods.iter().all(|(kept, _)| kept != pod));
                    None
                }
                Decision::Warn { .. } | Decision::Report { .. } => None,
            };
            last = keeps;
        }
    }
}
