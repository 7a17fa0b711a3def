//! How many pods of an application may be stopped at a time: a PodDisruptionBudget, as far as taking back cares (S20).

use crate::{BudgetId, LabelSelector};
use serde::{Deserialize, Serialize};

/// A disruption budget as its controller last reported it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSpec {
    /// Identifier.
    pub id: BudgetId,
    /// Name, unique in its namespace.
    pub name: String,
    /// The namespace whose pods it is about; that of a project is called as the project.
    pub namespace: String,
    /// Which pods of the namespace, by label; none = no pod, an empty one = all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How many more of them may be evicted now (`status.disruptionsAllowed`).
    pub disruptions_allowed: u32,
}
