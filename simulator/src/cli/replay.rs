//! `berth-sim replay`: a log decided again.

use super::{Ended, Stopped};
use crate::log::{Compared, Difference, ReplayError, compare, replay};
use crate::strategies::strategy;
use berth_model::{Placement, Strategy};
use std::path::PathBuf;

/// Replay the log of a run, to the same decisions or against another strategy
///
/// Without --strategy every decision must be the same again: exit code 1 at the first that is not. With it,
/// every decision is made again from the state that the log records, and what differs is shown.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// A log written by `berth-sim run --record`
    file: PathBuf,
    /// Show what this strategy would have decided: binpack, spread, bestfit or fgd
    #[arg(long, value_parser = strategy)]
    strategy: Option<Strategy>,
    /// How many differences to print
    #[arg(long, default_value_t = 10, value_name = "N", requires = "strategy")]
    first: usize,
}

impl Replay {
    pub(super) fn run(&self) -> Result<Ended, Stopped> {
        if let Some(strategy) = self.strategy {
            let compared = compare(&self.file, strategy)?;
            print!("{}", text(&compared, self.first));
            return Ok(Ended::Well);
        }
        match replay(&self.file) {
            Ok(replayed) => {
                println!(
                    "the same {} decisions in {} cycles after {} events",
                    replayed.decisions, replayed.cycles, replayed.events
                );
                Ok(Ended::Well)
            }
            Err(error @ (ReplayError::Different { .. } | ReplayError::Refused { .. })) => {
                eprintln!("berth-sim: {}: {error}", self.file.display());
                Ok(Ended::Failed)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn text(compared: &Compared, first: usize) -> String {
    let mut text = format!(
        "{} of {} cycles differ\n\
         pods placed alike            {}\n\
         placed elsewhere             {}\n\
         placed only in the log       {}\n\
         placed only by the strategy  {}\n",
        compared.cycles_different,
        compared.cycles,
        compared.same,
        compared.elsewhere,
        compared.only_recorded,
        compared.only_decided
    );
    if compared.evictions_different > 0 {
        text.push_str(&format!("evictions that differ        {}\n", compared.evictions_different));
    }
    for difference in compared.differences.iter().take(first) {
        text.push_str(&line(difference));
    }
    if let Some((line, why)) = &compared.ended_early {
        text.push_str(&format!("the comparison ends at line {line}: {why}\n"));
    }
    text
}

fn line(difference: &Difference) -> String {
    let at = |placement: Option<Placement>| match placement {
        None => "nowhere".to_owned(),
        Some(Placement { node, gpus }) => {
            let devices: Vec<String> = gpus.devices().iter().map(|d| d.0.to_string()).collect();
            if devices.is_empty() { node.to_string() } else { format!("{node}/{}", devices.join("+")) }
        }
    };
    format!(
        "line {}: {} was placed on {}, would be on {}\n",
        difference.line,
        difference.pod,
        at(difference.recorded),
        at(difference.decided)
    )
}
