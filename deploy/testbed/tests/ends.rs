//! Everything ends with the testbed, however that ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_testbed::{Component, Options, Testbed};

/// The processes that name this folder on their command lines, as all of a testbed's do.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

fn nothing_is_left_of(folder: &Path) {
    let begun = Instant::now();
    while folder.exists() || !processes_of(folder).is_empty() {
        let left = processes_of(folder);
        assert!(begun.elapsed() < Duration::from_secs(20), "left: {left:?}, folder: {}", folder.exists());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_testbed_leaves_nothing() {
    let testbed = Testbed::start(Options::new()).await.unwrap();
    let folder = testbed.folder().to_owned();
    assert!(processes_of(&folder).len() >= 3, "etcd, API server, supervisor: {:?}", processes_of(&folder));
    let pid = testbed.pid(Component::ApiServer).unwrap();
    drop(testbed);
    // At once, not some time later.
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_leaves_nothing() {
    let panics = tokio::spawn(async {
        let testbed = Testbed::start(Options::new()).await.unwrap();
        let folder = testbed.folder().to_owned();
        std::panic::panic_any(folder);
    });
    let folder = panics.await.unwrap_err().into_panic().downcast::<PathBuf>().unwrap();
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
}

/// Starts the command `berth-testbed up` and returns it with the folder of its testbed.
fn up() -> (Child, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_berth-testbed"))
        .args(["up", "--no-controllers", "--nodes", "3"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains("KUBECONFIG=")).unwrap();
    let kubeconfig = PathBuf::from(line.split_once('=').unwrap().1);
    let folder = kubeconfig.parent().unwrap().parent().unwrap().to_owned();
    assert!(kubeconfig.is_file());
    (child, folder)
}

#[test]
fn a_killed_process_leaves_nothing() {
    let (mut child, folder) = up();
    assert!(processes_of(&folder).len() >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_is_left_of(&folder);
}

#[test]
fn an_interrupted_command_ends_well_and_leaves_nothing() {
    let (mut child, folder) = up();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
}
