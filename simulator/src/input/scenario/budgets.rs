//! Disruption budgets (S20).

use super::affinity::label_selector;
use super::names::{Names, unique};
use super::workload::NAMESPACE;
use crate::case::{DisruptionBudget, Keeps, PodCount};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{BudgetId, BudgetSpec, ProjectSpec};
use rustc_hash::FxHashMap;

/// The most pods that a number can mean.
const PODS_MAX: u32 = 1_000_000;

/// The list `budgets`.
pub(super) fn read(top: &Fields<'_>, projects: &[ProjectSpec]) -> Result<Vec<DisruptionBudget>, InputError> {
    let names = Names::new(projects.iter().map(|project| project.name.as_str()));
    let mut seen = FxHashMap::default();
    let mut budgets = Vec::new();
    for at in top.items("budgets")? {
        let fields = at.fields(&["name", "project", "selector", "minAvailable", "maxUnavailable"])?;
        let name = fields.need("name")?;
        let project = fields.map("project", |at| names.find("project", at))?;
        let spec = BudgetSpec {
            id: BudgetId(budgets.len() as u32),
            name: unique(&mut seen, "budget", name.name()?, name)?,
            namespace: project.map_or(NAMESPACE, |project| projects[project].name.as_str()).to_owned(),
            selector: Some(label_selector(fields.need("selector")?)?),
            disruptions_allowed: 0,
        };
        let keeps = match (fields.get("minAvailable"), fields.get("maxUnavailable")) {
            (Some(at), None) => Keeps::MinAvailable(count(at)?),
            (None, Some(at)) => Keeps::MaxUnavailable(count(at)?),
            _ => {
                let allowed = "exactly one of minAvailable, maxUnavailable".into();
                return Err(InputError { allowed, ..at.problem("does not say what it keeps") });
            }
        };
        budgets.push(DisruptionBudget { spec, keeps });
    }
    Ok(budgets)
}

/// `3`, or `50%`.
fn count(at: &At<'_>) -> Result<PodCount, InputError> {
    let Some(percent) = at.text()?.strip_suffix('%') else {
        return at.integer(0, PODS_MAX).map(PodCount::Pods);
    };
    match percent.parse() {
        Ok(percent) if percent <= 100 => Ok(PodCount::Percent(percent)),
        _ => Err(at.fail("a number of pods, or 0% to 100%")),
    }
}
