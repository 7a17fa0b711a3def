//! The independent judge as a witness of a simulation (`--check`).

use crate::world::{SimError, Witness};
use berth_engine::Settings;
use berth_model::check::{CheckSettings, Judge, Violation};
use berth_model::{Budget, Decision, Event, Timestamp};

/// The most violations that are kept in words; all are counted.
const KEPT_MAX: usize = 1000;

/// Judges everything that goes into the engine and comes out of it.
pub struct Checked {
    judge: Judge,
    violations: Vec<String>,
    count: u64,
}

impl Checked {
    /// A judge of an empty cluster.
    pub fn new(settings: &Settings) -> Self {
        let settings = CheckSettings { foreign_allowance: settings.foreign_allowance };
        Self { judge: Judge::new(settings), violations: Vec::new(), count: 0 }
    }

    /// What was found, the first thousand in words; the last line counts those left out.
    pub fn into_violations(mut self) -> Vec<String> {
        let found = self.judge.audit();
        self.keep(found);
        let left_out = self.count - self.violations.len() as u64;
        if left_out > 0 {
            self.violations.push(format!("and {left_out} more"));
        }
        self.violations
    }

    fn keep(&mut self, found: Vec<Violation>) {
        self.count += found.len() as u64;
        let room = KEPT_MAX - self.violations.len().min(KEPT_MAX);
        self.violations.extend(found.iter().take(room).map(Violation::to_string));
    }
}

impl Witness for Checked {
    fn event(&mut self, event: &Event) -> Result<(), SimError> {
        let found = self.judge.apply(event);
        self.keep(found);
        Ok(())
    }

    fn decided(&mut self, now: Timestamp, _budget: Budget, decisions: &[Decision]) -> Result<(), SimError> {
        let found = self.judge.decided(now, decisions);
        self.keep(found);
        Ok(())
    }
}
