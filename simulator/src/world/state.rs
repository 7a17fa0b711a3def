//! What the world knows of workloads and pods: dense vectors, indexed by ids and by each other.

use crate::case::Arrival;
use berth_model::{
    Amounts, DeviceMask, GpuMemoryMib, GpuRequest, GpuShare, Millis, NodeSpec, PodId, PodSpec, PoolId,
    ProjectSpec, Timestamp, WorkloadId,
};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// How far a workload has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum JobState {
    /// Not yet submitted.
    #[default]
    Absent,
    /// Known to the engine.
    Present,
    /// Deleted by its owner; gone when its last pod is.
    Deleting,
    /// Ended, deleted or dropped.
    Gone,
}

/// A workload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Job {
    pub(super) submitted: Timestamp,
    /// How long each pod runs; `i64::MAX` = for ever.
    pub(super) runtime: Millis,
    /// How long after a request to end its pods are gone, if their grace is not over before.
    pub(super) exit: Millis,
    /// How long they may take if their owner deletes them.
    pub(super) grace: Millis,
    /// `u32::MAX` = none.
    pub(super) project: u32,
    pub(super) first_role: u32,
    pub(super) roles: u16,
    pub(super) first_pool: u16,
    /// Pods that have not ended for good.
    pub(super) wanted: u32,
    /// Pods that have a place, those that leave included.
    pub(super) placed: u32,
    pub(super) state: JobState,
    /// Its minimums have run at some time.
    pub(super) started: bool,
}

impl Job {
    pub(super) const FOREVER: Millis = Millis(i64::MAX);
    /// A grace of nothing is sent as this (S23).
    pub(super) const GRACE_MIN: Millis = Millis(1000);
    pub(super) const NO_PROJECT: u32 = u32::MAX;

    /// The indices of its roles.
    pub(super) fn roles(&self) -> Range<usize> {
        self.first_role as usize..self.first_role as usize + usize::from(self.roles)
    }
}

/// A role of a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    pub(super) first_pod: u32,
    pub(super) count: u32,
    pub(super) min: u32,
    /// Pods that run or have succeeded.
    pub(super) up: u32,
    pub(super) shape: u32,
}

impl Role {
    /// The indices of its pods.
    pub(super) fn pods(&self) -> Range<usize> {
        self.first_pod as usize..self.first_pod as usize + self.count as usize
    }
}

/// Where a pod is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PodPhase {
    /// Wanted, and without a place.
    Pending,
    /// Running.
    Running,
    /// Being evicted with its workload, whose work is lost; pending again when gone.
    Evicting,
    /// Being evicted from above its workload's minimum, which costs no work (S20); pending again when gone.
    Yielding,
    /// Deleted by its owner; ended when gone.
    Leaving,
    /// Ended for good.
    Ended,
}

impl PodPhase {
    /// It is being evicted.
    pub(super) fn is_evicted(self) -> bool {
        matches!(self, Self::Evicting | Self::Yielding)
    }
}

/// A pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod {
    /// While it has a place: since when it has worked, with what it kept from before.
    pub(super) since: Timestamp,
    /// While it goes: when it will be gone.
    pub(super) gone: Timestamp,
    /// While it is pending: work that it has done and that no eviction has cost it.
    pub(super) kept: Millis,
    pub(super) devices: DeviceMask,
    pub(super) node: u32,
    pub(super) phase: PodPhase,
}

impl Pod {
    /// Wanted, and not yet placed.
    const NEW: Self = Self {
        since: Timestamp(0),
        gone: Timestamp(0),
        kept: Millis::ZERO,
        devices: DeviceMask(0),
        node: u32::MAX,
        phase: PodPhase::Pending,
    };
}

/// What all pods of one specification take.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The specification; kept so that its address stays its own.
    spec: Arc<PodSpec>,
    /// What a pod takes, the GPU share by the largest device of the cluster.
    pub(super) nominal: Amounts,
}

/// All workloads, roles and pods of a simulation.
#[derive(Clone)]
pub(super) struct State {
    pub(super) jobs: Vec<Job>,
    pub(super) roles: Vec<Role>,
    pub(super) pods: Vec<Pod>,
    pub(super) shapes: Vec<Shape>,
    by_address: FxHashMap<usize, u32>,
    largest_device: GpuMemoryMib,
}

impl State {
    /// No workload has been submitted of `jobs`.
    pub(super) fn new(jobs: usize, nodes: &[NodeSpec]) -> Self {
        let devices = nodes.iter().flat_map(|node| &node.devices);
        Self {
            jobs: vec![Job::default(); jobs],
            roles: Vec::with_capacity(jobs),
            pods: Vec::with_capacity(jobs),
            shapes: Vec::new(),
            by_address: FxHashMap::default(),
            largest_device: devices.map(|d| d.memory).max().unwrap_or_default(),
        }
    }

    /// Takes in a workload that is submitted.
    pub(super) fn submit(
        &mut self,
        arrival: &Arrival,
        projects: &[ProjectSpec],
        by_name: PoolId,
    ) -> &mut Job {
        let spec = &arrival.spec;
        let first_role = self.roles.len() as u32;
        let mut wanted = 0;
        for role in &spec.roles {
            let shape = self.shape(&role.pod);
            let first_pod = self.pods.len() as u32;
            self.roles.push(Role { first_pod, count: role.count, min: role.min, up: 0, shape });
            self.pods.resize(self.pods.len() + role.count as usize, Pod::NEW);
            wanted += role.count;
        }
        let of_project = spec.project.and_then(|p| projects[p.index()].pools.first().copied());
        let first_pool = spec.pools.first().copied().or(of_project).unwrap_or(by_name);
        let job = &mut self.jobs[spec.id.index()];
        *job = Job {
            submitted: spec.submitted,
            runtime: arrival.life.runtime.unwrap_or(Job::FOREVER),
            exit: arrival.life.exits_after.unwrap_or(Job::FOREVER),
            grace: spec.grace.max(Job::GRACE_MIN),
            project: spec.project.map_or(Job::NO_PROJECT, |p| p.0),
            first_role,
            roles: spec.roles.len() as u16,
            first_pool: first_pool.0 as u16,
            wanted,
            placed: 0,
            state: JobState::Present,
            started: false,
        };
        job
    }

    /// The shape of a specification; the same address is the same shape.
    fn shape(&mut self, spec: &Arc<PodSpec>) -> u32 {
        let next = self.shapes.len() as u32;
        let index = *self.by_address.entry(Arc::as_ptr(spec) as usize).or_insert(next);
        if index == next {
            let gpu = match spec.gpu {
                GpuRequest::None => GpuShare::ZERO,
                GpuRequest::Whole(devices) => GpuShare::devices(devices),
                GpuRequest::Share { share, devices, .. } => GpuShare(share.0 * i64::from(devices)),
                GpuRequest::Memory { memory, devices, .. } => {
                    let each = memory.share_of(self.largest_device);
                    GpuShare(each.0 * i64::from(devices))
                }
            };
            let nominal = Amounts { gpu, cpu: spec.requests.cpu, memory: spec.requests.memory };
            self.shapes.push(Shape { spec: Arc::clone(spec), nominal });
        }
        index
    }

    /// What a pod takes on these devices of a node (S13).
    pub(super) fn taken(&self, shape: u32, node: &NodeSpec, devices: DeviceMask) -> Amounts {
        let shape = &self.shapes[shape as usize];
        let mut taken = shape.nominal;
        if let GpuRequest::Memory { memory, .. } = shape.spec.gpu {
            let of = |d: berth_model::DeviceIndex| {
                node.devices.get(usize::from(d.0)).map_or(GpuMemoryMib::ZERO, |d| d.memory)
            };
            taken.gpu = GpuShare(devices.iter().map(|device| memory.share_of(of(device)).0).sum());
        }
        taken
    }

    /// The index of a pod and of its role; none if there is no such pod.
    pub(super) fn find(&self, pod: PodId) -> Option<(usize, usize)> {
        let job = self.jobs.get(pod.workload.index()).filter(|job| job.state != JobState::Absent)?;
        let role = job.roles().nth(usize::from(pod.role))?;
        (pod.index < self.roles[role].count)
            .then(|| (role, self.roles[role].first_pod as usize + pod.index as usize))
    }

    /// The pods of a workload: their names, the index of their role, their own index.
    pub(super) fn pods_of(&self, workload: WorkloadId) -> impl Iterator<Item = (PodId, usize, usize)> + '_ {
        self.jobs[workload.index()].roles().zip(0u16..).flat_map(move |(role, number)| {
            let pods = self.roles[role].pods();
            pods.zip(0u32..).map(move |(pod, index)| (PodId { workload, role: number, index }, role, pod))
        })
    }
}
