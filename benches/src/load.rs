//! Pods to place.

use crate::cluster::PROJECT;
use berth_model::{
    Bytes, Event, GpuRequest, MilliCpu, PodSpec, Priority, Resources, RoleSpec, Timestamp, WorkloadId,
    WorkloadSpec,
};
use std::sync::Arc;

/// Sizes of the whole-GPU pods, and how many of a hundred have them.
const WHOLE_GPU_MIX: [(u32, u64); 4] = [(1, 50), (2, 20), (4, 15), (8, 15)];

/// A seeded sequence of numbers (splitmix64): the same on every machine, for ever.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// The next number, from 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }

    /// One of the items, as often as its weight says.
    ///
    /// # Panics
    /// If there is no item with a weight.
    pub fn pick<'a, T>(&mut self, items: &'a [(T, u64)]) -> &'a T {
        let mut rest = self.below(items.iter().map(|(_, weight)| weight).sum());
        let found = items.iter().find(|(_, weight)| {
            let here = rest < *weight;
            rest = rest.wrapping_sub(*weight);
            here
        });
        &found.expect("a number below the sum of the weights").0
    }
}

/// A pod that asks for `gpus` whole GPUs, with 12 cores and 64 GiB for each.
pub fn whole(gpus: u32) -> Arc<PodSpec> {
    let each = i64::from(gpus);
    let requests =
        Resources { cpu: MilliCpu(12_000 * each), memory: Bytes((64 << 30) * each), ..Resources::default() };
    Arc::new(PodSpec { requests, gpu: GpuRequest::Whole(gpus), ..PodSpec::default() })
}

/// Pods of 1, 2, 4 and 8 GPUs in the proportion 50:20:15:15, until they ask for `gpus` GPUs together.
pub fn whole_gpu_mix(gpus: u64, mut seed: Seed) -> Vec<Arc<PodSpec>> {
    let mix = WHOLE_GPU_MIX.map(|(size, weight)| (whole(size), weight));
    let mut asked = 0;
    let mut pods = Vec::new();
    while asked < gpus {
        let pod = seed.pick(&mix);
        asked += u64::from(pod.gpu.devices());
        pods.push(Arc::clone(pod));
    }
    pods
}

/// One workload per pod, submitted in this order; their ids count from `first`.
pub fn submissions(pods: &[Arc<PodSpec>], first: u64) -> Vec<Event> {
    (first..).zip(pods).map(|(id, pod)| gang(id, 1, pod)).collect()
}

/// A workload of `count` equal pods that start together or not at all.
pub fn gang(id: u64, count: u32, pod: &Arc<PodSpec>) -> Event {
    let role =
        RoleSpec { name: "worker".into(), count, min: count, labels: Arc::default(), pod: Arc::clone(pod) };
    Event::WorkloadSet(WorkloadSpec {
        name: format!("train-{id}"),
        priority: Priority(40),
        ..WorkloadSpec::new(WorkloadId(id), Some(PROJECT), Timestamp(id as i64), vec![role])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_asks_for_what_is_wanted_and_never_changes() {
        let pods = whole_gpu_mix(1000, Seed(1));
        let asked: u32 = pods.iter().map(|p| p.gpu.devices()).sum();
        assert!((1000..1008).contains(&asked), "{asked}");
        assert_eq!(pods, whole_gpu_mix(1000, Seed(1)));
        for (size, _) in WHOLE_GPU_MIX {
            assert!(pods.iter().any(|p| p.gpu == GpuRequest::Whole(size)), "no pod of {size}");
        }
    }
}
