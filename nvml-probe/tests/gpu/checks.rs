//! What NVML says of the node, beside what nvidia-smi says.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use nvml_probe::{Config, Down, EventKind, Inventory, Probe, Reading, Sample, proc::ProcFs, report::Report};
use serde_json::{Value, json};

use crate::{Log, Outcome, judge, library};

/// The functions whose presence is reported, the driver's memory limits first.
const SYMBOLS: [&str; 10] = [
    "nvmlDeviceSetMemoryLimits_v1",
    "nvmlDeviceGetMemoryLimits_v1",
    "nvmlDeviceSetMemoryLimits",
    "nvmlDeviceGetMemoryLimits",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetRunningProcessDetailList",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetNumaNodeId",
];
/// nvidia-smi runs before or after, so memory may differ by what comes and goes.
const USED_TOLERANCE_MIB: u64 = 64;
const SESSIONS: usize = 10;

pub(crate) fn probe() -> Probe {
    Probe::new(Config { library: library(), ..Config::default() })
}

pub(crate) fn run(log: &mut Log) {
    let mut probe = probe();
    let read = probe.inventory().and_then(|inventory| Ok((inventory, probe.sample()?)));
    let (inventory, sample) = match read {
        Ok(read) => read,
        Err(down) => {
            log.add("opens NVML", Outcome::Failed(down.to_string(), json!(down)));
            return;
        }
    };
    log.add("opens NVML", Outcome::Passed(json!(inventory.driver)));
    log.add("identity is known", identity(&inventory));
    log.add("a sample is known", sample_known(&sample));
    log.add("agrees with nvidia-smi", against_nvidia_smi(&inventory, &sample));
    log.add("health and XID events", health(&mut probe));
    log.add("symbols", symbols(&mut probe));
    log.add("a missing library is a state", missing_library());
    log.add("sessions leave nothing open", sessions());
    log.add("the report can be printed", report(&mut probe));
}

fn identity(inventory: &Inventory) -> Outcome {
    let mut wrong = Vec::new();
    if inventory.devices.is_empty() {
        wrong.push("there are no devices".to_owned());
    }
    for device in &inventory.devices {
        let mut want = |what: &str, known: bool| {
            if !known {
                wrong.push(format!("device {}: {what} is unknown", device.index));
            }
        };
        want("uuid", device.uuid.known().is_some());
        want("product", device.product.known().is_some());
        want("PCI", device.pci.known().is_some());
        want("memory", device.memory.known().is_some());
    }
    judge(wrong, json!(inventory))
}

fn sample_known(sample: &Sample) -> Outcome {
    let mut wrong = Vec::new();
    for device in &sample.devices {
        match device.memory.known() {
            Some(memory) if memory.total.0 == memory.reserved.0 + memory.used.0 + memory.free.0 => {}
            Some(memory) => {
                wrong.push(format!("device {}: memory does not add up: {memory:?}", device.index))
            }
            None => wrong.push(format!("device {}: memory is unknown", device.index)),
        }
        if device.processes.known().is_none() {
            wrong.push(format!("device {}: processes are unknown", device.index));
        }
    }
    judge(wrong, json!(sample))
}

fn nvidia_smi(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("nvidia-smi").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("nvidia-smi: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("nvidia-smi: {text}")) }
}

fn against_nvidia_smi(inventory: &Inventory, sample: &Sample) -> Outcome {
    const QUERY: &str = "--query-gpu=index,uuid,name,pci.bus_id,memory.total,memory.used,memory.reserved,driver_version,\
                         temperature.gpu,power.draw,mig.mode.current,ecc.errors.uncorrected.volatile.total";
    let text = match nvidia_smi(&[QUERY, "--format=csv,noheader,nounits"]) {
        Ok(text) => text,
        Err(error) => return Outcome::LeftOut(error, Value::Null),
    };
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').map(str::trim).collect()).collect();
    let mut wrong = Vec::new();
    if rows.len() != inventory.devices.len() {
        wrong.push(format!("{} devices here, {} there", inventory.devices.len(), rows.len()));
    }
    for ((device, sample), row) in inventory.devices.iter().zip(&sample.devices).zip(&rows) {
        let mut same = |what: &str, ours: Option<String>, column: usize| {
            let theirs = row.get(column).copied().unwrap_or("nothing");
            if ours.as_deref() != Some(theirs) {
                wrong.push(format!("device {}: {what} is {ours:?} here, {theirs} there", device.index));
            }
        };
        same("index", Some(device.index.to_string()), 0);
        same("uuid", device.uuid.known().cloned(), 1);
        same("product", device.product.known().cloned(), 2);
        same("bus id", device.pci.known().map(|pci| pci.bus_id.clone()), 3);
        let memory = sample.memory.known();
        same("memory", memory.map(|memory| memory.total.mib().to_string()), 4);
        same("driver", inventory.driver.version.known().cloned(), 7);
        let mode = |enabled| if enabled { "Enabled" } else { "Disabled" }.to_owned();
        same(
            "MIG mode",
            device.mig_mode.known().map_or(Some("[N/A]".to_owned()), |mig| Some(mode(mig.enabled))),
            10,
        );
        let used = row.get(5).and_then(|used| used.parse::<u64>().ok());
        if let (Some(ours), Some(theirs)) = (memory.map(|memory| memory.used.mib()), used)
            && ours.abs_diff(theirs) > USED_TOLERANCE_MIB
        {
            wrong.push(format!("device {}: {ours} MiB used here, {theirs} there", device.index));
        }
    }
    judge(wrong, json!(rows))
}

fn health(probe: &mut Probe) -> Outcome {
    let (health, events) = match probe.health().and_then(|health| Ok((health, probe.events()?))) {
        Ok(read) => read,
        Err(down) => return Outcome::Failed(down.to_string(), Value::Null),
    };
    let mut wrong = Vec::new();
    for device in &health {
        if !device.events.known().is_some_and(|kinds| kinds.contains(&EventKind::Xid)) {
            wrong.push(format!("device {}: XID events are not delivered: {:?}", device.index, device.events));
        }
        if matches!(device.ecc_volatile.uncorrected, Reading::Failed(_)) {
            wrong.push(format!("device {}: ECC errors cannot be read", device.index));
        }
    }
    judge(wrong, json!({ "health": health, "events": events }))
}

/// Which functions the library has, and every name in it that has to do with memory limits.
fn symbols(probe: &mut Probe) -> Outcome {
    let mut has = serde_json::Map::new();
    for name in SYMBOLS {
        has.insert(name.to_owned(), json!(probe.has_symbol(name).ok()));
    }
    let (files, names) = names_in_library(b"MemoryLimit");
    Outcome::Passed(json!({ "has": has, "library": files, "names with MemoryLimit": names }))
}

/// The NVML library that is loaded now, and the texts in it that contain `part`.
fn names_in_library(part: &[u8]) -> (Vec<PathBuf>, Vec<String>) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut files: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains("nvidia-ml"))
        .map(PathBuf::from)
        .collect();
    files.dedup();
    let mut names = Vec::new();
    for bytes in files.iter().filter_map(|file| fs::read(file).ok()) {
        let texts = bytes.split(|byte| !byte.is_ascii_graphic());
        let found =
            texts.filter(|text| text.len() < 200 && text.windows(part.len()).any(|window| window == part));
        names.extend(found.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
    names.sort();
    names.dedup();
    (files, names)
}

fn missing_library() -> Outcome {
    let library = Some(PathBuf::from("/nowhere/libnvidia-ml.so.1"));
    match Probe::new(Config { library, ..Config::default() }).sample() {
        Err(down @ Down::NoLibrary(_)) => Outcome::Passed(json!(down)),
        other => Outcome::Failed("it is not".to_owned(), json!(format!("{other:?}"))),
    }
}

fn sessions() -> Outcome {
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut counts = Vec::new();
    for _ in 0..SESSIONS {
        let mut probe = probe();
        if let Err(down) = probe.sample() {
            return Outcome::Failed(format!("cannot open NVML again: {down}"), Value::Null);
        }
        drop(probe);
        counts.push(open_files());
    }
    let grew = counts.last() > counts.first();
    judge(grew.then(|| "open files grow with each session".to_owned()).into_iter().collect(), json!(counts))
}

fn report(probe: &mut Probe) -> Outcome {
    match Report::read(probe, &ProcFs::new("/proc")) {
        Ok(report) => {
            println!("{report}");
            Outcome::Passed(json!(report))
        }
        Err(down) => Outcome::Failed(down.to_string(), Value::Null),
    }
}
