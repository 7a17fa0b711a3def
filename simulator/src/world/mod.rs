//! The virtual cluster: events in virtual time go to the engine, its decisions are carried out, and what
//! comes of it is measured.
//!
//! One instant after the other: what ends, what happens by itself, what is submitted; then, if anything
//! changed, one call of `decide` (`run`). Nothing happens between instants, and nothing depends on the
//! wall clock, so a case has one outcome.
//!
//! Costs: a workload or a pod is a few words in a dense vector, and an event of its life a heap entry.

mod act;
mod budgets;
mod build;
mod finish;
mod follow;
mod fork;
mod happen;
mod run;
mod sample;
mod state;

#[cfg(test)]
mod tests;

pub use finish::{PodPlace, WorkloadState};
pub(crate) use follow::FollowError;
pub use run::{Options, Witness, World};

use crate::case::Case;
use crate::input::InputError;
use crate::outcome::Outcome;
use berth_model::{Decision, EventError};

/// Why a simulation stopped without an outcome.
#[derive(Debug)]
pub enum SimError {
    /// The input is wrong.
    Input(InputError),
    /// The engine refused an event.
    Refused(EventError),
    /// The engine decided what cannot be carried out.
    Impossible {
        /// The decision.
        decision: Box<Decision>,
        /// Why not.
        why: &'static str,
    },
    /// Deciding does not come to an end: decisions follow each other at one instant.
    Endless,
    /// A file could not be written.
    Io(String),
}

impl std::fmt::Display for SimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "the engine refused an event: {error}"),
            Self::Impossible { decision, why } => {
                write!(f, "a decision cannot be carried out: {why}: {decision:?}")
            }
            Self::Endless => f.write_str("decisions follow each other at one instant without end"),
            Self::Io(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for SimError {}

impl From<InputError> for SimError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<EventError> for SimError {
    fn from(error: EventError) -> Self {
        Self::Refused(error)
    }
}

/// Simulates a case to its end.
pub fn simulate<'a>(case: &'a Case, options: Options<'a>) -> Result<Outcome, SimError> {
    let mut world = World::new(case, options)?;
    world.run()?;
    Ok(world.outcome())
}
