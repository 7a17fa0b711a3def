//! Quotas, nodes and roles from words.

use super::words::{GIB, Words, json, named};
use berth_model::{
    Bytes, DeviceSpec, Effect, GpuMemoryMib, GpuRequest, GpuShare, MilliCpu, NodeSpec, PodSpec, QueueQuota,
    Quota, ResourceQuota, Resources, RoleSpec, Taint,
};
use std::sync::Arc;

/// `gpu=2 gpu-limit=4 cpu=8 mem=4`: devices, cores, GiB.
pub(super) fn quota(words: &Words<'_>) -> QueueQuota {
    let bound = |key: &str, limit: &str, unit: i64, unset: Quota| ResourceQuota {
        quota: words.get(key).map_or(unset, |text| Quota::Of(words.scaled(text, unit))),
        limit: words.get(limit).map(|text| words.scaled(text, unit)),
    };
    QueueQuota {
        gpu: bound("gpu", "gpu-limit", 1_000_000, Quota::Unlimited),
        cpu: bound("cpu", "cpu-limit", 1000, Quota::Unmanaged),
        memory: bound("mem", "mem-limit", GIB, Quota::Unmanaged),
        weight: words.get("weight").map(|weight| words.int(weight) as u32),
    }
}

fn resources(words: &Words<'_>, cpu: &str, memory: i64, pods: u32) -> Resources {
    Resources {
        cpu: MilliCpu(words.scaled(words.get("cpu").unwrap_or(cpu), 1000)),
        memory: Bytes(words.number("mem", memory) * GIB),
        ephemeral: Bytes(words.number("disk", 0) * GIB),
        pods,
        extended: words
            .get("nic")
            .map(|n| ("example.com/nic".to_owned(), words.int(n)))
            .into_iter()
            .collect(),
    }
}

/// A node; words with a colon are labels. Its name is its host name unless it is `nameless`.
pub(super) fn node(words: &Words<'_>) -> NodeSpec {
    let links = words.list("links");
    let devices = words.get("gpus").map_or_else(Vec::new, |text| text.split('+').collect());
    let sizes = devices.into_iter().flat_map(|text| {
        let (count, size) = text.split_once('x').unwrap_or(("1", text));
        std::iter::repeat_n(words.int(size), words.int(count) as usize)
    });
    let device = |(at, memory): (usize, i64)| DeviceSpec {
        link_group: links.get(at).map_or(0, |group| words.int(group) as u8),
        ..DeviceSpec::new(GpuMemoryMib(memory), "")
    };
    let taint = words.get("taint").and_then(|t| t.split_once(':'));
    let host = ("kubernetes.io/hostname", words.args[0]);
    let host = (!words.has("nameless")).then_some(host);
    let labels = host.into_iter().chain(words.args.iter().filter_map(|word| word.split_once(':')));
    NodeSpec {
        id: words.node_id(words.args[0]),
        name: words.args[0].to_owned(),
        labels: labels.map(|(key, value)| (key.into(), value.into())).collect(),
        taints: taint
            .map(|(key, effect)| Taint {
                key: key.into(),
                value: String::new(),
                effect: named::<Effect>(effect),
            })
            .into_iter()
            .collect(),
        allocatable: resources(words, "8", 32, words.number("pods", 110) as u32),
        devices: sizes.enumerate().map(device).collect(),
        volume_limits: words
            .get("attach")
            .map(|n| ("csi".to_owned(), words.int(n) as u32))
            .into_iter()
            .collect(),
        ready: !words.has("notready"),
        unschedulable: words.has("cordoned"),
    }
}

/// A role, the `at`-th of its workload.
pub(super) fn role(words: &Words<'_>, at: usize) -> RoleSpec {
    let count = words.number("n", 1) as u32;
    let mut pod: PodSpec = words.get("pod").map(json).unwrap_or_default();
    pod.requests = resources(words, "0", 0, 0);
    let devices = words.number("devices", 1) as u32;
    let share = |text| GpuShare(words.scaled(text, 1_000_000));
    if let Some(whole) = words.get("gpus") {
        pod.gpu = GpuRequest::Whole(words.int(whole) as u32);
    } else if let Some(part) = words.get("share") {
        pod.gpu = GpuRequest::Share { share: share(part), devices, limit: words.get("limit").map(share) };
    } else if let Some(part) = words.get("mib") {
        let mib = |text| GpuMemoryMib(words.int(text));
        pod.gpu = GpuRequest::Memory { memory: mib(part), devices, limit: words.get("limit").map(mib) };
    }
    RoleSpec {
        name: format!("role{at}"),
        count,
        min: words.number("min", count.into()) as u32,
        labels: Arc::new(
            words.get("app").map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect(),
        ),
        pod: Arc::new(pod),
    }
}
