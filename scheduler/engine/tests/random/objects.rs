//! Random nodes, queues and workloads.

use super::pods::{GIB, HOSTNAME, plain_pod, pod};
use berth_model::{
    Bytes, DeviceSpec, Effect, GpuMemoryMib, MilliCpu, Millis, NodeId, NodeSpec, PodSpec, PoolId, Priority,
    ProjectId, QueueQuota, Quota, ResourceQuota, Resources, RoleSpec, Taint, Timestamp, TopologyRequest,
    WorkloadId, WorkloadSpec,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::sync::Arc;

/// A node; whoever uses it gives it an identifier and a name.
pub(crate) fn node() -> BoxedStrategy<NodeSpec> {
    let label = |key: &'static str, values: Vec<&'static str>| {
        prop::option::weighted(0.8, select(values))
            .prop_map(move |v| v.map(|v| (key.to_owned(), v.to_owned())))
    };
    let labels = (
        label("pool", vec!["x", "x", "y"]),
        label("zone", vec!["a", "b", "c"]),
        label("rack", vec!["r1", "r2"]),
        label("gen", vec!["5", "6", "7"]),
        // None = its name; empty = no host name.
        prop::option::weighted(0.08, select(vec!["other", ""]))
            .prop_map(|host| host.map(|host| (HOSTNAME.to_owned(), host.to_owned()))),
    );
    let labels = labels.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect());
    let limits = prop::option::weighted(0.3, 0..=2u32);
    let limits = limits.prop_map(|limit| limit.map(|n| ("csi".to_owned(), n)).into_iter().collect());
    let state = (prop::bool::weighted(0.93), prop::bool::weighted(0.07));
    (labels, taints(), allocatable(), devices(), limits, state)
        .prop_map(|(labels, taints, allocatable, devices, volume_limits, (ready, unschedulable))| NodeSpec {
            id: NodeId(0),
            name: String::new(),
            labels,
            taints,
            allocatable,
            devices,
            volume_limits,
            ready,
            unschedulable,
        })
        .boxed()
}

/// A node on which little fits, mostly like the others.
pub(crate) fn small_node() -> BoxedStrategy<NodeSpec> {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let zone = select(vec!["a", "b"]);
    let size = (select(vec![4, 8]), select(vec![8, 16]), 1..=4usize, select(vec![1000, 1000, 2000]));
    (zone, prop::bool::weighted(0.1), size)
        .prop_map(move |(zone, other, (cpu, memory, devices, mib))| {
            let pool = other.then(|| label("pool", "x"));
            let device = DeviceSpec::new(GpuMemoryMib(mib), "x");
            NodeSpec {
                id: NodeId(0),
                name: String::new(),
                labels: pool.into_iter().chain([label("zone", zone)]).collect(),
                taints: Vec::new(),
                allocatable: Resources {
                    cpu: MilliCpu(cpu * 1000),
                    memory: Bytes(memory * GIB),
                    pods: 110,
                    ..Resources::default()
                },
                devices: vec![device; devices],
                volume_limits: Default::default(),
                ready: true,
                unschedulable: false,
            }
        })
        .boxed()
}

fn taints() -> BoxedStrategy<Vec<Taint>> {
    let taint = |key: &str, effect| Taint { key: key.to_owned(), value: "x".to_owned(), effect };
    let all = vec![
        taint("dedicated", Effect::NoSchedule),
        taint("dedicated", Effect::NoExecute),
        taint("old", Effect::PreferNoSchedule),
    ];
    prop_oneof![4 => Just(Vec::new()), 1 => subsequence(all, 1..=2)].boxed()
}

fn allocatable() -> BoxedStrategy<Resources> {
    let pods = select(vec![110, 110, 110, 3, 2]);
    (select(vec![2, 4, 4, 8, 12]), select(vec![4, 16, 16, 32]), pods, any::<bool>(), 0..=2i64)
        .prop_map(|(cpu, memory, pods, disk, nics)| Resources {
            cpu: MilliCpu(cpu * 1000),
            memory: Bytes(memory * GIB),
            ephemeral: Bytes(if disk { 10 * GIB } else { 0 }),
            pods,
            extended: if nics > 0 {
                [("example.com/nic".to_owned(), nics)].into()
            } else {
                Default::default()
            },
        })
        .boxed()
}

fn devices() -> BoxedStrategy<Vec<DeviceSpec>> {
    let device =
        |memory: i64, link_group: u8| DeviceSpec { link_group, ..DeviceSpec::new(GpuMemoryMib(memory), "x") };
    let alike =
        (0..=4usize, select(vec![1000, 1000, 2000]), any::<bool>()).prop_map(move |(n, memory, linked)| {
            (0..n).map(|at| device(memory, if linked { at as u8 / 2 } else { 0 })).collect()
        });
    let mixed = prop::collection::vec((select(vec![700, 1000, 2000]), 0..=1u8), 1..=3);
    let mixed =
        mixed.prop_map(move |all| all.into_iter().map(|(memory, link)| device(memory, link)).collect());
    prop_oneof![5 => alike, 1 => mixed].boxed()
}

/// Quotas of one queue in one pool.
pub(crate) fn quota() -> BoxedStrategy<QueueQuota> {
    let gpu = prop_oneof![
        2 => Just(Quota::Unlimited),
        3 => select(vec![0, 500_000, 1_000_000, 2_000_000, 4_000_000]).prop_map(Quota::Of),
    ];
    let limit = prop::option::weighted(0.3, select(vec![500_000, 1_000_000, 3_000_000]));
    let cpu = prop_oneof![4 => Just(Quota::Unmanaged), 1 => select(vec![1000, 4000]).prop_map(Quota::Of)];
    let cpu_limit = prop::option::weighted(0.2, select(vec![2000, 6000]));
    let memory = prop_oneof![6 => Just(Quota::Unmanaged), 1 => select(vec![0, 4, 16]).prop_map(|n| Quota::Of(n * GIB))];
    let weight = prop::option::weighted(0.6, select(vec![0, 1, 1, 3]));
    (gpu, limit, cpu, cpu_limit, memory, weight)
        .prop_map(|(gpu, limit, cpu, cpu_limit, memory, weight)| QueueQuota {
            gpu: ResourceQuota { quota: gpu, limit },
            cpu: ResourceQuota { quota: cpu, limit: cpu_limit },
            memory: ResourceQuota { quota: memory, limit: None },
            weight,
        })
        .boxed()
}

/// Quotas that few stay within.
pub(crate) fn small_quota() -> BoxedStrategy<QueueQuota> {
    let gpu = prop_oneof![
        1 => Just(Quota::Unlimited),
        9 => select(vec![0, 0, 500_000, 1_000_000, 2_000_000]).prop_map(Quota::Of),
    ];
    let limit = prop::option::weighted(0.15, select(vec![1_000_000, 2_000_000]));
    let cpu = prop_oneof![4 => Just(Quota::Unmanaged), 1 => select(vec![0, 2000]).prop_map(Quota::Of)];
    let weight = prop::option::weighted(0.6, select(vec![0, 1, 1, 3]));
    (gpu, limit, cpu, weight)
        .prop_map(|(gpu, limit, cpu, weight)| QueueQuota {
            gpu: ResourceQuota { quota: gpu, limit },
            cpu: ResourceQuota { quota: cpu, limit: None },
            weight,
            ..QueueQuota::default()
        })
        .boxed()
}

/// A workload; whoever uses it gives it an identifier. `projects` says how many there are.
pub(crate) fn workload(projects: u32) -> BoxedStrategy<WorkloadSpec> {
    workload_of(projects, pod, 0.5).boxed()
}

/// A workload that asks for little beyond room and may mostly be stopped.
pub(crate) fn contender(projects: u32) -> BoxedStrategy<WorkloadSpec> {
    workload_of(projects, plain_pod, 0.85)
        .prop_map(|workload| {
            let topology = workload.topology.filter(|_| workload.priority.0 > 80);
            WorkloadSpec { pools: Vec::new(), node_type: None, topology, ..workload }
        })
        .boxed()
}

fn workload_of(
    projects: u32,
    pod: impl Fn() -> BoxedStrategy<PodSpec>,
    preemptible: f64,
) -> BoxedStrategy<WorkloadSpec> {
    let role = || role(pod());
    let project = prop::option::weighted(0.9, (0..projects).prop_map(ProjectId));
    let pools = prop_oneof![
        4 => Just(Vec::new()),
        2 => select(vec![vec![PoolId(0)], vec![PoolId(1)], vec![PoolId(1), PoolId(0)], vec![PoolId(2), PoolId(1)]]),
    ];
    let topology = (select(vec!["zone", "rack", HOSTNAME]), any::<bool>());
    let topology = prop::option::weighted(0.15, topology)
        .prop_map(|t| t.map(|(key, required)| TopologyRequest { key: key.to_owned(), required }));
    let node_type = prop::option::weighted(0.3, select(vec!["5", "6", "9"]));
    let standing = (select(vec![25, 80, 80, 125]), prop::bool::weighted(preemptible), 0..=5i64);
    let declared = prop::option::weighted(0.4, select(vec![500, 1000, 30_000, 61_000, 3_600_000]));
    let times =
        (select(vec![0, 1000, 30_000]), prop::option::weighted(0.2, select(vec![-1, 0, 2000])), declared);
    let roles = prop_oneof![3 => prop::collection::vec(role(), 1), 1 => prop::collection::vec(role(), 2)];
    (project, pools, topology, node_type, standing, times, roles)
        .prop_map(
            |(project, pools, topology, node_type, (priority, preemptible, submitted), times, mut roles)| {
                roles.iter_mut().enumerate().for_each(|(at, role)| role.name = format!("role{at}"));
                if node_type.is_some() {
                    // Whether a node type counts as affinity there is left open by the rules.
                    let spread = |role: &mut RoleSpec| Arc::make_mut(&mut role.pod).topology_spread.clear();
                    roles.iter_mut().for_each(spread);
                }
                WorkloadSpec {
                    namespace: "open".to_owned(),
                    priority: Priority(priority),
                    preemptible,
                    grace: Millis(times.0),
                    stale_grace: times.1.map(Millis),
                    expected_runtime: times.2.map(Millis),
                    pools,
                    node_type: node_type.map(str::to_owned),
                    topology,
                    ..WorkloadSpec::new(WorkloadId(0), project, Timestamp(submitted), roles)
                }
            },
        )
        .boxed()
}

fn role(pod: BoxedStrategy<PodSpec>) -> BoxedStrategy<RoleSpec> {
    let count = (1..=4u32, 0..=4u32).prop_map(|(count, less)| (count, count.saturating_sub(less / 2)));
    let app = prop::option::weighted(0.8, select(vec!["a", "b"]));
    (count, app, pod)
        .prop_map(|((count, min), app, pod)| RoleSpec {
            name: String::new(),
            count,
            min,
            labels: Arc::new(app.map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect()),
            pod: Arc::new(pod),
        })
        .boxed()
}
