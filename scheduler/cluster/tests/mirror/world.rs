//! An API server in a few maps, a mirror that watches it and an engine that decides, without any I/O.
//!
//! Objects are JSON as `kubectl` would show them. What is changed reaches the mirror by [`World::sync`] unless a test lets
//! it get lost.

use berth_api::convert::selects;
use berth_api::convert::template_name;
use berth_api::slim;
use berth_cluster::change::Name;
use berth_cluster::mirror::Settings;
use berth_cluster::{Action, Allocation, Bind, Change, GivenDevice, Kind, Mirror, Object, Outcome, PodRef};
use berth_engine::Engine;
use berth_model::{Budget, Decision, Event, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The kinds that tests make.
pub(crate) const KINDS: [Kind; 13] = [
    Kind::Namespace,
    Kind::DeviceClass,
    Kind::DeviceClaim,
    Kind::NodePool,
    Kind::Department,
    Kind::Project,
    Kind::Node,
    Kind::Slice,
    Kind::Claim,
    Kind::Volume,
    Kind::StorageClass,
    Kind::Budget,
    Kind::Pod,
];

/// The API server, the mirror, the engine.
pub(crate) struct World {
    pub(crate) api: BTreeMap<(Kind, String, String), Value>,
    pub(crate) mirror: Mirror,
    pub(crate) engine: Engine,
    pub(crate) now: i64,
    /// Changes that the mirror has not been told yet.
    pub(crate) pending: Vec<Change>,
    uids: u64,
    /// Every event that the engine was told.
    pub(crate) events: Vec<Event>,
}

fn read<T: DeserializeOwned>(value: &Value) -> Box<T> {
    Box::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}")))
}

/// An object as the mirror takes it.
pub(crate) fn object(kind: Kind, value: &Value) -> Object {
    match kind {
        Kind::Pod => Object::Pod(read(value)),
        Kind::Node => Object::Node(read(value)),
        Kind::Slice => Object::Slice(read(value)),
        Kind::DeviceClaim => Object::DeviceClaim(read(value)),
        Kind::DeviceClass => Object::DeviceClass(read(value)),
        Kind::NodePool => Object::NodePool(read(value)),
        Kind::Department => Object::Department(read(value)),
        Kind::Project => Object::Project(read(value)),
        Kind::Namespace => Object::Namespace(read(value)),
        Kind::Claim => Object::Claim(read(value)),
        Kind::Volume => Object::Volume(read(value)),
        Kind::StorageClass => Object::StorageClass(read(value)),
        Kind::Budget => Object::Budget(read(value)),
        other => panic!("no test makes {other:?}"),
    }
}

/// So few workloads at a time that even a small cluster is told in parts.
fn settings() -> Settings {
    Settings { told_at_once: 2, ..Settings::default() }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            api: BTreeMap::new(),
            mirror: Mirror::new(settings()),
            engine: Engine::new(berth_engine::Settings::default()),
            now: 1_000_000,
            pending: Vec::new(),
            uids: 0,
            events: Vec::new(),
        }
    }

    /// Sets an object, and lets the watch see it.
    pub(crate) fn set(&mut self, kind: Kind, namespace: &str, name: &str, mut value: Value) {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let uid = match self.api.get(&key) {
            Some(known) => known["metadata"]["uid"].clone(),
            None => {
                self.uids += 1;
                json!(format!("uid-{}", self.uids))
            }
        };
        let meta = &mut value["metadata"];
        meta["name"] = json!(name);
        meta["uid"] = uid;
        if !namespace.is_empty() {
            meta["namespace"] = json!(namespace);
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.pending.push(Change::Set(object(kind, &value)));
        self.api.insert(key, value);
    }

    /// Changes a pod.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let (namespace, name) = name.split_once('/').unwrap_or(("open", name));
        let key = (Kind::Pod, namespace.to_owned(), name.to_owned());
        let mut value = self.api[&key].clone();
        change(&mut value);
        self.set(Kind::Pod, namespace, name, value);
    }

    /// Deletes an object, and lets the watch see it.
    pub(crate) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        let gone = self.api.remove(&(kind, namespace.to_owned(), name.to_owned()));
        let uid = gone.and_then(|gone| gone["metadata"]["uid"].as_str().map(Into::into));
        self.pending.push(Change::Gone(kind, Name::new(namespace, name), uid));
    }

    /// A ready node with 8 CPU, 32 GiB and so many GPUs.
    pub(crate) fn node(&mut self, name: &str, gpus: u32) {
        self.set(
            Kind::Node,
            "",
            name,
            json!({
                "metadata": {"labels": {"kubernetes.io/hostname": name}},
                "status": {
                    "allocatable": {
                        "cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": gpus.to_string()
                    },
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
        );
    }

    /// A slice of Berth's driver on a node, of this generation, with these devices of 1000 MiB; `d0!` takes no new pods.
    pub(crate) fn slice(&mut self, node: &str, generation: i64, devices: &[&str]) {
        let device = |name: &&str| {
            let taint = json!({"key": "gpu.berth.dev/unhealthy", "value": "xid-79", "effect": "NoSchedule"});
            let taints = if name.ends_with('!') { json!([taint]) } else { json!(null) };
            json!({
                "name": name.trim_end_matches('!'), "taints": taints,
                "capacity": {"memory": {"value": "1000Mi"}},
            })
        };
        let devices: Vec<Value> = devices.iter().map(device).collect();
        let pool = json!({"name": node, "generation": generation, "resourceSliceCount": 1});
        let spec = json!({"driver": "gpu.berth.dev", "nodeName": node, "pool": pool, "devices": devices});
        self.set(Kind::Slice, "", &format!("{node}-{generation}"), json!({"spec": spec}));
    }

    /// A pod with a claim of its own that asks for so many MiB of a device of Berth's driver, or for a whole one.
    pub(crate) fn claiming(&mut self, name: &str, mib: Option<u32>) {
        let (namespace, short) = name.split_once('/').unwrap_or(("open", name));
        let selector = json!({"cel": {"expression": "device.driver == 'gpu.berth.dev'"}});
        self.set(Kind::DeviceClass, "", "gpu.berth.dev", json!({"spec": {"selectors": [selector]}}));
        let capacity = mib.map(|mib| json!({"requests": {"memory": format!("{mib}Mi")}}));
        let exactly = json!({"deviceClassName": "gpu.berth.dev", "capacity": capacity});
        let requests = json!([{"name": "gpu", "exactly": exactly}]);
        self.set(Kind::DeviceClaim, namespace, short, json!({"spec": {"devices": {"requests": requests}}}));
        let claims = json!([{"name": "gpu", "resourceClaimName": short}]);
        self.pod(name, 0, json!({"spec": {"resourceClaims": claims}}));
    }

    /// Writes what a claim was given, as whoever binds its pod does; nothing, if that is taken back.
    pub(crate) fn allocate(&mut self, namespace: &str, claim: &str, status: Value) {
        let key = (Kind::DeviceClaim, namespace.to_owned(), claim.to_owned());
        let mut value = self.api[&key].clone();
        value["status"] = status;
        self.set(Kind::DeviceClaim, namespace, claim, value);
    }

    /// What the engine may give out of each device of a node, by name.
    pub(crate) fn devices(&self, node: &str) -> Vec<String> {
        let node = self.mirror.node_named(node);
        let published = node.into_iter().flat_map(|node| self.mirror.published(node));
        let word = |health| match health {
            berth_model::DeviceHealth::Healthy => "",
            _ => "!",
        };
        let mut names: Vec<_> = published
            .filter(|(_, spec)| spec.health != berth_model::DeviceHealth::Lost)
            .map(|(name, spec)| format!("{name}{}", word(spec.health)))
            .collect();
        names.sort();
        names
    }

    /// A pod for Berth with one CPU and so many GPUs, in the namespace before the `/`, or in `open`; `more` is merged into it.
    pub(crate) fn pod(&mut self, name: &str, gpus: u32, more: Value) {
        let (namespace, name) = name.split_once('/').unwrap_or(("open", name));
        let mut requests = json!({"cpu": "1"});
        if gpus > 0 {
            requests["nvidia.com/gpu"] = json!(gpus.to_string());
        }
        let mut pod = json!({
            "metadata": {},
            "spec": {
                "schedulerName": "berth",
                "containers": [{"name": "main", "resources": {"requests": requests}}],
            },
            "status": {"phase": "Pending"},
        });
        merge(&mut pod, more);
        self.set(Kind::Pod, namespace, name, pod);
    }

    /// A department without bounds and a project in it with a GPU quota in the default pool.
    pub(crate) fn project(&mut self, name: &str, gpus: u32) {
        let quota = |gpus: Value| json!([{"name": "default", "gpu": {"quota": gpus}}]);
        let department = json!({"spec": {"pools": quota(json!("unlimited"))}});
        self.set(Kind::Department, "", "d", department);
        let project = json!({"spec": {"department": "d", "pools": quota(json!(gpus.to_string()))}});
        self.set(Kind::Project, "", name, project);
    }

    /// A namespace with this label of ours, if any.
    pub(crate) fn namespace(&mut self, name: &str, project: Option<&str>) {
        let labels = project.map(|project| json!({"berth.dev/project": project}));
        self.set(Kind::Namespace, "", name, json!({"metadata": {"labels": labels}}));
    }

    /// The mirror is told what is pending, and the engine what the mirror says.
    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.mirror.apply(change, Timestamp(self.now));
        }
        self.tell();
    }

    fn tell(&mut self) {
        let events = self.mirror.events(Timestamp(self.now));
        let mut again = false;
        for event in events {
            if let Err(error) = self.engine.apply(event.clone()) {
                self.mirror.refused(&event, &error);
                let known = matches!(event, Event::PodRunning(_) | Event::PodReserved { .. });
                assert!(known, "{error}: {event:?}");
                again = true;
            }
            self.events.push(event);
        }
        if again || self.mirror.has_more() {
            self.tell();
        }
    }

    /// One round: what is pending, a decision, and what is to be done.
    pub(crate) fn round(&mut self) -> Vec<Action> {
        self.sync();
        self.now += 1;
        let decisions: Vec<Decision> = self.engine.decide(Timestamp(self.now), Budget::UNLIMITED);
        let mut actions = self.mirror.carry_out(&decisions, Timestamp(self.now));
        actions.extend(self.mirror.stale(self.engine.stale_since()));
        actions
    }

    /// One round, in words: binds as `pod -> node`, a gang's in one line; evictions as `evict pod`; reasons by their first word.
    pub(crate) fn says(&mut self) -> Vec<String> {
        let actions = self.round();
        actions.iter().map(say).collect()
    }

    /// One round whose binds and evictions are carried out.
    pub(crate) fn act(&mut self) -> Vec<String> {
        self.act_but(&[])
    }

    /// One round whose binds and evictions are carried out, but for the binds of these pods, which are refused.
    pub(crate) fn act_but(&mut self, refused: &[&str]) -> Vec<String> {
        let actions = self.round();
        for action in &actions {
            let Action::Bind(binds) = action else {
                self.carry_out(action);
                continue;
            };
            let (failed, done): (Vec<Bind>, Vec<Bind>) =
                binds.iter().cloned().partition(|bind| refused.contains(&&*bind.pod.name));
            self.carry_out(&Action::Bind(done));
            let failed =
                failed.into_iter().map(|bind| Outcome::BindFailed(bind.pod, "it is refused".to_owned()));
            self.pending.extend(failed.map(Change::Outcome));
        }
        self.sync();
        actions.iter().map(say).collect()
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Bind(binds) => {
                for bind in binds {
                    let key = (Kind::Pod, bind.pod.namespace.to_string(), bind.pod.name.to_string());
                    let free = self.api.get(&key).is_some_and(|pod| pod["spec"]["nodeName"].is_null());
                    if !free || !self.is_there(&bind.pod) {
                        let failed = Outcome::BindFailed(bind.pod.clone(), "not found, or bound".to_owned());
                        self.pending.push(Change::Outcome(failed));
                        continue;
                    }
                    let node = bind.node.to_string();
                    if let Some(allocation) = &bind.allocation {
                        let namespace = bind.pod.namespace.to_string();
                        self.allocate(&namespace, &allocation.claim, given(bind, allocation));
                    }
                    self.edit(&full(&bind.pod), |pod| pod["spec"]["nodeName"] = json!(node));
                    self.pending.push(Change::Outcome(Outcome::Bound(bind.pod.clone())));
                }
            }
            Action::Evict { pod, .. } | Action::Reserve { pod, .. } | Action::StaleSince { pod, .. }
                if !self.is_there(pod) => {}
            Action::Evict { pod, .. } if !self.grant(pod) => {
                let failed = Outcome::EvictFailed(pod.clone(), "a budget".to_owned());
                self.pending.push(Change::Outcome(failed));
            }
            Action::Evict { pod, .. } => {
                self.edit(&full(pod), |pod| {
                    pod["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
                });
                self.pending.push(Change::Outcome(Outcome::Evicted(pod.clone())));
            }
            Action::StaleSince { pod, since } => {
                let text =
                    since.map(|at| k8s_openapi::jiff::Timestamp::from_millisecond(at.0).expect("a time"));
                self.edit(&full(pod), |pod| match text {
                    Some(text) => {
                        pod["metadata"]["annotations"]["berth.dev/stale-since"] = json!(text.to_string())
                    }
                    None => {
                        let all = pod["metadata"]["annotations"].as_object_mut();
                        all.and_then(|all| all.remove("berth.dev/stale-since"));
                    }
                });
            }
            Action::Reserve { pod, reservation } => {
                let text = serde_json::to_string(reservation).expect("JSON");
                self.edit(&full(pod), |pod| {
                    pod["metadata"]["annotations"]["berth.dev/reservation"] = json!(text);
                    pod["status"]["nominatedNodeName"] = json!(reservation.node);
                });
            }
            Action::Status(_) | Action::Finalizers { .. } | Action::Namespace { .. } => {
                unreachable!("no round asks for them")
            }
            Action::Template { .. } => {}
            Action::Release { .. } | Action::Pending { .. } | Action::Warn { .. } => {}
        }
    }

    /// Lets the budgets of a pod grant its eviction, as the Eviction API does.
    fn grant(&mut self, pod: &PodRef) -> bool {
        let labels = &self.api[&(Kind::Pod, pod.namespace.to_string(), pod.name.to_string())]["metadata"];
        let labels: BTreeMap<String, String> =
            serde_json::from_value(labels["labels"].clone()).unwrap_or_default();
        let about = |((kind, namespace, _), value): &(&(Kind, String, String), &Value)| {
            let read = || read::<slim::PodDisruptionBudget>(value).spec.selector;
            *kind == Kind::Budget
                && **namespace == *pod.namespace
                && read().is_some_and(|selector| selects(&selector, &labels))
        };
        let about: Vec<String> = self.api.iter().filter(about).map(|((.., name), _)| name.clone()).collect();
        match &about[..] {
            [] => true,
            [name] => {
                let key = (Kind::Budget, pod.namespace.to_string(), name.clone());
                let mut budget = self.api[&key].clone();
                let left = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
                if left > 0 {
                    budget["status"]["disruptionsAllowed"] = json!(left - 1);
                    self.set(Kind::Budget, &pod.namespace, name, budget);
                }
                left > 0
            }
            _ => false,
        }
    }

    /// A budget for the pods of a namespace with this label `app` that allows so many evictions now.
    pub(crate) fn budget(&mut self, name: &str, app: &str, allowed: u32) {
        let (namespace, name) = name.split_once('/').expect("a namespace");
        let budget = json!({
            "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed},
        });
        self.set(Kind::Budget, namespace, name, budget);
    }

    /// What the engine takes every budget to allow, as `namespace/name left`.
    pub(crate) fn budgets_left(&self) -> Vec<String> {
        let all = self.engine.disruptions_left();
        let mut all: Vec<_> =
            all.map(|(budget, left)| format!("{}/{} {left}", budget.namespace, budget.name)).collect();
        all.sort();
        all
    }

    /// True if the API server has the pod, and it is not another of its name.
    fn is_there(&self, pod: &PodRef) -> bool {
        let key = (Kind::Pod, pod.namespace.to_string(), pod.name.to_string());
        self.api.get(&key).is_some_and(|known| known["metadata"]["uid"] == *pod.uid)
    }

    /// The pods that were bound, as `pod -> node`.
    pub(crate) fn bound(&self) -> Vec<String> {
        let pods = self.api.iter().filter(|((kind, ..), _)| *kind == Kind::Pod);
        let bound = pods.filter_map(|((_, _, name), pod)| {
            Some(format!("{name} -> {}", pod["spec"]["nodeName"].as_str()?))
        });
        bound.collect()
    }

    /// A mirror and an engine that start now, from lists alone.
    pub(crate) fn restart(&mut self) {
        self.mirror = Mirror::new(settings());
        self.engine = Engine::new(berth_engine::Settings::default());
        self.pending.clear();
        self.relist();
        self.sync();
    }

    /// What the engine counts of the default pool: nodes, GPUs, GPUs given out.
    pub(crate) fn engine_usage(&self) -> (u32, i64, i64) {
        let usage = self.engine.pool_usage(berth_model::PoolId(0)).expect("the default pool");
        (usage.nodes, usage.capacity.0, usage.allocated.0)
    }

    /// All lists, again.
    pub(crate) fn relist(&mut self) {
        for kind in KINDS {
            self.pending.push(Change::ListBegun(kind));
            let listed = self.api.iter().filter(|((of, ..), _)| *of == kind);
            let listed: Vec<Change> = listed.map(|(_, value)| Change::Set(object(kind, value))).collect();
            self.pending.extend(listed);
            self.pending.push(Change::ListEnded(kind));
        }
    }
}

/// What a claim says that was given this.
pub(crate) fn given(bind: &Bind, allocation: &Allocation) -> Value {
    let result = |given: &GivenDevice| {
        json!({
            "request": given.request, "driver": "gpu.berth.dev", "pool": &*bind.node, "device": given.name,
            "consumedCapacity": {"memory": format!("{}Mi", given.memory.0)},
        })
    };
    let results: Vec<Value> = allocation.devices.iter().map(result).collect();
    json!({
        "allocation": {"devices": {"results": results}},
        "reservedFor": [{"resource": "pods", "name": bind.pod.name, "uid": bind.pod.uid}],
    })
}

fn full(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn say(action: &Action) -> String {
    match action {
        Action::Bind(binds) => {
            let each = binds.iter().map(|bind| format!("{} -> {}", bind.pod.name, bind.node));
            each.collect::<Vec<_>>().join(", ")
        }
        Action::Evict { pod, .. } => format!("evict {}", pod.name),
        Action::Reserve { pod, reservation } => format!("reserve {} on {}", pod.name, reservation.node),
        Action::Release { pod } => format!("release {}", pod.name),
        Action::Pending { pods, message, .. } => {
            let names: Vec<_> = pods.iter().map(|pod| pod.name.to_string()).collect();
            let word = message.split(':').next().unwrap_or_default();
            format!("{} pending: {word}", names.join(", "))
        }
        Action::StaleSince { pod, since: Some(_) } => format!("stale {}", pod.name),
        Action::StaleSince { pod, since: None } => format!("not stale {}", pod.name),
        Action::Status(status) => format!("status {status:?}"),
        Action::Finalizers { project, finalizers, .. } => {
            format!("finalizers of {}: {finalizers:?}", project.name)
        }
        Action::Namespace { name, project } => format!("namespace {name} of {project}"),
        Action::Template { gpu, .. } => format!("template {}", template_name(*gpu).unwrap_or_default()),
        Action::Warn { pod, reason, .. } => format!("warn {}: {reason}", pod.name),
    }
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, more) => *into = more,
    }
}

/// What decides: pods by name with what the engine counts of them, and what is used of the pool.
pub(crate) fn view(world: &World) -> Vec<String> {
    let mut view = Vec::new();
    for ((kind, namespace, name), value) in &world.api {
        if *kind != Kind::Pod {
            continue;
        }
        let pod: slim::Pod = serde_json::from_value(value.clone()).expect("a pod");
        let told = world.mirror.told(namespace, name);
        view.push(format!("{namespace}/{} {told}", pod.name()));
    }
    let nodes = world.api.keys().filter(|(kind, ..)| *kind == Kind::Node);
    view.extend(nodes.map(|(_, _, name)| format!("{name} has {:?}", world.devices(name))));
    view
}
