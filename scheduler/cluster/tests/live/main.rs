//! The scheduler's program against a real API server (`docs/TESTBED.md`): what is bound, what is left alone, and what survives.
//!
//! Every test starts a control plane of its own and the scheduler as a process that can be killed: this program again, as
//! [`the_scheduler_itself`], because Cargo builds a program of another crate for that crate's tests only.

mod admission;
mod adoption;
mod binding;
mod claims;
mod failing;
mod load;
mod namespaces;
mod otlp;
mod proxy;
mod replicas;
mod status;
mod traces;
mod volumes;
mod world;

use std::path::Path;
use std::process::{Command, ExitCode};

/// Names the configuration to a process that is to be the scheduler.
const CONFIGURATION: &str = "BERTH_TESTED_CONFIGURATION";

/// The scheduler with a configuration, to be started as a process.
fn program(configuration: &Path) -> Command {
    let mut program = Command::new(std::env::current_exe().expect("a program"));
    program.args(["the_scheduler_itself", "--exact", "--nocapture"]).env(CONFIGURATION, configuration);
    program
}

#[test]
fn the_scheduler_itself() -> ExitCode {
    let Some(configuration) = std::env::var_os(CONFIGURATION) else { return ExitCode::SUCCESS };
    let flags = ["berth-scheduler", "--log", "info,berth_cluster=debug", "--config"];
    berth_scheduler::cli::run(flags.map(Into::into).into_iter().chain([configuration]))
}
