//! Shapes: pods that ask for the same are one shape, and what depends on the shape alone is computed once.
//!
//! Costs: interning hashes the pod's spec once per submitted role. A shape stays interned while the engine lives;
//! their number is that of distinct specs seen, which is small in practice (openb: 151 in 8,152 tasks).

use crate::ix::ShapeIx;
use crate::matching::HOSTNAME;
use berth_model::{GpuRequest, Labels, NodeTerm, PodSpec, Requirement};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Names of extended resources, by position.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceNames {
    names: Vec<Box<str>>,
}

impl ResourceNames {
    /// The position of a name, new names included.
    pub(crate) fn intern(&mut self, name: &str) -> u16 {
        let known = self.names.iter().position(|n| &**n == name);
        known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        }) as u16
    }

    /// The name at a position.
    pub(crate) fn name(&self, at: u16) -> &str {
        &self.names[at as usize]
    }
}

/// What identifies a shape. Pods with constraints on other pods are of one shape only if their own labels and
/// namespace agree too, because those decide whom the constraints are about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    spec: Arc<PodSpec>,
    identity: Option<(Box<str>, Labels)>,
}

/// The only nodes that a pod may run on, as it names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pinned {
    /// Names of nodes.
    pub(crate) names: Vec<Box<str>>,
    /// Values of the hostname label.
    pub(crate) hosts: Vec<Box<str>>,
}

/// A shape.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) spec: Arc<PodSpec>,
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral: i64,
    pub(crate) extended: SmallVec<[(u16, i64); 1]>,
    pub(crate) gpu: GpuRequest,
    /// Something about it can only be judged node by node: names, ports, volumes, other pods.
    pub(crate) local: bool,
    /// Names of the only nodes it may run on, if it names them.
    pub(crate) pinned: Option<Pinned>,
    /// It prefers nodes by their names.
    pub(crate) prefers_names: bool,
    /// Namespace and labels, for shapes that are about pods.
    pub(crate) identity: Option<(Box<str>, Labels)>,
    /// A number that depends on what the shape asks for alone, the same in every engine.
    pub(crate) content: u64,
}

/// All shapes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    by_key: FxHashMap<Key, ShapeIx>,
    all: Vec<Shape>,
}

impl Shapes {
    /// The shape of a pod, new ones included; true if it is new.
    pub(crate) fn intern(
        &mut self,
        names: &mut ResourceNames,
        spec: &Arc<PodSpec>,
        namespace: &str,
        labels: &Labels,
    ) -> (ShapeIx, bool) {
        let about_pods = is_about_pods(spec);
        let identity = about_pods.then(|| (namespace.into(), labels.clone()));
        let key = Key { spec: spec.clone(), identity };
        if let Some(known) = self.by_key.get(&key) {
            return (*known, false);
        }
        let ix = ShapeIx::of(self.all.len());
        self.all.push(Shape::new(names, &key, about_pods));
        self.by_key.insert(key, ix);
        (ix, true)
    }

    /// A shape.
    pub(crate) fn at(&self, ix: ShapeIx) -> &Shape {
        &self.all[ix.i()]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Shape {
    fn new(names: &mut ResourceNames, key: &Key, about_pods: bool) -> Self {
        let spec = &key.spec;
        let requests = &spec.requests;
        let named = names_of_nodes(spec);
        Self {
            spec: spec.clone(),
            cpu: requests.cpu.0,
            memory: requests.memory.0,
            ephemeral: requests.ephemeral.0,
            extended: requests
                .extended
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(k, n)| (names.intern(k), *n))
                .collect(),
            gpu: spec.gpu,
            local: about_pods || named.1 || !spec.host_ports.is_empty() || !spec.volumes.is_empty(),
            pinned: named.0,
            prefers_names: spec.preferred_nodes.iter().any(|p| names_in(&p.preference).next().is_some()),
            identity: key.identity.clone(),
            content: content(spec),
        }
    }
}

fn content(spec: &PodSpec) -> u64 {
    let mut hasher = FxHasher::default();
    spec.hash(&mut hasher);
    hasher.finish()
}

fn is_about_pods(spec: &PodSpec) -> bool {
    !spec.pod_affinity.is_empty() || !spec.pod_anti_affinity.is_empty() || !spec.topology_spread.is_empty()
}

/// The only nodes a pod may run on, if it lists them; and whether it names nodes at all.
fn names_of_nodes(spec: &PodSpec) -> (Option<Pinned>, bool) {
    if let Some(host) = spec.node_selector.get(HOSTNAME) {
        return (Some(Pinned { names: Vec::new(), hosts: vec![host.as_str().into()] }), true);
    }
    let Some(selector) = &spec.node_affinity else { return (None, false) };
    let terms = &selector.node_selector_terms;
    let about_names = terms.iter().any(|t| names_in(t).next().is_some());
    let mut pinned = Pinned::default();
    for term in terms {
        let Some(listed) = names_in(term).find(|r| r.operator == berth_model::Operator::In) else {
            return (None, about_names);
        };
        let by_host = term.match_expressions.contains(listed);
        let list = if by_host { &mut pinned.hosts } else { &mut pinned.names };
        list.extend(listed.values.iter().map(|v| v.as_str().into()));
    }
    (about_names.then_some(pinned), about_names)
}

fn names_in(term: &NodeTerm) -> impl Iterator<Item = &Requirement> {
    term.match_fields.iter().chain(term.match_expressions.iter().filter(|r| r.key == HOSTNAME))
}

/// Every node label that a pod's node selector or node affinity looks at, the hostname apart.
pub(crate) fn keys_of(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let terms = spec.node_affinity.iter().flat_map(|s| s.node_selector_terms.iter());
    let preferred = spec.preferred_nodes.iter().map(|p| &p.preference);
    let volumes = spec.volumes.iter().filter_map(|v| v.reachable_from.as_ref());
    let reachable = volumes.flat_map(|s| s.node_selector_terms.iter());
    terms
        .chain(preferred)
        .chain(reachable)
        .flat_map(|t| t.match_expressions.iter().map(|r| r.key.as_str()))
        .chain(spec.node_selector.keys().map(String::as_str))
        .filter(|key| *key != HOSTNAME)
}
