//! What is measured of deciding, and of what there is.

use crate::gpu_time::GpuTime;
use berth_cluster::Mirror;
use berth_engine::{Engine, QueueUsage};
use berth_model::words::Names;
use berth_model::{Decision, Event, PoolId, QueueId, ReasonKind, WorkloadId};
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bounds from 50 microseconds to 1.6 s.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_8, 0.025_6, 0.051_2,
    0.102_4, 0.204_8, 0.409_6, 0.819_2, 1.638_4,
];

/// What is counted and measured.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    steps: HistogramVec,
    pub(crate) events: IntCounter,
    pub(crate) refused: IntCounter,
    decisions: IntCounterVec,
    pub(crate) leads: IntGauge,
    pods: IntGauge,
    workloads: IntGauge,
    pending: IntGaugeVec,
    queues: GaugeVec,
    pools: GaugeVec,
    gpu_seconds: CounterVec,
    gpu_seconds_lost: CounterVec,
}

/// What the engine has been told of, as far as it is reported.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pools: BTreeSet<PoolId>,
    queues: BTreeSet<QueueId>,
    /// Why workloads waited when that was last said.
    reasons: BTreeMap<WorkloadId, ReasonKind>,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self> {
        let steps = HistogramVec::new(
            HistogramOpts::new("berth_step_seconds", "How long a step of a round takes.")
                .buckets(SECONDS.to_vec()),
            &["step"],
        )?;
        let it = Self {
            steps,
            events: IntCounter::new("berth_engine_events_total", "Events that were told to the engine.")?,
            refused: IntCounter::new("berth_engine_refused_total", "Events that the engine refused.")?,
            decisions: IntCounterVec::new(
                Opts::new("berth_decisions_total", "Decisions by kind."),
                &["decision"],
            )?,
            leads: IntGauge::new("berth_leads", "1 if this replica acts, 0 if it stands by.")?,
            pods: IntGauge::new("berth_pods", "Pods that are known.")?,
            workloads: IntGauge::new("berth_workloads", "Workloads that are known.")?,
            pending: IntGaugeVec::new(
                Opts::new("berth_pending_workloads", "Workloads that wait, by the kind of their reason."),
                &["reason"],
            )?,
            queues: GaugeVec::new(
                Opts::new(
                    "berth_queue_amount",
                    "GPUs, cores and bytes of a queue in a pool: allocated, non-preemptible, fair share, demand.",
                ),
                &["kind", "queue", "pool", "resource", "amount"],
            )?,
            pools: GaugeVec::new(
                Opts::new("berth_pool_gpus", "GPUs of a pool: capacity, allocated, stranded."),
                &["pool", "amount"],
            )?,
            gpu_seconds: CounterVec::new(
                Opts::new(
                    "berth_gpu_seconds_total",
                    "GPUs held times seconds by project and pool, within and over quota.",
                ),
                &["project", "pool", "quota"],
            )?,
            gpu_seconds_lost: CounterVec::new(
                Opts::new(
                    "berth_gpu_seconds_lost_total",
                    "GPUs held times seconds by pods that were evicted and whose work is lost.",
                ),
                &["project", "pool"],
            )?,
        };
        registry.register(Box::new(it.steps.clone()))?;
        registry.register(Box::new(it.events.clone()))?;
        registry.register(Box::new(it.refused.clone()))?;
        registry.register(Box::new(it.decisions.clone()))?;
        registry.register(Box::new(it.leads.clone()))?;
        registry.register(Box::new(it.pods.clone()))?;
        registry.register(Box::new(it.workloads.clone()))?;
        registry.register(Box::new(it.pending.clone()))?;
        registry.register(Box::new(it.queues.clone()))?;
        registry.register(Box::new(it.pools.clone()))?;
        registry.register(Box::new(it.gpu_seconds.clone()))?;
        registry.register(Box::new(it.gpu_seconds_lost.clone()))?;
        Ok(it)
    }

    /// Measures a step until it is dropped.
    pub(crate) fn step(&self, name: &str) -> HistogramTimer {
        self.steps.with_label_values(&[name]).start_timer()
    }

    pub(crate) fn decided(&self, decisions: &[Decision]) {
        for decision in decisions {
            let kind = match decision {
                Decision::Place { .. } => "place",
                Decision::Evict { .. } => "evict",
                Decision::Reserve { .. } => "reserve",
                Decision::Release { .. } => "release",
                Decision::Warn { .. } => "warn",
                Decision::Report { .. } => "report",
            };
            self.decisions.with_label_values(&[kind]).inc();
        }
    }

    /// Brings the counters of GPU time up to date.
    pub(crate) fn count_gpu_time(&self, time: &mut GpuTime) {
        time.report(|project, pool, [within, over, lost]| {
            let used = |quota, more| self.gpu_seconds.with_label_values(&[project, pool, quota]).inc_by(more);
            used("within", within);
            used("over", over);
            self.gpu_seconds_lost.with_label_values(&[project, pool]).inc_by(lost);
        });
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self, engine: &mut Engine, mirror: &Mirror, known: &mut Known) {
        let (pods, workloads) = mirror.size();
        self.pods.set(pods as i64);
        self.workloads.set(workloads as i64);
        known.reasons.retain(|workload, _| engine.pods_of(*workload).is_some_and(|(_, pending)| pending > 0));
        self.pending.reset();
        for reason in known.reasons.values() {
            self.pending.with_label_values(&[reason.to_string()]).inc();
        }
        self.queues.reset();
        self.pools.reset();
        for pool in &known.pools {
            let Some(name) = mirror.pool(*pool) else { continue };
            self.measure_pool(engine, *pool, name);
            for queue in &known.queues {
                let (kind, queue_name) = match queue {
                    QueueId::Department(id) => ("department", mirror.department(*id)),
                    QueueId::Project(id) => ("project", mirror.project(*id)),
                };
                let used = queue_name.zip(engine.queue_usage(*queue, *pool));
                if let Some((queue_name, usage)) = used {
                    self.measure_queue([kind, queue_name, name], &usage);
                }
            }
        }
    }

    fn measure_pool(&self, engine: &Engine, pool: PoolId, name: &str) {
        let Some(usage) = engine.pool_usage(pool) else { return };
        let amounts =
            [("capacity", usage.capacity), ("allocated", usage.allocated), ("stranded", usage.stranded)];
        for (word, amount) in amounts {
            self.pools.with_label_values(&[name, word]).set(gpus(amount));
        }
    }

    fn measure_queue(&self, [kind, queue, pool]: [&str; 3], usage: &QueueUsage) {
        let amounts = [
            ("allocated", usage.allocated),
            ("non_preemptible", usage.non_preemptible),
            ("fair_share", usage.fair_share),
            ("demand", usage.demand),
        ];
        for (word, amount) in amounts {
            let set = |resource: &str, value: f64| {
                self.queues.with_label_values(&[kind, queue, pool, resource, word]).set(value);
            };
            set("gpu", gpus(amount.gpu));
            set("cpu", amount.cpu.0 as f64 / 1000.0);
            set("memory", amount.memory.0 as f64);
        }
    }
}

fn gpus(share: berth_model::GpuShare) -> f64 {
    share.0 as f64 / berth_model::GpuShare::DEVICE.0 as f64
}

impl Known {
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::PoolSet(pool) => drop(self.pools.insert(pool.id)),
            Event::PoolRemoved(pool) => drop(self.pools.remove(pool)),
            Event::DepartmentSet(it) => drop(self.queues.insert(QueueId::Department(it.id))),
            Event::DepartmentRemoved(id) => drop(self.queues.remove(&QueueId::Department(*id))),
            Event::ProjectSet(it) => drop(self.queues.insert(QueueId::Project(it.id))),
            Event::ProjectRemoved(id) => drop(self.queues.remove(&QueueId::Project(*id))),
            Event::WorkloadRemoved(workload) => drop(self.reasons.remove(workload)),
            _ => {}
        }
    }

    pub(crate) fn decided(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Decision::Report { workload, reason } = decision {
                self.reasons.insert(*workload, reason.kind());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_model::{PolicyReason, Reason};

    #[test]
    fn why_a_workload_waited_is_forgotten_with_it() {
        let mut known = Known::default();
        let reason = Box::new(Reason::Policy(PolicyReason::Gated { gates: Vec::new() }));
        known.decided(&[Decision::Report { workload: WorkloadId(1), reason }]);
        assert_eq!(known.reasons.len(), 1);
        known.note(&Event::WorkloadRemoved(WorkloadId(1)));
        assert!(known.reasons.is_empty());
    }
}
