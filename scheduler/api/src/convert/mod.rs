//! Objects -> the model, exactly as kube-scheduler 1.36 reads them (S11).
//!
//! Pure functions of the objects and of their [`Surroundings`]. Where an object's meaning depends on others (claims of
//! volumes, namespaces that a selector selects), [`depends_on`] says so, and whoever watches converts it again when one of
//! them changes.
//!
//! Two things differ from kube-scheduler on purpose. Its built-in spread over hosts and zones, which holds for pods of
//! services that state no constraint, is a preference against packing and not applied: the pool's strategy decides (S12). And
//! an object that it would fail on in every cycle is an error here, once.

mod affinity;
mod budget;
mod claims;
mod node;
mod organisation;
mod pod;
mod resources;
mod selection;
mod selector;
mod slice;
mod storage;
mod template;

pub use budget::budget;
pub use claims::{Claimed, Parameters, Part, claimed, parts, selection};
pub use node::{NodeFacts, node};
pub(crate) use organisation::created;
pub use organisation::{department, node_pool, project, queue_quota};
pub use pod::{Depends, depends_on, pod};
pub use selection::Selection;
pub use selector::{label_selector, selects};
pub use slice::{Published, devices};
pub use storage::{OpenClaim, SELECTED_NODE, open_claims};
pub use template::{CLAIM, template, template_name};

use crate::cel::Selector;
use crate::slim;
use std::sync::Arc;

/// The objects that others are read with.
pub trait Surroundings {
    /// A claim.
    fn claim(&self, namespace: &str, name: &str) -> Option<&slim::PersistentVolumeClaim>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<&slim::PersistentVolume>;
    /// A storage class.
    fn class(&self, name: &str) -> Option<&slim::StorageClass>;
    /// The volumes of a storage class, by name.
    fn volumes_of(&self, class: &str) -> Vec<&slim::PersistentVolume>;
    /// A claim of devices.
    fn device_claim(&self, namespace: &str, name: &str) -> Option<&slim::ResourceClaim>;
    /// A class of devices.
    fn device_class(&self, name: &str) -> Option<&slim::DeviceClass>;
    /// Every namespace, by name.
    fn namespaces(&self) -> Vec<&slim::Namespace>;

    /// A selector of devices; who reads many pods remembers them.
    ///
    /// # Errors
    /// What is wrong with it.
    fn selector(&self, expression: &str) -> Result<Arc<Selector>, String> {
        Selector::compile(expression).map(Arc::new)
    }

    /// Why a selection, by its label, cannot be told of some device, if that is so.
    fn selection_fails(&self, _label: &str) -> Option<&str> {
        None
    }
}
