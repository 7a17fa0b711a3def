//! The file of streams: a cluster as in a scenario, and who submits what how often in place of single workloads.

use super::names::{Names, unique};
use super::workload::{self, Context};
use super::{cluster, organisation, text_of};
use crate::case::{Case, Load, Until};
use crate::input::error::InputError;
use crate::input::streams::{Bursts, Durations, Stream, draw};
use crate::input::yaml::{At, Document, Fields};
use berth_api::quantity;
use berth_model::{Millis, ProjectId, ProjectSpec, Timestamp, WorkloadId};
use rustc_hash::FxHashMap;
use std::path::Path;

const FIELDS: &[&str] = &["name", "about", "pools", "nodes", "departments", "projects", "days", "streams"];
const STREAM_FIELDS: &[&str] = &[
    "name",
    "projects",
    "jobs",
    "swing",
    "peak",
    "weekend",
    "bursts",
    "runtime",
    "median",
    "sigma",
    "longest",
    "priority",
    "preemptible",
    "expectedRuntime",
    "startTimeout",
    "exitsAfter",
    "grace",
    "staleGrace",
    "pools",
    "topology",
    "roles",
];
const ONE: i64 = 1_000_000;
const DAY: Millis = Millis::from_secs(86_400);
const DAYS_MAX: i64 = 3660;
const JOBS_MAX: f64 = 5e6;

/// Reads a file of streams and draws its jobs; `load` is a factor on their number, in millionths.
pub fn read_streams(path: &Path, seed: u64, load: i64) -> Result<Case, InputError> {
    let file = path.display().to_string();
    parse_streams(&file, &text_of(path)?, seed, load)
}

/// Parses a file of streams and draws its jobs; `file` is its name in errors.
pub fn parse_streams(file: &str, source: &str, seed: u64, load: i64) -> Result<Case, InputError> {
    let document = Document::parse(file, source)?;
    let top = document.root().fields(FIELDS)?;
    let name = top.map("name", At::name)?.unwrap_or(file).to_owned();
    top.map("about", At::text)?;
    let pools = cluster::pools(&top)?;
    let nodes = cluster::nodes(&top, &pools)?;
    let organisation = organisation::read(&top, &pools)?;
    let days = top.or("days", 7, |at| at.integer(1, DAYS_MAX))?;
    let mut context = Context::new(&pools, &nodes, &organisation);
    let mut seen = FxHashMap::default();
    let mut streams = Vec::new();
    for at in top.need("streams")?.list()? {
        let fields = at.fields(STREAM_FIELDS)?;
        let name = fields.need("name")?;
        let name = unique(&mut seen, "stream", name.name()?, name)?;
        streams.push(stream(&fields, name, &organisation.projects, &mut context)?);
    }
    let expected: f64 = streams.iter().map(|stream| stream.expected(load, days)).sum();
    if expected > JOBS_MAX {
        let problem = format!("make about {expected:.0} jobs in {days} days");
        let allowed = format!("at most {JOBS_MAX:.0}");
        return Err(InputError { allowed, ..top.need("streams")?.problem(problem) });
    }
    let end = Timestamp(days * DAY.0);
    Ok(Case {
        name,
        load: Load::Listed(draw(&streams, seed, load, end)),
        cluster: organisation.into_cluster(pools, nodes, Vec::new()),
        happenings: Vec::new(),
        until: Until::Time(end),
        expect: Vec::new(),
    })
}

fn stream(
    fields: &Fields<'_>,
    name: String,
    projects: &[ProjectSpec],
    context: &mut Context<'_>,
) -> Result<Stream, InputError> {
    let pattern = workload::workload(fields, WorkloadId(0), name, context)?;
    Ok(Stream {
        pattern: pattern.spec,
        life: pattern.life,
        projects: submitters(fields, projects)?,
        jobs: fields.need("jobs")?.parsed(quantity::factor)?,
        swing: fields.or("swing", 0, share)?,
        peak: fields.or("peak", Millis(DAY.0 / 2), |at| match at.span()? {
            time if time < DAY => Ok(time),
            _ => Err(at.fail("a time of day, 0s to less than 24h")),
        })?,
        weekend: fields.or("weekend", ONE, |at| at.quantity(ONE))?,
        bursts: fields.map("bursts", bursts)?,
        durations: durations(fields)?,
    })
}

/// A number from 0 to 1, in millionths.
fn share(at: &At<'_>) -> Result<i64, InputError> {
    match at.quantity(ONE)? {
        share if share <= ONE => Ok(share),
        _ => Err(at.fail("a number from 0 to 1")),
    }
}

/// The projects that submit a stream: those named, else all.
fn submitters(fields: &Fields<'_>, projects: &[ProjectSpec]) -> Result<Vec<(ProjectId, String)>, InputError> {
    let pair = |project: &ProjectSpec| (project.id, project.name.clone());
    if fields.get("projects").is_none() {
        return Ok(projects.iter().map(pair).collect());
    }
    let names = Names::new(projects.iter().map(|project| project.name.as_str()));
    let mut named: Vec<(ProjectId, String)> = Vec::new();
    for at in fields.items("projects")? {
        let project = pair(&projects[names.find("project", &at)?]);
        if named.contains(&project) {
            return Err(at.fail("a project that is not yet in the list"));
        }
        named.push(project);
    }
    Ok(named)
}

fn bursts(at: &At<'_>) -> Result<Bursts, InputError> {
    let fields = at.fields(&["every", "lasts", "factor"])?;
    Ok(Bursts {
        every: longer_than_nothing(fields.need("every")?)?,
        lasts: longer_than_nothing(fields.need("lasts")?)?,
        factor: fields.need("factor")?.parsed(quantity::factor)?,
    })
}

fn longer_than_nothing(at: &At<'_>) -> Result<Millis, InputError> {
    match at.span()? {
        Millis::ZERO => Err(at.fail("a duration of more than 0s")),
        span => Ok(span),
    }
}

fn durations(fields: &Fields<'_>) -> Result<Option<Durations>, InputError> {
    let Some(median) = fields.get("median") else {
        let drawn = ["sigma", "longest"].into_iter().find_map(|key| fields.get(key));
        return match drawn {
            Some(at) => {
                Err(InputError { allowed: "only beside `median`".into(), ..at.problem("is out of place") })
            }
            None => Ok(None),
        };
    };
    if let Some(at) = fields.get("runtime") {
        let allowed = "only where there is no `median`".into();
        return Err(InputError { allowed, ..at.problem("is out of place") });
    }
    let shortest = Millis::from_secs(1);
    let at_least = |at: &At<'_>| match at.span()? {
        span if span >= shortest => Ok(span),
        _ => Err(at.fail("a duration of 1s or more")),
    };
    Ok(Some(Durations {
        median: at_least(median)?,
        sigma: fields.or("sigma", ONE, |at| at.quantity(ONE))?,
        longest: fields.or("longest", DAY, at_least)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "nodes: [{name: n, cpu: 4, memory: 8Gi, gpus: {count: 2}}]\n\
        projects: [{name: p}, {name: q}]\nstreams:\n";

    fn parse(stream: &str) -> Result<Case, InputError> {
        parse_streams("s.yaml", &format!("{START}- {{name: s, roles: [{{gpus: 1}}], {stream}}}"), 1, ONE)
    }

    #[test]
    fn jobs_are_named_by_stream_and_project() {
        let case = parse("jobs: 10, projects: [q], runtime: 1h, priority: high").unwrap();
        let Load::Listed(arrivals) = &case.load else { panic!("a list was drawn") };
        assert!((40..100).contains(&arrivals.len()), "{}", arrivals.len());
        let first = &arrivals[0];
        assert_eq!((first.spec.name.as_str(), first.spec.project), ("s-q-1", Some(ProjectId(1))));
        assert_eq!((first.life.runtime, first.spec.preemptible), (Some(Millis::from_secs(3600)), false));
        assert_eq!(case.until, Until::Time(Timestamp(7 * DAY.0)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (stream, said) in [
            ("jobs: 0", "streams[0].jobs: is `0`; allowed: a number more than 0, a multiple of 0.000001"),
            ("jobs: 1, swing: 1.5", "streams[0].swing: is `1.5`; allowed: a number from 0 to 1"),
            ("jobs: 1, peak: 24h", "streams[0].peak: is `24h`; allowed: a time of day, 0s to less than 24h"),
            ("jobs: 1, sigma: 1", "streams[0].sigma: is out of place; allowed: only beside `median`"),
            ("jobs: 1, projects: [r]", "streams[0].projects[0]: there is no project `r`; allowed: p, q"),
            (
                "jobs: 1, bursts: {every: 0s, lasts: 1h, factor: 2}",
                "streams[0].bursts.every: is `0s`; allowed: a duration of more than 0s",
            ),
            ("jobs: 9000000", "streams: make about 126000000 jobs in 7 days; allowed: at most 5000000"),
        ] {
            assert_eq!(parse(stream).unwrap_err().to_string(), format!("s.yaml:4: {said}"));
        }
    }
}
