//! The configuration: one file, every value with its default, and flags for what differs from replica to replica.
//!
//! `deploy/scheduler.yaml` is the file with every default; a test holds it to that.

use anyhow::{Context, bail};
use berth_cluster::{ActSettings, bind, evict, lease, mirror, write};
use berth_model::{GpuMemoryMib, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that can be set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// `schedulerName`s of the pods that are scheduled; `default-scheduler` among them to replace the default one.
    pub scheduler_names: BTreeSet<String>,
    /// A kubeconfig file; without one as kubectl would, else as the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Where `/metrics`, `/healthz`, `/readyz` and `/debug` are served.
    pub listen: SocketAddr,
    /// Which of several replicas acts.
    pub lease: Lease,
    /// How decisions are made.
    pub decide: Decide,
    /// Binds.
    pub bind: Bind,
    /// Evictions.
    pub evict: Evict,
    /// Conditions, annotations and Events.
    pub write: Write,
    /// The event log.
    pub event_log: EventLog,
    /// What the nodes' agents say.
    pub telemetry: Telemetry,
    /// Traces by OpenTelemetry.
    pub tracing: Tracing,
    /// The webhook for pods that ask for parts of GPUs by annotation.
    pub admission: Admission,
}

/// Which of several replicas acts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lease {
    /// Without it this is the only replica.
    pub enabled: bool,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How long it holds without being renewed.
    pub duration_seconds: u32,
    /// How often it is renewed and looked at.
    pub renew_millis: u32,
}

/// How decisions are made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Decide {
    /// Attempts to start a workload in one round; what is left is taken up by the next.
    pub steps_max: u64,
    /// While so many binds are under way no more is decided.
    pub binds_max: u32,
    /// Memory of others on a device up to this much counts as reserved; above, no whole-GPU pod goes there (S17).
    pub foreign_allowance_mib: u32,
}

/// Binds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bind {
    /// Requests at a time, each on a connection of its own.
    pub concurrency: u32,
    /// How long one may take before its answer counts as lost.
    pub timeout_seconds: u32,
    /// How long the volumes of a pod may take to be made.
    pub volumes_within_seconds: u32,
    /// How long a gang may take to be completed once a bind of its has failed; then its start is undone (S5).
    pub gang_within_seconds: u32,
}

/// Evictions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Evict {
    /// Requests at a time.
    pub concurrency: u32,
    /// How long a disruption budget may forbid one before it is given up.
    pub refused_within_seconds: u32,
    /// Nobody is told to end for so long after Berth was first started in a cluster, which is when its Lease was made (S3);
    /// without a Lease, after each start.
    pub none_for_seconds: u32,
}

/// Conditions, annotations and Events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Write {
    /// Requests at a time.
    pub concurrency: u32,
    /// Requests per second.
    pub per_second: u32,
    /// How often it is looked what NodePools, Departments and Projects should say of themselves.
    pub status_every_seconds: u32,
}

/// The event log: everything that the engine was told and decided.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventLog {
    /// The file; without one nothing is recorded.
    pub path: Option<PathBuf>,
    /// Nothing more is recorded beyond this size; 0 = no bound.
    pub mib_max: u32,
}

/// Live memory and health of devices, as the nodes' agents tell them (S17 to S19).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where agents are heard; without it what they see decides nothing, and no device is silent.
    pub listen: Option<SocketAddr>,
    /// Certificate chain, a PEM file.
    pub certificate: Option<PathBuf>,
    /// Its key, a PEM file.
    pub key: Option<PathBuf>,
    /// The agents' ServiceAccount.
    pub agents: ServiceAccount,
    /// A device whose agent was not heard for so long takes no new pods (S18).
    pub silent_after_seconds: u32,
}

/// Traces by OpenTelemetry: cycles, decisions and binds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// Where they are sent, by OTLP over gRPC; without it none are made.
    pub endpoint: Option<String>,
    /// How many of a hundred cycles are traced, each with all that is in it.
    pub sample_percent: u32,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { endpoint: None, sample_percent: 100 }
    }
}

/// The webhook that gives pods which ask for parts of GPUs by annotation a claim for it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admission {
    /// Where the API server asks; without it nobody is answered.
    pub listen: Option<SocketAddr>,
    /// Certificate chain, a PEM file.
    pub certificate: Option<PathBuf>,
    /// Its key, a PEM file.
    pub key: Option<PathBuf>,
}

/// A ServiceAccount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceAccount {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            agents: ServiceAccount::default(),
            silent_after_seconds: 60,
        }
    }
}

impl Default for ServiceAccount {
    fn default() -> Self {
        Self { namespace: "berth-agent".to_owned(), name: "nvml-probe".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_names: mirror::Settings::default().schedulers,
            kubeconfig: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 10_380)),
            lease: Lease::default(),
            decide: Decide::default(),
            bind: Bind::default(),
            evict: Evict::default(),
            write: Write::default(),
            event_log: EventLog::default(),
            telemetry: Telemetry::default(),
            tracing: Tracing::default(),
            admission: Admission::default(),
        }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: "berth-system".to_owned(),
            name: "berth-scheduler".to_owned(),
            duration_seconds: 2,
            renew_millis: 500,
        }
    }
}

impl Default for Decide {
    fn default() -> Self {
        Self { steps_max: 2_000, binds_max: 2_000, foreign_allowance_mib: 512 }
    }
}

impl Default for Bind {
    fn default() -> Self {
        Self { concurrency: 64, timeout_seconds: 10, volumes_within_seconds: 600, gang_within_seconds: 10 }
    }
}

impl Default for Evict {
    fn default() -> Self {
        Self { concurrency: 16, refused_within_seconds: 60, none_for_seconds: 600 }
    }
}

impl Default for Write {
    fn default() -> Self {
        Self { concurrency: 4, per_second: 100, status_every_seconds: 10 }
    }
}

impl Tracing {
    fn check(&self) -> anyhow::Result<()> {
        let scheme = |it: &String| it.starts_with("http://") || it.starts_with("https://");
        if let Some(endpoint) = self.endpoint.as_ref().filter(|endpoint| !scheme(endpoint)) {
            bail!("tracing.endpoint: is {endpoint}, allowed: http://HOST:PORT or https://HOST:PORT");
        }
        if !(1..=100).contains(&self.sample_percent) {
            bail!("tracing.samplePercent: is {}, allowed: 1 to 100", self.sample_percent);
        }
        Ok(())
    }
}

impl Config {
    /// Reads a file; what it does not say has its default.
    ///
    /// # Errors
    /// If it cannot be read, or says something that is not understood or not allowed.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}: cannot be read"))?;
        Self::parse(&text).with_context(|| shown.to_string())
    }

    /// Reads a text.
    ///
    /// # Errors
    /// If it says something that is not understood or not allowed.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = serde_saphyr::from_str(text).context("is not understood")?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Names the field, its value and what is allowed.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.scheduler_names.is_empty() || self.scheduler_names.contains("") {
            bail!("schedulerNames: is {:?}, allowed: one name or more", self.scheduler_names);
        }
        let renewals = u64::from(self.lease.duration_seconds) * 1000;
        let renew = u64::from(self.lease.renew_millis);
        if self.lease.enabled && (renew == 0 || renew * 3 > renewals) {
            bail!(
                "lease.renewMillis: is {renew}, allowed: 1 to {}, a third of lease.durationSeconds",
                renewals / 3
            );
        }
        let at_least_one = [
            ("decide.stepsMax", self.decide.steps_max),
            ("decide.bindsMax", u64::from(self.decide.binds_max)),
            ("bind.concurrency", u64::from(self.bind.concurrency)),
            ("bind.timeoutSeconds", u64::from(self.bind.timeout_seconds)),
            ("evict.concurrency", u64::from(self.evict.concurrency)),
            ("write.concurrency", u64::from(self.write.concurrency)),
            ("write.perSecond", u64::from(self.write.per_second)),
            ("write.statusEverySeconds", u64::from(self.write.status_every_seconds)),
            ("telemetry.silentAfterSeconds", u64::from(self.telemetry.silent_after_seconds)),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                bail!("{field}: is 0, allowed: 1 or more");
            }
        }
        let (telemetry, admission) = (&self.telemetry, &self.admission);
        let files = [
            ("telemetry", "certificate", telemetry.listen, &telemetry.certificate),
            ("telemetry", "key", telemetry.listen, &telemetry.key),
            ("admission", "certificate", admission.listen, &admission.certificate),
            ("admission", "key", admission.listen, &admission.key),
        ];
        for (part, field, listen, file) in files {
            if listen.is_some() && file.is_none() {
                bail!("{part}.{field}: is null, allowed: a PEM file, since {part}.listen is set");
            }
        }
        self.tracing.check()
    }

    pub(crate) fn mirror(&self) -> mirror::Settings {
        mirror::Settings {
            schedulers: self.scheduler_names.clone(),
            gang_within: Millis::from_secs(self.bind.gang_within_seconds.into()),
            ..mirror::Settings::default()
        }
    }

    pub(crate) fn engine(&self) -> berth_engine::Settings {
        berth_engine::Settings { foreign_allowance: GpuMemoryMib(self.decide.foreign_allowance_mib.into()) }
    }

    pub(crate) fn lease(&self, identity: String) -> lease::Settings {
        lease::Settings {
            namespace: self.lease.namespace.clone(),
            name: self.lease.name.clone(),
            identity,
            duration: Duration::from_secs(self.lease.duration_seconds.into()),
            renew: Duration::from_millis(self.lease.renew_millis.into()),
        }
    }

    pub(crate) fn act(&self, identity: String) -> ActSettings {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        ActSettings {
            bind: bind::Settings {
                concurrency: self.bind.concurrency as usize,
                timeout: seconds(self.bind.timeout_seconds),
                volumes_within: seconds(self.bind.volumes_within_seconds),
                ..bind::Settings::default()
            },
            evict: evict::Settings {
                concurrency: self.evict.concurrency as usize,
                refused_within: seconds(self.evict.refused_within_seconds),
                ..evict::Settings::default()
            },
            write: write::Settings {
                concurrency: self.write.concurrency as usize,
                per_second: self.write.per_second,
                instance: identity,
                ..write::Settings::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_has_every_default() {
        let text = include_str!("../../deploy/scheduler.yaml");
        assert_eq!(Config::parse(text).expect("it is understood"), Config::default());
        let value = serde_json::to_value(Config::default()).expect("it can be written");
        let fields = |value: &serde_json::Value| {
            let all = value.as_object().into_iter().flatten();
            all.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let inner = value.as_object().into_iter().flatten().flat_map(|(_, value)| fields(value));
        for field in fields(&value).into_iter().chain(inner) {
            assert!(text.contains(&format!("{field}:")), "{field} is not in it");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let problem = |text: &str| format!("{:#}", Config::parse(text).expect_err("it is refused"));
        assert!(problem("schedulerNames: []").contains("schedulerNames: is {}"));
        assert!(problem("lease: { renewMillis: 900 }").contains("allowed: 1 to 666"));
        assert!(problem("bind: { concurrency: 0 }").contains("bind.concurrency: is 0"));
        assert!(problem("telemetry: { listen: '[::]:1' }").contains("telemetry.certificate: is null"));
        assert!(problem("tracing: { endpoint: 'a:4317' }").contains("tracing.endpoint: is a:4317"));
        assert!(problem("tracing: { samplePercent: 0 }").contains("allowed: 1 to 100"));
        assert!(problem("bnid: {}").contains("bnid"));
    }
}
