//! Clusters to measure on.

use berth_engine::{Engine, Settings};
use berth_model::{
    Bytes, DepartmentId, DepartmentSpec, DeviceSpec, Event, GpuMemoryMib, Labels, MilliCpu, NodeId, NodeSpec,
    PoolId, PoolSpec, ProjectId, ProjectSpec, QueueQuota, Resources, Strategy, Timestamp,
};

/// The only pool.
pub const POOL: PoolId = PoolId(0);
/// The only project, with an unlimited quota.
pub const PROJECT: ProjectId = ProjectId(0);
/// The node label that names the model of its GPUs.
pub const MODEL_LABEL: &str = "nvidia.com/gpu.product";
/// GPUs of a node of [`dgx`].
pub const GPUS_PER_NODE: u32 = 8;

const PODS_PER_NODE: u32 = 110;

/// An engine that knows one pool, one department and one project, and these nodes.
///
/// # Panics
/// If the engine refuses one of the events.
pub fn engine(nodes: impl IntoIterator<Item = NodeSpec>, strategy: Strategy) -> Engine {
    let mut engine = Engine::new(Settings::default());
    for event in organisation(strategy) {
        engine.apply(event).expect("the organisation is valid");
    }
    for node in nodes {
        engine.apply(Event::NodeSet(node)).expect("the node is valid");
    }
    engine
}

/// `count` equal nodes with eight 80 GiB GPUs, 128 cores and 1 TiB.
pub fn dgx(count: u32) -> impl Iterator<Item = NodeSpec> {
    (0..count).map(|id| node(id, 128_000, 1 << 20, GPUS_PER_NODE, "H100", 81_920))
}

/// A node. Memory in MiB; `device_mib` is what each of its devices can give out.
pub fn node(id: u32, cpu_milli: i64, memory_mib: i64, gpus: u32, model: &str, device_mib: i64) -> NodeSpec {
    let mut labels = Labels::new();
    if gpus > 0 {
        labels.insert(MODEL_LABEL.into(), model.into());
    }
    NodeSpec {
        id: NodeId(id),
        name: format!("node-{id}"),
        labels,
        taints: Vec::new(),
        allocatable: Resources {
            cpu: MilliCpu(cpu_milli),
            memory: Bytes(memory_mib << 20),
            pods: PODS_PER_NODE,
            ..Resources::default()
        },
        devices: (0..gpus).map(|_| DeviceSpec::new(GpuMemoryMib(device_mib), model)).collect(),
        volume_limits: Default::default(),
        ready: true,
        unschedulable: false,
    }
}

fn organisation(strategy: Strategy) -> [Event; 3] {
    let mut pool = PoolSpec::new(POOL, PoolSpec::DEFAULT_NAME, None);
    (pool.gpu, pool.cpu) = (strategy, strategy);
    // What is measured is placing; moving is measured by itself, in `contention`.
    pool.consolidation = false;
    let quotas = vec![(POOL, QueueQuota::unlimited())];
    let department = DepartmentSpec {
        id: DepartmentId(0),
        name: "research".into(),
        created: Timestamp(0),
        rank: 100,
        quotas: quotas.clone(),
        node_types: None,
    };
    let project = ProjectSpec {
        hold_after: None,
        id: PROJECT,
        name: "vision".into(),
        department: department.id,
        created: Timestamp(0),
        rank: 100,
        quotas,
        pools: Vec::new(),
        node_types: None,
    };
    [Event::PoolSet(pool), Event::DepartmentSet(department), Event::ProjectSet(project)]
}
