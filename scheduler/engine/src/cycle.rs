//! One scheduling cycle (S32).
//!
//! A cycle places what was reserved and has its room by now, allocates for all in order, then lets those who found no
//! room take some back (reclaim, preempt, consolidate), then evicts stale gangs.

use crate::Engine;
use berth_model::{Budget, Decision, Timestamp};

impl Engine {
    /// One cycle at `now`: decides all that can be decided within `budget` steps. What the budget leaves undone is
    /// taken up by the next call.
    pub fn decide(&mut self, now: Timestamp, budget: Budget) -> Vec<Decision> {
        self.now = now;
        let mut decisions = Vec::new();
        self.cycle += 1;
        self.second.fresh.clear();
        self.second.touched.clear();
        self.wake_deferred();
        self.judge_room(&mut decisions);
        self.look_at_changes();
        self.renew_holds();
        self.deciding = true;
        self.allocate(budget, &mut decisions);
        if self.may_evict() {
            self.take_back(budget, &mut decisions);
            self.evict_stale(&mut decisions);
            self.evict_not_started(&mut decisions);
            self.evict_over_limit(&mut decisions);
        } else {
            self.date_stale();
        }
        self.warn(&mut decisions);
        self.show_all();
        self.deciding = false;
        self.keep_victims();
        self.say_waiting(&mut decisions);
        self.report(&mut decisions);
        decisions
    }
    /// S3: false while what runs is only being adopted.
    pub(crate) fn may_evict(&self) -> bool {
        self.now >= self.evictions_from
    }
}
