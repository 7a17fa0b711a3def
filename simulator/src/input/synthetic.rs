//! A generated load: seeded, the same everywhere, made job by job while the simulation runs.
//!
//! Distributions:
//! - arrivals are Poisson: gaps are exponential, their mean such that the work offered is `load` times what
//!   the cluster's GPUs can do;
//! - a job's kind: `cpu_only` of the jobs ask for no GPU (1, 2, 4 or 8 cores), `fractions` of them for a share
//!   of one device (0.1, 0.25, 0.5 or 0.75), `gangs` of them for 2, 4 or 8 pods of 8 devices at once, and the
//!   rest for 1, 2, 4 or 8 whole devices with weights 60, 16, 12 and 12 of 100; sizes without stated
//!   weights are equally likely;
//! - durations are lognormal with the stated median and sigma, cut to 1 s .. 7 d;
//! - projects are equally likely; each has an equal part of the devices as its quota.
//!
//! Numbers come from ChaCha8. Floating point makes the load, it decides nothing.

use super::node::Pattern;
use super::scenario::only_department;
use super::{only_project, plain_pod};
use crate::case::{Arrival, Case, Cluster, Life, Load, Until};
use berth_model::{
    Bytes, GpuMemoryMib, GpuRequest, GpuShare, Labels, MilliCpu, Millis, NodeId, NodeSpec, PodSpec, PoolId,
    PoolSpec, Priority, ProjectId, QueueQuota, Quota, ResourceQuota, RoleSpec, Timestamp, WorkloadId,
    WorkloadSpec,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use std::sync::Arc;

const DEVICE_MEMORY: GpuMemoryMib = GpuMemoryMib(80 * 1024);
const MODEL: &str = "H100";
const CPU_PER_DEVICE_MILLI: i64 = 16_000;
const MEMORY_PER_DEVICE_MIB: i64 = 128 * 1024;
const NODE_PODS: u32 = 256;
const DURATION_MIN_MS: f64 = 1_000.0;
const DURATION_MAX_MS: f64 = 7.0 * 86_400_000.0;
const GANG_POD_DEVICES: u32 = 8;

/// What is generated. Shares are in millionths.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// The same seed makes the same load.
    pub seed: u64,
    /// Jobs.
    pub jobs: u64,
    /// Nodes.
    pub nodes: u32,
    /// Devices of each node.
    pub gpus_per_node: u32,
    /// Projects.
    pub projects: u32,
    /// GPU work offered, relative to what the cluster can do.
    pub load: i64,
    /// Share of the jobs that ask for a part of a device.
    pub fractions: i64,
    /// Share of the jobs that are gangs of pods with 8 devices each.
    pub gangs: i64,
    /// Share of the jobs that ask for no GPU.
    pub cpu_only: i64,
    /// Median of the durations.
    pub median: Millis,
    /// Standard deviation of the durations' logarithm.
    pub sigma: i64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            seed: 1,
            jobs: 10_000,
            nodes: 100,
            gpus_per_node: 8,
            projects: 10,
            load: 900_000,
            fractions: 200_000,
            gangs: 20_000,
            cpu_only: 100_000,
            median: Millis::from_secs(600),
            sigma: 1_000_000,
        }
    }
}

/// One kind of job: a number of equal pods, and how many of 2^32 jobs are of it.
struct Kind {
    pod: Arc<PodSpec>,
    pods: u32,
    weight: f64,
}

impl Synthetic {
    /// The case with this load.
    pub fn case(self) -> Case {
        let pool = PoolSpec::new(PoolId(0), PoolSpec::DEFAULT_NAME, None);
        Case {
            name: format!("synthetic-{}", self.seed),
            cluster: Cluster {
                pools: vec![pool],
                departments: vec![only_department(1)],
                projects: (0..self.projects).map(|i| self.project(i)).collect(),
                nodes: (0..self.nodes).map(|i| self.node(i)).collect(),
                budgets: Vec::new(),
            },
            load: Load::Synthetic(self),
            happenings: Vec::new(),
            until: Until::Idle,
            expect: Vec::new(),
        }
    }

    fn project(&self, index: u32) -> berth_model::ProjectSpec {
        let devices = self.nodes * self.gpus_per_node / self.projects.max(1);
        let gpu = ResourceQuota { quota: Quota::Of(GpuShare::devices(devices).0), limit: None };
        only_project(index, format!("project-{index}"), QueueQuota { gpu, ..QueueQuota::default() })
    }

    fn node(&self, index: u32) -> NodeSpec {
        let devices = i64::from(self.gpus_per_node.max(1));
        let pattern = Pattern {
            cpu: MilliCpu(CPU_PER_DEVICE_MILLI * devices),
            memory: Bytes((MEMORY_PER_DEVICE_MIB * devices) << 20),
            pods: NODE_PODS,
            gpus: self.gpus_per_node as usize,
            gpu_memory: DEVICE_MEMORY,
            model: MODEL,
            pool: None,
            labels: &Labels::new(),
        };
        pattern.node(NodeId(index), format!("node-{index}"))
    }

    /// The kinds of jobs; their weights add up to 1.
    fn kinds(&self) -> Vec<Kind> {
        let part = |millionths: i64| millionths as f64 / 1e6;
        let (cpu_only, fractions, gangs) = (part(self.cpu_only), part(self.fractions), part(self.gangs));
        let whole = (1.0 - cpu_only - fractions - gangs).max(0.0);
        let mut kinds = Vec::new();
        let mut add = |gpu: GpuRequest, cores: i64, memory_gib: i64, pods: u32, weight: f64| {
            let pod = Arc::new(plain_pod(cores * 1000, memory_gib * 1024, gpu));
            kinds.push(Kind { pod, pods, weight });
        };
        for cores in [1, 2, 4, 8] {
            add(GpuRequest::None, cores, cores * 4, 1, cpu_only / 4.0);
        }
        for share in [100_000, 250_000, 500_000, 750_000] {
            let gpu = GpuRequest::Share { share: GpuShare(share), devices: 1, limit: None };
            add(gpu, 2, 16, 1, fractions / 4.0);
        }
        for (devices, weight) in [(1u32, 0.60), (2, 0.16), (4, 0.12), (8, 0.12)] {
            let d = i64::from(devices);
            add(GpuRequest::Whole(devices), 8 * d, 64 * d, 1, whole * weight);
        }
        for pods in [2, 4, 8] {
            add(GpuRequest::Whole(GANG_POD_DEVICES), 64, 512, pods, gangs / 3.0);
        }
        kinds
    }

    /// Mean time between arrivals, in milliseconds.
    fn mean_gap_ms(&self, kinds: &[Kind]) -> f64 {
        let devices_of = |kind: &Kind| {
            f64::from(kind.pods)
                * match kind.pod.gpu {
                    GpuRequest::Share { share, .. } => share.0 as f64 / 1e6,
                    other => f64::from(other.devices()),
                }
        };
        let devices: f64 = kinds.iter().map(|kind| kind.weight * devices_of(kind)).sum();
        let sigma = self.sigma as f64 / 1e6;
        let duration = self.median.0 as f64 * (sigma * sigma / 2.0).exp();
        let capacity = f64::from(self.nodes) * f64::from(self.gpus_per_node) * self.load as f64 / 1e6;
        // Without GPU work there is nothing to relate the load to: one job a second.
        if devices * capacity == 0.0 { 1000.0 } else { devices * duration / capacity }
    }

    /// When the last job is expected to arrive.
    pub(crate) fn span(&self) -> Millis {
        Millis((self.mean_gap_ms(&self.kinds()) * self.jobs as f64) as i64)
    }

    /// The jobs in the order of arrival.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = Arrival> + '_ {
        let kinds = self.kinds();
        let mut bounds = Vec::with_capacity(kinds.len());
        let mut sum = 0.0;
        for kind in &kinds {
            sum += kind.weight;
            bounds.push(sum);
        }
        let gap = self.mean_gap_ms(&kinds);
        let sigma = self.sigma as f64 / 1e6;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut clock = 0.0;
        (0..self.jobs).map(move |id| {
            let step: f64 = Exp1.sample(&mut rng);
            clock += step * gap;
            let draw: f64 = rng.random::<f64>() * sum;
            let kind = &kinds[bounds.iter().position(|bound| draw < *bound).unwrap_or(0)];
            let normal: f64 = StandardNormal.sample(&mut rng);
            let duration = self.median.0 as f64 * (sigma * normal).exp();
            let runtime = Millis(duration.clamp(DURATION_MIN_MS, DURATION_MAX_MS) as i64);
            let project = ProjectId(rng.random_range(0..self.projects.max(1)));
            let life = Life { runtime: Some(runtime), exits_after: None, impatient: false };
            let spec = job(WorkloadId(id), project, Timestamp(clock as i64), kind);
            Arrival { spec, life, found: Vec::new() }
        })
    }
}

fn job(id: WorkloadId, project: ProjectId, submitted: Timestamp, kind: &Kind) -> WorkloadSpec {
    let role = RoleSpec {
        name: String::new(),
        count: kind.pods,
        min: kind.pods,
        labels: Arc::default(),
        pod: Arc::clone(&kind.pod),
    };
    WorkloadSpec { priority: Priority(40), ..WorkloadSpec::new(id, Some(project), submitted, vec![role]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_load() {
        let make = |seed| -> Vec<_> {
            let synthetic = Synthetic { seed, jobs: 100, ..Synthetic::default() };
            synthetic.arrivals().map(|a| (a.spec, a.life.runtime)).collect()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn the_load_offered_is_the_load_asked_for() {
        let synthetic = Synthetic { jobs: 50_000, ..Synthetic::default() };
        let (mut work, mut last) = (0i128, 0i64);
        for arrival in synthetic.arrivals() {
            let role = &arrival.spec.roles[0];
            let share = match role.pod.gpu {
                GpuRequest::Share { share, .. } => share.0,
                other => GpuShare::devices(other.devices()).0,
            };
            work += i128::from(share * i64::from(role.count)) * i128::from(arrival.life.runtime.unwrap().0);
            assert!(arrival.spec.submitted.0 >= last);
            last = arrival.spec.submitted.0;
        }
        let offered = work as f64 / 1e6 / (800.0 * last as f64);
        assert!((0.85..0.95).contains(&offered), "{offered}");
    }
}
