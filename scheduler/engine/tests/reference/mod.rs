//! A slow and obvious allocation, written from the rules (docs/RULES.md) and decision 0001: it keeps plain maps,
//! counts everything anew for each decision and looks at every node. The engine must decide the same.
//!
//! A cycle starts, again and again, the first in order that can start and has not been refused in this cycle.
//! Identical workloads share a refusal: a cycle tries only one of them. What the rules leave open is taken as the
//! engine documents it; those places say so.
//!
//! | module | rules |
//! |---|---|
//! | `order` | S5, S6, S8, S9, S10's lists |
//! | `start` | S5, S10's first pass, S31's domains, the kinds of S29 |
//! | `fits`, `labels`, `neighbours` | S11 |
//! | `prefer`, `score` | S12, decision 0001 |
//! | `devices` | S13 to S18, S31's devices |
//! | `state` | S1, the cluster |

pub(crate) mod devices;
mod fits;
mod labels;
mod neighbours;
mod order;
mod prefer;
mod score;
mod start;
pub(crate) mod state;

use berth_model::{Decision, Event, ReasonKind, WorkloadId, WorkloadSpec};
use order::Want;
use state::State;
use std::collections::BTreeMap;

/// What is decided: pods placed in order, and the kinds of the reasons given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Decided {
    pub(crate) placed: Vec<Decision>,
    pub(crate) reported: BTreeMap<WorkloadId, ReasonKind>,
}

impl Decided {
    /// The same of an engine's decisions.
    pub(crate) fn of(decisions: &[Decision]) -> Self {
        let mut decided = Self::default();
        for decision in decisions {
            match decision {
                Decision::Report { workload, reason } => {
                    let twice = decided.reported.insert(*workload, reason.kind());
                    assert_eq!(twice, None, "S29: {workload} is told two reasons at once");
                }
                other => decided.placed.push(other.clone()),
            }
        }
        decided
    }
}

/// The reference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) state: State,
    /// The kind of reason that each workload was told last, since anything of it was placed.
    told: BTreeMap<WorkloadId, ReasonKind>,
}

/// What identical workloads have in common, and what they want.
type Likeness = (WorkloadSpec, Want);

impl Reference {
    /// Takes in an event that the engine has accepted.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::WorkloadRemoved(id) => drop(self.told.remove(id)),
            Event::PodRunning(found) if !self.state.pods.contains_key(&found.pod) => {
                self.told.remove(&found.pod.workload);
            }
            _ => {}
        }
        self.state.apply(event);
    }

    /// One cycle.
    pub(crate) fn decide(&mut self) -> Decided {
        let mut decided = Decided::default();
        let mut refused: Vec<(Likeness, ReasonKind)> = Vec::new();
        loop {
            let mut wants = self.state.wants();
            wants.retain(|want| self.refusal(want, &refused).is_none());
            let Some(want) = self.state.first(&wants) else { break };
            match self.state.start(want) {
                Ok(placed) => {
                    self.told.remove(&want.workload);
                    decided.placed.extend(placed);
                }
                Err(kind) => refused.push((self.likeness(want), kind)),
            }
        }
        for workload in self.state.workloads.values() {
            let first = self.state.wants_of(workload).into_iter().next();
            let Some(kind) = first.and_then(|want| self.refusal(&want, &refused)) else { continue };
            if self.told.insert(workload.id, kind) != Some(kind) {
                decided.reported.insert(workload.id, kind);
            }
        }
        decided
    }

    fn likeness(&self, want: &Want) -> Likeness {
        let like = self.state.likeness(&self.state.workloads[&want.workload]);
        (like, Want { workload: WorkloadId(0), ..want.clone() })
    }

    fn refusal(&self, want: &Want, refused: &[(Likeness, ReasonKind)]) -> Option<ReasonKind> {
        let like = self.likeness(want);
        refused.iter().find(|(known, _)| *known == like).map(|(_, kind)| *kind)
    }
}
