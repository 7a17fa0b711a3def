//! The cluster as seen, and what the engine has been told of it.
//!
//! Level-triggered: a change of an object updates what is *seen* and marks what it touches; [`Mirror::events`] brings what was
//! *told* to what is seen, by comparing the two. So it does not matter whether changes come twice, late, in another order
//! or not at all before a new list: two mirrors that end with the same objects have told the same.
//!
//! Costs: a change of a pod is O(log n), and its workload is compared once per call of `events`, in the number of its pods.
//! Nodes are compared when they change; pools, departments and projects all together when one of them does.
//!
//! | module | what it holds |
//! |---|---|
//! | `seen`, `ids` | objects by name, lists, identifiers |
//! | `organisation`, `namespaces` | pools and queues; which project owns which namespace |
//! | `nodes`, `slices`, `selections` | nodes; their devices; which of these claims mean |
//! | `budgets`, `around` | disruption budgets; what pods are read with |
//! | `pods`, `read`, `groups` | pods, what they are, and the workloads they form (S5) |
//! | `tell` | what was told -> what is seen, as events |
//! | `act` | decisions -> actions |
//! | `claims` | what pods were given of devices, and are to be given |
//! | `stale` | since when gangs have been below their minimum, as written on pods (S27, S33) |
//! | `status` | what pools and queues are told to say of themselves |
//! | `start` | gangs of which only some pods could be bound (S5) |

mod act;
mod around;
mod budgets;
mod claims;
mod groups;
mod ids;
mod namespaces;
mod nodes;
mod organisation;
mod pods;
mod read;
mod seen;
mod selections;
mod slices;
mod stale;
mod start;
mod status;
mod tell;

use crate::action::Action;
use crate::change::{Change, Kind, Name, Object, Outcome};
use around::{Around, Stale};
use berth_api::convert::depends_on;
use berth_api::{keep, slim};
use berth_model::words::Names;
use berth_model::{
    DepartmentId, Event, Millis, NodeId, PodOutcome, PodSpec, PoolId, ProjectId, Timestamp, VolumeUse,
};
use budgets::Budgets;
use groups::{Groups, Wanted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use nodes::Nodes;
use organisation::Organisation;
use pods::{Entry, Pods, Seat};
use read::{Reader, Reading};
pub use status::{Figures, PoolFigures, QueueFigures, Status};
use std::collections::{BTreeSet, VecDeque};

/// How long a pod that was evicted may take to be replaced by its controller before it is not expected any more.
const REPLACED_WITHIN: Millis = Millis::from_secs(30);

/// What differs from cluster to cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names under which pods ask for this scheduler.
    pub schedulers: BTreeSet<String>,
    /// How long a gang may take to be completed once a bind of its has failed; then its start is undone (S5).
    pub gang_within: Millis,
    /// How many workloads are told at a time at first, when all are new: so the events of a large cluster are never there
    /// all at once.
    pub told_at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedulers: BTreeSet::from(["berth".to_owned()]),
            gang_within: Millis::from_secs(10),
            told_at_once: 4096,
        }
    }
}

/// The mirror.
#[derive(Debug)]
pub struct Mirror {
    settings: Settings,
    keeper: keep::Keeper,
    reader: Reader,
    organisation: Organisation,
    nodes: Nodes,
    budgets: Budgets,
    around: Around,
    pods: Pods,
    groups: Groups,
    stale: Stale,
    /// Workloads to compare.
    dirty: BTreeSet<u32>,
    /// Those that were there when the engine was first told anything, as far as it has not been told of them; none before.
    loading: Option<VecDeque<u32>>,
    /// Reservations that it is told of when all workloads are.
    rooms: Vec<Event>,
    /// When to look again although nothing changes, and at which workload.
    timers: BTreeSet<(Timestamp, u32)>,
    /// Templates of claims that were asked for, and when.
    templates: claims::Templates,
    /// What is to be done besides what is decided.
    waiting_actions: Vec<Action>,
    /// What the engine must be told besides what is compared.
    waiting_events: Vec<Event>,
    /// Reservations found on pods are told once (S33).
    restored: bool,
    /// Since when gangs have been below their minimum, as it is written on pods.
    written: stale::Written,
    /// A pool, a department or a project is new, or is asked for otherwise than before.
    news: bool,
    now: Timestamp,
}

impl Mirror {
    /// An empty cluster.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            keeper: keep::Keeper::default(),
            reader: Reader::default(),
            organisation: Organisation::default(),
            nodes: Nodes::default(),
            budgets: Budgets::default(),
            around: Around::default(),
            pods: Pods::default(),
            groups: Groups::default(),
            stale: Stale::default(),
            dirty: BTreeSet::new(),
            loading: None,
            rooms: Vec::new(),
            timers: BTreeSet::new(),
            templates: claims::Templates::default(),
            waiting_actions: Vec::new(),
            waiting_events: Vec::new(),
            restored: false,
            written: stale::Written::default(),
            news: false,
            now: Timestamp(0),
        }
    }

    /// Takes in what a watch or a request tells, at `now`.
    pub fn apply(&mut self, change: Change, now: Timestamp) {
        self.now = self.now.max(now);
        match change {
            Change::Set(Object::Pod(pod)) => self.set_pod(*pod),
            Change::Set(object) => self.set(object),
            Change::Gone(Kind::Pod, name, uid) => {
                let found = self.pods.find(&name);
                let same = |ix: &u32| {
                    uid.as_ref().is_none_or(|uid| self.pods.get(*ix).is_some_and(|e| e.kept.uid == *uid))
                };
                if let Some(ix) = found.filter(same) {
                    self.pod_gone(ix);
                }
            }
            Change::Gone(kind, name, _) => self.gone(kind, name),
            Change::ListBegun(kind) => self.list_begun(kind),
            Change::ListEnded(Kind::Pod) => {
                for ix in self.pods.list_ended() {
                    self.pod_gone(ix);
                }
            }
            Change::ListEnded(kind) => self.list_ended(kind),
            Change::Outcome(outcome) => self.outcome(outcome),
        }
    }

    /// Whether reservations that are written on pods are taken for told (S33). A standby takes them so, for they come and go;
    /// when it begins to lead it tells those that there are then.
    pub fn take_reservations_for_told(&mut self, told: bool) {
        self.restored = told;
    }

    /// How many pods, and how many workloads, there are.
    pub fn size(&self) -> (usize, usize) {
        (self.pods.iter().count(), self.groups.iter().count())
    }

    fn set(&mut self, object: Object) {
        match object {
            Object::Pod(_) => {}
            Object::Node(node) => self.nodes.set(*node),
            Object::CsiNode(csi) => self.nodes.set_csi(*csi),
            Object::Slice(slice) => self.nodes.set_slice(*slice),
            Object::DeviceClaim(claim) => {
                let name = Name::of(&claim.metadata);
                if self.around.device_claims.set(name.clone(), *claim) {
                    self.stale.claims.insert(name);
                }
            }
            Object::DeviceClass(class) => {
                self.stale.device_classes |=
                    self.around.device_classes.set(Name::of(&class.metadata), *class);
            }
            Object::NodePool(pool) => {
                self.news |= is_news(&self.organisation.pools, &pool.metadata);
                if self.organisation.pools.set(Name::of(&pool.metadata), *pool) {
                    self.organisation.touch();
                    self.stale.problems = true;
                }
            }
            Object::Department(department) => {
                self.news |= is_news(&self.organisation.departments, &department.metadata);
                if self.organisation.departments.set(Name::of(&department.metadata), *department) {
                    self.organisation.touch();
                }
            }
            Object::Project(project) => {
                self.news |= is_news(&self.organisation.projects, &project.metadata);
                if self.organisation.projects.set(Name::of(&project.metadata), *project) {
                    self.organisation.touch();
                }
            }
            Object::Namespace(namespace) => {
                if self.around.namespaces.set(Name::of(&namespace.metadata), *namespace) {
                    self.namespaces_changed();
                }
            }
            Object::PriorityClass(class) => {
                self.stale.problems |= self.around.priorities.set(Name::of(&class.metadata), *class);
            }
            Object::Claim(claim) => {
                let name = Name::of(&claim.metadata);
                self.around.claim_seen(&name, Some(&claim));
                if self.around.claims.set(name.clone(), *claim) {
                    self.stale.claims.insert(name);
                }
            }
            Object::Volume(volume) => {
                let name = Name::of(&volume.metadata);
                self.around.volume_seen(&name, Some(&volume));
                self.stale.volumes |= self.around.volumes.set(name, *volume);
            }
            Object::StorageClass(class) => {
                self.stale.volumes |= self.around.classes.set(Name::of(&class.metadata), *class);
            }
            Object::Budget(budget) => self.budgets.set(*budget),
            owner => self.stale.owners.extend(self.around.set_owner(&owner)),
        }
    }

    fn gone(&mut self, kind: Kind, name: Name) {
        match kind {
            Kind::Pod => {}
            Kind::Budget => self.budgets.gone(name),
            Kind::Node => self.nodes.gone(&name),
            Kind::CsiNode => self.nodes.csi_gone(&name),
            Kind::Slice => self.nodes.slice_gone(&name),
            Kind::DeviceClaim => {
                if self.around.device_claims.gone(&name) {
                    self.stale.claims.insert(name);
                }
            }
            Kind::DeviceClass => self.stale.device_classes |= self.around.device_classes.gone(&name),
            Kind::NodePool => {
                if self.organisation.pools.gone(&name) {
                    self.organisation.touch();
                }
            }
            Kind::Department => {
                if self.organisation.departments.gone(&name) {
                    self.organisation.touch();
                }
            }
            Kind::Project => {
                if self.organisation.projects.gone(&name) {
                    self.organisation.touch();
                }
            }
            Kind::Namespace => {
                if self.around.namespaces.gone(&name) {
                    self.namespaces_changed();
                }
            }
            Kind::PriorityClass => drop(self.around.priorities.gone(&name)),
            Kind::Claim => {
                self.around.claim_seen(&name, None);
                if self.around.claims.gone(&name) {
                    self.stale.claims.insert(name);
                }
            }
            Kind::Volume => {
                self.around.volume_seen(&name, None);
                self.stale.volumes |= self.around.volumes.gone(&name);
            }
            Kind::StorageClass => self.stale.volumes |= self.around.classes.gone(&name),
            Kind::Owner(gang) => {
                if self.around.owner_gone(gang, &name) {
                    self.stale.owners.insert((gang, name));
                }
            }
        }
    }

    fn list_begun(&mut self, kind: Kind) {
        match kind {
            Kind::Pod => self.pods.list_begun(),
            Kind::Budget => self.budgets.list_begun(),
            Kind::Node => self.nodes.list_begun(false),
            Kind::CsiNode => self.nodes.list_begun(true),
            Kind::Slice => self.nodes.slices_begun(),
            Kind::DeviceClaim => self.around.device_claims.list_begun(),
            Kind::DeviceClass => self.around.device_classes.list_begun(),
            Kind::NodePool => self.organisation.pools.list_begun(),
            Kind::Department => self.organisation.departments.list_begun(),
            Kind::Project => self.organisation.projects.list_begun(),
            Kind::Namespace => self.around.namespaces.list_begun(),
            Kind::PriorityClass => self.around.priorities.list_begun(),
            Kind::Claim => self.around.claims.list_begun(),
            Kind::Volume => self.around.volumes.list_begun(),
            Kind::StorageClass => self.around.classes.list_begun(),
            Kind::Owner(gang) => self.around.owners_begun(gang),
        }
    }

    fn list_ended(&mut self, kind: Kind) {
        match kind {
            Kind::Pod => {}
            Kind::Budget => self.budgets.list_ended(),
            Kind::Node => self.nodes.list_ended(false),
            Kind::CsiNode => self.nodes.list_ended(true),
            Kind::Slice => self.nodes.slices_ended(),
            Kind::DeviceClaim => self.stale.claims.extend(self.around.device_claims.list_ended()),
            Kind::DeviceClass => {
                self.stale.device_classes |= !self.around.device_classes.list_ended().is_empty();
            }
            Kind::NodePool => {
                if !self.organisation.pools.list_ended().is_empty() {
                    self.organisation.touch();
                }
            }
            Kind::Department => {
                if !self.organisation.departments.list_ended().is_empty() {
                    self.organisation.touch();
                }
            }
            Kind::Project => {
                if !self.organisation.projects.list_ended().is_empty() {
                    self.organisation.touch();
                }
            }
            Kind::Namespace => {
                if !self.around.namespaces.list_ended().is_empty() {
                    self.namespaces_changed();
                }
            }
            Kind::PriorityClass => drop(self.around.priorities.list_ended()),
            Kind::Claim => {
                let gone = self.around.claims.list_ended();
                gone.iter().for_each(|name| self.around.claim_seen(name, None));
                self.stale.claims.extend(gone);
            }
            Kind::Volume => {
                let gone = self.around.volumes.list_ended();
                gone.iter().for_each(|name| self.around.volume_seen(name, None));
                self.stale.volumes |= !gone.is_empty();
            }
            Kind::StorageClass => self.stale.volumes |= !self.around.classes.list_ended().is_empty(),
            Kind::Owner(gang) => {
                let gone = self.around.owners_ended(gang);
                self.stale.owners.extend(gone.into_iter().map(|name| (gang, name)));
            }
        }
    }

    /// Pods are read with namespaces, and projects own them.
    fn namespaces_changed(&mut self) {
        self.stale.namespaces = true;
        self.organisation.touch();
    }

    fn outcome(&mut self, outcome: Outcome) {
        let (pod, bind_failed, evict_failed) = match &outcome {
            Outcome::NamespaceNotMade(name, why) => {
                self.news |= self.organisation.owners.not_made(name, why);
                return;
            }
            Outcome::Bound(pod) | Outcome::Evicted(pod) => (pod, None, false),
            Outcome::BindFailed(pod, why) => (pod, Some(why), false),
            Outcome::EvictFailed(pod, _) => (pod, None, true),
        };
        let Some(ix) = self.pods.find(&Name::new(&pod.namespace, &pod.name)) else { return };
        let Some(entry) = self.pods.get_mut(ix).filter(|entry| entry.kept.uid == pod.uid) else { return };
        if let Some(why) = bind_failed {
            entry.binding = None;
            let claims = entry.claims.to_vec();
            self.stale.volumes |= self.around.forget(&pod.namespace, &claims);
            self.start_failed(ix, why);
            self.reseat(ix);
        } else if evict_failed {
            entry.evicted = false;
            self.stale_eviction(ix);
        }
        self.touch(ix);
    }

    /// Takes in a pod as it is now. Another uid under its name is another pod.
    fn set_pod(&mut self, pod: slim::Pod) {
        let name = Name::new(pod.namespace(), pod.name());
        let kept = self.keeper.keep(pod.clone());
        let known = self.pods.find(&name);
        let same = known.filter(|ix| self.pods.get(*ix).is_some_and(|entry| entry.kept.uid == kept.uid));
        if let (Some(other), None) = (known, same) {
            self.pod_gone(other);
        }
        let ix = match same {
            Some(ix) => {
                let old = self.pods.replace(ix, kept);
                let new = self.pods.get(ix).map(|entry| &entry.kept);
                if old.as_ref().zip(new).is_some_and(|(old, new)| old.reads_like(new)) {
                    return;
                }
                ix
            }
            None => self.pods.insert(name, kept),
        };
        if let Some(entry) = self.pods.get_mut(ix)
            && entry.kept.node.is_some()
        {
            entry.binding = None;
        }
        self.seat(ix, &pod);
    }

    fn pod_gone(&mut self, ix: u32) {
        // An evicted pod that has a controller is replaced; the room that may be kept for it is for the new one.
        let outcome = match self.pods.get(ix) {
            Some(entry) if entry.evicted && entry.kept.has_owner() => PodOutcome::Evicted,
            _ => PodOutcome::Deleted,
        };
        self.unseat(ix, outcome);
        self.pods.remove(ix);
    }

    /// Reads a pod and gives it the seat that it should have.
    fn seat(&mut self, ix: u32, pod: &slim::Pod) {
        let project = self.organisation.project_of(pod.namespace()).map(|(id, _)| id);
        if !pod.spec.resource_claims.is_empty() {
            self.pods.uses_devices(ix, depends_on(pod).device_claims);
            self.note_selection(ix, pod);
            self.keep_template(ix, pod);
        }
        let Some(entry) = self.pods.get(ix) else { return };
        let read = self.reader.read(pod, &entry.kept, project, &self.around);
        let on_node = entry.kept.node.is_some();
        let misfit = entry.misfit || on_node && self.has_lost_devices(entry);
        // While it is being bound it stays what was decided; once it is on a node, what it asks of its place is past.
        let settled = if on_node { read.is_err() && !misfit } else { entry.binding.is_some() };
        if settled && entry.seat.is_some() {
            return self.touch(ix);
        }
        let (reading, problem) = match read {
            Ok(reading) if !(misfit && on_node) => (reading, None),
            Ok(_) => (Reader::read_bare(pod, project, &self.around, false), None),
            Err(bad) if on_node => {
                (Reader::read_bare(pod, project, &self.around, !misfit), Some(bad.to_string()))
            }
            Err(bad) => (Reader::read_bare(pod, project, &self.around, true), Some(bad.to_string())),
        };
        self.pods.depends(ix, &reading.claims, reading.about_namespaces);
        if let Some(entry) = self.pods.get_mut(ix) {
            entry.misfit = misfit;
            entry.problem = problem.map(Into::into);
        }
        if !self.is_seated(ix, &reading) {
            let before = self.unseat(ix, PodOutcome::Deleted);
            let group = self.groups.of(&reading.key);
            self.hand_over_evictions(before, group);
            let wanted = wanted(&reading);
            if let Some((role, slot)) = self.groups.get_mut(group).map(|g| g.seat(&wanted, ix))
                && let Some(entry) = self.pods.get_mut(ix)
            {
                entry.seat = Some(Seat { group, role, slot });
            }
        }
        self.touch(ix);
    }

    /// True if a pod has the seat that the reading wants. What a pod on a node asks of its place does not matter any more, but
    /// for what it is to others.
    fn is_seated(&self, ix: u32, reading: &Reading) -> bool {
        let Some(entry) = self.pods.get(ix) else { return false };
        let Some(seat) = entry.seat else { return false };
        let Some(group) = self.groups.get(seat.group).filter(|g| g.key == reading.key) else { return false };
        let role = &group.roles[usize::from(seat.role)];
        let same = *role.name == *reading.role && *role.labels == *reading.labels;
        let spec = *role.spec == *reading.spec && role.min_members == reading.min_members;
        same && (spec || entry.kept.node.is_some() && is_alike_to_others(&role.spec, &reading.spec))
    }

    /// A workload whose pods come from another remembers for whom that was evicted (S25).
    fn hand_over_evictions(&mut self, from: Option<u32>, to: u32) {
        let known = from.filter(|from| *from != to).and_then(|from| self.groups.get(from));
        let Some(evictions) = known.map(|group| group.evictions.clone()) else { return };
        if let Some(group) = self.groups.get_mut(to).filter(|group| group.told.is_none()) {
            group.evictions = evictions;
        }
    }

    /// Takes a pod out of its seat; names the workload it was in.
    fn unseat(&mut self, ix: u32, outcome: PodOutcome) -> Option<u32> {
        let seat = self.pods.get_mut(ix).and_then(|entry| entry.seat.take())?;
        let until = self.now.plus(REPLACED_WITHIN);
        if let Some(group) = self.groups.get_mut(seat.group) {
            group.unseat(seat.role, seat.slot, outcome, Some(until));
            self.timers.insert((until, seat.group));
        }
        self.dirty.insert(seat.group);
        Some(seat.group)
    }

    /// The workload of a pod is to be compared.
    fn touch(&mut self, ix: u32) {
        if let Some(seat) = self.pods.get(ix).and_then(|entry| entry.seat) {
            self.dirty.insert(seat.group);
        }
    }

    /// Forgets what no pod has any more; costs a look at everything that pods have in common.
    pub fn sweep(&mut self) {
        self.reader.sweep();
        self.keeper.sweep();
        self.sweep_selections();
    }

    /// When something changes although nothing happens.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let first = self.timers.first().map(|(at, _)| *at);
        [first, self.budgets.next_timer()].into_iter().flatten().min()
    }
}

/// True if an object of ours is unknown, or was changed by people; its status says nothing new.
fn is_news<K: Resource + PartialEq>(known: &seen::Seen<K>, meta: &ObjectMeta) -> bool {
    let known = known.get(&Name::of(meta));
    known.is_none_or(|known| known.meta().generation != meta.generation)
}

/// True if pods that are on a node mean the same to others there: what they take, which volumes and ports are theirs, and
/// whom they keep away.
fn is_alike_to_others(one: &PodSpec, other: &PodSpec) -> bool {
    let attached = |volume: &VolumeUse| (volume.handle.clone(), volume.driver.clone(), volume.exclusive);
    one.requests == other.requests
        && one.gpu == other.gpu
        && one.host_ports == other.host_ports
        && one.pod_anti_affinity.required == other.pod_anti_affinity.required
        && one.volumes.iter().map(attached).eq(other.volumes.iter().map(attached))
}

fn wanted(reading: &Reading) -> Wanted<'_> {
    Wanted {
        role: &reading.role,
        spec: &reading.spec,
        labels: &reading.labels,
        min_members: reading.min_members,
    }
}

impl Entry {
    /// True if the pod asks for one of these schedulers.
    fn is_for(&self, schedulers: &BTreeSet<String>) -> bool {
        let name = self.kept.template.spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        schedulers.contains(name)
    }
}

impl Names for Mirror {
    fn pool(&self, id: PoolId) -> Option<&str> {
        self.organisation.pool_name(id)
    }

    fn node(&self, id: NodeId) -> Option<&str> {
        self.nodes.name(id).map(|name| &**name)
    }

    fn department(&self, id: DepartmentId) -> Option<&str> {
        self.organisation.department_name(id)
    }

    fn project(&self, id: ProjectId) -> Option<&str> {
        self.organisation.project_name(id)
    }

    fn time(&self, at: Timestamp) -> String {
        let time = k8s_openapi::jiff::Timestamp::from_millisecond(at.0);
        time.map_or_else(|_| at.0.to_string(), |time| format!("{time:.0}"))
    }
}
