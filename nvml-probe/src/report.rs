//! What `nvml-probe list` shows: devices, processes and their pods, in one value for JSON and as tables.
//!
//! What is unknown is shown as unknown in its cell, and named with its reason below the tables.

use std::fmt::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{
    Bytes, DeviceHealth, DeviceInfo, DeviceSample, Down, Driver, GpuProcess, Inventory, Link, Pid, Probe,
    Reading,
    agent::Enforcement,
    proc::{Owner, ProcFs},
};

/// What is on the node.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The driver.
    pub driver: Driver,
    /// What holds pods to their limits of GPU memory (S14, S19).
    pub limits: Enforcement,
    /// Whether the processes that NVML names can be looked up.
    pub host_pids: bool,
    /// The devices.
    pub devices: Vec<DeviceReport>,
    /// How the devices are connected.
    pub links: Vec<Link>,
}

/// A device and who uses it.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// What it is.
    pub info: DeviceInfo,
    /// What it does.
    pub sample: DeviceSample,
    /// Whether it can be trusted.
    pub health: DeviceHealth,
    /// Whose its processes are, in the order of the sample.
    pub owners: Vec<ProcessOwner>,
}

/// Whose a process is.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessOwner {
    /// The process.
    pub pid: Pid,
    /// Its command.
    pub command: Option<String>,
    /// Whose it is.
    #[serde(flatten)]
    pub owner: Owner,
}

impl Report {
    /// Reads all of it once.
    pub fn read(probe: &mut Probe, proc: &ProcFs) -> Result<Self, Down> {
        let sample = probe.sample()?;
        let health = probe.health()?;
        let Inventory { driver, devices, links, .. } = probe.inventory()?;
        let devices = devices
            .into_iter()
            .zip(sample.devices)
            .zip(health)
            .map(|((info, sample), health)| {
                let owners =
                    processes(&sample).iter().map(|process| ProcessOwner::find(proc, process.pid)).collect();
                DeviceReport { info, sample, health, owners }
            })
            .collect();
        Ok(Self { limits: Enforcement::of(&driver), driver, host_pids: proc.host_pids(), devices, links })
    }

    fn device_table(&self) -> Table {
        let mut table = table([
            "device", "uuid", "product", "used", "reserved", "total", "busy", "temp", "power", "NUMA", "MIG",
            "ECC lost",
        ]);
        for device in &self.devices {
            let DeviceReport { info, sample, health, .. } = device;
            let memory =
                |part: fn(&crate::Memory) -> Bytes| short(&sample.memory, |memory| part(memory).to_string());
            table.add_row([
                info.index.to_string(),
                short(&info.uuid, Clone::clone),
                short(&info.product, Clone::clone),
                memory(|memory| memory.used),
                memory(|memory| memory.reserved),
                memory(|memory| memory.total),
                short(&sample.utilisation, |utilisation| utilisation.gpu.to_string()),
                short(&sample.temperature, ToString::to_string),
                short(&sample.power, |power| format!("{} W", power.0 / 1000)),
                short(&info.numa_nodes, |nodes| list(nodes)),
                short(&info.mig_mode, |mode| match mode.enabled {
                    true => format!("{} instances", info.mig_instances.len()),
                    false => "off".to_owned(),
                }),
                short(&health.ecc_volatile.uncorrected, ToString::to_string),
            ]);
        }
        align_right(&mut table, 3..9);
        table
    }

    fn process_table(&self) -> Option<Table> {
        let mut table = table(["device", "MIG", "pid", "type", "memory", "command", "pod", "container"]);
        for device in &self.devices {
            for (process, owner) in processes(&device.sample).iter().zip(&device.owners) {
                let (pod, container) = owner.columns();
                table.add_row([
                    device.info.index.to_string(),
                    process.gpu_instance.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                    process.pid.to_string(),
                    process.kinds.to_string(),
                    short(&process.used, ToString::to_string),
                    owner.command.clone().unwrap_or_else(|| "unknown".to_owned()),
                    pod,
                    container,
                ]);
            }
        }
        align_right(&mut table, 4..5);
        (table.row_count() > 0).then_some(table)
    }

    /// What is unknown, and why, one sentence each.
    fn unknowns(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for device in &self.devices {
            let DeviceReport { info, sample, health, .. } = device;
            let mut note = |what: &str, why: Option<String>| {
                if let Some(why) = why {
                    notes.push(format!("device {}: {what}: {why}", info.index));
                }
            };
            note("uuid", why(&info.uuid));
            note("product", why(&info.product));
            note("memory", why(&sample.memory));
            note("processes", why(&sample.processes));
            note("utilisation", why(&sample.utilisation));
            note("temperature", why(&sample.temperature));
            note("power", why(&sample.power));
            note("NUMA nodes", why(&info.numa_nodes));
            note("MIG mode", why(&info.mig_mode));
            note("uncorrected ECC errors", why(&health.ecc_volatile.uncorrected));
            note("remapped rows", why(&health.remapped_rows));
            note("XID events", why(&health.events));
            for missing in sample.processes.known().iter().flat_map(|processes| &processes.missing) {
                note(&format!("processes of type {}", missing.kinds), Some(missing.reason.clone()));
            }
            for (process, owner) in processes(sample).iter().zip(&device.owners) {
                note(&format!("memory of process {}", process.pid), why(&process.used));
                if let Owner::Unknown { reason } = &owner.owner {
                    note(&format!("owner of process {}", process.pid), Some(reason.clone()));
                }
            }
        }
        notes
    }
}

impl ProcessOwner {
    fn find(proc: &ProcFs, pid: Pid) -> Self {
        Self { pid, command: proc.command(pid), owner: proc.owner(pid) }
    }

    fn columns(&self) -> (String, String) {
        const SHORT_ID: usize = 12;
        let short_id = |id: &crate::proc::cgroup::ContainerId| id.as_str()[..SHORT_ID].to_owned();
        match &self.owner {
            Owner::Pod { pod, container } => {
                (pod.to_string(), container.as_ref().map_or_else(|| "-".to_owned(), short_id))
            }
            Owner::Container { container } => ("not in its path".to_owned(), short_id(container)),
            Owner::Foreign => ("foreign".to_owned(), "-".to_owned()),
            Owner::Unknown { .. } => ("unknown".to_owned(), "unknown".to_owned()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Driver { version, cuda, .. } = &self.driver;
        writeln!(f, "driver {version}, CUDA {cuda}; memory limits: {}", self.limits)?;
        if self.devices.is_empty() {
            return writeln!(f, "no devices");
        }
        writeln!(f, "{}", self.device_table())?;
        match self.process_table() {
            Some(table) => writeln!(f, "{table}")?,
            None if self.devices.iter().all(|device| device.sample.processes.known().is_some()) => {
                writeln!(f, "no processes")?;
            }
            None => writeln!(f, "no processes are known")?,
        }
        if !self.host_pids {
            writeln!(
                f,
                "processes are not those of the host: owners may be missing (hostPID, or --proc-root)"
            )?;
        }
        let mut text = String::new();
        for note in self.unknowns() {
            writeln!(text, "unknown: {note}")?;
        }
        f.write_str(&text)
    }
}

fn processes(sample: &DeviceSample) -> &[GpuProcess] {
    sample.processes.known().map_or(&[], |processes| &processes.list)
}

fn why<T>(reading: &Reading<T>) -> Option<String> {
    match reading {
        Reading::Known(_) => None,
        Reading::Unsupported => Some("not supported".to_owned()),
        Reading::Failed(failure) => Some(failure.to_string()),
    }
}

fn short<T>(reading: &Reading<T>, text: impl FnOnce(&T) -> String) -> String {
    reading.known().map_or_else(|| "unknown".to_owned(), text)
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
