//! Berth as Kubernetes sees it, and Kubernetes as Berth sees it.
//!
//! Read in this order:
//!
//! 1. [`quantity`]: exact numbers as people write them.
//! 2. [`names`]: every label, annotation and finalizer that is read or written, and what it means.
//! 3. [`objects`]: the API objects of `berth.dev/v1alpha1`: NodePool, Department, Project.
//! 4. [`slim`]: Kubernetes' own objects, cut down to what scheduling reads.
//! 5. [`keep`]: pods as they are kept in memory, a hundred thousand of them.
//! 6. [`asked`]: what a pod asks for by labels and annotations, ours and others'.
//! 7. [`cel`]: conditions on devices.
//! 8. [`convert`]: objects -> the model's nodes, pods, pools, departments and projects (S1, S2, S11, S13, S14).
//! 9. [`group`]: which pods are one workload, and how many of them it needs to start (S5).
//!
//! Invariants: amounts are integers, read exactly; a malformed object gives an error that names the object, the field, the
//! value and what is allowed, and nothing else. Absent on purpose: a client, watches, clocks, caches; whoever watches hands
//! the objects in and keeps what comes out.
//!
//! Without the feature `kube` only the first two modules are there, which is all that the simulator takes.

pub mod names;
pub mod quantity;

#[cfg(feature = "kube")]
pub mod asked;
#[cfg(feature = "kube")]
pub mod cel;
#[cfg(feature = "kube")]
pub mod convert;
#[cfg(feature = "kube")]
mod error;
#[cfg(feature = "kube")]
pub mod group;
#[cfg(feature = "kube")]
pub mod keep;
#[cfg(feature = "kube")]
pub mod objects;
#[cfg(feature = "kube")]
pub mod slim;

#[cfg(feature = "kube")]
pub use error::Malformed;
