//! The scenarios that lie beside the repository, where they do: each reads, and those about allocation hold.

use berth_sim::case::Case;
use berth_sim::input::scenario;
use berth_sim::verdict::judge;
use berth_sim::world::Options;
use std::path::{Path, PathBuf};

/// Scenarios that need fair sharing (S7, S8) or pods that leave, which the engine does not have yet.
const LATER: [&str; 9] =
    ["it-035-", "it-038-", "u-040-", "u-041-", "u-042-", "u-078-", "u-099-", "u-101-", "u-113-"];

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

fn cases(folder: &Path) -> Vec<(String, Case)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let case = scenario::read(&path).unwrap_or_else(|error| panic!("{error}"));
        (path.file_name().unwrap().to_string_lossy().into_owned(), case)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_shared_scenario_reads() {
    for folder in ["allocate", "consolidation", "preempt", "reclaim", "stalegang"] {
        let Some(path) = shared(folder) else { continue };
        assert!(!cases(&path).is_empty(), "{folder} is empty");
    }
}

#[test]
fn scenarios_about_allocation_hold() {
    let Some(path) = shared("allocate") else { return };
    let mut failed = Vec::new();
    for (file, case) in cases(&path) {
        if LATER.iter().any(|later| file.starts_with(later)) {
            eprintln!("left out until later: {file}");
            continue;
        }
        match judge(&case, Options::default()) {
            Ok(judgement) => {
                for verdict in judgement.verdicts.iter().filter(|verdict| !verdict.passed) {
                    failed.push(format!("{file}: expected {}, is {}", verdict.expected, verdict.actual));
                }
            }
            Err(error) => failed.push(format!("{file}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
