//! What was allocated to a claim on this node.
//!
//! A claim asks for an amount of `memory` of each device; without one it has the whole device. Its limit (S14) is a parameter
//! of this driver, in the claim or in its DeviceClass, of which the last that fits counts:
//!
//! ```yaml
//! apiVersion: gpu.berth.dev/v1alpha1
//! kind: DeviceMemory
//! limit: 20Gi
//! ```
//!
//! Pure: objects in, values out. What is malformed is an error that names the claim, the field, the value and what is allowed.

use std::collections::BTreeMap;

use berth_api::{convert::Parameters, names::driver, quantity};
use k8s_openapi::{
    api::resource::v1::{DeviceAllocationResult, DeviceRequestAllocationResult, ResourceClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use serde::{Deserialize, Serialize};

use crate::agent::NodeState;

/// A part of a device that a request has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Grant {
    /// The request in the claim; `request/subrequest` where there were alternatives.
    pub(super) request: String,
    /// The device's name.
    pub(super) device: String,
    /// Which of several shares of the device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) share_id: Option<String>,
    /// NVML's name for the device.
    pub(super) uuid: String,
    /// The number of its device file.
    pub(super) minor: u32,
    /// What it has (S13).
    pub(super) request_mib: u64,
    /// What it may use (S14).
    pub(super) limit_mib: u64,
}

/// What a claim has on this node.
pub(super) fn grants(claim: &ResourceClaim, node: &str, state: &NodeState) -> Result<Vec<Grant>, String> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices =
        allocation.ok_or("status.allocation: is absent: nothing was allocated yet")?.devices.as_ref();
    let Some(devices) = devices else { return Ok(Vec::new()) };
    let ours =
        devices.results.iter().flatten().enumerate().filter(|(_, result)| result.driver == driver::NAME);
    let grants = ours.map(|(at, result)| {
        let under = |error: String| format!("status.allocation.devices.results[{at}].{error}");
        if result.pool != node {
            return Err(under(format!("pool: is {}, allowed on this node: {node}", result.pool)));
        }
        grant(result, state)
            .map_err(under)
            .and_then(|grant| Ok(Grant { limit_mib: limit(devices, &grant, state)?, ..grant }))
    });
    grants.collect()
}

fn grant(result: &DeviceRequestAllocationResult, state: &NodeState) -> Result<Grant, String> {
    let name = &result.device;
    let known =
        state.device(name).ok_or_else(|| format!("device: {name} is not on this node, or not known yet"))?;
    let info = &known.info;
    let uuid = info.uuid.known().cloned().ok_or_else(|| format!("device: {name} does not say its uuid"))?;
    let minor = info.minor.known().copied();
    let minor = minor.ok_or_else(|| format!("device: {name} does not say which device file it has"))?;
    let consumed = result.consumed_capacity.as_ref().and_then(|all| all.get(driver::MEMORY));
    let request_mib = match consumed {
        None => known.grantable_mib,
        Some(Quantity(text)) => mib("consumedCapacity[memory]", text, 1, known.grantable_mib)?,
    };
    Ok(Grant {
        request: result.request.clone(),
        device: name.clone(),
        share_id: result.share_id.clone(),
        uuid,
        minor,
        request_mib,
        limit_mib: request_mib,
    })
}

/// The limit of what was granted: the last that the parameters state for its request.
fn limit(devices: &DeviceAllocationResult, grant: &Grant, state: &NodeState) -> Result<u64, String> {
    let main = grant.request.split('/').next().unwrap_or_default();
    let mut limit = grant.request_mib;
    let most = state.device(&grant.device).map_or(grant.request_mib, |device| device.grantable_mib);
    for (at, config) in devices.config.iter().flatten().enumerate() {
        let for_it = config.requests.as_ref().is_none_or(|requests| {
            requests.is_empty() || requests.iter().any(|name| *name == grant.request || name == main)
        });
        let Some(opaque) = config.opaque.as_ref().filter(|opaque| for_it && opaque.driver == driver::NAME)
        else {
            continue;
        };
        let field = format!("status.allocation.devices.config[{at}].opaque.parameters");
        let parameters: Parameters = serde_json::from_value(opaque.parameters.0.clone())
            .map_err(|error| format!("{field}: {error}"))?;
        for (name, found, allowed) in [
            ("apiVersion", &parameters.api_version, driver::PARAMETERS_VERSION),
            ("kind", &parameters.kind, driver::PARAMETERS_KIND),
        ] {
            if found != allowed {
                return Err(format!("{field}.{name}: is {found}, allowed: {allowed}"));
            }
        }
        if let Some(text) = &parameters.limit {
            limit = mib(&format!("{field}.limit"), text, grant.request_mib, most)?;
        }
    }
    Ok(limit)
}

/// A quantity of bytes in MiB, rounded up.
fn mib(field: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let bytes = quantity::rounded_up(text, 1).ok().and_then(|bytes| u64::try_from(bytes).ok());
    let mib = bytes.map(|bytes| bytes.div_ceil(1 << 20)).filter(|mib| (least..=most).contains(mib));
    mib.ok_or_else(|| format!("{field}: is {text}, allowed: {least}Mi to {most}Mi"))
}

/// Grants by request, each under one name for CDI.
pub(super) fn by_request(grants: &[Grant]) -> BTreeMap<String, Vec<&Grant>> {
    let mut all: BTreeMap<String, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        // Names of requests have no points; CDI's have no slashes.
        all.entry(grant.request.replace('/', ".")).or_default().push(grant);
    }
    all
}

#[cfg(test)]
mod tests;
