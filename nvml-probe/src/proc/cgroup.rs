//! The pod and the container in the text of `/proc/<pid>/cgroup`.
//!
//! Read are cgroup v1 (a line per hierarchy), v2 (`0::path`) and both together; kubelet's drivers `cgroupfs`
//! (`/kubepods/burstable/pod<uid>/<id>`) and `systemd` (`kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope`);
//! containerd, CRI-O, Docker with cri-dockerd, and others that name their scope `<runtime>-<id>.scope`; a kubelet below
//! another root, with any prefix; an agent in a cgroup namespace of its own, which sees `/../..` before the rest.
//!
//! The rule: the outermost part of the path that names a pod counts, and the first part below it that names a
//! container. Parts further inside are the container's own doing, and decide nothing. Below `user.slice` nothing
//! counts: there any user can make a group of any name, and would be taken for a pod.
//!
//! No allocation but the result's; time linear in the text.

use std::fmt;

use serde::Serialize;

use super::Owner;

/// A pod's uid: 36 characters with dashes, or for a static pod 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PodUid(String);

/// A container's id, 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ContainerId(String);

const CONTAINER_ID_LEN: usize = 64;
const STATIC_UID_LEN: usize = 32;
const UID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Whose process it is, by the text of its `cgroup` file.
pub fn owner(text: &str) -> Owner {
    let mut container = None;
    let mut lines = 0;
    for path in text.lines().filter_map(path_of) {
        lines += 1;
        match owner_of_path(path) {
            pod @ Owner::Pod { .. } => return pod,
            Owner::Container { container: found } => container = container.or(Some(found)),
            Owner::Foreign | Owner::Unknown { .. } => {}
        }
    }
    match container {
        Some(container) => Owner::Container { container },
        None if lines == 0 => Owner::Unknown { reason: "the process shows no cgroup".to_owned() },
        None => Owner::Foreign,
    }
}

/// `<hierarchy>:<controllers>:<path>`; the path may have colons itself.
fn path_of(line: &str) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    fields.next()?.parse::<u32>().ok()?;
    fields.next()?;
    let path = fields.next()?;
    // Left behind by a group that was removed under a process that is ending.
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

fn owner_of_path(path: &str) -> Owner {
    let mut parts =
        path.split('/').filter(|part| !part.is_empty() && *part != ".." && *part != ".").peekable();
    if parts.peek() == Some(&"user.slice") {
        return Owner::Foreign;
    }
    let mut first_container = None;
    while let Some(part) = parts.next() {
        // containerd with the `systemd` driver's names but without systemd: `<slice>:cri-containerd:<id>`.
        let (name, own_id) = match part.split_once(':') {
            Some((slice, rest)) => (slice, rest.rsplit_once(':').and_then(|(_, id)| ContainerId::parse(id))),
            None => (part, None),
        };
        if let Some(pod) = pod_of(name) {
            let container = own_id.or_else(|| parts.next().and_then(container_of));
            return Owner::Pod { pod, container };
        }
        first_container = first_container.or_else(|| container_of(part));
    }
    match first_container {
        Some(container) => Owner::Container { container },
        None => Owner::Foreign,
    }
}

/// `pod<uid>`, or `<anything>-pod<uid>.slice` with underscores for dashes.
fn pod_of(part: &str) -> Option<PodUid> {
    if let Some(slice) = part.strip_suffix(".slice") {
        let (_, uid) =
            slice.rsplit_once("pod").filter(|(before, _)| before.is_empty() || before.ends_with('-'))?;
        return PodUid::parse(&uid.replace('_', "-"));
    }
    PodUid::parse(part.strip_prefix("pod")?)
}

/// `<id>`, `<runtime>-<id>`, `<runtime>-<id>.scope`. CRI-O's monitor, `crio-conmon-<id>`, belongs to the container too.
fn container_of(part: &str) -> Option<ContainerId> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    ContainerId::parse(name.rsplit_once('-').map_or(name, |(_, id)| id))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl PodUid {
    /// The uid, if the text is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_static = text.len() == STATIC_UID_LEN && is_hex(text);
        let is_uuid = || {
            let mut groups = text.split('-');
            UID_GROUPS
                .iter()
                .all(|len| groups.next().is_some_and(|group| group.len() == *len && is_hex(group)))
                && groups.next().is_none()
        };
        (is_static || is_uuid()).then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContainerId {
    /// The id, if the text is one.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == CONTAINER_ID_LEN && is_hex(text)).then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
