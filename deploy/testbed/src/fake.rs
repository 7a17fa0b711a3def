//! Nodes and pods in number, from templates: plain objects, made with bounded concurrency.
//!
//! A node from a template is ready from its creation and carries the annotation by which kwok knows that it is to play it;
//! without kwok nothing runs on it, but pods can be bound to it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{
    Container, Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, Pod, PodSpec, ResourceRequirements,
    Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The annotation, and its value, of nodes that kwok plays.
pub const PLAYED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// The resource of whole devices.
pub const GPU: &str = "nvidia.com/gpu";
/// How many requests are under way at once where nothing else is said: enough to keep the API server busy.
pub const AT_ONCE: usize = 32;

/// Nodes that look alike.
#[derive(Clone, Debug)]
pub struct NodeTemplate {
    prefix: String,
    resources: BTreeMap<String, Quantity>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    taints: Vec<Taint>,
    unschedulable: bool,
}

impl NodeTemplate {
    /// Nodes named `prefix-0`, `prefix-1` and so on, with 64 CPUs, 512 GiB of memory and room for 110 pods.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            resources: quantities([
                ("cpu", "64"),
                ("memory", "512Gi"),
                ("ephemeral-storage", "1Ti"),
                ("pods", "110"),
            ]),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([(PLAYED.0.to_owned(), PLAYED.1.to_owned())]),
            taints: Vec::new(),
            unschedulable: false,
        }
    }

    /// With this many whole devices each.
    #[must_use]
    pub fn gpus(self, count: u32) -> Self {
        self.resource(GPU, &count.to_string())
    }

    /// With this much of a resource each.
    #[must_use]
    pub fn resource(mut self, name: &str, quantity: &str) -> Self {
        self.resources.insert(name.to_owned(), Quantity(quantity.to_owned()));
        self
    }

    /// With a label. In a value, `{index}` is the node's number.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With an annotation. In a value, `{index}` is the node's number.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a taint: its effect is `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        let (key, effect) = (key.to_owned(), effect.to_owned());
        self.taints.push(Taint { key, value: Some(value.to_owned()), effect, time_added: None });
        self
    }

    /// Cordoned.
    #[must_use]
    pub fn unschedulable(mut self) -> Self {
        self.unschedulable = true;
        self
    }

    /// The node of this number.
    #[must_use]
    pub fn node(&self, index: usize) -> Node {
        let name = format!("{}-{index}", self.prefix);
        let mut labels = numbered(&self.labels, index);
        for (key, value) in [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let addresses = [("Hostname", name.clone()), ("InternalIP", address(index))]
            .map(|(type_, address)| NodeAddress { address, type_: type_.to_owned() });
        Node {
            metadata: ObjectMeta {
                name: Some(name),
                labels: Some(labels),
                annotations: Some(numbered(&self.annotations, index)),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                unschedulable: self.unschedulable.then_some(true),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus {
                addresses: Some(addresses.to_vec()),
                allocatable: Some(self.resources.clone()),
                capacity: Some(self.resources.clone()),
                conditions: Some(conditions()),
                phase: Some("Running".to_owned()),
                ..NodeStatus::default()
            }),
        }
    }

    /// The nodes of these numbers.
    pub fn nodes(&self, indices: std::ops::Range<usize>) -> impl Iterator<Item = Node> + '_ {
        indices.map(|index| self.node(index))
    }
}

/// Pods that look alike.
#[derive(Clone, Debug)]
pub struct PodTemplate {
    prefix: String,
    namespace: String,
    image: String,
    arguments: Vec<String>,
    requests: BTreeMap<String, Quantity>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    scheduler: Option<String>,
    node: Option<String>,
    priority_class: Option<String>,
    tolerate_all: bool,
}

impl PodTemplate {
    /// Pods named `prefix-0`, `prefix-1` and so on, in the namespace `default`, that ask for nothing. Their image is the
    /// one of ours that every real node has ([`crate::node::BOX_IMAGE`]).
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            namespace: "default".to_owned(),
            image: crate::node::BOX_IMAGE.to_owned(),
            arguments: Vec::new(),
            requests: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            scheduler: None,
            node: None,
            priority_class: None,
            tolerate_all: false,
        }
    }

    /// In this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// With this image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// With these arguments; for our own image, its steps: `env`, `print TEXT`, `sleep SECONDS`, `pause`, `exit CODE`.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// With this many whole devices each.
    #[must_use]
    pub fn gpus(self, count: u32) -> Self {
        self.request(GPU, &count.to_string())
    }

    /// Asks for this much of a resource. Of what Kubernetes does not overcommit (all but CPU, memory and storage) that is
    /// its limit too.
    #[must_use]
    pub fn request(mut self, name: &str, quantity: &str) -> Self {
        self.requests.insert(name.to_owned(), Quantity(quantity.to_owned()));
        self
    }

    /// With a label. In a value, `{index}` is the pod's number.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With an annotation. In a value, `{index}` is the pod's number.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// For this scheduler.
    #[must_use]
    pub fn scheduler(mut self, name: &str) -> Self {
        self.scheduler = Some(name.to_owned());
        self
    }

    /// Bound to a node from the beginning, past all schedulers.
    #[must_use]
    pub fn on_node(mut self, name: &str) -> Self {
        self.node = Some(name.to_owned());
        self
    }

    /// Of this priority class.
    #[must_use]
    pub fn priority_class(mut self, name: &str) -> Self {
        self.priority_class = Some(name.to_owned());
        self
    }

    /// With a toleration of every taint.
    #[must_use]
    pub fn tolerate_all(mut self) -> Self {
        self.tolerate_all = true;
        self
    }

    /// The pod of this number.
    #[must_use]
    pub fn pod(&self, index: usize) -> Pod {
        let limits: BTreeMap<_, _> =
            self.requests.clone().into_iter().filter(|(name, _)| name.contains('/')).collect();
        let container = Container {
            name: "main".to_owned(),
            image: Some(self.image.clone()),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            args: (!self.arguments.is_empty()).then(|| self.arguments.clone()),
            resources: Some(ResourceRequirements {
                limits: (!limits.is_empty()).then_some(limits),
                requests: (!self.requests.is_empty()).then(|| self.requests.clone()),
                ..ResourceRequirements::default()
            }),
            ..Container::default()
        };
        let everything = Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() };
        Pod {
            metadata: ObjectMeta {
                name: Some(format!("{}-{index}", self.prefix)),
                namespace: Some(self.namespace.clone()),
                labels: Some(numbered(&self.labels, index)),
                annotations: Some(numbered(&self.annotations, index)),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: vec![container],
                scheduler_name: self.scheduler.clone(),
                node_name: self.node.clone(),
                priority_class_name: self.priority_class.clone(),
                tolerations: self.tolerate_all.then(|| vec![everything]),
                // No cluster has a name service here, and no pod of ours asks the API server.
                dns_policy: Some("Default".to_owned()),
                automount_service_account_token: Some(false),
                restart_policy: Some("Never".to_owned()),
                termination_grace_period_seconds: Some(1),
                ..PodSpec::default()
            }),
            status: None,
        }
    }

    /// The pods of these numbers.
    pub fn pods(&self, indices: std::ops::Range<usize>) -> impl Iterator<Item = Pod> + '_ {
        indices.map(|index| self.pod(index))
    }
}

/// Creates objects, `at_once` of them at a time, and returns how many.
///
/// # Errors
/// If the API server refuses one, which the error names. Others may have been created by then.
pub async fn create_all<K>(
    api: &Api<K>,
    objects: impl IntoIterator<Item = K>,
    at_once: usize,
) -> Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let params = PostParams::default();
    stream::iter(objects)
        .map(|object| {
            let params = &params;
            async move {
                let name = object.meta().name.clone().unwrap_or_default();
                api.create(params, &object)
                    .await
                    .map_err(Error::api(format!("creating {} {name}", K::kind(&()))))
            }
        })
        .buffer_unordered(at_once.max(1))
        .try_fold(0, async |count, _| Ok(count + 1))
        .await
}

fn conditions() -> Vec<NodeCondition> {
    let now = Time(k8s_openapi::jiff::Timestamp::now());
    [("Ready", "True"), ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False")]
        .map(|(type_, status)| NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some("Played".to_owned()),
            message: Some("a node of the testbed".to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        })
        .to_vec()
}

/// An address of its own for each of some sixteen million nodes.
fn address(index: usize) -> String {
    format!("10.{}.{}.{}", index >> 16 & 0xff, index >> 8 & 0xff, index & 0xff)
}

fn numbered(values: &BTreeMap<String, String>, index: usize) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), value.replace("{index}", &index.to_string()))).collect()
}

fn quantities<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Quantity> {
    pairs.into_iter().map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned()))).collect()
}
