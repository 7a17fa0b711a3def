//! `nvml-probe`: the node agent's program.

mod daemon;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use nvml_probe::{Config, Down, Probe, proc::ProcFs, report::Report};

/// The exit code of a node on which NVML does not work; 1 is any other failure, 2 a wrong command line.
const EXIT_DOWN: u8 = 3;

/// Berth's node agent: what NVML sees of this node's GPUs, and whose it is.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The driver's library, if it is not where the loader finds it.
    #[arg(long, global = true, env = "NVML_PROBE_LIBRARY")]
    library: Option<PathBuf>,
    /// The host's /proc.
    #[arg(long, global = true, default_value = "/proc")]
    proc_root: PathBuf,
    /// The host's /sys.
    #[arg(long, global = true, default_value = "/sys")]
    sys_root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print devices, processes and pods.
    List {
        /// As JSON; what is unknown is `{"unknown": "why"}`.
        #[arg(long)]
        json: bool,
    },
    /// Run as the node's agent, until SIGTERM.
    Run(Box<daemon::Run>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = Config { library: cli.library, sys_root: cli.sys_root };
    match cli.command {
        Command::List { json } => list(&mut Probe::new(config), cli.proc_root, json),
        Command::Run(run) => match daemon::run(*run, config, cli.proc_root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("nvml-probe: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn list(probe: &mut Probe, proc_root: PathBuf, json: bool) -> ExitCode {
    let report = Report::read(probe, &ProcFs::new(proc_root));
    match (&report, json) {
        (Ok(report), false) => print!("{report}"),
        (Ok(report), true) => return print_json(report, ExitCode::SUCCESS),
        (Err(down), true) => {
            eprintln!("nvml-probe: {down}");
            return print_json(&serde_json::json!({ "down": down }), ExitCode::from(EXIT_DOWN));
        }
        (Err(down), false) => {
            eprintln!("nvml-probe: {down}{}", advice(down));
            return ExitCode::from(EXIT_DOWN);
        }
    }
    ExitCode::SUCCESS
}

fn print_json(value: &impl serde::Serialize, code: ExitCode) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            println!("{text}");
            code
        }
        Err(error) => {
            eprintln!("nvml-probe: cannot write JSON: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What to do about it.
fn advice(down: &Down) -> &'static str {
    match down {
        Down::NoLibrary(_) => {
            "\nThis node has no NVIDIA driver, or its library is elsewhere: name it with --library. In a container, mount \
             the host's driver."
        }
        Down::NotLoaded => "\nLoad the kernel module (modprobe nvidia), or see why it did not load (dmesg).",
        Down::VersionMismatch => {
            "\nThe driver was updated: unload the old kernel module, or restart the node."
        }
        Down::NoPermission => "\nRun as root, or with access to /dev/nvidiactl and /dev/nvidia*.",
        Down::Gone(_) | Down::Failing(_) => "",
    }
}
