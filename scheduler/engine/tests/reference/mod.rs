//! A slow and obvious scheduler, written from the rules (docs/RULES.md) and decisions 0001 and 0002: it keeps plain maps,
//! counts everything anew for each decision, looks at every node and tries every set of victims. The engine must decide
//! the same.
//!
//! A cycle starts, again and again, the first in order that can start and has not been refused in this cycle.
//! Identical workloads share a refusal: a cycle tries only one of them. What the rules leave open is taken as the
//! decisions say; those places say so.
//!
//! | module | rules |
//! |---|---|
//! | `cycle` | S32: what a cycle does, in which order; S29's kinds |
//! | `order` | S5, S8, S9, S10's lists |
//! | `fair` | S7 |
//! | `gates` | S2, S6 |
//! | `hold` | decision 0003 |
//! | `start` | S5, S10's first pass, S31's domains |
//! | `views`, `reserve` | S23 |
//! | `moves` | S26, in which order |
//! | `units`, `subsets`, `victims`, `budgets` | S20, S24, S25: whom to stop |
//! | `reclaim`, `preempt`, `consolidate` | S22, S21, S26 |
//! | `stale`, `over_limit` | S27, S19, and the warnings of S19 and S23 |
//! | `fits`, `labels`, `neighbours` | S11 |
//! | `prefer`, `score` | S12, decision 0001 |
//! | `devices` | S13 to S18, S31's devices |
//! | `state` | S1, the cluster |

mod budgets;
mod consolidate;
mod cycle;
pub(crate) mod devices;
mod fair;
mod fits;
mod gates;
mod hold;
mod labels;
mod moves;
mod neighbours;
mod order;
mod over_limit;
mod preempt;
mod prefer;
mod reclaim;
mod reserve;
mod score;
mod stale;
mod start;
pub(crate) mod state;
mod subsets;
mod units;
mod victims;
mod views;

use berth_model::{Decision, Event, ReasonKind, Timestamp, WorkloadId};
use state::State;
use std::collections::{BTreeMap, BTreeSet};

/// What is decided, reasons apart, in order; and the kinds of the reasons given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Decided {
    pub(crate) done: Vec<Decision>,
    pub(crate) reported: BTreeMap<WorkloadId, ReasonKind>,
}

/// The reference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) state: State,
    /// The kind of reason that each workload was told last, since anything of it was placed.
    told: BTreeMap<WorkloadId, ReasonKind>,
    /// What pods are being warned of.
    warned: BTreeSet<stale::Warned>,
}

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
    pub(crate) fn decide(&mut self, now: Timestamp) -> Decided {
        self.state.now = now;
        let mut cycle = cycle::Cycle::new(&mut self.state);
        cycle.run();
        let (mut decided, placed, refused) = (cycle.decided, cycle.placed, cycle.refused);
        let placed: BTreeSet<WorkloadId> = placed.iter().map(|pod| pod.workload).collect();
        self.told.retain(|workload, _| !placed.contains(workload));
        decided.done.extend(self.warnings());
        for workload in self.state.workloads.values() {
            let Some(kind) = self.state.kind_of_wait(workload, &refused) else { continue };
            if self.told.insert(workload.id, kind) != Some(kind) {
                decided.reported.insert(workload.id, kind);
            }
        }
        decided
    }
}
