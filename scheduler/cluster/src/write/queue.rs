//! What is to be written, at most once per pod and per object of ours: the latest counts.
//!
//! A pod is in the queue while something is to be written about it and it is not being written about; so two writes to a
//! pod never overtake each other. Reservations come before conditions, conditions before our objects, these before Events.

use crate::action::{PodRef, Reservation};
use crate::change::Name;
use crate::mirror::Status;
use berth_model::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// The most Events that wait; the oldest are dropped first.
const EVENTS_MAX: usize = 1000;

/// The condition `PodScheduled=False`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is to be written on one pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OnPod {
    pub(super) pod: PodRef,
    pub(super) condition: Option<Condition>,
    /// Room is kept for it, or not any more.
    pub(super) room: Option<Option<Reservation>>,
    /// Its gang has been below its minimum since then, or is not any more.
    pub(super) stale: Option<Option<Timestamp>>,
    /// A condition may have been written after it was bound: that is to be looked at and put right.
    pub(super) check: bool,
}

/// An Event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) pod: PodRef,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// What is to be written on an object of ours, over the version that was looked at.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum OnObject {
    Status(Status),
    Finalizers {
        project: Name,
        version: String,
        finalizers: Vec<String>,
    },
    /// Made, if it is not there.
    Template(Value),
    /// The same.
    Namespace {
        name: Box<str>,
        project: Box<str>,
    },
}

impl OnObject {
    /// What is written where.
    fn key(&self) -> (&'static str, String) {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match self {
            Self::Status(Status::NodePool(it)) => ("NodePool", name(&it.metadata.name)),
            Self::Status(Status::Department(it)) => ("Department", name(&it.metadata.name)),
            Self::Status(Status::Project(it)) => ("Project", name(&it.metadata.name)),
            Self::Finalizers { project, .. } => ("finalizers", project.name.to_string()),
            Self::Namespace { name, .. } => ("Namespace", name.to_string()),
            Self::Template(it) => ("template", it["metadata"].to_string()),
        }
    }
}

/// One thing to write.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Item {
    Pod(OnPod),
    Object(OnObject),
    Event(Said),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: HashMap<Box<str>, OnPod>,
    urgent: VecDeque<Box<str>>,
    order: VecDeque<Box<str>>,
    objects: BTreeMap<(&'static str, String), OnObject>,
    events: VecDeque<Said>,
    writing: HashSet<Box<str>>,
    /// Pods that are being written about and were handed over to be bound since.
    bound: HashSet<Box<str>>,
}

impl Queue {
    pub(super) fn condition(&mut self, pod: PodRef, condition: Condition) {
        self.put(pod, false, |it| it.condition = Some(condition));
    }

    pub(super) fn room(&mut self, pod: PodRef, room: Option<Reservation>) {
        self.put(pod, true, |it| it.room = Some(room));
    }

    pub(super) fn stale(&mut self, pod: PodRef, since: Option<Timestamp>) {
        self.put(pod, false, |it| it.stale = Some(since));
    }

    pub(super) fn object(&mut self, it: OnObject) {
        self.objects.insert(it.key(), it);
    }

    /// A pod is about to be bound: no condition may follow.
    pub(super) fn bound(&mut self, uid: &str) {
        if let Some(it) = self.pods.get_mut(uid) {
            it.condition = None;
        }
        if self.writing.contains(uid) {
            self.bound.insert(uid.into());
        }
    }

    pub(super) fn say(&mut self, said: Said) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(said);
    }

    /// The next thing to write, an Event only if that may be. [`Queue::written`] must follow for a pod.
    pub(super) fn take(&mut self, events: bool) -> Option<Item> {
        while let Some(uid) = self.urgent.pop_front().or_else(|| self.order.pop_front()) {
            // In both queues, or nothing is left to be said about it.
            let Some(it) = self.pods.remove(&uid) else { continue };
            if it.condition.is_none() && it.room.is_none() && it.stale.is_none() && !it.check {
                continue;
            }
            self.writing.insert(uid);
            return Some(Item::Pod(it));
        }
        let object = self.objects.pop_first().map(|(_, it)| Item::Object(it));
        object.or_else(|| self.events.pop_front_if(|_| events).map(Item::Event))
    }

    /// A pod was written about. What has not been written, if it is to be tried again, is given back, and what has come up
    /// since counts more. If a condition was written and the pod handed over to be bound meanwhile, it is to be looked at.
    pub(super) fn written(&mut self, pod: &PodRef, condition: bool, again: Option<OnPod>) {
        self.writing.remove(&pod.uid);
        let bound = self.bound.remove(&pod.uid);
        if let Some(old) = again {
            self.put(old.pod.clone(), false, |it| {
                it.check |= old.check;
                it.condition = it.condition.take().or(old.condition.filter(|_| !bound));
                it.room = it.room.take().or(old.room);
                it.stale = it.stale.take().or(old.stale);
            });
        }
        if condition && bound {
            self.put(pod.clone(), false, |it| it.check = true);
        }
        self.enqueue(&pod.uid);
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.pods.len() + self.objects.len() + self.events.len()
    }

    fn put(&mut self, pod: PodRef, urgent: bool, change: impl FnOnce(&mut OnPod)) {
        let uid = pod.uid.clone();
        let new = !self.pods.contains_key(&uid);
        let it = self.pods.entry(uid.clone()).or_insert(OnPod {
            pod,
            condition: None,
            room: None,
            stale: None,
            check: false,
        });
        change(it);
        if urgent && !self.writing.contains(&uid) {
            self.urgent.push_back(uid);
        } else if new {
            self.enqueue(&uid);
        }
    }

    fn enqueue(&mut self, uid: &str) {
        if self.pods.contains_key(uid) && !self.writing.contains(uid) {
            self.order.push_back(uid.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodRef {
        PodRef { namespace: "n".into(), name: uid.into(), uid: uid.into() }
    }

    fn why(message: &str) -> Condition {
        Condition { reason: "Unschedulable", message: message.to_owned() }
    }

    fn message(item: Option<Item>) -> Option<String> {
        match item? {
            Item::Pod(it) => it.condition.map(|condition| condition.message),
            Item::Event(said) => Some(said.text),
            Item::Object(_) => None,
        }
    }

    #[test]
    fn the_latest_counts() {
        let mut queue = Queue::default();
        queue.condition(pod("a"), why("one"));
        queue.condition(pod("a"), why("two"));
        assert_eq!(message(queue.take(true)).as_deref(), Some("two"));
        assert_eq!(queue.take(true), None);
    }

    #[test]
    fn writes_to_one_pod_do_not_overtake_each_other() {
        let mut queue = Queue::default();
        queue.condition(pod("a"), why("one"));
        assert!(queue.take(true).is_some());
        queue.condition(pod("a"), why("two"));
        assert_eq!(queue.take(true), None);
        queue.written(&pod("a"), true, None);
        assert_eq!(message(queue.take(true)).as_deref(), Some("two"));
    }

    #[test]
    fn what_failed_is_given_back_unless_something_newer_has_come() {
        let mut queue = Queue::default();
        queue.condition(pod("a"), why("one"));
        let Some(Item::Pod(first)) = queue.take(true) else { panic!("nothing") };
        queue.condition(pod("a"), why("two"));
        queue.written(&pod("a"), false, Some(first));
        assert_eq!(message(queue.take(true)).as_deref(), Some("two"));
    }

    #[test]
    fn nothing_is_said_of_a_pod_that_is_being_bound() {
        let mut queue = Queue::default();
        queue.condition(pod("a"), why("one"));
        queue.bound("a");
        assert_eq!(queue.take(true), None);
        queue.condition(pod("b"), why("one"));
        let Some(Item::Pod(first)) = queue.take(true) else { panic!("nothing") };
        queue.bound("b");
        queue.written(&pod("b"), true, Some(first));
        let Some(Item::Pod(check)) = queue.take(true) else { panic!("nothing") };
        assert!(check.check && check.condition.is_none());
    }

    #[test]
    fn reservations_come_first_and_events_last() {
        let mut queue = Queue::default();
        let said = Said { pod: pod("a"), warning: false, reason: "R", text: "said".to_owned() };
        queue.say(said);
        queue.condition(pod("a"), why("one"));
        queue.room(pod("b"), None);
        let order: Vec<_> = std::iter::from_fn(|| queue.take(true)).map(|item| message(Some(item))).collect();
        assert_eq!(order, [None, Some("one".to_owned()), Some("said".to_owned())]);
    }

    #[test]
    fn events_wait_while_they_may_not_be_written() {
        let mut queue = Queue::default();
        queue.say(Said { pod: pod("a"), warning: false, reason: "R", text: "said".to_owned() });
        queue.condition(pod("a"), why("one"));
        assert_eq!(message(queue.take(false)).as_deref(), Some("one"));
        assert_eq!(queue.take(false), None);
        assert_eq!(message(queue.take(true)).as_deref(), Some("said"));
    }
}
