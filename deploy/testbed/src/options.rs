//! What a testbed is to consist of.

use std::time::Duration;

use serde_json::Value;

/// What to start, beside etcd and the API server, and how. Every method adds to what was said before.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) api_server: ApiServer,
    pub(crate) controller_manager: Option<ControllerManager>,
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) kwok: Option<Kwok>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ApiServer {
    pub(crate) admission_on: Vec<String>,
    pub(crate) admission_off: Vec<String>,
    pub(crate) feature_gates: Vec<(String, bool)>,
    pub(crate) runtime_config: Vec<String>,
    pub(crate) flags: Vec<String>,
    pub(crate) etcd_flags: Vec<String>,
    pub(crate) load: bool,
    pub(crate) taint_new_nodes: bool,
}

impl Options {
    /// etcd and the API server alone. Without a controller manager nothing makes service accounts, so the admission plugin
    /// `ServiceAccount`, which refuses pods without one, is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a controller manager.
    #[must_use]
    pub fn controller_manager(mut self, it: ControllerManager) -> Self {
        self.controller_manager = Some(it);
        self
    }

    /// With Kubernetes' own scheduler.
    #[must_use]
    pub fn scheduler(mut self, it: Scheduler) -> Self {
        self.scheduler = Some(it);
        self
    }

    /// With kwok, which plays nodes and pods.
    #[must_use]
    pub fn kwok(mut self, it: Kwok) -> Self {
        self.kwok = Some(it);
        self
    }

    /// Admission plugins that are on beside the default ones.
    #[must_use]
    pub fn enable_admission<'a>(mut self, plugins: impl IntoIterator<Item = &'a str>) -> Self {
        self.api_server.admission_on.extend(plugins.into_iter().map(str::to_owned));
        self
    }

    /// Default admission plugins that are off.
    #[must_use]
    pub fn disable_admission<'a>(mut self, plugins: impl IntoIterator<Item = &'a str>) -> Self {
        self.api_server.admission_off.extend(plugins.into_iter().map(str::to_owned));
        self
    }

    /// A feature gate, for every component that has gates.
    #[must_use]
    pub fn feature_gate(mut self, name: &str, on: bool) -> Self {
        self.api_server.feature_gates.push((name.to_owned(), on));
        self
    }

    /// An API version or resource that is served, or not: `scheduling.k8s.io/v1alpha2=true`.
    #[must_use]
    pub fn runtime_config(mut self, setting: &str) -> Self {
        self.api_server.runtime_config.push(setting.to_owned());
        self
    }

    /// A flag of the API server; it overrides one of ours.
    #[must_use]
    pub fn api_server_flag(mut self, flag: &str) -> Self {
        self.api_server.flags.push(flag.to_owned());
        self
    }

    /// A flag of etcd; it overrides one of ours.
    #[must_use]
    pub fn etcd_flag(mut self, flag: &str) -> Self {
        self.api_server.etcd_flags.push(flag.to_owned());
        self
    }

    /// For load: requests are neither queued by priority nor refused before there are thousands of them in flight.
    #[must_use]
    pub fn for_load(mut self) -> Self {
        self.api_server.load = true;
        self
    }

    /// New nodes get the taint `not-ready`, as in any cluster, until a controller manager has seen that they are ready.
    /// Otherwise a node that is created ready can be used at once.
    #[must_use]
    pub fn taint_new_nodes(mut self) -> Self {
        self.api_server.taint_new_nodes = true;
        self
    }
}

/// The controller manager: service accounts, jobs, garbage collection, claims from templates, the life of nodes.
#[derive(Clone, Debug)]
pub struct ControllerManager {
    pub(crate) controllers: Vec<String>,
    pub(crate) node_grace: Duration,
    pub(crate) flags: Vec<String>,
}

impl Default for ControllerManager {
    fn default() -> Self {
        // A day: nodes that nobody plays would be taken for dead after a minute.
        Self { controllers: Vec::new(), node_grace: Duration::from_secs(24 * 3600), flags: Vec::new() }
    }
}

impl ControllerManager {
    /// With the default controllers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which controllers run: `*` for the default ones, `name` for one more, `-name` for one less.
    #[must_use]
    pub fn controllers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.controllers.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// How long a node may be silent before it counts as dead; a day unless said, Kubernetes' own default is 50 s.
    #[must_use]
    pub fn node_grace(mut self, grace: Duration) -> Self {
        self.node_grace = grace;
        self
    }

    /// A flag; it overrides one of ours.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }
}

/// Kubernetes' own scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(crate) name: String,
    pub(crate) qps: u32,
    pub(crate) burst: u32,
    pub(crate) config: Option<Value>,
    pub(crate) flags: Vec<String>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { name: "default-scheduler".to_owned(), qps: 50, burst: 100, config: None, flags: Vec::new() }
    }
}

impl Scheduler {
    /// As `default-scheduler`, with its default limits of 50 requests per second, 100 at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The scheduler name of the pods that it schedules.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Its limits: requests per second, and at once.
    #[must_use]
    pub fn limits(mut self, qps: u32, burst: u32) -> Self {
        (self.qps, self.burst) = (qps, burst);
        self
    }

    /// A whole `KubeSchedulerConfiguration` (as JSON), in place of name and limits. What it does not say of the leader
    /// election (off) and the kubeconfig is filled in.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// A flag; it overrides one of ours.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }
}

/// kwok: plays the kubelet on nodes that carry its annotation (`fake::NodeTemplate` puts it).
///
/// Pods bound to such a node run at once; those with the annotation `berth.dev/testbed-run-for` (`90s`), and those of a
/// Job, end after that time (a Job's without it after 1 s), `berth.dev/testbed-fail: "true"` makes that a failure; deleted
/// pods go at once.
#[derive(Clone, Debug, Default)]
pub struct Kwok {
    pub(crate) stages: Vec<String>,
    pub(crate) flags: Vec<String>,
}

impl Kwok {
    /// With the stages described above.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stages (YAML documents of kind `Stage`, `kwok.x-k8s.io/v1alpha1`) in place of ours.
    #[must_use]
    pub fn stages(mut self, yaml: &str) -> Self {
        self.stages.push(yaml.to_owned());
        self
    }

    /// A flag; it overrides one of ours.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }
}
