//! `what-if`: a cluster at some time, changed, against the same cluster left as it is.
//!
//! Both futures start from one state and are led on with the runtimes that are known, until all that waits has started, or
//! until nothing more can happen. Nothing else is submitted. The comparison says who starts, who goes, who waits instead.
//!
//! - [`change`]: what is changed
//! - `future`: one future
//! - `difference`: one against the other
//! - `show`: the answer for a terminal

pub mod change;
mod difference;
mod future;
mod show;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use show::terminal;

use crate::case::{Case, Load, Until};
use crate::world::{SimError, World};
use berth_model::{Cause, Millis, Timestamp};
use difference::Difference;
use future::{Future, Seen};
use serde::Serialize;

/// Version of the answer's JSON.
const FORMAT: u32 = 1;
/// How far is looked if nothing is said: things that run for ever would have no end.
const HORIZON: Millis = Millis::from_secs(30 * 86_400);

/// How far both futures are led on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Horizon {
    /// Until all that waits has started, or nothing more can happen; at most 30 days.
    #[default]
    Started,
    /// Until nothing leaves and nothing more is decided.
    Settled,
    /// For so long.
    For(Millis),
}

/// What comes of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Version of this form.
    pub format: u32,
    /// The scenario, trace or log.
    pub name: String,
    /// When the change is made.
    pub at: Timestamp,
    /// Until when both futures were led on.
    pub until: Timestamp,
    /// What is changed, in words.
    pub changes: Vec<String>,
    /// What is submitted, and what comes of it.
    pub submitted: Vec<Submitted>,
    /// Who is evicted with the change and not without it.
    pub evicted: Vec<Evicted>,
    /// Who is evicted without the change and not with it.
    pub spared: Vec<Evicted>,
    /// Who lost its place with a node that is removed, and when it has one again.
    pub displaced: Vec<Shift>,
    /// Who starts sooner with the change, or starts at all.
    pub sooner: Vec<Shift>,
    /// Who starts later with the change, or not any more.
    pub later: Vec<Shift>,
    /// GPU work that evictions throw away with the change, less without it: millionths of a device times milliseconds.
    pub lost_share_millis: i128,
}

/// A workload that is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    /// Its name.
    pub workload: String,
    /// Its project; empty for an unmanaged namespace.
    pub project: String,
    /// When it starts; none = not until the end.
    pub start: Option<Timestamp>,
    /// Where its pods are placed then.
    pub pods: Vec<PlacedPod>,
    /// Why it does not start at once, or not at all; empty if it starts at once.
    pub reason: String,
    /// What would start it, if it has not started at the end.
    pub change: String,
}

/// Where a pod is placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacedPod {
    /// Its role and its number in it.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// Its devices on the node.
    pub devices: Vec<u8>,
}

/// A workload that loses pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evicted {
    /// Its name.
    pub workload: String,
    /// Its project.
    pub project: String,
    /// When first.
    pub at: Timestamp,
    /// How many pods.
    pub pods: u32,
    /// Why.
    pub cause: Cause,
    /// The rule.
    pub rule: &'static str,
    /// For whom; none = for its own sake.
    pub beneficiary: Option<String>,
    /// When pods of it are placed again; none = not until the end.
    pub again: Option<Timestamp>,
}

/// A workload that starts at another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// Its name.
    pub workload: String,
    /// Its project.
    pub project: String,
    /// When it starts without the change; none = not until the end.
    pub without: Option<Timestamp>,
    /// When it starts with the change.
    pub with: Option<Timestamp>,
}

/// Leads on the world as it is, and as it is with the changes.
pub(crate) fn run(
    base: &World<'_>,
    case: &Case,
    changes: &[Change],
    horizon: Horizon,
) -> Result<Answer, SimError> {
    let case = case_with(case, changes);
    let span = if let Horizon::For(span) = horizon { span } else { HORIZON };
    let most = base.now().plus(span);
    let (mut seen_with, mut seen_without) = (Seen::default(), Seen::default());
    let mut without = Future::new(base, &case, &[], &mut seen_without)?;
    let mut with = Future::new(base, &case, changes, &mut seen_with)?;
    let until = without.lead(most, horizon)?.max(with.lead(most, horizon)?);
    without.lead_to(until)?;
    with.lead_to(until)?;
    let (without, with) = (without.end(), with.end());
    let at = base.now();
    let (without, with) = ((&without, &seen_without), (&with, &seen_with));
    Ok(Difference { case: &case, at, until, without, with }.answer(changes))
}

/// The case with the objects that the changes add, and without what is yet to come.
fn case_with(case: &Case, changes: &[Change]) -> Case {
    let mut arrivals: Vec<_> = case.load.arrivals().collect();
    arrivals.sort_by_key(|arrival| arrival.spec.id);
    let mut cluster = case.cluster.clone();
    for change in changes {
        match change {
            Change::Submit(arrival) => arrivals.push(arrival.clone()),
            Change::AddNode(node) => cluster.nodes.push(node.clone()),
            Change::RemoveNode(_) | Change::Quota { .. } => {}
        }
    }
    Case {
        name: case.name.clone(),
        cluster,
        load: Load::Listed(arrivals),
        happenings: Vec::new(),
        until: Until::Settled,
        expect: Vec::new(),
    }
}
