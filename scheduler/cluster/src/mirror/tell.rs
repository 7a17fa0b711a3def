//! What was told -> what is seen, as events.
//!
//! Order: pools and queues; disruption budgets; nodes that are there; workloads; what frees room, workloads that
//! are gone included; what takes room; and at the end nodes and queues that are gone.

use super::Mirror;
use super::claims::Given;
use super::groups::{Group, GroupKey, Slot, Told};
use super::organisation::remembered;
use super::pods::Entry;
use crate::action::{Action, Reservation};
use crate::change::Name;
use berth_api::asked::{Asked, asked};
use berth_api::group::{self, Context, Identity, RolePods};
use berth_api::names::{owner, written};
use berth_model::{
    Event, Eviction, GpuGrant, NodeId, Placement, PodId, PodOutcome, PodState, RoleSpec, Timestamp,
    WorkloadSpec,
};

/// Events of one call, in the order in which they are told.
#[derive(Debug, Default)]
struct Out {
    set: Vec<Event>,
    free: Vec<Event>,
    take: Vec<Event>,
}

/// What should be told of a slot.
enum Wish {
    /// What is told already, whatever it is.
    Keep,
    /// That there is no pod; one that was there ended in this way.
    Absent(PodOutcome),
    Waiting,
    On {
        node: NodeId,
        since: Timestamp,
        leaving: Option<Timestamp>,
        evicted: bool,
        starting: bool,
        /// As its claim says; none if that is not known, or the kubelet picks them.
        gpus: GpuGrant,
    },
}

impl Mirror {
    /// The events that bring the engine to what is seen at `now`; a part of them if [`Self::has_more`] says so then.
    pub fn events(&mut self, now: Timestamp) -> Vec<Event> {
        self.now = self.now.max(now);
        let organisation = self.organisation.events(&self.around.namespaces);
        self.news |= organisation.namespaces;
        if organisation.projects {
            self.reseat_all();
        }
        if !organisation.first.is_empty() {
            self.stale.problems = true;
        }
        let mut nodes = self.nodes.events();
        for node in &nodes.new {
            let bound: Vec<u32> = self.pods.on(node).collect();
            bound.into_iter().for_each(|ix| self.touch(ix));
        }
        // What did not fit the devices as they were may fit them as they are.
        for node in nodes.new.iter().chain(&nodes.devices) {
            let misfit = |ix: &u32| {
                self.pods.get(*ix).is_some_and(|entry| entry.misfit || !entry.device_claims.is_empty())
            };
            let bound: Vec<u32> = self.pods.on(node).filter(misfit).collect();
            bound.into_iter().for_each(|ix| self.fit_again(ix));
        }
        // Binds that were begun may be for such a node.
        if !(nodes.new.is_empty() && nodes.devices.is_empty()) {
            let begun = |entry: &Entry| entry.kept.node.is_none() && !entry.device_claims.is_empty();
            let begun: Vec<u32> =
                self.pods.iter().filter(|(_, entry)| begun(entry)).map(|(ix, _)| ix).collect();
            begun.into_iter().for_each(|ix| self.touch(ix));
        }
        // Pods on a node that is gone wait for nothing: their objects go too.
        for (_, node) in &nodes.gone {
            let bound: Vec<u32> = self.pods.on(node).collect();
            bound.into_iter().for_each(|ix| self.touch(ix));
        }
        let gone: Vec<NodeId> = nodes.gone.iter().map(|(id, _)| *id).collect();
        self.touch_placed_on(&gone);
        self.settle_selections(&mut nodes);
        while let Some((at, group)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
            self.timers.remove(&(at, group));
            self.dirty.insert(group);
        }
        if !std::mem::replace(&mut self.restored, true) {
            self.rooms = self.reservations_found();
            self.find_begun_binds();
            self.find_starts();
            self.find_stale();
        }
        let budgets = self.budgets.events(self.now);
        let mut out = Out::default();
        for group in self.due() {
            self.tell_group(group, &gone, &mut out);
        }
        let mut events = organisation.first;
        events.extend(budgets);
        events.extend(nodes.set);
        events.append(&mut self.waiting_events);
        for part in [out.set, out.free, out.take] {
            events.extend(part);
        }
        events.extend(gone.into_iter().map(Event::NodeRemoved));
        events.extend(organisation.last);
        if !self.has_more() {
            events.append(&mut self.rooms);
        }
        events
    }

    /// True while the engine is told of a cluster for the first time and has not been told of all that is there.
    pub fn has_more(&self) -> bool {
        self.loading.as_ref().is_some_and(|loading| !loading.is_empty())
    }

    /// The workloads to compare now: those of which something has changed, what was refused before among it, and a part of
    /// those that are still to be told.
    fn due(&mut self) -> Vec<u32> {
        let changed = std::mem::take(&mut self.dirty).into_iter();
        let Some(loading) = &mut self.loading else {
            let loading = self.loading.insert(changed.collect());
            let part = self.settings.told_at_once.max(1).min(loading.len());
            return loading.drain(..part).collect();
        };
        let part = self.settings.told_at_once.max(1).min(loading.len());
        changed.chain(loading.drain(..part)).collect()
    }

    /// Reads pods again whose meaning may have changed.
    pub(super) fn read_again(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        let mut pods: std::collections::BTreeSet<u32> = std::collections::BTreeSet::new();
        for claim in &stale.claims {
            pods.extend(self.pods.using(claim));
        }
        if stale.device_classes {
            let using = self.pods.iter().filter(|(_, entry)| !entry.device_claims.is_empty());
            pods.extend(using.map(|(ix, _)| ix));
        }
        if stale.volumes {
            pods.extend(self.pods.using_any());
        }
        if stale.namespaces {
            pods.extend(self.pods.about_namespaces.iter().copied());
        }
        for (gang, name) in &stale.owners {
            if *gang == group::Kind::LeaderWorkerSet {
                let of =
                    |group: &Group| group.owner().0 == *gang && group.owner().1.namespace == name.namespace;
                self.dirty.extend(self.groups.iter().filter(|(_, group)| of(group)).map(|(ix, _)| ix));
                continue;
            }
            let project = self.organisation.project_of(&name.namespace).map(|(id, _)| id);
            let key = group::Key {
                namespace: name.namespace.to_string(),
                kind: *gang,
                name: name.name.to_string(),
            };
            self.dirty.extend(self.groups.known(&GroupKey { project, key }));
        }
        if stale.problems {
            let troubled = self.groups.iter().filter(|(_, group)| group.problem.is_some());
            let troubled: Vec<u32> = troubled.map(|(ix, _)| ix).collect();
            self.dirty.extend(troubled);
        }
        for ix in pods {
            self.reseat(ix);
        }
    }

    fn reseat_all(&mut self) {
        let all: Vec<u32> = self.pods.iter().map(|(ix, _)| ix).collect();
        for ix in all {
            self.reseat(ix);
        }
    }

    pub(super) fn reseat(&mut self, ix: u32) {
        if let Some(pod) = self.pods.get(ix).map(|entry| entry.kept.restore()) {
            self.seat(ix, &pod);
        }
    }

    /// Workloads that the engine counts on nodes that are gone.
    fn touch_placed_on(&mut self, gone: &[NodeId]) {
        if gone.is_empty() {
            return;
        }
        let counted = |slot: &Slot| slot.told.node().is_some_and(|node| gone.contains(&node));
        let touched = self.groups.iter().filter(|(_, group)| group.slots().any(counted));
        let touched: Vec<u32> = touched.map(|(ix, _)| ix).collect();
        self.dirty.extend(touched);
    }

    /// Reads a pod again that may have the devices that it had not.
    fn fit_again(&mut self, ix: u32) {
        self.pods.get_mut(ix).into_iter().for_each(|entry| entry.misfit = false);
        self.reseat(ix);
    }

    fn tell_group(&mut self, ix: u32, gone: &[NodeId], out: &mut Out) {
        let Some(mut group) = self.groups.take(ix) else { return };
        let expected = |slot: &Slot| slot.expected.is_some_and(|until| until > self.now);
        let busy = group.pods > 0 || group.slots().any(expected);
        group.evictions.retain(|eviction| remembered(eviction.at, self.now));
        let project = self.organisation.project_of(&group.key.key.namespace).map(|(id, _)| id);
        if !busy && (group.evictions.is_empty() || group.key.project != project) {
            if group.told.is_some() {
                out.free.push(Event::WorkloadRemoved(group.id));
                self.budgets.has_left(&group.key.key.namespace, self.now);
            }
            self.groups.put_back(ix, group);
            self.groups.remove(ix);
            return;
        }
        if !busy && let Some(eviction) = group.evictions.first() {
            self.timers.insert((eviction.at.plus(super::organisation::MEMORY), ix));
        }
        let held = self.tell_workload(&mut group, out) | self.tend_start(ix, &mut group);
        if group.told.is_some() {
            let left = out.free.len();
            self.tell_slots(&mut group, held, gone, out);
            if out.free.len() > left {
                self.budgets.has_left(&group.key.key.namespace, self.now);
            }
        }
        self.say_problem(&mut group);
        self.groups.put_back(ix, group);
    }

    /// Tells the workload itself, if it is new or different; true if none of its pods may be placed.
    fn tell_workload(&mut self, group: &mut Group, out: &mut Out) -> bool {
        let held = self.organisation.held(&group.key.key.namespace);
        let (spec, problem) = match self.spec_of(group, false) {
            Ok(spec) => (Some(spec), held),
            Err(problem) => (self.spec_of(group, true).ok(), Some(problem)),
        };
        group.problem = problem.map(Into::into);
        let Some(mut spec) = spec else { return true };
        for (role, told) in group.roles.iter_mut().zip(&spec.roles) {
            role.slots.resize((told.count as usize).max(role.slots.len()), Slot::NEW);
        }
        if group.told.is_none() {
            spec.evictions = group.evictions.clone();
            spec.stale_since = self.stale_since(group);
        }
        let known = group.told.as_ref().is_some_and(|told| {
            let (evictions, stale_since) = (told.evictions.clone(), told.stale_since);
            **told == WorkloadSpec { evictions, stale_since, ..spec.clone() }
        });
        if !known {
            out.set.push(Event::WorkloadSet(spec.clone()));
            group.told = Some(Box::new(spec));
            let slots = group.roles.iter_mut().flat_map(|role| &mut role.slots);
            slots.filter(|slot| slot.told == Told::New).for_each(|slot| slot.told = Told::Waiting);
        }
        group.problem.is_some()
    }

    /// The workload as the model has it; `bare`, without what it asks for as a whole.
    fn spec_of(&self, group: &Group, bare: bool) -> Result<WorkloadSpec, String> {
        let first =
            self.pods.of(group).min_by(|a, b| (a.created(), &a.kept.name).cmp(&(b.created(), &b.kept.name)));
        let Some(first) = first else {
            // Only expected pods: as it was.
            return group.told.as_deref().cloned().ok_or_else(|| "it has no pods".to_owned());
        };
        let pod = first.kept.restore();
        let asked = if bare { Asked::default() } else { asked(&pod).map_err(|bad| bad.to_string())? };
        let alive = |slot: &&Slot| {
            let failed =
                |ix: u32| self.pods.get(ix).is_some_and(|e| e.kept.phase == berth_api::keep::Phase::Failed);
            slot.pod.is_some_and(|ix| !failed(ix))
        };
        let pods_of = |role: &super::groups::Role| RolePods {
            role: role.name.to_string(),
            pods: role.slots.iter().filter(alive).count() as u32,
            min_members: role.min_members,
        };
        let roles: Vec<RolePods> = group.roles.iter().map(pods_of).collect();
        let (kind, controller) = group.owner();
        let shape = match self.around.shape(kind, &controller) {
            Some(Err(problem)) if !bare => return Err(problem.clone()),
            other => other.and_then(|shape| shape.as_ref().ok()),
        };
        let leader = (kind == group::Kind::LeaderWorkerSet)
            .then(|| {
                let set = pod.label(owner::LWS).unwrap_or_default();
                let set = self.around.sets.get(&Name::new(&group.key.key.namespace, set));
                group::Shape::leader_worker_set(&pod, set)
            })
            .and_then(Result::ok);
        let minimums = group::minimums(kind, shape.or(leader.as_ref()), &roles);
        let context = Context {
            project: self.organisation.project_of(&group.key.key.namespace),
            class: &|class| self.around.priority(class),
            pool: &|pool| self.organisation.pool(pool),
        };
        let identity = Identity { id: group.id, name: group.key.key.name.clone() };
        let with = group.roles.iter().zip(roles);
        let with = with.map(|(role, pods)| (pods, (*role.labels).clone(), role.spec.clone())).collect();
        let mut spec = group::workload(identity, (&pod, &asked), with, &minimums, context)
            .map_err(|bad| bad.to_string())?;
        if spec.project.is_none() {
            spec.namespace = group.key.key.namespace.clone();
        }
        // Pods that are needed and do not exist yet are slots without a pod: the engine waits for them (S5).
        let short: u32 = minimums.short.iter().map(|short| short.need - short.have).sum();
        for (at, (told, role)) in spec.roles.iter_mut().zip(&group.roles).enumerate() {
            let phantoms = if at == 0 { short } else { 0 };
            *told = RoleSpec { count: role.count(phantoms), min: told.min + phantoms, ..told.clone() };
        }
        Ok(spec)
    }

    fn tell_slots(&mut self, group: &mut Group, held: bool, gone: &[NodeId], out: &mut Out) {
        for (at, role) in group.roles.iter_mut().enumerate() {
            for (index, slot) in role.slots.iter_mut().enumerate() {
                let id = PodId { workload: group.id, role: at as u16, index: index as u32 };
                if slot.told.node().is_some_and(|node| gone.contains(&node)) {
                    out.free.push(Event::PodEnded { pod: id, outcome: PodOutcome::Deleted });
                    (slot.told, slot.gone) = (Told::Absent, None);
                }
                self.tell_slot(id, slot, held, out);
            }
        }
    }

    fn tell_slot(&mut self, id: PodId, slot: &mut Slot, held: bool, out: &mut Out) {
        if let Some(outcome) = slot.gone.take()
            && !matches!(slot.told, Told::Absent | Told::New)
        {
            out.free.push(Event::PodEnded { pod: id, outcome });
            slot.told = if outcome == PodOutcome::Evicted { Told::Waiting } else { Told::Absent };
        }
        let entry = slot.pod.and_then(|ix| self.pods.get(ix));
        let wish = match entry {
            // What is written on its claim is what was decided.
            Some(entry) if entry.binding.is_some() && matches!(slot.told, Told::Placed(_)) => Wish::Keep,
            Some(entry) => self.wish(entry, held),
            None if !held && slot.expected.is_some_and(|until| until > self.now) => Wish::Keep,
            None => Wish::Absent(PodOutcome::Deleted),
        };
        if slot.pod.is_none() && !matches!(wish, Wish::Keep) {
            slot.expected = None;
        }
        match (slot.told, wish) {
            (_, Wish::Keep) | (Told::New, _) | (Told::Absent, Wish::Absent(_)) => {}
            (_, Wish::Absent(outcome)) => {
                out.free.push(Event::PodEnded { pod: id, outcome });
                slot.told = Told::Absent;
            }
            (Told::Waiting, Wish::Waiting) => {}
            (Told::Absent, Wish::Waiting) => {
                out.take.push(Event::PodWanted { pod: id });
                slot.told = Told::Waiting;
            }
            (Told::Placed(node), Wish::Waiting) => self.bind_late(id, slot, node, out),
            (Told::On { .. }, Wish::Waiting) => {
                out.free.push(Event::PodEnded { pod: id, outcome: PodOutcome::Deleted });
                out.take.push(Event::PodWanted { pod: id });
                slot.told = Told::Waiting;
            }
            (told, Wish::On { node, since, leaving, evicted, starting, gpus }) => {
                let state = PodState::new(id, node, gpus, since);
                let state = PodState { leaving, evicted, starting, ..state };
                let same = gpus == GpuGrant::None || gpus == slot.gpus;
                slot.told = on_node(told, same, state, out);
                if told == Told::New {
                    return;
                }
                if gpus != GpuGrant::None || told.node() != Some(node) {
                    slot.gpus = gpus;
                }
            }
        }
    }

    /// A pod has come for which a place was decided before it was there, or its bind has failed.
    fn bind_late(&mut self, id: PodId, slot: &mut Slot, node: NodeId, out: &mut Out) {
        let was_expected = slot.expected.take().is_some();
        let ix = slot.pod.filter(|_| was_expected);
        let bind = ix.and_then(|ix| self.bind_of(ix, Placement { node, gpus: slot.gpus }));
        if let (Some(Ok(bind)), Some(entry)) = (bind, ix.and_then(|ix| self.pods.get_mut(ix))) {
            entry.binding = Some(bind.node.clone());
            self.waiting_actions.push(Action::Bind(vec![bind]));
            return;
        }
        out.free.push(Event::BindFailed { pod: id, node });
        slot.told = Told::Waiting;
    }

    fn wish(&self, entry: &Entry, held: bool) -> Wish {
        use berth_api::keep::Phase;
        match entry.kept.phase {
            Phase::Succeeded => return Wish::Absent(PodOutcome::Succeeded),
            Phase::Failed => return Wish::Absent(PodOutcome::Failed),
            Phase::Pending | Phase::Running | Phase::Unknown => {}
        }
        if let Some(node) = &entry.kept.node {
            let Some(node) = self.nodes.id(node) else { return Wish::Absent(PodOutcome::Deleted) };
            let evicted = entry.evicted || entry.kept.own_annotation(written::EVICTED).is_some();
            let (since, leaving, starting) = (entry.since(self.now), entry.leaving(), entry.is_starting());
            let given = self.given(entry).filter(|given| given.node == node && !entry.misfit);
            let gpus = given.and_then(|given| given.gpus).unwrap_or_default();
            return Wish::On { node, since, leaving, evicted, starting, gpus };
        }
        // A bind that was begun takes its devices until they are given back.
        if let Some(Given { node, gpus: Some(gpus) }) = self.given(entry) {
            let (since, leaving, evicted) = (entry.since(self.now), entry.leaving(), entry.evicted);
            return Wish::On { node, since, leaving, evicted, starting: true, gpus };
        }
        let ours = entry.is_for(&self.settings.schedulers) && entry.problem.is_none();
        if !ours || entry.kept.deleted.is_some() {
            return Wish::Absent(PodOutcome::Deleted);
        }
        match &entry.binding {
            Some(_) => Wish::Keep,
            None if held => Wish::Absent(PodOutcome::Deleted),
            None => Wish::Waiting,
        }
    }

    /// Says what is wrong with a workload, or with pods of it, once.
    fn say_problem(&mut self, group: &mut Group) {
        let mut by_text: std::collections::BTreeMap<String, Vec<_>> = std::collections::BTreeMap::new();
        for entry in self.pods.of(group) {
            let waits = entry.kept.node.is_none() && entry.is_for(&self.settings.schedulers);
            let problem = entry.problem.as_ref().or(group.problem.as_ref());
            if let (true, Some(problem)) = (waits, problem) {
                by_text.entry(problem.to_string()).or_default().push(entry.reference());
            }
        }
        let said = (!by_text.is_empty()).then(|| format!("{by_text:?}").into_boxed_str());
        if said.is_some() && said != group.said {
            for (message, pods) in by_text {
                self.waiting_actions.push(Action::Pending { pods, reason: "Unschedulable", message });
            }
        }
        if said.is_some() || group.problem.is_none() {
            group.said = said;
        }
    }

    /// Reservations as found written on pods at the start (S33). The workloads stopped for them are remembered (S25), so this
    /// comes before they are told. What cannot be kept any more is taken back.
    fn reservations_found(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut evictions = Vec::new();
        let mut void = Vec::new();
        for (_, entry) in self.pods.iter() {
            let text = entry.kept.own_annotation(written::RESERVATION);
            let Some((text, seat)) = text.zip(entry.seat).filter(|_| entry.kept.node.is_none()) else {
                continue;
            };
            let kept = serde_json::from_str::<Reservation>(text).ok();
            let node = kept.as_ref().and_then(|kept| self.nodes.id(&kept.node));
            let (Some(kept), Some(node), Some(group)) = (kept, node, self.groups.get(seat.group)) else {
                tracing::warn!(pod = %entry.kept.name, "room that was kept for it is given up: {text}");
                void.push(Action::Release { pod: entry.reference() });
                continue;
            };
            let pod = PodId { workload: group.id, role: seat.role, index: seat.slot };
            events.push(Event::PodReserved {
                pod,
                at: Placement { node, gpus: kept.gpus },
                until: kept.until,
            });
            for victim in kept.victims {
                evictions.push((victim, Eviction { beneficiary: group.id, at: kept.at }));
            }
        }
        self.waiting_actions.extend(void);
        for (victim, eviction) in evictions {
            let of = |key: &GroupKey| {
                key.key.namespace == victim.namespace
                    && key.key.name == victim.name
                    && format!("{:?}", key.key.kind) == victim.kind
            };
            let found = self.groups.iter().find(|(_, group)| of(&group.key)).map(|(ix, _)| ix);
            let group = found.and_then(|ix| self.groups.get_mut(ix));
            if let Some(group) = group.filter(|group| !group.evictions.contains(&eviction)) {
                group.evictions.push(eviction);
            }
        }
        events
    }

    /// The engine has refused an event. If a pod on a node does not fit its devices, what it takes besides is counted; all else
    /// is a fault that is logged.
    pub fn refused(&mut self, event: &Event, error: &berth_model::EventError) {
        let state = match event {
            Event::PodRunning(state) => state,
            Event::PodReserved { pod, .. } => {
                tracing::warn!(%error, "room that was kept before the start is given up");
                self.waiting_actions.extend(self.reference(*pod).map(|pod| Action::Release { pod }));
                return;
            }
            _ => {
                tracing::error!(%error, "the engine has refused an event");
                return;
            }
        };
        let slot = |group: &Group| {
            group.roles.get(usize::from(state.pod.role))?.slots.get(state.pod.index as usize)?.pod
        };
        let found = self.groups.find(state.pod.workload).and_then(|ix| slot(self.groups.get(ix)?));
        let Some(ix) = found else { return };
        tracing::warn!(%error, "a pod on a node does not fit there: its devices are not counted");
        if let Some(entry) = self.pods.get_mut(ix).filter(|entry| !entry.misfit) {
            entry.misfit = true;
            self.reseat(ix);
        }
    }
}

/// The events for a pod that is on a node; `same` if its devices are those that the engine knows.
fn on_node(told: Told, same: bool, state: PodState, out: &mut Out) -> Told {
    let now = Told::On { node: state.node, leaving: state.leaving, starting: state.starting };
    match told {
        Told::New => return told,
        Told::On { node, leaving, starting } if node == state.node && same => {
            match state.leaving {
                Some(until) if leaving != Some(until) => {
                    out.free.push(Event::PodLeaving { pod: state.pod, until });
                }
                None if starting != state.starting => out.take.push(Event::PodRunning(state)),
                _ => {}
            }
            return now;
        }
        Told::Placed(node) if node == state.node && same => {}
        Told::Placed(node) => out.free.push(Event::BindFailed { pod: state.pod, node }),
        Told::On { .. } => {
            out.free.push(Event::PodEnded { pod: state.pod, outcome: PodOutcome::Deleted });
            out.take.push(Event::PodWanted { pod: state.pod });
        }
        Told::Absent => out.take.push(Event::PodWanted { pod: state.pod }),
        Told::Waiting => {}
    }
    out.take.push(Event::PodRunning(state));
    now
}
