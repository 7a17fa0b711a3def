//! What makes everything end with its owner: a folder, a process group and the small shell that watches over both
//! (`supervisor.sh`).
//!
//! The owner holds one end of a pipe; the kernel closes it when the owner ends, also by a panic or SIGKILL. Nothing is
//! registered: a program is in the group from its first instruction, so there is no moment at which it could be missed.
//! What leaves the group on purpose (containers) lives in a namespace of processes whose first one is in the group.
//! `BERTH_TESTBED_KEEP=1` leaves the folder, with all logs, for a look.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::{Error, Result};
use crate::machine::say;

/// A folder and a process group that end with this value or its process, whichever is first.
#[derive(Debug)]
pub(crate) struct Supervised {
    folder: PathBuf,
    group: i32,
    shell: Child,
    hold: Option<ChildStdin>,
}

impl Supervised {
    pub(crate) fn begin() -> Result<Self> {
        // Short, because paths of sockets have a limit of 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("berth-testbed-")
            .tempdir()
            .map_err(Error::io("creating a temporary folder"))?
            .keep();
        if std::env::var_os("BERTH_TESTBED_KEEP").is_some_and(|value| value != "0") {
            fs::write(folder.join("keep"), "").map_err(Error::io("marking the folder to be kept"))?;
        }
        Self::watch(&folder).inspect_err(|_| drop(fs::remove_dir_all(&folder)))
    }

    fn watch(folder: &Path) -> Result<Self> {
        let mut shell = Command::new("bash")
            .args(["-c", include_str!("supervisor.sh"), "testbed-supervisor"])
            .arg(folder)
            // A group of its own, so that Ctrl-C at the terminal reaches the owner only.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("starting bash, which watches over the testbed's processes"))?;
        let hold = shell.stdin.take();
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(Error::io("reading from the supervisor"))?;
        }
        let group = line
            .trim()
            .parse()
            .map_err(|_| Error::Unable(format!("the supervisor said {line:?}, no group")))?;
        Ok(Self { folder: folder.to_owned(), group, shell, hold })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of the folder, which no other testbed of this machine has.
    pub(crate) fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    pub(crate) fn group(&self) -> i32 {
        self.group
    }
}

impl Drop for Supervised {
    /// Whoever owns children in the group must have reaped them before.
    fn drop(&mut self) {
        if let Some(mut hold) = self.hold.take() {
            // The end of the pipe is the sign; flushing only makes the order plain.
            let _ = hold.flush();
        }
        let _ = self.shell.wait();
        if self.folder.join("keep").exists() {
            say(&format!("kept {}", self.folder.display()));
        } else if self.folder.exists() {
            say(&format!("{} could not be removed", self.folder.display()));
        }
    }
}
