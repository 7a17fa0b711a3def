//! What the judge says: which rule was broken, by what, with the numbers.

use std::fmt;

/// A broken rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    /// The rule's number, for example `S6`; [`Violation::BAD_EVENT`] or [`Violation::MIRROR`] if none was broken.
    pub rule: &'static str,
    /// Whose decision, or what in the cluster, breaks it.
    pub object: String,
    /// How, with the numbers.
    pub what: String,
}

impl Violation {
    /// An event that cannot be mirrored because it names an object that does not exist.
    pub const BAD_EVENT: &str = "BadEvent";
    /// The judge's own sums differ from a fresh count: a fault of the judge, never of the judged.
    pub const MIRROR: &str = "Mirror";
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.object, self.what)
    }
}

/// Collects violations by one object; nothing is formatted unless a rule is broken.
pub(super) struct Findings<'a> {
    object: &'a dyn fmt::Display,
    out: &'a mut Vec<Violation>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(object: &'a dyn fmt::Display, out: &'a mut Vec<Violation>) -> Self {
        Self { object, out }
    }

    pub(super) fn add(&mut self, rule: &'static str, what: String) {
        self.out.push(Violation { rule, object: self.object.to_string(), what });
    }

    /// Adds a violation unless `kept` holds; `what` is only called when it does not.
    pub(super) fn want(&mut self, kept: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !kept {
            self.add(rule, what());
        }
    }
}
