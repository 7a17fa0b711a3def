//! Pods that ask for a part of a device by a claim: what is there beforehand, and the same writes as a scheduler makes, bare.

use crate::cluster::text;
use berth_testbed::fake::{AT_ONCE, PodTemplate, create_all};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Devices of a node, and what each has.
const DEVICES: usize = 8;
const DEVICE_GIB: usize = 80;
/// What a claim asks for: a quarter of a device.
const PART_GIB: usize = 20;
const DRIVER: &str = "gpu.berth.dev";
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

fn object<K: DeserializeOwned>(value: Value) -> Result<K, String> {
    serde_json::from_value(value).map_err(text)
}

/// The class, and a slice per node, as Berth's agents publish them.
pub(crate) async fn publish(client: &Client, nodes: usize) -> Result<(), String> {
    let class = object(json!({
        "metadata": { "name": DRIVER },
        "spec": { "selectors": [{ "cel": { "expression": format!("device.driver == \"{DRIVER}\"") } }] },
    }))?;
    Api::<DeviceClass>::all(client.clone()).create(&PostParams::default(), &class).await.map_err(text)?;
    let all = format!("{DEVICE_GIB}Gi");
    let devices: Vec<Value> = (0..DEVICES)
        .map(|at| {
            let policy = json!({ "default": all, "validRange": { "min": "1Mi", "max": all, "step": "1Mi" } });
            json!({
                "name": format!("gpu-{at}"),
                "allowMultipleAllocations": true,
                "attributes": { "productName": { "string": "NVIDIA H100" } },
                "capacity": { "memory": { "value": all, "requestPolicy": policy } },
            })
        })
        .collect();
    let slice = |at: usize| {
        let node = format!("node-{at}");
        object::<ResourceSlice>(json!({
            "metadata": { "name": format!("{node}-{DRIVER}") },
            "spec": {
                "driver": DRIVER, "nodeName": node, "devices": devices,
                "pool": { "name": node, "generation": 1, "resourceSliceCount": 1 },
            },
        }))
    };
    let slices = (0..nodes).map(slice).collect::<Result<Vec<_>, _>>()?;
    create_all(&Api::all(client.clone()), slices, AT_ONCE).await.map_err(text).map(drop)
}

fn claims(client: &Client) -> Api<ResourceClaim> {
    Api::namespaced(client.clone(), "default")
}

/// Pods of a template, each with a claim of its own under its name; the claims are made first.
pub(crate) async fn create(client: &Client, template: &PodTemplate, pods: usize) -> Result<(), String> {
    let mut made: Vec<Pod> = template.pods(0..pods).collect();
    let mut asked = Vec::new();
    for pod in &mut made {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let exactly = json!({
            "deviceClassName": DRIVER, "capacity": { "requests": { "memory": format!("{PART_GIB}Gi") } },
        });
        asked.push(object::<ResourceClaim>(json!({
            "metadata": { "name": name },
            "spec": { "devices": { "requests": [{ "name": "gpu", "exactly": exactly }] } },
        }))?);
        let spec = pod.spec.as_mut().ok_or("a template without a spec")?;
        spec.resource_claims = Some(object(json!([{ "name": "gpu", "resourceClaimName": name }]))?);
    }
    create_all(&claims(client), asked, AT_ONCE).await.map_err(text)?;
    create_all(&Api::<Pod>::namespaced(client.clone(), "default"), made, AT_ONCE)
        .await
        .map_err(text)
        .map(drop)
}

/// Deletes all claims, whose devices nobody uses any more.
pub(crate) async fn clear(client: &Client) -> Result<(), String> {
    let api = claims(client);
    let all = api.list_metadata(&Default::default()).await.map_err(text)?;
    let each = all.items.into_iter().filter_map(|it| it.metadata.name).map(|name| {
        let api = &api;
        async move {
            let patch = json!({ "metadata": { "finalizers": null } });
            let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
            api.patch_metadata(&name, &options, &patch).await.map_err(text)?;
            api.delete(&name, &DeleteParams::default()).await.map_err(text).map(drop)
        }
    });
    stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await
}

/// The two writes before a bind: the finalizer, and the allocation with its user. `index` is the pod's: parts of one
/// device come one after the other, so that all fit.
pub(crate) async fn allocate(client: &Client, index: usize, nodes: usize) -> Result<(), String> {
    let (api, name) = (claims(client), &format!("bare-{index}"));
    let (node, part) = (index % nodes, index / nodes);
    let options = PatchParams::default();
    let mark = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let marked: ResourceClaim = api.patch(name, &options, &Patch::Strategic(&mark)).await.map_err(text)?;
    let node = format!("node-{node}");
    let status = json!({
        "metadata": { "resourceVersion": marked.metadata.resource_version },
        "status": {
            "allocation": {
                "devices": { "results": [{
                    "request": "gpu", "driver": DRIVER, "pool": node,
                    "device": format!("gpu-{}", part / (DEVICE_GIB / PART_GIB)),
                    "shareID": format!("00000000-0000-4000-8000-{index:012x}"),
                    "consumedCapacity": { "memory": format!("{PART_GIB}Gi") },
                }] },
                "nodeSelector": { "nodeSelectorTerms": [{
                    "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }],
                }] },
            },
            "reservedFor": [{ "resource": "pods", "name": name, "uid": marked.metadata.uid }],
        },
    });
    api.patch_status(name, &options, &Patch::Merge(&status)).await.map_err(text).map(drop)
}
