//! What a cluster's disruption controller does: it counts the pods of each budget and says how many may be evicted (S20).
//!
//! A pod counts as healthy while it runs and is not told to end. Costs: the pods of the roles that budgets are about,
//! whenever the engine is asked.

use super::SimError;
use super::run::World;
use super::state::{JobState, PodPhase};
use crate::case::DisruptionBudget;
use berth_model::{Event, LabelSelector, Labels, Operator, WorkloadId, WorkloadSpec};

/// A budget as it stands.
#[derive(Clone)]
pub(super) struct Counted {
    budget: DisruptionBudget,
    /// The roles that it is about, by their workload and index.
    roles: Vec<(WorkloadId, usize)>,
    /// One of its pods was evicted since the engine was last told.
    evicted: bool,
    /// What the engine was told last.
    told: Option<u32>,
}

impl Counted {
    pub(super) fn new(budget: &DisruptionBudget) -> Self {
        Self { budget: budget.clone(), roles: Vec::new(), evicted: false, told: None }
    }
}

impl World<'_> {
    /// A workload has been submitted.
    pub(super) fn join_budgets(&mut self, spec: &WorkloadSpec) {
        if self.budgets.is_empty() {
            return;
        }
        let project = spec.project.and_then(|project| self.case.cluster.projects.get(project.index()));
        let namespace = project.map_or(&spec.namespace, |project| &project.name);
        let roles = self.state.jobs[spec.id.index()].roles();
        for (index, role) in roles.zip(&spec.roles) {
            for counted in &mut self.budgets {
                let of = &counted.budget.spec;
                if of.namespace == *namespace
                    && of.selector.as_ref().is_some_and(|s| selects(s, &role.labels))
                {
                    counted.roles.push((spec.id, index));
                }
            }
        }
    }

    /// A pod of a role is evicted.
    pub(super) fn disrupt(&mut self, workload: WorkloadId, role: usize) {
        for counted in &mut self.budgets {
            counted.evicted |= counted.roles.contains(&(workload, role));
        }
    }

    /// Tells the engine of the budgets whose numbers may be new to it.
    pub(super) fn count_budgets(&mut self) -> Result<(), SimError> {
        for at in 0..self.budgets.len() {
            let Counted { budget, roles, evicted, told } = &self.budgets[at];
            let (mut expected, mut healthy) = (0, 0);
            for (workload, role) in roles {
                if self.state.jobs[workload.index()].state == JobState::Gone {
                    continue;
                }
                for pod in self.state.roles[*role].pods() {
                    let phase = self.state.pods[pod].phase;
                    expected += u32::from(!matches!(phase, PodPhase::Ended | PodPhase::Leaving));
                    healthy += u32::from(phase == PodPhase::Running);
                }
            }
            let allowed = budget.keeps.disruptions_allowed(expected, healthy);
            if *evicted || *told != Some(allowed) {
                let spec = berth_model::BudgetSpec { disruptions_allowed: allowed, ..budget.spec.clone() };
                let counted = &mut self.budgets[at];
                (counted.evicted, counted.told) = (false, Some(allowed));
                self.apply(Event::BudgetSet(spec))?;
            }
        }
        Ok(())
    }
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let has = |key: &str, values: &[String]| labels.get(key).is_some_and(|value| values.contains(value));
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(|r| match r.operator {
            Operator::In => has(&r.key, &r.values),
            Operator::NotIn => !has(&r.key, &r.values),
            Operator::Exists => labels.contains_key(&r.key),
            Operator::DoesNotExist => !labels.contains_key(&r.key),
            Operator::Gt | Operator::Lt => false,
        })
}
