//! Which pods are one workload: S5.

use super::{object, pod};
use berth_api::asked::asked;
use berth_api::group::{Shape, member};
use berth_api::slim::owners;
use berth_api::slim::{self, named};

/// Kind, name and role of a pod with these marks and this owner.
fn check(marks: &str, owner: &str, expected: &str) {
    let mut pod = pod(marks, "{containers: [{name: a}]}");
    if !owner.is_empty() {
        pod.metadata.owner_references = object(&format!(
            "[{{uid: u, controller: false, apiVersion: v1, kind: Node, name: no}}, {{uid: u, controller: true, {owner}}}]"
        ));
    }
    let found = member(&pod, &asked(&pod).unwrap());
    assert_eq!(format!("{:?} {} {}", found.key.kind, found.key.name, found.role), expected);
    assert_eq!(found.key.namespace, "team-a");
}

#[test]
fn s5_a_workload_is_its_label_or_its_controller() {
    let job = "apiVersion: batch/v1, kind: Job, name: train";
    check("", "", "Pod p main");
    check("", job, "Job train main");
    check("label berth.dev/role=chief", job, "Job train chief");
    check("label berth.dev/workload=w", job, "Label w main");
    check("note pod-group-name=pg", job, "PodGroup pg main");
    check("note pod-group-name=pg | label berth.dev/workload=w", job, "Label w main");
    check("", "apiVersion: apps/v1, kind: ReplicaSet, name: web-1", "ReplicaSet web-1 main");
    check("", "apiVersion: apps/v1, kind: StatefulSet, name: db", "Pod p main");
    check("", "apiVersion: apps/v1, kind: DaemonSet, name: agent", "Pod p main");
    check("", "apiVersion: example.com/v1, kind: Job, name: x", "Pod p main");
}

#[test]
fn s5_gangs_of_others_are_known_by_their_labels() {
    let job = "apiVersion: batch/v1, kind: Job, name: set-workers-0";
    check(
        "label jobset.sigs.k8s.io/jobset-name=set | label jobset.sigs.k8s.io/replicatedjob-name=workers",
        job,
        "JobSet set workers",
    );
    check(
        "label training.kubeflow.org/job-name=bert | label training.kubeflow.org/replica-type=Worker",
        "apiVersion: kubeflow.org/v1, kind: PyTorchJob, name: bert",
        "TrainingJob bert worker",
    );
    check(
        "label training.kubeflow.org/job-name=mpi | label training.kubeflow.org/job-role=launcher",
        job,
        "TrainingJob mpi launcher",
    );
    check(
        "label ray.io/cluster=ray | label ray.io/group=gpu",
        "apiVersion: ray.io/v1, kind: RayCluster, name: ray",
        "RayCluster ray gpu",
    );
    check(
        "label leaderworkerset.sigs.k8s.io/name=lws | label leaderworkerset.sigs.k8s.io/group-index=3 | label leaderworkerset.sigs.k8s.io/worker-index=0",
        "apiVersion: apps/v1, kind: StatefulSet, name: lws",
        "LeaderWorkerSet lws-3 leader",
    );
    check(
        "label leaderworkerset.sigs.k8s.io/name=lws | label leaderworkerset.sigs.k8s.io/group-index=3 | label leaderworkerset.sigs.k8s.io/worker-index=2",
        "apiVersion: apps/v1, kind: StatefulSet, name: lws-3",
        "LeaderWorkerSet lws-3 worker",
    );
}

fn show(shape: Result<Shape, berth_api::Malformed>) -> String {
    match shape {
        Ok(shape) => {
            let roles = shape.roles.iter().map(|role| format!("{} {}/{}", role.name, role.min, role.count));
            let all = shape.min.map(|min| format!("{min} in all"));
            roles.chain(all).collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    }
}

fn training<K: kube::Resource<DynamicType = ()>>(job: &K, spec: &owners::TrainingSpec) -> String {
    show(Shape::training_job(&named(job), spec))
}

#[test]
fn s5_controllers_say_how_many_pods_a_gang_needs() {
    let set = "{metadata: {name: s, namespace: t}, spec: {replicatedJobs: [{name: leader, template: {spec: {}}}, \
        {name: worker, replicas: 2, template: {spec: {parallelism: 4, completions: 3}}}]}}";
    assert_eq!(show(Shape::job_set(&object(set))), "leader 1/1, worker 6/6");
    let in_order =
        set.replace("replicatedJobs", "startupPolicy: {startupPolicyOrder: InOrder}, replicatedJobs");
    assert_eq!(show(Shape::job_set(&object(&in_order))), "leader 1/1, worker 0/6");
    assert_eq!(
        show(Shape::job_set(&object(&set.replace("replicas: 2", "replicas: -2")))),
        "JobSet t/s: spec.replicatedJobs[worker].replicas: \"-2\"; allowed: 0 to 1000000"
    );
    let ray = "{metadata: {name: r, namespace: t}, spec: {workerGroupSpecs: [{groupName: a, replicas: 4, minReplicas: 2, numOfHosts: 2}, \
        {groupName: b, replicas: 3, minReplicas: 0}, {groupName: c, replicas: 3, suspend: true}]}}";
    assert_eq!(show(Shape::ray_cluster(&object(ray))), "headgroup 1/1, a 4/8, b 3/3, c 0/0");
    assert_eq!(show(Shape::pod_group(&object("{metadata: {name: g}, spec: {minMember: 4}}"))), "4 in all");
    assert_eq!(
        show(Shape::pod_group(&object(
            "{metadata: {name: g}, spec: {minMember: 4, subGroups: [{name: x, minMember: 3}]}}"
        ))),
        "x 3/3"
    );
    let torch: owners::PyTorchJob = object(
        "{metadata: {name: j, namespace: t}, spec: {pytorchReplicaSpecs: {Master: {}, Worker: {replicas: 7}}, \
        elasticPolicy: {minReplicas: 2}}}",
    );
    assert_eq!(training(&torch, &torch.spec), "master 1/1, worker 2/7");
    let mpi: owners::MPIJob = object(
        "{metadata: {name: j, namespace: t}, spec: {mpiReplicaSpecs: {Launcher: {replicas: 1}, Worker: {replicas: 4}}, \
        runPolicy: {schedulingPolicy: {minAvailable: 3}}}}",
    );
    assert_eq!(training(&mpi, &mpi.spec), "launcher 1/1, worker 4/4, 3 in all");
    assert_eq!(show(Shape::job(&object("{metadata: {name: j}, spec: {parallelism: 8}}"))), "main 1/8");
    let late = owners::TrainingSpec {
        launcher_creation_policy: Some("WaitForWorkersReady".into()),
        ..mpi.spec.clone()
    };
    assert_eq!(training(&mpi, &late), "launcher 0/1, worker 4/4, 3 in all");
    let lws = |size: &str, set: Option<&owners::LeaderWorkerSet>| {
        show(Shape::leader_worker_set(
            &pod(&format!("note leaderworkerset.sigs.k8s.io/size={size}"), "{}"),
            set,
        ))
    };
    assert_eq!(lws("4", None), "leader 1/1, worker 3/3");
    let waits = object("{metadata: {name: l}, spec: {startupPolicy: LeaderReady}}");
    assert_eq!(lws("4", Some(&waits)), "leader 1/1, worker 0/3");
    assert_eq!(
        lws("0", None),
        "Pod team-a/p: metadata.annotations[leaderworkerset.sigs.k8s.io/size]: \"0\"; allowed: the number of pods of the group, 1 or more"
    );
}

#[test]
fn cut_down_types_know_their_resource() {
    use kube::Resource;
    assert_eq!(slim::Pod::url_path(&(), Some("a")), "/api/v1/namespaces/a/pods");
    assert_eq!(slim::CsiNode::url_path(&(), None), "/apis/storage.k8s.io/v1/csinodes");
    assert_eq!(owners::MPIJob::url_path(&(), Some("a")), "/apis/kubeflow.org/v2beta1/namespaces/a/mpijobs");
    assert_eq!(owners::PodGroup::kind(&()), "PodGroup");
}
