//! What pods ask for by annotation, as a template of claims: its name says all of it, so that whoever admits pods and whoever
//! keeps templates need not know of each other.

use super::Parameters;
use crate::names::driver;
use berth_model::{GpuRequest, GpuShare};
use serde_json::{Value, json};

/// The name of the claim of a pod that asks by annotation, among the pod's claims.
pub const CLAIM: &str = "berth-gpu";

/// The name of the template for a part of a device; none for whole devices, which annotations do not ask for.
pub fn template_name(gpu: GpuRequest) -> Option<String> {
    let name = |devices: u32, amount: i64, limit: Option<i64>, unit: &str| {
        let limit = limit.map(|limit| format!("-to-{limit}{unit}")).unwrap_or_default();
        Some(format!("{CLAIM}-{devices}x{amount}{unit}{limit}"))
    };
    match gpu {
        GpuRequest::None | GpuRequest::Whole(_) => None,
        GpuRequest::Memory { memory, devices, limit } => name(devices, memory.0, limit.map(|it| it.0), "mi"),
        GpuRequest::Share { share, devices, limit } => name(devices, share.0, limit.map(|it| it.0), "ppm"),
    }
}

/// The template itself, in a namespace.
pub fn template(namespace: &str, gpu: GpuRequest) -> Option<Value> {
    let name = template_name(gpu)?;
    let mut exactly =
        json!({ "deviceClassName": driver::NAME, "allocationMode": "ExactCount", "count": gpu.devices() });
    let mut parameters = Parameters::new();
    match gpu {
        GpuRequest::None | GpuRequest::Whole(_) => {}
        GpuRequest::Memory { memory, limit, .. } => {
            exactly["capacity"] = json!({ "requests": { driver::MEMORY: format!("{}Mi", memory.0) } });
            parameters.limit = limit.map(|limit| format!("{}Mi", limit.0));
        }
        GpuRequest::Share { share, limit, .. } => {
            parameters.fraction = Some(decimal(share));
            parameters.fraction_limit = limit.map(decimal);
        }
    }
    Some(json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app.kubernetes.io/managed-by": "berth" } },
        "spec": { "spec": { "devices": {
            "requests": [{ "name": "gpu", "exactly": exactly }],
            "config": [{ "opaque": { "driver": driver::NAME, "parameters": parameters } }],
        } } },
    }))
}

/// A share of a device with as many digits as it has.
fn decimal(share: GpuShare) -> String {
    if share >= GpuShare::DEVICE {
        return "1".to_owned();
    }
    format!("0.{:06}", share.0).trim_end_matches('0').to_owned()
}
