//! `berth-sim run`: one simulation and its report.

use super::source::Source;
use super::{Ended, Stopped, progress};
use crate::checked::Checked;
use crate::log::LogWriter;
use crate::outcome::Outcome;
use crate::report;
use crate::report::output::{Forms, Output};
use crate::world::{Options, Witness, simulate};
use berth_engine::Settings;
use std::path::PathBuf;

/// Simulate a cluster and its load, and report what came of it
///
/// Without any input the bundled example is simulated: a day of a cluster with 24 nodes.
#[derive(clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
    /// Let the independent checker judge every decision; exit code 1 if it finds anything
    #[arg(long)]
    check: bool,
    /// Write every event and every decision to this file, for `berth-sim replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Run {
    pub(super) fn run(&self) -> Result<Ended, Stopped> {
        let case = self.source.case()?;
        let settings = Settings::default();
        let mut log = match &self.record {
            Some(path) => Some(LogWriter::create(path, &case.name, &settings)?),
            None => None,
        };
        let mut checked = self.check.then(|| Checked::new(&settings));
        let bar = progress::bar(case.load.len() as u64);
        let mut outcome = {
            let mut witnesses: Vec<&mut dyn Witness> = Vec::new();
            witnesses.extend(log.as_mut().map(|log| log as &mut dyn Witness));
            witnesses.extend(checked.as_mut().map(|checked| checked as &mut dyn Witness));
            let step = |submitted, now| progress::step(&bar, submitted, now);
            simulate(&case, Options { settings, witnesses, progress: Some(&step) })?
        };
        bar.finish_and_clear();
        if let Some(log) = log {
            log.finish()?;
        }
        outcome.violations = checked.map(Checked::into_violations);
        self.report(&outcome)?;
        let clean = outcome.violations.as_ref().is_none_or(Vec::is_empty);
        Ok(if clean { Ended::Well } else { Ended::Failed })
    }

    fn report(&self, outcome: &Outcome) -> Result<(), Stopped> {
        let only = std::slice::from_ref(outcome);
        let forms = Forms {
            terminal: &|| report::terminal(outcome, self.output.width),
            json: &|| report::json(only),
            html: &|| report::html(only),
        };
        Ok(self.output.write(&forms, &mut std::io::stdout().lock())?)
    }
}
