//! Pods bound per second against a real API server: bare POSTs of bindings, kube-scheduler, and Berth, one after the other on
//! fresh pods in one run, so that what else the machine does weighs on all of them alike.
//!
//! ```text
//! cargo run --release -p berth-bench --bin bind -- --nodes 1000 --pods 3000 --json -
//! ```
//!
//! With `--claims` pods ask for parts of devices by claims, which kube-scheduler allocates as Berth does; what is bare then are the
//! same three writes per pod.
//!
//! The rate is taken between the first and the last bind that a watch of ours sees, so that how long a program takes to start
//! is not in it; its CPU time is all that it took until the last bind, start included. The pods are there before the program
//! starts. A watch of pods that have a node runs in all three, in the process that also makes the bare POSTs.

mod claims;
mod cluster;
mod measured;
mod start;

use clap::Parser;
use cluster::Cluster;
use measured::{Run, gang_of, ratios, wanted};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of Berth's program.
const BERTH: &str = "berth-scheduler";

/// Binds per second of bare POSTs, kube-scheduler and Berth.
#[derive(Parser, Debug)]
#[command(name = "bind")]
struct Flags {
    /// Nodes, each with 8 GPUs.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Pods, each with one GPU.
    #[arg(long, default_value_t = 3000)]
    pods: usize,
    /// Pods of a gang that is bound after them; 0 = none.
    #[arg(long, default_value_t = 512)]
    gang: usize,
    /// How often all three are run; the rate of each is the best.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Pods that run already while Berth starts, in a second part; 0 = no such part.
    #[arg(long, default_value_t = 0)]
    running: usize,
    /// Pods ask for a quarter of a device each by a claim of Berth's driver, which is there beforehand as the nodes' slices are. The
    /// bare writes are then those of the claim, too.
    #[arg(long, conflicts_with = "running")]
    claims: bool,
    /// Requests of bindings at a time, of bare POSTs and of Berth.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Where the figures go as JSON; `-` = standard output.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Started under this name it is Berth's program, built as this is.
    if std::env::args_os().next().is_some_and(|name| name == BERTH) {
        return berth_scheduler::cli::main();
    }
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|it| it.block_on(measure(&flags)));
    let written = done.and_then(|figures| write(&flags, &figures));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bind: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(flags: &Flags, figures: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())?;
    match &flags.json {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        }
        _ => {
            println!("{text}");
            Ok(())
        }
    }
}

async fn measure(flags: &Flags) -> Result<Value, String> {
    let cluster = Cluster::start(flags).await?;
    let mut runs: Vec<[Run; 3]> = Vec::new();
    for round in 1..=flags.rounds.max(1) {
        eprintln!("round {round}: bare POSTs");
        let bare = cluster.bare(flags.pods).await?;
        eprintln!("round {round}: kube-scheduler");
        let kube = cluster.kube_scheduler(flags.pods).await?;
        eprintln!("round {round}: Berth");
        let berth = cluster.berth(flags.pods).await?;
        runs.push([bare, kube, berth]);
    }
    let mut figures = json!({
        "nodes": flags.nodes,
        "pods": flags.pods,
        "at_once": flags.at_once,
        "claims": flags.claims,
        "rounds": runs.iter().map(|round| round.each_ref().map(Run::json)).collect::<Vec<_>>(),
    });
    ratios(&runs, &mut figures);
    if flags.claims {
        wanted(&mut figures);
    }
    if flags.gang > 0 {
        eprintln!("a gang of {} pods", flags.gang);
        let bare = cluster.bare(flags.gang).await?;
        let gang = cluster.gang(flags.gang).await?;
        figures["gang"] = gang_of(flags.gang, &bare, gang);
    }
    if flags.running > 0 {
        figures["start"] = start::measure(&cluster, flags).await?;
    }
    Ok(figures)
}
