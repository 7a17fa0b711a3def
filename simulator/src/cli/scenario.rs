//! `berth-sim scenario`: expectations judged.

use super::{Ended, Stopped};
use crate::case::Case;
use crate::input::differs::{self, Differs};
use crate::input::{InputError, scenario};
use crate::verdict::{Judgement, judge};
use crate::world::Options;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Run scenarios and judge what they expect
///
/// Exit code 0: every expectation holds, or differs by rule (--differs); 1: one does not; 2: a file is wrong, and nothing
/// was run.
#[derive(clap::Args)]
pub(super) struct Scenario {
    /// Scenario files, or folders of them (searched to any depth for *.yaml and *.yml)
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Print the verdicts as JSON
    #[arg(long)]
    json: bool,
    /// A list of scenarios that differ by rule (YAML): they neither pass nor fail, and fail when what they expect holds
    #[arg(long, value_name = "FILE")]
    differs: Option<PathBuf>,
    /// Print only what fails or differs, and the summary
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// What is said of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    /// Every expectation holds.
    Pass,
    /// One does not, or it holds although it is listed as differing by rule.
    Fail,
    /// What it expects does not hold, by a rule.
    Differs,
}

/// What came of one file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result {
    file: String,
    status: Status,
    /// Every expectation holds.
    passed: bool,
    #[serde(flatten)]
    judgement: Option<Judgement>,
    /// The rule by which it differs, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Why the simulation stopped, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Scenario {
    pub(super) fn run(&self) -> std::result::Result<Ended, Stopped> {
        let differs = self.differs.as_deref().map_or(Ok(Vec::new()), differs::read)?;
        let cases = read_all(&self.paths)?;
        let listed = |path: &Path| {
            let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            differs.iter().find(|differs| differs.is_about(&whole))
        };
        let results: Vec<Result> =
            cases.iter().map(|(path, case)| result(path, case, listed(path))).collect();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&results)?);
        } else {
            print!("{}", text(&results, self.quiet));
        }
        let failed = results.iter().any(|result| result.status == Status::Fail);
        Ok(if failed { Ended::Failed } else { Ended::Well })
    }
}

fn result(path: &Path, case: &Case, differs: Option<&Differs>) -> Result {
    let (judgement, error) = match judge(case, Options::default()) {
        Ok(judgement) => (Some(judgement), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let passed = judgement.as_ref().is_some_and(Judgement::passed);
    let status = match (differs, passed) {
        (None, true) => Status::Pass,
        (Some(_), false) if error.is_none() => Status::Differs,
        _ => Status::Fail,
    };
    Result {
        file: path.display().to_string(),
        status,
        passed,
        judgement,
        rule: differs.map(|differs| differs.rule.clone()),
        why: differs.map(|differs| differs.why.clone()),
        error,
    }
}

/// Reads every file; all that is wrong is said at once.
fn read_all(paths: &[PathBuf]) -> std::result::Result<Vec<(PathBuf, Case)>, Stopped> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let mut cases = Vec::new();
    let mut errors = Vec::new();
    let mut names: BTreeMap<(PathBuf, String), PathBuf> = BTreeMap::new();
    for file in files {
        match scenario::read(&file) {
            Ok(case) => {
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                match names.insert((folder, case.name.clone()), file.clone()) {
                    Some(other) if other != file => errors.push(same_name(&file, &other, &case)),
                    _ => cases.push((file, case)),
                }
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() { Ok(cases) } else { Err(Stopped(errors.join("\nberth-sim: "))) }
}

fn same_name(file: &Path, other: &Path, case: &Case) -> String {
    let problem = format!("`{}` is also the name of {}", case.name, other.display());
    let error = InputError::file(file.display().to_string(), problem);
    let error = InputError { field: "name".into(), allowed: "a name unique in its folder".into(), ..error };
    error.to_string()
}

/// The scenario files at or below a path, in the order of their names.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::result::Result<(), Stopped> {
    let unreadable = |error: std::io::Error| Stopped(format!("{}: cannot be read: {error}", path.display()));
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let mut inside: Vec<PathBuf> = Vec::new();
    for entry in entries {
        inside.push(entry.map_err(unreadable)?.path());
    }
    inside.sort();
    let before = files.len();
    for path in inside {
        let is_scenario = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if path.is_dir() || is_scenario {
            collect(&path, files)?;
        }
    }
    if files.len() == before {
        return Err(Stopped(format!("{}: has no *.yaml or *.yml", path.display())));
    }
    Ok(())
}

fn text(results: &[Result], quiet: bool) -> String {
    let mut text = String::new();
    for result in results {
        say(&mut text, result, quiet);
    }
    let verdicts = || results.iter().filter_map(|r| r.judgement.as_ref()).flat_map(|j| &j.verdicts);
    let held = verdicts().filter(|verdict| verdict.passed).count();
    let number = |status| results.iter().filter(|result| result.status == status).count();
    let differ = match number(Status::Differs) {
        0 => String::new(),
        1 => ", 1 differs by rule".to_owned(),
        n => format!(", {n} differ by rule"),
    };
    let (passed, all) = (number(Status::Pass), results.len());
    let _ = writeln!(
        text,
        "{passed} of {all} scenarios pass{differ}; {held} of {} expectations hold",
        verdicts().count()
    );
    text
}

/// One scenario and its verdicts.
fn say(text: &mut String, result: &Result, quiet: bool) {
    let name = result.judgement.as_ref().map_or(result.file.as_str(), |j| j.name.as_str());
    let word = match result.status {
        Status::Pass if quiet => return,
        Status::Pass => "PASS",
        Status::Fail => "FAIL",
        Status::Differs => "DIFF",
    };
    let _ = writeln!(text, "{word} {name}");
    if let (Some(rule), Some(why)) = (&result.rule, &result.why) {
        let _ = match result.passed {
            true => writeln!(text, "  holds, although it is listed as differing by {rule}: {why}"),
            false => writeln!(text, "  differs by {rule}: {why}"),
        };
    }
    if let Some(error) = &result.error {
        let _ = writeln!(text, "  stopped: {error}");
    }
    for verdict in result.judgement.iter().flat_map(|judgement| &judgement.verdicts) {
        match verdict.passed {
            true if quiet => {}
            true => drop(writeln!(text, "  pass {}", verdict.expected)),
            false => {
                let word = if result.status == Status::Differs { "diff" } else { "fail" };
                let _ = writeln!(text, "  {word} {}", verdict.expected);
                let _ = writeln!(text, "    is {}", verdict.actual);
            }
        }
    }
}
