//! Conditions of our objects: the time of a transition is kept while nothing changes, and those of others are left alone.

use super::{DELETION_BLOCKED, NAMESPACE_READY, OVERCOMMITTED, OVERLAPS, READY};
use berth_model::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff;

/// Conditions of one object as they should be.
pub(super) struct Conditions<'a> {
    old: &'a [Condition],
    new: Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(old: &'a [Condition], meta: &ObjectMeta, now: Timestamp) -> Self {
        // The API server keeps whole seconds.
        let now = jiff::Timestamp::from_second(now.0.div_euclid(1000)).unwrap_or_default();
        Self { old, new: Vec::new(), generation: meta.generation, now: Time(now) }
    }

    /// Whether the object is in force; with what is to be said although it is.
    pub(super) fn ready(&mut self, problem: Option<&String>, remark: &str) {
        match problem {
            Some(problem) => self.put(READY, false, "Invalid", problem),
            None => self.put(READY, true, "InForce", remark),
        }
    }

    /// A condition that is `True` while there is something to say, and is left out until it first is.
    pub(super) fn set(&mut self, type_: &str, text: Option<String>, reason: &str) {
        match text {
            Some(text) => self.put(type_, true, reason, &text),
            None if self.known(type_).is_some() => self.put(type_, false, "NotSo", ""),
            None => {}
        }
    }

    fn known(&self, type_: &str) -> Option<&'a Condition> {
        self.old.iter().find(|condition| condition.type_ == type_)
    }

    /// A condition that is always said.
    pub(super) fn put(&mut self, type_: &str, so: bool, reason: &str, message: &str) {
        let status = if so { "True" } else { "False" };
        let since = self.known(type_).filter(|known| known.status == status);
        self.new.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: self.generation,
            last_transition_time: since
                .map_or_else(|| self.now.clone(), |it| it.last_transition_time.clone()),
        });
    }

    /// All of them, those of others at the end.
    pub(super) fn done(self) -> Vec<Condition> {
        let ours = [READY, NAMESPACE_READY, OVERLAPS, OVERCOMMITTED, DELETION_BLOCKED];
        let others = self.old.iter().filter(|it| !ours.contains(&it.type_.as_str())).cloned();
        self.new.into_iter().chain(others).collect()
    }
}
