//! A small cluster in a few words, and one way to ask the judge.

use berth_model::check::{CheckSettings, Judge, Violation};
use berth_model::*;
use std::sync::Arc;

/// Memory of the devices of [`node`].
pub(crate) const DEVICE: i64 = 80_000;
/// The pool `default`.
pub(crate) const POOL: PoolId = PoolId(0);
/// The project of [`workload`].
pub(crate) const PROJECT: ProjectId = ProjectId(0);
/// Its department.
pub(crate) const DEPARTMENT: DepartmentId = DepartmentId(0);

/// A cluster with pool `default`, department 0 and project 0 without bounds.
pub(crate) struct World {
    judge: Judge,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self { judge: Judge::new(CheckSettings::default()) };
        world.event(Event::PoolSet(PoolSpec::new(POOL, "default", None)));
        world.event(Event::DepartmentSet(department(|_| {})));
        world.event(Event::ProjectSet(project(|_| {})));
        world
    }

    /// An event that can be mirrored.
    #[track_caller]
    pub(crate) fn event(&mut self, event: Event) -> &mut Self {
        assert_eq!(self.judge.apply(&event), [], "{event:?}");
        self
    }

    /// An event that cannot.
    #[track_caller]
    pub(crate) fn bad_event(&mut self, event: Event) {
        assert_eq!(rules(&self.judge.apply(&event)), [Violation::BAD_EVENT], "{event:?}");
    }

    pub(crate) fn node(&mut self, id: u32, edit: impl FnOnce(&mut NodeSpec)) -> &mut Self {
        self.event(Event::NodeSet(node(id, edit)))
    }

    pub(crate) fn workload(&mut self, id: u64, edit: impl FnOnce(&mut WorkloadSpec)) -> &mut Self {
        self.event(Event::WorkloadSet(workload(id, edit)))
    }

    /// A pod is found on a node, running since 0.
    pub(crate) fn running(&mut self, pod: PodId, node: u32, gpus: GpuGrant) -> &mut Self {
        let state = PodState::new(pod, NodeId(node), gpus, Timestamp(0));
        self.event(Event::PodRunning(state))
    }

    /// Judges a list decided at `seconds`; every rule broken must be in `expected`, and the other way round.
    #[track_caller]
    pub(crate) fn decides(&mut self, seconds: i64, decisions: &[Decision], expected: &[&str]) -> &mut Self {
        let violations = self.judge.decided(Timestamp(seconds * 1000), decisions);
        let text: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert_eq!(rules(&violations), expected, "{text:#?}");
        if expected.is_empty() {
            self.audits(&[]);
        }
        self
    }

    #[track_caller]
    pub(crate) fn audits(&mut self, expected: &[&str]) -> &mut Self {
        let violations = self.judge.audit();
        assert_eq!(rules(&violations), expected, "{violations:#?}");
        self
    }
}

fn rules(violations: &[Violation]) -> Vec<&str> {
    let mut rules: Vec<_> = violations.iter().map(|v| v.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// A ready node `n<id>` with 64 cores, 512 GiB, 110 pods and 4 devices.
pub(crate) fn node(id: u32, edit: impl FnOnce(&mut NodeSpec)) -> NodeSpec {
    let mut node = NodeSpec {
        id: NodeId(id),
        name: format!("n{id}"),
        labels: labels(&[("kubernetes.io/hostname", &format!("n{id}"))]),
        taints: Vec::new(),
        allocatable: Resources {
            cpu: MilliCpu(64_000),
            memory: Bytes(512 << 30),
            pods: 110,
            ..Resources::default()
        },
        devices: vec![DeviceSpec::new(GpuMemoryMib(DEVICE), "H100"); 4],
        volume_limits: Default::default(),
        ready: true,
        unschedulable: false,
    };
    edit(&mut node);
    node
}

pub(crate) fn department(edit: impl FnOnce(&mut DepartmentSpec)) -> DepartmentSpec {
    let mut department = DepartmentSpec {
        id: DEPARTMENT,
        name: "research".into(),
        created: Timestamp(0),
        rank: 100,
        quotas: vec![(POOL, QueueQuota::unlimited())],
        node_types: None,
    };
    edit(&mut department);
    department
}

pub(crate) fn project(edit: impl FnOnce(&mut ProjectSpec)) -> ProjectSpec {
    let mut project = ProjectSpec {
        hold_after: None,
        id: PROJECT,
        name: "vision".into(),
        department: DEPARTMENT,
        created: Timestamp(0),
        rank: 100,
        quotas: vec![(POOL, QueueQuota::unlimited())],
        pools: Vec::new(),
        node_types: None,
    };
    edit(&mut project);
    project
}

/// A preemptible workload of project 0 with one pod that asks for nothing.
pub(crate) fn workload(id: u64, edit: impl FnOnce(&mut WorkloadSpec)) -> WorkloadSpec {
    let mut workload = WorkloadSpec {
        name: format!("w{id}"),
        ..WorkloadSpec::new(WorkloadId(id), Some(PROJECT), Timestamp(0), vec![role(1, 1, |_| {})])
    };
    edit(&mut workload);
    workload
}

/// A role of `count` pods of which `min` must start together.
pub(crate) fn role(count: u32, min: u32, edit: impl FnOnce(&mut PodSpec)) -> RoleSpec {
    let mut pod = PodSpec::default();
    edit(&mut pod);
    RoleSpec { name: "worker".into(), count, min, labels: Arc::default(), pod: Arc::new(pod) }
}

/// Workloads of one pod that asks for this.
pub(crate) fn asks(edit: impl FnOnce(&mut PodSpec)) -> impl FnOnce(&mut WorkloadSpec) {
    |workload| workload.roles = vec![role(1, 1, edit)]
}

/// Workloads of one pod that asks for GPUs.
pub(crate) fn gpus(request: GpuRequest) -> impl FnOnce(&mut WorkloadSpec) {
    asks(move |pod| pod.gpu = request)
}

/// The first pod of a workload's first role.
pub(crate) fn first(workload: u64) -> PodId {
    pod(workload, 0)
}

/// The `index`-th pod of a workload's first role.
pub(crate) fn pod(workload: u64, index: u32) -> PodId {
    PodId { workload: WorkloadId(workload), role: 0, index }
}

pub(crate) fn place(pod: PodId, node: u32, gpus: GpuGrant) -> Decision {
    Decision::Place { pod, at: Placement { node: NodeId(node), gpus } }
}

/// Places the first pod of a workload without devices.
pub(crate) fn put(workload: u64, node: u32) -> Decision {
    place(first(workload), node, GpuGrant::None)
}

/// For a workload of the same project, or stale.
pub(crate) fn evict(pod: PodId, seconds: i64, beneficiary: Option<u64>) -> Decision {
    let cause = if beneficiary.is_some() { Cause::Preempt } else { Cause::Stale };
    evict_by(cause, pod, seconds, beneficiary)
}

pub(crate) fn evict_by(cause: Cause, pod: PodId, seconds: i64, beneficiary: Option<u64>) -> Decision {
    let (grace, beneficiary) = (Millis::from_secs(seconds), beneficiary.map(WorkloadId));
    Decision::Evict { pod, grace, beneficiary, cause }
}

pub(crate) fn reserve(pod: PodId, node: u32, gpus: GpuGrant, until_seconds: i64) -> Decision {
    Decision::Reserve {
        pod,
        at: Placement { node: NodeId(node), gpus },
        until: Timestamp(until_seconds * 1000),
    }
}

pub(crate) fn release(pod: PodId) -> Decision {
    Decision::Release { pod }
}

pub(crate) fn mask(devices: &[u8]) -> DeviceMask {
    devices.iter().map(|index| DeviceIndex(*index)).collect()
}

pub(crate) fn whole(devices: &[u8]) -> GpuGrant {
    GpuGrant::Whole(mask(devices))
}

/// A part of devices without bursting.
pub(crate) fn shared(devices: &[u8], each: i64) -> GpuGrant {
    bursting(devices, each, each)
}

pub(crate) fn bursting(devices: &[u8], each: i64, limit: i64) -> GpuGrant {
    GpuGrant::Shared { devices: mask(devices), each: GpuMemoryMib(each), limit: GpuMemoryMib(limit) }
}

/// A request for a share, in millionths, of one device.
pub(crate) fn share(millionths: i64) -> GpuRequest {
    GpuRequest::Share { share: GpuShare(millionths), devices: 1, limit: None }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

pub(crate) fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
    Requirement { key: key.into(), operator, values: values.iter().map(|v| (*v).into()).collect() }
}

/// A node selector of one term.
pub(crate) fn nodes_where(
    match_expressions: Vec<Requirement>,
    match_fields: Vec<Requirement>,
) -> NodeSelector {
    NodeSelector { node_selector_terms: vec![NodeTerm { match_expressions, match_fields }] }
}
