//! Whole runs of the `berth-sim` program.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Builds `berth-sim` as users do and returns its path: it stands beside the folder of this program.
///
/// # Errors
/// What went wrong, in words.
pub fn simulator() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--quiet", "-p", "berth-sim"]).status();
    if !built.map_err(|e| format!("cargo cannot be run: {e}"))?.success() {
        return Err("berth-sim does not build".into());
    }
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let program = own.parent().and_then(|deps| deps.parent()).map(|profile| profile.join("berth-sim"));
    program.filter(|path| path.is_file()).ok_or_else(|| "berth-sim was not found".into())
}

/// The shortest time of `runs` runs, from start to end of the process.
///
/// # Errors
/// If a run fails or reports nothing.
pub fn time(program: &std::path::Path, arguments: &[&str], runs: u32) -> Result<Duration, String> {
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let begun = Instant::now();
        let status =
            Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.map_err(|e| format!("berth-sim cannot be run: {e}"))?;
        if !status.success() {
            return Err(format!("berth-sim {}: {status}", arguments.join(" ")));
        }
        best = best.min(begun.elapsed());
    }
    Ok(best)
}
