//! Live memory from the scripted driver to the scheduler's board: an agent and receivers, over real connections.

#[path = "../common/mod.rs"]
mod common;
mod replicas;
mod tokens;

use std::time::{Duration, Instant};

use berth_cluster::{
    lease::{Leading, Lease},
    telemetry::{Board, Denied, Identify, Names, Settings, Shared, serve},
};
use berth_model::{DeviceHealth, DeviceIndex, Event, Millis, NodeId, PodId, Timestamp};
use common::{Machine, sound};
use nvml_fake::script::Script;
use nvml_probe::{
    Config,
    agent::{self, Running, SamplerSettings, SchedulerSettings},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

const SOON: Duration = Duration::from_secs(30);
const NODE: &str = "n-1";

/// The model of these tests: one node, with the devices of the script.
struct Model;

const DEVICES: [&str; 3] = [
    "gpu-00000000-0000-0000-0000-000000000000",
    "gpu-00000000-0000-0000-0000-000000000001",
    "gpu-00000000-0000-0000-0000-000000000002",
];

impl Names for Model {
    fn node(&self, name: &str) -> Option<NodeId> {
        (name == NODE).then_some(NodeId(1))
    }

    fn devices(&self, _: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)> {
        DEVICES.into_iter().map(|name| (name, DeviceHealth::Healthy))
    }

    fn pod(&self, _: &str) -> Option<PodId> {
        None
    }
}

/// Everybody with the right word is the node.
struct Word;

impl Identify for Word {
    async fn node(&self, token: &str) -> Result<String, Denied> {
        if token == "word" { Ok(NODE.to_owned()) } else { Err(Denied::Unknown("not the word".to_owned())) }
    }
}

/// A scheduler's receiver.
struct Replica {
    board: Shared,
    address: String,
    leading: watch::Sender<Leading>,
    /// Of its own: with it all its connections end, as with a process.
    runtime: Option<Runtime>,
}

impl Replica {
    fn start(at: &str, leads: bool, settings: Settings, identify: impl Identify) -> Self {
        // One that was there before may take a moment to be gone.
        let begun = Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(at) {
                Ok(listener) => break listener,
                Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let board = Shared::new(Board::new(Millis::from_secs(60)));
        let (leading, told) = watch::channel(if leads { Leading::Always } else { Leading::No });
        let runtime = Runtime::new().unwrap();
        let heard = board.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            serve(listener, settings, heard, Lease::told(told), identify).await.unwrap();
        });
        Self { board, address, leading, runtime: Some(runtime) }
    }

    /// Waits for an event that is as wanted.
    async fn until(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let begun = Instant::now();
        let mut all = Vec::new();
        loop {
            all.extend(self.board.lock().events(&Model, Timestamp(0)));
            if all.iter().any(&wanted) {
                return all;
            }
            assert!(begun.elapsed() < SOON, "{all:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Gone, with its connections.
impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn agent(machine: &Machine, scheduler: SchedulerSettings) -> Running {
    let probe = Config { library: Some(machine.library()), sys_root: "/nowhere".into() };
    agent::start(agent::Settings {
        node: NODE.to_owned(),
        interval: Duration::from_millis(50),
        listen: "127.0.0.1:0".parse().unwrap(),
        sampler: SamplerSettings { probe, ..SamplerSettings::default() },
        kubernetes: None,
        scheduler: Some(scheduler),
    })
    .await
    .unwrap()
}

fn scheduler(machine: &Machine, address: &str, word: &str) -> SchedulerSettings {
    let token = machine.folder().join("token");
    std::fs::write(&token, word).unwrap();
    SchedulerSettings { address: address.to_owned(), ca: None, token }
}

fn foreign(mib: i64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::DeviceForeign { memory, .. } if memory.0 == mib)
}

fn used(script: &mut Script, mib: u64) {
    for device in &mut script.devices {
        device.memory.as_mut().unwrap().used = mib << 20;
    }
}

fn ticks(running: &Running) -> u64 {
    running.state.borrow().tick
}
