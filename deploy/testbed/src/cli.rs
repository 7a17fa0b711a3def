//! The command line: `up` starts a testbed for hand work, `build` builds the programs.

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;

use crate::fake::{AT_ONCE, NodeTemplate, create_all};
use crate::machine::say;
use crate::node::BOX_IMAGE;
use crate::{ControllerManager, Kwok, Node, Options, Program, Result, Scheduler, Testbed};

/// A real Kubernetes on this machine, for trying and testing Berth.
///
/// The first use builds the programs from source with Go, which takes about ten minutes; they are kept under
/// target/testbed. Everything that is started ends with this command, whatever ends it.
#[derive(Debug, Parser)]
#[command(name = "berth-testbed", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a control plane, say how to use it, and keep it until Ctrl-C
    Up(Up),
    /// Build the programs that are not built yet
    Build {
        /// Only these, by name; all if none is named
        #[arg(value_parser = program)]
        programs: Vec<Program>,
    },
}

#[derive(Debug, Args)]
struct Up {
    /// Fake nodes to create, named node-0, node-1, ...
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    nodes: usize,
    /// GPUs of each fake node
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    gpus: u32,
    /// Start a real node of this name, with containerd and kubelet, as root; can be given several times
    #[arg(long = "real-node", value_name = "NAME")]
    real_nodes: Vec<String>,
    /// Start kwok: pods that are bound to fake nodes run, and end when they are told to
    #[arg(long)]
    kwok: bool,
    /// Start Kubernetes' own scheduler
    #[arg(long)]
    scheduler: bool,
    /// Leave out the controller manager: no service accounts, jobs, claims from templates
    #[arg(long)]
    no_controllers: bool,
    /// A feature gate
    #[arg(long = "feature-gate", value_name = "NAME=true|false", value_parser = gate)]
    feature_gates: Vec<(String, bool)>,
    /// A flag for the API server, such as --api-server-flag=--audit-log-path=-
    #[arg(long = "api-server-flag", value_name = "FLAG", allow_hyphen_values = true)]
    api_server_flags: Vec<String>,
    /// Let the API server take thousands of requests at once
    #[arg(long)]
    load: bool,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let line = Line::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match line.command {
            Command::Up(wanted) => up(&wanted).await,
            Command::Build { programs } => build(&programs).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn build(programs: &[Program]) -> Result<()> {
    let programs = if programs.is_empty() { &Program::ALL } else { programs };
    for &program in programs {
        println!("{} {}: {}", program.name(), program.version(), program.path().await?.display());
    }
    Ok(())
}

async fn up(wanted: &Up) -> Result<()> {
    // One listener from the first moment to the last: a signal between two of them would be lost.
    let mut end = pin!(end());
    let (testbed, nodes) = tokio::select! {
        begun = begin(wanted) => begun?,
        // What was started so far ends with what is dropped here.
        () = &mut end => return Ok(()),
    };
    tell(&testbed, &nodes);
    end.await;
    say("ending");
    Ok(())
}

async fn begin(wanted: &Up) -> Result<(Testbed, Vec<Node>)> {
    let mut options = Options::new();
    if !wanted.no_controllers {
        options = options.controller_manager(ControllerManager::new());
    }
    if wanted.scheduler {
        options = options.scheduler(Scheduler::new());
    }
    if wanted.kwok {
        options = options.kwok(Kwok::new());
    }
    if wanted.load {
        options = options.for_load();
    }
    for (name, on) in &wanted.feature_gates {
        options = options.feature_gate(name, *on);
    }
    for flag in &wanted.api_server_flags {
        options = options.api_server_flag(flag);
    }
    let testbed = Testbed::start(options).await?;
    let nodes: Api<NodeObject> = Api::all(testbed.client().await?);
    let template = NodeTemplate::new("node").gpus(wanted.gpus);
    create_all(&nodes, template.nodes(0..wanted.nodes), AT_ONCE).await?;
    let mut real = Vec::new();
    for name in &wanted.real_nodes {
        real.push(Node::start(&testbed, name.as_str()).await?);
    }
    Ok((testbed, real))
}

fn tell(testbed: &Testbed, nodes: &[Node]) {
    let mut text = format!(
        "The API server is at {}.\nTo use it from another terminal:\n\n    export KUBECONFIG={}\n    kubectl get nodes\n\n",
        testbed.server(),
        testbed.admin().kubeconfig().display()
    );
    for node in nodes {
        let (name, folder) = (node.name(), node.folder().display());
        text.push_str(&format!(
            "The node {name} is in {folder}; pods on it can use the image {BOX_IMAGE}.\n"
        ));
    }
    let logs = testbed.folder().join("logs");
    text.push_str(&format!("Logs are in {}. Ctrl-C ends everything.\n", logs.display()));
    // Nobody who reads it is no reason to end.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Returns at Ctrl-C, SIGTERM, or when the terminal goes away.
async fn end() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

fn program(name: &str) -> std::result::Result<Program, String> {
    Program::ALL.into_iter().find(|program| program.name() == name).ok_or_else(|| {
        let names = Program::ALL.map(Program::name).join(", ");
        format!("there are {names}")
    })
}

fn gate(text: &str) -> std::result::Result<(String, bool), String> {
    let (name, on) = text.split_once('=').ok_or("it must be NAME=true or NAME=false")?;
    let on = on.parse().map_err(|_| format!("{on:?} must be true or false"))?;
    Ok((name.to_owned(), on))
}
