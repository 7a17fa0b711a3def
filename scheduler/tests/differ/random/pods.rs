//! Pods for Berth, and those of others.

use super::nodes::{EFFECTS, HOSTNAME, LABELS, TAINTS, ZONE};
use super::{Feature as F, Maker, NAMESPACES, OVERHEAD, PRIORITIES};
use crate::case::What;
use serde_json::{Map, Value, json};

/// Labels of pods with their values.
const POD_LABELS: [(&str, &[&str]); 3] =
    [("app", &["p", "q"]), ("tier", &["1", "2"]), ("version", &["v1", "v2"])];
/// Keys that make neighbours.
const TOPOLOGIES: [&str; 5] = [HOSTNAME, ZONE, ZONE, "rack", "nowhere"];

/// Names of pods, each given once.
#[derive(Default)]
pub(crate) struct Names(u32);

impl Names {
    fn next(&mut self, prefix: &str) -> String {
        self.0 += 1;
        format!("{prefix}{}", self.0)
    }
}

impl Maker {
    /// A pod for Berth.
    pub(crate) fn pod(&mut self) -> Value {
        let name = self.names.next("p");
        let mut pod = self.any_pod(&name);
        pod["spec"]["schedulerName"] = json!("berth");
        if self.wants(F::Gates, 15) {
            pod["spec"]["schedulingGates"] = json!([{"name": "example.com/later"}]);
        }
        if self.wants(F::Priorities, 60) {
            pod["spec"]["priorityClassName"] = json!(self.dice.pick(&PRIORITIES).0);
        }
        pod
    }

    /// A pod that somebody else has put on a node, whatever is there.
    pub(crate) fn others_pod(&mut self) {
        let name = self.names.next("o");
        let mut pod = self.any_pod(&name);
        let node = self.dice.pick(&self.nodes).clone();
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["schedulerName"] = json!("others");
        self.pods.push(What::Pod.key(&pod));
        self.make(What::Pod, pod);
    }

    fn any_pod(&mut self, name: &str) -> Value {
        let mut namespace = self.dice.pick(&NAMESPACES).to_string();
        if !self.claims.is_empty() && self.dice.chance(70) {
            namespace = self.dice.pick(&self.claims).0.clone();
        }
        let mut spec = json!({"containers": self.containers("main"), "affinity": self.affinity()});
        if self.wants(F::Containers, 50) {
            self.more_containers(&mut spec);
        }
        if self.wants(F::Selector, 30) {
            let (key, values) = *self.dice.pick(&LABELS);
            spec["nodeSelector"] = json!({key: self.dice.pick(values)});
        }
        if self.wants(F::NodeNames, 10) {
            spec["nodeSelector"][HOSTNAME] = json!(self.dice.pick(&self.nodes));
        }
        if self.has(F::Taints) || self.has(F::Sick) || self.has(F::Cordons) {
            spec["tolerations"] = json!(self.tolerations());
        }
        if self.wants(F::Spread, 45) {
            spec["topologySpreadConstraints"] = json!(self.spread());
        }
        if self.wants(F::Ports, 45) {
            spec["containers"][0]["ports"] = json!(self.ports());
        }
        self.mounts(&mut spec, &namespace);
        json!({
            "metadata": {"name": name, "namespace": namespace, "labels": self.dice.labels(&POD_LABELS)},
            "spec": spec,
        })
    }

    fn containers(&mut self, name: &str) -> Vec<Value> {
        let count = if self.wants(F::Containers, 40) { 2 } else { 1 };
        (0..count).map(|at| self.container(&format!("{name}{at}"))).collect()
    }

    /// A container, and what it asks for: often little, so that something else decides.
    fn container(&mut self, name: &str) -> Value {
        let (mut requests, mut limits) = (Map::new(), Map::new());
        if self.dice.chance(60) {
            requests.insert("cpu".into(), json!(*self.dice.pick(&["100m", "0.5", "1", "1500m", "3"])));
        }
        if self.dice.chance(50) {
            requests.insert(
                "memory".into(),
                json!(*self.dice.pick(&["128Mi", "512Mi", "1G", "2Gi", "1500000k"])),
            );
        }
        if self.dice.chance(15) {
            requests.insert("ephemeral-storage".into(), json!(*self.dice.pick(&["1Gi", "4Gi", "1"])));
        }
        if self.wants(F::Gpus, 40) {
            limits.insert("nvidia.com/gpu".into(), json!((1 + self.dice.up_to(3)).to_string()));
        }
        if self.wants(F::Extended, 30) {
            let name = *self.dice.pick(&["example.com/fpga", "example.com/nic", "example.com/none"]);
            limits.insert(name.into(), json!(self.dice.up_to(3).to_string()));
        }
        if self.wants(F::Extended, 15) {
            limits.insert("hugepages-2Mi".into(), json!("4Mi"));
            requests.entry("cpu").or_insert(json!("100m"));
        }
        requests.extend(limits.clone());
        json!({"name": name, "image": "none", "resources": {"requests": requests, "limits": limits}})
    }

    /// Containers that run before, sidecars, overhead, and amounts for the pod as a whole.
    fn more_containers(&mut self, spec: &mut Value) {
        let mut init = Vec::new();
        for at in 0..self.dice.up_to(3) {
            let mut container = self.container(&format!("before{at}"));
            if self.dice.chance(50) {
                container["restartPolicy"] = json!("Always");
            }
            if self.wants(F::Ports, 40) {
                container["ports"] = json!(self.ports());
            }
            init.push(container);
        }
        spec["initContainers"] = json!(init);
        if self.dice.chance(25) {
            spec["runtimeClassName"] = json!(OVERHEAD);
        }
        if self.dice.chance(25) {
            spec["resources"] = json!({"requests": {"cpu": "9", "memory": "16Gi"}});
            if self.dice.chance(60) {
                spec["containers"] = json!([{"name": "main0", "image": "none"}]);
                spec["initContainers"] = json!([]);
                spec["resources"] = json!({"requests": {"cpu": self.dice.pick(&["250m", "1", "2"])}});
            }
        }
    }

    fn tolerations(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        // A node that is not ready takes nothing, whoever tolerates that: docs/SCHEDULER.md.
        let sick = self.has(F::Sick);
        let system =
            if sick { &["unschedulable"][..] } else { &["not-ready", "unreachable", "unschedulable"] };
        let system: Vec<String> = system.iter().map(|key| format!("node.kubernetes.io/{key}")).collect();
        let system = system.iter().map(|key| (&**key, &[""][..]));
        for (key, values) in TAINTS.into_iter().chain(system) {
            if !self.dice.chance(30) {
                continue;
            }
            let mut one = json!({"key": key});
            match self.dice.up_to(3) {
                0 => one["operator"] = json!("Exists"),
                1 => one["value"] = json!(self.dice.pick(values)),
                _ => (one["operator"], one["value"]) = (json!("Equal"), json!(self.dice.pick(values))),
            }
            if self.dice.chance(50) {
                one["effect"] = json!(self.dice.pick(&EFFECTS));
            }
            all.push(one);
        }
        if !sick && self.dice.chance(8) {
            all.push(json!({"operator": "Exists"}));
        }
        all
    }

    fn affinity(&mut self) -> Value {
        let mut affinity = json!({});
        if self.wants(F::NodeAffinity, 45) || self.wants(F::NodeNames, 30) {
            let terms: Vec<Value> = (0..1 + self.dice.up_to(2)).map(|_| self.node_term()).collect();
            affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({"nodeSelectorTerms": terms});
        }
        if self.wants(F::NodeAffinity, 20) {
            affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] =
                json!([{"weight": 1 + self.dice.up_to(100), "preference": self.node_term()}]);
        }
        for (feature, field) in [(F::Affinity, "podAffinity"), (F::AntiAffinity, "podAntiAffinity")] {
            if self.wants(feature, 40) {
                let terms: Vec<Value> = (0..1 + self.dice.up_to(2)).map(|_| self.pod_term()).collect();
                affinity[field]["requiredDuringSchedulingIgnoredDuringExecution"] = json!(terms);
            }
            if self.wants(feature, 15) {
                affinity[field]["preferredDuringSchedulingIgnoredDuringExecution"] =
                    json!([{"weight": 1 + self.dice.up_to(100), "podAffinityTerm": self.pod_term()}]);
            }
        }
        affinity
    }

    fn node_term(&mut self) -> Value {
        let mut term = json!({});
        let fields = self.has(F::NodeNames) && self.dice.chance(50);
        if fields {
            let operator = *self.dice.pick(&["In", "NotIn"]);
            term["matchFields"] = json!([{"key": "metadata.name", "operator": operator, "values": [self.dice.pick(&self.nodes)]}]);
        }
        if !fields || self.dice.chance(40) {
            let count = 1 + self.dice.up_to(2);
            let all: Vec<Value> = (0..count).map(|_| self.node_requirement()).collect();
            term["matchExpressions"] = json!(all);
        }
        term
    }

    fn node_requirement(&mut self) -> Value {
        if self.wants(F::NodeNames, 40) {
            let operator = *self.dice.pick(&["In", "NotIn"]);
            return json!({"key": HOSTNAME, "operator": operator, "values": [self.dice.pick(&self.nodes)]});
        }
        if self.dice.chance(25) {
            let operator = *self.dice.pick(&["Gt", "Lt"]);
            let bound = *self.dice.pick(&["3", "5", "0", "12"]);
            return json!({"key": "generation", "operator": operator, "values": [bound]});
        }
        let (key, values) = *self.dice.pick(&LABELS);
        match *self.dice.pick(&["In", "NotIn", "Exists", "DoesNotExist"]) {
            operator @ ("In" | "NotIn") => {
                json!({"key": key, "operator": operator, "values": self.dice.several(values)})
            }
            operator => json!({"key": key, "operator": operator}),
        }
    }

    /// A selector of pods: mostly a narrow one.
    fn selector(&mut self) -> Value {
        let mut selector = json!({});
        if self.dice.chance(60) {
            selector["matchLabels"] = json!({"app": self.dice.pick(&["p", "q"])});
        }
        if self.dice.chance(40) {
            let requirement = match *self.dice.pick(&["In", "NotIn", "Exists", "DoesNotExist"]) {
                operator @ ("In" | "NotIn") => {
                    json!({"key": "tier", "operator": operator, "values": self.dice.several(&["1", "2"])})
                }
                operator => json!({"key": "tier", "operator": operator}),
            };
            selector["matchExpressions"] = json!([requirement]);
        }
        selector
    }

    fn pod_term(&mut self) -> Value {
        let mut term = json!({"topologyKey": self.dice.pick(&TOPOLOGIES)});
        if self.dice.chance(94) {
            term["labelSelector"] = self.selector();
            if self.dice.chance(20) {
                let field = *self.dice.pick(&["matchLabelKeys", "mismatchLabelKeys"]);
                term[field] = json!([self.dice.pick(&["version", "absent"])]);
            }
        }
        if self.wants(F::Namespaces, 40) {
            term["namespaces"] = json!(self.dice.several(&NAMESPACES));
        }
        if self.wants(F::Namespaces, 50) {
            term["namespaceSelector"] = match self.dice.up_to(4) {
                0 => json!({}),
                1 => json!({"matchLabels": {"kubernetes.io/metadata.name": self.dice.pick(&NAMESPACES)}}),
                2 => json!({"matchLabels": {"team": self.dice.pick(&["x", "y", "none"])}}),
                // Not one that would match a namespace without labels: docs/SCHEDULER.md.
                _ => {
                    json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["live", "none"]}]})
                }
            };
        }
        term
    }

    fn spread(&mut self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..1 + self.dice.up_to(2) {
            let key = *self.dice.pick(&TOPOLOGIES);
            if all.iter().any(|other| other["topologyKey"] == key) {
                continue;
            }
            let hard = self.dice.chance(85);
            let what = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
            let mut one =
                json!({"topologyKey": key, "maxSkew": 1 + self.dice.up_to(2), "whenUnsatisfiable": what});
            if self.dice.chance(95) {
                one["labelSelector"] = self.selector();
                if self.dice.chance(25) {
                    one["matchLabelKeys"] = json!([self.dice.pick(&["version", "absent"])]);
                }
            }
            if hard && self.dice.chance(30) {
                one["minDomains"] = json!(1 + self.dice.up_to(4));
            }
            for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
                if self.dice.chance(45) {
                    one[policy] = json!(self.dice.pick(&["Honor", "Ignore"]));
                }
            }
            all.push(one);
        }
        all
    }

    fn ports(&mut self) -> Vec<Value> {
        let mut ports: Vec<Value> = Vec::new();
        for _ in 0..1 + self.dice.up_to(2) {
            let number = *self.dice.pick(&[80, 81]);
            if ports.iter().any(|other| other["hostPort"] == number) {
                continue;
            }
            let mut port = json!({"containerPort": number, "hostPort": number});
            if self.dice.chance(40) {
                port["protocol"] = json!(self.dice.pick(&["TCP", "UDP", "SCTP"]));
            }
            if self.dice.chance(50) {
                port["hostIP"] = json!(self.dice.pick(&["0.0.0.0", "127.0.0.1", "10.0.0.1"]));
            }
            ports.push(port);
        }
        ports
    }

    fn mounts(&mut self, spec: &mut Value, namespace: &str) {
        let here: Vec<String> =
            self.claims.iter().filter(|c| c.0 == namespace).map(|c| c.1.clone()).collect();
        if self.claims.is_empty() || !self.dice.chance(if here.is_empty() { 5 } else { 65 }) {
            return;
        }
        let mut volumes = Vec::new();
        for at in 0..1 + self.dice.up_to(3) {
            let claim = if here.is_empty() || self.dice.chance(4) {
                "missing".to_owned()
            } else {
                self.dice.pick(&here).clone()
            };
            volumes.push(json!({"name": format!("v{at}"), "persistentVolumeClaim": {"claimName": claim}}));
        }
        if self.dice.chance(20) {
            volumes.push(json!({"name": "scratch", "emptyDir": {}}));
        }
        spec["volumes"] = json!(volumes);
    }
}
