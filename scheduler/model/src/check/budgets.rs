//! Disruption budgets (S20): no more pods are stopped than each allows, counting what was decided and what its number
//! does not contain yet.
//!
//! A number contains every eviction that was confirmed before it came: the pod was seen to leave, or it leaves no more.
//! Costs: every budget for each victim.

use super::census::Kind;
use super::cluster::Cluster;
use super::selectors::selects_pod;
use super::violation::Findings;
use crate::{BudgetId, BudgetSpec, PodId};
use std::collections::BTreeMap;

/// A budget, and the evictions that its number does not contain; whether each was seen to be carried out.
pub(super) struct Budget {
    spec: BudgetSpec,
    open: BTreeMap<PodId, bool>,
}

impl Budget {
    fn is_about(&self, kind: &Kind) -> bool {
        self.spec.namespace == kind.namespace && selects_pod(self.spec.selector.as_ref(), &kind.labels)
    }
}

impl Cluster {
    pub(super) fn budget_set(&mut self, spec: &BudgetSpec) {
        let leaves = |id: &PodId| self.pods.get(id).is_some_and(|pod| pod.leaving.is_some());
        let mut open = self.budgets.remove(&spec.id).map(|known| known.open).unwrap_or_default();
        open.retain(|id, seen| !*seen && leaves(id));
        self.budgets.insert(spec.id, Budget { spec: spec.clone(), open });
    }

    pub(super) fn budget_removed(&mut self, id: BudgetId) {
        self.budgets.remove(&id);
    }

    /// A pod is seen to leave.
    pub(super) fn seen_leaving(&mut self, id: PodId) {
        self.budgets.values_mut().for_each(|budget| {
            budget.open.entry(id).and_modify(|seen| *seen = true);
        });
    }

    /// An eviction is not carried out.
    pub(super) fn not_disrupted(&mut self, id: PodId) {
        for budget in self.budgets.values_mut() {
            budget.open.remove(&id);
        }
    }

    /// S20: the budgets of a victim allow one more eviction.
    pub(super) fn within_budgets(&self, kind: &Kind, f: &mut Findings<'_>) {
        let own: Vec<_> = self.budgets.values().filter(|budget| budget.is_about(kind)).collect();
        f.want(own.len() < 2, "S20", || {
            format!("is evicted, and {} disruption budgets are about it", own.len())
        });
        for Budget { spec, open } in own {
            let (allowed, decided) = (spec.disruptions_allowed as usize, open.len());
            f.want(decided < allowed, "S20", || {
                format!("is evicted: {} of {} allows {allowed}, {decided} are decided", spec.name, spec.id)
            });
        }
    }

    /// A pod of this kind is evicted.
    pub(super) fn disrupted(&mut self, id: PodId, kind: &Kind) {
        for budget in self.budgets.values_mut().filter(|budget| budget.is_about(kind)) {
            budget.open.insert(id, false);
        }
    }
}
