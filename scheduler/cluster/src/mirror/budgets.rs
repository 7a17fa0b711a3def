//! Disruption budgets: seen, and told (S20).
//!
//! A budget's number is counted down by the API server with every eviction that it grants, and counted anew by its controller.
//! The engine takes it to contain what it was told to have left before, and adds what it has decided since. But budgets and
//! pods are watched apart: the number that contains an eviction may be seen before the pod is seen to leave, and then no other
//! number need follow. So a budget is told whenever its object changes, what it asks for or not, and once more
//! [`CONTAINED`] after a pod of its namespace has been told to leave.
//!
//! Costs: O(log n) per change; a pod that leaves where there are budgets has those of its namespace told again, together with
//! all that leave in the same second.

use super::ids::Ids;
use super::seen::Seen;
use crate::change::Name;
use berth_api::{convert, slim};
use berth_model::{BudgetId, Event, Millis, Timestamp};
use std::collections::BTreeSet;

/// After this long the number that is known contains what was seen to leave.
const CONTAINED: Millis = Millis::from_secs(2);

/// All budgets.
#[derive(Debug)]
pub(crate) struct Budgets {
    seen: Seen<slim::PodDisruptionBudget>,
    ids: Ids<Name>,
    /// Those to be told.
    dirty: BTreeSet<Name>,
    /// Namespaces whose budgets are told again, and when.
    again: BTreeSet<(Timestamp, Box<str>)>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { seen: Seen::default(), ids: Ids::from(0), dirty: BTreeSet::new(), again: BTreeSet::new() }
    }
}

impl Budgets {
    pub(crate) fn set(&mut self, budget: slim::PodDisruptionBudget) {
        let name = Name::of(&budget.metadata);
        if self.seen.set(name.clone(), budget) {
            self.dirty.insert(name);
        }
    }

    pub(crate) fn gone(&mut self, name: Name) {
        if self.seen.gone(&name) {
            self.dirty.insert(name);
        }
    }

    pub(crate) fn list_begun(&mut self) {
        self.seen.list_begun();
    }

    pub(crate) fn list_ended(&mut self) {
        self.dirty.extend(self.seen.list_ended());
    }

    /// A pod of this namespace has been told to have left, or to leave.
    pub(crate) fn has_left(&mut self, namespace: &str, now: Timestamp) {
        if self.seen.in_namespace(namespace).next().is_some() {
            let due = Timestamp((now.plus(CONTAINED).0 / 1000 + 1) * 1000);
            self.again.insert((due, namespace.into()));
        }
    }

    /// When budgets are to be told again.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.again.first().map(|(due, _)| *due)
    }

    /// Brings what was told to what is seen.
    pub(crate) fn events(&mut self, now: Timestamp) -> Vec<Event> {
        while self.again.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, namespace)) = self.again.pop_first() else { break };
            self.dirty.extend(self.seen.in_namespace(&namespace).map(|(name, _)| name.clone()));
        }
        let mut events = Vec::new();
        for name in std::mem::take(&mut self.dirty) {
            match self.seen.get(&name) {
                Some(budget) => {
                    let id = BudgetId(self.ids.give(&name));
                    events.push(Event::BudgetSet(convert::budget(budget, id)));
                }
                None => {
                    events.extend(self.ids.get(&name).map(|id| Event::BudgetRemoved(BudgetId(id))));
                    self.ids.forget(&name);
                }
            }
        }
        events
    }
}
