//! Which nodes' devices are meant by the selectors of claims: a label on the node for those of which all are.
//!
//! A selection is known from when a pod is read that has it until no pod does. Each node is judged once per selection, and again
//! when its slices change. Where an expression fails on a device, whoever selects by it waits: Kubernetes aborts the allocation.
//!
//! Costs: a new selection looks at every device of the driver once, and has every node told anew whose devices it means; devices
//! that look the same to an expression are asked about once.

use berth_api::cel::{Environment, Selector};
use berth_api::convert::Selection;
use berth_api::names::driver;
use berth_api::slim::Device;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The selections, by their labels.
#[derive(Debug, Default)]
pub(crate) struct Selections {
    all: BTreeMap<String, One>,
    /// Something fails that did not, or the reverse.
    changed: bool,
}

#[derive(Debug)]
struct One {
    selection: Selection,
    asked: Asked,
    nodes: BTreeMap<Box<str>, Verdict>,
}

/// Answers of each selector, by what it can see of a device.
#[derive(Debug, Default)]
struct Asked(HashMap<(usize, String), Result<bool, String>>);

/// How many of a node's devices are meant, and of how many, or on which it cannot be told and why.
type Verdict = Result<(usize, usize), String>;

/// On how many nodes all, some or none of the devices are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) all: usize,
    pub(crate) some: usize,
    pub(crate) none: usize,
}

impl Selections {
    /// Takes in a selection; true if it is new, and nodes are to be judged.
    pub(crate) fn add(&mut self, selection: &Selection) -> bool {
        let Some(label) = selection.label().filter(|label| !self.all.contains_key(label)) else {
            return false;
        };
        let one = One { selection: selection.clone(), asked: Asked::default(), nodes: BTreeMap::new() };
        self.all.insert(label, one);
        true
    }

    /// Judges a node's devices; the labels of the selections that mean all of them.
    pub(crate) fn judge(&mut self, node: &str, devices: &[&Device]) -> Vec<String> {
        if self.all.is_empty() || devices.is_empty() {
            self.forget(node);
            return Vec::new();
        }
        let environment = Environment::new();
        let mut labels = Vec::new();
        for (label, one) in &mut self.all {
            let verdict = one.asked.verdict(one.selection.selectors(), devices, &environment);
            if verdict.as_ref().is_ok_and(|(meant, of)| meant == of) {
                labels.push(label.clone());
            }
            let fails = verdict.is_err();
            let failed = one.nodes.insert(node.into(), verdict).is_some_and(|before| before.is_err());
            self.changed |= fails || failed;
        }
        labels
    }

    /// A node is gone, or has no devices.
    pub(crate) fn forget(&mut self, node: &str) {
        for one in self.all.values_mut() {
            self.changed |= one.nodes.remove(node).is_some_and(|before| before.is_err());
        }
    }

    /// Forgets what no pod selects by any more.
    pub(crate) fn retain(&mut self, used: &BTreeSet<String>) {
        let before = self.all.len();
        self.all.retain(|label, _| used.contains(label));
        self.changed |= self.all.len() < before;
    }

    /// Why selections fail, if that may have changed since the last call.
    pub(crate) fn failures(&mut self) -> Option<BTreeMap<String, String>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let why = |one: &One| {
            one.nodes
                .iter()
                .find_map(|(node, verdict)| Some(format!("on {node} {}", verdict.as_ref().err()?)))
        };
        Some(self.all.iter().filter_map(|(label, one)| Some((label.clone(), why(one)?))).collect())
    }

    /// On how many nodes what is meant by a selection.
    pub(crate) fn counts(&self, label: &str) -> Counts {
        let mut counts = Counts::default();
        for (meant, of) in self.all.get(label).iter().flat_map(|one| one.nodes.values()).flatten() {
            *match meant {
                0 => &mut counts.none,
                meant if meant == of => &mut counts.all,
                _ => &mut counts.some,
            } += 1;
        }
        counts
    }
}

impl Asked {
    fn verdict(
        &mut self,
        selectors: &[Arc<Selector>],
        devices: &[&Device],
        environment: &Environment,
    ) -> Verdict {
        let mut meant = 0;
        for device in devices {
            let mut holds = true;
            for (at, selector) in selectors.iter().enumerate() {
                let known = self.0.entry((at, selector.view(device)));
                let answer = known.or_insert_with(|| selector.matches(environment, driver::NAME, device));
                match answer {
                    Ok(true) => {}
                    // What comes after is not looked at.
                    Ok(false) => {
                        holds = false;
                        break;
                    }
                    Err(why) => return Err(format!("it fails for {}: {why}", device.name)),
                }
            }
            meant += usize::from(holds);
        }
        Ok((meant, devices.len()))
    }
}
