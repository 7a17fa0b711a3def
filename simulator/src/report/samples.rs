//! Outcomes for tests: a small fixed one, a rich made-up one, and odd ones.

use crate::outcome::{
    Evictions, Outcome, PendingWorkload, PoolOutcome, PoolSample, ProjectOutcome, ProjectSample, Totals,
};
use berth_model::{Amounts, Bytes, GpuShare, MilliCpu, Millis, QueueQuota, Quota, ResourceQuota, Timestamp};

const MINUTE: i64 = 60_000;

/// A quota of `gpus` devices without a limit.
pub(crate) fn quota(gpus: u32) -> QueueQuota {
    let gpu = ResourceQuota { quota: Quota::Of(GpuShare::devices(gpus).0), limit: None };
    QueueQuota { gpu, ..QueueQuota::default() }
}

fn pool_sample(at: i64, gpus: [u32; 4]) -> PoolSample {
    let [capacity, allocated, requested, stranded] = gpus.map(GpuShare::devices);
    PoolSample { at: Timestamp(at), nodes: 3, capacity, allocated, requested, stranded }
}

fn project_sample(at: i64, allocated: i64, requested: i64) -> ProjectSample {
    let gpu = GpuShare(allocated);
    let amounts = Amounts { gpu, cpu: MilliCpu(allocated / 125), memory: Bytes(allocated << 14) };
    ProjectSample {
        at: Timestamp(at),
        allocated: amounts,
        requested: GpuShare(requested),
        fair_share: GpuShare(allocated.max(requested / 2)),
        demand: GpuShare(requested),
    }
}

/// Two projects on six GPUs for two hours; one workload waits.
pub(crate) fn small() -> Outcome {
    let project = |name: &str, gpus, waits: &[i64], samples| ProjectOutcome {
        name: name.into(),
        department: "research".into(),
        quotas: vec![("default".into(), quota(gpus))],
        workloads: waits.len() as u64,
        waits: waits.iter().map(|s| Millis::from_secs(*s)).collect(),
        samples,
        ..ProjectOutcome::default()
    };
    let d = 1_000_000;
    let vision = vec![project_sample(0, 4 * d, 4 * d), project_sample(60 * MINUTE, 2 * d, 2 * d)];
    let speech = vec![project_sample(0, d, 2 * d), project_sample(60 * MINUTE, 3 * d, 5 * d)];
    let mut projects =
        vec![project("vision", 4, &[0, 0, 5, 90], vision), project("speech", 2, &[0, 3700], speech)];
    projects[1].workloads = 3;
    projects[1].still_waiting = vec![Millis::from_secs(3600)];
    projects[0].evictions = 1;
    projects[0].evictions_by_cause.reclaim = 1;
    projects[0].lost_share_millis = i128::from(d) * 1_800_000;
    let samples = vec![pool_sample(0, [6, 5, 6, 0]), pool_sample(60 * MINUTE, [6, 5, 7, 1])];
    Outcome {
        format: 1,
        name: "two-projects".into(),
        variant: "binpack".into(),
        ended: Timestamp(120 * MINUTE),
        totals: small_totals(),
        pools: vec![PoolOutcome { name: "default".into(), strategy: "binpack".into(), samples }],
        projects,
        pending: vec![PendingWorkload {
            name: "speech-large".into(),
            project: "speech".into(),
            running: 0,
            pending: 1,
            submitted: Timestamp(60 * MINUTE),
            kind: "capacity".into(),
            reason: "needs 2 GPUs on one node; node-1 is closest with 1 free".into(),
            change: "starts if node-1 had 1 more free GPU".into(),
        }],
        violations: Some(vec![]),
    }
}

fn small_totals() -> Totals {
    Totals {
        workloads: 7,
        started: 6,
        completed: 4,
        pending: 1,
        placements: 7,
        evictions: 1,
        evictions_by_cause: Evictions { reclaim: 1, ..Evictions::default() },
        cycles: 42,
        gpu_capacity: GpuShare::devices(6),
        gpu_allocated: GpuShare::devices(5),
        gpu_share_millis: 10 * 3_600_000 * 1_000_000,
        gpu_good_millis: 95 * 360_000 * 1_000_000,
        gpu_capacity_millis: 12 * 3_600_000 * 1_000_000,
        ..Totals::default()
    }
}

/// A small generator, so that made-up curves are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

fn share(gpus: f64) -> GpuShare {
    GpuShare((gpus.max(0.0) * 1e6) as i64)
}

/// Made-up load of two days on the named pools and that many projects; `seed` varies it.
pub(crate) fn rich(variant: &str, seed: u64, pools: &[(&str, f64)], projects: usize) -> Outcome {
    let mut noise = Noise(seed);
    let ended = 48 * 60 * MINUTE;
    let mut outcome = Outcome { format: 1, name: "research cluster, two days".into(), ..small() };
    outcome.variant = variant.into();
    outcome.ended = Timestamp(ended);
    outcome.pools = pools.iter().map(|(name, gpus)| rich_pool(name, variant, *gpus, &mut noise)).collect();
    outcome.projects = (0..projects).map(|i| rich_project(i, projects, &mut noise)).collect();
    let end: Vec<PoolSample> = outcome.pools.iter().filter_map(|p| p.samples.last().copied()).collect();
    let totals = &mut outcome.totals;
    totals.workloads = outcome.projects.iter().map(|p| p.workloads).sum();
    totals.started = outcome.projects.iter().map(|p| p.waits.len() as u64).sum();
    totals.pending = totals.workloads - totals.started;
    totals.completed = totals.started * 9 / 10;
    totals.placements = totals.started * 2;
    totals.evictions_by_cause =
        Evictions { reclaim: 30, preempt: 7, stale: seed % 11, ..Evictions::default() };
    totals.evictions = totals.evictions_by_cause.total();
    totals.gpu_capacity = GpuShare(end.iter().map(|s| s.capacity.0).sum());
    totals.gpu_allocated = GpuShare(end.iter().map(|s| s.allocated.0).sum());
    totals.gpu_capacity_millis = i128::from(totals.gpu_capacity.0) * i128::from(ended);
    totals.gpu_share_millis = totals.gpu_capacity_millis * (860 + seed as i128 % 50) / 1000;
    totals.gpu_good_millis = totals.gpu_share_millis * 97 / 100;
    outcome.pending = rich_pending(&outcome);
    outcome
}

fn rich_pool(name: &str, strategy: &str, gpus: f64, noise: &mut Noise) -> PoolOutcome {
    let samples = (0..480)
        .map(|i| {
            let day = f64::from(i) / 240.0 * std::f64::consts::TAU;
            let wanted = gpus * (0.85 + 0.35 * (day - 1.5).sin() + 0.08 * noise.next());
            let lost = if (200..260).contains(&i) { gpus * 0.125 } else { 0.0 };
            let capacity = (gpus - lost).round();
            let allocated = wanted.min(capacity * (0.93 + 0.05 * noise.next())).round();
            let stranded = ((capacity - allocated) * (0.35 + 0.4 * noise.next())).max(0.0);
            PoolSample {
                at: Timestamp(i64::from(i) * 6 * MINUTE),
                nodes: (capacity / 8.0) as u32,
                capacity: share(capacity),
                allocated: share(allocated),
                requested: share(wanted.max(allocated).round()),
                stranded: share(stranded),
            }
        })
        .collect();
    PoolOutcome { name: name.into(), strategy: strategy.into(), samples }
}

fn rich_project(i: usize, of: usize, noise: &mut Noise) -> ProjectOutcome {
    let names = ["vision", "speech", "language-models", "robotics", "protein-folding", "ads-ranking"];
    let size = 260.0 / of as f64 / (1.0 + i as f64 * 0.3) * 2.0;
    let mut waits: Vec<Millis> =
        (0..400).map(|_| Millis((noise.next().powi(6) * 2e7 * (1.0 + i as f64)) as i64)).collect();
    waits.sort_unstable();
    let samples = (0..480)
        .map(|s| {
            let wave = (f64::from(s) / 240.0 * std::f64::consts::TAU + i as f64).sin();
            let wanted = size * (0.9 + 0.5 * wave + 0.2 * noise.next());
            let got = wanted.min(size * (1.05 + 0.1 * noise.next()));
            project_sample(i64::from(s) * 6 * MINUTE, share(got).0, share(wanted).0)
        })
        .collect();
    ProjectOutcome {
        name: names.get(i).map_or_else(|| format!("team-{i:03}"), |n| (*n).to_owned()),
        department: if i.is_multiple_of(2) { "research" } else { "products" }.into(),
        quotas: vec![("a100".into(), quota(size as u32)), ("h100".into(), quota(0))],
        workloads: 400 + (i as u64 % 4) * 9,
        waits,
        still_waiting: (0..(i as i64 % 4) * 9).map(|m| Millis(m * 7 * MINUTE)).collect(),
        evictions: i as u64 * 3,
        evictions_by_cause: Evictions { reclaim: i as u64, preempt: i as u64 * 2, ..Evictions::default() },
        lost_share_millis: i as i128 * 40_000_000_000_000,
        samples,
    }
}

fn rich_pending(outcome: &Outcome) -> Vec<PendingWorkload> {
    let reasons = [
        (
            "capacity",
            "needs 8 GPUs on one node in pool a100; node-17 is closest with 5 free",
            "starts if node-17 had 3 more free GPUs, or when train-211 ends",
        ),
        ("limit", "project is at its limit of 64 GPUs in pool a100", "starts if the limit were 68 GPUs"),
        ("quota", "non-preemptible: 30 of 32 GPUs of the quota in use", "starts if the quota were 34 GPUs"),
        ("feasibility", "0 of 96 nodes match: 64 by node type, 32 too small", "starts if a node had 4 nics"),
    ];
    (0..46)
        .map(|i| {
            let (kind, reason, change) = reasons[[0, 0, 0, 1, 2, 0, 3, 1][i % 8]];
            let project = &outcome.projects[i % outcome.projects.len()].name;
            PendingWorkload {
                name: format!("{project}-train-{i}"),
                project: project.clone(),
                running: (i % 3) as u32,
                pending: 1 + (i % 4) as u32,
                submitted: Timestamp(i as i64 * 40 * MINUTE),
                kind: kind.into(),
                reason: reason.into(),
                change: change.into(),
            }
        })
        .collect()
}

/// Outcomes that reports must survive, by what is odd about them.
pub(crate) fn odd() -> Vec<(&'static str, Outcome)> {
    let long = "a-project-with-a-name-that-goes-on-for-much-longer-than-any-label-has-room-<b>&\"'".repeat(2);
    let mut single = small();
    single.ended = Timestamp(0);
    single.pools[0].samples.truncate(1);
    single.projects.iter_mut().for_each(|p| p.samples.truncate(1));
    single.totals.gpu_share_millis = 0;
    single.totals.gpu_good_millis = 0;
    single.totals.gpu_capacity_millis = 0;
    let mut zero = small();
    zero.pools[0].samples.iter_mut().for_each(|s| (s.capacity, s.allocated) = Default::default());
    zero.totals.gpu_capacity = GpuShare(0);
    zero.totals.gpu_allocated = GpuShare(0);
    let mut named = small();
    named.name = long.clone();
    named.pools[0].name = long.clone();
    named.projects[0].name = long.clone();
    named.pending[0].name = long.clone();
    named.projects[1].quotas[0].1 = QueueQuota::unlimited();
    named.violations = Some(vec![long]);
    let mut one = small();
    one.projects.truncate(1);
    one.violations = None;
    vec![
        ("empty", Outcome::default()),
        ("single", single),
        ("zero", zero),
        ("long", named),
        ("one", one),
        ("many", rich("binpack", 3, &[("a100", 256.0)], 200)),
    ]
}
