//! Writes `deploy/crds/*.yaml` from the Rust types of `berth-api`, or checks that they are current.
//!
//! `berth-manifests` writes, `berth-manifests --check` compares and fails with the difference. Both work on the folder
//! `deploy/crds` of the repository, or on the one that is named. Absent: manifests that are written by hand, which are in
//! `deploy/` beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The first line of every file.
const HEAD: &str =
    "# Written by `cargo run -p berth-manifests` from scheduler/api/src/objects. Do not edit.\n";

fn main() -> ExitCode {
    let mut check = false;
    let mut folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds"));
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            option if option.starts_with('-') => {
                eprintln!("berth-manifests: {option} is no option; allowed: --check, and a folder");
                return ExitCode::from(2);
            }
            path => folder = path.into(),
        }
    }
    let done = if check { differences(&folder) } else { write(&folder).map(|()| String::new()) };
    match done {
        Ok(differences) if differences.is_empty() => ExitCode::SUCCESS,
        Ok(differences) => {
            eprintln!("{differences}berth-manifests: not current; run `cargo run -p berth-manifests`");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("berth-manifests: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Name and content of every file.
fn files() -> Result<Vec<(String, String)>, String> {
    let file = |crd: &_| serde_saphyr::to_string(crd).map_err(|error| error.to_string());
    let named = |crd: berth_api::objects::Crd| {
        let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap_or_default());
        Ok((name, format!("{HEAD}{}", file(&crd)?)))
    };
    berth_api::objects::crds().into_iter().map(named).collect()
}

fn write(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, content) in files()? {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// What differs between the folder and what would be written; empty if nothing does.
fn differences(folder: &Path) -> Result<String, String> {
    let files = files()?;
    let mut out = String::new();
    for (name, content) in &files {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(found) => out += &lines(name, &found, content),
            Err(error) => _ = writeln!(out, "{}: {error}", path.display()),
        }
    }
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    found.sort();
    for name in found.iter().filter(|name| files.iter().all(|(file, _)| file != *name)) {
        _ = writeln!(out, "{name}: is written by nobody; delete it");
    }
    Ok(out)
}

/// The lines in which two texts differ: what is between their common beginning and their common end.
fn lines(name: &str, found: &str, wanted: &str) -> String {
    let (found, wanted): (Vec<_>, Vec<_>) = (found.lines().collect(), wanted.lines().collect());
    if found == wanted {
        return String::new();
    }
    let start = found.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
    let rest = found.len().min(wanted.len()) - start;
    let end = (0..rest).take_while(|i| found[found.len() - 1 - i] == wanted[wanted.len() - 1 - i]).count();
    let mut out = format!("--- {name}, line {}\n", start + 1);
    for line in &found[start..found.len() - end] {
        _ = writeln!(out, "-{line}");
    }
    for line in &wanted[start..wanted.len() - end] {
        _ = writeln!(out, "+{line}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_line_by_line() {
        assert_eq!(lines("a", "x\ny\nz\n", "x\ny\nz\n"), "");
        assert_eq!(lines("a", "x\ny\nz\n", "x\nw\nz\n"), "--- a, line 2\n-y\n+w\n");
        assert_eq!(lines("a", "x\nx\n", "x\nx\nx\n"), "--- a, line 3\n+x\n");
    }

    #[test]
    fn a_folder_that_was_written_is_current_until_somebody_edits_it() {
        let folder = std::env::temp_dir().join(format!("berth-manifests-{}", std::process::id()));
        write(&folder).unwrap();
        assert_eq!(differences(&folder).unwrap(), "");
        let path = folder.join("projects.berth.dev.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("shortNames", "longNames")).unwrap();
        std::fs::write(folder.join("old.yaml"), "").unwrap();
        let differences = differences(&folder).unwrap();
        assert!(differences.contains("projects.berth.dev.yaml, line"), "{differences}");
        assert!(differences.contains("old.yaml: is written by nobody"), "{differences}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
