//! A seed -> a case.
//!
//! Every cluster has only some of the features (swarm testing): where everything is constrained in every way nothing fits
//! and nothing interacts. Vocabularies are small, so that pods meet.

mod dice;
mod nodes;
mod pods;
mod volumes;

use crate::case::{Case, Key, Step, What};
use dice::Dice;
use pods::Names;
use serde_json::{Value, json};

/// Namespaces, which all clusters have.
pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
/// Classes of priority, which all clusters have, and whether their pods stop others.
pub(crate) const PRIORITIES: [(&str, i32, &str); 4] = [
    ("small", 10, "PreemptLowerPriority"),
    ("middle", 100, "Never"),
    ("large", 1000, "PreemptLowerPriority"),
    ("patient", 2000, "Never"),
];
/// A class of containers that take more than is asked for, which all clusters have.
pub(crate) const OVERHEAD: &str = "boxed";

/// What a cluster is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    Gpus,
    Extended,
    Containers,
    Selector,
    NodeAffinity,
    NodeNames,
    Taints,
    Cordons,
    Sick,
    Affinity,
    AntiAffinity,
    Namespaces,
    Spread,
    Ports,
    Bound,
    Late,
    Attach,
    Exclusive,
    Priorities,
    Gates,
    Others,
    Leaving,
    Changes,
}

use Feature as F;

const FEATURES: [F; 23] = [
    F::Gpus,
    F::Extended,
    F::Containers,
    F::Selector,
    F::NodeAffinity,
    F::NodeNames,
    F::Taints,
    F::Cordons,
    F::Sick,
    F::Affinity,
    F::AntiAffinity,
    F::Namespaces,
    F::Spread,
    F::Ports,
    F::Bound,
    F::Late,
    F::Attach,
    F::Exclusive,
    F::Priorities,
    F::Gates,
    F::Others,
    F::Leaving,
    F::Changes,
];

/// What is made, and with what.
pub(crate) struct Maker {
    pub(crate) dice: Dice,
    features: Vec<Feature>,
    steps: Vec<Step>,
    nodes: Vec<String>,
    /// Claims that pods may name, by namespace.
    claims: Vec<(String, String)>,
    pods: Vec<Key>,
    names: Names,
}

impl Maker {
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// True now and then, if the cluster is about it.
    pub(crate) fn wants(&mut self, feature: Feature, percent: u32) -> bool {
        self.has(feature) && self.dice.chance(percent)
    }

    fn make(&mut self, what: What, object: Value) {
        self.steps.push(Step::Make(what, object));
    }
}

/// The objects that all clusters have.
pub(crate) fn fixed() -> Vec<(What, Value)> {
    let mut all = Vec::new();
    for namespace in NAMESPACES {
        all.push((What::Namespace, json!({"metadata": {"name": namespace}})));
    }
    for (name, value, policy) in PRIORITIES {
        let class = json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
        all.push((What::PriorityClass, class));
    }
    let overhead = json!({"podFixed": {"cpu": "250m", "memory": "64Mi"}});
    let class = json!({"metadata": {"name": OVERHEAD}, "handler": OVERHEAD, "overhead": overhead});
    all.push((What::RuntimeClass, class));
    all
}

/// The case of a seed, with so many pods for Berth.
pub(crate) fn case(seed: u64, pods: u64) -> Case {
    let mut dice = Dice::new(seed);
    let count = 3 + dice.up_to(5);
    let mut features = FEATURES.to_vec();
    dice.shuffle(&mut features);
    features.truncate(count);
    let mut maker = Maker {
        dice,
        features,
        steps: Vec::new(),
        nodes: Vec::new(),
        claims: Vec::new(),
        pods: Vec::new(),
        names: Names::default(),
    };
    for namespace in NAMESPACES {
        maker.name_space(namespace);
    }
    for _ in 0..3 + maker.dice.up_to(5) {
        maker.node();
    }
    maker.volumes();
    for _ in 0..maker.dice.up_to(4) {
        if maker.has(F::Others) {
            maker.others_pod();
        }
    }
    let mut asked = 0;
    while asked < pods {
        if maker.dice.chance(30) {
            maker.something_else();
        }
        let pod = maker.pod();
        maker.pods.push(What::Pod.key(&pod));
        maker.steps.push(Step::Ask(pod));
        asked += 1;
        if asked.is_multiple_of(12) {
            maker.steps.push(Step::AskAgain);
        }
    }
    maker.steps.push(Step::AskAgain);
    Case { steps: maker.steps }
}

impl Maker {
    fn name_space(&mut self, name: &str) {
        let team = self.dice.some(&["x", "y"]);
        let env = self.dice.some(&["dev", "live"]);
        let patch = json!({"metadata": {"labels": {"team": team, "env": env}}});
        self.steps.push(Step::Change(Key::cluster(What::Namespace, name), patch));
    }

    /// Something happens besides that a pod comes. Room is made above all, so that there is something to decide.
    fn something_else(&mut self) {
        match self.dice.up_to(10) {
            0..=4 => self.pod_goes(),
            5 if self.has(F::Others) => self.others_pod(),
            6 if self.has(F::Changes) => self.node_changes(),
            7 if self.has(F::Changes) => self.node(),
            8 if self.has(F::Namespaces) && self.has(F::Changes) => {
                let name = *self.dice.pick(&NAMESPACES);
                self.name_space(name);
            }
            9 if self.has(F::Changes) => self.volume_changes(),
            _ => {}
        }
    }

    fn pod_goes(&mut self) {
        if self.pods.is_empty() {
            return;
        }
        let at = self.dice.up_to(self.pods.len() as u64) as usize;
        if self.wants(F::Leaving, 60) {
            let pod = self.pods[at].clone();
            let phase = self.dice.pick(&["Succeeded", "Failed"]);
            let end = Step::End(pod.clone(), (*phase).to_owned());
            let step = if self.dice.chance(60) { Step::Leave(pod) } else { end };
            self.steps.push(step);
        } else {
            let pod = self.pods.swap_remove(at);
            self.steps.push(Step::Delete(pod));
        }
    }
}
