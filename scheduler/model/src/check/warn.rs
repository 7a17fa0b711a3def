//! `Warn`: is it true? (S19, S23)
//!
//! Absent: that everything is warned of, in time and once.

use super::cluster::{Cluster, Pod};
use super::list::List;
use super::violation::Findings;
use crate::{DeviceIndex, GpuGrant, GpuMemoryMib, Millis, PodId, Timestamp, Warning};

/// How long a pod may outlive its grace before it is reported (S23).
const PATIENCE: Millis = Millis::from_secs(30);

impl Cluster {
    pub(super) fn warn(&self, id: PodId, warning: &Warning, list: &mut List) {
        let now = list.now;
        let mut f = list.about(&id);
        match (self.pods.get(&id), *warning) {
            (None, Warning::OverLimit { .. }) => f.add("S19", "is warned of and has no node".to_owned()),
            (None, Warning::OutlivesGrace { .. }) => f.add("S23", "is warned of and has no node".to_owned()),
            (Some(pod), Warning::OverLimit { device, used, limit }) => {
                over_limit(pod, device, used, limit, &mut f)
            }
            (Some(pod), Warning::OutlivesGrace { until }) => outlives_grace(pod, until, now, &mut f),
        }
    }
}

/// S19: more is used than the limit, by the last measurement. Of devices that nobody told the limit is not known.
fn over_limit(pod: &Pod, device: DeviceIndex, used: GpuMemoryMib, limit: GpuMemoryMib, f: &mut Findings<'_>) {
    let measured = pod.measured.get(&device).copied().unwrap_or_default();
    f.want(measured > limit && used > limit, "S19", || {
        format!("{device}: is said to use {used} over the limit {limit}, {measured} are measured")
    });
    if let GpuGrant::Shared { limit: own, .. } = pod.grant {
        f.want(limit == own, "S19", || format!("{device}: the limit is said to be {limit}, it is {own}"));
    }
}

fn outlives_grace(pod: &Pod, until: Timestamp, now: Timestamp, f: &mut Findings<'_>) {
    let Some(leaving) = pod.leaving.filter(|leaving| !leaving.pending) else {
        f.add("S23", "is said to outlive its grace and does not leave".to_owned());
        return;
    };
    let late = now.since(until);
    f.want(until >= leaving.until && late >= PATIENCE, "S23", || {
        format!("is said to outlive its grace by {late}, at least {PATIENCE} are reported")
    });
}
