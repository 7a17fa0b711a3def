//! What a pod may ask for.

use crate::apply::{Applied, invalid};
use berth_model::{GpuRequest, GpuShare, PodSpec};

/// Checks the amounts that a pod of a workload asks for.
pub(crate) fn check_pod(name: &str, pod: &PodSpec) -> Applied {
    let requests = &pod.requests;
    let scalars =
        [("cpu", requests.cpu.0), ("memory", requests.memory.0), ("ephemeral", requests.ephemeral.0)];
    for (field, amount) in scalars.into_iter().chain(requests.extended.values().map(|n| ("extended", *n))) {
        if amount < 0 {
            return Err(invalid(name, field, amount, "0 or more"));
        }
    }
    if pod.gpu != GpuRequest::None && !(1..=64).contains(&pod.gpu.devices()) {
        return Err(invalid(name, "gpu devices", pod.gpu.devices(), "1 to 64"));
    }
    match pod.gpu {
        GpuRequest::Share { share, .. } if !(1..GpuShare::DEVICE.0).contains(&share.0) => {
            Err(invalid(name, "gpu share", share, "more than 0 and less than 1 device"))
        }
        GpuRequest::Share { share, limit: Some(limit), .. } if limit < share || limit > GpuShare::DEVICE => {
            Err(invalid(name, "gpu limit", limit, format!("from the request, {share}, to 1 device (S14)")))
        }
        GpuRequest::Memory { memory, .. } if !(1..=i64::from(u32::MAX)).contains(&memory.0) => {
            Err(invalid(name, "gpu memory", memory.0, "1 to 4,294,967,295 MiB"))
        }
        GpuRequest::Memory { memory, limit: Some(limit), .. } if limit < memory => Err(invalid(
            name,
            "gpu memory limit",
            limit.0,
            format!("at least the request, {} MiB (S14)", memory.0),
        )),
        _ => Ok(()),
    }
}
