//! The command line: what can be asked for, and what the exit code says.
//!
//! Exit codes: 0 = done and everything holds, 1 = an expectation, a check or a replay failed, 2 = bad input.

mod compare;
mod plan;
mod progress;
mod replay;
mod run;
mod scenario;
mod source;
mod whatif;

use clap::{Parser, Subcommand};
use std::fmt;
use std::process::ExitCode;

/// A cluster decided in virtual time, by the engine that decides real ones.
///
/// Simulates scenarios, published traces and generated loads; judges expectations; replays logs.
#[derive(Parser)]
#[command(name = "berth-sim", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Compare(compare::Compare),
    Plan(plan::Plan),
    WhatIf(whatif::WhatIf),
    Scenario(scenario::Scenario),
    Replay(replay::Replay),
}

/// How a command ended.
enum Ended {
    /// Everything holds.
    Well,
    /// Something that was checked does not hold.
    Failed,
}

/// What stopped a command: said on standard error, exit code 2.
struct Stopped(String);

impl<E: fmt::Display> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::WhatIf(command) => command.run(),
        Command::Scenario(command) => command.run(),
        Command::Replay(command) => command.run(),
    };
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::from(1),
        Err(Stopped(error)) => {
            eprintln!("berth-sim: {error}");
            ExitCode::from(2)
        }
    }
}
