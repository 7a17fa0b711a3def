//! `berth-sim scenario`: expectations judged.

use super::{Ended, Stopped};
use crate::case::Case;
use crate::input::{InputError, scenario};
use crate::verdict::{Judgement, judge};
use crate::world::Options;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Run scenarios and judge what they expect
///
/// Exit code 0: every expectation holds; 1: one does not; 2: a file is wrong, and nothing was run.
#[derive(clap::Args)]
pub(super) struct Scenario {
    /// Scenario files, or folders of them (searched to any depth for *.yaml and *.yml)
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Print the verdicts as JSON
    #[arg(long)]
    json: bool,
    /// Print only what fails, and the summary
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// What came of one file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result {
    file: String,
    passed: bool,
    #[serde(flatten)]
    judgement: Option<Judgement>,
    /// Why the simulation stopped, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Scenario {
    pub(super) fn run(&self) -> std::result::Result<Ended, Stopped> {
        let cases = read_all(&self.paths)?;
        let results: Vec<Result> = cases.iter().map(|(path, case)| result(path, case)).collect();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&results)?);
        } else {
            print!("{}", text(&results, self.quiet));
        }
        Ok(if results.iter().all(|result| result.passed) { Ended::Well } else { Ended::Failed })
    }
}

fn result(path: &Path, case: &Case) -> Result {
    let file = path.display().to_string();
    match judge(case, Options::default()) {
        Ok(judgement) => Result { file, passed: judgement.passed(), judgement: Some(judgement), error: None },
        Err(error) => Result { file, passed: false, judgement: None, error: Some(error.to_string()) },
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
    let (mut held, mut all) = (0, 0);
    for result in results {
        let name = result.judgement.as_ref().map_or(result.file.as_str(), |j| j.name.as_str());
        if !(quiet && result.passed) {
            let _ = writeln!(text, "{} {name}", if result.passed { "PASS" } else { "FAIL" });
        }
        if let Some(error) = &result.error {
            let _ = writeln!(text, "  stopped: {error}");
        }
        for verdict in result.judgement.iter().flat_map(|judgement| &judgement.verdicts) {
            all += 1;
            held += usize::from(verdict.passed);
            match verdict.passed {
                true if quiet => {}
                true => drop(writeln!(text, "  pass {}", verdict.expected)),
                false => {
                    let _ = writeln!(text, "  fail {}", verdict.expected);
                    let _ = writeln!(text, "    is {}", verdict.actual);
                }
            }
        }
    }
    let passed = results.iter().filter(|result| result.passed).count();
    let _ =
        writeln!(text, "{} of {} scenarios pass; {held} of {all} expectations hold", passed, results.len());
    text
}
