//! `compare`: strategies or clusters on the same workload, side by side.
//!
//! The simulation is passed in as a closure; variants run in parallel and come back in the order they were asked for.

use crate::outcome::Outcome;
use crate::report::figures::Figures;
use crate::report::html;
use crate::report::json::pretty;
use crate::report::output::{Forms, Output, WriteError};
use crate::report::terminal::Style;
use crate::strategies::{STRATEGIES, strategy, strategy_name};
use berth_model::Strategy;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

mod table;

pub(crate) use table::html_table;
pub use table::terminal;

/// Version of the comparison's JSON.
const FORMAT: u32 = 2;

/// Options of `berth-sim compare`, beside those that say what is simulated.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Strategies to compare, separated by commas; unset with fewer than two scenarios = all.
    #[arg(long = "strategies", value_name = "NAME", value_delimiter = ',', value_parser = strategy)]
    pub strategies: Vec<Strategy>,
    /// A scenario file to compare; may be repeated.
    #[arg(long = "scenario", value_name = "FILE")]
    pub scenarios: Vec<PathBuf>,
    /// Where the comparison goes.
    #[command(flatten)]
    pub output: Output,
}

/// One of the runs that are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Name, unique among the variants unless something is asked for twice.
    pub name: String,
    /// The strategy for GPU pods in all pools; none = what the input says.
    pub strategy: Option<Strategy>,
    /// The scenario; none = the input that all variants share.
    pub scenario: Option<PathBuf>,
}

impl Args {
    /// Every scenario with every strategy.
    pub fn variants(&self) -> Vec<Variant> {
        let scenarios: Vec<_> = match self.scenarios.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let strategies: Vec<_> = match self.strategies.as_slice() {
            [] if scenarios.len() > 1 => vec![None],
            [] => STRATEGIES.map(|(_, strategy)| Some(strategy)).to_vec(),
            some => some.iter().copied().map(Some).collect(),
        };
        let name = |scenario: &Option<PathBuf>, strategy: Option<Strategy>| {
            let file = scenario.as_ref().filter(|_| scenarios.len() > 1);
            let file = file.and_then(|f| f.file_stem()).map(|f| f.to_string_lossy().into_owned());
            let parts = [file, strategy.map(|s| strategy_name(s).to_owned())];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        };
        let pairs =
            scenarios.iter().flat_map(|file| strategies.iter().map(move |strategy| (file, *strategy)));
        pairs.map(|(file, s)| Variant { name: name(file, s), strategy: s, scenario: file.clone() }).collect()
    }
}

/// A comparison that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: Display> {
    /// A simulation failed.
    #[error("{variant}: {source}")]
    Simulation {
        /// Name of the variant.
        variant: String,
        /// Why.
        source: E,
    },
    /// The result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Simulates all variants in parallel and writes the comparison to `out` and to the files asked for. Each outcome's
/// `variant` becomes the name of its variant.
///
/// # Errors
///
/// The error of the first variant, in the order asked for, of which the simulation failed; or of writing.
pub fn run<E: Display + Send>(
    args: &Args,
    simulate: impl Fn(&Variant) -> Result<Outcome, E> + Sync,
    out: &mut dyn Write,
) -> Result<Vec<Outcome>, Error<E>> {
    let variants = args.variants();
    let results: Vec<Result<Outcome, E>> = variants.par_iter().map(&simulate).collect();
    let mut outcomes = Vec::with_capacity(results.len());
    for (variant, result) in variants.iter().zip(results) {
        let mut outcome =
            result.map_err(|source| Error::Simulation { variant: variant.name.clone(), source })?;
        outcome.variant.clone_from(&variant.name);
        outcomes.push(outcome);
    }
    let forms = Forms {
        terminal: &|| terminal(&outcomes, args.output.width, Style::detect()),
        json: &|| json(&outcomes),
        html: &|| html::report(&outcomes),
    };
    args.output.write(&forms, out)?;
    Ok(outcomes)
}

/// The comparison as JSON: the figures of each outcome, in order.
pub fn json(outcomes: &[Outcome]) -> String {
    #[derive(Serialize)]
    struct Comparison {
        format: u32,
        variants: Vec<Figures>,
    }
    pretty(&Comparison { format: FORMAT, variants: outcomes.iter().map(Figures::of).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Result<Args, String> {
        let words = std::iter::once("compare").chain(words.iter().copied());
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|e| e.to_string())
    }

    fn names(words: &[&str]) -> Vec<String> {
        args(words).unwrap().variants().into_iter().map(|v| v.name).collect()
    }

    #[test]
    fn variants_are_scenarios_times_strategies() {
        assert_eq!(names(&[]), ["binpack", "spread", "bestfit", "fgd"]);
        assert_eq!(names(&["--strategies", "fgd,spread"]), ["fgd", "spread"]);
        assert_eq!(names(&["--scenario", "x/a.yaml", "--scenario", "b.yaml"]), ["a", "b"]);
        let both = names(&["--scenario", "a.yaml", "--scenario", "b.yaml", "--strategies", "fgd"]);
        assert_eq!(both, ["a, fgd", "b, fgd"]);
    }

    #[test]
    fn an_unknown_strategy_names_the_allowed_ones() {
        let error = args(&["--strategies", "best"]).unwrap_err();
        assert!(error.contains("\"best\" is no strategy; allowed: binpack, spread, bestfit, fgd"), "{error}");
    }

    fn simulate(variant: &Variant) -> Result<Outcome, String> {
        match variant.strategy {
            Some(Strategy::Spread) => Ok(Outcome { variant: "x".into(), ..samples::odd()[1].1.clone() }),
            Some(Strategy::Fgd) => Err("no such thing".into()),
            _ => Ok(samples::small()),
        }
    }

    #[test]
    fn a_comparison_reads_well() {
        let mut out = Vec::new();
        let args = args(&["--strategies", "binpack,spread"]).unwrap();
        let outcomes = run(&args, simulate, &mut out).unwrap();
        assert_eq!(outcomes[1].variant, "spread");
        insta::assert_snapshot!(terminal(&outcomes, 80, Style::default()));
    }

    #[test]
    fn a_failing_variant_is_named() {
        let error = run(&args(&[]).unwrap(), simulate, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "fgd: no such thing");
    }

    #[test]
    fn json_has_one_entry_per_variant() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&[samples::small(), samples::small()])).unwrap();
        assert_eq!(value["variants"].as_array().unwrap().len(), 2);
        assert_eq!(value["variants"][0]["waitP95"], 3_700_000);
    }
}
