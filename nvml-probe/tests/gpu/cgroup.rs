//! A real process in a real cgroup that is named like a pod's.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nvml_probe::{
    Pid,
    proc::{
        Owner, ProcFs,
        cgroup::{ContainerId, PodUid},
    },
};
use serde_json::json;

use crate::Outcome;

const POD: &str = "5d1c9b7e-8a6f-4e3d-9c2b-1a0f9e8d7c6b";
const CONTAINER: &str = "4bf1c35ae8f2e0d9c8b7a6958473625140f1e2d3c4b5a69788796a5b4c3d2e1f";

/// Groups made for a process; they are removed when it is back where it was.
struct Group {
    /// Outermost first.
    made: Vec<PathBuf>,
    pid: u32,
    /// Where the process goes back to.
    home: PathBuf,
}

/// Moves the process into `kubepods/burstable/pod<uid>/<id>` and asks whose it is.
pub(crate) fn in_a_pod(pid: u32) -> Outcome {
    let mut refused = Vec::new();
    for hierarchy in hierarchies() {
        let group = match Group::make(&hierarchy, pid) {
            Ok(group) => group,
            Err(error) => {
                refused.push(format!("{}: {error}", hierarchy.display()));
                continue;
            }
        };
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let owner = ProcFs::new("/proc").owner(Pid(pid));
        drop(group);
        let expected =
            Owner::Pod { pod: PodUid::parse(POD).unwrap(), container: ContainerId::parse(CONTAINER) };
        let seen = json!({ "hierarchy": hierarchy, "cgroup": text, "owner": owner });
        return if owner == expected {
            Outcome::Passed(seen)
        } else {
            Outcome::Failed(format!("it is {owner:?}"), seen)
        };
    }
    Outcome::LeftOut("no cgroup can be made here".to_owned(), json!(refused))
}

/// The mounted hierarchies: version 2's own, or version 1's.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() > 2 && fields[2].starts_with("cgroup"))
        // A cpuset takes no process before it has been given CPUs.
        .filter(|fields| !fields[1].contains("cpuset"))
        .map(|fields| PathBuf::from(fields[1]))
        .collect()
}

impl Group {
    fn make(hierarchy: &Path, pid: u32) -> io::Result<Self> {
        let mut group = Self { made: Vec::new(), pid, home: hierarchy.to_owned() };
        let mut path = hierarchy.join(format!("berth-gpu-test-{pid}"));
        for part in ["kubepods", "burstable", &format!("pod{POD}"), CONTAINER, ""] {
            fs::create_dir(&path)?;
            group.made.push(path.clone());
            path.push(part);
        }
        let innermost = group.made.last().map_or(hierarchy, PathBuf::as_path);
        fs::write(innermost.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.home.join("cgroup.procs"), self.pid.to_string()) {
            eprintln!("process {} stays in its cgroup: {error}", self.pid);
        }
        for path in self.made.iter().rev() {
            if let Err(error) = fs::remove_dir(path) {
                eprintln!("{} stays: {error}", path.display());
            }
        }
    }
}
