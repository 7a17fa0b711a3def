//! The independent judge: takes the events and the decisions, and says which rules were broken.
//!
//! It shares no code with the engine and knows only the vocabulary of this crate. It keeps its own picture of the
//! cluster ([`Judge::apply`]), judges every list of decisions against it ([`Judge::decided`]) and can count the
//! whole state anew ([`Judge::audit`]). Reading order: `list` (a list of decisions), `place`, `reserve`, `gang`, `warn`;
//! taking back: `attempt`, `evict`, `moves`, `budgets`, `legal`, `minimal`, `idle`, with `demand` and `fair` for fair shares; what they
//! ask: `constraints`, `load`, `devices`, `ledger`, `affinity`; the picture: `cluster`, `kept`, `events`, `objects`,
//! `census`.
//!
//! Invariants: never a violation where the rules or the events leave room for a choice; the same input gives the
//! same violations in the same order. Decisions are read in the order in which they were made; those of one attempt,
//! victims and room, follow each other. Costs: O(log n) a pod, more only for pods with rules about other pods; taking
//! back, see `attempt`.
//!
//! Absent: which of several lawful sets of victims is the best (S20); order and preferences (S8 to S10, S12, S15);
//! that room is given up or used in time, and everything that is not decided at all (S23, S27, S32); rules about other
//! pods, where room is reserved; the reasons themselves (S29, S30).

mod affinity;
mod attempt;
mod audit;
mod budgets;
mod census;
mod cluster;
mod constraints;
mod demand;
mod devices;
mod events;
mod evict;
mod fair;
mod gang;
mod idle;
mod kept;
mod ledger;
mod legal;
mod list;
mod load;
mod minimal;
mod moves;
mod objects;
mod place;
mod reserve;
mod selectors;
mod violation;
mod warn;

use crate::{Decision, Event, GpuMemoryMib, Timestamp};
use cluster::Cluster;
pub use violation::Violation;

/// What the judge must know of the judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckSettings {
    /// With more foreign memory than this a device takes no whole-GPU pod (S17).
    pub foreign_allowance: GpuMemoryMib,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self { foreign_allowance: GpuMemoryMib(512) }
    }
}

/// The independent judge.
pub struct Judge {
    settings: CheckSettings,
    cluster: Cluster,
}

impl Judge {
    /// A judge of an empty cluster.
    pub fn new(settings: CheckSettings) -> Self {
        Self { settings, cluster: Cluster::default() }
    }

    /// Mirrors an event that the judged accepted. The only violation is [`Violation::BAD_EVENT`]: the event builds
    /// on something that does not exist, and nothing is changed.
    pub fn apply(&mut self, event: &Event) -> Vec<Violation> {
        let refused = self.cluster.event(event).err();
        let violation = |(object, what)| Violation { rule: Violation::BAD_EVENT, object, what };
        refused.map(violation).into_iter().collect()
    }

    /// Judges what one call of `decide` gave out, as a whole, and mirrors it. What breaks a rule is mirrored too, as
    /// far as its objects exist, because the judged counts on it.
    pub fn decided(&mut self, now: Timestamp, decisions: &[Decision]) -> Vec<Violation> {
        self.cluster.judge(now, decisions, self.settings.foreign_allowance)
    }

    /// Counts the whole state anew: capacity of every node and device, limits and quotas of every queue, and the
    /// judge's own sums ([`Violation::MIRROR`]). What an event alone brought about is no violation.
    pub fn audit(&self) -> Vec<Violation> {
        self.cluster.audit()
    }
}
