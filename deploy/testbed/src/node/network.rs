//! The network between a node and its machine: one pair of interfaces, and a route to the node's pods. It goes with the
//! node's namespace.
//!
//! Addresses are from 198.18.0.0/15, which is set aside for tests and used by nobody: 198.18.N.1 is the machine,
//! 198.18.N.2 the node, 198.19.N.0/24 its pods. N is claimed by a socket in the abstract namespace, as ports are.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::API_SERVICE;
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Network {
    number: u8,
    ip: PathBuf,
    _claim: UnixListener,
}

impl Network {
    pub(super) fn claim(ip: &Path) -> Result<Self> {
        // Processes begin at different places, so that an interface that the kernel is still removing is seldom met.
        let begin = std::process::id();
        for step in 0..256 {
            let number = u8::try_from((begin + step) % 256).unwrap_or_default();
            let claim = SocketAddr::from_abstract_name(format!("berth-testbed-network-{number}"))
                .and_then(|name| UnixListener::bind_addr(&name));
            let Ok(claim) = claim else { continue };
            let network = Self { number, ip: ip.to_owned(), _claim: claim };
            if !Path::new("/sys/class/net").join(network.interface()).exists() {
                return Ok(network);
            }
        }
        Err(Error::Unable("256 nodes run on this machine already: no network is left".to_owned()))
    }

    /// The node's address.
    pub(super) fn node(&self) -> String {
        format!("198.18.{}.2", self.number)
    }

    fn machine(&self) -> String {
        format!("198.18.{}.1", self.number)
    }

    /// The addresses of the node's pods.
    pub(super) fn pods(&self) -> String {
        format!("198.19.{}.0/24", self.number)
    }

    fn interface(&self) -> String {
        format!("berth-test-{}", self.number)
    }

    /// The machine's side.
    pub(super) fn connect(&self, first: u32) -> Result<()> {
        let (interface, pods, node) = (self.interface(), self.pods(), self.node());
        let (machine, first) = (format!("{}/24", self.machine()), first.to_string());
        self.run(&["link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", &first])?;
        self.run(&["address", "add", &machine, "dev", &interface])?;
        self.run(&["link", "set", &interface, "up"])?;
        self.run(&["route", "add", &pods, "via", &node])
    }

    /// The node's side, as commands for a shell inside.
    pub(super) fn node_side(&self) -> String {
        let (ip, node, machine) = (self.ip.display(), self.node(), self.machine());
        format!(
            "{ip} link set lo up\n{ip} address add {API_SERVICE}/32 dev lo\n{ip} address add {node}/24 dev eth0\n{ip} link set eth0 up\n{ip} route add default via \
             {machine}\n"
        )
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.ip).args(arguments).output().map_err(Error::io("running ip"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: format!("ip {}", arguments.join(" ")),
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}
