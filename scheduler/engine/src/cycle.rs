//! One scheduling cycle (S32).
//!
//! A cycle allocates for all in order. Taking back (reclaim, preempt, consolidate) and stale gangs follow after it in
//! this order, one file each; they are the next work on the engine, see `docs/ROADMAP.md`.

use crate::Engine;
use berth_model::{Budget, Decision, Timestamp};

impl Engine {
    /// One cycle at `now`: decides all that can be decided within `budget` steps. What the budget leaves undone is
    /// taken up by the next call.
    pub fn decide(&mut self, now: Timestamp, budget: Budget) -> Vec<Decision> {
        self.now = now;
        let mut decisions = Vec::new();
        self.cycle += 1;
        self.wake_deferred();
        self.start_reserved(&mut decisions);
        self.look_at_changes();
        self.deciding = true;
        self.allocate(budget, &mut decisions);
        self.deciding = false;
        self.report(&mut decisions);
        decisions
    }
}
