//! The programs of the testbed: what they are built from, and building them once.
//!
//! Each is a `tool` of a small Go module of ours under `programs/`, pinned by its `go.sum`; nothing is downloaded as a
//! binary. There is a module per upstream, because their dependencies ask for versions that exclude each other. A program
//! is built when it is first asked for, into `target/testbed/<module>-<hash>/bin`; the hash covers the module's files and
//! how it is built, so that a change of either builds anew. A lock in that folder keeps processes from building at once.
//! Go's own variables (proxy, flags, cache) are taken from the environment as they are.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ring::digest;

use crate::error::{Error, Result};
use crate::machine::{Machine, say};

/// A program that the testbed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// etcd, where the API server keeps its objects.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controller manager.
    KubeControllerManager,
    /// Kubernetes' own scheduler.
    KubeScheduler,
    /// Plays nodes and pods where no kubelet is.
    Kwok,
    /// The node agent of Kubernetes.
    Kubelet,
    /// Runs containers.
    Containerd,
    /// What containerd starts for each pod.
    ContainerdShim,
    /// containerd's command line, for importing images.
    Ctr,
    /// Our own small static program: the first process of a node, the pause container, and the inside of test images.
    Box,
}

/// A Go module of ours: its files, and the module that its programs come from.
struct Module {
    name: &'static str,
    files: &'static [&'static str],
    /// The upstream module whose version the programs have; none for our own program.
    upstream: Option<&'static str>,
    tags: &'static str,
    /// Variables set when linking; `{version}`, `{major}` and `{minor}` are filled in.
    stamps: &'static [&'static str],
}

const KUBERNETES: Module = Module {
    name: "kubernetes",
    files: &[include_str!("../programs/kubernetes/go.mod"), include_str!("../programs/kubernetes/go.sum")],
    upstream: Some("k8s.io/kubernetes"),
    tags: "",
    stamps: &[
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/component-base/version.gitTreeState=clean",
    ],
};

/// In the module of Kubernetes, which says the version of etcd that belongs to it.
const ETCD: Module = Module { upstream: Some("go.etcd.io/etcd/server/v3"), stamps: &[], ..KUBERNETES };

const KWOK: Module = Module {
    name: "kwok",
    files: &[include_str!("../programs/kwok/go.mod"), include_str!("../programs/kwok/go.sum")],
    upstream: Some("sigs.k8s.io/kwok"),
    tags: "",
    stamps: &[],
};

const CONTAINERD: Module = Module {
    name: "containerd",
    files: &[include_str!("../programs/containerd/go.mod"), include_str!("../programs/containerd/go.sum")],
    upstream: Some("github.com/containerd/containerd/v2"),
    tags: "no_btrfs no_devmapper no_zfs",
    stamps: &["github.com/containerd/containerd/v2/version.Version={version}"],
};

const BOX: Module = Module {
    name: "box",
    files: &[include_str!("../programs/box/go.mod"), include_str!("../programs/box/main.go")],
    upstream: None,
    tags: "",
    stamps: &[],
};

impl Program {
    /// All of them, in the order in which they are best built.
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kwok,
        Self::Box,
        Self::Kubelet,
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
    ];

    /// The name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubelet => "kubelet",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Box => "box",
        }
    }

    /// The version that is built, as its `go.mod` pins it; `own` for our own program.
    #[must_use]
    pub fn version(self) -> String {
        let module = self.module();
        let Some(upstream) = module.upstream else { return "own".to_owned() };
        required(module.files[0], upstream)
            .unwrap_or_else(|| panic!("{}/go.mod requires {upstream}", module.name))
    }

    /// Where it is, built if it is not there yet. This can take minutes; what is done is said on standard error.
    ///
    /// # Errors
    /// If Go is missing, or the build fails.
    pub async fn path(self) -> Result<PathBuf> {
        let building = tokio::task::spawn_blocking(move || self.built(&Machine::here(), &target()));
        building
            .await
            .map_err(|error| Error::Unable(format!("building {} was cut off: {error}", self.name())))?
    }

    fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubelet => {
                format!("k8s.io/kubernetes/cmd/{}", self.name())
            }
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok".to_owned(),
            Self::Containerd | Self::ContainerdShim | Self::Ctr => {
                format!("github.com/containerd/containerd/v2/cmd/{}", self.name())
            }
            Self::Box => ".".to_owned(),
        }
    }

    fn module(self) -> &'static Module {
        match self {
            Self::Etcd => &ETCD,
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubelet => {
                &KUBERNETES
            }
            Self::Kwok => &KWOK,
            Self::Containerd | Self::ContainerdShim | Self::Ctr => &CONTAINERD,
            Self::Box => &BOX,
        }
    }

    /// The folder that the program is in once it is built.
    fn folder(self, target: &Path) -> PathBuf {
        let module = self.module();
        let mut context = digest::Context::new(&digest::SHA256);
        // The stamps of Kubernetes, whose module etcd shares.
        let module = if module.name == KUBERNETES.name { &KUBERNETES } else { module };
        for part in module.files.iter().chain([&module.tags]).chain(module.stamps) {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let hash: String =
            context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        target.join(format!("{}-{hash}", module.name)).join("bin")
    }

    pub(crate) fn built(self, machine: &Machine, target: &Path) -> Result<PathBuf> {
        let folder = self.folder(target);
        let path = folder.join(self.name());
        if path.is_file() {
            return Ok(path);
        }
        let label = format!("{} {}", self.name(), self.version());
        let go = machine.go(&label, go_version(self.module().files[0]))?;
        fs::create_dir_all(&folder).map_err(Error::io(format!("creating {}", folder.display())))?;
        let lock = target.join("lock");
        let lock = File::create(&lock).map_err(Error::io(format!("opening {}", lock.display())))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(&format!("waiting for another process that builds programs, then for {label}"));
                lock.lock().map_err(Error::io("waiting for the lock on builds"))?;
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("the lock on builds")(error)),
        }
        // Whoever held the lock may have built it.
        if !path.is_file() {
            self.build(&go, &path)?;
        }
        Ok(path)
    }

    fn build(self, go: &Path, path: &Path) -> Result<()> {
        let version = self.version();
        say(&format!("building {} {version} at its first use, kept as {}", self.name(), path.display()));
        let begun = Instant::now();
        let partial = path.with_extension("partial");
        let module = self.module();
        let output = Command::new(go)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(module.name))
            // Static programs need no C compiler, and run inside images that hold nothing else.
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-tags", module.tags, "-ldflags", &linking(module, &version), "-o"])
            .arg(&partial)
            .arg(self.package())
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("running {}", go.display())))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = said.lines().collect();
            let output_tail = lines[lines.len().saturating_sub(20)..].join("\n");
            return Err(Error::Build {
                program: self.name(),
                version,
                status: output.status,
                output: output_tail,
            });
        }
        fs::rename(&partial, path).map_err(Error::io(format!("renaming {}", partial.display())))?;
        say(&format!("built {} {version} in {} s", self.name(), begun.elapsed().as_secs()));
        Ok(())
    }
}

/// `target/testbed`, where cargo keeps what is built.
pub(crate) fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    // A relative one is relative to where cargo was called, which is the workspace unless somebody is inventive.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace.join(target).join("testbed")
}

fn linking(module: &Module, version: &str) -> String {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut flags = "-s -w".to_owned();
    for stamp in module.stamps {
        let stamp = stamp.replace("{version}", version).replace("{major}", major).replace("{minor}", minor);
        flags.push_str(&format!(" -X {stamp}"));
    }
    flags
}

/// The version of `module` that a `go.mod` requires.
fn required(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().filter(|line| !line.contains("=>")).find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next().map(str::to_owned)).flatten()
    })
}

/// The version of Go that a `go.mod` asks for.
fn go_version(go_mod: &str) -> &str {
    go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_ones_that_go_mod_pins() {
        let versions: Vec<String> =
            Program::ALL.iter().map(|it| format!("{} {}", it.name(), it.version())).collect();
        assert_eq!(
            versions,
            [
                "etcd v3.6.8",
                "kube-apiserver v1.36.3",
                "kube-controller-manager v1.36.3",
                "kube-scheduler v1.36.3",
                "kwok v0.8.0",
                "box own",
                "kubelet v1.36.3",
                "containerd v2.4.2",
                "containerd-shim-runc-v2 v2.4.2",
                "ctr v2.4.2",
            ]
        );
        // The staging modules travel apart from Kubernetes and must be of the same release.
        let replaced = KUBERNETES.files[0].lines().filter(|line| line.contains("=>"));
        let of_release = replaced.clone().filter(|line| line.ends_with(" v0.36.3"));
        assert_eq!((replaced.count(), of_release.count()), (33, 33));
    }

    #[test]
    fn programs_are_linked_with_their_version() {
        assert!(linking(&KUBERNETES, "v1.36.3").starts_with(
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X \
             k8s.io/component-base/version.gitMinor=36"
        ));
    }

    #[test]
    fn missing_go_is_said_with_the_version_and_how_to_install_it() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::with_path("/nonexistent");
        let message = Program::KubeApiserver.built(&machine, folder.path()).unwrap_err().to_string();
        assert_eq!(
            message,
            "Go 1.26.0 or newer is needed to build kube-apiserver v1.36.3, and `go` is not on the path. To install it: see \
             go.dev/doc/install, then put the folder of `go` on the PATH"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
