//! `compare`: strategies or clusters on the same workload, side by side.
//!
//! The simulation is passed in as a closure; variants run in parallel and come back in the order they were asked for.

use crate::outcome::Outcome;
use crate::report::figures::Figures;
use crate::report::html::{self, esc};
use crate::report::json::pretty;
use crate::report::output::{Forms, Output, WriteError};
use crate::report::terminal::{Style, table};
use crate::report::words::{count, gpus, percent, share, span, span_or_none};
use berth_model::{Strategy, Timestamp};
use rayon::prelude::*;
use serde::Serialize;
use std::cmp::Ordering;
use std::fmt::{Display, Write as _};
use std::io::Write;
use std::path::PathBuf;

/// All strategies, in the order in which they are compared if none is named.
pub const STRATEGIES: [(&str, Strategy); 4] = [
    ("binpack", Strategy::Binpack),
    ("spread", Strategy::Spread),
    ("bestfit", Strategy::BestFit),
    ("fgd", Strategy::Fgd),
];

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

/// Reads the name of a strategy.
fn strategy(name: &str) -> Result<Strategy, String> {
    let found = STRATEGIES.iter().find(|(known, _)| *known == name);
    let known = || STRATEGIES.map(|(known, _)| known).join(", ");
    found
        .map(|(_, strategy)| *strategy)
        .ok_or_else(|| format!("{name:?} is no strategy; allowed: {}", known()))
}

/// The name of a strategy, as it is written on the command line and in scenario files.
pub fn strategy_name(strategy: Strategy) -> &'static str {
    STRATEGIES.iter().find(|(_, known)| *known == strategy).map_or("unknown", |(name, _)| name)
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
    let results: Vec<Result<Outcome, E>> = variants.par_iter().map(|variant| simulate(variant)).collect();
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
    pretty(&Comparison { format: 1, variants: outcomes.iter().map(Figures::of).collect() })
}

/// Which end of a row is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Neither,
    Low,
    High,
}

/// One row of the table: its name, which end is better, and per variant the number to compare and the text.
struct Row {
    name: &'static str,
    better: Better,
    cells: Vec<(Option<f64>, String)>,
}

impl Row {
    /// Whether cell `i` is the best of its row, and some other is worse.
    fn is_best(&self, i: usize) -> bool {
        let Some(own) = self.cells[i].0 else { return false };
        let worse = match self.better {
            Better::Neither => return false,
            Better::Low => Ordering::Greater,
            Better::High => Ordering::Less,
        };
        let others = || self.cells.iter().filter_map(|(value, _)| *value);
        others().all(|v| v == own || v.total_cmp(&own) == worse) && others().any(|v| v != own)
    }
}

fn rows(figures: &[Figures]) -> Vec<Row> {
    type Cell = fn(&Figures) -> (Option<f64>, String);
    let whole = |n: u64| (Some(n as f64), count(n));
    let row = |name, better, cell: &dyn Fn(&Figures) -> (Option<f64>, String)| Row {
        name,
        better,
        cells: figures.iter().map(cell).collect(),
    };
    let wait = |wait: Option<berth_model::Millis>| (wait.map(|w| w.0 as f64), span_or_none(wait));
    let ended: Cell = |f| (None, span(f.ended.since(Timestamp(0))));
    let mut rows = vec![
        row("workloads", Better::Neither, &|f| whole(f.workloads)),
        row("started", Better::High, &|f| whole(f.started)),
        row("completed", Better::High, &|f| whole(f.completed)),
        row("waiting at the end", Better::Low, &|f| whole(f.pending)),
        row("dropped", Better::Low, &|f| whole(f.dropped)),
        row("pods placed", Better::Neither, &|f| whole(f.pods_placed)),
        row("GPUs", Better::Neither, &|f| (None, share(f.gpu_capacity))),
        row("GPUs allocated, end", Better::High, &|f| {
            (Some(f.gpu_allocated.0 as f64), share(f.gpu_allocated))
        }),
        row("GPUs unallocated, end", Better::Low, &|f| {
            (Some(f.gpu_unallocated.0 as f64), share(f.gpu_unallocated))
        }),
        row("allocation, end", Better::High, &|f| (f.allocation, percent(f.allocation))),
        row("allocation, over time", Better::High, &|f| (f.utilisation, percent(f.utilisation))),
        row("GPUs stranded, end", Better::Low, &|f| (Some(f.gpu_stranded.0 as f64), share(f.gpu_stranded))),
        row("GPUs stranded, average", Better::Low, &|f| (Some(f.stranded_average), gpus(f.stranded_average))),
        row("wait, p50", Better::Low, &|f| wait(f.wait_p50)),
        row("wait, p95", Better::Low, &|f| wait(f.wait_p95)),
        row("goodput, GPU-hours", Better::High, &|f| (Some(f.goodput), gpus(f.goodput))),
        row("lost, GPU-hours", Better::Low, &|f| (Some(f.lost), gpus(f.lost))),
        row("pods evicted", Better::Low, &|f| whole(f.evictions)),
        row("fairness (Jain)", Better::High, &|f| (f.fairness, decimal3(f.fairness))),
        row("ended after", Better::Neither, &ended),
    ];
    if figures.iter().any(|f| f.violations.is_some()) {
        let text = |n: Option<u64>| n.map_or_else(|| "not checked".into(), count);
        rows.push(row("violations", Better::Low, &|f| (f.violations.map(|n| n as f64), text(f.violations))));
    }
    rows
}

fn decimal3(value: Option<f64>) -> String {
    value.map_or_else(|| crate::report::words::NONE.into(), |v| crate::report::words::decimal(v, 3))
}

/// The comparison for a terminal, at most `width` columns wide: several tables one below the other if there are many
/// variants. `*` marks the best of a row.
pub fn terminal(outcomes: &[Outcome], width: u16, style: Style) -> String {
    let figures: Vec<Figures> = outcomes.iter().map(Figures::of).collect();
    let names: Vec<String> = (0..outcomes.len()).map(|i| html::variant(outcomes, i)).collect();
    let rows = rows(&figures);
    let per_table = usize::from(width.saturating_sub(28) / 14).max(1);
    let mut text = String::new();
    for start in (0..outcomes.len()).step_by(per_table) {
        let shown = start..(start + per_table).min(outcomes.len());
        let mut header = vec![""];
        header.extend(names[shown.clone()].iter().map(String::as_str));
        let mut table = table(style, width, &header, 1..header.len());
        for row in &rows {
            let mark = |i: usize| if row.is_best(i) { "* " } else { "" };
            let cells = shown.clone().map(|i| format!("{}{}", mark(i), row.cells[i].1));
            table.add_row(std::iter::once(row.name.to_owned()).chain(cells).collect::<Vec<_>>());
        }
        let _ = writeln!(text, "{table}");
    }
    text + &style
        .aside("* best of the row. Waits are of workloads that started. Fairness: 1 = all projects alike.")
        + "\n"
}

/// The comparison as an HTML table.
pub(crate) fn html_table(names: &[String], figures: &[Figures]) -> String {
    let mut html = String::from("<div class=\"plain scroll\"><table><thead><tr><th></th>");
    for name in names {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{}</th>", esc(name));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows(figures) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", esc(row.name));
        for (i, (_, text)) in row.cells.iter().enumerate() {
            let class = if row.is_best(i) { "n top" } else { "n" };
            let _ = write!(html, "<td class=\"{class}\">{}</td>", esc(text));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
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
