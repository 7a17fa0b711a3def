//! Spans about pods: what they say, and where they are switched on.
//!
//! All are of one target and of level `TRACE`, so that whoever wants them asks for just these. Where nobody does, none is made: what
//! is left of it is one look at a static per span.

use crate::action::{Bind, PodRef};
use tracing::Span;
use tracing::field::Empty;

/// The target of every span that is made for traces.
pub const TARGET: &str = "berth::trace";

/// True if anybody wants spans.
pub fn wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// Where it is traced what becomes of an action; nowhere, if nobody wants that. It says nothing of what is to be done: all are
/// equal.
#[derive(Clone, Debug)]
pub struct Trace(Span);

impl Default for Trace {
    fn default() -> Self {
        Self(Span::none())
    }
}

impl PartialEq for Trace {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trace {}

impl Trace {
    /// A bind, from when it is handed over until it is answered; within the current span.
    pub fn bind(workload: &str, bind: &Bind) -> Self {
        let PodRef { namespace, name, uid } = &bind.pod;
        Self(tracing::trace_span!(
            target: TARGET,
            "bind",
            berth.workload = workload,
            k8s.namespace.name = &**namespace,
            k8s.pod.name = &**name,
            k8s.pod.uid = &**uid,
            k8s.node.name = &*bind.node,
            berth.outcome = Empty,
            otel.status_code = Empty,
            otel.status_description = Empty,
        ))
    }

    /// The span.
    pub(crate) fn span(&self) -> Span {
        self.0.clone()
    }

    /// How it ended, in a word; and why, if it is not as it should be.
    pub(crate) fn ended(self, outcome: &str, why: Option<&str>) {
        self.0.record("berth.outcome", outcome);
        if let Some(why) = why {
            self.0.record("otel.status_code", "ERROR");
            self.0.record("otel.status_description", why);
        }
    }
}
