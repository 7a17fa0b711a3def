//! ResourceClaims of Berth's own driver -> what a pod asks for of GPUs (S13, S14), and what it was given (S33).
//!
//! A pod has one such claim: so many devices, whole, or so much memory or such a share of each, of all devices or of those that
//! selectors mean ([`Selection`]). Several requests are understood if they ask for the same of devices: their numbers add up.
//! Whatever else a claim may say (alternatives, constraints, tolerations, claims that several pods share, other drivers) is not
//! understood yet, and a pod that waits with it is told so; nothing is guessed.
//!
//! A share is said by parameters of the driver and not by an amount, which depends on the device (S13). Such a claim names no
//! amount, so that whoever does not know the parameters gives it the whole device and not too little.

use super::{Selection, Surroundings};
use crate::asked;
use crate::error::{Bad, Malformed};
use crate::names::{driver, node::SELECTED};
use crate::quantity;
use crate::slim::{self, DeviceConfig, DeviceRequest, ExactRequest, ResourceClaim, named};
use berth_model::{GpuMemoryMib, GpuRequest, GpuShare};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

/// The most devices of one node.
const DEVICES_MAX: i64 = 64;

/// The driver's parameters, in a claim, a class, or an allocation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// [`driver::PARAMETERS_VERSION`].
    pub api_version: String,
    /// [`driver::PARAMETERS_KIND`].
    pub kind: String,
    /// The most memory that may be used of each device (S14), a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// A share of each device, in place of an amount; only in claims and classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<String>,
    /// The most that may be used of each device, as a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction_limit: Option<String>,
}

impl Parameters {
    /// Parameters that say nothing.
    pub fn new() -> Self {
        Self {
            api_version: driver::PARAMETERS_VERSION.to_owned(),
            kind: driver::PARAMETERS_KIND.to_owned(),
            ..Self::default()
        }
    }
}

/// The claim of Berth's driver that a pod has.
#[derive(Clone, Debug)]
pub struct Claimed<'a> {
    /// The claim.
    pub claim: &'a ResourceClaim,
    /// The names of its requests, and how many of the devices are for each.
    pub requests: Vec<(&'a str, u32)>,
    /// What it asks for.
    pub gpu: GpuRequest,
    /// Of which devices.
    pub selection: Selection,
}

/// Names of the claims of a pod that exist, as far as is known: those that are made from templates have names once they are.
pub(super) fn claim_names(pod: &slim::Pod) -> Vec<String> {
    pod.spec.resource_claims.iter().filter_map(|used| claim_name(pod, used)).collect()
}

fn claim_name(pod: &slim::Pod, used: &slim::ResourceClaimUse) -> Option<String> {
    let made = || {
        let all = &pod.status.resource_claim_statuses;
        all.iter().find(|made| made.name == used.name)?.resource_claim_name.clone()
    };
    used.resource_claim_name.clone().or_else(made)
}

/// The claim of Berth's driver that a pod has, if it has one.
///
/// # Errors
/// It has claims that are not understood, or do not exist.
pub fn claimed<'a>(pod: &slim::Pod, around: &'a impl Surroundings) -> Result<Option<Claimed<'a>>, Malformed> {
    read(pod, around).map_err(|bad| bad.of(named(pod)))
}

/// The devices that the claim of a pod means, if it is understood, also where it cannot be told of some devices.
pub fn selection(pod: &slim::Pod, around: &impl Surroundings) -> Selection {
    let [used] = &pod.spec.resource_claims[..] else { return Selection::default() };
    let claim = find(pod, used, around).and_then(|claim| understand(claim, around));
    claim.map(|found| found.selection).unwrap_or_default()
}

pub(super) fn read<'a>(pod: &slim::Pod, around: &'a impl Surroundings) -> Result<Option<Claimed<'a>>, Bad> {
    let asked = asked::gpu(pod)?;
    let [used] = &pod.spec.resource_claims[..] else {
        let names: Vec<_> = pod.spec.resource_claims.iter().map(|used| used.name.as_str()).collect();
        return match asked {
            _ if !names.is_empty() => {
                Err(Bad::new("spec.resourceClaims", names.join(", "), "one claim, of gpu.berth.dev"))
            }
            // Without a claim the kubelet would give it no device at all.
            Some(_) if pod.spec.node_name.is_none() => Err(Bad::new("spec.resourceClaims", "", UNCLAIMED)),
            _ => Ok(None),
        };
    };
    let field = format!("spec.resourceClaims[{}]", used.name);
    let claim = find(pod, used, around).map_err(|bad| bad.under(&field))?;
    let found = understand(claim, around).and_then(|found| decided(found, around));
    let found = found.map_err(|bad| bad.under(format!("{field}.{}", named(claim))))?;
    match asked {
        Some(asked) if asked != found.gpu => Err(Bad::new(
            field,
            format!("{:?}", found.gpu),
            format!("what the annotations ask for: {asked:?}"),
        )),
        _ => Ok(Some(found)),
    }
}

/// What is wrong with a pod that asks by annotation and has no claim.
const UNCLAIMED: &str = "a claim for what its annotations ask for, which Berth's webhook adds when a pod is made: install it \
                         (docs/SCHEDULER.md), and make the pod anew";

fn find<'a>(
    pod: &slim::Pod,
    used: &slim::ResourceClaimUse,
    around: &'a impl Surroundings,
) -> Result<&'a ResourceClaim, Bad> {
    let template = used.resource_claim_template_name.as_deref();
    let Some(name) = claim_name(pod, used) else {
        let allowed = "a template from which a claim was made for the pod; none was yet";
        return Err(Bad::new("resourceClaimTemplateName", template.unwrap_or_default(), allowed));
    };
    let Some(claim) = around.device_claim(pod.namespace(), &name) else {
        return Err(Bad::new("resourceClaimName", name, "a ResourceClaim that exists"));
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let owners = claim.metadata.owner_references.iter().flatten();
    if template.is_some() && !owners.into_iter().any(|owner| owner.uid == uid) {
        return Err(Bad::new("resourceClaimName", name, "a claim that was made for this pod"));
    }
    let other = claim.status.reserved_for.iter().find(|user| user.uid != uid);
    if let Some(other) = other.filter(|_| pod.spec.node_name.is_none()) {
        let value = format!("{name}, used by {} {}", other.resource, other.name);
        return Err(Bad::new(
            "resourceClaimName",
            value,
            "a claim that nobody else uses: pods cannot share one yet",
        ));
    }
    Ok(claim)
}

/// A selector that fails on a device aborts the allocation, as Kubernetes has it.
fn decided<'a>(found: Claimed<'a>, around: &impl Surroundings) -> Result<Claimed<'a>, Bad> {
    let label = found.selection.label();
    match label.as_deref().and_then(|label| around.selection_fails(label)) {
        Some(why) => {
            let allowed = format!("selectors that can be evaluated for every device; {why}");
            Err(Bad::new("selectors", label.unwrap_or_default().trim_start_matches(SELECTED), allowed))
        }
        None => Ok(found),
    }
}

fn understand<'a>(claim: &'a ResourceClaim, around: &'a impl Surroundings) -> Result<Claimed<'a>, Bad> {
    let asked = &claim.spec.devices;
    if !asked.constraints.is_empty() {
        let found = format!("{} of them", asked.constraints.len());
        return Err(Bad::new("spec.devices.constraints", found, "none yet"));
    }
    let each = asked.requests.iter().map(|request| understand_request(claim, request, around));
    let mut each = each.collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut all = each.next().ok_or_else(|| Bad::new("spec.devices.requests", "none", "one or more"))?;
    for next in each {
        let devices = all.gpu.devices() + next.gpu.devices();
        if all.gpu.with_devices(1) != next.gpu.with_devices(1) || all.selection != next.selection {
            let names: Vec<_> = asked.requests.iter().map(|request| request.name.as_str()).collect();
            let allowed = "requests that ask for the same amount of devices of the same class and selectors";
            return Err(Bad::new("spec.devices.requests", names.join(", "), allowed));
        }
        if i64::from(devices) > DEVICES_MAX {
            return Err(Bad::new("spec.devices.requests", format!("{devices} devices"), "1 to 64"));
        }
        all.gpu = all.gpu.with_devices(devices);
        all.requests.extend(next.requests);
    }
    Ok(all)
}

fn understand_request<'a>(
    claim: &'a ResourceClaim,
    request: &'a DeviceRequest,
    around: &'a impl Surroundings,
) -> Result<Claimed<'a>, Bad> {
    let field = format!("spec.devices.requests[{}]", request.name);
    let Some(exactly) = &request.exactly else {
        return Err(Bad::new(format!("{field}.firstAvailable"), "alternatives", "none yet: `exactly`"));
    };
    let name = exactly.device_class_name.as_str();
    let class = around.device_class(name).ok_or_else(|| {
        Bad::new(format!("{field}.exactly.deviceClassName"), name, "the name of a DeviceClass that exists")
    })?;
    plain(exactly).map_err(|bad| bad.under(format!("{field}.exactly")))?;
    let selection = Selection::read(&class.spec.selectors, &exactly.selectors, around);
    let selection = selection.map_err(|bad| bad.under(&field))?;
    let config = class.spec.config.iter().chain(&claim.spec.devices.config);
    let parameters = parameters(&request.name, config)?;
    let gpu = gpu(exactly, &parameters).map_err(|bad| bad.under(field))?;
    Ok(Claimed { claim, requests: vec![(&request.name, gpu.devices())], gpu, selection })
}

/// What is not understood yet.
fn plain(exactly: &ExactRequest) -> Result<(), Bad> {
    let many = |what: &str, list: &[serde_json::Value]| match list.len() {
        0 => Ok(()),
        n => Err(Bad::new(what, format!("{n} of them"), "none yet")),
    };
    many("tolerations", &exactly.tolerations)?;
    match exactly.allocation_mode.as_deref() {
        None | Some("" | "ExactCount") => {}
        Some(other) => return Err(Bad::new("allocationMode", other, "ExactCount")),
    }
    if exactly.admin_access == Some(true) {
        return Err(Bad::new("adminAccess", "true", "false"));
    }
    let amounts = exactly.capacity.iter().flat_map(|capacity| capacity.requests.keys());
    match amounts.into_iter().find(|name| *name != driver::MEMORY) {
        Some(other) => Err(Bad::new("capacity.requests", other, driver::MEMORY)),
        None => Ok(()),
    }
}

/// What is said by the last parameters that are for a request.
fn parameters<'a>(request: &str, config: impl Iterator<Item = &'a DeviceConfig>) -> Result<Parameters, Bad> {
    let mut all = Parameters::new();
    for config in config {
        let for_it = config.requests.is_empty() || config.requests.iter().any(|name| name == request);
        let Some(opaque) = config.opaque.as_ref().filter(|it| for_it && it.driver == driver::NAME) else {
            continue;
        };
        let field = "spec.devices.config.opaque.parameters";
        let found: Parameters = serde_json::from_value(opaque.parameters.clone())
            .map_err(|error| Bad::new(field, error, "apiVersion, kind, limit, fraction, fractionLimit"))?;
        if (&*found.api_version, &*found.kind) != (driver::PARAMETERS_VERSION, driver::PARAMETERS_KIND) {
            let allowed = format!("{} {}", driver::PARAMETERS_VERSION, driver::PARAMETERS_KIND);
            return Err(Bad::new(field, format!("{} {}", found.api_version, found.kind), allowed));
        }
        all.limit = found.limit.or(all.limit);
        all.fraction = found.fraction.or(all.fraction);
        all.fraction_limit = found.fraction_limit.or(all.fraction_limit);
    }
    Ok(all)
}

fn gpu(exactly: &ExactRequest, parameters: &Parameters) -> Result<GpuRequest, Bad> {
    let count = exactly.count.unwrap_or(1);
    let devices = u32::try_from(count).ok().filter(|_| (1..=DEVICES_MAX).contains(&count));
    let devices = devices.ok_or_else(|| Bad::new("exactly.count", count, "1 to 64"))?;
    let amount = exactly.capacity.as_ref().and_then(|capacity| capacity.requests.get(driver::MEMORY));
    match (amount, &parameters.fraction) {
        (Some(Quantity(amount)), Some(_)) => {
            Err(Bad::new("exactly.capacity.requests[memory]", amount, "none beside the parameter `fraction`"))
        }
        (Some(Quantity(amount)), None) => {
            let memory = mib("exactly.capacity.requests[memory]", amount)?;
            let limit = parameters.limit.as_deref().map(|text| mib("limit", text)).transpose()?;
            at_least("limit", limit, memory)?;
            Ok(GpuRequest::Memory { memory, devices, limit })
        }
        (None, Some(text)) => {
            let share = quantity::fraction(text).map_err(|allowed| Bad::new("fraction", text, allowed))?;
            let limit = parameters.fraction_limit.as_deref().map(|text| {
                let limit = quantity::devices(text).ok().filter(|limit| *limit <= GpuShare::DEVICE);
                limit.ok_or_else(|| Bad::new("fractionLimit", text, "from the fraction to 1"))
            });
            let limit = limit.transpose()?;
            at_least("fractionLimit", limit, share)?;
            Ok(GpuRequest::Share { share, devices, limit })
        }
        (None, None) => Ok(GpuRequest::Whole(devices)),
    }
}

fn at_least<T: Ord + std::fmt::Display>(field: &str, limit: Option<T>, request: T) -> Result<(), Bad> {
    match limit {
        Some(limit) if limit < request => {
            Err(Bad::new(field, limit, format!("the request {request} or more")))
        }
        _ => Ok(()),
    }
}

/// Memory of a device in MiB; a part of a MiB is asked for as a whole one.
fn mib(field: &str, text: &str) -> Result<GpuMemoryMib, Bad> {
    let bytes = quantity::rounded_up(text, 1).ok().filter(|bytes| *bytes > 0);
    let mib = bytes.map(|bytes| (bytes - 1) / (1 << 20) + 1).filter(|mib| *mib <= i64::from(u32::MAX));
    mib.map(GpuMemoryMib).ok_or_else(|| Bad::new(field, text, "memory of one device, more than 0"))
}

/// What a claim was given of one device of Berth's driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The pool, which is called as its node.
    pub node: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// How much of it; none = all.
    pub memory: Option<GpuMemoryMib>,
    /// The most that may be used of it; none = that.
    pub limit: Option<GpuMemoryMib>,
}

/// What a claim was given of devices of Berth's driver. What cannot be read is taken for a whole device.
pub fn parts(claim: &ResourceClaim) -> Vec<Part<'_>> {
    let Some(allocation) = &claim.status.allocation else { return Vec::new() };
    let ours = allocation.devices.results.iter().filter(|result| result.driver == driver::NAME);
    ours.map(|result| part(result, &allocation.devices.config)).collect()
}

fn part<'a>(result: &'a slim::AllocatedDevice, config: &[DeviceConfig]) -> Part<'a> {
    let consumed = result.consumed_capacity.get(driver::MEMORY);
    let said = parameters(&result.request, config.iter()).ok();
    Part {
        node: &result.pool,
        device: &result.device,
        memory: consumed.and_then(|Quantity(text)| mib("consumedCapacity", text).ok()),
        limit: said.and_then(|said| mib("limit", &said.limit?).ok()),
    }
}
