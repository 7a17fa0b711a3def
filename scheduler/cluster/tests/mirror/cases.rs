//! What becomes of pods, case by case.

use crate::world::World;
use berth_cluster::{Action, Change, Kind, Outcome};
use berth_model::Event;
use serde_json::json;

fn owned(kind: &str, name: &str) -> serde_json::Value {
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    json!({"metadata": {"ownerReferences": [
        {"apiVersion": version, "kind": kind, "name": name, "uid": format!("{kind}-{name}"), "controller": true}
    ]}})
}

fn gang(of: &str, min: u32) -> serde_json::Value {
    json!({"metadata": {
        "labels": {"berth.dev/workload": of}, "annotations": {"berth.dev/min-members": min.to_string()}
    }})
}

/// `q/high` has room reserved on the only node, from which `p/low` is being evicted for it.
fn taking_back() -> World {
    let mut world = World::new();
    world.project("p", 0);
    world.project("q", 1);
    world.node("n0", 1);
    world.pod("p/low", 1, owned("Job", "low"));
    assert_eq!(world.act(), ["low -> n0"]);
    world.pod("q/high", 1, json!({}));
    assert_eq!(world.act(), ["evict low", "reserve high on n0", "high pending: waiting"]);
    world
}

#[test]
fn a_pod_is_bound_once() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("a", 1, json!({}));
    assert_eq!(world.act(), ["a -> n0"]);
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.bound(), ["a -> n0"]);
}

#[test]
fn s3_pods_of_other_schedulers_count_once_they_are_bound() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("other", 1, json!({"spec": {"schedulerName": "default-scheduler"}}));
    assert_eq!(world.says(), [""; 0]);
    world.edit("other", |pod| pod["spec"]["nodeName"] = json!("n0"));
    world.pod("a", 1, json!({}));
    assert_eq!(world.says(), ["a pending: capacity"]);
    world.delete(Kind::Pod, "open", "other");
    assert_eq!(world.says(), ["a -> n0"]);
}

/// The engine is told of no more pods than the gang has, however its pods come.
#[test]
fn s5_a_gang_that_comes_pod_by_pod_is_no_larger_than_it_is() {
    let mut world = World::new();
    world.node("n0", 8);
    for pod in 0..40 {
        world.pod(&format!("a-{pod}"), 1, gang("train", 60));
        world.act();
        let told = world.events.iter().rev().find_map(|event| match event {
            Event::WorkloadSet(spec) => Some(spec.roles.iter().map(|role| role.count).sum::<u32>()),
            _ => None,
        });
        assert!(told.is_some_and(|pods| pods <= 64), "with {pod} before it the engine knows of {told:?}");
    }
}

#[test]
fn s5_a_gang_waits_until_its_pods_exist_and_is_bound_as_one() {
    let mut world = World::new();
    world.node("n0", 4);
    world.pod("a-0", 1, gang("train", 3));
    world.pod("a-1", 1, gang("train", 3));
    assert_eq!(world.act(), [""; 0]);
    world.pod("a-2", 1, gang("train", 3));
    assert_eq!(world.act(), ["a-0 -> n0, a-1 -> n0, a-2 -> n0"]);
}

#[test]
fn s5_pods_of_a_job_come_and_go_in_the_same_slots() {
    let mut world = World::new();
    world.project("p", 4);
    world.node("n0", 2);
    for round in 0..5 {
        let name = format!("p/job-{round}");
        world.pod(&name, 2, owned("Job", "job"));
        assert_eq!(world.act(), [format!("job-{round} -> n0")]);
        world.edit(&name, |pod| pod["status"]["phase"] = json!("Failed"));
        world.delete(Kind::Pod, "p", &format!("job-{round}"));
    }
    let sets = world.events.iter().filter(|event| matches!(event, berth_model::Event::WorkloadSet(_)));
    assert!(sets.count() <= 5, "a workload whose pods are replaced is told seldom: {:?}", world.events);
}

#[test]
fn a_pod_on_a_node_that_is_not_known_yet_counts_when_the_node_comes() {
    let mut world = World::new();
    world.pod("a", 1, json!({"spec": {"nodeName": "n0"}}));
    world.pod("b", 1, json!({}));
    assert_eq!(world.says(), ["b pending: pool"]);
    world.node("n0", 1);
    assert_eq!(world.says(), ["b pending: capacity"]);
}

#[test]
fn pods_of_a_node_that_is_gone_are_not_placed_again() {
    let mut world = World::new();
    world.node("n0", 1);
    world.node("n1", 1);
    world.pod("a", 1, json!({}));
    assert_eq!(world.act(), ["a -> n0"]);
    world.delete(Kind::Node, "", "n0");
    assert_eq!(world.act(), [""; 0]);
    world.pod("b", 1, json!({}));
    assert_eq!(world.act(), ["b -> n1"]);
    world.node("n0", 1);
    world.pod("c", 1, json!({}));
    assert_eq!(world.act(), ["c pending: capacity"]);
}

#[test]
fn a_bind_that_fails_is_decided_again() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("a", 1, json!({}));
    let actions = world.round();
    let [Action::Bind(binds)] = &actions[..] else { panic!("{actions:?}") };
    // While the answer is awaited nothing is decided about it.
    assert_eq!(world.says(), [""; 0]);
    let failed = Outcome::BindFailed(binds[0].pod.clone(), "no".to_owned());
    world.pending.push(Change::Outcome(failed));
    assert_eq!(world.act(), ["a -> n0"]);
}

#[test]
fn a_pod_that_somebody_else_bound_meanwhile_is_where_it_is() {
    let mut world = World::new();
    world.node("n0", 1);
    world.node("n1", 1);
    world.pod("a", 1, json!({}));
    assert_eq!(world.says(), ["a -> n0"]);
    world.edit("a", |pod| pod["spec"]["nodeName"] = json!("n1"));
    world.pod("b", 1, json!({}));
    assert_eq!(world.act(), ["b -> n0"]);
}

#[test]
fn another_pod_of_the_same_name_is_another_pod() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("a", 1, json!({}));
    assert_eq!(world.act(), ["a -> n0"]);
    world.delete(Kind::Pod, "open", "a");
    // The watch never shows that it was gone in between.
    world.pending.clear();
    world.pod("a", 1, json!({}));
    assert_eq!(world.act(), ["a -> n0"]);
}

#[test]
fn what_does_not_fit_its_node_counts_without_its_devices() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("a", 1, json!({"spec": {"nodeName": "n0"}}));
    world.pod("b", 1, json!({"spec": {"nodeName": "n0"}}));
    world.sync();
    let filler = json!({"spec": {"containers": [
        {"name": "main", "resources": {"requests": {"cpu": "7"}}}
    ]}});
    world.pod("c", 0, filler);
    assert_eq!(world.says(), ["c pending: capacity"], "both take a CPU");
    world.delete(Kind::Pod, "open", "b");
    assert_eq!(world.says(), ["c -> n0"]);
}

#[test]
fn a_malformed_pod_is_told_and_stands_in_nobodys_way() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod("a", 0, json!({"metadata": {"annotations": {"berth.dev/gpu-fraction": "x"}}}));
    world.pod("b", 1, json!({}));
    let actions = world.round();
    let said: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Pending { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), 1, "{actions:?}");
    assert!(said[0].contains("Pod open/a: metadata.annotations[berth.dev/gpu-fraction]"), "{said:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Bind(_))));
}

#[test]
fn a_project_whose_department_is_missing_holds_its_pods() {
    let mut world = World::new();
    world.node("n0", 1);
    world.set(Kind::Project, "", "p", json!({"spec": {"department": "d", "pools": []}}));
    world.pod("p/a", 1, json!({}));
    assert_eq!(world.says(), ["a pending: project p is not in force"]);
    world.project("p", 1);
    assert_eq!(world.act(), ["a -> n0"]);
}

#[test]
fn s22_s23_reclaim_evicts_and_the_room_goes_to_whom_it_was_taken_for() {
    let mut world = taking_back();
    world.delete(Kind::Pod, "p", "low");
    // Its controller makes another one at once, which must not get in.
    world.pod("p/low-2", 1, owned("Job", "low"));
    let said = world.act();
    assert!(said.contains(&"high -> n0".to_owned()), "{said:?}");
}

#[test]
fn s33_a_restart_in_the_middle_of_taking_back_loses_nothing() {
    let mut world = taking_back();
    world.restart();
    world.pod("q/other", 1, json!({}));
    world.delete(Kind::Pod, "p", "low");
    let said = world.act();
    assert!(said.contains(&"high -> n0".to_owned()), "{said:?}");
}

/// `p/a` is to be moved to n1 once `p/g-1` has left it; both are moved for `p/big`.
fn moving() -> World {
    let mut world = World::new();
    world.project("p", 8);
    [("n0", 2), ("n1", 1), ("n2", 2)].into_iter().for_each(|(node, gpus)| world.node(node, gpus));
    let runs = |on: &str, goes_to: &str, of: serde_json::Value| {
        let mut pod = json!({
            "spec": {"nodeName": on, "nodeSelector": {"kubernetes.io/hostname": goes_to}},
            "status": {"phase": "Running"},
        });
        pod["metadata"] = of["metadata"].clone();
        pod
    };
    world.pod("p/g-0", 1, runs("n0", "n2", gang("g", 2)));
    world.pod("p/g-1", 1, runs("n1", "n2", gang("g", 2)));
    world.pod("p/a", 1, runs("n0", "n1", json!({"metadata": {}})));
    world.sync();
    world.pod("p/big", 2, json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "n0"}}}));
    let rooms = ["reserve big on n0", "reserve g-0 on n2", "reserve g-1 on n2", "reserve a on n1"];
    let said = world.act();
    assert_eq!(said, [&["evict g-0", "evict g-1"], &rooms[..], &["big pending: waiting"]].concat());
    world
}

#[test]
fn s26_s33_who_was_to_be_moved_before_a_restart_still_is() {
    let mut world = moving();
    world.restart();
    assert_eq!(world.act(), ["big pending: waiting"]);
    assert_eq!(world.mirror.told("p", "a"), "on n0");
    world.delete(Kind::Pod, "p", "g-1");
    world.delete(Kind::Pod, "p", "g-0");
    // For whom it is stopped is written down with the room that was decided before (S25).
    assert_eq!(world.act(), ["evict a", "reserve big on n0"]);
    world.delete(Kind::Pod, "p", "a");
    assert_eq!(world.act(), ["big -> n0"]);
}

#[test]
fn s26_who_need_not_go_any_more_is_not_to_be_moved_after_a_restart() {
    let mut world = moving();
    world.delete(Kind::Pod, "p", "big");
    assert_eq!(world.act(), ["release a"]);
    world.restart();
    world.delete(Kind::Pod, "p", "g-1");
    world.delete(Kind::Pod, "p", "g-0");
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.mirror.told("p", "a"), "on n0");
}

#[test]
fn s33_room_on_a_node_that_is_gone_is_taken_back_at_the_start() {
    let mut world = taking_back();
    world.delete(Kind::Node, "", "n0");
    world.restart();
    assert_eq!(world.says(), ["release high", "high pending: pool"]);
}

#[test]
fn s25_s33_for_whom_a_workload_was_stopped_is_remembered_over_a_restart() {
    let mut world = taking_back();
    world.events.clear();
    world.restart();
    let remembered = world.events.iter().filter_map(|event| match event {
        berth_model::Event::WorkloadSet(spec) if spec.name == "low" => Some(spec.evictions.len()),
        _ => None,
    });
    assert_eq!(remembered.collect::<Vec<_>>(), [1]);
}

#[test]
fn s23_who_moves_to_another_project_while_leaving_still_has_its_devices() {
    let mut world = World::new();
    world.node("n2", 3);
    world.pod("open/a", 1, json!({}));
    world.project("p0", 0);
    world.pod("p1/big", 2, json!({}));
    world.pod("p0/mover", 1, json!({}));
    world.act();
    world.node("n0", 1);
    let said = world.act();
    assert!(said.contains(&"evict mover".to_owned()), "{said:?}");
    world.delete(Kind::Project, "", "p0");
    assert_eq!(world.act(), [""; 0], "it is still there: nobody gets its device");
    world.delete(Kind::Pod, "p0", "mover");
    assert!(world.act().contains(&"big -> n2".to_owned()));
}

#[test]
fn s11_a_claim_that_does_not_exist_holds_its_pod_until_it_does() {
    let mut world = World::new();
    world.node("n0", 1);
    world.pod(
        "a",
        1,
        json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}),
    );
    let said = world.says();
    assert!(said.len() == 1 && said[0].starts_with("a pending"), "{said:?}");
    world.set(
        Kind::Claim,
        "open",
        "data",
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOnce"]},
            "status": {"phase": "Bound"},
        }),
    );
    world.set(Kind::Volume, "", "pv", json!({"spec": {}, "status": {"phase": "Bound"}}));
    assert_eq!(world.act(), ["a -> n0"]);
}

#[test]
fn s11_a_pod_that_is_being_bound_stays_what_was_decided_whatever_becomes_of_its_claim() {
    let mut world = World::new();
    world.node("n0", 1);
    world.set(
        Kind::StorageClass,
        "",
        "late",
        json!({"provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    let claim = |volume: serde_json::Value| {
        json!({
            "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "volumeName": volume},
            "status": {"phase": "Pending"},
        })
    };
    world.set(Kind::Claim, "open", "data", claim(json!(null)));
    let pod =
        json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    world.pod("a", 1, pod);
    let actions = world.round();
    let [Action::Bind(binds)] = &actions[..] else { panic!("{actions:?}") };
    // A volume is being made for it, and is not seen yet; and another pod comes.
    world.set(Kind::Claim, "open", "data", claim(json!("pv")));
    world.pod("b", 1, json!({}));
    assert_eq!(world.says(), ["b pending: capacity"], "its place is kept, and it is not decided again");
    // That failed: now what its claim says counts.
    world.pending.push(Change::Outcome(Outcome::BindFailed(binds[0].pod.clone(), "no".to_owned())));
    let said = world.says();
    assert!(said.contains(&"b -> n0".to_owned()), "{said:?}");
}

/// A class whose volumes are there already, a volume of it, and an open claim.
fn local_volumes(world: &mut World, volumes: &[&str], claims: &[&str]) {
    let class =
        json!({"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    world.set(Kind::StorageClass, "", "local", class);
    for volume in volumes {
        let spec = json!({"storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        world.set(Kind::Volume, "", volume, json!({"spec": spec, "status": {"phase": "Available"}}));
    }
    for claim in claims {
        let spec = json!({"storageClassName": "local", "accessModes": ["ReadWriteOnce"]});
        world.set(Kind::Claim, "open", claim, json!({"spec": spec, "status": {"phase": "Pending"}}));
    }
}

fn with_claims(claims: &[&str]) -> serde_json::Value {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    json!({"spec": {"volumes": claims.iter().map(volume).collect::<Vec<_>>()}})
}

#[test]
fn s11_two_pods_of_one_round_do_not_get_the_same_volume() {
    let mut world = World::new();
    world.node("n0", 2);
    local_volumes(&mut world, &["v0"], &["c0", "c1"]);
    world.pod("a", 1, with_claims(&["c0"]));
    world.pod("b", 1, with_claims(&["c1"]));
    let actions = world.round();
    let [Action::Bind(binds)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(binds.len(), 1);
    assert_eq!((&*binds[0].pod.name, binds[0].open[0].volume.as_deref()), ("a", Some("v0")));
    assert_eq!(
        world.says(),
        ["b pending: feasibility"],
        "its volume is another's, though no watch has shown it"
    );
    // The bind has failed: the volume is free again, for either of them.
    world.pending.push(Change::Outcome(Outcome::BindFailed(binds[0].pod.clone(), "no".to_owned())));
    assert!(world.says().iter().any(|said| said.ends_with("-> n0")));
}

#[test]
fn s11_claims_of_one_pod_need_a_volume_each() {
    let mut world = World::new();
    world.node("n0", 2);
    local_volumes(&mut world, &["v0"], &["c0", "c1"]);
    world.pod("a", 1, with_claims(&["c0", "c1"]));
    assert_eq!(world.says(), ["a pending: feasibility"]);
    local_volumes(&mut world, &["v1"], &[]);
    assert_eq!(world.says(), ["a -> n0"]);
}

#[test]
fn a_running_pod_that_cannot_be_read_any_more_stays_in_its_workload() {
    let mut world = World::new();
    world.node("n0", 2);
    world.pod("a", 1, gang("train", 1));
    assert_eq!(world.act(), ["a -> n0"]);
    let before = world.mirror.workload_of("open", "a");
    world.edit("a", |pod| pod["metadata"]["annotations"]["berth.dev/gpu-fraction"] = json!("x"));
    assert_eq!(world.act(), [""; 0]);
    assert_eq!(world.mirror.workload_of("open", "a"), before);
    assert_eq!(world.engine_usage().2, 1_000_000);
}
