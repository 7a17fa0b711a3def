//! What the agents of 10,000 nodes with 8 devices each cost the scheduler, sampled each second:
//! `cargo bench -p berth-bench --bench telemetry`.
//!
//! Two processes: this one plays the agents, each with a connection of its own, TLS as in a cluster; it starts itself as the
//! scheduler's receiver, which hands what it hears to an engine with 80,000 running pods, four times a second. Measured is
//! the CPU time of that process, per second: all of it, and of the deciding thread alone. Figures are of one run and one machine;
//! the target is at most 0.2 of a core.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_bench::contention;
use berth_cluster::lease::Lease;
use berth_cluster::telemetry::{Board, Denied, Identify, Names, Settings, Shared, serve};
use berth_engine::Engine;
use berth_model::{Budget, DeviceHealth, Millis, NodeId, PodId, Timestamp, WorkloadId};
use nvml_probe::agent::REST_EACH;
use nvml_probe::agent::wire::telemetry_client::TelemetryClient;
use nvml_probe::agent::wire::{DeviceState, Health, Pod, PodMemory, Snapshot, Update};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const NODES: u32 = 10_000;
const DEVICES: u32 = 8;
const ROLE: &str = "BERTH_BENCH_TELEMETRY";
const MEASURED: Duration = Duration::from_secs(20);
const ROUND: Duration = Duration::from_millis(250);
/// Connections that are made at a time.
const AT_ONCE: usize = 64;

/// What differs from second to second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// Nothing: a heartbeat every ten seconds.
    Nothing,
    /// The memory of every pod, which an agent tells every three seconds.
    Pods,
    /// That, and the foreign memory of every device by so much that it is told each second.
    All,
}

fn main() {
    let open = Rlimit { current: Some(1 << 16), maximum: Some(1 << 16) };
    if setrlimit(Resource::Nofile, open).is_err() {
        eprintln!("the limit of open files may be too low for {NODES} connections");
    }
    match std::env::var(ROLE).as_deref() {
        Ok("receiver") => receive(),
        _ => play(),
    }
}

/// `node-<n>`, `d-<n>`, `p-<workload>`.
struct Model;

fn number(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

impl Names for Model {
    fn node(&self, name: &str) -> Option<NodeId> {
        number(name).map(NodeId)
    }

    fn devices(&self, _: NodeId) -> impl Iterator<Item = (&str, DeviceHealth)> {
        ["d-0", "d-1", "d-2", "d-3", "d-4", "d-5", "d-6", "d-7"]
            .map(|name| (name, DeviceHealth::Healthy))
            .into_iter()
    }

    fn pod(&self, uid: &str) -> Option<PodId> {
        number(uid).map(|number| PodId { workload: WorkloadId(number.into()), role: 0, index: 0 })
    }
}

/// The token is the node's name.
struct Anybody;

impl Identify for Anybody {
    async fn node(&self, token: &str) -> Result<String, Denied> {
        Ok(token.to_owned())
    }
}

fn receive() {
    let signed = rcgen::generate_simple_self_signed(vec!["receiver".to_owned()]).expect("a certificate");
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let board = Shared::new(Board::new(Millis::from_secs(60)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let settings = Settings { tls: Some((certificate.clone().into(), key.into())), ..Settings::default() };
    let heard = board.clone();
    runtime.spawn(async move { serve(listener, settings, heard, Lease::always(), Anybody).await.unwrap() });
    let mut engine = contention::borrowed(NODES);
    println!("{address}\n{}", certificate.replace('\n', "|"));
    let (out, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = out.send(line);
        }
    });
    let mut events = 0_u64;
    let begun = Instant::now();
    loop {
        events += round(&mut engine, &board, Timestamp(begun.elapsed().as_millis() as i64));
        match asked.try_recv() {
            Ok(_) => println!("{} {} {events}", cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime)),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            Err(std::sync::mpsc::TryRecvError::Empty) => std::thread::sleep(ROUND),
        }
    }
}

/// Takes in what was heard, and decides.
fn round(engine: &mut Engine, board: &Shared, now: Timestamp) -> u64 {
    let events = board.lock().events(&Model, now);
    let count = events.len() as u64;
    for event in events {
        engine.apply(event).expect("the engine takes it");
    }
    engine.decide(now, Budget { steps: 1_000 });
    count
}

/// Microseconds.
fn cpu(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

/// The receiver's process.
struct Receiver {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
    certificate: String,
}

impl Receiver {
    fn start() -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(own)
            .env(ROLE, "receiver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts itself");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = || {
            let mut text = String::new();
            out.read_line(&mut text).expect("it speaks");
            text.trim_end().to_owned()
        };
        let address = line().parse().expect("an address");
        let certificate = line().replace('|', "\n");
        Self { child, out, address, certificate }
    }

    /// Microseconds of CPU of the process, of the deciding thread, and events.
    fn ask(&mut self) -> [u64; 3] {
        writeln!(self.child.stdin.as_mut().expect("it is piped"), "now").expect("it listens");
        let mut text = String::new();
        self.out.read_line(&mut text).expect("it answers");
        let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
        std::array::from_fn(|_| numbers.next().expect("three numbers"))
    }
}

fn play() {
    let mut receiver = Receiver::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (changes, told) = tokio::sync::watch::channel(Changes::Nothing);
    let begun = Instant::now();
    let agents = runtime.block_on(connect(&receiver, told));
    eprintln!("{agents} agents are connected after {:.1} s", begun.elapsed().as_secs_f64());
    println!(
        "| each second, 10,000 nodes x 8 devices | events/s | CPU of the process | of that, deciding thread |"
    );
    println!("|---|---|---|---|");
    for what in [Changes::Nothing, Changes::Pods, Changes::All] {
        changes.send_replace(what);
        std::thread::sleep(Duration::from_secs(3));
        let (before, begun) = (receiver.ask(), Instant::now());
        std::thread::sleep(MEASURED);
        let (after, took) = (receiver.ask(), begun.elapsed().as_secs_f64());
        let per_second = |at: usize| (after[at] - before[at]) as f64 / took;
        println!(
            "| {what:?} changes | {:.0} | {:.3} core | {:.3} core |",
            per_second(2),
            per_second(0) / 1e6,
            per_second(1) / 1e6
        );
    }
    drop(receiver.child.stdin.take());
    let _ = receiver.child.wait();
    runtime.shutdown_background();
}

/// Connects all agents; they speak until the end.
async fn connect(receiver: &Receiver, told: tokio::sync::watch::Receiver<Changes>) -> u32 {
    let certificate = Certificate::from_pem(&receiver.certificate);
    let tls = ClientTlsConfig::new().ca_certificate(certificate).domain_name("receiver");
    let endpoint = Endpoint::from_shared(format!("https://{}", receiver.address)).expect("an address");
    let endpoint = endpoint.tls_config(tls).expect("TLS").tcp_nodelay(true);
    let at_once = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut connecting = Vec::new();
    for node in 0..NODES {
        let (endpoint, told, at_once) = (endpoint.clone(), told.clone(), Arc::clone(&at_once));
        connecting.push(tokio::spawn(async move {
            let _one = at_once.acquire_owned().await.expect("it is open");
            let channel = endpoint.connect().await.expect("the receiver accepts");
            let (out, updates) = mpsc::channel(1);
            out.send(first(node)).await.expect("there is room");
            tokio::spawn(speak(node, out, told));
            let mut request = Request::new(ReceiverStream::new(updates));
            let token = format!("Bearer node-{node}").parse().expect("a header");
            request.metadata_mut().insert("authorization", token);
            tokio::spawn(async move {
                if let Err(status) = TelemetryClient::new(channel).report(request).await {
                    eprintln!("a stream ended: {}", status.message());
                }
            });
        }));
    }
    let mut connected = 0;
    for agent in connecting {
        agent.await.expect("it connects");
        connected += 1;
    }
    connected
}

fn first(node: u32) -> Update {
    let devices = (0..DEVICES).map(|device| format!("d-{device}")).collect();
    Update {
        sequence: 1,
        snapshot: Some(Snapshot { node: format!("node-{node}"), devices }),
        pods: (0..DEVICES).map(|at| Pod { number: at, uid: format!("p-{}", node * DEVICES + at) }).collect(),
        devices: devices_at(0),
        memory: memory_at(0),
        gone: Vec::new(),
    }
}

fn devices_at(second: u64) -> Vec<DeviceState> {
    let foreign_mib = Some(300 + second % 2 * 64);
    (0..DEVICES).map(|device| DeviceState { device, health: Health::Healthy.into(), foreign_mib }).collect()
}

fn memory_at(second: u64) -> Vec<PodMemory> {
    (0..DEVICES).map(|at| PodMemory { pod: at, device: at, mib: 40_000 + second % 100 }).collect()
}

/// One agent: says each second what changed, each node at another moment of it.
async fn speak(node: u32, out: mpsc::Sender<Update>, told: tokio::sync::watch::Receiver<Changes>) {
    let moment = Duration::from_micros(u64::from(node) * 100);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + moment, Duration::from_secs(1));
    let (mut sequence, mut second) = (1, 0);
    loop {
        ticks.tick().await;
        second += 1;
        let changes = *told.borrow();
        // As an agent does: what is foreign at once, the rest every few seconds, else a heartbeat.
        let each = match changes {
            Changes::Nothing => 10,
            Changes::Pods => REST_EACH.as_secs(),
            Changes::All => 1,
        };
        if (second + u64::from(node)) % each > 0 {
            continue;
        }
        sequence += 1;
        let mut update = Update { sequence, ..Update::default() };
        if changes != Changes::Nothing {
            update.memory = memory_at(second);
        }
        if changes == Changes::All {
            update.devices = devices_at(second);
        }
        if out.send(update).await.is_err() {
            return;
        }
    }
}
