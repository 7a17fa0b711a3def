//! A case: what happens in a cluster, step by step. It is data, so that it can be made smaller, printed and run again.

use berth_cluster::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What happens in a cluster.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens. What a step is about may be gone by then, and the step is nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// An object is made. A pod with a node is one that somebody else has put there.
    Make(What, Value),
    /// An object is changed, by a merge patch.
    Change(Key, Value),
    /// An object is deleted; of a pod nothing is left at once.
    Delete(Key),
    /// A pod on a node is told to end and takes its time.
    Leave(Key),
    /// A pod on a node ends in this phase.
    End(Key, String),
    /// A pod for Berth comes, and both are asked.
    Ask(Value),
    /// Both are asked about every pod that waits.
    AskAgain,
}

/// Kinds of objects that are made here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum What {
    Namespace,
    PriorityClass,
    RuntimeClass,
    StorageClass,
    CsiNode,
    Node,
    Volume,
    Claim,
    Pod,
}

/// The name of an object; the namespace is empty for those that have none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Key(pub(crate) What, pub(crate) String, pub(crate) String);

impl What {
    /// Those that a cluster begins without.
    pub(crate) const OF_A_CLUSTER: [Self; 6] =
        [Self::Pod, Self::Claim, Self::Volume, Self::StorageClass, Self::CsiNode, Self::Node];

    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Namespace => ("v1", "Namespace", "namespaces"),
            Self::PriorityClass => ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses"),
            Self::RuntimeClass => ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses"),
            Self::StorageClass => ("storage.k8s.io/v1", "StorageClass", "storageclasses"),
            Self::CsiNode => ("storage.k8s.io/v1", "CSINode", "csinodes"),
            Self::Node => ("v1", "Node", "nodes"),
            Self::Volume => ("v1", "PersistentVolume", "persistentvolumes"),
            Self::Claim => ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::Pod => ("v1", "Pod", "pods"),
        }
    }

    /// The kind that the mirror knows it by; it never sees a RuntimeClass.
    pub(crate) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Namespace => Some(Kind::Namespace),
            Self::PriorityClass => Some(Kind::PriorityClass),
            Self::RuntimeClass => None,
            Self::StorageClass => Some(Kind::StorageClass),
            Self::CsiNode => Some(Kind::CsiNode),
            Self::Node => Some(Kind::Node),
            Self::Volume => Some(Kind::Volume),
            Self::Claim => Some(Kind::Claim),
            Self::Pod => Some(Kind::Pod),
        }
    }

    pub(crate) const fn is_namespaced(self) -> bool {
        matches!(self, Self::Claim | Self::Pod)
    }

    /// Where the API server has the objects of a namespace, or all of a kind without one.
    pub(crate) fn path(self, namespace: &str) -> String {
        let (version, _, plural) = self.names();
        let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        if self.is_namespaced() {
            format!("{root}/namespaces/{namespace}/{plural}")
        } else {
            format!("{root}/{plural}")
        }
    }

    /// An object with its kind, as the API server wants it.
    pub(crate) fn typed(self, object: &Value) -> Value {
        let (version, kind, _) = self.names();
        let mut object = object.clone();
        (object["apiVersion"], object["kind"]) = (json!(version), json!(kind));
        object
    }

    /// The name of an object of this kind.
    pub(crate) fn key(self, object: &Value) -> Key {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Key(self, text("namespace"), text("name"))
    }
}

impl Key {
    pub(crate) fn pod(namespace: &str, name: &str) -> Self {
        Self(What::Pod, namespace.to_owned(), name.to_owned())
    }

    pub(crate) fn cluster(what: What, name: &str) -> Self {
        Self(what, String::new(), name.to_owned())
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.0.path(&self.1), self.2)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.1 {
            "" => write!(f, "{:?} {}", self.0, self.2),
            namespace => write!(f, "{:?} {namespace}/{}", self.0, self.2),
        }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{{\"steps\":[")?;
        for (at, step) in self.steps.iter().enumerate() {
            let comma = if at + 1 < self.steps.len() { "," } else { "" };
            writeln!(f, "  {}{comma}", serde_json::to_string(step).map_err(|_| std::fmt::Error)?)?;
        }
        write!(f, "]}}")
    }
}
