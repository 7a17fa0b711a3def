//! Nodes: what is free on them, and who runs there.
//!
//! Taking and giving are exact inverses, so that a trial is undone by giving back in reverse order. A node holds its
//! free amounts, not sums over its pods: a placement costs O(1) plus the devices it touches.

use crate::device::Devices;
use crate::ix::{ClassIx, PodIx, PoolIx, WorkloadIx};
use crate::shape::{ResourceNames, Shape};
use berth_model::{
    DeviceStrategy, GpuGrant, GpuMemoryMib, GpuRequest, HostPort, NodeId, NodeSpec, VolumeUse,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) spec: Arc<NodeSpec>,
    /// None while no pool takes the node.
    pub(crate) pool: Option<PoolIx>,
    pub(crate) class: ClassIx,
    pub(crate) free: Free,
    pub(crate) devices: Devices,
    /// How many of the devices, the first, the node reports; those after them are lost.
    pub(crate) listed: usize,
    pub(crate) pods: Vec<PodIx>,
    /// Ports and volumes in use; only pods that have some are here.
    held: Option<Box<Held>>,
}

/// What is free besides GPUs. Negative after a node has shrunk below what runs on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Free {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral: i64,
    pub(crate) pods: i64,
    /// By position in [`ResourceNames`]; shorter = 0.
    pub(crate) extended: SmallVec<[i64; 2]>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Held {
    ports: Vec<(PodIx, HostPort)>,
    volumes: Vec<(PodIx, VolumeUse)>,
}

impl Free {
    /// Everything the node can give out.
    pub(crate) fn of(spec: &NodeSpec, names: &mut ResourceNames) -> Self {
        let r = &spec.allocatable;
        let mut free = Self {
            cpu: r.cpu.0,
            memory: r.memory.0,
            ephemeral: r.ephemeral.0,
            pods: r.pods.into(),
            ..Self::default()
        };
        for (name, amount) in &r.extended {
            let at = names.intern(name) as usize;
            if free.extended.len() <= at {
                free.extended.resize(at + 1, 0);
            }
            free.extended[at] = *amount;
        }
        free
    }

    /// An extended resource by position.
    pub(crate) fn extended(&self, at: u16) -> i64 {
        self.extended.get(at as usize).copied().unwrap_or(0)
    }

    /// True if a pod of the shape fits, its GPUs apart. A resource not asked for is not looked at.
    pub(crate) fn fits(&self, shape: &Shape) -> bool {
        (shape.cpu <= self.cpu || shape.cpu == 0)
            && (shape.memory <= self.memory || shape.memory == 0)
            && self.pods >= 1
            && (shape.ephemeral <= self.ephemeral || shape.ephemeral == 0)
            && shape.extended.iter().all(|(at, n)| *n <= self.extended(*at))
    }

    /// How many pods of the shape fit one after the other, GPUs apart.
    fn slots(&self, shape: &Shape) -> i64 {
        let times = |have: i64, need: i64| if need == 0 { i64::MAX } else { have.max(0) / need };
        let scalars = times(self.cpu, shape.cpu)
            .min(times(self.memory, shape.memory))
            .min(times(self.ephemeral, shape.ephemeral))
            .min(self.pods.max(0));
        shape.extended.iter().fold(scalars, |least, (at, n)| least.min(times(self.extended(*at), *n)))
    }

    fn change(&mut self, shape: &Shape, sign: i64) {
        self.cpu += sign * shape.cpu;
        self.memory += sign * shape.memory;
        self.ephemeral += sign * shape.ephemeral;
        self.pods += sign;
        for (at, n) in &shape.extended {
            let at = *at as usize;
            if self.extended.len() <= at {
                self.extended.resize(at + 1, 0);
            }
            self.extended[at] += sign * n;
        }
    }
}

/// How many pods of the shape would fit one after the other. Ports and volumes do not count.
pub(crate) fn slots(free: &Free, devices: &Devices, shape: &Shape, strategy: DeviceStrategy) -> i64 {
    let scalars = free.slots(shape);
    if scalars == 0 {
        return 0;
    }
    scalars.min(devices.slots(shape.gpu, strategy, scalars))
}

impl Node {
    /// A node on which nothing runs.
    pub(crate) fn new(spec: Arc<NodeSpec>, names: &mut ResourceNames, allowance: GpuMemoryMib) -> Self {
        Self {
            id: spec.id,
            pool: None,
            class: ClassIx(u32::MAX),
            free: Free::of(&spec, names),
            devices: Devices::new(&spec.devices, allowance),
            listed: spec.devices.len(),
            pods: Vec::new(),
            held: None,
            spec,
        }
    }

    /// True if the node takes pods at all.
    pub(crate) fn usable(&self) -> bool {
        self.spec.ready && self.pool.is_some()
    }

    /// True if resources, GPUs, ports and volumes suffice for one more pod of the shape.
    pub(crate) fn fits(&self, shape: &Shape) -> bool {
        self.free.fits(shape) && self.fits_gpu(shape.gpu) && (!shape.local || self.fits_held(shape))
    }

    /// True if the devices suffice.
    pub(crate) fn fits_gpu(&self, request: GpuRequest) -> bool {
        match request {
            GpuRequest::None => true,
            GpuRequest::Whole(n) => self.devices.free.count() >= n,
            _ if request.devices() == 1 => self.devices.fits_one(request),
            _ => self.devices.choose(request, DeviceStrategy::Binpack).is_some(),
        }
    }

    /// Puts a pod on the node.
    pub(crate) fn take(&mut self, pod: PodIx, shape: &Shape, grant: GpuGrant) {
        self.free.change(shape, -1);
        self.devices.take(grant);
        self.pods.push(pod);
        if shape.local && !(shape.spec.host_ports.is_empty() && shape.spec.volumes.is_empty()) {
            let held = self.held.get_or_insert_default();
            held.ports.extend(shape.spec.host_ports.iter().map(|p| (pod, p.clone())));
            held.volumes.extend(shape.spec.volumes.iter().map(|v| (pod, v.clone())));
        }
    }

    /// Takes a pod off the node.
    pub(crate) fn give(&mut self, pod: PodIx, shape: &Shape, grant: GpuGrant) {
        self.free.change(shape, 1);
        self.devices.give(grant);
        if let Some(at) = self.pods.iter().rposition(|p| *p == pod) {
            self.pods.swap_remove(at);
        }
        if shape.local
            && let Some(held) = &mut self.held
        {
            held.ports.retain(|(p, _)| *p != pod);
            held.volumes.retain(|(p, _)| *p != pod);
            if *held.as_ref() == Held::default() {
                self.held = None;
            }
        }
    }

    /// Ports and volumes follow the pods of a workload whose positions change.
    pub(crate) fn renumber(&mut self, workload: WorkloadIx, moves: &[(u32, u32)]) {
        let Some(held) = &mut self.held else { return };
        let pods = held.ports.iter_mut().map(|(p, _)| p).chain(held.volumes.iter_mut().map(|(p, _)| p));
        for pod in pods.filter(|p| p.workload == workload) {
            if let Some((_, after)) = moves.iter().find(|(before, _)| *before == pod.pod) {
                pod.pod = *after;
            }
        }
    }

    /// True if the ports and volumes of the shape are free here.
    pub(crate) fn fits_held(&self, shape: &Shape) -> bool {
        self.ports_free(shape) && self.volumes_fit(shape)
    }

    /// True if none of the shape's ports is taken; an empty address means all addresses.
    pub(crate) fn ports_free(&self, shape: &Shape) -> bool {
        let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        let Some(held) = &self.held else { return true };
        !shape.spec.host_ports.iter().any(|want| {
            held.ports.iter().any(|(_, has)| {
                want.port == has.port
                    && want.protocol == has.protocol
                    && (all(&want.host_ip) || all(&has.host_ip) || want.host_ip == has.host_ip)
            })
        })
    }

    /// True if every driver can attach the volumes of the shape that are not attached here already.
    pub(crate) fn volumes_fit(&self, shape: &Shape) -> bool {
        self.volumes_over(shape).next().is_none()
    }

    /// The drivers that cannot attach the volumes of the shape that are not attached here already, and how many
    /// volumes there would be too many.
    pub(crate) fn volumes_over<'a>(&'a self, shape: &'a Shape) -> impl Iterator<Item = (&'a str, i64)> + 'a {
        let held: &[_] = self.held.as_ref().map_or(&[], |h| &h.volumes);
        let mut drivers: Vec<&str> = shape.spec.volumes.iter().map(|v| v.driver.as_str()).collect();
        drivers.sort_unstable();
        drivers.dedup();
        drivers.into_iter().filter_map(move |driver| {
            let limit = i64::from(*self.spec.volume_limits.get(driver)?);
            let of = |v: &&'a VolumeUse| v.driver == driver;
            let attached = held.iter().map(|(_, v)| v).filter(of).map(|v| v.handle.as_str());
            let attached: std::collections::BTreeSet<&str> = attached.collect();
            let mut all = attached.clone();
            all.extend(shape.spec.volumes.iter().filter(of).map(|v| v.handle.as_str()));
            let over = all.len() as i64 - limit;
            (all.len() > attached.len() && over > 0).then_some((driver, over))
        })
    }
}
