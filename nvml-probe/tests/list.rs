//! `nvml-probe list` as its users see it.

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use common::{Machine, h100};
use nvml_fake::script::{ErrorCode, Process, Script};

const POD: &str = "f2974d47-3a3a-4b36-9d9e-0d3f27a51d10";
const CONTAINER: &str = "8a1d2ef70e2a2c40b1f0a0e5ecb7de1d0c6e3f6a4b8d9c7e5f3a1b2c4d6e8f90";

fn list(library: &Path, proc_root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nvml-probe"))
        .arg("list")
        .arg("--library")
        .arg(library)
        .arg("--proc-root")
        .arg(proc_root)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A `/proc` of a host with a process of a pod, one of a container, and one of neither.
fn proc_root(machine: &Machine) -> std::path::PathBuf {
    let root = machine.folder().join("proc");
    let add = |pid: u32, command: &str, cgroup: &str| {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("comm"), command).unwrap();
        fs::write(folder.join("cgroup"), cgroup).unwrap();
    };
    add(2, "kthreadd\n", "0::/\n");
    add(100, "train\x1b[31m\n", &format!("0::/kubepods/burstable/pod{POD}/{CONTAINER}\n"));
    add(200, "infer\n", &format!("0::/k8s.io/{CONTAINER}\n"));
    add(300, "Xorg\n", "0::/system.slice/gdm.service\n");
    root
}

fn busy() -> Script {
    let mut script = h100(2);
    script.devices[0].processes = [100, 200, 300, 400]
        .map(|pid| Process { pid, kinds: "C".into(), used: Some(u64::from(pid) << 20), instance: None })
        .to_vec();
    script.devices[1].power_mw = None;
    script
}

#[test]
fn devices_processes_and_pods_are_shown_and_what_is_unknown_is_named() {
    let machine = Machine::new(busy());
    let output = list(&machine.library(), &proc_root(&machine), &[]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    let line = |part: &str| {
        shown.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}:\n{shown}"))
    };
    assert!(line("driver").contains("memory limits: watched only"));
    assert!(line(" 100 ").contains(POD) && line(" 100 ").contains(&CONTAINER[..12]));
    assert!(line(" 100 ").contains("train?[31m"), "no control character of a process reaches the terminal");
    assert!(line(" 200 ").contains("not in its path"));
    assert!(line(" 300 ").contains("foreign"));
    assert!(line(" 400 ").contains("unknown"));
    assert!(shown.contains("unknown: device 0: owner of process 400: the process has ended"));
    assert!(shown.contains("unknown: device 1: power: not supported"));
    assert!(line("GPU-00000000-0000-0000-0000-000000000001").contains("unknown"));
}

#[test]
fn json_has_the_same() {
    let machine = Machine::new(busy());
    let output = list(&machine.library(), &proc_root(&machine), &["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["host_pids"], true);
    let device = &value["devices"][0];
    assert_eq!(device["sample"]["processes"]["list"][0]["used"], 100 << 20);
    assert_eq!(device["owners"][0]["owner"], "pod");
    assert_eq!(device["owners"][0]["pod"], POD);
    assert_eq!(device["owners"][1]["owner"], "container");
    assert_eq!(device["owners"][2]["owner"], "foreign");
    assert_eq!(device["owners"][3]["owner"], "unknown");
    assert_eq!(value["devices"][1]["sample"]["power"]["unknown"], "not supported");
}

#[test]
fn without_the_hosts_processes_owners_are_unknown_and_not_foreign() {
    let machine = Machine::new(busy());
    let empty = machine.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    let shown = text(&list(&machine.library(), &empty, &[]).stdout);
    assert!(!shown.contains("foreign"), "{shown}");
    assert!(shown.contains("does not show the host's processes"), "{shown}");
    assert!(shown.contains("processes are not those of the host"), "{shown}");
}

#[test]
fn without_a_driver_one_message_says_so() {
    let output = list(Path::new("/nowhere/libnvidia-ml.so.1"), Path::new("/proc"), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(
        message.starts_with("nvml-probe: no NVIDIA driver library: /nowhere/libnvidia-ml.so.1"),
        "{message}"
    );

    let machine = Machine::new(Script { down: Some(ErrorCode::DriverNotLoaded), ..h100(1) });
    let output = list(&machine.library(), Path::new("/proc"), &["--json"]);
    assert_eq!(output.status.code(), Some(3));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["down"]["state"], "not-loaded");
    assert!(text(&output.stderr).contains("the NVIDIA driver is not loaded"));
}

#[test]
fn a_node_without_devices_is_no_error() {
    let machine = Machine::new(h100(0));
    let output = list(&machine.library(), Path::new("/proc"), &[]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("no devices"));
}
