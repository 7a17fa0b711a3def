//! Nodes.

use super::pod::Amounts;
use super::{meta, null_as_default, resource};
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    /// Metadata, without managed fields.
    #[serde(deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    /// What it is set to.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: NodeSpec,
    /// What is so.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: NodeStatus,
}

resource!(Node, "Node", "", "v1", "nodes", ClusterResourceScope);

/// What a node is set to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: Option<bool>,
    /// Taints.
    #[serde(deserialize_with = "null_as_default")]
    pub taints: Vec<Taint>,
}

/// What is so with a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// What it can give out to pods.
    #[serde(deserialize_with = "null_as_default")]
    pub allocatable: Amounts,
    /// Conditions.
    #[serde(deserialize_with = "null_as_default")]
    pub conditions: Vec<NodeCondition>,
}

/// A condition of a node. Its heartbeat is left out, so that two reports that say the same are equal.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}
