//! The container runtime of a node: containerd's configuration, its start, and importing images.

use std::fs;
use std::future;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Image, Inside, READY_WITHIN, Space, Tools, path};
use crate::error::{Error, Result};
use crate::process::{tail, until};
use crate::programs::Program;
use crate::supervise::Supervised;

/// Where containerd listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

pub(super) async fn start(space: &Space, tools: &Tools, supervised: &Supervised) -> Result<Inside> {
    let folder = supervised.folder();
    let config = folder.join("containerd.toml");
    write(&config, &configuration(folder, tools))?;
    write(&folder.join("cni/testbed.conflist"), &network(space, folder))?;
    let program = Program::Containerd.path().await?;
    let arguments = vec!["--config".to_owned(), path(&config)];
    let mut containerd = space.start("containerd", &program, arguments, supervised)?;
    let log = containerd.0.log().to_owned();
    let ctr = path(&Program::Ctr.path().await?);
    let address = path(&socket(folder));
    let look = || {
        let asked = space.run(&ctr, &["--address", &address, "version"]).map_err(|error| error.to_string());
        future::ready(containerd.0.check().map(|()| asked))
    };
    until("containerd is not ready", READY_WITHIN, look, || tail(&log)).await?;
    Ok(containerd)
}

pub(super) async fn import(space: &Space, folder: &Path, image: &Image) -> Result<()> {
    let archive = folder.join("image.tar");
    image.write(&archive)?;
    let ctr = path(&Program::Ctr.path().await?);
    let address = path(&socket(folder));
    let arguments = ["--address", &address, "-n", "k8s.io", "images", "import", "--no-unpack"];
    space.run(&ctr, &[&arguments[..], &[&path(&archive)]].concat())?;
    fs::remove_file(&archive).map_err(Error::io(format!("removing {}", archive.display())))
}

/// Layers are copied, not laid over each other: images are small here, and the folder may itself be on an overlay.
fn configuration(folder: &Path, tools: &Tools) -> String {
    let (root, socket) = (path(&folder.join("containerd")), path(&socket(folder)));
    let (cni, plugins, runc) = (path(&folder.join("cni")), path(&tools.cni), path(&tools.runc));
    let image = super::BOX_IMAGE;
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{socket}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "native"
pinned_images = {{ sandbox = "{image}" }}

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
enable_cdi = true
cdi_spec_dirs = ["/run/cdi"]

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{cni}"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
snapshotter = "native"
options = {{ BinaryName = "{runc}", SystemdCgroup = false }}
"#
    )
}

/// Each pod gets an address of the node's, and a route to it: there is no bridge to be left behind.
fn network(space: &Space, folder: &Path) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "testbed",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("cni-state"),
                "ranges": [[{"subnet": space.network.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).map_err(Error::io(format!("writing {}", path.display())))
}
