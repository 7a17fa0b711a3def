//! One program that runs: its log, its end, and starting it again as it was.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};

/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 20;
/// How much of a log's end those lines are looked for in.
const TAIL_BYTES: u64 = 16 * 1024;
/// How often something waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What to run, so that it can be run again.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// A program, running or ended. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    plan: Plan,
    group: i32,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts it in a process group, with a log in `folder` named after it.
    pub(crate) fn start(plan: Plan, group: i32, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{}.log", plan.name));
        let mut process = Self { plan, group, log, child: None };
        process.start_again()?;
        Ok(process)
    }

    /// Starts it with the same arguments; its log goes on.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open().map_err(Error::io(format!("opening {}", self.log.display())))?;
        let other = log.try_clone().map_err(Error::io("opening a log twice"))?;
        let child = Command::new(&self.plan.program)
            .args(&self.plan.arguments)
            .envs(self.plan.environment.iter().map(|(name, value)| (name, value)))
            .process_group(self.group)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(other)
            .spawn()
            .map_err(Error::io(format!("starting {}", self.plan.program.display())))?;
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Its number, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it ended by itself; it counts as stopped from then on.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// An error that says how it ended, if it did.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                let what = self.plan.name.clone();
                Err(Error::Ended { what, status, log: self.log.clone(), tail: tail(&self.log) })
            }
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only if it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it is gone.
    pub(crate) fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// SIGTERM; `ended` tells when it is gone.
    pub(crate) fn terminate(&self) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        if let Some(pid) = pid {
            // Fails only if it is gone already: its number is kept until it is waited for.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// What a look at something waited for comes to: it is there, or why not yet.
pub(crate) type Look<T> = Result<std::result::Result<T, String>>;

/// Looks again and again until something is there, for as long as is allowed. `late` and the log's `tail` go into the
/// error.
pub(crate) async fn until<T, F: Future<Output = Look<T>>>(
    late: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
    tail: impl FnOnce() -> String,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match look().await? {
            Ok(found) => return Ok(found),
            Err(why) if begun.elapsed() > within => {
                return Err(Error::Late { what: late.to_owned(), after: within, why, tail: tail() });
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
