//! PodDisruptionBudget -> the model's (S20), as the Eviction API reads it.

use super::selector;
use crate::slim;
use berth_model::{BudgetId, BudgetSpec};

/// A budget as the model has it. One whose selector is malformed is about no pod, and one whose status does not speak of what
/// it asks for by now allows nothing.
pub fn budget(budget: &slim::PodDisruptionBudget, id: BudgetId) -> BudgetSpec {
    let (meta, status) = (&budget.metadata, &budget.status);
    let counted = status.observed_generation >= meta.generation;
    BudgetSpec {
        id,
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        selector: budget.spec.selector.as_ref().and_then(|given| selector::read(given).ok()),
        disruptions_allowed: u32::try_from(status.disruptions_allowed).ok().filter(|_| counted).unwrap_or(0),
    }
}
