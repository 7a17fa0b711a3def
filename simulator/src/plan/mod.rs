//! `plan`: the cheapest number of nodes of given kinds for which stated goals hold, found by simulating.
//!
//! - [`goal`]: what must hold, and how it is measured
//! - [`kind`]: what can be bought
//! - [`mod@search`]: which numbers are simulated, and why those are enough
//! - [`result`]: what a search has found
//! - [`show`]: the result as terminal table, JSON and HTML
//!
//! The simulation is passed in as a closure; numbers that do not depend on each other are simulated in parallel, and
//! the result is the same on any number of threads.

use crate::outcome::Outcome;
use crate::report::output::{Forms, Output, WriteError};
use crate::report::terminal::Style;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

pub mod goal;
pub mod kind;
mod line;
pub mod result;
pub mod search;
pub mod show;

pub use goal::{Goal, Metric};
pub use kind::{Kind, KindError, Price};
pub use result::{Limits, Plan, Point, SimulationError};
pub use search::{KindIndex, search};

#[cfg(test)]
mod tests;

/// Most kinds of node in one plan.
pub const KINDS_MAX: usize = 3;

/// Options of `berth-sim plan`, beside those that say what wants to run.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What must hold: p50-wait<=10m, p95-wait<=10m, max-wait<=1h, pending==0, pending<=N, utilisation>=80%; may be
    /// repeated, then all must hold.
    #[arg(long = "goal", value_name = "GOAL", required = true)]
    pub goals: Vec<Goal>,
    /// A kind of node: name=a100,price=12.5,cpu=96,memory=768Gi,gpus=8,gpu-memory=80Gi,model=A100; may be repeated.
    #[arg(long = "kind", value_name = "FIELDS")]
    pub kinds: Vec<String>,
    /// A YAML list of kinds with the same fields, and labels.
    #[arg(long = "kinds", value_name = "FILE")]
    pub kinds_file: Option<PathBuf>,
    /// The most nodes of all kinds together.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_nodes: u32,
    /// The most simulations; the best found until then is reported as such.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_simulations: u32,
    /// Where the plan goes.
    #[command(flatten)]
    pub output: Output,
}

impl Args {
    /// The kinds of the command line, then those of the file.
    ///
    /// # Errors
    ///
    /// Names the kind or file, the field, the value and what is allowed.
    pub fn kinds(&self) -> Result<Vec<Kind>, KindError> {
        kind::kinds(&self.kinds, self.kinds_file.as_deref())
    }
}

/// A plan that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: Display> {
    /// A simulation failed.
    #[error(transparent)]
    Simulation(#[from] SimulationError<E>),
    /// The result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Searches the cheapest plan with `kinds` (of [`Args::kinds`]) and writes it to `out` and to the files asked for.
/// `simulate` is given the number of nodes of each kind, each kind once, in order, zeros included. The plan says
/// whether the goals can be met ([`Plan::is_met`]); if not, the command ends with exit code 1.
///
/// # Errors
///
/// Of the first simulation that failed, or of writing.
pub fn run<E: Display + Send>(
    args: &Args,
    kinds: &[Kind],
    simulate: impl Fn(&[(KindIndex, u32)]) -> Result<Outcome, E> + Sync,
    out: &mut dyn Write,
) -> Result<Plan, Error<E>> {
    let limits = Limits { nodes: args.max_nodes, simulations: args.max_simulations };
    let plan = search(kinds, &args.goals, limits, simulate)?;
    let forms = Forms {
        terminal: &|| show::terminal(&plan, args.output.width, Style::detect()),
        json: &|| show::json(&plan),
        html: &|| show::html(&plan),
    };
    args.output.write(&forms, out)?;
    Ok(plan)
}
