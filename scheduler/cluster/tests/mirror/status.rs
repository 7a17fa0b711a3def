//! What pools, departments and projects say of themselves, and when a project may go.

use crate::world::World;
use berth_cluster::mirror::{Figures, PoolFigures, QueueFigures, Status};
use berth_cluster::{Action, Kind};
use berth_engine::Engine;
use berth_model::{PoolId, QueueId, Timestamp};
use serde_json::{Value, json};

struct OfEngine<'a>(&'a mut Engine);

impl Figures for OfEngine<'_> {
    fn pool(&mut self, pool: PoolId) -> Option<PoolFigures> {
        let usage = self.0.pool_usage(pool)?;
        Some(PoolFigures { capacity: usage.capacity, allocated: usage.allocated })
    }

    fn queue(&mut self, queue: QueueId, pool: PoolId) -> Option<QueueFigures> {
        let usage = self.0.queue_usage(queue, pool)?;
        Some(QueueFigures {
            allocated: usage.allocated,
            non_preemptible: usage.non_preemptible,
            fair_share: usage.fair_share,
        })
    }
}

/// Looks whose writes are done, until there are none; how many there were.
pub(crate) fn look(world: &mut World) -> usize {
    let mut all = 0;
    loop {
        match look_once(world) {
            0 => return all,
            writes => all += writes,
        }
    }
}

fn look_once(world: &mut World) -> usize {
    look_where(world, |_| true)
}

/// Looks once, and no namespace is made.
pub(crate) fn look_without_namespaces(world: &mut World) {
    look_where(world, |action| !matches!(action, Action::Namespace { .. }));
}

fn look_where(world: &mut World, done: impl Fn(&Action) -> bool) -> usize {
    let now = Timestamp(world.now);
    let actions = world.mirror.statuses(&mut OfEngine(&mut world.engine), now);
    for action in actions.iter().filter(|action| done(action)) {
        let (kind, name, status) = match action {
            Action::Status(Status::NodePool(it)) => (Kind::NodePool, &it.metadata.name, json!(it.status)),
            Action::Status(Status::Department(it)) => (Kind::Department, &it.metadata.name, json!(it.status)),
            Action::Status(Status::Project(it)) => (Kind::Project, &it.metadata.name, json!(it.status)),
            Action::Finalizers { project, finalizers, .. } => {
                edit(world, Kind::Project, &project.name, |it| {
                    it["metadata"]["finalizers"] = json!(finalizers)
                });
                continue;
            }
            Action::Namespace { name, project } => {
                let key = (Kind::Namespace, String::new(), name.to_string());
                if !world.api.contains_key(&key) {
                    world.namespace(name, Some(project));
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        let name = name.clone().expect("a name");
        edit(world, kind, &name, |it| it["status"] = status);
    }
    world.sync();
    actions.len()
}

pub(crate) fn edit(world: &mut World, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value = world.api[&(kind, String::new(), name.to_owned())].clone();
    change(&mut value);
    world.set(kind, "", name, value);
}

pub(crate) fn status(world: &World, kind: Kind, name: &str) -> Value {
    world.api[&(kind, String::new(), name.to_owned())]["status"].clone()
}

/// `Type=Status: message` of every condition.
pub(crate) fn conditions(status: &Value) -> Vec<String> {
    let all = status["conditions"].as_array().expect("conditions");
    let text = |it: &Value, field: &str| it[field].as_str().expect("a text").to_owned();
    all.iter()
        .map(|it| format!("{}={}: {}", text(it, "type"), text(it, "status"), text(it, "message")))
        .collect()
}

#[test]
fn s2_s7_queues_say_what_they_have_and_use_and_nothing_is_written_twice() {
    let mut world = World::new();
    world.project("p", 2);
    world.node("n0", 2);
    world.set(Kind::NodePool, "", "default", json!({"spec": {}}));
    world.pod("p/a", 1, json!({}));
    world.pod("p/b", 2, json!({}));
    world.act();
    // The finalizer, the namespace, and the status of each.
    assert_eq!(look(&mut world), 5);
    assert_eq!(look(&mut world), 0, "nothing has changed");
    let project = status(&world, Kind::Project, "p");
    assert_eq!(project["namespace"], "p");
    assert_eq!(project["workloads"], json!({"running": 1, "pending": 1}));
    let gpu = json!({"quota": "2", "fairShare": "2", "allocated": "1", "allocatedNonPreemptible": "0"});
    assert_eq!(project["total"]["gpu"], gpu);
    assert_eq!(project["pools"][0]["name"], "default");
    assert_eq!(project["total"]["cpu"], json!({"allocated": "1", "allocatedNonPreemptible": "0"}));
    let department = status(&world, Kind::Department, "d");
    assert_eq!(department["total"]["gpu"]["quota"], "unlimited");
    assert_eq!(department["workloads"], json!({"running": 1, "pending": 1}));
    let pool = status(&world, Kind::NodePool, "default");
    assert_eq!(
        (&pool["nodes"], &pool["gpus"], &pool["gpusAllocated"]),
        (&json!(1), &json!("2"), &json!("1"))
    );
    assert_eq!(conditions(&pool), ["Ready=True: "]);
    world.delete(Kind::Pod, "p", "a");
    world.act();
    assert_eq!(look(&mut world), 3);
    assert_eq!(status(&world, Kind::Project, "p")["total"]["gpu"]["allocated"], "2");
}

#[test]
fn s1_s7_what_is_wrong_is_a_condition_while_it_is() {
    let mut world = World::new();
    world.node("n0", 1);
    let mut node = world.api[&(Kind::Node, String::new(), "n0".to_owned())].clone();
    node["metadata"]["labels"]["pool"] = json!("x");
    world.set(Kind::Node, "", "n0", node);
    for name in ["a", "b"] {
        let spec = json!({"selector": {"key": "pool", "value": "x"}});
        world.set(Kind::NodePool, "", name, json!({"spec": spec}));
    }
    let quota = |pool: &str, gpus: u32| json!([{"name": pool, "gpu": {"quota": gpus.to_string()}}]);
    world.set(Kind::Department, "", "d", json!({"spec": {"pools": quota("a", 4)}}));
    world.set(Kind::Project, "", "p", json!({"spec": {"department": "d", "pools": quota("a", 5)}}));
    world.set(Kind::Project, "", "q", json!({"spec": {"department": "none", "pools": quota("z", 1)}}));
    world.sync();
    look(&mut world);
    let said = |world: &World, kind, name: &str| conditions(&status(world, kind, name));
    assert_eq!(
        said(&world, Kind::NodePool, "a"),
        [
            "Ready=True: ",
            "Overlaps=True: node n0 is selected by b too; it belongs to the first by name (S1)",
            "Overcommitted=True: quotas of departments are 4 GPUs, its nodes have 1 (S7)",
        ]
    );
    let b = "Overlaps=True: node n0 is selected by a too; it belongs to the first by name (S1)";
    assert_eq!(said(&world, Kind::NodePool, "b"), ["Ready=True: ", b]);
    assert_eq!(
        said(&world, Kind::Department, "d"),
        ["Ready=True: ", "Overcommitted=True: pool a: quotas of its projects are 5 GPUs, its own is 4 (S7)"]
    );
    let waits = "NamespaceReady=False: namespace q is not there yet";
    let problem = "Ready=False: spec.department: none does not exist";
    assert_eq!(said(&world, Kind::Project, "q"), [problem, waits]);

    // What is put right is not said any more, and when that was is.
    world.now += 5_000;
    world.set(Kind::Department, "", "none", json!({"spec": {"pools": []}}));
    world.delete(Kind::NodePool, "", "b");
    world.sync();
    look(&mut world);
    let message = "Ready=True: spec.pools: z does not exist, what is said of it waits";
    assert_eq!(said(&world, Kind::Project, "q"), [message, "NamespaceReady=True: "]);
    let pool = status(&world, Kind::NodePool, "a");
    assert_eq!(conditions(&pool)[1], "Overlaps=False: ");
    let times: Vec<_> = pool["conditions"].as_array().expect("conditions").iter().collect();
    assert_ne!(times[0]["lastTransitionTime"], times[1]["lastTransitionTime"]);
}

#[test]
fn s2_a_project_stays_while_workloads_or_volumes_are_left_in_it_and_says_how_many() {
    let mut world = World::new();
    world.project("p", 2);
    world.node("n0", 2);
    world.pod("p/a", 1, json!({}));
    world.set(Kind::Claim, "p", "data", json!({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {}}));
    world.act();
    look(&mut world);
    let finalizers = |world: &World| {
        world.api[&(Kind::Project, String::new(), "p".to_owned())]["metadata"]["finalizers"].clone()
    };
    assert_eq!(finalizers(&world), json!(["berth.dev/project"]));
    edit(&mut world, Kind::Project, "p", |it| {
        it["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:10Z");
        it["metadata"]["finalizers"] = json!(["others/one", "berth.dev/project"]);
    });
    world.sync();
    look(&mut world);
    let blocked = |left: &str| format!("DeletionBlocked=True: {left} are left in namespace p");
    let said = conditions(&status(&world, Kind::Project, "p"));
    assert_eq!(said[2], blocked("workloads: 1, volume claims: 1"));
    world.edit("p/a", |pod| pod["status"]["phase"] = json!("Succeeded"));
    world.sync();
    look(&mut world);
    assert_eq!(conditions(&status(&world, Kind::Project, "p"))[2], blocked("workloads: 0, volume claims: 1"));
    assert_eq!(finalizers(&world), json!(["others/one", "berth.dev/project"]));
    world.delete(Kind::Claim, "p", "data");
    world.sync();
    look(&mut world);
    assert_eq!(finalizers(&world), json!(["others/one"]));
}
