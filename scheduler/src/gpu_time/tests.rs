//! GPU time with a clock in the hand: exact sums, and what is held as the engine counts it.

use super::*;
use berth_engine::{Engine, Settings};
use berth_model::{
    Amounts, Budget, Bytes, Cause, DepartmentId, DepartmentSpec, DeviceMask, DeviceSpec, GpuMemoryMib,
    MilliCpu, Millis, Placement, PodSpec, PodState, PoolSelector, PoolSpec, ProjectSpec, ResourceQuota,
    Resources, RoleSpec,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

const DEVICE: i128 = GpuShare::DEVICE.0 as i128;

/// Nodes as told.
#[derive(Default)]
struct Told {
    nodes: BTreeMap<NodeId, NodeSpec>,
    pools: BTreeMap<PoolId, PoolSpec>,
}

impl Nodes for Told {
    fn spec(&self, id: NodeId) -> Option<&NodeSpec> {
        self.nodes.get(&id)
    }

    fn pool(&self, node: &NodeSpec) -> Option<PoolId> {
        let selecting = self.pools.values().find(|pool| pool.selects(&node.labels));
        selecting.or_else(|| self.pools.get(&PoolId(0))).map(|pool| pool.id)
    }
}

impl Told {
    fn note(&mut self, event: &Event) {
        match event {
            Event::NodeSet(node) => drop(self.nodes.insert(node.id, node.clone())),
            Event::NodeRemoved(node) => drop(self.nodes.remove(node)),
            Event::PoolSet(pool) => drop(self.pools.insert(pool.id, pool.clone())),
            Event::PoolRemoved(pool) => drop(self.pools.remove(pool)),
            _ => {}
        }
    }
}

/// The accounts, and a cluster of two nodes with four devices of 1000 MiB each.
struct Case {
    time: GpuTime,
    told: Told,
    now: i64,
}

fn pod(workload: u64, role: u16, index: u32) -> PodId {
    PodId { workload: WorkloadId(workload), role, index }
}

fn node(id: u32, pool: &str, mib: i64) -> NodeSpec {
    NodeSpec {
        id: NodeId(id),
        name: format!("n{id}"),
        labels: [("pool".to_owned(), pool.to_owned())].into(),
        taints: Vec::new(),
        allocatable: Resources {
            cpu: MilliCpu(64_000),
            memory: Bytes(1 << 38),
            pods: 110,
            ..Resources::default()
        },
        devices: vec![DeviceSpec::new(GpuMemoryMib(mib), "x"); 4],
        volume_limits: BTreeMap::new(),
        ready: true,
        unschedulable: false,
    }
}

fn quota(gpu: Quota) -> QueueQuota {
    QueueQuota { gpu: ResourceQuota { quota: gpu, limit: None }, ..QueueQuota::default() }
}

fn gpus(count: i64) -> Quota {
    Quota::Of(count * GpuShare::DEVICE.0)
}

fn project(id: u32, quota_of: Quota) -> ProjectSpec {
    ProjectSpec {
        id: ProjectId(id),
        name: format!("p{id}"),
        department: DepartmentId(0),
        created: Timestamp(0),
        rank: 100,
        quotas: vec![(PoolId(0), quota(quota_of)), (PoolId(1), quota(quota_of))],
        pools: Vec::new(),
        node_types: None,
        hold_after: None,
    }
}

fn workload(id: u64, project: u32, gpu: GpuRequest, (count, min): (u32, u32)) -> WorkloadSpec {
    let spec = Arc::new(PodSpec { gpu, ..PodSpec::default() });
    let role = RoleSpec { name: "main".to_owned(), count, min, labels: Arc::default(), pod: spec };
    WorkloadSpec::new(WorkloadId(id), Some(ProjectId(project)), Timestamp(0), vec![role])
}

impl Case {
    fn new(quota: Quota) -> Self {
        let mut it = Self { time: GpuTime::default(), told: Told::default(), now: 1_000 };
        it.time.tick(Timestamp(it.now));
        it.time.begin();
        let x = PoolSelector { key: "pool".to_owned(), value: "x".to_owned() };
        it.event(Event::PoolSet(PoolSpec::new(PoolId(0), "default", None)));
        it.event(Event::PoolSet(PoolSpec::new(PoolId(1), "x", Some(x))));
        it.event(Event::ProjectSet(project(0, quota)));
        it.event(Event::NodeSet(node(0, "", 1000)));
        it.event(Event::NodeSet(node(1, "x", 1500)));
        it
    }

    fn event(&mut self, event: Event) {
        self.told.note(&event);
        self.time.note(&event, &self.told);
    }

    fn work(&mut self, id: u64, gpu: GpuRequest, pods: (u32, u32)) {
        self.event(Event::WorkloadSet(workload(id, 0, gpu, pods)));
    }

    /// So many milliseconds go by.
    fn pass(&mut self, millis: i64) {
        self.now += millis;
        self.time.tick(Timestamp(self.now));
    }

    fn place(&mut self, pod: PodId, node: u32, devices: u64) {
        let gpus = GpuGrant::Whole(DeviceMask(devices));
        let at = Placement { node: NodeId(node), gpus };
        self.time.decided(&[Decision::Place { pod, at }], &self.told);
    }

    fn evict(&mut self, pods: &[PodId]) {
        let evict = |pod: &PodId| Decision::Evict {
            pod: *pod,
            grace: Millis::from_secs(30),
            beneficiary: None,
            cause: Cause::Reclaim,
        };
        self.time.decided(&pods.iter().map(evict).collect::<Vec<_>>(), &self.told);
    }

    fn end(&mut self, pod: PodId, outcome: PodOutcome) {
        self.event(Event::PodEnded { pod, outcome });
    }

    /// Within, over and lost in a pool, in device-milliseconds.
    fn sums(&mut self, pool: u32) -> [i128; 3] {
        let key = (ProjectId(0), PoolId(pool));
        self.time.settle(key);
        let sums = self.time.accounts.get(&key).map(|account| account.sums).unwrap_or_default();
        [sums.within, sums.over, sums.lost].map(|sum| {
            assert_eq!(sum % DEVICE, 0, "{sum}");
            sum / DEVICE
        })
    }
}

#[test]
fn s2_what_is_held_counts_within_quota_and_over_it_and_the_quota_may_change_meanwhile() {
    let mut it = Case::new(gpus(2));
    it.work(1, GpuRequest::Whole(3), (1, 1));
    it.pass(500);
    it.place(pod(1, 0, 0), 0, 0b111);
    it.pass(10);
    assert_eq!(it.sums(0), [20, 10, 0]);
    // A confirmation changes nothing, and the same is never counted twice.
    let state = PodState::new(pod(1, 0, 0), NodeId(0), GpuGrant::None, Timestamp(it.now));
    it.event(Event::PodRunning(state));
    assert_eq!(it.sums(0), [20, 10, 0]);
    it.pass(10);
    it.event(Event::ProjectSet(project(0, gpus(5))));
    it.pass(10);
    assert_eq!(it.sums(0), [40 + 30, 20, 0]);
    it.event(Event::QuotaSet {
        queue: QueueId::Project(ProjectId(0)),
        pool: PoolId(0),
        quota: quota(gpus(0)),
    });
    it.pass(10);
    assert_eq!(it.sums(0), [70, 50, 0]);
    it.event(Event::ProjectSet(project(0, Quota::Unlimited)));
    it.pass(1);
    it.end(pod(1, 0, 0), PodOutcome::Succeeded);
    it.pass(1_000);
    assert_eq!((it.sums(0), it.sums(1)), ([73, 50, 0], [0, 0, 0]));
}

#[test]
fn s13_parts_count_as_they_are_charged_and_go_with_their_node() {
    let mut it = Case::new(Quota::Unlimited);
    let memory = GpuRequest::Memory { memory: GpuMemoryMib(500), devices: 2, limit: None };
    it.work(1, memory, (1, 1));
    it.work(2, GpuRequest::Share { share: GpuShare(250_000), devices: 1, limit: None }, (1, 1));
    let grant = |devices| GpuGrant::Shared {
        devices: DeviceMask(devices),
        each: GpuMemoryMib(500),
        limit: GpuMemoryMib(500),
    };
    it.event(Event::PodRunning(PodState::new(pod(1, 0, 0), NodeId(0), grant(0b11), Timestamp(0))));
    it.event(Event::PodRunning(PodState::new(pod(2, 0, 0), NodeId(0), grant(0b1), Timestamp(0))));
    it.pass(4_000);
    assert_eq!(it.sums(0), [4_000 + 1_000, 0, 0], "since it was found, not since it runs");
    // The node goes to another pool.
    it.event(Event::NodeSet(node(0, "x", 1000)));
    it.pass(4_000);
    assert_eq!((it.sums(0), it.sums(1)), ([5_000, 0, 0], [5_000, 0, 0]));
    it.event(Event::PoolRemoved(PoolId(1)));
    it.pass(4_000);
    assert_eq!((it.sums(0), it.sums(1)), ([10_000, 0, 0], [5_000, 0, 0]));
    it.event(Event::NodeRemoved(NodeId(0)));
    it.pass(4_000);
    assert_eq!(it.sums(0), [10_000, 0, 0]);
}

#[test]
fn s20_the_work_of_a_gang_that_is_evicted_is_lost_once_it_is_gone_and_an_elastic_pod_loses_none() {
    let mut it = Case::new(gpus(1));
    it.work(1, GpuRequest::Whole(1), (3, 2));
    let all = [pod(1, 0, 0), pod(1, 0, 1), pod(1, 0, 2)];
    for (index, pod) in all.iter().enumerate() {
        it.place(*pod, 0, 1 << index);
    }
    it.pass(100);
    // The elastic one: its workload goes on.
    it.evict(&all[2..]);
    it.pass(10);
    it.event(Event::PodLeaving { pod: all[2], until: Timestamp(it.now + 1) });
    assert_eq!(it.sums(0), [110, 220, 0], "it counts until it is gone");
    it.end(all[2], PodOutcome::Evicted);
    it.pass(10);
    assert_eq!(it.sums(0), [120, 230, 0]);
    // The rest goes; that the kubelet tells a time in whole seconds changes nothing.
    it.event(Event::PodRunning(PodState::new(all[0], NodeId(0), GpuGrant::None, Timestamp(0))));
    it.evict(&all[..2]);
    it.pass(10);
    assert_eq!(it.sums(0)[2], 0);
    it.end(all[1], PodOutcome::Evicted);
    assert_eq!(it.sums(0)[2], 130);
    it.event(Event::WorkloadRemoved(WorkloadId(1)));
    assert_eq!(it.sums(0)[2], 130 + 130);
    it.pass(1_000);
    assert_eq!(it.sums(0), [130, 240, 260]);
}

#[test]
fn what_was_not_evicted_in_the_end_is_not_lost() {
    let mut it = Case::new(gpus(9));
    it.work(1, GpuRequest::Whole(1), (3, 3));
    let all = [pod(1, 0, 0), pod(1, 0, 1), pod(1, 0, 2)];
    for (index, pod) in all.iter().enumerate() {
        it.place(*pod, 0, 1 << index);
    }
    it.pass(100);
    it.evict(&all);
    it.event(Event::EvictFailed { pod: all[0] });
    it.end(all[0], PodOutcome::Failed);
    it.end(all[1], PodOutcome::Succeeded);
    it.event(Event::BindFailed { pod: all[2], node: NodeId(0) });
    assert_eq!(it.sums(0), [300, 0, 0]);
}

#[test]
fn s33_who_takes_over_counts_from_then_on_and_knows_who_is_being_evicted() {
    let mut it = Case::new(gpus(9));
    it.time.counting = false;
    it.work(1, GpuRequest::Whole(1), (1, 1));
    it.work(2, GpuRequest::Whole(1), (1, 1));
    for (id, evicted) in [(1, true), (2, false)] {
        let state = PodState::new(pod(id, 0, 0), NodeId(0), GpuGrant::None, Timestamp(0));
        let leaving = Some(Timestamp(it.now + 1));
        it.event(Event::PodRunning(PodState { leaving, evicted, ..state }));
    }
    it.pass(500);
    it.time.begin();
    it.pass(500);
    it.end(pod(1, 0, 0), PodOutcome::Evicted);
    it.end(pod(2, 0, 0), PodOutcome::Deleted);
    assert_eq!(it.sums(0), [1_000, 0, 2_000]);
}

#[test]
fn reports_add_up_and_what_is_gone_is_forgotten() {
    let mut it = Case::new(gpus(1));
    it.work(1, GpuRequest::Whole(2), (1, 1));
    it.place(pod(1, 0, 0), 0, 0b11);
    let mut said = Vec::new();
    for _ in 0..2 {
        it.pass(1_500);
        it.time.report(|project, pool, sums| said.push((project.to_owned(), pool.to_owned(), sums)));
    }
    it.event(Event::WorkloadRemoved(WorkloadId(1)));
    it.event(Event::ProjectRemoved(ProjectId(0)));
    it.time.report(|_, _, sums| assert_eq!(sums, [0.0; 3]));
    assert!(it.time.accounts.is_empty() && it.time.pods.is_empty() && it.time.by_node.is_empty());
    let each = ("p0".to_owned(), "default".to_owned(), [1.5, 1.5, 0.0]);
    assert_eq!(said, [each.clone(), each]);
}

/// A random history of a real engine: what the accounts hold is what it counts whenever nothing is on its way out.
#[test]
fn s6_s13_what_is_held_is_what_the_engine_counts() {
    let mut compared = 0;
    for seed in 0..40 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut case = Case::new(gpus(2));
        let mut engine = Engine::new(Settings::default());
        for pool in case.told.pools.values() {
            engine.apply(Event::PoolSet(pool.clone())).expect("a pool");
        }
        let unlimited = vec![(PoolId(0), QueueQuota::unlimited()), (PoolId(1), QueueQuota::unlimited())];
        let department = DepartmentSpec {
            id: DepartmentId(0),
            name: "d".to_owned(),
            created: Timestamp(0),
            rank: 100,
            quotas: unlimited,
            node_types: None,
        };
        let mut start = vec![Event::DepartmentSet(department)];
        start.extend((0..2).map(|id| Event::ProjectSet(project(id, gpus(2)))));
        start.extend(
            (0..4).map(|id| Event::NodeSet(node(id, ["", "x"][id as usize % 2], 1000 + 300 * i64::from(id)))),
        );
        for event in start {
            engine.apply(event.clone()).expect("it is taken");
            case.event(event);
        }
        for _ in 0..60 {
            case.pass(dice.random_range(1..2_000));
            for event in happens(&case, &mut dice) {
                if engine.apply(event.clone()).is_ok() {
                    case.event(event);
                }
            }
            let decisions = engine.decide(Timestamp(case.now), Budget::UNLIMITED);
            case.time.decided(&decisions, &case.told);
            let leaving = case.time.pods.values().any(|held| held.fate != Fate::Stays);
            if leaving || decisions.iter().any(|decision| matches!(decision, Decision::Reserve { .. })) {
                continue;
            }
            compared += 1;
            for key in
                [0, 1].into_iter().flat_map(|project| [0, 1].map(|pool| (ProjectId(project), PoolId(pool))))
            {
                let used: Amounts =
                    engine.queue_usage(QueueId::Project(key.0), key.1).expect("both exist").allocated;
                let held = case.time.accounts.get(&key).map_or(0, |account| account.held);
                assert_eq!(held, used.gpu.0, "seed {seed}, {key:?} at {}", case.now);
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

fn happens(case: &Case, dice: &mut ChaCha8Rng) -> Vec<Event> {
    let workloads: Vec<WorkloadId> = case.time.workloads.keys().copied().collect();
    let pods: Vec<(PodId, Held)> = case.time.pods.iter().map(|(pod, held)| (*pod, *held)).collect();
    let some = if pods.is_empty() { None } else { Some(pods[dice.random_range(0..pods.len())]) };
    let id = dice.random_range(1..12);
    match (dice.random_range(0..10), some) {
        (0..4, _) if !workloads.contains(&WorkloadId(id)) => {
            let gpu = match dice.random_range(0..3) {
                0 => GpuRequest::Whole(dice.random_range(1..3)),
                1 => GpuRequest::Share { share: GpuShare(300_001), devices: 2, limit: None },
                _ => GpuRequest::Memory { memory: GpuMemoryMib(333), devices: 1, limit: None },
            };
            let count = dice.random_range(1..4);
            let mut spec = workload(id, dice.random_range(0..2), gpu, (count, dice.random_range(1..=count)));
            spec.preemptible = dice.random_bool(0.7);
            vec![Event::WorkloadSet(spec)]
        }
        (4, _) => vec![Event::WorkloadRemoved(WorkloadId(id))],
        (5, Some((pod, held))) => vec![Event::BindFailed { pod, node: held.node }],
        (6, Some((pod, held))) => {
            vec![Event::PodRunning(PodState::new(pod, held.node, GpuGrant::None, Timestamp(case.now - 5)))]
        }
        (7, Some((pod, _))) => {
            let outcomes =
                [PodOutcome::Succeeded, PodOutcome::Failed, PodOutcome::Evicted, PodOutcome::Deleted];
            vec![Event::PodEnded { pod, outcome: outcomes[dice.random_range(0..4)] }]
        }
        (8, _) => {
            let id = dice.random_range(0..4u32);
            let pool = ["", "x"][dice.random_range(0..2)];
            vec![Event::NodeSet(node(id, pool, 1000 + 300 * i64::from(id)))]
        }
        // Whoever was told to end is gone, or stays.
        _ => pods
            .iter()
            .filter(|(_, held)| held.fate != Fate::Stays)
            .map(|(pod, _)| match dice.random_bool(0.8) {
                true => Event::PodEnded { pod: *pod, outcome: PodOutcome::Evicted },
                false => Event::EvictFailed { pod: *pod },
            })
            .collect(),
    }
}
