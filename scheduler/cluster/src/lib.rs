//! A live cluster: what the API server says becomes events, what is decided becomes requests.
//!
//! Three places, bounded queues between them: take in, decide, act. This crate is the first and the last; whoever owns the
//! engine decides in between, on one thread:
//!
//! ```text
//! watches --Change--> Mirror --Event--> (engine) --Decision--> Mirror --Action--> requests --Outcome--> Mirror
//! ```
//!
//! Modules, in reading order:
//!
//! | module | what it holds |
//! |---|---|
//! | `change` | what a watch or a request tells: objects set, gone, listed; what became of an action |
//! | `mirror` | the cluster as seen, what the engine has been told, and the events that bring the one to the other |
//! | `action` | what is to be done in the cluster, with the names it is done to |
//! | `words` | reasons and warnings in words, with the names of things |
//! | `client` | how the API server is reached |
//! | `watch` | what the API server says -> changes |
//! | `act` | actions -> requests: `bind`, `evict`, `write` |
//! | `lease` | who leads |
//! | `telemetry` | live memory and health of devices, from the nodes' agents |
//! | `answer`, `pause` | what an answer means; pauses that double |
//! | `trace` | spans about pods |
//! | `metrics` | what is counted of all that |
//!
//! Invariants: the mirror has no clock and does no I/O; time and objects are handed in. It never sees the engine. No request
//! changes anything without the lease.

mod act;
pub mod action;
mod answer;
pub mod bind;
pub mod change;
pub mod client;
pub mod evict;
pub mod lease;
pub mod metrics;
pub mod mirror;
mod pause;
pub mod telemetry;
pub mod trace;
pub mod watch;
mod words;
pub mod write;

pub use act::{Act, Settings as ActSettings};
pub use action::{Action, Allocation, Bind, GivenDevice, PodRef};
pub use change::{Change, Kind, Object, Outcome};
pub use mirror::Mirror;
