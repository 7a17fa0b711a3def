//! The flags that say what is simulated.

use super::Stopped;
use crate::case::Case;
use crate::input::{self, Synthetic, openb, scenario};
use crate::strategies::strategy;
use berth_model::{Millis, Strategy};
use std::path::{Path, PathBuf};

/// The scenario that is simulated when nothing else is asked for.
const EXAMPLE: &str = include_str!("../../examples/quickstart.yaml");
const EXAMPLE_NAME: &str = "quickstart.yaml";

/// What is simulated: a scenario, a trace, or a generated load. Without any of them: the bundled example.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Source {
    /// Simulate a scenario file
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    input: Input,
    /// Node strategy of every pool: binpack, spread, bestfit or fgd
    #[arg(long, value_parser = strategy)]
    strategy: Option<Strategy>,
}

impl Source {
    /// The case that the flags ask for.
    pub(super) fn case(&self) -> Result<Case, Stopped> {
        let mut case = self.input.case(self.scenario.as_deref())?;
        if let Some(strategy) = self.strategy {
            case.set_strategy(strategy);
        }
        Ok(case)
    }
}

/// Traces and generated loads.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Input {
    /// Simulate an openb trace: its list of nodes (CSV)
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Input",
        requires = "pods",
        conflicts_with = "synthetic"
    )]
    nodes: Option<PathBuf>,
    /// Simulate an openb trace: its list of pods (CSV)
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Input",
        requires = "nodes",
        conflicts_with = "synthetic"
    )]
    pods: Option<PathBuf>,
    /// Simulate a load drawn from the streams of a file, for example simulator/examples/week.yaml
    #[arg(long, value_name = "FILE", help_heading = "Input", conflicts_with_all = ["synthetic", "pods"])]
    streams: Option<PathBuf>,
    /// Simulate a generated load
    #[arg(long, help_heading = "Input")]
    synthetic: bool,
    /// Trace: arrivals come so many times faster. Streams: so many times more jobs. Generated: GPU work offered, relative to
    /// the cluster [default: 0.9]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, value_parser = input::factor, help_heading = "Input")]
    load: Option<i64>,
    /// Trace: pods run so many times longer
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, value_parser = input::factor, requires = "pods", help_heading = "Input")]
    stretch: Option<i64>,
    /// Trace: number the nodes by their column `sim_name`, so that ties go as in the paper's simulator
    #[arg(long, requires = "nodes", help_heading = "Input")]
    sim_name_order: bool,
    /// Streams and generated load: seed; the same seed makes the same load [default: 1]
    #[arg(long, help_heading = "Input")]
    seed: Option<u64>,
    #[command(flatten)]
    generated: Generated,
}

/// What is generated.
#[derive(clap::Args, Clone, Debug)]
struct Generated {
    /// Jobs [default: 10000]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    jobs: Option<u64>,
    /// Nodes [default: 100]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    node_count: Option<u32>,
    /// Devices of each node [default: 8]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", value_parser = clap::value_parser!(u32).range(0..=64))]
    gpus_per_node: Option<u32>,
    /// Projects, each with an equal part of the devices as its quota [default: 10]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    projects: Option<u32>,
    /// Share of the jobs that ask for 0.1, 0.25, 0.5 or 0.75 of a device [default: 0.2]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", allow_negative_numbers = true, value_parser = input::share)]
    fractions: Option<i64>,
    /// Share of the jobs that are gangs of 2, 4 or 8 pods with 8 devices each [default: 0.02]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", allow_negative_numbers = true, value_parser = input::share)]
    gangs: Option<i64>,
    /// Share of the jobs that ask for no GPU [default: 0.1]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", allow_negative_numbers = true, value_parser = input::share)]
    cpu_only: Option<i64>,
    /// Median of the lognormal durations [default: 10m]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", value_parser = input::duration)]
    median: Option<Millis>,
    /// Standard deviation of the durations' logarithm [default: 1]
    #[arg(long, requires = "synthetic", help_heading = "Generated load", allow_negative_numbers = true, value_parser = input::factor)]
    sigma: Option<i64>,
}

impl Input {
    /// The case that the flags ask for, or the one of a scenario.
    pub(super) fn case(&self, scenario: Option<&Path>) -> Result<Case, Stopped> {
        let other = self.synthetic || self.nodes.is_some() || self.streams.is_some();
        if self.load.is_some() && !other {
            return Err(Stopped("--load: is for --nodes and --pods, --streams, or --synthetic".to_owned()));
        }
        if self.seed.is_some() && !self.synthetic && self.streams.is_none() {
            return Err(Stopped("--seed: is for --streams or --synthetic".to_owned()));
        }
        match (scenario, &self.nodes, &self.pods, &self.streams) {
            (Some(_), ..) if other => Err(Stopped(
                "--scenario: cannot be used with --nodes, --pods, --streams or --synthetic".to_owned(),
            )),
            (Some(file), ..) => Ok(scenario::read(file)?),
            (None, Some(nodes), Some(pods), _) => Ok(openb::read(nodes, pods, self.trace_settings())?),
            (None, _, _, Some(file)) => {
                Ok(scenario::read_streams(file, self.seed.unwrap_or(1), self.load.unwrap_or(1_000_000))?)
            }
            _ if self.synthetic => Ok(self.synthetic()?.case()),
            _ => Ok(scenario::parse(EXAMPLE_NAME, EXAMPLE)?),
        }
    }

    fn trace_settings(&self) -> openb::Settings {
        let default = openb::Settings::default();
        openb::Settings {
            load: self.load.unwrap_or(default.load),
            stretch: self.stretch.unwrap_or(default.stretch),
            sim_name_order: self.sim_name_order,
        }
    }

    fn synthetic(&self) -> Result<Synthetic, Stopped> {
        let (flags, default) = (&self.generated, Synthetic::default());
        let synthetic = Synthetic {
            seed: self.seed.unwrap_or(default.seed),
            jobs: flags.jobs.unwrap_or(default.jobs),
            nodes: flags.node_count.unwrap_or(default.nodes),
            gpus_per_node: flags.gpus_per_node.unwrap_or(default.gpus_per_node),
            projects: flags.projects.unwrap_or(default.projects),
            load: self.load.unwrap_or(default.load),
            fractions: flags.fractions.unwrap_or(default.fractions),
            gangs: flags.gangs.unwrap_or(default.gangs),
            cpu_only: flags.cpu_only.unwrap_or(default.cpu_only),
            median: flags.median.unwrap_or(default.median),
            sigma: flags.sigma.unwrap_or(default.sigma),
        };
        let shares = synthetic.fractions + synthetic.gangs + synthetic.cpu_only;
        if shares > 1_000_000 {
            let shares = berth_model::GpuShare(shares);
            return Err(Stopped(format!(
                "--fractions, --gangs and --cpu-only: add up to `{shares}`; allowed: at most 1"
            )));
        }
        Ok(synthetic)
    }
}
