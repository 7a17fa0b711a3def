//! The programs of a control plane: how each is started, and how one sees that it is ready.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::access::Access;
use crate::error::{Error, Result};
use crate::options::{ApiServer, ControllerManager, Kwok, Scheduler};
use crate::pki::{Authority, Certificate};
use crate::port::Port;
use crate::process::Plan;
use crate::programs::Program;

/// The addresses of Services.
const SERVICES: &str = "10.96.0.0/16";
/// The first of them is the API server's, as the Service `kubernetes` says.
pub(crate) const API_SERVICE: &str = "10.96.0.1";

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Keeps the objects.
    Etcd,
    /// Serves them.
    ApiServer,
    /// Kubernetes' controllers.
    ControllerManager,
    /// Kubernetes' scheduler.
    Scheduler,
    /// Plays nodes and pods.
    Kwok,
}

impl Component {
    /// Its program.
    #[must_use]
    pub fn program(self) -> Program {
        match self {
            Self::Etcd => Program::Etcd,
            Self::ApiServer => Program::KubeApiserver,
            Self::ControllerManager => Program::KubeControllerManager,
            Self::Scheduler => Program::KubeScheduler,
            Self::Kwok => Program::Kwok,
        }
    }

    /// Its URL, and the path under which it says that it is ready.
    pub(crate) fn ready_url(self, port: &Port) -> (String, &'static str) {
        match self {
            Self::Etcd | Self::Kwok => (url("http", port), "/readyz"),
            Self::ApiServer | Self::Scheduler => (url("https", port), "/readyz"),
            Self::ControllerManager => (url("https", port), "/healthz"),
        }
    }
}

impl Display for Component {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.program().name())
    }
}

/// What the command lines have in common.
pub(crate) struct Context<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) authority: &'a Authority,
    /// The certificate of all that serves here.
    pub(crate) serving: &'a Certificate,
    pub(crate) options: &'a ApiServer,
}

impl Context<'_> {
    fn pki(&self, file: &str) -> String {
        self.authority.path(file).display().to_string()
    }

    fn serving(&self) -> [String; 2] {
        [
            format!("--tls-cert-file={}", self.serving.certificate.display()),
            format!("--tls-private-key-file={}", self.serving.key.display()),
        ]
    }

    fn feature_gates(&self) -> Option<String> {
        let gates: Vec<String> =
            self.options.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
        (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.folder.join(file);
        fs::write(&path, content).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(path.display().to_string())
    }
}

pub(crate) async fn etcd(context: &Context<'_>, clients: &Port, peers: &Port) -> Result<Plan> {
    let (clients, peers) = (url("http", clients), url("http", peers));
    let mut arguments = vec![
        "--name=default".to_owned(),
        format!("--data-dir={}", context.folder.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // What was written survives the end of etcd, not that of the machine: enough here, and much faster.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    arguments.extend(context.options.etcd_flags.iter().cloned());
    plan(Component::Etcd, arguments).await
}

pub(crate) async fn api_server(
    context: &Context<'_>,
    port: &Port,
    etcd: &Port,
    kubelets: &Certificate,
    service_accounts: bool,
) -> Result<Plan> {
    let options = context.options;
    let mut arguments = vec![
        format!("--etcd-servers={}", url("http", etcd)),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", port.number()),
        format!("--client-ca-file={}", context.pki("ca.crt")),
        format!("--service-account-issuer={}", url("https", port)),
        format!("--service-account-key-file={}", context.pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", context.pki("service-accounts.key")),
        format!("--kubelet-client-certificate={}", kubelets.certificate.display()),
        format!("--kubelet-client-key={}", kubelets.key.display()),
        format!("--kubelet-certificate-authority={}", context.pki("ca.crt")),
        // Nobody here knows a node by its name.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--allow-privileged=true".to_owned(),
        // The address of a Service of ours would lead nowhere: there is no proxy.
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    arguments.extend(context.serving());
    arguments.extend(context.feature_gates());
    arguments.extend(admission(options, service_accounts));
    if !options.runtime_config.is_empty() {
        arguments.push(format!("--runtime-config={}", options.runtime_config.join(",")));
    }
    if options.load {
        arguments.extend(
            [
                "--enable-priority-and-fairness=false",
                "--max-requests-inflight=4000",
                "--max-mutating-requests-inflight=4000",
                "--delete-collection-workers=8",
            ]
            .map(str::to_owned),
        );
    }
    arguments.extend(options.flags.iter().cloned());
    plan(Component::ApiServer, arguments).await
}

fn admission(options: &ApiServer, service_accounts: bool) -> Vec<String> {
    let (mut on, mut off) = (options.admission_on.clone(), options.admission_off.clone());
    // What was asked for holds against what is usual here.
    let usual = [("ServiceAccount", !service_accounts), ("TaintNodesByCondition", !options.taint_new_nodes)];
    for (plugin, is_off) in usual {
        if is_off && !on.iter().any(|it| it == plugin) {
            off.push(plugin.to_owned());
        }
    }
    if !off.iter().any(|it| it == "NodeRestriction") {
        on.push("NodeRestriction".to_owned());
    }
    [("enable", on), ("disable", off)]
        .into_iter()
        .filter(|(_, plugins)| !plugins.is_empty())
        .map(|(what, plugins)| format!("--{what}-admission-plugins={}", plugins.join(",")))
        .collect()
}

/// What a component that asks the API server who calls it is given.
fn kubeconfigs(access: &Access) -> [String; 3] {
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|flag| format!("--{flag}={}", access.kubeconfig().display()))
}

pub(crate) async fn controller_manager(
    context: &Context<'_>,
    options: &ControllerManager,
    access: &Access,
    port: &Port,
) -> Result<Plan> {
    let mut arguments = vec![
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", port.number()),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", context.pki("service-accounts.key")),
        format!("--root-ca-file={}", context.pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", context.pki("ca.crt")),
        format!("--cluster-signing-key-file={}", context.pki("ca.key")),
        format!("--node-monitor-grace-period={}s", options.node_grace.as_secs()),
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
    ];
    arguments.extend(kubeconfigs(access));
    arguments.extend(context.serving());
    arguments.extend(context.feature_gates());
    if !options.controllers.is_empty() {
        arguments.push(format!("--controllers={}", options.controllers.join(",")));
    }
    arguments.extend(options.flags.iter().cloned());
    plan(Component::ControllerManager, arguments).await
}

pub(crate) async fn scheduler(
    context: &Context<'_>,
    options: &Scheduler,
    access: &Access,
    port: &Port,
) -> Result<Plan> {
    let config = context.write("scheduler.json", scheduler_config(options, access).to_string())?;
    let mut arguments = vec![
        format!("--config={config}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", port.number()),
    ];
    arguments.extend(kubeconfigs(access).into_iter().skip(1));
    arguments.extend(context.serving());
    arguments.extend(context.feature_gates());
    arguments.extend(options.flags.iter().cloned());
    plan(Component::Scheduler, arguments).await
}

fn scheduler_config(options: &Scheduler, access: &Access) -> Value {
    let mut config = options.config.clone().unwrap_or_else(|| {
        json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {
                "qps": options.qps, "burst": options.burst, "contentType": "application/vnd.kubernetes.protobuf"
            },
            "profiles": [{"schedulerName": options.name}],
        })
    });
    if config.get("leaderElection").is_none() {
        config["leaderElection"] = json!({"leaderElect": false});
    }
    if config.pointer("/clientConnection/kubeconfig").is_none() {
        config["clientConnection"]["kubeconfig"] = json!(access.kubeconfig());
    }
    config
}

pub(crate) async fn kwok(
    context: &Context<'_>,
    options: &Kwok,
    access: &Access,
    port: &Port,
) -> Result<Plan> {
    let settings = "apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\noptions:\n  \
                    podPlayStageParallelism: 16\n  nodePlayStageParallelism: 16\n  nodeLeaseParallelism: 16\n";
    let stages = if options.stages.is_empty() {
        include_str!("stages.yaml").to_owned()
    } else {
        options.stages.join("\n---\n")
    };
    let config = context.write("kwok.yaml", format!("{settings}---\n{stages}"))?;
    let mut arguments = vec![
        format!("--config={config}"),
        format!("--kubeconfig={}", access.kubeconfig().display()),
        format!(
            "--manage-nodes-with-annotation-selector={}={}",
            crate::fake::PLAYED.0,
            crate::fake::PLAYED.1
        ),
        format!("--server-address=127.0.0.1:{}", port.number()),
        "--node-lease-duration-seconds=40".to_owned(),
        "--node-ip=127.0.0.1".to_owned(),
        "--cidr=10.244.0.1/16".to_owned(),
    ];
    arguments.extend(options.flags.iter().cloned());
    let mut plan = plan(Component::Kwok, arguments).await?;
    // Where it would look for a configuration of the user's.
    plan.environment.push(("HOME".to_owned(), context.folder.display().to_string()));
    Ok(plan)
}

async fn plan(component: Component, arguments: Vec<String>) -> Result<Plan> {
    let program = component.program().path().await?;
    Ok(Plan { name: component.to_string(), program, arguments, environment: Vec::new() })
}

fn url(scheme: &str, port: &Port) -> String {
    format!("{scheme}://127.0.0.1:{}", port.number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn plugins_are_on_and_off_as_asked_then_as_usual() {
        let flags = |options: Options, accounts| admission(&options.api_server, accounts).join(" ");
        assert_eq!(
            flags(Options::new(), false),
            "--enable-admission-plugins=NodeRestriction --disable-admission-plugins=ServiceAccount,TaintNodesByCondition"
        );
        let said = Options::new().enable_admission(["ServiceAccount"]).disable_admission(["NodeRestriction"]);
        assert_eq!(
            flags(said.taint_new_nodes(), false),
            "--enable-admission-plugins=ServiceAccount --disable-admission-plugins=NodeRestriction"
        );
    }
}
