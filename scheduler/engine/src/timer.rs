//! When the engine wants to decide although nothing happens.

use crate::Engine;
use berth_model::Timestamp;

impl Engine {
    /// The next time at which `decide` could decide something new though no event comes; none if there is no such time.
    pub fn next_timer(&self) -> Option<Timestamp> {
        None
    }
}
