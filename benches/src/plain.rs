//! Plain programs to compare with: for every pod they look at every node, and keep nothing between pods.
//!
//! They know CPU, memory, whole and shared devices and the model, and nothing else of what Berth does: no quotas, gangs,
//! order, reasons or events. So they are the least that any scheduler without an index must do.

use crate::cluster::MODEL_LABEL;
use berth_model::{GpuRequest, NodeSpec, PodSpec};
use std::sync::Arc;

/// Thousandths of one device: the unit of the plain programs.
const DEVICE: i64 = 1000;
/// What BestFit weighs CPU against: the largest node of the openb traces (128 cores, 8 GPUs).
const CPU_PER_GPU_UNIT: i64 = 128_000 / (8 * DEVICE);

/// Devices of a node, at most.
const DEVICES_MAX: usize = 8;

/// How a node is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The fullest node that fits.
    BestFit,
    /// Fragmentation gradient descent over the kinds known beforehand (Weng et al., USENIX ATC'23).
    Fgd,
}

/// What a pod asks for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    cpu: i64,
    memory: i64,
    devices: usize,
    /// Of each device.
    each: i64,
    /// Allowed models, as bits.
    models: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    cpu: i64,
    memory: i64,
    /// One bit.
    model: u64,
    devices: usize,
    /// Left on each device.
    left: [i64; DEVICES_MAX],
}

/// A cluster that is looked at as a whole for every pod.
#[derive(Clone, Debug)]
pub struct Plain {
    rule: Rule,
    models: Vec<String>,
    nodes: Vec<Node>,
    kinds: Vec<(Ask, i64)>,
}

impl Plain {
    /// A cluster without pods. `kinds` are the GPU shapes that FGD judges fragmentation by, with their weights.
    ///
    /// # Panics
    /// If a node has more than 8 devices.
    pub fn new(rule: Rule, nodes: &[NodeSpec], kinds: &[(Arc<PodSpec>, u64)]) -> Self {
        let mut models: Vec<String> =
            nodes.iter().filter_map(|n| n.labels.get(MODEL_LABEL).cloned()).collect();
        models.sort();
        models.dedup();
        let mut plain = Self { rule, models, nodes: Vec::new(), kinds: Vec::new() };
        plain.nodes = nodes.iter().map(|node| plain.node(node)).collect();
        plain.kinds = kinds.iter().map(|(pod, weight)| (plain.ask(pod), *weight as i64)).collect();
        plain
    }

    /// Places a pod on the best of all nodes; false if it fits on none.
    pub fn place(&mut self, pod: &PodSpec) -> bool {
        let ask = self.ask(pod);
        let fitting = (0..self.nodes.len()).filter(|at| self.nodes[*at].takes(&ask));
        let Some((_, at)) = fitting.map(|at| (self.score(&self.nodes[at], &ask).0, at)).min() else {
            return false;
        };
        let from = self.score(&self.nodes[at], &ask).1;
        self.nodes[at].put(&ask, from);
        true
    }

    /// Places one pod on each of the first `count` nodes, which must take it, without looking at the others.
    pub fn fill(&mut self, pod: &PodSpec, count: usize) {
        let ask = self.ask(pod);
        self.nodes.iter_mut().take(count).for_each(|node| node.put(&ask, DEVICE));
    }

    /// Places a gang, or nothing.
    pub fn place_all(&mut self, pod: &PodSpec, count: u32) -> bool {
        let before = self.nodes.clone();
        let placed = (0..count).all(|_| self.place(pod));
        if !placed {
            self.nodes = before;
        }
        placed
    }

    /// The score of a node that takes the pod, the least is best; and how much is left on the device it would share.
    fn score(&self, node: &Node, ask: &Ask) -> (i64, i64) {
        let fitting = || node.left().iter().copied().filter(|left| *left >= ask.each);
        let tightest = fitting().min().unwrap_or(0);
        match self.rule {
            Rule::BestFit => {
                (node.cpu - ask.cpu + node.left().iter().sum::<i64>() * CPU_PER_GPU_UNIT, tightest)
            }
            Rule::Fgd => {
                let before = self.fragments(node);
                let after = |from| {
                    let mut after = *node;
                    after.put(ask, from);
                    (self.fragments(&after) - before, from)
                };
                if ask.devices == 1 { fitting().map(after).min().unwrap_or((0, 0)) } else { after(tightest) }
            }
        }
    }

    /// What of the node's GPUs pods drawn from the kinds could not use, times the sum of the weights.
    fn fragments(&self, node: &Node) -> i64 {
        let all: i64 = node.left().iter().sum();
        let unusable = |(ask, weight): &(Ask, i64)| {
            let lost =
                if node.takes(ask) { node.left().iter().filter(|l| **l < ask.each).sum() } else { all };
            weight * lost
        };
        self.kinds.iter().map(unusable).sum()
    }

    fn node(&self, node: &NodeSpec) -> Node {
        let mut left = [0; DEVICES_MAX];
        left[..node.devices.len()].fill(DEVICE);
        Node {
            cpu: node.allocatable.cpu.0,
            memory: node.allocatable.memory.0,
            model: node.labels.get(MODEL_LABEL).map_or(0, |model| self.bit(model)),
            devices: node.devices.len(),
            left,
        }
    }

    fn ask(&self, pod: &PodSpec) -> Ask {
        let (devices, each) = match pod.gpu {
            GpuRequest::None | GpuRequest::Memory { .. } => (0, 0),
            GpuRequest::Whole(count) => (count as usize, DEVICE),
            GpuRequest::Share { share, devices, .. } => (devices as usize, share.0 / 1000),
        };
        let terms = pod.node_affinity.iter().flat_map(|a| &a.node_selector_terms);
        let models = terms.flat_map(|t| &t.match_expressions).flat_map(|r| &r.values);
        let models = match pod.node_affinity {
            None => u64::MAX,
            Some(_) => models.fold(0, |all, model| all | self.bit(model)),
        };
        Ask { cpu: pod.requests.cpu.0, memory: pod.requests.memory.0, devices, each, models }
    }

    /// The bit of a model; 0 for one that no node has.
    fn bit(&self, model: &str) -> u64 {
        self.models.iter().position(|known| known == model).map_or(0, |at| 1 << at)
    }
}

impl Node {
    fn left(&self) -> &[i64] {
        &self.left[..self.devices]
    }

    fn takes(&self, ask: &Ask) -> bool {
        self.cpu >= ask.cpu
            && self.memory >= ask.memory
            && (ask.models == u64::MAX || self.model & ask.models != 0)
            && (ask.devices == 0
                || self.left().iter().filter(|left| **left >= ask.each).count() >= ask.devices)
    }

    /// Takes what is asked for, from the first devices that have exactly `from` left.
    fn put(&mut self, ask: &Ask, from: i64) {
        self.cpu -= ask.cpu;
        self.memory -= ask.memory;
        let devices = self.left[..self.devices].iter_mut().filter(|left| **left == from);
        devices.take(ask.devices).for_each(|left| *left -= ask.each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster, load};

    #[test]
    fn best_fit_fills_a_node_before_the_next_and_a_gang_is_all_or_nothing() {
        let nodes: Vec<NodeSpec> = cluster::dgx(2).collect();
        let mut plain = Plain::new(Rule::BestFit, &nodes, &[]);
        for _ in 0..5 {
            assert!(plain.place(&load::whole(1)));
        }
        assert_eq!(plain.nodes[0].left().iter().sum::<i64>(), 3 * DEVICE);
        assert!(!plain.place_all(&load::whole(8), 2));
        assert!(plain.place_all(&load::whole(8), 1));
    }
}
