//! Real memory: taken by a CUDA process, seen, attributed, released, and seen to be gone.

use std::{
    thread,
    time::{Duration, Instant},
};

use nvml_probe::{
    Bytes, DeviceSample, Down, GpuProcess, Probe, Reading,
    proc::{Owner, ProcFs},
};
use serde_json::{Value, json};

use crate::{Log, Outcome, cgroup, checks, cuda::Cuda, judge};

const TAKEN: u64 = 2 << 30;
/// The driver takes memory in pages of 2 MiB, and may take a few for itself.
const TOLERANCE: u64 = 64 << 20;
/// How long a change may take to be seen: the agent samples each second.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// A probe that looks at one device.
struct Watch {
    probe: Probe,
    uuid: String,
    pid: u32,
}

/// What is seen at one time.
struct Seen {
    used: u64,
    process: Option<GpuProcess>,
    pids: Vec<u32>,
}

impl Watch {
    fn look(&mut self) -> Result<Seen, String> {
        let text = |down: Down| down.to_string();
        let inventory = self.probe.inventory().map_err(text)?;
        let is_it = |uuid: &Reading<String>| uuid.known() == Some(&self.uuid);
        let device = inventory.devices.iter().find(|device| is_it(&device.uuid));
        let index = device.ok_or_else(|| format!("CUDA's device {} is not NVML's", self.uuid))?.index;
        let sample = self.probe.sample().map_err(text)?;
        let device: &DeviceSample = &sample.devices[index as usize];
        let memory = device.memory.known().ok_or("its memory is unknown")?;
        let processes = &device.processes.known().ok_or("its processes are unknown")?.list;
        Ok(Seen {
            used: memory.used.0,
            process: processes.iter().find(|process| process.pid.0 == self.pid).cloned(),
            pids: processes.iter().map(|process| process.pid.0).collect(),
        })
    }

    /// Looks until it is as expected; how long that took.
    fn until(&mut self, expected: impl Fn(&Seen) -> bool) -> Result<(Seen, Duration), String> {
        let begun = Instant::now();
        loop {
            let seen = self.look()?;
            if expected(&seen) {
                return Ok((seen, begun.elapsed()));
            }
            if begun.elapsed() > SEEN_WITHIN {
                return Err(format!("not seen within {SEEN_WITHIN:?}: {} bytes used", seen.used));
            }
            thread::sleep(POLL);
        }
    }
}

pub(crate) fn run(log: &mut Log) {
    let cuda = match Cuda::start() {
        Ok(cuda) => cuda,
        Err(error) => {
            log.add("memory is seen and released", Outcome::Failed(error, Value::Null));
            return;
        }
    };
    let mut watch = Watch { probe: checks::probe(), uuid: cuda.uuid.clone(), pid: cuda.pid() };
    let mut cuda = Some(cuda);
    if let Err(error) = steps(log, &mut watch, &mut cuda) {
        log.add("memory is seen and released", Outcome::Failed(error, Value::Null));
    }
}

fn steps(log: &mut Log, watch: &mut Watch, cuda: &mut Option<Cuda>) -> Result<(), String> {
    let Some(process) = cuda.as_mut() else { return Ok(()) };
    let context = watch.look()?;
    let begun = Instant::now();
    process.take(TAKEN)?;
    let taking = begun.elapsed();
    let full = watch.until(|seen| seen.used >= context.used + TAKEN)?;
    log.add("taken memory is seen", in_bounds(full.0.used - context.used, TAKEN, full.1, taking));
    let listed = is_listed(&context, &full.0, watch.pid);
    log.add("the process is listed with its memory", listed);
    log.add("the process is attributed", attributed(&full.0, watch.pid));
    log.add("a process in a pod's cgroup is that pod's", cgroup::in_a_pod(watch.pid));
    let begun = Instant::now();
    process.release()?;
    let releasing = begun.elapsed();
    let after = watch.until(|seen| seen.used <= context.used + TOLERANCE)?;
    log.add(
        "released memory is seen to be gone",
        in_bounds(full.0.used - after.0.used, TAKEN, after.1, releasing),
    );
    let with_context = watch.look()?;
    if let Some(cuda) = cuda.take() {
        cuda.end();
    }
    let gone = watch.until(|seen| seen.process.is_none() && seen.used < with_context.used);
    let seen = match gone {
        Ok((seen, time)) => {
            Outcome::Passed(json!({ "context": with_context.used - seen.used, "ms": time.as_millis() }))
        }
        Err(error) => Outcome::Failed(error, Value::Null),
    };
    log.add("the ended process and its context are gone", seen);
    Ok(())
}

fn in_bounds(change: u64, expected: u64, seen_after: Duration, call: Duration) -> Outcome {
    let seen = json!({
        "bytes": change, "expected": expected, "seen after us": seen_after.as_micros(), "call us": call.as_micros(),
    });
    let wrong = change.abs_diff(expected) > TOLERANCE;
    judge(wrong.then(|| format!("the change is {change}, not {expected}")).into_iter().collect(), seen)
}

/// In a process namespace of its own, this program cannot know what NVML calls its child.
fn is_listed(context: &Seen, full: &Seen, pid: u32) -> Outcome {
    let seen = json!({
        "pid": pid, "NVML's": full.pids, "with context": context.process, "with memory": full.process,
    });
    match &full.process {
        Some(process) => match process.used.known() {
            Some(Bytes(used)) if *used >= TAKEN => Outcome::Passed(seen),
            Some(used) => Outcome::Failed(format!("only {used} of it"), seen),
            None => Outcome::Failed(format!("its memory is {}", process.used), seen),
        },
        None if !ProcFs::new("/proc").host_pids() => {
            Outcome::LeftOut("these are not the host's processes, as which NVML knows them".to_owned(), seen)
        }
        None => Outcome::Failed("it is not".to_owned(), seen),
    }
}

fn attributed(full: &Seen, pid: u32) -> Outcome {
    let owner = ProcFs::new("/proc").owner(nvml_probe::Pid(pid));
    let others: Vec<Value> = full
        .pids
        .iter()
        .map(|pid| json!({ "pid": pid, "owner": ProcFs::new("/proc").owner(nvml_probe::Pid(*pid)) }))
        .collect();
    let seen = json!({ "owner": owner, "all": others });
    match owner {
        Owner::Unknown { reason } => Outcome::Failed(reason, seen),
        Owner::Pod { .. } | Owner::Container { .. } | Owner::Foreign => Outcome::Passed(seen),
    }
}
