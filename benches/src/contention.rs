//! Clusters in which room must be taken back, and organisations in which it is shared (S7, S20 to S26).

use crate::cases::{decide, submit};
use crate::cluster::{self, GPUS_PER_NODE, POOL};
use crate::load;
use berth_engine::{Engine, Settings};
use berth_model::{
    Budget, Decision, DepartmentId, DepartmentSpec, DeviceIndex, Event, GpuGrant, GpuShare, NodeId, PodId,
    PodSpec, PodState, PoolId, PoolSelector, PoolSpec, Priority, ProjectId, ProjectSpec, QueueQuota, Quota,
    ResourceQuota, RoleSpec, Timestamp, WorkloadId, WorkloadSpec,
};
use std::sync::Arc;

/// Has no quota and uses what is idle.
pub const BORROWER: ProjectId = ProjectId(1);
/// Has a quota for the whole cluster.
pub const OWNER: ProjectId = ProjectId(2);
/// When the measured decision is made; everything that runs has run since 0.
pub const NOW: Timestamp = Timestamp(3_600_000);

/// The pool in which [`one_change`] changes something.
pub const CHANGED_POOL: PoolId = PoolId(3);

const DEPARTMENT: DepartmentId = DepartmentId(1);

/// Nodes with eight GPUs, a project without quota and one that owns them all; nothing runs.
pub fn shared_cluster(nodes: u32) -> Engine {
    let mut engine = cluster::engine(cluster::dgx(nodes), Default::default());
    let mut pool = PoolSpec::new(POOL, PoolSpec::DEFAULT_NAME, None);
    pool.max_moves = u32::MAX;
    let all = i64::from(nodes * GPUS_PER_NODE) * GpuShare::DEVICE.0;
    let events = [
        Event::PoolSet(pool),
        department(DEPARTMENT, QueueQuota::unlimited()),
        project(BORROWER, DEPARTMENT, gpu_quota(0)),
        project(OWNER, DEPARTMENT, gpu_quota(all)),
    ];
    submit(&mut engine, events);
    engine
}

/// A quota of GPUs, in millionths of a device.
pub fn gpu_quota(millionths: i64) -> QueueQuota {
    QueueQuota { gpu: ResourceQuota { quota: Quota::Of(millionths), limit: None }, ..QueueQuota::default() }
}

fn department(id: DepartmentId, quota: QueueQuota) -> Event {
    Event::DepartmentSet(DepartmentSpec {
        id,
        name: format!("department-{}", id.0),
        created: Timestamp(id.0.into()),
        rank: 100,
        quotas: vec![(POOL, quota)],
        node_types: None,
    })
}

fn project(id: ProjectId, department: DepartmentId, quota: QueueQuota) -> Event {
    Event::ProjectSet(ProjectSpec {
        hold_after: None,
        id,
        name: format!("project-{}", id.0),
        department,
        created: Timestamp(id.0.into()),
        rank: 100,
        quotas: vec![(POOL, quota)],
        pools: vec![],
        node_types: None,
    })
}

/// A workload of `pods` pods that start together.
pub fn workload(id: u64, project: ProjectId, pods: u32, pod: &Arc<PodSpec>) -> WorkloadSpec {
    let role = RoleSpec {
        name: "worker".into(),
        count: pods,
        min: pods,
        labels: Default::default(),
        pod: Arc::clone(pod),
    };
    WorkloadSpec {
        name: format!("w{id}"),
        priority: Priority(50),
        ..WorkloadSpec::new(WorkloadId(id), Some(project), Timestamp(id as i64), vec![role])
    }
}

/// Runs one-GPU pods on the first `per_node` devices of every node, one workload each; those of the first `fixed` devices
/// are not preemptible and belong to the owner, the rest to the borrower.
fn run_singles(engine: &mut Engine, nodes: u32, per_node: u32, fixed: u32) {
    let pod = load::whole(1);
    for at in 0..nodes * per_node {
        let (node, device) = (at / per_node, at % per_node);
        let owner = device < fixed;
        let mut spec = workload(at.into(), if owner { OWNER } else { BORROWER }, 1, &pod);
        spec.preemptible = !owner;
        let gpus = GpuGrant::Whole(std::iter::once(DeviceIndex(device as u8)).collect());
        let pod = PodId { workload: spec.id, role: 0, index: 0 };
        let running = PodState::new(pod, NodeId(node), gpus, Timestamp(0));
        submit(engine, [Event::WorkloadSet(spec), Event::PodRunning(running)]);
    }
    decide(engine);
}

/// A cluster full of over-quota one-GPU jobs.
pub fn borrowed(nodes: u32) -> Engine {
    let mut engine = shared_cluster(nodes);
    run_singles(&mut engine, nodes, GPUS_PER_NODE, 0);
    engine
}

/// One-GPU jobs of the project that owns the cluster.
pub fn claims(count: u32) -> Vec<Event> {
    let pod = load::whole(1);
    (0..count).map(|at| Event::WorkloadSet(workload((1 << 40) + u64::from(at), OWNER, 1, &pod))).collect()
}

/// A gang of the owner, with a whole node per pod.
pub fn node_gang(at: u64, pods: u32) -> Event {
    Event::WorkloadSet(workload((1 << 41) + at, OWNER, pods, &load::whole(GPUS_PER_NODE)))
}

/// A cluster full of one-GPU jobs, of which one on every node may not be stopped: no node can be cleared.
pub fn pinned(nodes: u32) -> Engine {
    let mut engine = shared_cluster(nodes);
    run_singles(&mut engine, nodes, GPUS_PER_NODE, 1);
    engine
}

/// A cluster with one small job on every node: no node is free, and most could be.
pub fn scattered(nodes: u32) -> Engine {
    let mut engine = shared_cluster(nodes);
    run_singles(&mut engine, nodes, 1, 0);
    engine
}

/// Gangs without quota, which can only run if others move.
pub fn patient_gangs(count: u32, pods: u32) -> Vec<Event> {
    let pod = load::whole(GPUS_PER_NODE);
    let gang = |at: u32| Event::WorkloadSet(workload((1 << 41) + u64::from(at), BORROWER, pods, &pod));
    (0..count).map(gang).collect()
}

/// 50 departments with 20 projects each in 10 pools of 100 nodes, everybody wanting more than there is.
pub fn organisation() -> Engine {
    let mut engine = Engine::new(Settings::default());
    let label = |pool: u32| PoolSelector { key: "pool".into(), value: pool.to_string() };
    let pools =
        (0..10).map(|id| Event::PoolSet(PoolSpec::new(PoolId(id), format!("pool-{id}"), Some(label(id)))));
    submit(&mut engine, pools);
    let nodes = cluster::dgx(1_000).map(|mut node| {
        node.labels.insert("pool".into(), (node.id.0 / 100).to_string());
        Event::NodeSet(node)
    });
    submit(&mut engine, nodes);
    for id in 0..50 {
        let quotas = (0..10).map(|pool| (PoolId(pool), gpu_quota(8_000_000))).collect::<Vec<_>>();
        let Event::DepartmentSet(mut spec) = department(DepartmentId(id), gpu_quota(0)) else { continue };
        spec.quotas.clone_from(&quotas);
        submit(&mut engine, [Event::DepartmentSet(spec)]);
        for project_id in id * 20..id * 20 + 20 {
            let Event::ProjectSet(mut spec) = project(ProjectId(project_id), DepartmentId(id), gpu_quota(0))
            else {
                continue;
            };
            spec.quotas = (0..10).map(|pool| (PoolId(pool), gpu_quota(300_000))).collect();
            submit(&mut engine, [Event::ProjectSet(spec)]);
        }
    }
    let pod = load::whole(1);
    for at in 0..10_000u32 {
        let mut spec = workload(at.into(), ProjectId(at % 1_000), 1 + at % 3, &pod);
        spec.pools = vec![PoolId(at / 1_000)];
        submit(&mut engine, [Event::WorkloadSet(spec)]);
    }
    engine
}

/// One more workload in a pool of [`organisation`].
pub fn one_change(at: u64) -> Event {
    let mut spec = workload((1 << 40) + at, ProjectId((at * 7 % 1_000) as u32), 1, &load::whole(1));
    spec.pools = vec![CHANGED_POOL];
    Event::WorkloadSet(spec)
}

/// One cycle at [`NOW`].
pub fn decide_now(engine: &mut Engine) -> Vec<Decision> {
    engine.decide(NOW, Budget::UNLIMITED)
}

/// How many pods are evicted, and for how many room is kept.
pub fn evicted_and_reserved(decisions: &[Decision]) -> (usize, usize) {
    let evicted = decisions.iter().filter(|decision| matches!(decision, Decision::Evict { .. }));
    let reserved = decisions.iter().filter(|decision| matches!(decision, Decision::Reserve { .. }));
    (evicted.count(), reserved.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one cycle decides after these events.
    fn decided(mut engine: Engine, events: impl IntoIterator<Item = Event>) -> (usize, usize) {
        submit(&mut engine, events);
        let decided = evicted_and_reserved(&decide_now(&mut engine));
        assert_eq!(evicted_and_reserved(&decide_now(&mut engine)), (0, 0), "nothing has changed");
        decided
    }

    #[test]
    fn every_case_takes_back_what_it_says() {
        assert_eq!(decided(borrowed(10), claims(80)), (80, 80));
        assert_eq!(decided(borrowed(10), claims(90)), (80, 80));
        assert_eq!(decided(borrowed(10), [node_gang(0, 5)]), (40, 5));
        assert_eq!(decided(scattered(10), patient_gangs(2, 2)), (4, 8));
        assert_eq!(decided(pinned(10), [node_gang(0, 3)]), (0, 0));
    }

    #[test]
    fn a_change_changes_shares() {
        let mut engine = organisation();
        let queue = berth_model::QueueId::Project(OWNER);
        let demand =
            |engine: &mut Engine| engine.queue_usage(queue, CHANGED_POOL).map(|usage| usage.demand.gpu);
        let before = demand(&mut engine);
        submit(&mut engine, (0..1_000).map(one_change));
        assert!(demand(&mut engine) > before);
    }
}
