//! A real Kubernetes on this machine, for tests and benches: etcd, API server, controller manager, scheduler, kwok, and a
//! real node.
//!
//! ```no_run
//! # async fn example() -> berth_testbed::Result<()> {
//! use berth_testbed::{ControllerManager, Options, Scheduler, Testbed};
//!
//! let testbed = Testbed::start(
//!     Options::new().controller_manager(ControllerManager::new()).scheduler(Scheduler::new()),
//! )
//! .await?;
//! let client = testbed.client().await?;
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: [`options`] says what is wanted, [`programs`] builds what is missing, [`component`] knows the command
//! lines, [`testbed`] runs them; [`access`] are the ways in, [`fake`] makes nodes and pods in number, [`pods`] waits for
//! them, [`manifests`] applies files, [`node`] is a real node. `supervise` sees to it that everything ends with the process that started it, however
//! that ends. `docs/TESTBED.md` is for its users.
//!
//! What is absent: clusters of several machines, and anything of Berth: this crate knows Kubernetes only.

pub mod access;
pub mod cli;
pub mod component;
pub mod error;
pub mod fake;
mod machine;
pub mod manifests;
pub mod node;
pub mod options;
mod pki;
pub mod pods;
mod port;
mod process;
pub mod programs;
mod supervise;
pub mod testbed;

pub use access::Access;
pub use component::Component;
pub use error::{Error, Result};
pub use node::{Image, Node, NodeOptions, NodePart};
pub use options::{ControllerManager, Kwok, Options, Scheduler};
pub use pki::Certificate;
pub use programs::Program;
pub use testbed::Testbed;

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if tests and benches may start all of it in tasks of their own and share it among threads.
    #[test]
    fn everything_can_be_used_from_any_thread() {
        fn sent<T: Send>(it: T) {
            drop(it);
        }
        fn shared<T: Send + Sync>() {}
        fn sent_of<T: Send>(_: impl FnOnce(&'static Testbed) -> T) {}
        shared::<Testbed>();
        shared::<Node>();
        sent(Testbed::start(Options::new()));
        sent_of(|testbed| Node::start(testbed, "node"));
        sent_of(|testbed| testbed.start_again(Component::Etcd));
        sent_of(|testbed| testbed.service_account("a", "b"));
    }
}
