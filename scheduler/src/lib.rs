//! Berth's scheduler for a live cluster.
//!
//! Three places, bounded queues between them: watches take in, one thread decides, requests act. The thread owns the mirror
//! (`berth-cluster`) and the engine (`berth-engine`), and neither waits for the network.
//!
//! | module | what it holds |
//! |---|---|
//! | `cli`, `config` | flags, the configuration file, the log |
//! | `run` | starts everything, ends everything |
//! | `decide` | the thread that decides |
//! | `inputs` | what it waits for |
//! | `admit` | the webhook that gives pods their claims |
//! | `live` | what the nodes' agents say of devices and pods |
//! | `record` | the event log, as `berth-sim replay` reads it |
//! | `metrics` | what is measured of deciding, and of what there is |
//! | `gpu_time` | GPU time by project and pool: within quota, over quota, lost |
//! | `trace` | traces by OpenTelemetry |
//! | `explain` | why a pod waits, in words |
//! | `figures` | what the engine knows of pools and queues, for their status |
//! | `serve` | `/metrics`, `/healthz`, `/readyz`, `/debug/...` |
//!
//! Invariants: the clock is read once per round; no decision is made without the lease; a panic anywhere ends the process.

mod admit;
pub mod cli;
pub mod config;
mod decide;
mod explain;
mod figures;
mod gpu_time;
mod inputs;
mod live;
mod metrics;
mod record;
pub mod run;
mod serve;
mod trace;
