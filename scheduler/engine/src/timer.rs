//! When to look again although nothing happens.

use crate::Engine;
use berth_model::Timestamp;

impl Engine {
    /// The next time at which [`Engine::decide`] could decide something new although no event comes: a stale gang is due
    /// (S27), a pod should run (S5), room that is held was to be free (decision 0003), a minimum runtime is over (S20), an evicted workload may take back (S25), or a
    /// pod is overdue (S23). None if there is none.
    pub fn next_timer(&self) -> Option<Timestamp> {
        [
            self.stale_timer(),
            self.second_pass_timer(),
            self.warning_timer(),
            self.hold_timer(),
            self.start_timer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
