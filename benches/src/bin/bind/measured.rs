//! What is measured of one run.

use serde_json::{Value, json};
use std::time::Duration;

/// One run over some pods.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) pods: usize,
    /// From the first bind that was seen to the last.
    pub(crate) span: Duration,
    /// From the first request to the last bind that was seen; of bare POSTs only.
    pub(crate) whole: Duration,
    /// CPU time of the program until then, its start included.
    pub(crate) cpu: Duration,
    /// The most memory that it held, in KiB.
    pub(crate) rss_kib: u64,
    /// How long the engine took of the time between the first bind and the last; of Berth only.
    pub(crate) engine: Option<Duration>,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        (self.pods - 1) as f64 / self.span.as_secs_f64()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "pods_per_second": round(self.per_second()),
            "seconds": round(self.span.as_secs_f64()),
            "cpu_seconds": round(self.cpu.as_secs_f64()),
            "rss_mib": self.rss_kib / 1024,
            "engine_seconds": self.engine.map(|it| round(it.as_secs_f64())),
        })
    }
}

/// The ratios, of the best run of each.
pub(crate) fn ratios(runs: &[[Run; 3]], figures: &mut Value) {
    let best = |which: usize| {
        let all = runs.iter().map(|round| &round[which]);
        all.max_by(|a, b| a.per_second().total_cmp(&b.per_second()))
    };
    let (Some(bare), Some(kube), Some(berth)) = (best(0), best(1), best(2)) else { return };
    let cpu = |run: &Run| run.cpu.as_secs_f64() * 1000.0 / run.pods as f64;
    figures["bare_posts_per_second"] = round(bare.per_second());
    figures["kube_scheduler_per_second"] = round(kube.per_second());
    figures["berth_per_second"] = round(berth.per_second());
    figures["ratio_to_bare_posts"] = round(berth.per_second() / bare.per_second());
    figures["ratio_to_kube_scheduler"] = round(berth.per_second() / kube.per_second());
    figures["kube_scheduler_cpu_seconds_per_1000_pods"] = round(cpu(kube));
    figures["berth_cpu_seconds_per_1000_pods"] = round(cpu(berth));
    figures["ratio_of_cpu_to_kube_scheduler"] = round(cpu(berth) / cpu(kube));
    if let Some(engine) = berth.engine {
        figures["engine_share_of_the_time"] = round(engine.as_secs_f64() / berth.span.as_secs_f64());
    }
}

/// What is wanted of claims: five times kube-scheduler's rate, or 0.8 of that of the same writes, whichever is lower.
pub(crate) fn wanted(figures: &mut Value) {
    let of = |name: &str| figures[name].as_f64().unwrap_or(0.0);
    let wanted = (5.0 * of("kube_scheduler_per_second")).min(0.8 * of("bare_posts_per_second"));
    let reached = of("berth_per_second") / wanted;
    figures["wanted_per_second"] = round(wanted);
    figures["ratio_to_wanted"] = round(reached);
}

/// A gang, from its last pod that was created to its last bind, beside bare POSTs of as many.
pub(crate) fn gang_of(pods: usize, bare: &Run, gang: Duration) -> Value {
    json!({
        "pods": pods,
        "bare_posts_seconds": round(bare.whole.as_secs_f64()),
        "berth_seconds": round(gang.as_secs_f64()),
        "ratio_to_bare_posts": round(gang.as_secs_f64() / bare.whole.as_secs_f64()),
    })
}

/// Three digits after the point.
pub(crate) fn round(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}
