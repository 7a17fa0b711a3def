//! Live memory and health of devices, as the nodes' agents tell them (S17 to S19).
//!
//! ```text
//! agents --gRPC--> server --Update--> Board --Event--> (engine)
//! ```
//!
//! * [`board`] is what is known, and what the engine has been told of it: pure, with time and names handed in.
//! * [`server`] takes the streams; [`review`] asks the API server who speaks.
//!
//! The streams' tasks only write to the board, under a lock that is held for one update; the deciding thread takes all
//! that has changed when it comes round to it. So however much the agents say, the engine is told each thing at most once per
//! round, and a round that takes long holds no agent up.
//!
//! Absent: history, and anything written to the API server.

pub mod board;
pub mod review;
pub mod server;

pub use board::{Board, Names, Refusal, StreamId};
pub use review::Reviewer;
pub use server::{Denied, Identify, Settings, serve};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The messages, as `scheduler/api/proto/telemetry.proto` describes them.
#[allow(missing_docs, reason = "the description says it")]
pub mod wire {
    tonic::include_proto!("berth.telemetry.v1alpha1");
}

/// A board that streams write to and the deciding thread reads.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Board>>);

impl Shared {
    /// A board to share.
    pub fn new(board: Board) -> Self {
        Self(Arc::new(Mutex::new(board)))
    }

    /// The board. Nobody waits for anything while holding it.
    pub fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
