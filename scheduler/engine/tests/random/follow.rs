//! What somebody has decided, done to a state or told to an engine that does not decide.

use crate::reference::state::{Kept, State};
use berth_engine::Engine;
use berth_model::{Decision, Event, PodState, Timestamp};

/// Tells an engine that does not decide what was decided; `state` is as it is after that.
pub(super) fn tell(engine: &mut Engine, decision: &Decision, state: &State, now: Timestamp) {
    let event = match decision {
        Decision::Place { pod, at } => Event::PodRunning(PodState::new(*pod, at.node, at.gpus, now)),
        Decision::Evict { pod, grace, .. } => {
            let seat = state.pods[pod];
            let leaving = Some(now.plus(*grace));
            let found = PodState::new(*pod, seat.node, seat.gpus, seat.since);
            Event::PodRunning(PodState { leaving, evicted: true, ..found })
        }
        _ => return,
    };
    engine.apply(event.clone()).unwrap_or_else(|error| panic!("impossible: {error}: {event:?}"));
}

impl State {
    /// Does what somebody else has decided.
    pub(crate) fn carry_out(&mut self, decisions: &[Decision], now: Timestamp) {
        self.now = now;
        for decision in decisions {
            match decision {
                Decision::Place { pod, at } => {
                    self.kept.remove(pod);
                    self.place(*pod, *at, now);
                }
                Decision::Evict { pod, beneficiary, cause, .. } => {
                    self.evict(*pod, *beneficiary, *cause);
                }
                Decision::Reserve { pod, at, until } => {
                    if self.pods.get(pod).is_some_and(|seat| seat.leaving.is_none()) {
                        self.await_place(*pod);
                    }
                    self.kept.insert(*pod, Kept { at: *at, until: *until });
                }
                Decision::Release { pod } if self.is_pending(*pod) => self.stay(*pod),
                Decision::Release { pod } => drop(self.kept.remove(pod)),
                Decision::Warn { .. } | Decision::Report { .. } => {}
            }
        }
        self.note_stale();
    }
}
