//! The scenario file: one YAML document that describes a cluster, who may use it, what wants to run, what
//! happens, and (for tests) what must come of it. The format is described in `docs/SIMULATOR.md`.
//!
//! Unknown fields, duplicate names, negative sizes and references to what is not there are errors that name
//! the place. Nothing is used of a file with an error.

mod affinity;
mod budgets;
mod changes;
mod cluster;
mod devices;
mod expect;
mod happening;
mod names;
mod organisation;
mod pod;
mod streams;
mod workload;

pub use changes::{more_nodes, resize, submissions};
pub(crate) use organisation::only_department;
pub use streams::{parse_streams, read_streams};

use super::error::InputError;
use super::yaml::{At, Document};
use crate::case::{Case, Load, Until};
use berth_model::Timestamp;
use std::path::Path;

const FIELDS: &[&str] = &[
    "name",
    "about",
    "pools",
    "nodes",
    "departments",
    "projects",
    "budgets",
    "workloads",
    "events",
    "until",
    "expect",
];

/// Reads a scenario file.
pub fn read(path: &Path) -> Result<Case, InputError> {
    parse(&path.display().to_string(), &text_of(path)?)
}

/// The text of a file.
fn text_of(path: &Path) -> Result<String, InputError> {
    let file = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|e| InputError::file(&file, format_args!("cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|b| **b == b'\n').count() as u64;
        InputError { line: Some(line), ..InputError::file(&file, "is not UTF-8") }
    })
}

/// Parses a scenario; `file` is its name in errors.
pub fn parse(file: &str, source: &str) -> Result<Case, InputError> {
    let document = Document::parse(file, source)?;
    let top = document.root().fields(FIELDS)?;
    let name = top.map("name", At::name)?.unwrap_or(file).to_owned();
    top.map("about", At::text)?;
    let pools = cluster::pools(&top)?;
    let nodes = cluster::nodes(&top, &pools)?;
    let organisation = organisation::read(&top, &pools)?;
    let mut happenings_quota = organisation.clone();
    let mut arrivals = workload::read(&top, &pools, &nodes, &organisation)?;
    devices::assign(&top, &nodes, &mut arrivals)?;
    let workloads = names::Names::new(arrivals.iter().map(|a| a.spec.name.as_str()));
    let happenings = happening::read(&top, &pools, &nodes, &mut happenings_quota, &workloads, &arrivals)?;
    let budgets = budgets::read(&top, &organisation.projects)?;
    let until = top.or("until", Until::Settled, until)?;
    let expect = expect::read(&top, &nodes, &workloads)?;
    arrivals.sort_by_key(|a| (a.spec.submitted, a.spec.id));
    Ok(Case {
        name,
        cluster: organisation.into_cluster(pools, nodes, budgets),
        load: Load::Listed(arrivals),
        happenings,
        until,
        expect,
    })
}

fn until(at: &At<'_>) -> Result<Until, InputError> {
    if at.text()? == "settled" {
        return Ok(Until::Settled);
    }
    at.span()
        .map(|span| Until::Time(Timestamp(span.0)))
        .map_err(|_| at.fail("settled, or a duration of 0s or more"))
}
