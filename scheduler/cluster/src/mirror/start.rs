//! Starts of gangs that came to a halt half way: completed, or undone, never left half (S5).
//!
//! A gang is decided as a whole and bound pod by pod; a bind may be refused for good, and whoever sends them may die. The engine
//! is told and may find the missing pods another place. If the gang has not reached its minimum in time, counted from the
//! first bind that failed, its bound pods are evicted, non-preemptible ones too: they never ran as a gang. Then it is held
//! for a while that doubles with each start that is undone.
//!
//! Who begins to lead finds such starts by the objects alone: the pods that are missing were created before the first that
//! is bound began. A gang that has lost a pod which was replaced is none of them: that is for S27.
//!
//! Absent: memory over a change of leaders of how often a start was undone.

use super::Mirror;
use super::groups::Group;
use super::pods::Entry;
use crate::action::{Action, Notice};
use crate::words;
use berth_api::keep::Phase;
use berth_model::{Millis, Timestamp};

/// How long a gang is held after its start was undone, the first time and at most.
const HELD: (Millis, Millis) = (Millis::from_secs(10), Millis::from_secs(300));

/// A start that has not reached the minimum yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    /// Another leader may have begun it: it is to be judged by the objects.
    found: bool,
    /// When the first bind failed, and why the last one did.
    failed: Option<(Timestamp, Box<str>)>,
    undoing: bool,
    undone: u32,
    held_until: Option<Timestamp>,
}

/// How far a gang is.
struct Stand {
    /// Every role has its minimum on nodes.
    whole: bool,
    /// The missing ones exist, and existed before the first began.
    begun_by_another: bool,
    /// Pods that are on nodes and have not ended, those that leave included.
    on_nodes: Vec<u32>,
}

impl Start {
    fn pause(&self) -> Millis {
        let times = self.undone.saturating_sub(1).min(10);
        Millis((HELD.0.0 << times).min(HELD.1.0))
    }
}

impl Mirror {
    /// A pod of the workload is placed. If none was, and it is a gang, its start begins.
    pub(super) fn start_begins(group: &mut Group) {
        let idle = group.slots().all(|slot| slot.told.node().is_none());
        let needed: u32 = group.told.iter().flat_map(|spec| &spec.roles).map(|role| role.min).sum();
        if idle && needed > 1 && group.start.is_none() {
            group.start = Some(Box::default());
        }
    }

    /// A bind has failed: the time begins in which the rest must follow.
    pub(super) fn start_failed(&mut self, ix: u32, why: &str) {
        let now = self.now;
        let Some(entry) = self.pods.get(ix) else { return };
        let (Some(seat), pod) = (entry.seat, entry.reference()) else { return };
        let group = self.groups.get_mut(seat.group);
        if let Some(start) = group.and_then(|group| group.start.as_mut()) {
            let first = start.failed.as_ref().map_or(now, |(at, _)| *at);
            start.failed = Some((first, format!("{pod} could not be bound: {why}").into()));
        }
    }

    /// Who begins to lead looks at every gang of which some pods are on nodes and others wait.
    pub(super) fn find_starts(&mut self) {
        let mut found = Vec::new();
        for (ix, group) in self.groups.iter() {
            let on_node = |entry: &Entry| entry.kept.node.is_some();
            let half = self.pods.of(group).any(on_node) && !self.pods.of(group).all(on_node);
            if half && group.start.is_none() {
                found.push(ix);
            }
        }
        for ix in found {
            if let Some(group) = self.groups.get_mut(ix) {
                group.start = Some(Box::new(Start { found: true, ..Start::default() }));
            }
            self.dirty.insert(ix);
        }
    }

    /// True if an eviction of this workload's pods is the mirror's own, of which the engine has not been told.
    pub(super) fn is_undoing(&self, group: u32) -> bool {
        self.groups.get(group).and_then(|group| group.start.as_ref()).is_some_and(|start| start.undoing)
    }

    /// Brings a start further, or back. True if no pod of the workload may be placed now.
    pub(super) fn tend_start(&mut self, ix: u32, group: &mut Group) -> bool {
        let Some(mut start) = group.start.take() else { return false };
        let stand = self.stand(group);
        if stand.whole && !start.undoing {
            return false;
        }
        if std::mem::take(&mut start.found) {
            if !stand.begun_by_another {
                return false;
            }
            start.failed = Some((self.now, "whoever began it has not ended it".into()));
        }
        self.step(ix, group, &mut start, &stand);
        let held = start.undoing || start.held_until.is_some();
        if let (true, None) = (held, &group.problem) {
            group.problem = Some(self.say_undone(&start).into());
        }
        group.start = Some(start);
        held
    }

    fn step(&mut self, ix: u32, group: &Group, start: &mut Start, stand: &Stand) {
        let late = start.failed.as_ref().map(|(at, _)| at.plus(self.settings.gang_within));
        match (start.undoing, late) {
            (true, _) if stand.on_nodes.is_empty() => {
                let until = self.now.plus(start.pause());
                (start.undoing, start.held_until) = (false, Some(until));
                self.timers.insert((until, ix));
            }
            (true, _) => self.undo(group, start, stand),
            (false, Some(late)) if !stand.on_nodes.is_empty() && late <= self.now => {
                (start.undoing, start.undone) = (true, start.undone + 1);
                self.undo(group, start, stand);
            }
            (false, Some(late)) if !stand.on_nodes.is_empty() => drop(self.timers.insert((late, ix))),
            (false, _) => match start.held_until {
                Some(until) if until > self.now => drop(self.timers.insert((until, ix))),
                // Nothing is bound: it begins afresh.
                _ => (start.held_until, start.failed) = (None, None),
            },
        }
    }

    /// Evicts what is bound and stays.
    fn undo(&mut self, group: &Group, start: &Start, stand: &Stand) {
        let grace = group.told.as_ref().map_or(Millis(0), |spec| spec.grace).max(super::act::GRACE_MIN);
        let text = self.say_undone(start);
        for ix in &stand.on_nodes {
            let Some(entry) = self.pods.get_mut(*ix) else { continue };
            if entry.evicted || entry.kept.deleted.is_some() {
                continue;
            }
            entry.evicted = true;
            let pod = entry.reference();
            let notice = Notice { cause: words::UNDONE, beneficiary: None, text: text.clone() };
            self.waiting_actions.push(Action::Evict { pod, grace, notice });
        }
    }

    fn say_undone(&self, start: &Start) -> String {
        let why = start.failed.as_ref().map_or("", |(_, why)| why);
        let again = match start.held_until {
            Some(until) => format!(", and tried again at {}", berth_model::words::Names::time(self, until)),
            None => String::new(),
        };
        let seconds = self.settings.gang_within.0 / 1000;
        format!("its gang was not completed within {seconds} s, so its start is undone{again} (S5): {why}")
    }

    fn stand(&self, group: &Group) -> Stand {
        let began = |entry: &Entry| entry.kept.node.is_some().then(|| entry.began(self.now));
        let first = self.pods.of(group).filter_map(began).min();
        let minimums = group.told.iter().flat_map(|spec| &spec.roles).map(|role| role.min);
        let mut stand = Stand { whole: true, begun_by_another: first.is_some(), on_nodes: Vec::new() };
        for (role, min) in group.roles.iter().zip(minimums) {
            let (mut bound, mut early) = (0, 0);
            for ix in role.slots.iter().filter_map(|slot| slot.pod) {
                let Some(entry) = self.pods.get(ix) else { continue };
                let leaving = entry.kept.deleted.is_some();
                match &entry.kept.node {
                    Some(_) if !entry.has_ended() => {
                        stand.on_nodes.push(ix);
                        bound += u32::from(!leaving);
                    }
                    Some(_) => bound += u32::from(entry.kept.phase == Phase::Succeeded),
                    None => early += u32::from(!leaving && first >= Some(entry.created())),
                }
            }
            stand.whole &= bound >= min;
            stand.begun_by_another &= bound + early >= min;
        }
        stand
    }
}

impl Entry {
    /// When the kubelet began with it; one that is bound and not begun begins now.
    fn began(&self, now: Timestamp) -> Timestamp {
        self.kept.started.as_ref().map_or(now, |time| Timestamp(time.0.as_millisecond()))
    }
}
