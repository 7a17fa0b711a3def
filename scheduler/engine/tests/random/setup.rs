//! Pools and queues of a random world, and how its workloads change.

use super::{DEPARTMENTS, PROJECTS, Terms};
use berth_model::{
    BudgetId, BudgetSpec, DepartmentId, DepartmentSpec, LabelSelector, Millis, PoolId, PoolSelector,
    PoolSpec, Priority, ProjectId, ProjectSpec, QueueId, QueueQuota, Timestamp, WorkloadSpec,
};
use std::sync::Arc;

/// A queue by position, round and round.
pub(super) fn queue_id(which: usize) -> QueueId {
    let which = (which % (DEPARTMENTS + PROJECTS) as usize) as u32;
    if which < DEPARTMENTS {
        QueueId::Department(DepartmentId(which))
    } else {
        QueueId::Project(ProjectId(which - DEPARTMENTS))
    }
}

/// After how long room is held for the workloads of each project, in milliseconds (decision 0003).
const HOLDS: [Option<i64>; 3] = [None, Some(1000), Some(0)];

/// The terms of a pool.
pub(super) fn set_terms(pool: &mut PoolSpec, terms: Terms) {
    (pool.min_runtime, pool.stale_grace) = (terms.min_runtime, terms.stale_grace);
    (pool.consolidation, pool.max_moves) = (terms.moves.is_some(), terms.moves.unwrap_or(16));
}

pub(super) fn pool(at: usize, terms: Terms) -> PoolSpec {
    let (name, value) = [(PoolSpec::DEFAULT_NAME, ""), ("b-pool", "x"), ("a-pool", "y")][at];
    let selector = PoolSelector { key: "pool".to_owned(), value: value.to_owned() };
    let mut pool = PoolSpec::new(PoolId(at as u32), name, (at > 0).then_some(selector));
    set_terms(&mut pool, terms);
    pool
}

pub(super) fn department(at: u32, rank: i32, quotas: Vec<(PoolId, QueueQuota)>) -> DepartmentSpec {
    DepartmentSpec {
        id: DepartmentId(at),
        name: format!("d{at}"),
        created: Timestamp(i64::from(at)),
        rank,
        quotas,
        node_types: None,
    }
}

pub(super) fn project(at: u32, rank: i32, quotas: Vec<(PoolId, QueueQuota)>) -> ProjectSpec {
    ProjectSpec {
        hold_after: HOLDS[at as usize % HOLDS.len()].map(Millis),
        id: ProjectId(at),
        name: format!("p{at}"),
        department: DepartmentId(at % DEPARTMENTS),
        created: Timestamp(i64::from(at)),
        rank,
        quotas,
        pools: Vec::new(),
        node_types: None,
    }
}

/// A disruption budget by position, round and round: of all pods of a project, of one application, of nobody.
pub(super) fn budget(which: usize, disruptions_allowed: u32) -> BudgetSpec {
    let app = |app: &str| LabelSelector {
        match_labels: [("app".to_owned(), app.to_owned())].into(),
        ..LabelSelector::default()
    };
    let (namespace, selector) = [
        ("p0", Some(LabelSelector::default())),
        ("p0", Some(app("a"))),
        ("p1", Some(app("a"))),
        ("p2", Some(app("b"))),
        ("open", Some(app("a"))),
        ("p1", None),
    ][which % 6]
        .clone();
    let id = BudgetId((which % 6) as u32);
    BudgetSpec {
        id,
        name: format!("b{}", id.0),
        namespace: namespace.to_owned(),
        selector,
        disruptions_allowed,
    }
}

/// A workload as it may be changed while it runs.
pub(super) fn changed(mut spec: WorkloadSpec, how: u32) -> WorkloadSpec {
    let role = (how / 8) as usize % spec.roles.len();
    match how % 6 {
        0 => spec.roles[role].count = (spec.roles[role].count + 1).min(6),
        1 => spec.roles[role].min = spec.roles[role].min.saturating_sub(1),
        2 => spec.roles[role].min = spec.roles[role].count,
        3 => spec.priority = Priority(if spec.priority.0 > 80 { 40 } else { 125 }),
        4 => spec.preemptible = !spec.preemptible,
        _ => spec.roles.iter_mut().for_each(|role| Arc::make_mut(&mut role.pod).scheduling_gates.clear()),
    }
    spec
}
