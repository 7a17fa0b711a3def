//! What is known -> what must be said, given what was said before.
//!
//! Some things are told at once: other devices, health, foreign memory that moves by [`FOREIGN_STEP`] MiB, pods that come and
//! go. What moves all the time, the memory of pods that run, is told every [`super::REST_EACH`] with all the rest, so that what
//! ten thousand nodes say costs the scheduler little.

use std::collections::BTreeMap;

use super::wire::{self, DeviceState as WireDevice, Health, Pod, PodMemory, Snapshot, Update};
use crate::{
    Bytes,
    agent::{DeviceName, DeviceState, Fitness, NodeState},
    proc::cgroup::PodUid,
};

/// Foreign memory that moves by so many MiB is told at once.
const FOREIGN_STEP: u64 = 64;

/// What was said in one stream.
#[derive(Debug)]
pub(crate) struct Encoder {
    node: String,
    sequence: u64,
    devices: Vec<DeviceName>,
    said: Vec<(Health, Option<u64>)>,
    pods: BTreeMap<PodUid, Said>,
    next_pod: u32,
}

/// A pod's number, and MiB by device.
#[derive(Debug, Default)]
struct Said {
    number: u32,
    memory: BTreeMap<u32, u64>,
}

impl Encoder {
    /// Nothing was said yet.
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            sequence: 0,
            devices: Vec::new(),
            said: Vec::new(),
            pods: BTreeMap::new(),
            next_pod: 0,
        }
    }

    /// The next update, or none if nothing is different. The first is a snapshot, and so is each in which the devices are
    /// others.
    pub(crate) fn update(&mut self, state: &NodeState) -> Option<Update> {
        let mut update = Update::default();
        if self.is_new(state) {
            self.begin(state, &mut update);
        }
        self.tell_devices(state, &mut update);
        self.tell_pods(state, &mut update);
        let silent = update.snapshot.is_none()
            && update.devices.is_empty()
            && update.memory.is_empty()
            && update.gone.is_empty();
        (!silent).then(|| self.number(update))
    }

    /// Whether something must be told at once.
    pub(crate) fn is_urgent(&self, state: &NodeState) -> bool {
        let shares = || state.devices.iter().filter_map(|device| device.shares.as_ref());
        let device_moved = |(device, said): (&DeviceState, &(Health, Option<u64>))| {
            let moved = foreign_mib(device)
                .is_some_and(|now| said.1.is_none_or(|said| now.abs_diff(said) >= FOREIGN_STEP));
            health(device) != said.0 || moved
        };
        self.is_new(state)
            || state.devices.iter().zip(&self.said).any(device_moved)
            || shares().flat_map(|it| it.pods.keys()).any(|uid| !self.pods.contains_key(uid))
            || (state.devices.iter().all(|device| device.shares.is_some())
                && self.pods.keys().any(|uid| !shares().any(|it| it.pods.contains_key(uid))))
    }

    /// Whether nothing was said yet, or of other devices.
    fn is_new(&self, state: &NodeState) -> bool {
        self.sequence == 0 || !state.devices.iter().map(|device| &device.name).eq(&self.devices)
    }

    /// An update that says only that the agent lives.
    pub(crate) fn heartbeat(&mut self) -> Update {
        self.number(Update::default())
    }

    fn number(&mut self, mut update: Update) -> Update {
        self.sequence += 1;
        update.sequence = self.sequence;
        update
    }

    fn begin(&mut self, state: &NodeState, update: &mut Update) {
        self.devices = state.devices.iter().map(|device| device.name.clone()).collect();
        self.said = vec![(Health::Unspecified, None); self.devices.len()];
        self.pods.clear();
        self.next_pod = 0;
        let devices = self.devices.iter().map(|name| name.as_str().to_owned()).collect();
        update.snapshot = Some(Snapshot { node: self.node.clone(), devices });
    }

    fn tell_devices(&mut self, state: &NodeState, update: &mut Update) {
        for (number, (device, said)) in (0..).zip(state.devices.iter().zip(&mut self.said)) {
            let foreign_mib = foreign_mib(device);
            // What is not known now stands as it was said.
            let now = (health(device), foreign_mib.or(said.1));
            if *said != now {
                *said = now;
                let health = now.0.into();
                update.devices.push(WireDevice { device: number, health, foreign_mib });
            }
        }
    }

    fn tell_pods(&mut self, state: &NodeState, update: &mut Update) {
        let mut now: BTreeMap<PodUid, BTreeMap<u32, u64>> = BTreeMap::new();
        let mut add = |uid: &PodUid, device, mib| now.entry(uid.clone()).or_default().insert(device, mib);
        for (number, device) in (0..).zip(&state.devices) {
            if let Some(shares) = &device.shares {
                for (uid, bytes) in &shares.pods {
                    add(uid, number, bytes.mib_up());
                }
                continue;
            }
            // Of a device that cannot be reached nothing is known: what was said stands.
            for (uid, said) in &self.pods {
                if let Some(mib) = said.memory.get(&number) {
                    add(uid, number, *mib);
                }
            }
        }
        self.pods.retain(|uid, said| {
            let stays = now.contains_key(uid);
            if !stays {
                update.gone.push(said.number);
            }
            stays
        });
        for (uid, memory) in now {
            let next = &mut self.next_pod;
            let said = self.pods.entry(uid).or_insert_with_key(|uid| {
                *next += 1;
                update.pods.push(Pod { number: *next, uid: uid.as_str().to_owned() });
                Said { number: *next, memory: BTreeMap::new() }
            });
            let ended =
                said.memory.keys().filter(|device| !memory.contains_key(device)).map(|device| (*device, 0));
            let changed = memory.iter().filter(|(device, mib)| said.memory.get(device) != Some(mib));
            let told = ended.chain(changed.map(|(device, mib)| (*device, *mib)));
            let number = said.number;
            update.memory.extend(told.map(|(device, mib)| PodMemory { pod: number, device, mib }));
            said.memory = memory;
        }
    }
}

/// Foreign memory in MiB, as far as it is known.
fn foreign_mib(device: &DeviceState) -> Option<u64> {
    device.shares.as_ref()?.foreign.map(Bytes::mib_up)
}

fn health(device: &DeviceState) -> Health {
    match device.fitness {
        Fitness::Healthy => wire::Health::Healthy,
        Fitness::Unhealthy(_) => wire::Health::Unhealthy,
        Fitness::Lost => wire::Health::Lost,
    }
}

#[cfg(test)]
mod tests;
