//! Nodes, and what becomes of them.

use super::{Feature as F, Maker};
use crate::case::{Key, Step, What};
use serde_json::{Map, Value, json};

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const REGION: &str = "topology.kubernetes.io/region";
pub(crate) const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
/// Labels of nodes with their values.
pub(crate) const LABELS: [(&str, &[&str]); 5] = [
    (ZONE, &["z1", "z2", "z3"]),
    ("rack", &["r1", "r2"]),
    ("disk", &["ssd", "hdd", ""]),
    ("generation", &["3", "7", "12", "0", "new"]),
    ("gpu", &["a100", "h100"]),
];
/// Keys of taints with their values.
pub(crate) const TAINTS: [(&str, &[&str]); 3] =
    [("dedicated", &["a", "b", ""]), ("gpu", &["yes", ""]), ("node.kubernetes.io/disk-pressure", &[""])];
pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "NoExecute", "PreferNoSchedule"];

impl Maker {
    pub(crate) fn node(&mut self) {
        let name = format!("n{}", self.nodes.len());
        let mut labels = self.dice.labels(&LABELS);
        if !self.wants(F::NodeNames, 15) {
            labels.insert(HOSTNAME.to_owned(), json!(name));
        }
        if self.wants(F::Bound, 30) {
            labels.extend(self.dice.labels(&[(REGION, &["e1", "e2"]), (OLD_ZONE, &["z1", "z2"])]));
        }
        let sick = self.wants(F::Sick, 30);
        let mut taints = self.taints();
        if sick {
            let key = *self.dice.pick(&["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
            taints.push(json!({"key": key, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}));
        }
        let mut spec = json!({"taints": taints});
        if self.wants(F::Cordons, 25) {
            spec["unschedulable"] = json!(true);
        }
        let ready = if sick { *self.dice.pick(&["False", "Unknown"]) } else { "True" };
        let allocatable = self.allocatable();
        let node = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": {
                "allocatable": allocatable, "capacity": allocatable,
                "conditions": [{"type": "Ready", "status": ready, "reason": "Said", "message": "so"}],
            },
        });
        self.make(What::Node, node);
        if self.has(F::Attach) && self.dice.chance(80) {
            self.csi_node(&name);
        }
        self.nodes.push(name);
    }

    fn allocatable(&mut self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, amount: String| _ = all.insert(name.to_owned(), json!(amount));
        put("cpu", format!("{}m", 500 * (2 + self.dice.up_to(14))));
        put("memory", format!("{}Mi", 512 * (1 + self.dice.up_to(16))));
        put(
            "pods",
            (if self.dice.chance(15) { self.dice.up_to(4) } else { 4 + self.dice.up_to(30) }).to_string(),
        );
        if self.dice.chance(70) {
            put("ephemeral-storage", format!("{}Gi", 1 + self.dice.up_to(10)));
        }
        if self.has(F::Gpus) && self.dice.chance(75) {
            put("nvidia.com/gpu", self.dice.up_to(5).to_string());
        }
        if self.has(F::Extended) {
            for name in ["example.com/fpga", "example.com/nic"] {
                if self.dice.chance(60) {
                    put(name, self.dice.up_to(5).to_string());
                }
            }
            if self.dice.chance(50) {
                put("hugepages-2Mi", format!("{}Mi", 4 * self.dice.up_to(6)));
            }
        }
        all
    }

    fn taints(&mut self) -> Vec<Value> {
        let mut taints = Vec::new();
        for (key, values) in TAINTS {
            if self.wants(F::Taints, 30) {
                let effect = *self.dice.pick(&EFFECTS);
                taints.push(json!({"key": key, "value": self.dice.pick(values), "effect": effect}));
            }
        }
        taints
    }

    /// How many volumes a node can attach.
    fn csi_node(&mut self, name: &str) {
        let mut drivers = Vec::new();
        for driver in ["csi.one", "csi.two"] {
            if self.dice.chance(75) {
                let count = self.dice.chance(80).then(|| json!({"count": self.dice.up_to(4)}));
                drivers
                    .push(json!({"name": driver, "nodeID": name, "topologyKeys": [], "allocatable": count}));
            }
        }
        self.make(What::CsiNode, json!({"metadata": {"name": name}, "spec": {"drivers": drivers}}));
    }

    /// A node is labelled, tainted, cordoned, changes its size, or is gone.
    pub(crate) fn node_changes(&mut self) {
        if self.nodes.is_empty() {
            return;
        }
        let at = self.dice.up_to(self.nodes.len());
        let node = Key::cluster(What::Node, &self.nodes[at]);
        let patch = match self.dice.up_to(8) {
            0..=2 => {
                let (key, values) = *self.dice.pick(&LABELS);
                json!({"metadata": {"labels": {key: self.dice.some(values)}}})
            }
            3 | 4 if !self.has(F::Sick) => json!({"spec": {"taints": self.taints()}}),
            5 => json!({"spec": {"unschedulable": self.dice.chance(40)}}),
            6 => json!({"status": {"allocatable": self.allocatable()}}),
            _ => return self.steps.push(Step::Delete(node)),
        };
        self.steps.push(Step::Change(node, patch));
    }
}
