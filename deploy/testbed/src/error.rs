//! What can go wrong, each with what is needed to do something about it: the missing tool and how to install it, the last
//! lines that a program logged, the tail of a failed build.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::component::Component;

/// Everything that can fail here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool that does not come with Berth is not on this machine.
    #[error("{tool} is needed {purpose}, and {found}. To install it: {install}")]
    Missing {
        /// What is missing, with the version needed.
        tool: String,
        /// What for.
        purpose: String,
        /// What is there instead.
        found: String,
        /// How to install it.
        install: String,
    },
    /// A program did not build.
    #[error("{program} {version} did not build ({status}); the end of what Go said:\n{output}")]
    Build {
        /// The program.
        program: &'static str,
        /// Its version.
        version: String,
        /// How the build ended.
        status: ExitStatus,
        /// The last lines of its output.
        output: String,
    },
    /// A program ended where it should have kept running.
    #[error("{what} ended ({status}); the end of its log {}:\n{tail}", log.display())]
    Ended {
        /// The program.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Something did not come true in time.
    #[error("{what} after {} s: {why}{}", after.as_secs(), with_tail(tail))]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What was seen last.
        why: String,
        /// The last lines of the log, if one belongs to it.
        tail: String,
    },
    /// A component that this testbed does not have was asked for.
    #[error("the testbed has no {0}: it was not started with one")]
    Absent(Component),
    /// A component that does not run was to be stopped, or one that runs to be started.
    #[error("{0} {1}")]
    WrongState(Component, &'static str),
    /// The testbed cannot do this as the present user or on this machine.
    #[error("{0}")]
    Unable(String),
    /// A command that prepares something failed.
    #[error("{command} failed ({status}): {output}")]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// A file, a folder or a process of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A key or a certificate.
    #[error("certificate of {what}: {source}")]
    Certificate {
        /// Whose.
        what: String,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// The API server refused something, or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was asked of it.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A kubeconfig that cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    pub(crate) fn certificate(what: impl Into<String>) -> impl FnOnce(rcgen::Error) -> Self {
        let what = what.into();
        move |source| Self::Certificate { what, source }
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn with_tail(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; the end of its log:\n{tail}") }
}
