//! What a workload asks for as a whole: S3, S4, S23.

use super::{object, pod};
use berth_api::asked::asked;
use berth_api::group::{Context, Identity, Kind, RolePods, minimums, workload};
use berth_api::objects::Project;
use berth_model::{PodSpec, PoolId, ProjectId, WorkloadId, WorkloadSpec};
use std::sync::Arc;

fn read(marks: &str, spec: &str, project: Option<&Project>) -> Result<WorkloadSpec, String> {
    let pod = pod(marks, spec);
    let asked = asked(&pod).map_err(|error| error.to_string())?;
    let roles: Vec<_> = [("worker", 4), ("worker", 1), ("ps", 1)]
        .map(|(role, pods)| RolePods { role: role.into(), pods, min_members: asked.min_members })
        .to_vec();
    let minimums = minimums(Kind::Job, None, &roles);
    let roles = roles.into_iter().map(|role| (role, Arc::default(), Arc::new(PodSpec::default()))).collect();
    let context = Context {
        project: project.map(|project| (ProjectId(3), project)),
        class: &|name| (name == "train").then_some(50),
        pool: &|name| (name == "a100").then_some(PoolId(2)),
    };
    let identity = Identity { id: WorkloadId(9), name: "w".into() };
    workload(identity, (&pod, &asked), roles, &minimums, context).map_err(|error| error.to_string())
}

fn project(rest: &str) -> Project {
    object(&format!(
        "{{apiVersion: berth.dev/v1alpha1, kind: Project, metadata: {{name: vision}}, spec: {{department: d{rest}}}}}"
    ))
}

#[test]
fn s4_priority_and_preemptibility_have_defaults() {
    let check = |marks: &str, spec: &str, managed: bool, expected: (i32, bool)| {
        let project = project("");
        let found = read(marks, spec, managed.then_some(&project)).unwrap();
        assert_eq!((found.priority.0, found.preemptible), expected, "{marks} {spec} {managed}");
    };
    check("", "{priority: 0}", true, (40, true));
    check("", "{priority: 75}", true, (75, true));
    check("", "{priority: 200, priorityClassName: x}", true, (200, false));
    check("", "{priority: 0, priorityClassName: x}", true, (0, true));
    check("label priorityClassName=train", "{priority: 0}", true, (50, true));
    check("label berth.dev/priority=high", "{}", true, (125, false));
    check("label berth.dev/priority=high | label berth.dev/preemptible=true", "{}", true, (125, true));
    check("", "{priority: 0}", false, (0, true));
    check("", "{priority: 1000}", false, (1000, true));
    check("", "{priority: 2000001000}", false, (2_000_001_000, false));
}

#[test]
fn s23_grace_and_s27_stale_grace_default_to_the_projects() {
    let own = project(", workloadDefaults: {grace: 2m, staleGrace: -1s}");
    let found = read("", "{}", Some(&own)).unwrap();
    assert_eq!((found.grace.0, found.stale_grace.unwrap().0), (120_000, -1000));
    let found = read("note berth.dev/grace=0s", "{}", Some(&own)).unwrap();
    assert_eq!(found.grace.0, 0);
    let found = read("", "{}", None).unwrap();
    assert_eq!((found.grace.0, found.stale_grace), (30_000, None));
    assert_eq!((found.namespace.as_str(), found.submitted.0), ("team-a", 1_795_168_800_000));
}

#[test]
fn s5_roles_whose_pods_differ_are_told_apart() {
    let roles = |marks: &str| {
        let found = read(marks, "{}", None).unwrap();
        found.roles.iter().map(|r| format!("{} {}/{}", r.name, r.min, r.count)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(roles(""), "worker 1/4, worker.2 0/1, ps 0/1");
    assert_eq!(roles("note berth.dev/min-members=5"), "worker 4/4, worker.2 1/1, ps 1/1");
}

#[test]
fn what_is_named_must_be_there() {
    let vision = project("");
    let check = |marks: &str, project: Option<&Project>, expected: &str| {
        assert_eq!(read(marks, "{}", project).unwrap_err(), format!("Pod team-a/p: {expected}"));
    };
    assert!(read("label kai.scheduler/queue=vision", "{}", Some(&vision)).is_ok());
    check(
        "label kai.scheduler/queue=audio",
        Some(&vision),
        "metadata.labels[kai.scheduler/queue]: \"audio\"; allowed: vision, the project that owns namespace team-a",
    );
    check(
        "label runai/queue=audio",
        None,
        "metadata.labels[runai/queue]: \"audio\"; allowed: none: namespace team-a belongs to no project",
    );
    check(
        "label priorityClassName=none",
        None,
        "metadata.labels[priorityClassName]: \"none\"; allowed: a PriorityClass that exists",
    );
    assert_eq!(read("note berth.dev/pools=a100", "{}", None).unwrap().pools, [PoolId(2)]);
    check(
        "note berth.dev/pools=a100,b200",
        None,
        "metadata.annotations[berth.dev/pools]: \"b200\"; allowed: a NodePool that exists",
    );
}
