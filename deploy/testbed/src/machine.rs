//! Tools of this machine: found on the path, or asked of Debian's packages, or missed with a message that says what, in
//! which version, for what, and how to install it.
//!
//! Installing happens only as root, where `apt-get` is, and says so; `BERTH_TESTBED_INSTALL=0` forbids it.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Where to look for tools, and whether they may be installed.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    path: OsString,
    /// Whether the usual folders are looked into beside those of the path.
    usual: bool,
    may_install: bool,
}

/// A tool from a package of Debian.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
    /// Folders that are looked into after those of the path.
    pub(crate) also_in: &'static [&'static str],
}

impl Machine {
    /// This machine, as the environment says.
    pub(crate) fn here() -> Self {
        let root = rustix::process::geteuid().is_root();
        let forbidden = std::env::var_os("BERTH_TESTBED_INSTALL").is_some_and(|value| value == "0");
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            usual: true,
            may_install: root && !forbidden,
        }
    }

    /// A machine on which only `path` is looked into and nothing is installed.
    #[cfg(test)]
    pub(crate) fn with_path(path: &str) -> Self {
        Self { path: path.into(), usual: false, may_install: false }
    }

    /// The first program of this name on the path, then in the folders for administrators.
    pub(crate) fn find(&self, program: &str, also_in: &[&str]) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .chain(also_in.iter().filter(|_| self.usual).map(PathBuf::from))
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    }

    /// The program of a Debian package, which is installed if that is allowed.
    pub(crate) fn require(&self, tool: &Tool) -> Result<PathBuf> {
        if let Some(path) = self.find(tool.program, tool.also_in) {
            return Ok(path);
        }
        if self.may_install
            && let Some(apt) = self.find("apt-get", &[])
        {
            install(&apt, tool)?;
            if let Some(path) = self.find(tool.program, tool.also_in) {
                return Ok(path);
            }
        }
        Err(Error::Missing {
            tool: format!("{} (Debian package {})", tool.program, tool.package),
            purpose: tool.purpose.to_owned(),
            found: "it is not on the path".to_owned(),
            install: format!("apt-get install {}", tool.package),
        })
    }

    /// The Go toolchain, of at least this version.
    pub(crate) fn go(&self, program: &str, least: &str) -> Result<PathBuf> {
        let missing = |found: String| Error::Missing {
            tool: format!("Go {least} or newer"),
            purpose: format!("to build {program}"),
            found,
            install: "see go.dev/doc/install, then put the folder of `go` on the PATH".to_owned(),
        };
        let go = self
            .find("go", &["/usr/local/go/bin"])
            .ok_or_else(|| missing("`go` is not on the path".to_owned()))?;
        let output =
            Command::new(&go).args(["env", "GOVERSION"]).output().map_err(Error::io("go env GOVERSION"))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("go").to_owned();
        // A toolchain that may fetch a newer one does so by itself.
        let fetches = std::env::var_os("GOTOOLCHAIN").is_none_or(|value| value != "local");
        if numbers(&version) < numbers(least) && !fetches {
            return Err(missing(format!("{} is Go {version}", go.display())));
        }
        Ok(go)
    }
}

/// The numbers of a version, for comparison: `1.26.8` is (1, 26, 8).
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0))
        .collect()
}

fn install(apt: &Path, tool: &Tool) -> Result<()> {
    say(&format!("installing Debian's package {} {}", tool.package, tool.purpose));
    let run = |arguments: &[&str]| {
        Command::new(apt)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .map_err(Error::io(format!("apt-get {}", arguments.join(" "))))
    };
    let arguments = ["install", "-y", "-qq", "--no-install-recommends", tool.package];
    if run(&arguments)?.status.success() {
        return Ok(());
    }
    // The lists of packages may be missing or old.
    run(&["update", "-qq"])?;
    let output = run(&arguments)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("apt-get {}", arguments.join(" ")),
        status: output.status,
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Tells the person who waits; past the capture of test output, since it explains why nothing seems to happen.
pub(crate) fn say(what: &str) {
    // Nobody to tell it to is no reason to fail.
    let _ = writeln!(std::io::stderr(), "testbed: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNC: Tool = Tool { program: "runc", package: "runc", purpose: "to run containers", also_in: &[] };

    #[test]
    fn a_missing_package_is_said_with_how_to_install_it() {
        let message = Machine::with_path("/nonexistent").require(&RUNC).unwrap_err().to_string();
        assert_eq!(
            message,
            "runc (Debian package runc) is needed to run containers, and it is not on the path. To install it: apt-get \
             install runc"
        );
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.26.8") > numbers("1.26.6"));
        assert!(numbers("1.27") > numbers("1.26.6"));
        assert!(numbers("1.9.9") < numbers("1.26.6"));
        assert!(numbers("1.27rc1") > numbers("1.26.6"));
    }
}
