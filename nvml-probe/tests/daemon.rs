//! The program `nvml-probe run` as it is started on a node, without an API server: what it serves, and how it ends.

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Machine, h100};
use nvml_fake::script::{ErrorCode, Process};

const SOON: Duration = Duration::from_secs(30);

struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(machine: &Machine) -> Self {
        let state = machine.folder().join("state");
        let mut child = Command::new(env!("CARGO_BIN_EXE_nvml-probe"))
            .args(["--library", machine.library().to_str().unwrap(), "run", "--node-name", "n-1"])
            .args(["--standalone", "--listen", "127.0.0.1:0", "--interval-millis", "100", "--log-json"])
            .arg("--state")
            .arg(state)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["fields"]["message"] == "serving" {
                break line["fields"]["address"].as_str().unwrap().to_owned();
            }
        };
        std::thread::spawn(move || lines.count());
        Self { child, address }
    }

    /// The status and the body.
    fn get(&self, path: &str) -> (u16, String) {
        common::get(&self.address, path).unwrap()
    }

    /// Waits until the figures have a line.
    fn until(&self, line: &str) -> String {
        let begun = Instant::now();
        loop {
            let (_, figures) = self.get("/metrics");
            if figures.lines().any(|found| found == line) {
                return figures;
            }
            assert!(begun.elapsed() < SOON, "{line} is not in:\n{figures}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn figures_come_under_the_names_that_dashboards_know() {
    let mut script = h100(2);
    script.devices[0].processes =
        vec![Process { pid: 4_000_000, kinds: "C".into(), used: Some(1 << 30), ..Process::default() }];
    script.devices[1].power_mw = None;
    let machine = Machine::new(script.clone());
    let mut daemon = Daemon::start(&machine);
    let labels = |index: u32| {
        format!(
            "{{DCGM_FI_DRIVER_VERSION=\"580.82.07\",Hostname=\"n-1\",UUID=\"GPU-00000000-0000-0000-0000-{index:012}\",\
             device=\"nvidia{index}\",gpu=\"{index}\",modelName=\"NVIDIA H100 80GB HBM3\"}}"
        )
    };
    let figures = daemon.until(&format!("DCGM_FI_DEV_FB_USED{} 1024", labels(0)));
    let has =
        |line: String| assert!(figures.lines().any(|found| found == line), "{line} is not in:\n{figures}");
    has(format!("DCGM_FI_DEV_FB_TOTAL{} 81920", labels(1)));
    has(format!("DCGM_FI_DEV_GPU_UTIL{} 37", labels(0)));
    has(format!("DCGM_FI_DEV_POWER_USAGE{} 123.456", labels(0)));
    has(format!("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{} 2", labels(0)));
    has(format!("berth_gpu_healthy{} 0", labels(0)));
    has("berth_nvml_up{Hostname=\"n-1\"} 1".to_owned());
    assert!(!figures.contains(&format!("DCGM_FI_DEV_POWER_USAGE{}", labels(1))), "unknown is no figure");
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/readyz"), (200, "ok\n".to_owned()));

    // The driver goes: a state, with nothing said of what is not known.
    script.down = Some(ErrorCode::DriverNotLoaded);
    machine.set(&script);
    let figures = daemon.until("berth_nvml_up{Hostname=\"n-1\"} 0");
    assert!(!figures.lines().any(|line| line.starts_with("DCGM_FI_DEV_FB_USED{")), "{figures}");
    assert_eq!(daemon.get("/healthz").0, 200);
    script.down = None;
    machine.set(&script);
    daemon.until("berth_nvml_up{Hostname=\"n-1\"} 1");

    // Ends in order.
    let pid = rustix::process::Pid::from_raw(daemon.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.child.wait().unwrap().success());
}
