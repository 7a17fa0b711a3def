//! Inside a project (S21): victims of strictly lower priority, the lowest highest priority first.

use super::units::Unit;
use super::victims::{Hunt, Layer};
use berth_model::Priority;
use std::collections::BTreeSet;

impl Hunt<'_> {
    /// Units of the same project; unmanaged namespaces are one project here.
    pub(crate) fn preempt_layers(&self) -> Vec<Layer> {
        let lower = |w: &berth_model::WorkloadSpec| {
            w.project == self.workload.project && w.priority < self.workload.priority
        };
        let units = self.real.units(self.workload.id, self.pool, self.placed, lower);
        let priority = |unit: &Unit| self.real.workloads[&unit.workload].priority;
        let priorities: BTreeSet<Priority> = units.iter().map(priority).collect();
        let layer = |most: &Priority| Layer {
            units: units.iter().filter(|unit| priority(unit) <= *most).cloned().collect(),
            bound: None,
        };
        priorities.iter().map(layer).collect()
    }
}
