//! Amounts of queues as they are told back: decimals of devices and cores, bytes with a suffix.

use super::{Figures, QueueFigures, quota_in};
use crate::mirror::organisation::Organisation;
use berth_api::objects::status::{PoolUsage, ResourceUsage, Usage};
use berth_model::{Bytes, GpuShare, MilliCpu, PoolId, QueueId, QueueQuota, Quota, ResourceQuota};

/// Of one resource in one pool, in its unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    quota: ResourceQuota,
    fair_share: i64,
    allocated: i64,
    non_preemptible: i64,
}

/// Of GPU, CPU and memory.
pub(super) type Sums = [Sum; 3];

/// What a queue has and uses, by pool; pools in which it neither has nor uses anything are left out.
pub(super) fn pools_of(
    queue: QueueId,
    quotas: &[(PoolId, QueueQuota)],
    organisation: &Organisation,
    figures: &mut dyn Figures,
) -> Vec<(PoolUsage, Sums)> {
    let mut all = Vec::new();
    for pool in organisation.told_pools.values() {
        let quota = quota_in(quotas, pool.id).copied();
        let Some(used) = figures.queue(queue, pool.id) else { continue };
        if quota.is_none() && used == QueueFigures::default() {
            continue;
        }
        let sums = sums(&quota.unwrap_or_default(), &used);
        all.push((PoolUsage { name: pool.name.clone(), usage: usage(&sums, true) }, sums));
    }
    all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    all
}

/// Sums over all pools. Without limits: a pool that is not named has none.
pub(super) fn total(pools: &[(PoolUsage, Sums)]) -> Usage {
    let mut total = Sums::default();
    total[0].quota.quota = Quota::Of(0);
    for (_, sums) in pools {
        for (total, sum) in total.iter_mut().zip(sums) {
            total.quota.quota = match (total.quota.quota, sum.quota.quota) {
                (Quota::Unlimited, _) | (_, Quota::Unlimited) => Quota::Unlimited,
                (Quota::Of(a), Quota::Of(b)) => Quota::Of(a.saturating_add(b)),
                (Quota::Unmanaged, other) | (other, Quota::Unmanaged) => other,
            };
            total.fair_share += sum.fair_share;
            total.allocated += sum.allocated;
            total.non_preemptible += sum.non_preemptible;
        }
    }
    usage(&total, false)
}

fn sums(quota: &QueueQuota, used: &QueueFigures) -> Sums {
    let (all, held, share) = (&used.allocated, &used.non_preemptible, &used.fair_share);
    let sum =
        |quota, allocated, non_preemptible, fair_share| Sum { quota, fair_share, allocated, non_preemptible };
    [
        sum(quota.gpu, all.gpu.0, held.gpu.0, share.gpu.0),
        sum(quota.cpu, all.cpu.0, held.cpu.0, share.cpu.0),
        sum(quota.memory, all.memory.0, held.memory.0, share.memory.0),
    ]
}

fn usage(sums: &Sums, limits: bool) -> Usage {
    let [gpu, cpu, memory] = sums;
    Usage {
        gpu: Some(resource(gpu, limits, |n| GpuShare(n).to_string())),
        cpu: Some(resource(cpu, limits, |n| MilliCpu(n).to_string())),
        memory: Some(resource(memory, limits, |n| Bytes(n).to_string())),
    }
}

fn resource(sum: &Sum, limits: bool, text: impl Fn(i64) -> String) -> ResourceUsage {
    let managed = sum.quota.managed();
    ResourceUsage {
        quota: match sum.quota.quota {
            Quota::Of(amount) => Some(text(amount)),
            Quota::Unlimited => Some("unlimited".to_owned()),
            Quota::Unmanaged => None,
        },
        limit: sum.quota.limit.filter(|_| limits).map(&text),
        fair_share: managed.then(|| text(sum.fair_share)),
        allocated: Some(text(sum.allocated)),
        allocated_non_preemptible: Some(text(sum.non_preemptible)),
    }
}
