//! What the container runtime is told: a CDI file per claim, which says for each of its requests what a container gets.
//!
//! A container that is given several requests of this driver gets the devices of all, and the variables of one: the kubelet tells
//! a driver of claims, not of containers.
//!
//! A file is there as a whole or not at all; its name says whose it is, and its annotations what it is for, so that nothing else
//! needs to be remembered.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::claim::{Grant, by_request};
use crate::files;

/// The version of CDI that has annotations.
const CDI_VERSION: &str = "0.6.0";
/// The kind of all our devices.
const KIND: &str = "gpu.berth.dev/claim";
/// Our files: this, the claim's uid, and [`SUFFIX`].
const PREFIX: &str = "gpu.berth.dev-claim-";
const SUFFIX: &str = ".json";
/// Annotation: the claim and what it has, as JSON.
const FOR: &str = "gpu.berth.dev/for";
/// Device files that every device needs, where they are there.
const COMMON: [&str; 4] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];

/// A claim and what it has here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Prepared {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) grants: Vec<Grant>,
}

/// The folder of CDI files.
#[derive(Debug)]
pub(super) struct Specs {
    folder: PathBuf,
    dev: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    cdi_version: String,
    kind: String,
    annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    container_edits: Edits,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_path: Option<String>,
}

impl Prepared {
    /// The CDI device of a request, with its kind.
    pub(super) fn cdi_id(&self, request: &str) -> String {
        format!("{KIND}={}", self.cdi_name(request))
    }

    fn cdi_name(&self, request: &str) -> String {
        format!("{}-{request}", self.uid)
    }
}

impl Specs {
    /// Opens the folder, makes it if it is not there, and removes what was not finished.
    pub(super) fn open(folder: PathBuf, dev: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(&format!(".{PREFIX}")) && name.ends_with(files::UNFINISHED) {
                files::remove(&path)?;
            }
        }
        Ok(Self { folder, dev })
    }

    /// Writes a claim's file, unless it is there as it must be.
    pub(super) fn write(&self, prepared: &Prepared) -> Result<(), String> {
        let spec = self.spec(prepared)?;
        let text = serde_json::to_vec_pretty(&spec).map_err(|error| error.to_string())?;
        let path = self.path(&prepared.uid)?;
        if fs::read(&path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        files::replace(&path, &text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Removes a claim's file, if it is there.
    pub(super) fn remove(&self, uid: &str) -> Result<(), String> {
        let path = self.path(uid)?;
        files::remove(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What a claim's file says.
    pub(super) fn read(&self, uid: &str) -> Option<Prepared> {
        read(&self.path(uid).ok()?).filter(|prepared| prepared.uid == uid)
    }

    /// All claims that have files, and those whose file says nothing.
    pub(super) fn all(&self) -> io::Result<(Vec<Prepared>, Vec<String>)> {
        let (mut prepared, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            let uid = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
            let Some(uid) = uid else { continue };
            match self.read(uid) {
                Some(found) => prepared.push(found),
                None => broken.push(uid.to_owned()),
            }
        }
        Ok((prepared, broken))
    }

    /// A uid becomes part of a path, so it may be nothing else.
    fn path(&self, uid: &str) -> Result<PathBuf, String> {
        let is_uid =
            (1..=63).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_uid {
            return Err(format!("uid: is {uid:?}, allowed: 1 to 63 letters, digits and dashes"));
        }
        Ok(self.folder.join(format!("{PREFIX}{uid}{SUFFIX}")))
    }

    fn spec(&self, prepared: &Prepared) -> Result<Spec, String> {
        let mut devices = Vec::new();
        for (request, grants) in by_request(&prepared.grants) {
            let edits = Edits { env: environment(&grants), device_nodes: self.device_nodes(&grants)? };
            devices.push(Device { name: prepared.cdi_name(&request), container_edits: edits });
        }
        let whose = serde_json::to_string(prepared).map_err(|error| error.to_string())?;
        Ok(Spec {
            cdi_version: CDI_VERSION.to_owned(),
            kind: KIND.to_owned(),
            annotations: BTreeMap::from([(FOR.to_owned(), whose)]),
            devices,
        })
    }

    fn device_nodes(&self, grants: &[&Grant]) -> Result<Vec<DeviceNode>, String> {
        let mut nodes = Vec::new();
        for grant in grants {
            let name = format!("nvidia{}", grant.minor);
            let path = self.dev.join(&name);
            if !path.exists() {
                return Err(format!("device: {} has no file {}", grant.device, path.display()));
            }
            nodes.push(self.device_node(&name));
        }
        let common = COMMON.into_iter().filter(|name| self.dev.join(name).exists());
        nodes.extend(common.map(|name| self.device_node(name)));
        Ok(nodes)
    }

    fn device_node(&self, name: &str) -> DeviceNode {
        let here = self.dev.join(name).display().to_string();
        let path = format!("/dev/{name}");
        DeviceNode { host_path: (here != path).then_some(here), path }
    }
}

fn read(path: &Path) -> Option<Prepared> {
    let spec: Spec = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    serde_json::from_str(spec.annotations.get(FOR)?).ok()
}

/// What a container is told (S14). Amounts are of each device; they are the same for all of a request.
fn environment(grants: &[&Grant]) -> Vec<String> {
    let uuids: Vec<&str> = grants.iter().map(|grant| grant.uuid.as_str()).collect();
    let least = |read: fn(&Grant) -> u64| grants.iter().map(|grant| read(grant)).min().unwrap_or(0);
    vec![
        format!("NVIDIA_VISIBLE_DEVICES={}", uuids.join(",")),
        format!("BERTH_GPU_MEMORY_REQUEST_MIB={}", least(|grant| grant.request_mib)),
        format!("BERTH_GPU_MEMORY_LIMIT_MIB={}", least(|grant| grant.limit_mib)),
    ]
}

#[cfg(test)]
mod tests;
