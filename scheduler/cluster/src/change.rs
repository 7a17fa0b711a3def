//! What is told to the mirror.

use crate::action::PodRef;
use berth_api::objects::{Department, NodePool, Project};
use berth_api::slim;
use berth_api::slim::owners;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A kind of object that is watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// What nodes can attach.
    CsiNode,
    /// Devices of nodes, as Berth's driver publishes them.
    Slice,
    /// Claims of devices.
    DeviceClaim,
    /// Classes of devices.
    DeviceClass,
    /// Node pools.
    NodePool,
    /// Departments.
    Department,
    /// Projects.
    Project,
    /// Namespaces.
    Namespace,
    /// Priority classes.
    PriorityClass,
    /// Claims of volumes.
    Claim,
    /// Volumes.
    Volume,
    /// Storage classes.
    StorageClass,
    /// Disruption budgets.
    Budget,
    /// Controllers' objects that say how many pods a gang has, by kind of gang.
    Owner(berth_api::group::Kind),
}

/// An object as it is now.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// A pod.
    Pod(Box<slim::Pod>),
    /// A node.
    Node(Box<slim::Node>),
    /// What a node can attach.
    CsiNode(Box<slim::CsiNode>),
    /// Devices of a node.
    Slice(Box<slim::ResourceSlice>),
    /// A claim of devices.
    DeviceClaim(Box<slim::ResourceClaim>),
    /// A class of devices.
    DeviceClass(Box<slim::DeviceClass>),
    /// A node pool.
    NodePool(Box<NodePool>),
    /// A department.
    Department(Box<Department>),
    /// A project.
    Project(Box<Project>),
    /// A namespace.
    Namespace(Box<slim::Namespace>),
    /// A priority class.
    PriorityClass(Box<slim::PriorityClass>),
    /// A claim.
    Claim(Box<slim::PersistentVolumeClaim>),
    /// A volume.
    Volume(Box<slim::PersistentVolume>),
    /// A storage class.
    StorageClass(Box<slim::StorageClass>),
    /// A disruption budget.
    Budget(Box<slim::PodDisruptionBudget>),
    /// A batch Job.
    Job(Box<owners::Job>),
    /// A JobSet.
    JobSet(Box<owners::JobSet>),
    /// A RayCluster.
    RayCluster(Box<owners::RayCluster>),
    /// A LeaderWorkerSet.
    LeaderWorkerSet(Box<owners::LeaderWorkerSet>),
    /// KAI's PodGroup.
    PodGroup(Box<owners::PodGroup>),
    /// A job of Kubeflow's training operator: its namespace, its name, its kind, and what it says.
    TrainingJob {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// What it is called in an error.
        object: String,
        /// What it says.
        spec: Box<owners::TrainingSpec>,
    },
}

/// The name of an object; the namespace is empty for those that have none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl Name {
    /// A name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// A name without a namespace.
    pub fn cluster(name: &str) -> Self {
        Self::new("", name)
    }

    /// The name that an object says.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        Self { namespace: text(&meta.namespace), name: text(&meta.name) }
    }
}

/// What became of an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The pod is bound, as asked.
    Bound(PodRef),
    /// The pod is surely not bound to the node that was asked for, in the words of the API server.
    BindFailed(PodRef, String),
    /// The pod has been told to end, or is gone.
    Evicted(PodRef),
    /// The pod has not been told to end and will not be.
    EvictFailed(PodRef, String),
    /// The namespace of this name has not been made, for this reason.
    NamespaceNotMade(Box<str>, String),
}

/// One thing that a watch or a request tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// An object is there, or is different.
    Set(Object),
    /// An object is gone; with its uid, if that is known.
    Gone(Kind, Name, Option<Box<str>>),
    /// A list of all objects of a kind begins. What is set until it ends is in it.
    ListBegun(Kind),
    /// A list has ended: what was not in it is gone.
    ListEnded(Kind),
    /// What became of an action.
    Outcome(Outcome),
}
