//! What the pods on one node take of it, as sums that grow and shrink pod by pod.
//!
//! Invariant: entries that are zero are not kept, so two loads of the same pods are equal. Costs: a pod costs
//! its own resources, devices, ports and volumes. Absent: what a device's load means, see `devices`.

use super::violation::Findings;
use crate::{
    Bytes, DeviceIndex, GpuGrant, GpuMemoryMib, GpuRequest, HostPort, MilliCpu, NodeSpec, PodSpec, VolumeUse,
};
use std::collections::BTreeMap;

/// Driver and handle of a volume.
pub(super) type VolumeKey = (String, String);

/// The key of a volume.
pub(super) fn volume_key(volume: &VolumeUse) -> VolumeKey {
    (volume.driver.clone(), volume.handle.clone())
}

/// What is taken of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct DeviceLoad {
    /// Pods that have all of it.
    pub(super) whole: i64,
    /// Pods that have a part of it.
    pub(super) shared: i64,
    /// What the parts add up to.
    pub(super) memory: GpuMemoryMib,
}

/// What is taken of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    pods: i64,
    cpu: i64,
    memory: i64,
    ephemeral: i64,
    extended: BTreeMap<String, i64>,
    pub(super) devices: BTreeMap<DeviceIndex, DeviceLoad>,
    /// Pods that have GPUs of which nobody said which, by what they asked for.
    pub(super) anonymous: BTreeMap<GpuRequest, i64>,
    ports: BTreeMap<HostPort, i64>,
    volumes: BTreeMap<VolumeKey, i64>,
}

impl Load {
    /// Adds a pod (`sign` 1) or takes it away (`sign` -1).
    pub(super) fn change(&mut self, pod: &PodSpec, grant: GpuGrant, sign: i64) {
        self.pods += sign;
        self.cpu += sign * pod.requests.cpu.0;
        self.memory += sign * pod.requests.memory.0;
        self.ephemeral += sign * pod.requests.ephemeral.0;
        for (name, amount) in &pod.requests.extended {
            bump(&mut self.extended, name, sign * amount);
        }
        for port in &pod.host_ports {
            bump(&mut self.ports, port, sign);
        }
        for volume in &pod.volumes {
            bump(&mut self.volumes, &volume_key(volume), sign);
        }
        self.change_devices(pod.gpu, grant, sign);
    }

    fn change_devices(&mut self, request: GpuRequest, grant: GpuGrant, sign: i64) {
        if grant == GpuGrant::None && request.devices() > 0 {
            bump(&mut self.anonymous, &request, sign);
        }
        for index in grant.devices().iter() {
            let device = self.devices.entry(index).or_default();
            match grant {
                GpuGrant::Shared { each, .. } => {
                    device.shared += sign;
                    device.memory.0 += sign * each.0;
                }
                _ => device.whole += sign,
            }
            if *device == DeviceLoad::default() {
                self.devices.remove(&index);
            }
        }
    }

    /// Two loads as one, each amount of them by `by`: added, or the larger of both.
    pub(super) fn with(&self, other: &Self, by: fn(i64, i64) -> i64) -> Self {
        let device = |index| {
            let (a, b) = (self.device(index), other.device(index));
            let memory = GpuMemoryMib(by(a.memory.0, b.memory.0));
            DeviceLoad { whole: by(a.whole, b.whole), shared: by(a.shared, b.shared), memory }
        };
        let indices = self.devices.keys().chain(other.devices.keys());
        let devices = indices.map(|index| (*index, device(*index)));
        Self {
            pods: by(self.pods, other.pods),
            cpu: by(self.cpu, other.cpu),
            memory: by(self.memory, other.memory),
            ephemeral: by(self.ephemeral, other.ephemeral),
            extended: merged(&self.extended, &other.extended, by),
            devices: devices.filter(|(_, device)| *device != DeviceLoad::default()).collect(),
            anonymous: merged(&self.anonymous, &other.anonymous, by),
            ports: merged(&self.ports, &other.ports, by),
            volumes: merged(&self.volumes, &other.volumes, by),
        }
    }

    /// What is taken of a device.
    pub(super) fn device(&self, index: DeviceIndex) -> DeviceLoad {
        self.devices.get(&index).copied().unwrap_or_default()
    }

    /// S11: what one more pod lacks here; what it does not ask for cannot be lacking.
    pub(super) fn lacking(&self, pod: &PodSpec, node: &NodeSpec, f: &mut Findings<'_>) {
        let room = i64::from(node.allocatable.pods);
        f.want(self.pods < room, "S11", || format!("no pod more on {}: {} of {room}", node.id, self.pods));
        for ((what, used, total), asked) in self.table(node).into_iter().zip(asks(pod)) {
            let fits = asked == 0 || used + asked <= total;
            f.want(fits, "S11", || {
                let [asked, used, total] = [asked, used, total].map(|n| show(what, n));
                format!("{what} of {}: asks for {asked}, {used} of {total} are taken", node.id)
            });
        }
        for (name, asked) in &pod.requests.extended {
            let used = self.extended.get(name).copied().unwrap_or_default();
            let total = node.allocatable.extended.get(name).copied().unwrap_or_default();
            f.want(*asked == 0 || used + asked <= total, "S11", || {
                format!("{name} of {}: asks for {asked}, {used} of {total} are taken", node.id)
            });
        }
        self.ports_taken(pod, node, f);
        self.attachments(pod, node, f);
    }

    fn ports_taken(&self, pod: &PodSpec, node: &NodeSpec, f: &mut Findings<'_>) {
        for port in &pod.host_ports {
            if let Some(taken) = self.ports.keys().find(|other| clash(port, other)) {
                f.add("S11", format!("host port {port:?} of {} is taken as {taken:?}", node.id));
            }
        }
    }

    /// S11: attach limits; a volume that is attached already costs nothing.
    fn attachments(&self, pod: &PodSpec, node: &NodeSpec, f: &mut Findings<'_>) {
        if pod.volumes.is_empty() {
            return;
        }
        for (driver, limit) in &node.volume_limits {
            let new: std::collections::BTreeSet<_> = pod
                .volumes
                .iter()
                .filter(|v| v.driver == *driver && !self.volumes.contains_key(&volume_key(v)))
                .map(|v| &v.handle)
                .collect();
            let (attached, new, limit) = (self.attached(driver), new.len(), *limit as usize);
            f.want(new == 0 || attached + new <= limit, "S11", || {
                format!("volumes of {driver} on {}: {new} more than {attached}, limit {limit}", node.id)
            });
        }
    }

    fn attached(&self, driver: &str) -> usize {
        let first = (driver.to_owned(), String::new());
        self.volumes.range(first..).take_while(|((of, _), _)| of == driver).count()
    }

    /// S11: of what more is taken than there is.
    pub(super) fn exceeds(&self, node: &NodeSpec, f: &mut Findings<'_>) {
        let room = i64::from(node.allocatable.pods);
        f.want(self.pods <= room, "S11", || format!("{} pods of {room}", self.pods));
        for (what, used, total) in self.table(node) {
            let kept = used == 0 || used <= total;
            f.want(kept, "S11", || format!("{what}: {} of {}", show(what, used), show(what, total)));
        }
        for (name, used) in &self.extended {
            let total = node.allocatable.extended.get(name).copied().unwrap_or_default();
            f.want(*used <= total, "S11", || format!("{name}: {used} of {total}"));
        }
        for (driver, limit) in &node.volume_limits {
            let attached = self.attached(driver);
            f.want(attached <= *limit as usize, "S11", || {
                format!("volumes of {driver}: {attached} of {limit}")
            });
        }
        for (at, (port, pods)) in self.ports.iter().enumerate() {
            let alone = *pods == 1 && !self.ports.keys().skip(at + 1).any(|other| clash(port, other));
            f.want(alone, "S11", || format!("host port {port:?} is used twice"));
        }
    }

    fn table(&self, node: &NodeSpec) -> [(&'static str, i64, i64); 3] {
        let total = &node.allocatable;
        [
            ("cpu", self.cpu, total.cpu.0),
            ("memory", self.memory, total.memory.0),
            ("ephemeral storage", self.ephemeral, total.ephemeral.0),
        ]
    }
}

/// What a pod asks for, in the order of [`Load::table`].
fn asks(pod: &PodSpec) -> [i64; 3] {
    [pod.requests.cpu.0, pod.requests.memory.0, pod.requests.ephemeral.0]
}

fn show(what: &str, amount: i64) -> String {
    if what == "cpu" { MilliCpu(amount).to_string() } else { Bytes(amount).to_string() }
}

/// True if two pods cannot have these ports on one node.
fn clash(a: &HostPort, b: &HostPort) -> bool {
    let wild = |port: &HostPort| port.host_ip.is_empty() || port.host_ip == "0.0.0.0";
    (a.port, a.protocol) == (b.port, b.protocol) && (a.host_ip == b.host_ip || wild(a) || wild(b))
}

fn merged<K: Ord + Clone>(
    a: &BTreeMap<K, i64>,
    b: &BTreeMap<K, i64>,
    by: fn(i64, i64) -> i64,
) -> BTreeMap<K, i64> {
    let of = |counts: &BTreeMap<K, i64>, key| counts.get(key).copied().unwrap_or_default();
    let sums = a.keys().chain(b.keys()).map(|key| (key.clone(), by(of(a, key), of(b, key))));
    sums.filter(|(_, sum)| *sum != 0).collect()
}

/// Adds to a counter, and drops it when it is zero.
pub(super) fn bump<K: Ord + Clone>(counts: &mut BTreeMap<K, i64>, key: &K, by: i64) {
    let Some(count) = counts.get_mut(key) else {
        if by != 0 {
            counts.insert(key.clone(), by);
        }
        return;
    };
    *count += by;
    if *count == 0 {
        counts.remove(key);
    }
}
