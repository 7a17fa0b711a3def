//! The agent against the real driver: a program that runs without cargo on a machine with an NVIDIA GPU.
//!
//! It runs when `BERTH_GPU=1` is set, and otherwise says that it was left out. It is a program of its own (no libtest),
//! so that it can start itself as the CUDA process whose memory it then looks for. Each check passes, fails, or is left
//! out with the reason; all of it is printed as JSON, and written to `$OUT/gpu.json` where `OUT` is set. The exit code
//! is 1 when a check failed.
//!
//! Nothing but glibc, `libnvidia-ml.so.1` and `libcuda.so.1` is needed. `.ci/gpu` builds it into `target/gpu/` and says
//! how to run it there.

mod agent;
mod cgroup;
mod checks;
mod cost;
mod cuda;
mod memory;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Map, Value, json};

/// How a check ended; what it saw is kept in every case.
pub(crate) enum Outcome {
    Passed(Value),
    Failed(String, Value),
    LeftOut(String, Value),
}

/// All checks so far.
#[derive(Default)]
pub(crate) struct Log {
    results: Map<String, Value>,
    failed: usize,
}

impl Log {
    pub(crate) fn add(&mut self, name: &str, outcome: Outcome) {
        let (status, why, seen) = match outcome {
            Outcome::Passed(seen) => ("passed", None, seen),
            Outcome::Failed(why, seen) => ("failed", Some(why), seen),
            Outcome::LeftOut(why, seen) => ("left out", Some(why), seen),
        };
        self.failed += usize::from(status == "failed");
        println!("{status}: {name}{}", why.as_deref().map_or_else(String::new, |why| format!(": {why}")));
        self.results.insert(name.to_owned(), json!({ "status": status, "why": why, "seen": seen }));
    }
}

/// A check from a list of what is wrong.
pub(crate) fn judge(wrong: Vec<String>, seen: Value) -> Outcome {
    if wrong.is_empty() { Outcome::Passed(seen) } else { Outcome::Failed(wrong.join("; "), seen) }
}

/// The library that is tested: the loader's, or another.
pub(crate) fn library() -> Option<PathBuf> {
    env::var_os("NVML_PROBE_LIBRARY").map(PathBuf::from)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if arguments.get(1).map(String::as_str) == Some(cuda::CHILD) {
        return cuda::child();
    }
    if env::var_os("BERTH_GPU").is_none_or(|value| value != "1") {
        println!("left out: the checks against a real driver (BERTH_GPU=1 on a machine with an NVIDIA GPU)");
        return ExitCode::SUCCESS;
    }
    let mut log = Log::default();
    log.results.insert("machine".to_owned(), machine());
    checks::run(&mut log);
    memory::run(&mut log);
    cost::run(&mut log);
    agent::run(&mut log);
    let text = serde_json::to_string_pretty(&Value::Object(log.results)).unwrap_or_default();
    println!("{text}");
    if let Some(out) = env::var_os("OUT") {
        let path = Path::new(&out).join("gpu.json");
        if let Err(error) = fs::write(&path, &text) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{} checks failed", log.failed);
    if log.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the machine is, for whoever reads the figures.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    json!({
        "kernel": read("/proc/version"),
        "driver": read("/proc/driver/nvidia/version"),
        "own cgroup": read("/proc/self/cgroup"),
        "pid namespace": fs::read_link("/proc/self/ns/pid").ok(),
        "cgroup namespace": fs::read_link("/proc/self/ns/cgroup").ok(),
        "cgroup mounts": read("/proc/mounts").lines().filter(|line| line.contains("cgroup")).collect::<Vec<_>>(),
        "root": rustix::process::geteuid().is_root(),
        "cpu": read("/proc/cpuinfo").lines().find(|line| line.starts_with("model name")).map(str::to_owned),
    })
}
