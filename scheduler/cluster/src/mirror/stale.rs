//! Since when gangs have been below their minimum, as written on their pods (S27, S33).
//!
//! The engine says it; it is written on the first few pods of such a gang, so that whoever begins to lead knows it although one of
//! them has gone meanwhile, and taken off when it is not so any more. Costs: in the number of gangs of which it is so.

use super::Mirror;
use super::groups::Group;
use super::pods::Entry;
use crate::action::{Action, PodRef};
use berth_api::names::written;
use berth_model::{Timestamp, WorkloadId};
use k8s_openapi::jiff;
use std::collections::{BTreeMap, BTreeSet};

/// On how many pods of a gang it is written.
const PODS: usize = 3;

/// What has been asked to be written, by workload.
#[derive(Debug, Default)]
pub(crate) struct Written(BTreeMap<WorkloadId, (Timestamp, BTreeSet<PodRef>)>);

impl Mirror {
    /// What is to be written when exactly these workloads are below their minimum, since then.
    pub fn stale(&mut self, stale: impl Iterator<Item = (WorkloadId, Timestamp)>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut before = std::mem::take(&mut self.written.0);
        for (workload, since) in stale {
            let Some(group) = self.groups.find(workload).and_then(|ix| self.groups.get(ix)) else { continue };
            let pods = self.first_on_nodes(group);
            let (then, known) = before.remove(&workload).unwrap_or((since, BTreeSet::new()));
            let new = pods.iter().filter(|pod| then != since || !known.contains(pod));
            actions.extend(new.map(|pod| Action::StaleSince { pod: pod.clone(), since: Some(since) }));
            self.written.0.insert(workload, (since, pods));
        }
        for (_, pods) in before.into_values() {
            actions.extend(pods.into_iter().map(|pod| Action::StaleSince { pod, since: None }));
        }
        actions
    }

    /// What whoever led before has written.
    pub(super) fn find_stale(&mut self) {
        for (_, group) in self.groups.iter() {
            let Some(since) = self.stale_since(group) else { continue };
            let is_marked = |entry: &&Entry| entry.kept.own_annotation(written::STALE_SINCE).is_some();
            let marked = self.pods.of(group).filter(is_marked).map(Entry::reference).collect();
            self.written.0.insert(group.id, (since, marked));
        }
    }

    /// Since when a workload has been below its minimum, as written on its pods.
    pub(super) fn stale_since(&self, group: &Group) -> Option<Timestamp> {
        let texts = self.pods.of(group).filter_map(|entry| entry.kept.own_annotation(written::STALE_SINCE));
        let read = |text: &str| text.parse::<jiff::Timestamp>().ok();
        texts.filter_map(read).map(|at| Timestamp(at.as_millisecond())).min()
    }

    fn first_on_nodes(&self, group: &Group) -> BTreeSet<PodRef> {
        let stays = |entry: &&Entry| entry.kept.node.is_some() && entry.kept.deleted.is_none();
        self.pods.of(group).filter(stays).take(PODS).map(Entry::reference).collect()
    }
}
