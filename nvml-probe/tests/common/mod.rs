//! A machine with the scripted library.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    env, fs,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
};

use nvml_fake::script::{Device, Ecc, Event, Memory, Mig, Script};
use nvml_probe::{Config, Probe};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
const XID: u64 = 8;

/// A copy of the library and its script, in a folder of its own: tests in one process do not share a machine.
pub(crate) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(crate) fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Cargo builds the library beside the test programs.
        let program = env::current_exe().unwrap();
        let built = program.parent().unwrap().join("libnvml_fake.so");
        fs::copy(&built, folder.path().join("libnvidia-ml.so.1")).unwrap();
        let machine = Self { folder };
        machine.set(&script);
        machine
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the script, as a whole and at once.
    pub(crate) fn set(&self, script: &Script) {
        let new = self.folder.path().join("new.json");
        fs::write(&new, serde_json::to_vec(script).unwrap()).unwrap();
        fs::rename(new, self.folder.path().join("nvml-fake.json")).unwrap();
    }

    pub(crate) fn probe(&self) -> Probe {
        probe_at(self.library())
    }
}

/// A probe on the library at a path, and on a `/sys` without devices.
pub(crate) fn probe_at(library: PathBuf) -> Probe {
    Probe::new(Config { library: Some(library), sys_root: "/nowhere".into() })
}

/// So many H100s behind NVSwitches.
pub(crate) fn h100(count: u32) -> Script {
    Script {
        driver_version: "580.82.07".into(),
        cuda_version: 13000,
        devices: (0..count).map(device).collect(),
        ..Script::default()
    }
}

/// So many that nothing is wrong with: errors that were put right, and those of former days, do not count (S18).
pub(crate) fn sound(count: u32) -> Script {
    let mut script = h100(count);
    for device in &mut script.devices {
        device.ecc = Some(Ecc { enabled: true, volatile: (1, 0), aggregate: (30, 4) });
    }
    script
}

pub(crate) fn device(index: u32) -> Device {
    Device {
        uuid: format!("GPU-00000000-0000-0000-0000-{index:012}"),
        name: "NVIDIA H100 80GB HBM3".into(),
        bus_id: format!("00000000:{:02X}:00.0", 0x1A + index),
        minor: Some(index),
        numa_mask: Some(0b1001),
        compute_capability: Some((9, 0)),
        memory: Some(Memory { total: 80 * GIB, reserved: GIB / 2, used: GIB }),
        utilisation: Some((37, 12)),
        temperature: Some(41),
        power_mw: Some(123_456),
        power_limit_mw: Some(700_000),
        ecc: Some(Ecc { enabled: true, volatile: (1, 2), aggregate: (30, 4) }),
        remapped_rows: Some((0, 1, 1, 0)),
        mig: Some(Mig::default()),
        nvlinks: vec!["00000000:05:00.0".into(); 18],
        topology: (0..8).filter(|other| *other != index).map(|other| (other, 50)).collect(),
        event_types: Some(XID | 2),
        ..Device::default()
    }
}

pub(crate) fn xid(device: u32, number: u64) -> Event {
    Event { device, kind: XID, data: number }
}

/// Status and body of what an agent answers; none if nobody does.
pub(crate) fn get(agent: impl ToSocketAddrs, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(agent).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
