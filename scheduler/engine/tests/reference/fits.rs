//! May a pod run on a node (S11): as the node is, and as it is now with all that runs there.

use super::devices::{Device, choose, limit, need};
use super::labels::{affine, selects_node, tolerated};
use super::state::{Shape, State};
use super::views::Seats;
use berth_model::{
    DeviceIndex, GpuGrant, GpuRequest, HostPort, NodeId, NodeSpec, Placement, PodSpec, VolumeChoice,
    VolumeUse,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is free on a node, GPUs apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Free {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    ephemeral: i64,
    pub(crate) pods: i64,
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

    fn least(self, other: Self) -> Self {
        let names = self.extended.keys().chain(other.extended.keys()).cloned();
        let of = |free: &Self, name: &String| free.extended.get(name).copied().unwrap_or(0);
        let extended = names.map(|name| {
            let least = of(&self, &name).min(of(&other, &name));
            (name, least)
        });
        Self {
            extended: extended.collect(),
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
            ephemeral: self.ephemeral.min(other.ephemeral),
            pods: self.pods.min(other.pods),
        }
    }

    /// What is not asked for cannot be short.
    pub(crate) fn takes(&self, pod: &PodSpec) -> bool {
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

/// True if the volumes of the pod can become different ones that are reached from the node, the first choosing first.
fn volumes_differ(pod: &PodSpec, node: &NodeSpec) -> bool {
    let mut taken = BTreeSet::new();
    pod.volumes.iter().filter(|v| !v.choices.is_empty()).all(|volume| {
        let reached =
            |c: &&VolumeChoice| c.reachable_from.as_ref().is_none_or(|s| selects_node(s, node, true));
        let mut choices = volume.choices.iter().filter(reached);
        choices.any(|choice| choice.volume.is_empty() || taken.insert(&choice.volume))
    })
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
    /// What is free on a node: of each resource the less of what is and what will be.
    pub(crate) fn free(&self, node: NodeId) -> Free {
        let free = self.views().into_iter().map(|seats| {
            let mut free = Free::of(&self.nodes[&node]);
            let here = seats.iter().filter(|(_, seat)| seat.node == node);
            here.for_each(|(pod, _)| free.take(&self.shape(*pod).spec));
            free
        });
        free.reduce(Free::least).expect("a view")
    }

    /// True if nothing but room can keep the pod off the node: names, volumes of one pod alone, other pods, ports.
    pub(crate) fn allowed(&self, shape: &Shape, node: &NodeSpec) -> bool {
        let among = |seats: &Seats| {
            self.volumes_unused(&shape.spec, seats)
                && self.ports_free(&shape.spec, node, seats)
                && self.neighbours_agree(shape, node, seats)
        };
        could_take(shape, node, true)
            && volumes_differ(&shape.spec, node)
            && among(&self.seats_now())
            && (self.kept.is_empty() || among(&self.seats_together()))
            && (self.guests.is_empty() || among(&self.seats_without_guests()))
    }

    /// True if the node takes the pod now.
    pub(crate) fn takes(&self, shape: &Shape, node: &NodeSpec) -> bool {
        self.has_room(shape, node)
            && self.choose_devices(node.id, shape.spec.gpu, Default::default()).is_some()
            && self.allowed(shape, node)
    }

    /// True if the node takes the pod on these devices.
    pub(crate) fn takes_at(&self, shape: &Shape, at: Placement) -> bool {
        self.nodes.get(&at.node).is_some_and(|node| {
            self.has_room(shape, node) && self.devices_free(at, shape.spec.gpu) && self.allowed(shape, node)
        })
    }

    fn has_room(&self, shape: &Shape, node: &NodeSpec) -> bool {
        let pod = &shape.spec;
        let attached = |seats: Seats| -> Vec<VolumeUse> {
            let here = seats.into_iter().filter(|(_, seat)| seat.node == node.id);
            here.flat_map(|(other, _)| self.shape(other).spec.volumes.clone()).collect()
        };
        self.free(node.id).takes(pod)
            && (pod.volumes.is_empty()
                || [self.seats_now(), self.seats_together()]
                    .into_iter()
                    .all(|seats| attachable(pod, node, &attached(seats))))
    }

    /// True if the devices of the grant can be given as they are, and come to what was asked for.
    fn devices_free(&self, at: Placement, request: GpuRequest) -> bool {
        let devices = self.devices(at.node);
        let known = at.gpus.devices().iter().all(|d| d.index() < devices.len());
        let each = |free: &dyn Fn(&Device) -> bool| {
            known && at.gpus.devices().iter().all(|d| free(&devices[d.index()]))
        };
        match at.gpus {
            GpuGrant::None => request == GpuRequest::None,
            GpuGrant::Whole(_) => each(&|d| d.free),
            GpuGrant::Shared { each: mib, limit: most, .. } => each(&|d| {
                (d.free || d.shared)
                    && d.left >= mib.0.max(1)
                    && (mib.0, most.0) == (need(request, d.total), limit(request, d.total))
            }),
        }
    }

    fn volumes_unused(&self, pod: &PodSpec, seats: &Seats) -> bool {
        let mut exclusive = pod.volumes.iter().filter(|v| v.exclusive);
        exclusive.all(|volume| {
            let uses = |id: &berth_model::PodId| {
                self.shape(*id).spec.volumes.iter().any(|v| v.handle == volume.handle)
            };
            !seats.iter().any(|(other, _)| uses(other))
        })
    }

    fn ports_free(&self, pod: &PodSpec, node: &NodeSpec, seats: &Seats) -> bool {
        if pod.host_ports.is_empty() {
            return true;
        }
        let here = seats.iter().filter(|(_, seat)| seat.node == node.id);
        let taken: Vec<HostPort> =
            here.flat_map(|(other, _)| self.shape(*other).spec.host_ports.clone()).collect();
        !pod.host_ports.iter().any(|port| taken.iter().any(|other| clash(port, other)))
    }
}
