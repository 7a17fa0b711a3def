//! A real node: containerd, kubelet, runc and CNI, on this machine and apart from it.
//!
//! The node has namespaces of its own for processes, mounts and the network, so that all it makes (containers, mounts, pod
//! networks, routes) goes when its first process goes, and so that its folders are where those of any node are:
//! `/var/lib/kubelet`, `/var/log/pods`, `/run/cdi`. Several nodes run side by side. The node authenticates as
//! `system:node:NAME`, under the same restrictions as in any cluster.
//!
//! What is absent: images from registries (nothing can be pulled; [`Image`] makes one from files), a proxy for Services
//! other than the API server's, a name service. A pod of a testbed without service accounts needs `automountServiceAccountToken: false`.

mod image;
mod kubelet;
mod network;
mod runtime;

use std::fs;
use std::future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::Value;

pub use self::image::{BOX_IMAGE, Image};
use self::network::Network;
use crate::access::Access;
use crate::component::API_SERVICE;
use crate::error::{Error, Result};
use crate::machine::{Machine, Tool};
use crate::process::{Plan, Process, tail, until};
use crate::programs::Program;
use crate::supervise::Supervised;
use crate::testbed::Testbed;

/// How long a part of a node may take to become ready: seconds, on a machine that does nothing else.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Which node to start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    name: String,
    labels: Vec<(String, String)>,
    taints: Vec<(String, String, String)>,
    kubelet: Value,
}

impl NodeOptions {
    /// A node of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new(), taints: Vec::new(), kubelet: Value::Null }
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a taint from its registration on: key, value, effect.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.taints.push((key.to_owned(), value.to_owned(), effect.to_owned()));
        self
    }

    /// Fields of the `KubeletConfiguration` (as a JSON object) that override ours.
    #[must_use]
    pub fn kubelet(mut self, fields: Value) -> Self {
        self.kubelet = fields;
        self
    }
}

impl From<&str> for NodeOptions {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// A part of a node that can be ended and started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePart {
    /// The node agent. Without it the containers go on, and nobody speaks for the node.
    Kubelet,
    /// The container runtime. Without it the containers go on too.
    Containerd,
}

/// A node that runs. It ends with all its containers when this is dropped, or its process ends.
#[derive(Debug)]
pub struct Node {
    name: String,
    kubelet: Inside,
    containerd: Inside,
    _forwards: [Process; 3],
    space: Space,
    // Last: what watches over the processes ends after they did.
    supervised: Supervised,
}

/// The first process of the namespaces, with which they end.
#[derive(Debug)]
struct Space {
    _first: Process,
    pid: u32,
    network: Network,
    nsenter: PathBuf,
}

/// A process within the namespaces: ours is only its parent, and stays outside.
#[derive(Debug)]
struct Inside(Process);

/// The tools of Debian that a node needs.
struct Tools {
    runc: PathBuf,
    /// The folder of the CNI plugins.
    cni: PathBuf,
    unshare: PathBuf,
    nsenter: PathBuf,
    ip: PathBuf,
}

impl Node {
    /// Builds what is missing, starts a node, and returns when the API server says that it is ready.
    ///
    /// # Errors
    /// If this is not root, a tool is missing, or a part ends or is not ready in time.
    pub async fn start(testbed: &Testbed, options: impl Into<NodeOptions>) -> Result<Self> {
        let options = options.into();
        require_root(rustix::process::geteuid().is_root())?;
        let tools = tools(&Machine::here())?;
        for program in
            [Program::Box, Program::Containerd, Program::ContainerdShim, Program::Ctr, Program::Kubelet]
        {
            program.path().await?;
        }
        let supervised = Supervised::begin()?;
        let folder = supervised.folder().to_owned();
        refuse_hidden(&folder)?;
        for name in ["logs", "kubelet", "pods", "cdi", "cni", "containerd"] {
            fs::create_dir_all(folder.join(name))
                .map_err(Error::io(format!("creating the folder {name}")))?;
        }
        let space = Space::begin(&tools, &supervised).await?;
        let forwards = space.forward_api_server(testbed, &supervised).await?;
        let containerd = runtime::start(&space, &tools, &supervised).await?;
        runtime::import(&space, &folder, &Image::of_box().await?).await?;
        let kubelet = kubelet::start(testbed, &options, &space, &supervised).await?;
        let mut node =
            Self { name: options.name, kubelet, containerd, _forwards: forwards, space, supervised };
        node.ready(&testbed.client().await?).await?;
        Ok(node)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of everything that belongs to this node. It goes with it. Within it, `kubelet` is the node's
    /// `/var/lib/kubelet`, `cdi` its `/run/cdi`, `pods` its `/var/log/pods`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervised.folder()
    }

    /// The node's address, from this machine.
    #[must_use]
    pub fn address(&self) -> String {
        self.space.network.node()
    }

    /// The file that a part logs to.
    #[must_use]
    pub fn log(&self, part: NodePart) -> &Path {
        self.part(part).0.log()
    }

    /// Makes an image known to the node.
    ///
    /// # Errors
    /// If a file of it cannot be read, or containerd refuses it.
    pub async fn import(&self, image: &Image) -> Result<()> {
        runtime::import(&self.space, self.folder(), image).await
    }

    /// Kills a part (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, part: NodePart) -> Result<()> {
        self.part_mut(part).kill()
    }

    /// Starts a part again that was killed.
    ///
    /// # Errors
    /// If it runs, or does not start.
    pub fn start_again(&mut self, part: NodePart) -> Result<()> {
        let process = &mut self.part_mut(part).0;
        process.ended();
        if process.pid().is_some() {
            return Err(Error::Unable(format!("{part:?} of the node runs already")));
        }
        process.start_again()
    }

    /// Returns when the API server says that the node is ready.
    ///
    /// # Errors
    /// If a part ends or it takes too long; the error shows the last lines of its log.
    pub async fn ready(&mut self, client: &kube::Client) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(client.clone());
        let (name, kubelet, containerd) = (&self.name, &mut self.kubelet.0, &mut self.containerd.0);
        let log = kubelet.log().to_owned();
        let look = || {
            let checked = containerd.check().and_then(|()| kubelet.check());
            let asked = nodes.get_opt(name);
            async move {
                checked?;
                let node = asked.await.map_err(Error::api(format!("the node {name}")))?;
                Ok(node.map_or(Err("it is not registered".to_owned()), |node| is_ready(&node)))
            }
        };
        until(&format!("node {name} is not ready"), READY_WITHIN, look, || tail(&log)).await
    }

    fn part(&self, part: NodePart) -> &Inside {
        match part {
            NodePart::Kubelet => &self.kubelet,
            NodePart::Containerd => &self.containerd,
        }
    }

    fn part_mut(&mut self, part: NodePart) -> &mut Inside {
        match part {
            NodePart::Kubelet => &mut self.kubelet,
            NodePart::Containerd => &mut self.containerd,
        }
    }
}

impl Space {
    async fn begin(tools: &Tools, supervised: &Supervised) -> Result<Self> {
        let folder = supervised.folder();
        let mark = folder.join("begun");
        let first = Plan {
            name: "first".to_owned(),
            program: tools.unshare.clone(),
            arguments: words(&["--pid", "--mount", "--net", "--fork", "--kill-child=KILL", "--mount-proc"])
                .chain([path(&Program::Box.path().await?)])
                .chain(["mark".to_owned(), path(&mark), "pause".to_owned()])
                .collect(),
            environment: Vec::new(),
        };
        let mut first = Process::start(first, supervised.group(), &folder.join("logs"))?;
        let look = || {
            let begun = mark.exists().then(|| child_of(first.pid()?)).flatten();
            future::ready(first.check().map(|()| begun.ok_or_else(|| "it has not begun".to_owned())))
        };
        let pid = until("the node's first process does not run", READY_WITHIN, look, String::new).await?;
        let network = Network::claim(&tools.ip)?;
        let space = Self { _first: first, pid, network, nsenter: tools.nsenter.clone() };
        space.network.connect(space.pid)?;
        let node_side = space.network.node_side();
        space.run("sh", &["-euc", &format!("{MOUNTS}\n{node_side}"), "sh", &path(folder)])?;
        Ok(space)
    }

    /// Runs a command inside, to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let target = self.pid.to_string();
        let output = std::process::Command::new(&self.nsenter)
            .args(["-t", &target, "-m", "-n", "-p", "--", program])
            .args(arguments)
            .output()
            .map_err(Error::io(format!("running {program} in the node's namespaces")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let command = format!("{program} {}", arguments.join(" "));
        let output_text = String::from_utf8_lossy(&said).trim().to_owned();
        Err(Error::Command { command, status: output.status, output: output_text })
    }

    /// Starts a program inside that keeps running.
    fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: Vec<String>,
        supervised: &Supervised,
    ) -> Result<Inside> {
        let target = self.pid.to_string();
        let search = std::env::var("PATH").unwrap_or_default();
        let own = program.parent().map(path).unwrap_or_default();
        let plan = Plan {
            name: name.to_owned(),
            program: self.nsenter.clone(),
            arguments: words(&["-t", &target, "-m", "-n", "-p", "--", &path(program)])
                .chain(arguments)
                .collect(),
            // containerd starts its shim by name, from the folder in which it was built.
            environment: vec![("PATH".to_owned(), format!("{own}:{search}:/usr/sbin:/sbin"))],
        };
        Process::start(plan, supervised.group(), &supervised.folder().join("logs")).map(Inside)
    }

    /// The API server listens on 127.0.0.1 of the machine; the same address and port lead to it inside, and for pods that
    /// of its Service.
    async fn forward_api_server(&self, testbed: &Testbed, supervised: &Supervised) -> Result<[Process; 3]> {
        let program = Program::Box.path().await?;
        let address = format!("tcp:{}", testbed.server().trim_start_matches("https://"));
        let socket = format!("unix:{}", path(&supervised.folder().join("api.sock")));
        let outside = Plan {
            name: "forward-outside".to_owned(),
            program: program.clone(),
            arguments: vec!["forward".to_owned(), socket.clone(), address.clone()],
            environment: Vec::new(),
        };
        let outside = Process::start(outside, supervised.group(), &supervised.folder().join("logs"))?;
        let forward = |name: &str, address: String| {
            let arguments = vec!["forward".to_owned(), address, socket.clone()];
            self.start(name, &program, arguments, supervised)
        };
        let inside = forward("forward-inside", address)?;
        let service = forward("forward-service", format!("tcp:{API_SERVICE}:443"))?;
        Ok([outside, inside.0, service.0])
    }
}

/// Hides the folders of the machine that a node writes to behind its own, and lets mounts spread among its containers.
const MOUNTS: &str = r#"
mount --make-rshared /
for hidden in /run /var/lib /var/log; do
    mount -t tmpfs tmpfs "$hidden"
done
mkdir -p /run/cdi /run/lock /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
mount --bind "$1/kubelet" /var/lib/kubelet
mount --bind "$1/pods" /var/log/pods
mount --bind "$1/cdi" /run/cdi
"#;

impl Inside {
    fn kill(&mut self) -> Result<()> {
        let process = &mut self.0;
        process.ended();
        let outside =
            process.pid().ok_or_else(|| Error::Unable("this part of the node does not run".to_owned()))?;
        let inside = child_of(outside).and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = inside {
            // Fails only if it is gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        process.wait();
        Ok(())
    }
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn is_ready(node: &NodeObject) -> std::result::Result<(), String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    match ready {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => {
            Err(format!("Ready is {}: {}", ready.status, ready.message.as_deref().unwrap_or_default()))
        }
        None => Err("it has no condition Ready".to_owned()),
    }
}

fn require_root(root: bool) -> Result<()> {
    if root {
        return Ok(());
    }
    Err(Error::Unable(
        "a real node needs root, for namespaces, mounts and control groups: run this as root, or use fake nodes".to_owned(),
    ))
}

/// The node sees folders of its own where the machine has these.
fn refuse_hidden(folder: &Path) -> Result<()> {
    match ["/run", "/var/run", "/var/lib", "/var/log"].iter().find(|hidden| folder.starts_with(hidden)) {
        None => Ok(()),
        Some(hidden) => Err(Error::Unable(format!(
            "the temporary folder {} is under {hidden}, which a node hides: set TMPDIR to another",
            folder.display()
        ))),
    }
}

fn tools(machine: &Machine) -> Result<Tools> {
    const ADMIN: &[&str] = &["/usr/sbin", "/sbin"];
    let need = |program, package, also_in| {
        machine.require(&Tool { program, package, purpose: "for a real node", also_in })
    };
    Ok(Tools {
        runc: need("runc", "runc", ADMIN)?,
        cni: need(
            "ptp",
            "containernetworking-plugins",
            &["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"],
        )?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default(),
        unshare: need("unshare", "util-linux", ADMIN)?,
        nsenter: need("nsenter", "util-linux", ADMIN)?,
        ip: need("ip", "iproute2", ADMIN)?,
    })
}

/// How the node's kubelet gets into the API server.
fn access(testbed: &Testbed, name: &str, folder: &Path) -> Result<Access> {
    let identity = testbed.authority().client(
        &format!("node-{name}"),
        &format!("system:node:{name}"),
        Some("system:nodes"),
    )?;
    Access::by_certificate(folder.join("kubeconfig"), testbed.server(), &testbed.ca(), &identity)
}

fn words<'a>(words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    words.iter().map(|&word| word.to_owned())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_needs_and_is_not_there_is_said() {
        assert!(require_root(false).unwrap_err().to_string().starts_with("a real node needs root"));
        let machine = Machine::with_path("/nonexistent");
        let message = tools(&machine).err().unwrap().to_string();
        assert!(message.ends_with("To install it: apt-get install runc"), "{message}");
        let message = refuse_hidden(Path::new("/run/user/1000/berth-testbed-x")).unwrap_err().to_string();
        assert!(message.ends_with("is under /run, which a node hides: set TMPDIR to another"), "{message}");
    }
}
