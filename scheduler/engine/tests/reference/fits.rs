//! May a pod run on a node (S11): as the node is, and as it is now with all that runs there.

use super::devices::{Device, choose};
use super::labels::{affine, selects_node, tolerated};
use super::state::{Shape, State};
use berth_model::{DeviceIndex, GpuRequest, HostPort, NodeId, NodeSpec, PodSpec, VolumeUse};
use std::collections::{BTreeMap, BTreeSet};

/// What is free on a node, GPUs apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Free {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    ephemeral: i64,
    pods: i64,
    extended: BTreeMap<String, i64>,
}

impl Free {
    fn of(node: &NodeSpec) -> Self {
        let r = &node.allocatable;
        let extended = r.extended.clone();
        Self { cpu: r.cpu.0, memory: r.memory.0, ephemeral: r.ephemeral.0, pods: r.pods.into(), extended }
    }

    fn take(&mut self, pod: &PodSpec) {
        let r = &pod.requests;
        self.cpu -= r.cpu.0;
        self.memory -= r.memory.0;
        self.ephemeral -= r.ephemeral.0;
        self.pods -= 1;
        r.extended.iter().for_each(|(name, n)| *self.extended.entry(name.clone()).or_default() -= n);
    }

    /// What is not asked for cannot be short.
    fn takes(&self, pod: &PodSpec) -> bool {
        let r = &pod.requests;
        let enough = |asked: i64, have: i64| asked == 0 || asked <= have;
        self.pods >= 1
            && enough(r.cpu.0, self.cpu)
            && enough(r.memory.0, self.memory)
            && enough(r.ephemeral.0, self.ephemeral)
            && r.extended.iter().all(|(name, n)| enough(*n, self.extended.get(name).copied().unwrap_or(0)))
    }
}

/// True if every driver can attach those of the pod's volumes that are not attached already.
fn attachable(pod: &PodSpec, node: &NodeSpec, attached: &[VolumeUse]) -> bool {
    node.volume_limits.iter().all(|(driver, limit)| {
        let of = |volumes: &[VolumeUse]| -> BTreeSet<String> {
            volumes.iter().filter(|v| v.driver == *driver).map(|v| v.handle.clone()).collect()
        };
        let there = of(attached);
        let new = of(&pod.volumes).difference(&there).count();
        new == 0 || there.len() + new <= *limit as usize
    })
}

fn clash(a: &HostPort, b: &HostPort) -> bool {
    let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
    a.port == b.port
        && a.protocol == b.protocol
        && (all(&a.host_ip) || all(&b.host_ip) || a.host_ip == b.host_ip)
}

/// True if the node could take the pod if nothing ran there; whether names count see [`affine`].
pub(crate) fn could_take(shape: &Shape, node: &NodeSpec, names: bool) -> bool {
    let pod = &shape.spec;
    let usable = |v: &VolumeUse| {
        v.unusable.is_empty() && v.reachable_from.as_ref().is_none_or(|s| selects_node(s, node, names))
    };
    tolerated(pod, node)
        && affine(pod, node, names)
        && pod.volumes.iter().all(usable)
        && Free::of(node).takes(pod)
        && attachable(pod, node, &[])
        && devices_suffice(pod.gpu, node)
}

fn devices_suffice(request: GpuRequest, node: &NodeSpec) -> bool {
    let empty = |(at, d): (usize, &berth_model::DeviceSpec)| Device {
        index: DeviceIndex(at as u8),
        total: d.memory.0,
        left: d.memory.0,
        free: true,
        shared: false,
        link_group: d.link_group,
    };
    let empty: Vec<Device> = node.devices.iter().enumerate().map(empty).collect();
    choose(&empty, request, Default::default()).is_some()
}

impl State {
    /// What is free on a node.
    pub(crate) fn free(&self, node: NodeId) -> Free {
        let mut free = Free::of(&self.nodes[&node]);
        self.pods_on(node).for_each(|(pod, _)| free.take(&self.shape(pod).spec));
        free
    }

    /// True if nothing but room can keep the pod off the node: names, volumes of one pod alone, other pods, ports.
    pub(crate) fn allowed(&self, shape: &Shape, node: &NodeSpec) -> bool {
        could_take(shape, node, true)
            && self.volumes_unused(&shape.spec)
            && self.neighbours_agree(shape, node)
            && self.ports_free(&shape.spec, node)
    }

    /// True if the node takes the pod now.
    pub(crate) fn takes(&self, shape: &Shape, node: &NodeSpec) -> bool {
        let pod = &shape.spec;
        let attached: Vec<VolumeUse> =
            self.pods_on(node.id).flat_map(|(other, _)| self.shape(other).spec.volumes).collect();
        self.free(node.id).takes(pod)
            && self.choose_devices(node.id, pod.gpu, Default::default()).is_some()
            && attachable(pod, node, &attached)
            && self.allowed(shape, node)
    }

    fn volumes_unused(&self, pod: &PodSpec) -> bool {
        let mut exclusive = pod.volumes.iter().filter(|v| v.exclusive);
        exclusive.all(|volume| {
            let uses = |id: &berth_model::PodId| {
                self.shape(*id).spec.volumes.iter().any(|v| v.handle == volume.handle)
            };
            !self.pods.keys().any(uses)
        })
    }

    fn ports_free(&self, pod: &PodSpec, node: &NodeSpec) -> bool {
        let taken: Vec<HostPort> =
            self.pods_on(node.id).flat_map(|(other, _)| self.shape(other).spec.host_ports).collect();
        !pod.host_ports.iter().any(|port| taken.iter().any(|other| clash(port, other)))
    }
}
