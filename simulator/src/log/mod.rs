//! The event log of a run: written as it happens, replayed to the same decisions.
//!
//! JSON lines. The first is a [`Header`]; every other is an `event` that was given to the engine, or a
//! `decide` with its time, its budget and all that was decided. The format is described in
//! `docs/SIMULATOR.md`.

mod past;
mod reader;
mod replay;
mod write;

pub(crate) use past::Past;
pub use replay::{Compared, Difference, ReplayError, Replayed, compare, replay};
pub use write::LogWriter;

use berth_model::{Budget, Decision, Event, GpuMemoryMib, Timestamp};
use serde::{Deserialize, Serialize};

/// The version of the format that is written and read.
pub const FORMAT: u32 = 1;

/// The first line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub berth_log: u32,
    /// What was run.
    pub name: String,
    /// Setting of the engine: foreign memory that counts as reserved (S17).
    pub foreign_allowance: GpuMemoryMib,
}

/// Every other line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// An event that was given to the engine.
    Event(Box<Event>),
    /// A call of `decide`, and what it decided.
    Decide {
        /// The time of the call.
        now: Timestamp,
        /// Its budget.
        budget: Budget,
        /// What was decided, in order.
        decisions: Vec<Decision>,
    },
}
