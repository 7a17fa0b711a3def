//! Series over time, thinned as they grow to a bounded number of samples.

use super::run::World;
use crate::outcome::{PoolSample, ProjectSample};
use berth_engine::QueueUsage;
use berth_model::{GpuShare, Millis, PoolId, ProjectId, QueueId, Timestamp};

/// The most samples of one series: a chart shows no more.
const SAMPLES_MAX: usize = 1000;
/// The samples that are taken of a case that ends when it is expected to.
const SAMPLES_AIMED: i64 = 500;
/// The most samples of all series together; with many projects each has fewer.
const SAMPLES_OF_ALL_MAX: usize = 400_000;
const SAMPLES_MIN: usize = 16;

/// When samples are taken, and the samples.
///
/// The step between samples doubles, and every second sample is dropped, whenever a series is full: what
/// is kept depends on virtual time alone.
#[derive(Clone)]
pub(super) struct Sampler {
    next: Timestamp,
    step: Millis,
    most: usize,
    pub(super) pools: Vec<Vec<PoolSample>>,
    pub(super) projects: Vec<Vec<ProjectSample>>,
}

impl Sampler {
    /// Empty series for so many pools and projects, of a case that is expected to last for `span`.
    pub(super) fn new(pools: usize, projects: usize, span: Millis) -> Self {
        let most = (SAMPLES_OF_ALL_MAX / (pools + projects).max(1)).clamp(SAMPLES_MIN, SAMPLES_MAX);
        Self {
            next: Timestamp(i64::MIN),
            step: Millis((span.0 / SAMPLES_AIMED).max(1)),
            most,
            pools: vec![Vec::new(); pools],
            projects: vec![Vec::new(); projects],
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        now >= self.next
    }

    /// Makes room for one more sample at `now`.
    fn make_room(&mut self, now: Timestamp) {
        let taken = self.pools.first().map_or(0, Vec::len);
        // One place is kept for the last sample.
        if taken + 1 >= self.most {
            self.step = Millis(self.step.0.saturating_mul(2));
            self.pools.iter_mut().for_each(every_second);
            self.projects.iter_mut().for_each(every_second);
        }
        self.next = now.plus(self.step);
    }
}

fn every_second<T>(series: &mut Vec<T>) {
    let mut index = 0;
    series.retain(|_| {
        index += 1;
        index % 2 == 1
    });
}

impl World<'_> {
    /// Takes a sample if one is due.
    pub(super) fn sample(&mut self) {
        if self.sampler.is_due(self.now) {
            self.sampler.make_room(self.now);
            self.take_sample();
        }
    }

    /// Takes the last sample, whether one is due or not.
    pub(super) fn last_sample(&mut self) {
        let last = self.sampler.pools.first().and_then(|series| series.last()).map(|sample| sample.at);
        if last != Some(self.now) {
            self.take_sample();
        }
    }

    fn take_sample(&mut self) {
        for (index, series) in self.sampler.pools.iter_mut().enumerate() {
            let usage = self.engine.pool_usage(PoolId(index as u32)).unwrap_or_default();
            series.push(PoolSample {
                at: self.now,
                nodes: usage.nodes,
                capacity: usage.capacity,
                allocated: usage.allocated,
                requested: usage.allocated + self.measured.waiting[index],
                stranded: usage.stranded,
            });
        }
        let pools = self.sampler.pools.len() as u32;
        let projects = self.measured.projects.iter().zip(&mut self.sampler.projects);
        for (id, (project, series)) in (0..).zip(projects) {
            let queue = QueueId::Project(ProjectId(id));
            let shares =
                (0..pools).filter_map(|pool| self.engine.queue_usage(queue, PoolId(pool))).map(|usage| {
                    let QueueUsage { fair_share, demand, .. } = usage;
                    (fair_share.gpu.0, demand.gpu.0)
                });
            let (fair, demand) = shares.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
            series.push(ProjectSample {
                at: self.now,
                allocated: project.allocated,
                requested: project.requested,
                fair_share: GpuShare(fair),
                demand: GpuShare(demand),
            });
        }
    }
}
