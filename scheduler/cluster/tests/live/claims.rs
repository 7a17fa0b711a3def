//! Claims of Berth's devices are written before their pods are bound, taken back if they are not, and read back (S13, S33).

use crate::world::{SOON, World, ours};
use berth_testbed::{Options, pods};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const APIS: &str = "/apis/resource.k8s.io/v1";

/// A node with devices `a` and `b` of 40 GiB each, as an agent publishes them.
async fn published() -> World {
    published_in(Options::new()).await
}

pub(crate) async fn published_in(options: Options) -> World {
    let world = World::start(options).await;
    world.nodes(1, 0).await;
    let selector = json!({ "cel": { "expression": "device.driver == \"gpu.berth.dev\"" } });
    let class = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": { "name": "gpu.berth.dev" },
        "spec": { "selectors": [selector] },
    });
    world.object(&format!("{APIS}/deviceclasses"), class).await;
    let device = |name: &str| {
        let range = json!({ "min": "1Mi", "max": "40Gi", "step": "1Mi" });
        json!({
            "name": name, "allowMultipleAllocations": true,
            "capacity": { "memory": { "value": "40Gi", "requestPolicy": { "default": "40Gi", "validRange": range } } },
        })
    };
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": { "name": "node-0-gpu.berth.dev" },
        "spec": {
            "driver": "gpu.berth.dev", "nodeName": "node-0",
            "pool": { "name": "node-0", "generation": 1, "resourceSliceCount": 1 },
            "devices": [device("a"), device("b")],
        },
    });
    world.object(&format!("{APIS}/resourceslices"), slice).await;
    world
}

/// A claim of so much memory and the pod that has it, of one name.
async fn claiming(world: &World, name: &str, memory: &str) -> Pod {
    let exactly =
        json!({ "deviceClassName": "gpu.berth.dev", "capacity": { "requests": { "memory": memory } } });
    let claim = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "devices": { "requests": [{ "name": "gpu", "exactly": exactly }] } },
    });
    world.object(&format!("{APIS}/namespaces/default/resourceclaims"), claim).await;
    let mut pod = ours(name, 0).pod(0);
    pod.metadata.name = Some(name.to_owned());
    let spec = pod.spec.as_mut().expect("a spec");
    let used: Value = json!([{ "name": "gpu", "resourceClaimName": name }]);
    spec.resource_claims = Some(serde_json::from_value(used).expect("claims"));
    world.pods("default").create(&PostParams::default(), &pod).await.expect("a pod")
}

fn claims(world: &World) -> Api<ResourceClaim> {
    Api::default_namespaced(world.client.clone())
}

/// What a claim was given, as `device amount`, and to how many pods.
pub(crate) async fn given(world: &World, name: &str) -> (Option<String>, usize) {
    let status = claims(world).get(name).await.expect("a claim").status.unwrap_or_default();
    let ResourceClaimStatus { allocation, reserved_for, .. } = status;
    let result = allocation.and_then(|it| it.devices?.results?.into_iter().next());
    let said =
        result.map(|it| format!("{} {}", it.device, it.consumed_capacity.expect("amounts")["memory"].0));
    (said, reserved_for.unwrap_or_default().len())
}

pub(crate) async fn until_bound(world: &World, name: &str) {
    let bound = |pod: &Pod| pods::node(pod) == Some("node-0");
    pods::wait(&world.pods("default"), name, SOON, bound).await.expect("it is bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_s33_claims_are_given_what_was_decided_through_a_restart() {
    let world = published().await;
    // Somebody began to bind it and died: its claim is written, and the pod is not bound.
    let begun = claiming(&world, "begun", "30Gi").await;
    let status = json!({ "status": {
        "allocation": { "devices": { "results": [{
            "request": "gpu", "driver": "gpu.berth.dev", "pool": "node-0", "device": "b",
            "shareID": "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "consumedCapacity": { "memory": "30Gi" },
        }] } },
        "reservedFor": [{ "resource": "pods", "name": "begun", "uid": begun.metadata.uid }],
    } });
    let (options, patch) = (PatchParams::default(), Patch::Merge(&status));
    claims(&world).patch_status("begun", &options, &patch).await.expect("it is written");
    let scheduler = world.scheduler("first", json!({}));
    scheduler.ready().await;
    until_bound(&world, "begun").await;
    assert_eq!(given(&world, "begun").await, (Some("b 30Gi".to_owned()), 1), "it is as it was");

    for (name, memory, expected) in [("one", "30Gi", "a 30Gi"), ("two", "10Gi", "a 10Gi")] {
        claiming(&world, name, memory).await;
        until_bound(&world, name).await;
        assert_eq!(given(&world, name).await, (Some(expected.to_owned()), 1));
    }
    let finalizers = claims(&world).get("one").await.expect("a claim").metadata.finalizers;
    assert_eq!(finalizers.unwrap_or_default(), ["resource.kubernetes.io/delete-protection"]);

    scheduler.kill();
    let scheduler = world.scheduler("second", json!({}));
    scheduler.ready().await;
    claiming(&world, "large", "20Gi").await;
    claiming(&world, "small", "10Gi").await;
    until_bound(&world, "small").await;
    assert_eq!(given(&world, "small").await, (Some("b 10Gi".to_owned()), 1));
    assert_eq!(given(&world, "large").await, (None, 0));
    world
        .pods("default")
        .delete("one", &DeleteParams::default().grace_period(0))
        .await
        .expect("it is deleted");
    until_bound(&world, "large").await;
    assert_eq!(given(&world, "large").await, (Some("a 20Gi".to_owned()), 1));
    drop(scheduler);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_for_a_pod_that_cannot_be_bound_is_taken_back() {
    let world = published().await;
    world.refuse_binds_of("refused").await;
    let scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    claiming(&world, "refused", "30Gi").await;
    let answers = |request: &str, answer: &str| {
        let metrics = scheduler.get("/metrics").expect("an answer").1;
        let line = format!("berth_api_answers_total{{answer=\"{answer}\",request=\"{request}\"}} ");
        let found = metrics.lines().find_map(|it| it.strip_prefix(&line)?.parse::<u32>().ok());
        found.unwrap_or(0)
    };
    let begun = Instant::now();
    // Given, refused, taken back, and that again and again.
    while answers("bind", "refused") < 2 || answers("claim", "done") < 4 {
        assert!(begun.elapsed() < SOON, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let begun = Instant::now();
    while given(&world, "refused").await != (None, 0) {
        assert!(begun.elapsed() < SOON, "it is not taken back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    policies.delete("refuse-binds", &DeleteParams::default()).await.expect("it is deleted");
    until_bound(&world, "refused").await;
    assert_eq!(given(&world, "refused").await, (Some("a 30Gi".to_owned()), 1));
}
