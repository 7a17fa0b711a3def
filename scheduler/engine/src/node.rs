//! Nodes: what is free on them, and who runs there.
//!
//! Taking and giving are exact inverses, so that a trial is undone by giving back in reverse order. A node holds its
//! free amounts, not sums over its pods: a placement costs O(1) plus the devices it touches.

use crate::device::Devices;
use crate::ix::{ClassIx, PodIx, PoolIx, WorkloadIx};
use crate::overlap::{Hold, Overlap};
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
    pub(crate) pods: SmallVec<[PodIx; 4]>,
    /// Ports and volumes in use; only pods that have some are here.
    held: Option<Box<Held>>,
    /// While room is reserved here.
    overlap: Option<Box<Overlap>>,
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

    /// What a pod of the shape takes.
    pub(crate) fn taken_by(shape: &Shape) -> Self {
        let mut takes = Self::default();
        takes.change(shape, 1);
        takes
    }

    /// Adds `sign` times another amount.
    pub(crate) fn add(&mut self, other: &Self, sign: i64) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.ephemeral += sign * other.ephemeral;
        self.pods += sign * other.pods;
        if self.extended.len() < other.extended.len() {
            self.extended.resize(other.extended.len(), 0);
        }
        for (mine, others) in self.extended.iter_mut().zip(&other.extended) {
            *mine += sign * others;
        }
    }

    /// The larger of both, per resource.
    pub(crate) fn larger(&self, other: &Self) -> Self {
        let mut larger = self.clone();
        larger.cpu = larger.cpu.max(other.cpu);
        larger.memory = larger.memory.max(other.memory);
        larger.ephemeral = larger.ephemeral.max(other.ephemeral);
        larger.pods = larger.pods.max(other.pods);
        larger.extended.resize(self.extended.len().max(other.extended.len()), 0);
        for (mine, others) in larger.extended.iter_mut().zip(&other.extended) {
            *mine = (*mine).max(*others);
        }
        larger
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

/// What a pod takes of its node.
pub(crate) fn hold(pod: PodIx, shape: &Shape, gpus: GpuGrant) -> Hold {
    Hold { pod, takes: Free::taken_by(shape), gpus }
}

/// How many pods of the shape would fit one after the other. Ports and volumes do not count.
pub(crate) fn slots(free: &Free, devices: &Devices, shape: &Shape, strategy: DeviceStrategy) -> i64 {
    let scalars = free.slots(shape);
    if scalars == 0 {
        return 0;
    }
    scalars.min(devices.slots(shape.gpu, strategy, scalars))
}

fn remove_one<T: PartialEq>(all: &mut Vec<T>, one: &T) {
    if let Some(at) = all.iter().rposition(|known| known == one) {
        all.remove(at);
    }
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
            pods: SmallVec::new(),
            held: None,
            overlap: None,
            spec,
        }
    }

    /// True if the node takes pods at all.
    pub(crate) fn usable(&self) -> bool {
        self.spec.ready && self.pool.is_some()
    }

    /// True if the node counts towards its pool's capacity (S7).
    pub(crate) fn open(&self) -> bool {
        self.usable() && !self.spec.unschedulable
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
    pub(crate) fn take(&mut self, pod: PodIx, shape: &Shape, gpus: GpuGrant, leaving: bool) {
        match &mut self.overlap {
            None => {
                self.free.change(shape, -1);
                self.devices.take(gpus);
            }
            Some(overlap) if leaving => overlap.add_leaving(hold(pod, shape, gpus)),
            Some(overlap) => overlap.change_staying(&Free::taken_by(shape), gpus, true),
        }
        self.overlap_changed();
        self.enter(pod, shape);
    }

    /// Takes a pod off the node.
    pub(crate) fn give(&mut self, pod: PodIx, shape: &Shape, gpus: GpuGrant) {
        match &mut self.overlap {
            None => {
                self.free.change(shape, 1);
                self.devices.give(gpus);
            }
            Some(overlap) => {
                if !overlap.remove_leaving(pod) {
                    overlap.change_staying(&Free::taken_by(shape), gpus, false);
                }
            }
        }
        self.overlap_changed();
        self.forget(pod, shape);
    }

    /// Keeps room for a pod that comes when those that leave are gone; `leaving` are all that do.
    pub(crate) fn keep(
        &mut self,
        pod: PodIx,
        shape: &Shape,
        gpus: GpuGrant,
        leaving: impl FnOnce() -> Vec<Hold>,
    ) {
        if self.overlap.is_none() {
            let leaving = leaving();
            let (mut free, mut devices) = (self.free.clone(), self.devices.clone());
            for hold in &leaving {
                free.add(&hold.takes, 1);
                devices.give(hold.gpus);
            }
            self.overlap = Some(Box::new(Overlap::new(free, devices, leaving)));
        }
        if let Some(overlap) = &mut self.overlap {
            overlap.add_kept(hold(pod, shape, gpus));
        }
        self.overlap_changed();
        self.enter(pod, shape);
    }

    /// Keeps room for a pod no more.
    pub(crate) fn unkeep(&mut self, pod: PodIx, shape: &Shape) {
        if let Some(overlap) = &mut self.overlap {
            overlap.remove_kept(pod);
            if overlap.is_idle() {
                (self.free, self.devices) = overlap.free_now();
                self.overlap = None;
            }
        }
        self.overlap_changed();
        self.forget(pod, shape);
    }

    /// The pods for which room is kept here.
    pub(crate) fn kept(&self) -> impl Iterator<Item = PodIx> + '_ {
        self.overlap.iter().flat_map(|overlap| overlap.kept())
    }

    /// True if room is kept here for anybody.
    pub(crate) fn has_overlap(&self) -> bool {
        self.overlap.is_some()
    }

    /// True if the going of those that leave would free nothing: what is kept is as much everywhere.
    pub(crate) fn leaving_is_kept(&self) -> bool {
        self.overlap.as_ref().is_some_and(|overlap| overlap.leaving_is_kept())
    }

    /// Changes what the devices are, not who uses them.
    pub(crate) fn change_devices(&mut self, change: impl FnOnce(&mut Devices)) {
        match &mut self.overlap {
            None => change(&mut self.devices),
            Some(overlap) => change(overlap.devices_mut()),
        }
        self.overlap_changed();
    }

    /// The devices as the pods that are here leave them, whoever has room kept.
    pub(crate) fn devices_now(&self) -> Devices {
        self.overlap.as_ref().map_or_else(|| self.devices.clone(), |overlap| overlap.free_now().1)
    }

    fn overlap_changed(&mut self) {
        if let Some(overlap) = &self.overlap {
            (self.free, self.devices) = overlap.free_for_others();
        }
    }

    fn enter(&mut self, pod: PodIx, shape: &Shape) {
        self.pods.push(pod);
        if shape.local && !(shape.spec.host_ports.is_empty() && shape.spec.volumes.is_empty()) {
            let held = self.held.get_or_insert_default();
            held.ports.extend(shape.spec.host_ports.iter().map(|p| (pod, p.clone())));
            held.volumes.extend(shape.spec.volumes.iter().map(|v| (pod, v.clone())));
        }
    }

    fn forget(&mut self, pod: PodIx, shape: &Shape) {
        if let Some(at) = self.pods.iter().rposition(|p| *p == pod) {
            self.pods.swap_remove(at);
        }
        if shape.local
            && let Some(held) = &mut self.held
        {
            // One that is moved within the node holds them twice.
            shape.spec.host_ports.iter().for_each(|port| remove_one(&mut held.ports, &(pod, port.clone())));
            shape.spec.volumes.iter().for_each(|one| remove_one(&mut held.volumes, &(pod, one.clone())));
            if *held.as_ref() == Held::default() {
                self.held = None;
            }
        }
    }

    /// Ports and volumes follow the pods of a workload whose positions change.
    pub(crate) fn renumber(&mut self, workload: WorkloadIx, moves: &[(u32, u32)]) {
        if let Some(overlap) = &mut self.overlap {
            overlap.renumber(workload, moves);
        }
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

    /// The same without those for whom room is kept.
    pub(crate) fn volumes_fit_now(&self, shape: &Shape) -> bool {
        let there = |pod: &PodIx| !self.kept().any(|kept| kept == *pod);
        self.overlap.is_none() || self.volumes_over_beside(shape, &there).next().is_none()
    }

    /// The drivers that cannot attach the volumes of the shape that are not attached here already, and how many
    /// volumes there would be too many.
    pub(crate) fn volumes_over<'a>(&'a self, shape: &'a Shape) -> impl Iterator<Item = (&'a str, i64)> + 'a {
        self.volumes_over_beside(shape, &|_| true)
    }

    fn volumes_over_beside<'a>(
        &'a self,
        shape: &'a Shape,
        beside: &'a dyn Fn(&PodIx) -> bool,
    ) -> impl Iterator<Item = (&'a str, i64)> + 'a {
        let held: &[_] = self.held.as_ref().map_or(&[], |h| &h.volumes);
        let mut drivers: Vec<&str> = shape.spec.volumes.iter().map(|v| v.driver.as_str()).collect();
        drivers.sort_unstable();
        drivers.dedup();
        drivers.into_iter().filter_map(move |driver| {
            let limit = i64::from(*self.spec.volume_limits.get(driver)?);
            let of = |v: &&'a VolumeUse| v.driver == driver;
            let attached = held
                .iter()
                .filter(|(pod, _)| beside(pod))
                .map(|(_, v)| v)
                .filter(of)
                .map(|v| v.handle.as_str());
            let attached: std::collections::BTreeSet<&str> = attached.collect();
            let mut all = attached.clone();
            all.extend(shape.spec.volumes.iter().filter(of).map(|v| v.handle.as_str()));
            let over = all.len() as i64 - limit;
            (all.len() > attached.len() && over > 0).then_some((driver, over))
        })
    }
}
