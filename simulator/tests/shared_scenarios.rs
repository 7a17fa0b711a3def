//! The scenarios that lie beside the repository, where they do: each reads, and what they expect holds, or differs by
//! a rule (`docs/decisions/scenarios.yaml`).

use berth_sim::case::Case;
use berth_sim::input::differs::{self, Differs};
use berth_sim::input::scenario;
use berth_sim::verdict::judge;
use berth_sim::world::Options;
use std::path::{Path, PathBuf};

/// The folders of scenarios.
const SUITES: [&str; 5] = ["allocate", "preempt", "reclaim", "consolidation", "stalegang"];
/// The folder of scenarios beside the workspace; says so if it is not there.
fn shared(folder: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let path = workspace.parent()?.join("shared/scenarios").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("left out: there is no folder shared/scenarios/{folder} beside the workspace");
    None
}

fn cases(folder: &Path) -> Vec<(PathBuf, Case)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let case = scenario::read(&path).unwrap_or_else(|error| panic!("{error}"));
        (path, case)
    };
    files.into_iter().map(read).collect()
}

/// The scenarios that differ by rule.
fn list() -> Vec<Differs> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/decisions/scenarios.yaml");
    differs::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// What does not hold of a scenario.
fn failures(case: &Case) -> Vec<String> {
    match judge(case, Options::default()) {
        Ok(judgement) => {
            let failed = judgement.verdicts.iter().filter(|verdict| !verdict.passed);
            failed.map(|verdict| format!("expected {}, is {}", verdict.expected, verdict.actual)).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn every_shared_scenario_reads() {
    for suite in SUITES {
        let Some(path) = shared(suite) else { continue };
        assert!(!cases(&path).is_empty(), "{suite} is empty");
    }
}

#[test]
fn what_differs_by_rule_is_there() {
    for differs in list() {
        let (folder, _) = differs.scenario.split_once('/').expect("an entry has a folder");
        let Some(path) = shared(folder) else { continue };
        let known = cases(&path).iter().any(|(file, _)| differs.is_about(file));
        assert!(known, "{} is listed and not there", differs.scenario);
    }
}

#[test]
fn the_suites_hold() {
    let differing = list();
    let mut wrong = Vec::new();
    for suite in SUITES {
        let Some(path) = shared(suite) else { continue };
        let (mut held, mut differ) = (0, 0);
        let cases = cases(&path);
        for (file, case) in &cases {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let failures = failures(case);
            match differing.iter().find(|differs| differs.is_about(file)) {
                Some(differs) if failures.is_empty() => {
                    wrong.push(format!(
                        "{suite}/{name}: holds, but is listed as differing by {}",
                        differs.rule
                    ));
                }
                Some(differs) => {
                    eprintln!("{suite}/{name} differs by {}: {}", differs.rule, differs.why);
                    differ += 1;
                }
                None if failures.is_empty() => held += 1,
                None => wrong.extend(failures.iter().map(|failure| format!("{suite}/{name}: {failure}"))),
            }
        }
        let all = cases.len();
        eprintln!("{suite}: {held} of {all} hold, {differ} differ by rule");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
