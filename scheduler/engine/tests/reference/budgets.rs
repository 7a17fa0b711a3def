//! Disruption budgets (S20): how many more pods may be evicted, counted anew for each question.

use super::labels::selects_pod;
use super::state::State;
use super::units::Unit;
use berth_model::{BudgetId, BudgetSpec, PodId};
use std::collections::BTreeSet;

impl State {
    /// A new number contains what was seen to be carried out; what leaves no more needs no budget.
    pub(crate) fn set_budget(&mut self, spec: &BudgetSpec) {
        let leaves = |pod: &PodId| self.pods.get(pod).is_some_and(|seat| seat.leaving.is_some());
        let open = std::mem::take(&mut self.disrupted);
        self.disrupted = open
            .into_iter()
            .filter(|((budget, pod), seen)| *budget != spec.id || !*seen && leaves(pod))
            .collect();
        self.budgets.insert(spec.id, spec.clone());
    }

    pub(crate) fn remove_budget(&mut self, id: BudgetId) {
        self.budgets.remove(&id);
        self.disrupted.retain(|(budget, _), _| *budget != id);
    }

    /// The budgets that are about a pod.
    pub(crate) fn budgets_of(&self, pod: PodId) -> Vec<BudgetId> {
        let shape = self.shape(pod);
        let about = |spec: &&BudgetSpec| {
            spec.namespace == shape.namespace && selects_pod(spec.selector.as_ref(), &shape.labels)
        };
        self.budgets.values().filter(about).map(|spec| spec.id).collect()
    }

    /// True if all these pods may be stopped together.
    pub(crate) fn may_disrupt(&self, pods: &BTreeSet<PodId>) -> bool {
        pods.iter().all(|pod| self.budgets_of(*pod).len() < 2)
            && self.budgets.values().all(|spec| {
                let more = pods.iter().filter(|pod| self.budgets_of(**pod).contains(&spec.id)).count();
                let open = self.disrupted.keys().filter(|(budget, _)| *budget == spec.id).count();
                more == 0 || open + more <= spec.disruptions_allowed as usize
            })
    }

    /// True if the budgets allow all these units to be stopped.
    pub(crate) fn budgets_allow(&self, units: &[Unit]) -> bool {
        self.may_disrupt(&units.iter().flat_map(|unit| unit.pods.iter().copied()).collect())
    }
}
