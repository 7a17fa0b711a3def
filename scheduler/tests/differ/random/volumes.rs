//! Classes, volumes and claims, and what becomes of them.

use super::nodes::{HOSTNAME, OLD_ZONE, REGION, ZONE};
use super::{Feature as F, Maker, NAMESPACES};
use crate::case::{Key, Step, What};
use serde_json::{Value, json};

impl Maker {
    fn any_volumes(&self) -> bool {
        [F::Bound, F::Late, F::Attach, F::Exclusive].into_iter().any(|feature| self.has(feature))
    }

    pub(crate) fn volumes(&mut self) {
        if !self.any_volumes() {
            return;
        }
        let late = json!("WaitForFirstConsumer");
        let zones = json!([{"matchLabelExpressions": [{"key": ZONE, "values": ["z1", "z2"]}]}]);
        for class in [
            json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": late}),
            json!({"metadata": {"name": "made"}, "provisioner": "csi.one", "volumeBindingMode": late}),
            json!({"metadata": {"name": "zonal"}, "provisioner": "csi.two", "volumeBindingMode": late,
                   "allowedTopologies": zones}),
            json!({"metadata": {"name": "now"}, "provisioner": "csi.one", "volumeBindingMode": "Immediate"}),
        ] {
            self.make(What::StorageClass, class);
        }
        for at in 0..3 + self.dice.up_to(6) {
            let driver = *self.dice.pick(&["csi.one", "csi.two", ""]);
            if self.has(F::Late) && self.dice.chance(50) {
                self.free_volume(&format!("free{at}"));
                self.open_claim(&format!("open{at}"));
            } else {
                self.bound_claim(&format!("bound{at}"), driver);
            }
        }
    }

    /// Which nodes reach a volume, if it says so.
    fn reach(&mut self) -> Option<Value> {
        let (key, value) = match self.dice.up_to(3) {
            0 => (HOSTNAME, self.dice.pick(&self.nodes).clone()),
            1 => (ZONE, (*self.dice.pick(&["z1", "z2", "z3"])).to_owned()),
            _ => return None,
        };
        let term = json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]});
        Some(json!({"required": {"nodeSelectorTerms": [term]}}))
    }

    fn bound_claim(&mut self, name: &str, driver: &str) {
        let namespace = (*self.dice.pick(&NAMESPACES)).to_owned();
        let mode = if self.wants(F::Exclusive, 60) { "ReadWriteOncePod" } else { "ReadWriteMany" };
        let mut labels = serde_json::Map::new();
        if self.wants(F::Bound, 50) {
            let zones: &[&str] = &["z1", "z2", "z1__z2", "z3"];
            labels = self.dice.labels(&[(ZONE, zones), (REGION, &["e1", "e2"])]);
            labels.extend(self.dice.labels(&[(OLD_ZONE, zones)]).into_iter().filter(|_| name.ends_with('1')));
        }
        let source = match driver {
            "" => ("hostPath", json!({"path": "/none"})),
            _ => ("csi", json!({"driver": driver, "volumeHandle": format!("v{}", self.dice.up_to(6))})),
        };
        let mut spec = json!({
            "accessModes": [mode], "capacity": {"storage": "1Gi"}, "storageClassName": "now",
            "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace, "name": name},
        });
        spec[source.0] = source.1;
        if self.wants(F::Bound, 50) {
            spec["nodeAffinity"] = json!(self.reach());
        }
        if !self.dice.chance(8) {
            self.make(What::Volume, json!({"metadata": {"name": name, "labels": labels}, "spec": spec}));
        }
        let complete = self.dice.chance(92).then_some("yes");
        let claim = json!({
            "metadata": {
                "name": name, "namespace": namespace,
                "annotations": {"pv.kubernetes.io/bind-completed": complete},
            },
            "spec": {
                "accessModes": [mode], "storageClassName": "now", "volumeName": name,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        self.make(What::Claim, claim);
        self.claims.push((namespace, name.to_owned()));
    }

    /// A claim that waits for its first consumer; now and then one that nothing can be done for.
    fn open_claim(&mut self, name: &str) {
        let namespace = (*self.dice.pick(&NAMESPACES)).to_owned();
        let class = *self.dice.pick(&["local", "local", "local", "made", "zonal", "now", "gone"]);
        let mode = if self.wants(F::Exclusive, 40) { "ReadWriteOncePod" } else { "ReadWriteOnce" };
        let mut spec = json!({
            "accessModes": [mode], "storageClassName": class,
            "resources": {"requests": {"storage": format!("{}Gi", 1 + self.dice.up_to(3))}},
        });
        if self.dice.chance(20) {
            spec["selector"] = json!({"matchLabels": {"kind": self.dice.pick(&["fast", "slow"])}});
        }
        let mut metadata = json!({"name": name, "namespace": namespace});
        if self.dice.chance(10) && class != "now" {
            let node = self.dice.pick(&self.nodes);
            metadata["annotations"] = json!({"volume.kubernetes.io/selected-node": node});
        }
        self.make(What::Claim, json!({"metadata": metadata, "spec": spec}));
        self.claims.push((namespace, name.to_owned()));
    }

    /// A volume that nobody has yet; now and then one that is meant for a claim.
    fn free_volume(&mut self, name: &str) {
        let labels = self.dice.labels(&[("kind", &["fast", "slow"])]);
        let modes =
            if self.wants(F::Exclusive, 50) { json!(["ReadWriteOncePod"]) } else { json!(["ReadWriteOnce"]) };
        let mut spec = json!({
            "accessModes": modes, "storageClassName": self.dice.pick(&["local", "local", "local", "made"]),
            "capacity": {"storage": format!("{}Gi", 1 + self.dice.up_to(4))},
            "nodeAffinity": self.reach(),
        });
        // A local volume must say where it is.
        if spec["nodeAffinity"].is_null() {
            spec["hostPath"] = json!({"path": "/none"});
        } else {
            spec["local"] = json!({"path": "/none"});
        }
        if self.dice.chance(15) {
            let claim = format!("open{}", name.trim_start_matches("free"));
            spec["claimRef"] = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1",
                "namespace": self.dice.pick(&NAMESPACES), "name": claim});
        }
        self.make(What::Volume, json!({"metadata": {"name": name, "labels": labels}, "spec": spec}));
        let key = Key::cluster(What::Volume, name);
        self.steps.push(Step::Change(key, json!({"status": {"phase": "Available"}})));
    }

    /// Something about volumes changes.
    pub(crate) fn volume_changes(&mut self) {
        if !self.any_volumes() || self.claims.is_empty() {
            return;
        }
        match self.dice.up_to(4) {
            0 if self.has(F::Late) => {
                let at = 100 + self.steps.len();
                self.free_volume(&format!("free{at}"));
            }
            1 if self.has(F::Late) => {
                let at = 100 + self.steps.len();
                self.open_claim(&format!("open{at}"));
            }
            2 => {
                let (namespace, name) = self.dice.pick(&self.claims).clone();
                self.steps.push(Step::Delete(Key(What::Claim, namespace, name)));
            }
            3 if self.has(F::Attach) => {
                let node = self.dice.pick(&self.nodes).clone();
                let drivers = json!([{"name": "csi.one", "nodeID": node, "allocatable": {"count": self.dice.up_to(5)}}]);
                let key = Key::cluster(What::CsiNode, &node);
                self.steps.push(Step::Change(key, json!({"spec": {"drivers": drivers}})));
            }
            _ => {}
        }
    }
}
