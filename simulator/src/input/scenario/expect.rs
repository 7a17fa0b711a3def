//! The list `expect`: what must come of a test case.

use super::names::Names;
use crate::case::Expectation;
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{NodeId, NodeSpec, ReasonKind, WorkloadId};

const FIELDS: &[&str] = &[
    "workload",
    "workloads",
    "running",
    "pending",
    "nodes",
    "reason",
    "shared",
    "apart",
    "evictions",
    "evictionsMax",
];

/// The names of the reasons (S29).
const REASONS: &[(&str, ReasonKind)] = &[
    ("quota", ReasonKind::Quota),
    ("limit", ReasonKind::Limit),
    ("policy", ReasonKind::Policy),
    ("pool", ReasonKind::Pool),
    ("feasibility", ReasonKind::Feasibility),
    ("capacity", ReasonKind::Capacity),
    ("waiting", ReasonKind::Waiting),
];

/// The expectations in the order of the file; one entry may hold several.
pub(super) fn read(
    top: &Fields<'_>,
    nodes: &[NodeSpec],
    workloads: &Names,
) -> Result<Vec<Expectation>, InputError> {
    let nodes = Names::new(nodes.iter().map(|n| n.name.as_str()));
    let mut expectations = Vec::new();
    for at in top.items("expect")? {
        let fields = at.fields(FIELDS)?;
        let before = expectations.len();
        expectations.extend(about_workloads(&fields, &nodes, workloads)?);
        expectations.extend(fields.map("shared", |at| list(at, workloads))?.map(Expectation::Shared));
        expectations.extend(fields.map("apart", |at| list(at, workloads))?.map(Expectation::Apart));
        let count = |at: &At<'_>| at.integer(0, u64::MAX);
        expectations.extend(fields.map("evictions", count)?.map(Expectation::Evictions));
        expectations.extend(fields.map("evictionsMax", count)?.map(Expectation::EvictionsMax));
        if expectations.len() == before {
            let allowed = FIELDS.join(", ");
            return Err(InputError { allowed, ..at.problem("expects nothing") });
        }
    }
    Ok(expectations)
}

fn about_workloads(
    fields: &Fields<'_>,
    nodes: &Names,
    workloads: &Names,
) -> Result<Option<Expectation>, InputError> {
    let which = match (fields.get("workload"), fields.get("workloads")) {
        (Some(at), None) => vec![WorkloadId(workloads.find("workload", at)? as u64)],
        (None, Some(at)) => list(at, workloads)?,
        (None, None) => return misplaced(fields),
        (Some(_), Some(at)) => return Err(at.problem("stands beside `workload`; one of them is enough")),
    };
    let count = |at: &At<'_>| at.integer(0, u32::MAX);
    let node_counts = |at: &At<'_>| {
        let entries = at.entries()?;
        entries
            .iter()
            .map(|(name, at)| Ok((NodeId(nodes.lookup("node", name, at)? as u32), count(at)?)))
            .collect::<Result<Vec<_>, InputError>>()
    };
    let expectation = Expectation::Workloads {
        workloads: which,
        running: fields.map("running", count)?,
        pending: fields.map("pending", count)?,
        nodes: fields.or("nodes", Vec::new(), node_counts)?,
        reason: fields.map("reason", |at| at.word(REASONS))?,
    };
    Ok(Some(expectation))
}

/// Nothing is said about workloads, unless by mistake without naming one.
fn misplaced(fields: &Fields<'_>) -> Result<Option<Expectation>, InputError> {
    let about = ["running", "pending", "nodes", "reason"];
    match about.iter().find_map(|key| fields.get(key)) {
        Some(at) => Err(InputError {
            allowed: "only beside `workload` or `workloads`".into(),
            ..at.problem("is out of place")
        }),
        None => Ok(None),
    }
}

fn list(at: &At<'_>, workloads: &Names) -> Result<Vec<WorkloadId>, InputError> {
    let list = at.list()?;
    if list.is_empty() {
        return Err(at.fail("one workload or more"));
    }
    list.iter().map(|at| Ok(WorkloadId(workloads.find("workload", at)? as u64))).collect()
}
