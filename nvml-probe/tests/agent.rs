//! The sampler over time: devices, health (S18) and memory (S17) as the scripted driver changes under it.

mod common;

use std::{fs, path::PathBuf, sync::Arc};

use common::{Machine, device, sound, xid};
use nvml_fake::script::{Ecc, ErrorCode, Memory, Process, Script};
use nvml_probe::{
    Bytes, Config,
    agent::{DriverState, Fitness, NodeState, PodIndex, Sampler, SamplerSettings},
    proc::cgroup::PodUid,
};

const GIB: u64 = 1 << 30;
const POD: &str = "0f3b1c2d-1111-2222-3333-444455556666";

struct Agent {
    // First: what it has open is closed while the script is there.
    sampler: Sampler,
    machine: Machine,
}

impl Agent {
    fn new(script: Script) -> Self {
        let machine = Machine::new(script);
        let sampler = Sampler::new(settings(&machine));
        Self { machine, sampler }
    }

    fn restart(&mut self) {
        self.sampler = Sampler::new(settings(&self.machine));
    }

    fn ticks(&mut self, count: usize) -> NodeState {
        let index = Arc::new(PodIndex::default());
        (0..count).map(|_| self.sampler.tick(&index)).last().unwrap()
    }

    fn words(&mut self, ticks: usize) -> Vec<String> {
        self.ticks(ticks).devices.iter().map(|device| device.fitness.word()).collect()
    }
}

fn settings(machine: &Machine) -> SamplerSettings {
    SamplerSettings {
        probe: Config { library: Some(machine.library()), sys_root: "/nowhere".into() },
        proc_root: proc_of(machine),
        faults: Some(machine.folder().join("faults.json")),
        ..SamplerSettings::default()
    }
}

fn proc_of(machine: &Machine) -> PathBuf {
    let root = machine.folder().join("proc");
    for (pid, cgroup) in
        [(10, format!("/kubepods/pod{POD}/{}", "a".repeat(64))), (11, "/init.scope".to_owned())]
    {
        fs::create_dir_all(root.join(pid.to_string())).unwrap();
        fs::write(root.join(pid.to_string()).join("cgroup"), format!("0::{cgroup}\n")).unwrap();
    }
    fs::create_dir_all(root.join("sys/kernel/random")).unwrap();
    fs::write(root.join("sys/kernel/random/boot_id"), "this boot\n").unwrap();
    root
}

#[test]
fn memory_of_pods_and_of_others() {
    let mut script = sound(1);
    script.devices[0].memory = Some(Memory { total: 80 * GIB, reserved: GIB / 2, used: 30 * GIB });
    let process = |pid, used| Process { pid, kinds: "C".into(), used: Some(used), ..Process::default() };
    script.devices[0].processes = vec![process(10, 20 * GIB), process(11, 9 * GIB)];
    let mut agent = Agent::new(script);
    let state = agent.ticks(3);
    let device = &state.devices[0];
    assert_eq!(device.name.as_str(), "gpu-00000000-0000-0000-0000-000000000000");
    assert_eq!(device.grantable_mib, 80 * 1024 - 512);
    let shares = device.shares.as_ref().unwrap();
    assert_eq!(shares.pods[&PodUid::parse(POD).unwrap()], Bytes(20 * GIB));
    assert_eq!(shares.foreign, Some(Bytes(10 * GIB)), "process 11, and 1 GiB that no process accounts for");
}

#[test]
fn an_xid_makes_a_device_unusable_until_it_has_recovered() {
    let mut script = sound(2);
    script.devices[1].recovery_action = Some(0);
    let mut agent = Agent::new(script.clone());
    assert_eq!(agent.words(1), ["healthy", "healthy"]);
    script.events = vec![xid(0, 79), xid(1, 79), xid(1, 31)];
    script.devices[1].recovery_action = Some(1);
    agent.machine.set(&script);
    assert_eq!(agent.words(6), ["xid-79", "xid-79"]);
    // The agent is killed and starts again: the driver tells the event no more.
    agent.restart();
    assert_eq!(agent.words(6), ["xid-79", "xid-79"]);
    script.devices[1].recovery_action = Some(0);
    agent.machine.set(&script);
    assert_eq!(agent.words(11), ["xid-79", "healthy"], "the second says that it needs nothing");
    // The first does not say; it was reset: lost, and back.
    script.devices[0].state = Some(ErrorCode::GpuIsLost);
    agent.machine.set(&script);
    assert_eq!(agent.words(1), ["lost", "healthy"]);
    script.devices[0].state = None;
    agent.machine.set(&script);
    assert_eq!(agent.words(3), ["healthy", "healthy"]);
}

#[test]
fn a_driver_that_is_replaced_takes_the_faults_with_it() {
    let mut script = sound(1);
    let mut agent = Agent::new(script.clone());
    agent.ticks(1);
    script.events = vec![xid(0, 79)];
    agent.machine.set(&script);
    assert_eq!(agent.words(2), ["xid-79"]);
    script.down = Some(ErrorCode::DriverNotLoaded);
    agent.machine.set(&script);
    let state = agent.ticks(2);
    assert!(matches!(state.driver, DriverState::Down(_)));
    assert_eq!(state.devices[0].fitness, Fitness::Lost, "it stays, with what was known");
    assert_eq!(state.devices[0].grantable_mib, 80 * 1024 - 512);
    script.down = None;
    script.boot += 1;
    script.events.clear();
    agent.machine.set(&script);
    let state = agent.ticks(2);
    assert!(matches!(state.driver, DriverState::Up(_)));
    assert_eq!(state.devices[0].fitness, Fitness::Healthy);
}

#[test]
fn uncorrectable_errors_and_failed_rows_count_while_they_are_counted() {
    let mut script = sound(2);
    script.devices[0].ecc = Some(Ecc { enabled: true, volatile: (0, 1), aggregate: (0, 1) });
    script.devices[1].remapped_rows = Some((0, 1, 0, 1));
    let mut agent = Agent::new(script);
    assert_eq!(agent.words(1), ["ecc-uncorrectable", "row-remap-failed"]);
    agent.machine.set(&sound(2));
    assert_eq!(agent.words(5), ["healthy", "healthy"]);
}

#[test]
fn a_device_that_falls_off_the_bus_stays_as_lost_and_keeps_its_name_when_indices_move() {
    let mut agent = Agent::new(sound(3));
    let before: Vec<_> = agent.ticks(1).devices.iter().map(|device| device.name.clone()).collect();
    // After a reload of the driver only two devices are there, and what was 1 is 0.
    let mut script = sound(3);
    script.devices.remove(0);
    script.devices[0].memory = Some(Memory { total: 80 * GIB, reserved: 0, used: 7 * GIB });
    script.boot = 1;
    agent.machine.set(&script);
    agent.ticks(1);
    let state = agent.ticks(1);
    assert_eq!(state.devices.iter().map(|device| device.name.clone()).collect::<Vec<_>>(), before);
    assert_eq!(state.devices[0].fitness, Fitness::Lost);
    let used = state.devices[1].sample.as_ref().unwrap().memory.known().unwrap().used;
    assert_eq!((used, state.devices[1].info.index), (Bytes(7 * GIB), 0));
    // It is put back.
    let mut script = sound(3);
    script.devices[2] = device(2);
    script.devices[2].ecc = None;
    script.boot = 2;
    agent.machine.set(&script);
    agent.ticks(2);
    assert_eq!(agent.words(1), ["healthy", "healthy", "healthy"]);
}

#[test]
fn a_node_without_a_driver_is_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut sampler = Sampler::new(SamplerSettings {
        probe: Config { library: Some(folder.path().join("none.so")), sys_root: "/nowhere".into() },
        ..SamplerSettings::default()
    });
    let state = sampler.tick(&Arc::default());
    assert!(matches!(state.driver, DriverState::Down(_)) && state.devices.is_empty());
}
