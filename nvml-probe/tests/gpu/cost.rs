//! CPU time of a sample on the real library, and of each call in it.

use std::{hint::black_box, time::Duration, time::Instant};

use nvml_probe::{Pid, Probe, proc::ProcFs};
use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor},
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::{Log, Outcome, checks, cuda::Cuda, judge, library};

const ROUNDS: u32 = 300;
const RARE_ROUNDS: u32 = 20;
/// What one sample of a node of [`NODE_DEVICES`] may cost.
const SAMPLE_MAX: Duration = Duration::from_millis(2);
pub(crate) const NODE_DEVICES: u32 = 8;

/// CPU time (user and kernel) and wall time of one round.
fn cost(rounds: u32, mut work: impl FnMut()) -> (Duration, Duration) {
    work();
    let cpu_time = || cpu_time(ClockId::ProcessCPUTime);
    let (cpu, wall) = (cpu_time(), Instant::now());
    for _ in 0..rounds {
        work();
    }
    ((cpu_time() - cpu) / rounds, wall.elapsed() / rounds)
}

pub(crate) fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn figures((cpu, wall): (Duration, Duration)) -> Value {
    json!({ "cpu us": cpu.as_nanos() as u64 / 1000, "cpu ns": cpu.as_nanos() as u64, "wall us": wall.as_micros() as u64 })
}

pub(crate) fn run(log: &mut Log) {
    // A device is asked while it has a process, if there can be one.
    let cuda = Cuda::start().ok();
    let mut probe = checks::probe();
    let devices = match probe.sample() {
        Ok(sample) => u32::try_from(sample.devices.len()).unwrap_or(u32::MAX),
        Err(down) => return log.add("cost of a sample", Outcome::Failed(down.to_string(), Value::Null)),
    };
    if devices == 0 {
        return log.add("cost of a sample", Outcome::LeftOut("there are no devices".to_owned(), Value::Null));
    }
    let (cpu, wall) = cost(ROUNDS, || drop(black_box(probe.sample())));
    let node = cpu * NODE_DEVICES / devices;
    let seen = json!({
        "devices": devices,
        "with a process": cuda.is_some(),
        "one sample": figures((cpu, wall)),
        "one sample of 8 devices, by proportion, cpu us": node.as_micros() as u64,
        "other paths": other_paths(&mut probe, cuda.as_ref().map(Cuda::pid)),
        "calls": calls(),
    });
    let wrong =
        (node > SAMPLE_MAX).then(|| format!("{node:?} for {NODE_DEVICES} devices, at most {SAMPLE_MAX:?}"));
    log.add("cost of a sample", judge(wrong.into_iter().collect(), seen));
    if let Some(cuda) = cuda {
        cuda.end();
    }
}

fn other_paths(probe: &mut Probe, pid: Option<u32>) -> Value {
    let proc = ProcFs::new("/proc");
    let pid = Pid(pid.unwrap_or_else(std::process::id));
    json!({
        "events": figures(cost(ROUNDS, || drop(black_box(probe.events())))),
        "health": figures(cost(RARE_ROUNDS, || drop(black_box(probe.health())))),
        "inventory": figures(cost(RARE_ROUNDS, || drop(black_box(probe.inventory())))),
        "open and first sample": figures(cost(3, || drop(black_box(checks::probe().sample())))),
        "owner of a process": figures(cost(ROUNDS, || drop(black_box(proc.owner(pid))))),
    })
}

/// Each call by itself.
fn calls() -> Value {
    let mut builder = Nvml::builder();
    let library = library();
    if let Some(path) = &library {
        builder.lib_path(path.as_os_str());
    }
    let nvml = match builder.init() {
        Ok(nvml) => nvml,
        Err(error) => return json!(error.to_string()),
    };
    let device = match nvml.device_by_index(0) {
        Ok(device) => device,
        Err(error) => return json!(error.to_string()),
    };
    let mut map = Map::new();
    let mut add = |name: &str, call: &dyn Fn(&Device<'_>) -> bool| {
        let mut succeeded = true;
        let spent = cost(ROUNDS, || succeeded &= call(&device));
        let mut entry = figures(spent);
        entry["succeeded"] = json!(succeeded);
        map.insert(name.to_owned(), entry);
    };
    add("device_by_index", &|_| nvml.device_by_index(0).is_ok());
    add("memory_info", &|device| device.memory_info().is_ok());
    add("running_compute_processes, two calls", &|device| device.running_compute_processes().is_ok());
    add("running_graphics_processes, two calls", &|device| device.running_graphics_processes().is_ok());
    add("mps_running_compute_processes, two calls", &|device| device.mps_running_compute_processes().is_ok());
    add("utilization_rates", &|device| device.utilization_rates().is_ok());
    add("temperature", &|device| device.temperature(TemperatureSensor::Gpu).is_ok());
    add("power_usage", &|device| device.power_usage().is_ok());
    add("total_ecc_errors", &|device| {
        device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).is_ok()
    });
    Value::Object(map)
}
