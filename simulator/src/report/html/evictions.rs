//! Who was evicted by which rule, and what it cost.

use super::text::table;
use crate::outcome::{Evictions, Outcome, ProjectOutcome};
use crate::report::figures;
use crate::report::words::{count, gpus};

/// Rows in the table.
const ROWS_MAX: usize = 100;

/// The section's content for one outcome.
pub(crate) fn section(outcome: &Outcome) -> String {
    let mut projects: Vec<&ProjectOutcome> = outcome.projects.iter().filter(|p| p.evictions > 0).collect();
    if projects.is_empty() {
        return super::nothing("No pod of a project was evicted.");
    }
    projects.sort_by_key(|project| std::cmp::Reverse(project.lost_share_millis));
    let mut header = vec!["project", "department", "pods evicted"];
    header.extend(Evictions::default().by_cause().map(|(cause, _)| cause));
    header.push("lost GPU-hours");
    let rows: Vec<Vec<String>> = projects.into_iter().take(ROWS_MAX).map(row).collect();
    format!("<div class=\"plain\">{}</div>\n", table(&header, 2..header.len(), &rows))
}

fn row(project: &ProjectOutcome) -> Vec<String> {
    let mut cells = vec![project.name.clone(), project.department.clone(), count(project.evictions)];
    cells.extend(project.evictions_by_cause.by_cause().map(|(_, pods)| count(pods)));
    cells.push(gpus(figures::gpu_hours(project.lost_share_millis)));
    cells
}
