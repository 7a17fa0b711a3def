//! Topology domains: which nodes share a rack, a zone, an NVLink domain, or are the same host (S11, S31).
//!
//! A topology key is interned when somebody first asks about it; from then on every node knows its domain under it.
//! Costs: a new key looks at all nodes once; a node that comes or changes costs one look per key in use.

use crate::ix::{NodeIx, TopologyIx};
use berth_model::NodeSpec;
use rustc_hash::FxHashMap;

/// The domain of nodes that lack the label.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One topology key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    key: Box<str>,
    by_value: FxHashMap<Box<str>, u32>,
    /// Values by domain.
    pub(crate) values: Vec<Box<str>>,
    /// Nodes by domain, in order of arrival.
    pub(crate) nodes: Vec<Vec<NodeIx>>,
    domain: Vec<u32>,
}

/// All topology keys in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topologies {
    all: Vec<Topology>,
}

impl Topologies {
    /// The index of a key, and whether it is new: then every node must [`Self::join`] it.
    pub(crate) fn intern(&mut self, key: &str) -> (TopologyIx, bool) {
        if let Some(known) = self.all.iter().position(|t| &*t.key == key) {
            return (TopologyIx::of(known), false);
        }
        self.all.push(Topology { key: key.into(), ..Topology::default() });
        (TopologyIx::of(self.all.len() - 1), true)
    }

    /// The index of a key, if anybody ever asked about it.
    pub(crate) fn find(&self, key: &str) -> Option<TopologyIx> {
        self.all.iter().position(|t| &*t.key == key).map(TopologyIx::of)
    }

    /// A topology.
    pub(crate) fn at(&self, ix: TopologyIx) -> &Topology {
        &self.all[ix.i()]
    }

    /// All indices.
    pub(crate) fn indices(&self) -> impl Iterator<Item = TopologyIx> + use<> {
        (0..self.all.len()).map(TopologyIx::of)
    }

    /// Enters a node into its domain under the key.
    pub(crate) fn join(&mut self, ix: TopologyIx, node: NodeIx, spec: &NodeSpec) {
        let topology = &mut self.all[ix.i()];
        let value = spec.labels.get(&*topology.key);
        let domain = value.map_or(NOWHERE, |value| topology.domain_of(value));
        if topology.domain.len() <= node.i() {
            topology.domain.resize(node.i() + 1, NOWHERE);
        }
        topology.domain[node.i()] = domain;
        if domain != NOWHERE {
            topology.nodes[domain as usize].push(node);
        }
    }

    /// Takes a node out of its domain under every key.
    pub(crate) fn leave(&mut self, node: NodeIx) {
        for topology in &mut self.all {
            let domain = std::mem::replace(&mut topology.domain[node.i()], NOWHERE);
            if domain != NOWHERE {
                topology.nodes[domain as usize].retain(|n| *n != node);
            }
        }
    }
}

impl Topology {
    fn domain_of(&mut self, value: &str) -> u32 {
        if let Some(known) = self.by_value.get(value) {
            return *known;
        }
        let domain = self.values.len() as u32;
        self.by_value.insert(value.into(), domain);
        self.values.push(value.into());
        self.nodes.push(Vec::new());
        domain
    }

    /// The domain of a node, or [`NOWHERE`].
    pub(crate) fn domain(&self, node: NodeIx) -> u32 {
        self.domain[node.i()]
    }

    /// How many domains there have been.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
