//! From a process to its container and pod.
//!
//! [`cgroup`] reads the text of `/proc/<pid>/cgroup`; [`ProcFs`] fetches it. NVML names processes as the host numbers
//! them, so the `/proc` that is read must be the host's: run with `hostPID: true`, or mount the host's `/proc` and name
//! it as root. [`ProcFs::host_pids`] tells whether it is. Without it an owner is [`Owner::Unknown`], not foreign: memory
//! that cannot be attributed must not look as if nobody's pod used it.

pub mod cgroup;

use std::{fs, io, path::PathBuf};

use serde::Serialize;

use crate::units::Pid;
use cgroup::{ContainerId, PodUid};

/// Whose process it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "owner", rename_all = "kebab-case")]
pub enum Owner {
    /// A pod's.
    Pod {
        /// The pod. For a static pod it is the hash that the kubelet gave it, which the pod's mirror in the API has in
        /// its annotation `kubernetes.io/config.hash`.
        pod: PodUid,
        /// The container, when the path names one.
        container: Option<ContainerId>,
    },
    /// A container's, whose path names no pod: the kubelet keeps no cgroups for pods (`cgroupsPerQOS: false`), or no
    /// kubelet started it. The container's id is in the status of its pod, if it has one.
    Container {
        /// The container.
        container: ContainerId,
    },
    /// Neither's: foreign (S17).
    Foreign,
    /// It cannot be told.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A `/proc` to read.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

impl ProcFs {
    /// The one mounted at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whose process it is. The process may end at any time, and its number be given to another: the answer holds for
    /// the moment of reading.
    pub fn owner(&self, pid: Pid) -> Owner {
        let path = self.root.join(pid.0.to_string()).join("cgroup");
        match fs::read(&path) {
            Ok(text) => cgroup::owner(&String::from_utf8_lossy(&text)),
            Err(error) if ended(&error) && !self.host_pids() => Owner::Unknown {
                reason: format!("{} does not show the host's processes", self.root.display()),
            },
            Err(error) if ended(&error) => Owner::Unknown { reason: "the process has ended".to_owned() },
            Err(error) => Owner::Unknown { reason: format!("{}: {error}", path.display()) },
        }
    }

    /// Whether the processes seen here are the host's: only there process 2 is the kernel's own.
    pub fn host_pids(&self) -> bool {
        fs::read(self.root.join("2/comm")).is_ok_and(|name| name == b"kthreadd\n")
    }

    /// The process's command, as the kernel shortens it.
    pub fn command(&self, pid: Pid) -> Option<String> {
        let name = fs::read(self.root.join(pid.0.to_string()).join("comm")).ok()?;
        // A process chooses this text: nothing in it may reach a terminal as a control character.
        Some(
            String::from_utf8_lossy(&name)
                .trim_end()
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
        )
    }
}

/// A process that is gone has no file; one that ends while it is read gives `ESRCH`.
fn ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}
