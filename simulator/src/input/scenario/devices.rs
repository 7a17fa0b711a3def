//! Devices of the pods that run at the start: those that are stated, and any free ones for the others.

use crate::case::{Arrival, FoundState};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{
    DeviceIndex, DeviceMask, DeviceSpec, GpuGrant, GpuMemoryMib, GpuRequest, GpuShare, NodeSpec, PodId,
};

/// What is left of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Free,
    Shared(GpuMemoryMib),
    Taken,
}

/// What is left of the devices, by node and device.
struct Book<'a> {
    nodes: &'a [NodeSpec],
    left: Vec<Vec<Left>>,
}

/// Gives every pod that runs at the start its devices.
///
/// Stated devices are taken first, so that a pod without stated ones gets none that another states.
pub(super) fn assign(
    top: &Fields<'_>,
    nodes: &[NodeSpec],
    arrivals: &mut [Arrival],
) -> Result<(), InputError> {
    let mut book =
        Book { nodes, left: nodes.iter().map(|node| vec![Left::Free; node.devices.len()]).collect() };
    for stated_only in [true, false] {
        for (arrival, at) in arrivals.iter_mut().zip(top.items("workloads")?) {
            if !arrival.found.is_empty() {
                assign_workload(&at, arrival, stated_only, &mut book)?;
            }
        }
    }
    Ok(())
}

fn assign_workload(
    at: &At<'_>,
    arrival: &mut Arrival,
    stated_only: bool,
    book: &mut Book<'_>,
) -> Result<(), InputError> {
    let roles = at.entries()?.into_iter().find(|(key, _)| *key == "roles");
    let roles = roles.map_or(Ok(Vec::new()), |(_, at)| at.list())?;
    for found in &mut arrival.found {
        let FoundState::Running { node, gpus, .. } = &mut found.state else { continue };
        let PodId { role, index, .. } = found.pod;
        let running = roles[usize::from(role)].entries()?.into_iter().find(|(key, _)| *key == "running");
        let Some((_, running)) = running else { continue };
        let at = running.list()?.swap_remove(index as usize);
        let entries = at.entries()?;
        let stated = entries.iter().find(|(key, value)| *key == "devices" && !value.is_null());
        if stated.is_some() != stated_only {
            continue;
        }
        let request = arrival.spec.roles[usize::from(role)].pod.gpu;
        *gpus = match stated {
            Some((_, at)) => book.take_stated(node.index(), request, at)?,
            None => book.take_any(node.index(), request, &at)?,
        };
    }
    Ok(())
}

impl Book<'_> {
    fn take_stated(&mut self, node: usize, request: GpuRequest, at: &At<'_>) -> Result<GpuGrant, InputError> {
        let count = self.left[node].len();
        let mut devices = DeviceMask::default();
        for at in at.list()? {
            let device = match count {
                0 => return Err(at.fail("nothing, as the node has no devices")),
                _ => at.integer(0, count - 1)?,
            };
            let index = DeviceIndex(device as u8);
            if devices.contains(index) {
                return Err(at.fail("each device once"));
            }
            if !self.fits(node, device, request) {
                return Err(at.fail("a device on which the pod fits beside the others"));
            }
            devices = devices.with(index);
        }
        if devices.count() != request.devices() {
            return Err(at.fail(format_args!("as many devices as the pod asks for, {}", request.devices())));
        }
        Ok(self.take(node, request, devices))
    }

    fn take_any(&mut self, node: usize, request: GpuRequest, at: &At<'_>) -> Result<GpuGrant, InputError> {
        let mut fitting: Vec<usize> =
            (0..self.left[node].len()).filter(|device| self.fits(node, *device, request)).collect();
        // Shared devices first, the fullest first (S15).
        fitting.sort_by_key(|device| match self.left[node][*device] {
            Left::Shared(left) => (0, left, *device),
            _ => (1, GpuMemoryMib::ZERO, *device),
        });
        let devices: DeviceMask = fitting
            .iter()
            .take(request.devices() as usize)
            .map(|device| DeviceIndex(*device as u8))
            .collect();
        if devices.count() != request.devices() {
            let name = &self.nodes[node].name;
            return Err(at.problem(format_args!(
                "asks for {} devices of node {name}, of which {} have room",
                request.devices(),
                devices.count()
            )));
        }
        Ok(self.take(node, request, devices))
    }

    fn fits(&self, node: usize, device: usize, request: GpuRequest) -> bool {
        let spec = &self.nodes[node].devices[device];
        match self.left[node][device] {
            Left::Taken => false,
            Left::Free => !request.is_fraction() || each(request, spec) <= spec.memory,
            Left::Shared(left) => request.is_fraction() && each(request, spec) <= left,
        }
    }

    fn take(&mut self, node: usize, request: GpuRequest, devices: DeviceMask) -> GpuGrant {
        for device in devices.iter() {
            let spec = &self.nodes[node].devices[usize::from(device.0)];
            let left = &mut self.left[node][usize::from(device.0)];
            *left = match *left {
                _ if !request.is_fraction() => Left::Taken,
                Left::Shared(left) => Left::Shared(left - each(request, spec)),
                _ => Left::Shared(spec.memory - each(request, spec)),
            };
        }
        match devices.iter().next() {
            Some(first) if request.is_fraction() => {
                let spec = &self.nodes[node].devices[usize::from(first.0)];
                GpuGrant::Shared { devices, each: each(request, spec), limit: limit(request, spec) }
            }
            Some(_) => GpuGrant::Whole(devices),
            None => GpuGrant::None,
        }
    }
}

/// The memory of a share of a device: rounded down, at least 1 MiB (S13).
fn memory_of(share: GpuShare, device: &DeviceSpec) -> GpuMemoryMib {
    let mib = i128::from(device.memory.0) * i128::from(share.0) / i128::from(GpuShare::DEVICE.0);
    GpuMemoryMib((mib as i64).max(1))
}

fn each(request: GpuRequest, device: &DeviceSpec) -> GpuMemoryMib {
    match request {
        GpuRequest::Share { share, .. } => memory_of(share, device),
        GpuRequest::Memory { memory, .. } => memory,
        GpuRequest::None | GpuRequest::Whole(_) => device.memory,
    }
}

fn limit(request: GpuRequest, device: &DeviceSpec) -> GpuMemoryMib {
    match request {
        GpuRequest::Share { limit: Some(limit), .. } => memory_of(limit, device),
        GpuRequest::Memory { limit: Some(limit), .. } => limit,
        _ => each(request, device),
    }
}
