//! What is counted and measured of the requests to the API server.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry, Result};

/// Counters, gauges and histograms; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Answers to requests, by what was asked and what became of it.
    pub(crate) answers: IntCounterVec,
    /// How long a bind takes, from the request to its answer.
    pub(crate) bind_seconds: Histogram,
    /// How much waits to be done, by queue.
    pub(crate) waiting: IntGaugeVec,
    /// Lists that were begun, by kind.
    pub(crate) lists: IntCounterVec,
    /// Changes that watches told, by kind.
    pub(crate) changes: IntCounterVec,
}

/// Bounds from half a millisecond to 8 s.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec> {
            let it = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(it.clone()))?;
            Ok(it)
        };
        let answers = counter(
            "berth_api_answers_total",
            "Requests to the API server by what was asked and what became of it.",
            &["request", "answer"],
        )?;
        let lists = counter("berth_watch_lists_total", "Lists that were begun, by kind.", &["kind"])?;
        let changes = counter("berth_watch_changes_total", "Changes told by watches, by kind.", &["kind"])?;
        let options = HistogramOpts::new("berth_bind_seconds", "From a bind's request to its answer.");
        let bind_seconds = Histogram::with_opts(options.buckets(SECONDS.to_vec()))?;
        registry.register(Box::new(bind_seconds.clone()))?;
        let waiting = IntGaugeVec::new(
            Opts::new("berth_queue_depth", "How much waits to be done, by queue."),
            &["queue"],
        )?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self { answers, bind_seconds, waiting, lists, changes })
    }

    pub(crate) fn answer<T>(&self, request: &str, answer: &crate::answer::Answer<T>) {
        self.answers.with_label_values(&[request, answer.word()]).inc();
    }
}
