//! `berth-sim compare`: strategies or clusters on the same workload, side by side.

use super::source::Input;
use super::{Ended, Stopped};
use crate::compare::{self, Args, Variant};
use crate::outcome::Outcome;
use crate::world::{Options, simulate};

/// Simulate the same workload with several strategies or clusters, side by side
///
/// Without any input the bundled example is simulated, and without --strategies every strategy is tried.
#[derive(clap::Args)]
pub(super) struct Compare {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    args: Args,
}

impl Compare {
    pub(super) fn run(&self) -> Result<Ended, Stopped> {
        compare::run(&self.args, |variant| self.simulate(variant), &mut std::io::stdout().lock())?;
        Ok(Ended::Well)
    }

    fn simulate(&self, variant: &Variant) -> Result<Outcome, String> {
        let mut case = self.input.case(variant.scenario.as_deref()).map_err(|Stopped(error)| error)?;
        if let Some(strategy) = variant.strategy {
            case.set_strategy(strategy);
        }
        simulate(&case, Options::default()).map_err(|error| error.to_string())
    }
}
