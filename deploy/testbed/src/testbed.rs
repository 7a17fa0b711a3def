//! A control plane that runs: starting it, ending and starting parts of it, and the ways into it.
//!
//! Every component has a port and keeps it for as long as the testbed lives, so that one that is started again is found
//! where it was, with its data. Parts may be ended from one task while others use the testbed: everything takes `&self`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client, Config};

use crate::access::Access;
use crate::component::{self, API_SERVICE, Component, Context};
use crate::error::{Error, Result};
use crate::options::{ApiServer, ControllerManager, Kwok, Options, Scheduler};
use crate::pki::{Authority, Certificate};
use crate::port::Port;
use crate::process::{Plan, Process, tail, until};
use crate::supervise::Supervised;

/// How long a component may take to become ready. It takes a few seconds; a machine that builds beside it is slow.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a component may take to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(70);
/// How long a token of a service account is good for.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A control plane on 127.0.0.1. It ends, with all its processes and files, when this is dropped, and also when the
/// process that holds it panics or is killed.
#[derive(Debug)]
pub struct Testbed {
    parts: Mutex<BTreeMap<Component, Part>>,
    options: ApiServer,
    authority: Authority,
    serving: Certificate,
    admin: Access,
    server: String,
    _peers: Port,
    // Last: what watches over the processes ends after they did.
    supervised: Supervised,
}

#[derive(Debug)]
struct Part {
    process: Process,
    port: Port,
}

impl Testbed {
    /// Builds what is missing, starts everything, and returns when all of it is ready.
    ///
    /// # Errors
    /// If a tool is missing, a program does not build, or a component ends or is not ready in time; the error shows the
    /// last lines of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let supervised = Supervised::begin()?;
        let folder = supervised.folder().to_owned();
        for name in ["access", "logs"] {
            fs::create_dir_all(folder.join(name))
                .map_err(Error::io(format!("creating the folder {name}")))?;
        }
        let authority = Authority::create(folder.join("pki"))?;
        let hosts = ["localhost", "kubernetes", "kubernetes.default.svc", API_SERVICE];
        let serving = authority.server("server", &hosts)?;
        let (clients, peers, port) = (Port::claim()?, Port::claim()?, Port::claim()?);
        let server = format!("https://127.0.0.1:{}", port.number());
        let identity = authority.client("admin", "admin", Some("system:masters"))?;
        let kubeconfig = folder.join("access/admin.kubeconfig");
        let admin = Access::by_certificate(kubeconfig, &server, &authority.path("ca.crt"), &identity)?;
        let context = Context {
            folder: &folder,
            authority: &authority,
            serving: &serving,
            options: &options.api_server,
        };
        let etcd = component::etcd(&context, &clients, &peers).await?;
        let accounts = options.controller_manager.is_some();
        let api_server = component::api_server(&context, &port, &clients, &identity, accounts).await?;
        let testbed = Self {
            parts: Mutex::default(),
            options: options.api_server,
            authority,
            serving,
            admin,
            server,
            _peers: peers,
            supervised,
        };
        testbed.begin(Component::Etcd, etcd, clients)?;
        testbed.ready(Component::Etcd).await?;
        testbed.begin(Component::ApiServer, api_server, port)?;
        testbed.ready(Component::ApiServer).await?;
        testbed.start_rest(options.controller_manager, options.scheduler, options.kwok).await?;
        Ok(testbed)
    }

    async fn start_rest(
        &self,
        controller_manager: Option<ControllerManager>,
        scheduler: Option<Scheduler>,
        kwok: Option<Kwok>,
    ) -> Result<()> {
        if let Some(options) = controller_manager {
            self.start_controller_manager(&options).await?;
        }
        if let Some(options) = scheduler {
            self.start_scheduler(&options).await?;
        }
        if let Some(options) = kwok {
            self.start_kwok(&options).await?;
        }
        Ok(())
    }

    async fn start_controller_manager(&self, options: &ControllerManager) -> Result<()> {
        let access = self.component_access("kube-controller-manager")?;
        let port = Port::claim()?;
        let plan = component::controller_manager(&self.context(), options, &access, &port).await?;
        self.begin(Component::ControllerManager, plan, port)?;
        self.ready(Component::ControllerManager).await?;
        self.default_service_account().await
    }

    /// Starts Kubernetes' own scheduler, or another one in place of one that was stopped.
    ///
    /// # Errors
    /// If one runs already, or it is not ready in time.
    pub async fn start_scheduler(&self, options: &Scheduler) -> Result<()> {
        let access = self.component_access("kube-scheduler")?;
        let port = Port::claim()?;
        let plan = component::scheduler(&self.context(), options, &access, &port).await?;
        self.begin(Component::Scheduler, plan, port)?;
        self.ready(Component::Scheduler).await
    }

    /// Starts kwok, or another one in place of one that was stopped.
    ///
    /// # Errors
    /// If one runs already, or it is not ready in time.
    pub async fn start_kwok(&self, options: &Kwok) -> Result<()> {
        let port = Port::claim()?;
        let plan = component::kwok(&self.context(), options, &self.admin, &port).await?;
        self.begin(Component::Kwok, plan, port)?;
        self.ready(Component::Kwok).await
    }

    /// As the administrator, who may do everything.
    #[must_use]
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// A new client of the administrator; see [`Access::client`].
    ///
    /// # Errors
    /// If its keys cannot be read any more.
    pub async fn client(&self) -> Result<Client> {
        self.admin.client().await
    }

    /// As a user in groups, with the roles that are bound to them.
    ///
    /// # Errors
    /// If the kubeconfig cannot be written.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<Access> {
        self.admin.acting_as(self.access_path(&format!("user-{name}")), name, groups)
    }

    /// As a service account that exists, with a token of its own: exactly what a pod that runs as it may do.
    ///
    /// # Errors
    /// If there is no such service account.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Access> {
        self.by_token_of(namespace, name, None).await
    }

    /// The same for a pod of a DaemonSet: the token names the node that the pod runs on.
    ///
    /// # Errors
    /// If there is no such service account, or no such node.
    pub async fn service_account_on(&self, namespace: &str, name: &str, node: &str) -> Result<Access> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        let found = nodes.get(node).await.map_err(Error::api(format!("the node {node}")))?;
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            uid: found.metadata.uid,
        };
        self.by_token_of(namespace, name, Some(bound)).await
    }

    async fn by_token_of(
        &self,
        namespace: &str,
        name: &str,
        bound: Option<BoundObjectReference>,
    ) -> Result<Access> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            bound_object_ref: bound,
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &kube::api::PostParams::default(), &request)
            .await
            .map_err(Error::api(format!("a token of the service account {namespace}/{name}")))?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        let path = self.access_path(&format!("{namespace}-{name}"));
        Access::by_token(path, &self.server, &self.authority.path("ca.crt"), token)
    }

    /// A certificate for a server that the API server is to call, such as a webhook, for these host names and for
    /// 127.0.0.1; it is signed by the authority of [`Self::ca`].
    ///
    /// # Errors
    /// If a host name cannot be one, or the files cannot be written.
    pub fn certificate(&self, file: &str, hosts: &[&str]) -> Result<Certificate> {
        self.authority.server(file, hosts)
    }

    /// The certificate of the authority that signs everything here, a PEM file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.authority.path("ca.crt")
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn feature_gates(&self) -> &[(String, bool)] {
        &self.options.feature_gates
    }

    /// The URL of the API server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The folder of everything that belongs to this testbed. It goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervised.folder()
    }

    /// Where a component listens on 127.0.0.1; its `/metrics`, for example.
    ///
    /// # Errors
    /// If the testbed has none.
    pub fn port(&self, component: Component) -> Result<u16> {
        self.with(component, |part| Ok(part.port.number()))
    }

    /// The process of a component, while it runs.
    #[must_use]
    pub fn pid(&self, component: Component) -> Option<u32> {
        self.parts().get(&component).and_then(|part| part.process.pid())
    }

    /// The file that a component logs to; it goes on when the component is started again.
    ///
    /// # Errors
    /// If the testbed has no such component.
    pub fn log(&self, component: Component) -> Result<PathBuf> {
        self.with(component, |part| Ok(part.process.log().to_owned()))
    }

    /// Kills a component (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self, component: Component) -> Result<()> {
        self.with(component, |part| {
            running(component, &mut part.process)?;
            part.process.kill();
            Ok(())
        })
    }

    /// Ends a component in order (SIGTERM), and returns when it is gone.
    ///
    /// # Errors
    /// If it does not run, or does not end in time.
    pub async fn stop(&self, component: Component) -> Result<()> {
        self.with(component, |part| {
            running(component, &mut part.process)?;
            part.process.terminate();
            Ok(())
        })?;
        let gone = || async {
            self.with(component, |part| {
                part.process.ended();
                Ok(part.process.pid().map_or(Ok(()), |pid| Err(format!("process {pid} still runs"))))
            })
        };
        until(&format!("{component} did not end"), STOP_WITHIN, gone, || self.tail(component)).await
    }

    /// Starts a component again that was killed or stopped, on the same port and data, and returns when it is ready.
    ///
    /// # Errors
    /// If it runs, or is not ready in time.
    pub async fn start_again(&self, component: Component) -> Result<()> {
        self.with(component, |part| {
            stopped(component, &mut part.process)?;
            part.process.start_again()
        })?;
        self.ready(component).await
    }

    /// Returns when a component is ready.
    ///
    /// # Errors
    /// If it ends or is not ready in time; the error shows the last lines of its log.
    pub async fn ready(&self, component: Component) -> Result<()> {
        let (url, path) = self.with(component, |part| Ok(component.ready_url(&part.port)))?;
        let client = self.prober(component, &url).await?;
        let look = || async {
            self.with(component, |part| part.process.check())?;
            Ok(ask(&client, path).await.map_err(|error| format!("{url}{path} answers: {error}")))
        };
        until(&format!("{component} is not ready"), READY_WITHIN, look, || self.tail(component)).await
    }

    /// What the controller manager makes some time after it is ready, and pods cannot be created without.
    async fn default_service_account(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client().await?);
        let look = || async {
            let account =
                accounts.get_opt("default").await.map_err(Error::api("the default service account"))?;
            Ok(account.map(drop).ok_or_else(|| "the controller manager has not made it yet".to_owned()))
        };
        let tail = || self.tail(Component::ControllerManager);
        until("there is no default service account", READY_WITHIN, look, tail).await
    }

    /// Starts a component, unless it runs.
    fn begin(&self, component: Component, plan: Plan, port: Port) -> Result<()> {
        let mut parts = self.parts();
        if let Some(part) = parts.get_mut(&component) {
            stopped(component, &mut part.process)?;
        }
        let process = Process::start(plan, self.supervised.group(), &self.supervised.folder().join("logs"))?;
        parts.insert(component, Part { process, port });
        Ok(())
    }

    fn context(&self) -> Context<'_> {
        Context {
            folder: self.supervised.folder(),
            authority: &self.authority,
            serving: &self.serving,
            options: &self.options,
        }
    }

    /// As a part of the control plane, with the role that it has in any cluster.
    fn component_access(&self, name: &str) -> Result<Access> {
        let identity = self.authority.client(name, &format!("system:{name}"), None)?;
        Access::by_certificate(self.access_path(name), &self.server, &self.ca(), &identity)
    }

    fn access_path(&self, name: &str) -> PathBuf {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        self.supervised.folder().join("access").join(format!("{name}.kubeconfig"))
    }

    /// A client for asking a component whether it is ready. Only the API server is told who asks.
    async fn prober(&self, component: Component, url: &str) -> Result<Client> {
        let mut config = self.admin.config().await?;
        if component != Component::ApiServer {
            let url = url.parse().map_err(|error| Error::Unable(format!("{url} is no URL: {error}")))?;
            let root_cert = config.root_cert;
            config = Config::new(url);
            config.root_cert = root_cert;
        }
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(Duration::from_secs(5));
        Client::try_from(config).map_err(Error::api(format!("a client of {component}")))
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Component, Part>> {
        // A panic elsewhere leaves processes as they are.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, component: Component, act: impl FnOnce(&mut Part) -> Result<T>) -> Result<T> {
        act(self.parts().get_mut(&component).ok_or(Error::Absent(component))?)
    }

    fn tail(&self, component: Component) -> String {
        self.parts().get(&component).map(|part| tail(part.process.log())).unwrap_or_default()
    }
}

fn running(component: Component, process: &mut Process) -> Result<()> {
    process.ended();
    if process.pid().is_some() { Ok(()) } else { Err(Error::WrongState(component, "does not run")) }
}

fn stopped(component: Component, process: &mut Process) -> Result<()> {
    process.ended();
    if process.pid().is_none() { Ok(()) } else { Err(Error::WrongState(component, "runs already")) }
}

/// Asks whether a component is ready; the error is what it said instead.
async fn ask(client: &Client, path: &str) -> std::result::Result<(), String> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}
