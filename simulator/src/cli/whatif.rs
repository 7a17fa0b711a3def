//! `berth-sim what-if`: what a change would bring, now.

use super::source::Source;
use super::{Ended, Stopped};
use crate::case::{Case, Happening, Until};
use crate::input::{self, InputError, scenario};
use crate::log::Past;
use crate::report::json::pretty;
use crate::report::terminal::Style;
use crate::whatif::{self, Answer, Change, Horizon};
use crate::world::{Options, World};
use berth_model::{Millis, NodeId, Timestamp};
use std::path::PathBuf;

/// Say what a change would bring: who starts and when, who is evicted by which rule, who waits instead
///
/// The cluster is that of the input at some time, or of a recorded log. Two futures are led on from there with the
/// runtimes that are known, one with the changes and one without, and compared. What the input would submit later is
/// left out. Workloads, nodes and quotas are written as in a scenario, in a file or in place: '{name: x, ...}'.
#[derive(clap::Args)]
pub(super) struct WhatIf {
    #[command(flatten)]
    source: Source,
    /// Start from a log written by `berth-sim run --record`
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Input",
        conflicts_with_all = ["scenario", "pods", "streams", "synthetic", "strategy"]
    )]
    log: Option<PathBuf>,
    /// The time of the change [default: the end of the input]
    #[arg(long, value_name = "TIME", value_parser = input::duration)]
    at: Option<Millis>,
    /// Submit a workload, or a list of them
    #[arg(long, value_name = "YAML|FILE", help_heading = "Changes")]
    submit: Vec<String>,
    /// Add a node, or a list of them; `count` adds several
    #[arg(long, value_name = "YAML|FILE", help_heading = "Changes")]
    add_nodes: Vec<String>,
    /// Remove a node: its pods are pending again
    #[arg(long, value_name = "NAME", help_heading = "Changes")]
    remove_node: Vec<String>,
    /// Change a quota: '{project: p, pool: default, gpu: 4}'
    #[arg(long, value_name = "YAML|FILE", help_heading = "Changes")]
    quota: Vec<String>,
    /// How far to look: a time, or `settled`: until nothing leaves and nothing more is decided [default: until all that
    /// waits has started or nothing more can happen, at most 30d]
    #[arg(long, value_name = "TIME", value_parser = horizon)]
    horizon: Option<Horizon>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Width of the answer in columns
    #[arg(long, value_name = "COLUMNS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(40..=400))]
    width: u16,
}

fn horizon(text: &str) -> Result<Horizon, String> {
    if text == "settled" {
        return Ok(Horizon::Settled);
    }
    input::duration(text).map(Horizon::For).map_err(|error| format!("{error}, or settled"))
}

impl WhatIf {
    pub(super) fn run(&self) -> Result<Ended, Stopped> {
        if [&self.submit, &self.add_nodes, &self.remove_node, &self.quota].iter().all(|list| list.is_empty())
        {
            let changes = "--submit, --add-nodes, --remove-node, --quota";
            return Err(Stopped(format!("what-if: nothing is changed; allowed: at least one of {changes}")));
        }
        let at = self.at.map(|span| Timestamp(span.0));
        let answer = match &self.log {
            Some(log) => {
                let past = Past::read(log, at)?;
                self.answer(&past.world()?, &past.case)?
            }
            None => {
                let case = self.source.case()?;
                let world = world_at(&case, at)?;
                self.answer(&world, &case_at(&case, world.now()))?
            }
        };
        match self.json {
            true => print!("{}", pretty(&answer)),
            false => print!("{}", whatif::terminal(&answer, self.width, Style::detect())),
        }
        Ok(Ended::Well)
    }

    fn answer(&self, world: &World<'_>, case: &Case) -> Result<Answer, Stopped> {
        let changes = self.changes(case, world.now())?;
        Ok(whatif::run(world, case, &changes, self.horizon.unwrap_or_default())?)
    }

    /// The changes: nodes and quotas first, so that what is submitted finds them.
    fn changes(&self, case: &Case, now: Timestamp) -> Result<Vec<Change>, Stopped> {
        let mut cluster = case.cluster.clone();
        let mut changes = Vec::new();
        for text in &self.add_nodes {
            let (name, source) = written("--add-nodes", text)?;
            let nodes = scenario::more_nodes(&name, &source, &cluster)?;
            cluster.nodes.extend(nodes.iter().cloned());
            changes.extend(nodes.into_iter().map(Change::AddNode));
        }
        for name in &self.remove_node {
            changes.push(Change::RemoveNode(node(name, case)?));
        }
        for text in &self.quota {
            let (name, source) = written("--quota", text)?;
            let (queue, pool, quota) = scenario::resize(&name, &source, &mut cluster)?;
            let said = source.split_whitespace().collect::<Vec<_>>().join(" ");
            changes.push(Change::Quota { queue, pool, quota, said });
        }
        let mut taken = vec![String::new(); case.load.len()];
        for arrival in case.load.arrivals() {
            taken[arrival.spec.id.index()] = arrival.spec.name;
        }
        for text in &self.submit {
            let (name, source) = written("--submit", text)?;
            let arrivals = scenario::submissions(&name, &source, &cluster, &taken, now)?;
            taken.extend(arrivals.iter().map(|arrival| arrival.spec.name.clone()));
            changes.extend(arrivals.into_iter().map(Change::Submit));
        }
        Ok(changes)
    }
}

/// YAML in place, or that of a file; with its name in errors.
fn written(flag: &str, text: &str) -> Result<(String, String), Stopped> {
    if text.trim_start().starts_with(['{', '[']) {
        return Ok((flag.to_owned(), text.to_owned()));
    }
    std::fs::read_to_string(text).map(|source| (text.to_owned(), source)).map_err(|error| {
        let problem = format!("cannot be read: {error}");
        let allowed = "a file, or YAML in place such as '{name: x}'".to_owned();
        InputError { allowed, ..InputError::file(format!("{flag}: {text}"), problem) }.into()
    })
}

/// The node with this name, of those that can be removed.
fn node(name: &str, case: &Case) -> Result<NodeId, Stopped> {
    const SHOWN: usize = 8;
    let nodes = &case.cluster.nodes;
    if let Some(node) = nodes.iter().find(|node| node.name == name) {
        return Ok(node.id);
    }
    let mut known = nodes.iter().take(SHOWN).map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
    if nodes.len() > SHOWN {
        known.push_str(&format!(" and {} more", nodes.len() - SHOWN));
    }
    Err(Stopped(format!("--remove-node: there is no node `{name}`; allowed: {known}")))
}

/// The world at a time, or where the case ends.
fn world_at(case: &Case, at: Option<Timestamp>) -> Result<World<'_>, Stopped> {
    let mut world = World::new(case, Options::default())?;
    match (at, case.until) {
        (Some(at), Until::Time(end)) if at > end => {
            let (at, end) = (Millis(at.0), Millis(end.0));
            let name = &case.name;
            return Err(Stopped(format!("--at: is `{at}`; allowed: at most {end}, the end of {name}")));
        }
        (Some(at), _) => world.run_to(at)?,
        (None, _) => world.run()?,
    }
    Ok(world)
}

/// The case with the quotas that hold at a time.
fn case_at(case: &Case, at: Timestamp) -> Case {
    let mut case = case.clone();
    for (when, happening) in &case.happenings {
        if let Happening::Resize(queue, pool, quota) = happening
            && *when <= at
        {
            case.cluster.set_quota(*queue, *pool, *quota);
        }
    }
    case
}
