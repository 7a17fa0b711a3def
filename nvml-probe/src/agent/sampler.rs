//! One tick after the other: reads NVML, and says what is known.
//!
//! Each tick takes a sample and the events; every [`HEALTH_EACH`] ticks the counters are read, and the inventory when a
//! session has begun, a device has come back, or [`INVENTORY_EACH`] ticks have passed. Devices are known by uuid: an
//! index means a device only within one session. A device that was there and is not any more stays, as lost, until the
//! agent ends: its pods may still hold it, and a number of devices that changes by itself helps nobody.
//!
//! Cost: a tick allocates for the sample and one state; processes are looked up in a table (`whose`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    Bytes, Config, DeviceHealth, DeviceInfo, DeviceSample, Down, Driver, Probe, Reading,
    agent::{
        DeviceName, DeviceState, DriverState, Faults, Fitness, NodeState, Owners, PodIndex,
        fitness::APPLICATION_XIDS,
    },
    proc::ProcFs,
};

/// Ticks between two readings of the counters.
const HEALTH_EACH: u64 = 5;
/// Ticks between two readings of the inventory while nothing happens.
const INVENTORY_EACH: u64 = 300;

/// What the sampler is made with.
#[derive(Clone, Debug)]
pub struct SamplerSettings {
    /// Where NVML is.
    pub probe: Config,
    /// The host's `/proc`.
    pub proc_root: PathBuf,
    /// Where faults are kept over a restart of the agent.
    pub faults: Option<PathBuf>,
    /// XIDs that say nothing about the device (S18).
    pub ignored_xids: Vec<u64>,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            probe: Config::default(),
            proc_root: PathBuf::from("/proc"),
            faults: None,
            ignored_xids: APPLICATION_XIDS.to_vec(),
        }
    }
}

/// What reads a node's devices over time.
#[derive(Debug)]
pub struct Sampler {
    probe: Probe,
    owners: Owners,
    faults: Faults,
    tick: u64,
    /// The devices by name, and how the session's indices name them.
    known: BTreeMap<DeviceName, Known>,
    names: Vec<Option<DeviceName>>,
    session: Option<u64>,
    driver: Option<Arc<Driver>>,
    was_down: bool,
}

#[derive(Debug)]
struct Known {
    info: Arc<DeviceInfo>,
    grantable_mib: u64,
    reserved_mib: u64,
    health: Option<Arc<DeviceHealth>>,
    last_xid: Option<u64>,
    lost: bool,
}

impl Sampler {
    /// A sampler that has read nothing yet.
    pub fn new(settings: SamplerSettings) -> Self {
        // Without it, what was kept counts: rather a fault too many than one forgotten.
        let boot = std::fs::read_to_string(settings.proc_root.join("sys/kernel/random/boot_id"));
        let boot = boot.map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            probe: Probe::new(settings.probe),
            owners: Owners::new(ProcFs::new(settings.proc_root)),
            faults: Faults::open(settings.faults, boot, settings.ignored_xids),
            tick: 0,
            known: BTreeMap::new(),
            names: Vec::new(),
            session: None,
            driver: None,
            was_down: false,
        }
    }

    /// Reads once.
    pub fn tick(&mut self, pods: &Arc<PodIndex>) -> NodeState {
        self.tick += 1;
        self.owners.begin();
        let (driver, devices) = match self.read(pods) {
            Ok(devices) => {
                self.was_down = false;
                (self.driver.clone().map_or(DriverState::Starting, DriverState::Up), devices)
            }
            Err(down) => {
                (self.session, self.was_down) = (None, true);
                (DriverState::Down(down), self.known.iter().map(|(name, known)| known.lost(name)).collect())
            }
        };
        if let Err(error) = self.faults.keep() {
            tracing::warn!(%error, "faults of devices are not kept");
        }
        NodeState { tick: self.tick, driver, devices, pods: Arc::clone(pods) }
    }

    fn read(&mut self, pods: &PodIndex) -> Result<Vec<DeviceState>, Down> {
        let sample = self.probe.sample()?;
        let came_back = |device: &DeviceSample| {
            let name = self.name(device.index);
            !device.is_lost() && name.is_none_or(|name| self.known.get(name).is_some_and(|known| known.lost))
        };
        if self.session != Some(sample.session)
            || self.tick.is_multiple_of(INVENTORY_EACH)
            || sample.devices.iter().any(came_back)
        {
            self.take_inventory(sample.session)?;
        }
        self.take_events()?;
        if self.tick % HEALTH_EACH == 1
            || self.known.values().any(|known| known.health.is_none() && !known.lost)
        {
            self.take_health()?;
        }
        let mut by_name = BTreeMap::new();
        for device in sample.devices {
            if let Some(name) = self.name(device.index) {
                by_name.insert(name.clone(), device);
            }
        }
        let Self { known, owners, faults, .. } = self;
        Ok(known
            .iter_mut()
            .map(|(name, known)| {
                let sample = by_name.remove(name).filter(|sample| !sample.is_lost());
                let Some(sample) = sample else {
                    known.lost = true;
                    return known.lost(name);
                };
                if std::mem::take(&mut known.lost) {
                    faults.clear(name);
                }
                let fitness = faults.fitness(name, known.health.as_deref());
                let shares = owners.divide(name, &sample, pods);
                DeviceState { sample: Some(sample), shares: Some(shares), fitness, ..known.lost(name) }
            })
            .collect())
    }

    /// Which devices there are, in a session that is new or in which something changed.
    fn take_inventory(&mut self, session: u64) -> Result<(), Down> {
        let inventory = self.probe.inventory()?;
        if self.was_down {
            // The driver was loaded anew, and has reset the devices.
            self.faults.clear_all();
        }
        self.session = Some(inventory.session).filter(|now| *now == session);
        self.driver = Some(Arc::new(inventory.driver));
        // A device that does not say what it is cannot be given to anybody.
        self.names = inventory
            .devices
            .iter()
            .map(|info| info.uuid.known().map(|uuid| DeviceName::of_uuid(uuid)))
            .collect();
        for (info, name) in inventory.devices.into_iter().zip(&self.names) {
            let (Some(name), Some(memory)) = (name, info.memory.known().copied()) else { continue };
            let info = Arc::new(info);
            let known = self.known.entry(name.clone()).or_insert_with(|| Known {
                info: Arc::clone(&info),
                grantable_mib: Bytes(memory.total.0.saturating_sub(memory.reserved.0)).mib(),
                reserved_mib: memory.reserved.mib_up(),
                health: None,
                last_xid: None,
                lost: false,
            });
            known.info = info;
        }
        Ok(())
    }

    /// The device with this index in the session.
    fn name(&self, index: u32) -> Option<&DeviceName> {
        self.names.get(index as usize)?.as_ref()
    }

    fn take_events(&mut self) -> Result<(), Down> {
        for event in self.probe.events()? {
            let Some(name) = event.index.and_then(|index| self.name(index)).cloned() else {
                tracing::warn!(?event, "an event of a device that is not known");
                continue;
            };
            if event.kind == Some(crate::EventKind::Xid)
                && let Some(known) = self.known.get_mut(&name)
            {
                known.last_xid = Some(event.data);
            }
            self.faults.event(&name, &event, self.tick);
        }
        Ok(())
    }

    fn take_health(&mut self) -> Result<(), Down> {
        for health in self.probe.health()? {
            let Some(name) = self.name(health.index).cloned() else { continue };
            let Some(known) = self.known.get_mut(&name) else { continue };
            let lost = |reading: &Reading<u64>| reading.failure().is_some_and(crate::Failure::is_device_lost);
            if !lost(&health.ecc_volatile.uncorrected) {
                self.faults.health(&name, &health, self.tick);
                known.health = Some(Arc::new(health));
            }
        }
        Ok(())
    }
}

impl Known {
    /// The device while it cannot be reached.
    fn lost(&self, name: &DeviceName) -> DeviceState {
        DeviceState {
            name: name.clone(),
            info: Arc::clone(&self.info),
            grantable_mib: self.grantable_mib,
            reserved_mib: self.reserved_mib,
            fitness: Fitness::Lost,
            sample: None,
            health: self.health.clone(),
            last_xid: self.last_xid,
            shares: None,
        }
    }
}
