//! Where a pod may run at all, whoever else is there: gates, node type, pool, node, volumes (S1, S10, S11).

use super::cluster::{Cluster, Node, Workload};
use super::selectors::{node_affinity, node_label, selects_node, untolerated};
use super::violation::Findings;
use crate::{NodeSpec, NodeTypeRule, PodSpec, PoolId, VolumeUse};

impl Cluster {
    /// What a place must meet, however empty the node, its pool apart.
    pub(super) fn may_run(&self, w: &Workload, pod: &PodSpec, node: &NodeSpec, f: &mut Findings<'_>) {
        let gates = &pod.scheduling_gates;
        f.want(gates.is_empty(), "S11", || format!("scheduling gates {gates:?} are there"));
        self.node_type(w, node, f);
        takes_pods(pod, node, f);
        for volume in &pod.volumes {
            let why = &volume.unusable;
            f.want(why.is_empty(), "S11", || format!("volume {} cannot be used: {why}", volume.handle));
            let reachable = volume.reachable_from.as_ref().is_none_or(|from| selects_node(from, node));
            f.want(reachable, "S11", || format!("volume {} is out of reach of {}", volume.handle, node.id));
        }
        if let Some(volume) = without_volume(pod, node) {
            f.add("S11", format!("on {} no volume is left for {}", node.id, volume.handle));
        }
    }

    /// S11: the rule of the project, else of its department.
    fn node_type(&self, w: &Workload, node: &NodeSpec, f: &mut Findings<'_>) {
        let Some(NodeTypeRule { key, values }) = self.node_type_rule(w) else { return };
        let Some(chosen) = &w.spec.node_type else {
            f.add("S11", format!("names no node type, allowed for {key}: {values:?}"));
            return;
        };
        f.want(values.contains(chosen), "S11", || {
            format!("node type {chosen}, allowed for {key}: {values:?}")
        });
        let label = node_label(node, key);
        f.want(label == Some(chosen), "S11", || {
            format!("{} has {key} {label:?}, the workload's node type is {chosen}", node.id)
        });
    }

    /// The rule that makes a node type mandatory for the workload.
    pub(super) fn node_type_rule(&self, w: &Workload) -> Option<&NodeTypeRule> {
        let project = self.projects.get(&w.spec.project?)?;
        let department = || self.departments.get(&project.department)?.node_types.as_ref();
        project.node_types.as_ref().or_else(department)
    }

    /// S10: the workload's pools, else its project's, else all.
    pub(super) fn in_listed_pool(&self, w: &Workload, node: &Node, f: &mut Findings<'_>) {
        let Some(pool) = node.pool else {
            f.add("S1", format!("{} is in no pool", node.spec.id));
            return;
        };
        let listed: &[PoolId] = if w.spec.pools.is_empty() {
            w.spec.project.and_then(|id| self.projects.get(&id)).map_or(&[], |project| &project.pools)
        } else {
            &w.spec.pools
        };
        f.want(listed.is_empty() || listed.contains(&pool), "S10", || {
            format!("{} is in {pool}, the workload may use {listed:?}", node.spec.id)
        });
    }
}

/// The first volume that finds none of its choices on the node, because others of the pod have taken them.
fn without_volume<'a>(pod: &'a PodSpec, node: &NodeSpec) -> Option<&'a VolumeUse> {
    let mut taken: Vec<&str> = Vec::new();
    let choosing = pod.volumes.iter().filter(|volume| !volume.choices.is_empty());
    choosing.into_iter().find(|volume| {
        let free = volume.choices.iter().find(|choice| {
            let reached = choice.reachable_from.as_ref().is_none_or(|from| selects_node(from, node));
            reached && (choice.volume.is_empty() || !taken.contains(&choice.volume.as_str()))
        });
        taken.extend(free.map(|choice| choice.volume.as_str()));
        free.is_none()
    })
}

/// S11: readiness, cordon, taints, node selector, node affinity.
fn takes_pods(pod: &PodSpec, node: &NodeSpec, f: &mut Findings<'_>) {
    f.want(node.ready, "S11", || format!("{} is not ready", node.id));
    if let Some(taint) = untolerated(pod, node) {
        f.add("S11", format!("{} has {taint:?}, which is not tolerated", node.id));
    }
    f.want(node_affinity(pod, node), "S11", || {
        format!("{} ({}) does not meet the node selector or affinity", node.id, node.name)
    });
}
