//! When to look again although nothing happens.

use crate::Engine;
use berth_model::Timestamp;

impl Engine {
    /// The next time at which [`Engine::decide`] could decide something new although no event comes: a stale gang is due
    /// (S27), a pod should run (S5), room that is held was to be free (decision 0003), a minimum runtime is over (S20), an evicted workload may take back (S25), evictions are allowed (S3), or a
    /// pod is overdue (S23). None if there is none.
    pub fn next_timer(&self) -> Option<Timestamp> {
        // Until evictions are allowed (S3) nothing that leads to one is due.
        let from = self.evictions_from;
        let evictions = [self.stale_timer(), self.second_pass_timer(), self.start_timer()];
        let evictions = evictions.into_iter().flatten().map(|at| at.max(from));
        let others = [self.warning_timer(), self.hold_timer(), (from > self.now).then_some(from)];
        evictions.chain(others.into_iter().flatten()).min()
    }
}
