//! The probe on a library that does what a script says: every state of driver and device, without a device.

mod common;

use common::{Machine, device, h100, xid};
use nvml_fake::script::{Ecc, ErrorCode, Memory, Mig, MigInstance, Process, Script};
use nvml_probe::{Bytes, Down, EventKind, Failure, PciPath, Pid, Reading};

const GIB: u64 = 1 << 30;

#[test]
fn everything_that_a_device_has_is_read() {
    let machine = Machine::new(h100(2));
    let mut probe = machine.probe();
    let inventory = probe.inventory().unwrap();
    assert_eq!(inventory.driver.version, Reading::Known("580.82.07".into()));
    assert_eq!(inventory.driver.cuda, Reading::Known("13.0".into()));
    assert!(inventory.driver.memory_limit_symbols.is_empty(), "the double has no memory limits");
    let info = &inventory.devices[1];
    assert_eq!(info.uuid, Reading::Known(device(1).uuid));
    assert_eq!(info.product, Reading::Known("NVIDIA H100 80GB HBM3".into()));
    assert_eq!(info.minor, Reading::Known(1));
    assert_eq!(info.pci.known().unwrap().bus_id, "00000000:1B:00.0");
    assert_eq!(info.numa_nodes, Reading::Known(vec![0, 3]));
    assert_eq!(info.memory.known().unwrap().total, Bytes(80 * GIB));
    assert_eq!(info.compute_capability, Reading::Known("9.0".into()));
    assert_eq!(info.nvlinks.known().unwrap().active, 18);
    assert_eq!(info.nvlinks.known().unwrap().remotes["00000000:05:00.0"], 18);
    assert_eq!(inventory.links.len(), 1);
    assert_eq!(inventory.links[0].between, (0, 1));
    assert_eq!(inventory.links[0].path, Reading::Known(PciPath::System));

    let sample = &probe.sample().unwrap().devices[1];
    let memory = sample.memory.known().unwrap();
    assert_eq!((memory.used, memory.reserved), (Bytes(GIB), Bytes(GIB / 2)));
    assert_eq!(sample.utilisation.known().unwrap().gpu.0, 37);
    assert_eq!(sample.temperature.known().unwrap().0, 41);
    assert_eq!(sample.power.known().unwrap().0, 123_456);

    let health = &probe.health().unwrap()[1];
    assert_eq!(health.ecc_enabled, Reading::Known(true));
    assert_eq!(health.ecc_volatile.uncorrected, Reading::Known(2));
    assert_eq!(health.ecc_aggregate.corrected, Reading::Known(30));
    assert!(health.remapped_rows.known().unwrap().pending);
}

#[test]
fn what_a_device_does_not_have_is_unsupported_and_nothing_else_suffers() {
    let mut script = h100(1);
    let device = &mut script.devices[0];
    (device.power_mw, device.utilisation, device.ecc, device.numa_mask) = (None, None, None, None);
    device.nvlinks.clear();
    device.failures.insert("nvmlDeviceGetTemperature".into(), ErrorCode::NoPermission);
    device.failures.insert("nvmlDeviceGetName".into(), ErrorCode::Timeout);
    let machine = Machine::new(script);
    let mut probe = machine.probe();
    let sample = &probe.sample().unwrap().devices[0];
    assert_eq!(sample.power, Reading::Unsupported);
    assert_eq!(sample.utilisation, Reading::Unsupported);
    assert_eq!(sample.temperature, Reading::Failed(Failure::NoPermission));
    assert!(sample.memory.known().is_some() && sample.processes.known().is_some());
    let info = &probe.inventory().unwrap().devices[0];
    assert!(matches!(info.product, Reading::Failed(Failure::Other(_))));
    assert_eq!(info.nvlinks, Reading::Unsupported);
    assert_eq!(info.numa_nodes, Reading::Unsupported);
    assert_eq!(probe.health().unwrap()[0].ecc_enabled, Reading::Unsupported);
}

#[test]
fn a_function_that_an_old_library_lacks_is_a_failure_of_its_calls_only() {
    // The double has no serial numbers; the version of the library is one that the agent asks for.
    let machine = Machine::new(h100(1));
    let driver = machine.probe().inventory().unwrap().driver;
    assert!(matches!(driver.library, Reading::Failed(Failure::MissingSymbol(_))), "{:?}", driver.library);
}

#[test]
fn processes_in_several_lists_are_one() {
    let mut script = h100(1);
    script.devices[0].processes = vec![
        Process { pid: 9, kinds: "G".into(), used: Some(GIB), instance: None },
        Process { pid: 7, kinds: "CM".into(), used: Some(2 * GIB), instance: None },
        Process { pid: 8, kinds: "C".into(), used: None, instance: None },
    ];
    let machine = Machine::new(script);
    let sample = machine.probe().sample().unwrap();
    let processes = &sample.devices[0].processes.known().unwrap().list;
    let seen: Vec<_> = processes.iter().map(|process| (process.pid, process.kinds.to_string())).collect();
    assert_eq!(seen, [(Pid(7), "M+C".into()), (Pid(8), "C".into()), (Pid(9), "G".into())]);
    assert_eq!(processes[0].used, Reading::Known(Bytes(2 * GIB)));
    assert_eq!(processes[1].used, Reading::Unsupported);
}

#[test]
fn hundreds_of_processes_fit() {
    let machine = Machine::new(h100(1));
    let mut probe = machine.probe();
    for count in [0, 31, 32, 33, 700, 1] {
        let mut script = h100(1);
        script.devices[0].processes =
            (0..count).map(|pid| Process { pid, kinds: "C".into(), used: Some(1), instance: None }).collect();
        machine.set(&script);
        let sample = probe.sample().unwrap();
        assert_eq!(sample.devices[0].processes.known().unwrap().list.len(), count as usize);
    }
}

#[test]
fn a_failing_list_beside_the_one_that_counts_is_named() {
    let mut script = h100(1);
    let name = "nvmlDeviceGetMPSComputeRunningProcesses_v3";
    script.devices[0].failures.insert(name.into(), ErrorCode::Unknown);
    let machine = Machine::new(script.clone());
    let mut probe = machine.probe();
    let sample = probe.sample().unwrap();
    let missing = &sample.devices[0].processes.known().unwrap().missing;
    assert_eq!(missing.iter().map(|list| list.kinds.to_string()).collect::<Vec<_>>(), ["M"]);
    let name = "nvmlDeviceGetComputeRunningProcesses_v3";
    script.devices[0].failures.insert(name.into(), ErrorCode::NoPermission);
    machine.set(&script);
    assert_eq!(probe.sample().unwrap().devices[0].processes, Reading::Failed(Failure::NoPermission));
}

#[test]
fn mig_instances_are_read_and_empty_places_left_out() {
    let mut script = h100(1);
    let memory = Memory { total: 10 * GIB, reserved: 0, used: 0 };
    let instance = MigInstance {
        uuid: "MIG-1".into(),
        name: "NVIDIA H100 80GB HBM3 MIG 1g.10gb".into(),
        ids: (9, 0),
        memory,
        multiprocessors: 16,
    };
    script.devices[0].mig =
        Some(Mig { enabled: true, pending: true, instances: vec![None, Some(instance), None] });
    script.devices[0].utilisation = None;
    script.devices[0].processes =
        vec![Process { pid: 5, kinds: "C".into(), used: Some(GIB), instance: Some((9, 0)) }];
    let machine = Machine::new(script);
    let mut probe = machine.probe();
    let inventory = probe.inventory().unwrap();
    let info = &inventory.devices[0];
    assert!(info.mig_mode.known().unwrap().enabled);
    assert_eq!(info.mig_instances.len(), 1);
    let instance = &info.mig_instances[0];
    assert_eq!((instance.index, instance.uuid.clone()), (1, Reading::Known("MIG-1".into())));
    assert_eq!(instance.gpu_instance, Reading::Known(9));
    assert_eq!(instance.memory_total, Reading::Known(Bytes(10 * GIB)));
    assert_eq!(instance.multiprocessors, Reading::Known(16));
    let sample = probe.sample().unwrap();
    assert_eq!(sample.devices[0].processes.known().unwrap().list[0].gpu_instance, Some(9));
}

#[test]
fn a_node_without_a_library_or_a_driver_is_a_state() {
    let mut probe = common::probe_at("/nowhere/libnvidia-ml.so.1".into());
    assert!(matches!(probe.sample(), Err(Down::NoLibrary(_))));
    let machine = Machine::new(Script { down: Some(ErrorCode::DriverNotLoaded), ..h100(1) });
    let mut probe = machine.probe();
    assert_eq!(probe.sample(), Err(Down::NotLoaded));
    assert_eq!(probe.inventory(), Err(Down::NotLoaded));
    assert_eq!(probe.health(), Err(Down::NotLoaded));
    assert_eq!(probe.events(), Err(Down::NotLoaded));
    machine.set(&Script { down: Some(ErrorCode::LibRmVersionMismatch), ..h100(1) });
    assert_eq!(probe.sample(), Err(Down::VersionMismatch));
    machine.set(&Script { down: Some(ErrorCode::NoPermission), ..h100(1) });
    assert_eq!(probe.sample(), Err(Down::NoPermission));
    machine.set(&h100(1));
    assert_eq!(probe.sample().unwrap().devices.len(), 1);
}

#[test]
fn a_node_without_devices_is_empty() {
    let machine = Machine::new(h100(0));
    let mut probe = machine.probe();
    assert!(probe.sample().unwrap().devices.is_empty());
    assert!(probe.inventory().unwrap().devices.is_empty());
    assert_eq!(probe.events(), Ok(vec![]));
}

#[test]
fn a_driver_that_is_reloaded_is_opened_anew() {
    let machine = Machine::new(h100(2));
    let mut probe = machine.probe();
    let first = probe.sample().unwrap().session;
    machine.set(&Script { down: Some(ErrorCode::DriverNotLoaded), ..h100(2) });
    assert!(matches!(probe.sample(), Err(Down::Gone(_))));
    assert_eq!(probe.sample(), Err(Down::NotLoaded));
    machine.set(&Script { boot: 1, ..h100(3) });
    let sample = probe.sample().unwrap();
    assert_eq!(sample.devices.len(), 3);
    assert!(sample.session > first, "indices may mean other devices now");
    assert_eq!(probe.inventory().unwrap().session, sample.session);
    // Reloaded between two samples: the old session is void at once.
    machine.set(&Script { boot: 2, ..h100(3) });
    assert!(matches!(probe.sample(), Err(Down::Gone(_))));
    assert!(probe.sample().is_ok());
}

#[test]
fn a_lost_device_leaves_the_others_and_comes_back() {
    let machine = Machine::new(h100(2));
    let mut probe = machine.probe();
    let session = probe.sample().unwrap().session;
    let mut script = h100(2);
    script.devices[0].state = Some(ErrorCode::GpuIsLost);
    machine.set(&script);
    let sample = probe.sample().unwrap();
    assert!(sample.devices[0].is_lost());
    assert_eq!(sample.devices[0].memory, Reading::Failed(Failure::Lost));
    assert!(sample.devices[1].memory.known().is_some());
    assert!(probe.inventory().unwrap().devices[0].uuid.known().is_none());
    // Sessions are renewed after 1, 2, 4, ... samples, so that the device can be seen to come back.
    let sessions: Vec<u64> = (0..15).map(|_| probe.sample().unwrap().session - session).collect();
    assert_eq!(sessions, [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
    machine.set(&h100(2));
    let sample = probe.sample().unwrap();
    assert!(sample.devices[0].memory.known().is_some());
    let last = sample.session;
    assert!((0..100).all(|_| probe.sample().unwrap().session == last), "nothing is renewed without need");
}

#[test]
fn events_are_taken_once_and_in_order() {
    let machine = Machine::new(h100(2));
    let mut probe = machine.probe();
    assert_eq!(probe.events(), Ok(vec![]));
    let mut script = h100(2);
    script.events = vec![xid(1, 79), xid(0, 48)];
    machine.set(&script);
    let events = probe.events().unwrap();
    let seen: Vec<_> = events.iter().map(|event| (event.index, event.kind, event.data)).collect();
    assert_eq!(seen, [(Some(1), Some(EventKind::Xid), 79), (Some(0), Some(EventKind::Xid), 48)]);
    assert_eq!(probe.events(), Ok(vec![]));
}

#[test]
fn a_device_without_events_does_not_take_them_from_the_others() {
    let mut script = h100(3);
    script.devices[0].event_types = None;
    script.devices[1].failures.insert("nvmlDeviceRegisterEvents".into(), ErrorCode::Unknown);
    let machine = Machine::new(script.clone());
    let mut probe = machine.probe();
    let health = probe.health().unwrap();
    assert_eq!(health[0].events, Reading::Unsupported);
    assert!(matches!(health[1].events, Reading::Failed(_)));
    assert!(health[2].events.known().unwrap().contains(&EventKind::Xid));
    script.events = vec![xid(0, 79), xid(2, 79)];
    machine.set(&script);
    assert_eq!(probe.events().unwrap().iter().map(|event| event.index).collect::<Vec<_>>(), [Some(2)]);
}

#[test]
fn a_flood_of_events_is_taken_in_parts() {
    let machine = Machine::new(h100(1));
    let mut probe = machine.probe();
    assert_eq!(probe.events(), Ok(vec![]));
    let mut script = h100(1);
    script.events = vec![xid(0, 31); 600];
    machine.set(&script);
    let parts: Vec<usize> = (0..4).map(|_| probe.events().unwrap().len()).collect();
    assert_eq!(parts, [256, 256, 88, 0]);
}

#[test]
fn numbers_change_while_it_runs() {
    let machine = Machine::new(h100(1));
    let mut probe = machine.probe();
    for used in [0, GIB, 40 * GIB, 0] {
        let mut script = h100(1);
        script.devices[0].memory = Some(Memory { total: 80 * GIB, reserved: 0, used });
        script.devices[0].ecc = Some(Ecc { enabled: true, volatile: (0, used), aggregate: (0, used) });
        machine.set(&script);
        assert_eq!(probe.sample().unwrap().devices[0].memory.known().unwrap().used, Bytes(used));
        assert_eq!(probe.health().unwrap()[0].ecc_volatile.uncorrected, Reading::Known(used));
    }
}
