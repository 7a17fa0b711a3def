//! The agent's sampler on the real driver: whose real memory is, whether the device is fit, and what a tick costs.

use std::{sync::Arc, thread, time::Duration};

use nvml_probe::{
    Config,
    agent::{DeviceState, DriverState, NodeState, PodIndex, Sampler, SamplerSettings},
};
use rustix::time::ClockId;
use serde_json::{Value, json};

use crate::{
    Log, Outcome,
    cost::{NODE_DEVICES, cpu_time},
    cuda::Cuda,
    judge, library,
};

const TAKEN: u64 = 2 << 30;
const TOLERANCE: u64 = 64 << 20;
/// Ticks after which what was taken must be seen: what no process accounts for is believed after three.
const SEEN_WITHIN: usize = 6;
const ROUNDS: u32 = 200;
/// What a tick on a node of [`NODE_DEVICES`] may cost.
const TICK_MAX: Duration = Duration::from_millis(2);

pub(crate) fn run(log: &mut Log) {
    let mut sampler = Sampler::new(SamplerSettings {
        probe: Config { library: library(), ..Config::default() },
        ..SamplerSettings::default()
    });
    let first = tick(&mut sampler);
    if !matches!(first.driver, DriverState::Up(_)) || first.devices.is_empty() {
        log.add("the agent sees the devices", Outcome::Failed(format!("{:?}", first.driver), Value::Null));
        return;
    }
    log.add("the agent finds the devices fit", fit(&first));
    if let Err(error) = memory(log, &mut sampler) {
        log.add("the agent attributes real memory", Outcome::Failed(error, Value::Null));
    }
    cost(log, &mut sampler);
}

fn tick(sampler: &mut Sampler) -> NodeState {
    sampler.tick(&Arc::new(PodIndex::default()))
}

fn fit(state: &NodeState) -> Outcome {
    let words: Vec<Value> = state
        .devices
        .iter()
        .map(|device| {
            let recovery = device.health.as_ref().map(|health| &health.recovery);
            json!({
                "name": device.name, "fitness": device.fitness.word(), "recovery": recovery,
                "can be given out, MiB": device.grantable_mib, "reserved, MiB": device.reserved_mib,
            })
        })
        .collect();
    let wrong = state.devices.iter().filter(|device| device.fitness.word() != "healthy");
    judge(wrong.map(|device| format!("{} is {}", device.name, device.fitness.word())).collect(), json!(words))
}

/// What belongs to no pod here, or to nobody who is known.
fn others(device: &DeviceState) -> u64 {
    let shares = device.shares.as_ref();
    shares.map_or(0, |shares| shares.foreign.map_or(0, |bytes| bytes.0) + shares.unknown.0)
}

fn memory(log: &mut Log, sampler: &mut Sampler) -> Result<(), String> {
    let mut cuda = Cuda::start()?;
    let name = cuda.uuid.to_ascii_lowercase();
    let mut look = || {
        thread::sleep(Duration::from_millis(50));
        let state = tick(sampler);
        let device = state.device(&name).cloned();
        device.ok_or_else(|| format!("CUDA's device {name} is not the agent's"))
    };
    let settle = |look: &mut dyn FnMut() -> Result<DeviceState, String>| {
        (0..SEEN_WITHIN).try_fold(None, |_, _| look().map(Some)).map(|last| last.map_or(0, |it| others(&it)))
    };
    let before = settle(&mut look)?;
    cuda.take(TAKEN)?;
    let full = settle(&mut look)?;
    let seen = look()?;
    cuda.release()?;
    let after = settle(&mut look)?;
    let change = full.saturating_sub(before);
    let shares = format!("{:?}", seen.shares);
    let figures = json!({ "before": before, "with 2 GiB": full, "released": after, "shares": shares });
    let mut wrong = Vec::new();
    if change.abs_diff(TAKEN) > TOLERANCE {
        wrong.push(format!("{change} more bytes are others', not {TAKEN}"));
    }
    if after > before + TOLERANCE {
        wrong.push(format!("{after} are still others', {before} before"));
    }
    log.add("the agent attributes real memory", judge(wrong, figures));
    cuda.end();
    Ok(())
}

fn cost(log: &mut Log, sampler: &mut Sampler) {
    let cpu = || cpu_time(ClockId::ThreadCPUTime);
    let devices = u32::try_from(tick(sampler).devices.len()).unwrap_or(u32::MAX);
    let begun = cpu();
    for _ in 0..ROUNDS {
        tick(sampler);
    }
    let each = (cpu() - begun) / ROUNDS;
    let node = each * NODE_DEVICES / devices;
    let figures = json!({
        "devices": devices, "a tick, cpu us": each.as_micros() as u64,
        "a tick on 8 devices, by proportion, cpu us": node.as_micros() as u64,
    });
    let wrong =
        (node > TICK_MAX).then(|| format!("{node:?} for {NODE_DEVICES} devices, at most {TICK_MAX:?}"));
    log.add(
        "cost of the agent's tick, counters and events included",
        judge(wrong.into_iter().collect(), figures),
    );
}
