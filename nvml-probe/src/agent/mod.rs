//! The agent of a node: what the daemon `nvml-probe run` does.
//!
//! ```text
//!  driver --NVML--> sampler (a thread of its own) --NodeState--> metrics      what is, for Prometheus
//!                      ^                              |------->  stream       live memory and health, to the scheduler
//!  pods of the node ---'                              |------->  slice        which devices there are, in the API
//!                                                     '------->  plugin       claims made real for the kubelet
//! ```
//!
//! Read in this order: `state` (what is known at one moment), `sampler` (how it comes about), with `whose` (S17),
//! `fitness` (S18) and `index` (pods); then those who use it.
//!
//! Invariants: the sampler waits for nobody: it puts the latest state where the others look, and who is slow sees fewer
//! of them. No state of driver, API server, scheduler or kubelet ends the agent.

mod fitness;
mod index;
mod limits;
mod metrics;
mod plugin;
mod run;
mod sampler;
mod serve;
mod slice;
mod state;
mod stream;
mod watch;
mod whose;

pub use fitness::{APPLICATION_XIDS, Fault, Faults, Fitness};
pub use index::{PodIndex, PodName};
pub use limits::Enforcement;
pub use plugin::PluginSettings;
#[cfg(feature = "fuzz")]
pub use plugin::fuzz;
pub use run::{Kubernetes, Running, Settings, start};
pub use sampler::{Sampler, SamplerSettings};
pub use slice::slice_name;
pub use state::{DeviceName, DeviceState, DriverState, NodeState};
pub use stream::{REST_EACH, SchedulerSettings, wire};
pub use whose::{Owners, Shares, Whose};
