//! Whatever happens and is decided, the judge's sums agree with a fresh count, and events alone are no violation.

use crate::dsl::*;
use berth_model::check::{CheckSettings, Judge, Violation};
use berth_model::*;

const NODES: u64 = 4;
const WORKLOADS: u64 = 8;
const PODS: u64 = 4;

/// A small generator (Knuth's MMIX constants): the same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pod(&mut self) -> PodId {
        pod(self.below(WORKLOADS), self.below(PODS) as u32)
    }

    fn request(&mut self) -> GpuRequest {
        match self.below(4) {
            0 => GpuRequest::None,
            1 => GpuRequest::Whole(1 + self.below(3) as u32),
            2 => GpuRequest::Share { share: GpuShare(300_000), devices: 2, limit: None },
            _ => GpuRequest::Memory { memory: GpuMemoryMib(30_000), devices: 1, limit: None },
        }
    }

    fn grant(&mut self) -> GpuGrant {
        let devices = DeviceMask(self.below(16));
        match self.below(3) {
            0 => GpuGrant::None,
            1 => GpuGrant::Whole(devices),
            _ => GpuGrant::Shared { devices, each: GpuMemoryMib(24_000), limit: GpuMemoryMib(24_000) },
        }
    }

    fn node(&mut self) -> NodeSpec {
        let (id, pool, devices) = (self.below(NODES) as u32, self.below(2), 1 + self.below(4) as usize);
        node(id, |n| {
            n.labels = labels(&[("pool", if pool == 0 { "x" } else { "y" })]);
            n.devices.truncate(devices);
        })
    }

    fn workload(&mut self) -> WorkloadSpec {
        let (request, project, count) = (self.request(), self.below(3) as u32, self.below(PODS + 1) as u32);
        let preemptible = self.below(2) == 0;
        let volume = VolumeUse { handle: "v".into(), exclusive: preemptible, ..VolumeUse::default() };
        workload(self.below(WORKLOADS), |w| {
            w.project = (project < 2).then_some(ProjectId(project));
            w.preemptible = preemptible;
            w.roles = vec![role(count, count / 2, |p| {
                p.gpu = request;
                p.requests.cpu = MilliCpu(16_000);
                p.volumes = vec![volume];
            })];
        })
    }

    fn event(&mut self) -> Event {
        let (node, device) = (NodeId(self.below(NODES) as u32), DeviceIndex(self.below(4) as u8));
        let pool = PoolSelector { key: "pool".into(), value: "x".into() };
        let pods = self.pod();
        match self.below(18) {
            0 => Event::NodeSet(self.node()),
            1 => Event::NodeRemoved(node),
            2 => Event::PoolSet(PoolSpec::new(PoolId(1), "x", Some(pool))),
            3 => Event::PoolRemoved(PoolId(1)),
            4 => Event::WorkloadSet(self.workload()),
            5 => Event::WorkloadRemoved(WorkloadId(self.below(WORKLOADS))),
            6 => Event::ProjectSet(project(|p| p.department = DepartmentId(self.below(2) as u32))),
            7 => Event::DeviceForeign { node, device, memory: GpuMemoryMib(self.below(60_000) as i64) },
            8 => Event::PodLeaving { pod: pods, until: Timestamp(self.below(99) as i64) },
            9 | 10 => Event::PodEnded { pod: pods, outcome: PodOutcome::Evicted },
            11 => Event::PodEnded { pod: pods, outcome: PodOutcome::Succeeded },
            12 => Event::BindFailed { pod: pods, node },
            13 => Event::EvictFailed { pod: pods },
            14 => {
                let at = Placement { node, gpus: self.grant() };
                Event::PodReserved { pod: pods, at, until: Timestamp(50) }
            }
            _ => {
                let leaving = (self.below(4) == 0).then_some(Timestamp(50));
                Event::PodRunning(PodState {
                    leaving,
                    ..PodState::new(pods, node, self.grant(), Timestamp(0))
                })
            }
        }
    }

    fn decision(&mut self) -> Decision {
        let (pod, node) = (self.pod(), self.below(NODES) as u32);
        match self.below(8) {
            0 => evict(pod, 30, Some(self.below(WORKLOADS))),
            1 => evict_by(Cause::Reclaim, pod, 30, Some(self.below(WORKLOADS))),
            2 => release(pod),
            3 | 4 => reserve(pod, node, self.grant(), 60),
            _ => place(pod, node, self.grant()),
        }
    }
}

fn judge() -> Judge {
    let mut judge = Judge::new(CheckSettings::default());
    let one = Event::DepartmentSet(department(|d| d.id = DepartmentId(1)));
    let two = Event::ProjectSet(project(|p| (p.id, p.department) = (ProjectId(1), DepartmentId(1))));
    let quota = QueueQuota {
        gpu: ResourceQuota { quota: Quota::Of(1_000_000), limit: Some(3_000_000) },
        ..QueueQuota::default()
    };
    let bounded = Event::QuotaSet { queue: QueueId::Department(DEPARTMENT), pool: POOL, quota };
    let pool = Event::PoolSet(PoolSpec::new(POOL, "default", None));
    let first = [pool, Event::DepartmentSet(department(|_| {})), Event::ProjectSet(project(|_| {}))];
    for event in first.into_iter().chain([one, two, bounded]) {
        assert_eq!(judge.apply(&event), []);
    }
    judge
}

#[test]
fn events_alone_are_no_violation() {
    for seed in 0..30 {
        let (mut random, mut judge) = (Random(seed), judge());
        for step in 0..300 {
            let event = random.event();
            judge.apply(&event);
            assert_eq!(judge.audit(), [], "seed {seed}, step {step}: {event:?}");
        }
    }
}

#[test]
fn the_judges_sums_agree_with_a_fresh_count() {
    for seed in 0..30 {
        let (mut random, mut judge) = (Random(seed), judge());
        for step in 0..300 {
            judge.apply(&random.event());
            let list: Vec<_> = (0..random.below(6)).map(|_| random.decision()).collect();
            judge.decided(Timestamp(step * 1000), &list);
            let drift = judge.audit().into_iter().find(|v| v.rule == Violation::MIRROR);
            assert_eq!(drift, None, "seed {seed}, step {step}: {list:?}");
        }
    }
}
