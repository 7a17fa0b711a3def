//! Disruption budgets (S20): how many pods of an application may be evicted now.
//!
//! A budget's number comes with its events. What has been decided since and is not yet contained in it is *open* and
//! counts on top. A pod that several budgets are about is never a victim: the Eviction API refuses it. Which budgets a
//! pod has depends on its namespace and labels alone, so it is looked up by their interned identity.
//! Costs: without budgets, one test; else a lookup per pod of a unit, and a sum per budget concerned. A budget whose
//! selector changes is matched with each identity once.

use crate::Engine;
use crate::apply::{Applied, conflict, unknown};
use crate::ix::PodIx;
use crate::legal::Taken;
use crate::matching::pod_matches;
use crate::victims::Unit;
use berth_model::{BudgetId, BudgetSpec, Labels, PodId};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::BTreeMap;

/// The budgets of a pod.
type Of = SmallVec<[BudgetId; 1]>;

/// What stopping some pods asks of the budgets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Disruption {
    /// Pods, by budget.
    pub(crate) pods: SmallVec<[(BudgetId, u32); 1]>,
    /// One of the pods has several budgets.
    pub(crate) forbidden: bool,
}

/// A budget.
#[derive(Clone, Debug)]
struct Budget {
    spec: BudgetSpec,
    /// Evictions that its number does not contain, and whether the next number will.
    open: BTreeMap<PodId, bool>,
}

impl Budget {
    /// How many more pods may be evicted.
    fn left(&self) -> u32 {
        self.spec.disruptions_allowed.saturating_sub(self.open.len() as u32)
    }

    fn is_about(&self, namespace: &str, labels: &Labels) -> bool {
        let selector = self.spec.selector.as_ref();
        *self.spec.namespace == *namespace && selector.is_some_and(|s| pod_matches(s, labels))
    }
}

/// All budgets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets {
    all: BTreeMap<BudgetId, Budget>,
    /// By the identity of a pod's namespace and labels.
    of: Vec<Of>,
    /// Some victims were refused because of budgets since those that wait were last woken by one.
    refused: Cell<bool>,
}

impl Budgets {
    /// A namespace with labels has got an identity.
    pub(crate) fn identified(&mut self, identity: u32, namespace: &str, labels: &Labels) {
        if self.of.len() <= identity as usize {
            self.of.resize(identity as usize + 1, Of::new());
            let about = self.all.iter().filter(|(_, budget)| budget.is_about(namespace, labels));
            self.of[identity as usize] = about.map(|(id, _)| *id).collect();
        }
    }

    fn of(&self, identity: u32) -> &[BudgetId] {
        self.of.get(identity as usize).map_or(&[], |of| of)
    }

    /// True if so many more pods may be evicted.
    fn allows(&self, budget: BudgetId, pods: u32) -> bool {
        self.all.get(&budget).is_none_or(|budget| pods <= budget.left())
    }
}

impl Disruption {
    /// Adds one more pod that has these budgets.
    fn add(&mut self, budgets: &[BudgetId]) {
        self.forbidden |= budgets.len() > 1;
        budgets.iter().for_each(|id| self.count(*id, 1));
    }

    /// Takes over what stopping other pods asks.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.forbidden |= other.forbidden;
        other.pods.iter().for_each(|(id, pods)| self.count(*id, *pods));
    }

    fn count(&mut self, id: BudgetId, more: u32) {
        match self.pods.iter_mut().find(|(known, _)| *known == id) {
            Some((_, pods)) => *pods += more,
            None => self.pods.push((id, more)),
        }
    }
}

impl Engine {
    /// How many more pods each disruption budget allows to be evicted, with what has been decided and is not contained in its
    /// number.
    pub fn disruptions_left(&self) -> impl Iterator<Item = (&BudgetSpec, u32)> {
        self.budgets.all.values().map(|budget| (&budget.spec, budget.left()))
    }

    pub(crate) fn set_budget(&mut self, spec: BudgetSpec) -> Applied {
        let same_name = |other: &&Budget| {
            (&other.spec.namespace, &other.spec.name) == (&spec.namespace, &spec.name)
                && other.spec.id != spec.id
        };
        if self.budgets.all.values().any(|other| same_name(&other)) {
            return Err(conflict(spec.id, format!("the name {} is taken in {}", spec.name, spec.namespace)));
        }
        let id = spec.id;
        let known = self.budgets.all.get_mut(&id);
        let same = known.as_ref().is_some_and(|known| {
            (&known.spec.namespace, &known.spec.selector) == (&spec.namespace, &spec.selector)
        });
        let eased = match known {
            Some(known) => {
                let left = known.left();
                known.spec = spec;
                known.open.retain(|_, confirmed| !*confirmed);
                known.left() > left
            }
            None => {
                self.budgets.all.insert(id, Budget { spec, open: BTreeMap::new() });
                false
            }
        };
        if !same {
            self.match_budget(id);
        }
        if eased || !same {
            self.budgets_ease();
        }
        Ok(())
    }

    pub(crate) fn remove_budget(&mut self, id: BudgetId) -> Applied {
        self.budgets.all.remove(&id).ok_or_else(|| unknown("budgetRemoved", id))?;
        self.budgets.of.iter_mut().for_each(|of| of.retain(|known| *known != id));
        self.budgets_ease();
        Ok(())
    }

    /// A budget may allow what it forbade: whoever was refused because of one is looked at again (S30).
    fn budgets_ease(&mut self) {
        if self.budgets.refused.replace(false) {
            self.second.rests.wake_all();
        }
    }

    /// Finds out which pods a budget is about.
    fn match_budget(&mut self, id: BudgetId) {
        let budget = &self.budgets.all[&id];
        for (identity, of) in (0u32..).zip(&mut self.budgets.of) {
            let (namespace, labels) = self.neighbours.identity(identity);
            of.retain(|known| *known != id);
            if budget.is_about(&namespace, &labels) {
                of.push(id);
                of.sort_unstable();
            }
        }
    }

    /// What stopping these pods asks of the budgets.
    pub(crate) fn disruption(&self, pods: &[PodIx]) -> Disruption {
        let mut disruption = Disruption::default();
        if !self.budgets.all.is_empty() {
            for pod in pods {
                disruption.add(self.budgets.of(self.kind_of(*pod).1));
            }
        }
        disruption
    }

    /// True if the budgets allow these units besides those taken already.
    pub(crate) fn budgets_allow(&self, taken: &Taken, more: &[&Unit]) -> bool {
        if self.budgets.all.is_empty() {
            return true;
        }
        let allowed = self.allow_together(taken, more);
        self.budgets.refused.set(self.budgets.refused.get() || !allowed);
        allowed
    }

    fn allow_together(&self, taken: &Taken, more: &[&Unit]) -> bool {
        let concerned = more.iter().flat_map(|unit| &unit.disruption.pods).map(|(id, _)| *id);
        more.iter().all(|unit| !unit.disruption.forbidden)
            && concerned.into_iter().all(|id| {
                let all = more.iter().flat_map(|unit| &unit.disruption.pods);
                let pods: u32 = all.filter(|(known, _)| *known == id).map(|(_, pods)| pods).sum();
                self.budgets.allows(id, taken.disrupted(id) + pods)
            })
    }

    /// True if the budgets allow all these pods to be stopped at once.
    pub(crate) fn may_disrupt(&self, pods: &[PodIx]) -> bool {
        let Disruption { pods, forbidden } = self.disruption(pods);
        !forbidden && pods.iter().all(|(id, pods)| self.budgets.allows(*id, *pods))
    }

    /// The eviction of a pod is decided.
    pub(crate) fn disruption_decided(&mut self, pod: PodIx) {
        self.note_disruption(pod, |open, id| {
            open.insert(id, false);
        });
    }

    /// A pod is seen to leave, or is gone: the next number of its budgets contains it.
    pub(crate) fn disruption_confirmed(&mut self, pod: PodIx) {
        self.note_disruption(pod, |open, id| {
            open.entry(id).and_modify(|confirmed| *confirmed = true);
        });
    }

    /// The eviction of a pod is not carried out.
    pub(crate) fn disruption_failed(&mut self, pod: PodIx) {
        self.note_disruption(pod, |open, id| {
            open.remove(&id);
        });
        self.budgets_ease();
    }

    fn note_disruption(&mut self, pod: PodIx, note: impl Fn(&mut BTreeMap<PodId, bool>, PodId)) {
        if self.budgets.all.is_empty() {
            return;
        }
        let (id, identity) = (self.pod_id(pod), self.kind_of(pod).1);
        for budget in self.budgets.of.get(identity as usize).into_iter().flatten() {
            if let Some(budget) = self.budgets.all.get_mut(budget) {
                note(&mut budget.open, id);
            }
        }
    }
}
