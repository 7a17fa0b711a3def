//! The command line.

use crate::config::Config;
use crate::run;
use crate::trace::Exporter;
use anyhow::Context;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// Berth's scheduler. Everything else is set in the configuration file; deploy/scheduler.yaml has every default.
#[derive(Parser, Debug)]
#[command(name = "berth-scheduler", version)]
struct Flags {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BERTH_CONFIG")]
    config: Option<PathBuf>,
    /// In place of the file's `kubeconfig`.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// In place of the file's `listen`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// In place of the file's `telemetry.listen`.
    #[arg(long, value_name = "ADDRESS")]
    telemetry_listen: Option<SocketAddr>,
    /// In place of the file's `schedulerNames`; may be given several times.
    #[arg(long, value_name = "NAME")]
    scheduler_name: Vec<String>,
    /// In place of the file's `eventLog.path`.
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// In place of the file's `lease.enabled`.
    #[arg(long, value_name = "BOOL")]
    lease: Option<bool>,
    /// What is logged, as in `info,berth_cluster=debug`.
    #[arg(long, value_name = "FILTER", env = "BERTH_LOG", default_value = "info")]
    log: String,
    /// How it is logged.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON lines.
    Json,
}

/// Runs the program with its arguments, its name first.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = Flags::try_parse_from(arguments).unwrap_or_else(|error| error.exit());
    match begin(&flags) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(flags: &Flags) -> anyhow::Result<ExitCode> {
    let config = configuration(flags)?;
    let identity = identity();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exporter = {
        let _within = runtime.enter();
        Exporter::start(&config.tracing, &identity)?
    };
    log(flags, exporter.as_ref())?;
    // A part that is gone while the rest goes on would be worse than none: another replica takes over, or this one is
    // started again.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        told(info);
        std::process::abort();
    }));
    let code = runtime.block_on(serve(&config, identity));
    if let Some(exporter) = exporter {
        exporter.end();
    }
    code
}

/// Lines go to standard error, and spans to a collector, if there is one.
fn log(flags: &Flags, exporter: Option<&Exporter>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&flags.log).with_context(|| format!("--log: is `{}`", flags.log))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match flags.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    match exporter {
        // One filter for all: what is not logged costs nothing.
        None => registry().with(lines).with(filter).init(),
        Some(exporter) => registry().with(lines.with_filter(filter)).with(exporter.layer()).init(),
    }
    Ok(())
}

fn configuration(flags: &Flags) -> anyhow::Result<Config> {
    let mut config = match &flags.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(kubeconfig) = &flags.kubeconfig {
        config.kubeconfig = Some(kubeconfig.clone());
    }
    if let Some(listen) = flags.listen {
        config.listen = listen;
    }
    if flags.telemetry_listen.is_some() {
        config.telemetry.listen = flags.telemetry_listen;
    }
    if !flags.scheduler_name.is_empty() {
        config.scheduler_names = flags.scheduler_name.iter().cloned().collect();
    }
    if let Some(path) = &flags.event_log {
        config.event_log.path = Some(path.clone());
    }
    if let Some(enabled) = flags.lease {
        config.lease.enabled = enabled;
    }
    config.check()?;
    Ok(config)
}

async fn serve(config: &Config, identity: String) -> anyhow::Result<ExitCode> {
    let mut ended = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut running = run::start(config, identity.clone()).await?;
    tracing::info!(identity, address = %running.address, schedulers = ?config.scheduler_names, "started");
    tokio::select! {
        _ = ended.recv() => {}
        _ = interrupted.recv() => {}
        () = running.lost() => {
            tracing::error!("the lease is lost; the process ends, so that it comes back with nothing assumed");
            return Ok(ExitCode::FAILURE);
        }
    }
    tracing::info!("ends");
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The host's name, and something that no other process has, this one after a restart included.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}_{:x}-{:x}", host.trim(), std::process::id(), since.as_micros())
}
