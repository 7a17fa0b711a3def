//! One future against another.

use super::future::{End, Eviction, Seen};
use super::{Answer, Change, Evicted, FORMAT, PlacedPod, Shift, Submitted};
use crate::case::{Arrival, Case, Load};
use berth_model::{Cause, PodId, Timestamp, WorkloadId};

/// Two futures of one cluster.
pub(super) struct Difference<'a> {
    pub(super) case: &'a Case,
    pub(super) at: Timestamp,
    pub(super) until: Timestamp,
    pub(super) without: (&'a End, &'a Seen),
    pub(super) with: (&'a End, &'a Seen),
}

impl Difference<'_> {
    /// What differs.
    pub(super) fn answer(&self, changes: &[Change]) -> Answer {
        let new: Vec<WorkloadId> = changes.iter().filter_map(submitted).collect();
        let waited = &self.without.0.short;
        let displaced = self.with.0.short.iter().filter(|w| !waited.contains(w) && !new.contains(w));
        let shifts = || waited.iter().map(|workload| self.shift(*workload));
        // None is later than any time.
        let key = |start: Option<Timestamp>| (start.is_none(), start);
        Answer {
            format: FORMAT,
            name: self.case.name.clone(),
            at: self.at,
            until: self.until,
            changes: changes.iter().map(|change| change.words(&self.case.cluster)).collect(),
            submitted: new.iter().map(|workload| self.submitted(*workload)).collect(),
            evicted: self.evicted(self.with.1, self.without.1),
            spared: self.evicted(self.without.1, self.with.1),
            displaced: displaced.map(|workload| self.shift(*workload)).collect(),
            sooner: shifts().filter(|shift| key(shift.with) < key(shift.without)).collect(),
            later: shifts().filter(|shift| key(shift.with) > key(shift.without)).collect(),
            lost_share_millis: self.with.0.lost_share_millis - self.without.0.lost_share_millis,
        }
    }

    /// When a workload starts in both futures; one that runs from the beginning starts there at once.
    fn shift(&self, workload: WorkloadId) -> Shift {
        let start = |(end, seen): (&End, &Seen)| match end.short.contains(&workload) {
            true => seen.placed_from(workload, self.at),
            false => Some(self.at),
        };
        Shift {
            workload: self.name(workload),
            project: self.project(workload),
            without: start(self.without),
            with: start(self.with),
        }
    }

    fn submitted(&self, workload: WorkloadId) -> Submitted {
        let (end, seen) = self.with;
        let start = seen.placed_from(workload, self.at);
        let why = if start.is_some() { &end.at_first } else { &end.at_last };
        let (reason, change) = why.get(&workload).cloned().unwrap_or_default();
        let placed = seen.placed.get(&workload).into_iter().flatten();
        let first = placed.filter(|(at, ..)| Some(*at) == start);
        let pods = first.map(|(_, pod, at)| PlacedPod {
            pod: self.pod(*pod),
            node: self.case.cluster.nodes[at.node.index()].name.clone(),
            devices: at.gpus.devices().iter().map(|device| device.0).collect(),
        });
        Submitted {
            workload: self.name(workload),
            project: self.project(workload),
            start,
            pods: pods.collect(),
            reason,
            change: if start.is_some() { String::new() } else { change },
        }
    }

    /// Who is evicted in `one` and not in the other.
    fn evicted(&self, one: &Seen, other: &Seen) -> Vec<Evicted> {
        let only = one.evicted.iter().filter(|(workload, _)| !other.evicted.contains_key(workload));
        let evicted = |(workload, pods): (&WorkloadId, &Vec<Eviction>)| {
            let (at, cause, beneficiary) = *pods.first()?;
            Some(Evicted {
                workload: self.name(*workload),
                project: self.project(*workload),
                at,
                pods: pods.len() as u32,
                cause,
                rule: rule(cause),
                beneficiary: beneficiary.map(|workload| self.name(workload)),
                again: one.placed_from(*workload, Timestamp(at.0 + 1)),
            })
        };
        only.filter_map(evicted).collect()
    }

    fn arrival(&self, workload: WorkloadId) -> Option<&Arrival> {
        match &self.case.load {
            Load::Listed(arrivals) => arrivals.get(workload.index()),
            Load::Synthetic(_) => None,
        }
    }

    fn name(&self, workload: WorkloadId) -> String {
        let name = self.arrival(workload).map(|arrival| arrival.spec.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("job-{}", workload.0))
    }

    fn project(&self, workload: WorkloadId) -> String {
        let project = self.arrival(workload).and_then(|arrival| arrival.spec.project);
        let project = project.and_then(|project| self.case.cluster.projects.get(project.index()));
        project.map_or_else(String::new, |project| project.name.clone())
    }

    fn pod(&self, pod: PodId) -> String {
        let arrival = self.arrival(pod.workload);
        let role = arrival.and_then(|arrival| arrival.spec.roles.get(usize::from(pod.role)));
        format!("{}/{}", role.map_or("", |role| role.name.as_str()), pod.index)
    }
}

/// The workload that a change submits.
fn submitted(change: &Change) -> Option<WorkloadId> {
    match change {
        Change::Submit(arrival) => Some(arrival.spec.id),
        Change::AddNode(_) | Change::RemoveNode(_) | Change::Quota { .. } => None,
    }
}

/// The rule behind an eviction.
fn rule(cause: Cause) -> &'static str {
    match cause {
        Cause::Reclaim => "S22",
        Cause::Preempt => "S21",
        Cause::Consolidate => "S26",
        Cause::Stale => "S27",
        Cause::OverLimit => "S19",
        Cause::NotStarted => "S5",
    }
}
