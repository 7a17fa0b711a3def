//! What users write on pods: never a panic; what is refused is refused in words; and a pod that gets a claim of the webhook is
//! admitted as it is the next time, and is read by the scheduler as asking, by its claim, for what its annotations say.

use arbitrary::{Result, Unstructured};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_api::asked::asked;
use berth_api::convert::{Surroundings, claimed, template, template_name};
use berth_api::names::{kai, owner, pod, runai};
use berth_api::slim;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KEYS: [&str; 26] = [
    pod::GPU_FRACTION,
    pod::GPU_MEMORY,
    pod::GPU_MEMORY_LIMIT,
    pod::GPU_FRACTION_LIMIT,
    pod::GPU_DEVICES,
    pod::GPU_CONTAINER,
    kai::GPU_FRACTION,
    kai::GPU_MEMORY,
    kai::GPU_DEVICES,
    kai::GPU_CONTAINER,
    pod::WORKLOAD,
    pod::ROLE,
    pod::MIN_MEMBERS,
    pod::EXPECTED_RUNTIME,
    pod::GRACE,
    pod::STALE_GRACE,
    pod::START_TIMEOUT,
    pod::PREEMPTIBLE,
    pod::PRIORITY,
    pod::POOLS,
    kai::QUEUE,
    kai::PRIORITY,
    kai::PREEMPTIBILITY,
    runai::QUEUE,
    owner::LWS_SIZE,
    owner::LWS_GROUP_INDEX,
];
const VALUES: [&str; 26] = [
    "0",
    "1",
    "2",
    "9",
    "0.5",
    "0.25",
    ".",
    "-",
    "e",
    "E3",
    "Gi",
    "Mi",
    "m",
    "k",
    "10Gi",
    "65536",
    "main",
    "side",
    "true",
    "s",
    "h",
    "30s",
    "high",
    ",",
    " ",
    "99999999999999999999",
];

/// A cluster with the one claim that was made for the pod.
struct One(slim::ResourceClaim, slim::DeviceClass);

impl Surroundings for One {
    fn claim(&self, _: &str, _: &str) -> Option<&slim::PersistentVolumeClaim> {
        None
    }
    fn volume(&self, _: &str) -> Option<&slim::PersistentVolume> {
        None
    }
    fn class(&self, _: &str) -> Option<&slim::StorageClass> {
        None
    }
    fn volumes_of(&self, _: &str) -> Vec<&slim::PersistentVolume> {
        Vec::new()
    }
    fn device_claim(&self, _: &str, _: &str) -> Option<&slim::ResourceClaim> {
        Some(&self.0)
    }
    fn device_class(&self, _: &str) -> Option<&slim::DeviceClass> {
        Some(&self.1)
    }
    fn namespaces(&self) -> Vec<&slim::Namespace> {
        Vec::new()
    }
}

pub(crate) fn run(from: &mut Unstructured<'_>) -> Result<()> {
    let object = object(from)?;
    let Some(patched) = admit(&object) else { return Ok(()) };
    if patched != object {
        assert_eq!(admit(&patched).as_ref(), Some(&patched), "admitted otherwise the second time");
        as_claimed(&patched);
    }
    Ok(())
}

fn object(from: &mut Unstructured<'_>) -> Result<Value> {
    let mut pod = json!({
        "metadata": { "namespace": "team-a", "name": "p", "uid": "u", "annotations": {}, "labels": {} },
        "spec": { "schedulerName": "berth", "containers": [{ "name": "side" }, { "name": "main" }] },
    });
    for _ in 0..from.int_in_range(0..=5)? {
        let place = *from.choose(&["annotations", "annotations", "annotations", "labels"])?;
        let key =
            if from.ratio(9, 10)? { (*from.choose(&KEYS)?).to_owned() } else { super::text(from, &KEYS)? };
        pod["metadata"][place][key] = json!(super::text(from, &VALUES)?);
    }
    match from.int_in_range(0..=7)? {
        0 => {
            pod["spec"]["containers"][1]["resources"] =
                json!({ "limits": { "nvidia.com/gpu": super::text(from, &VALUES)? } })
        }
        1 => pod["spec"]["containers"][0]["resources"] = json!({ "claims": [{ "name": "x" }] }),
        2 => pod["spec"]["initContainers"] = json!([{ "name": super::text(from, &VALUES)? }]),
        3 => {
            let template = super::text(from, &["berth-gpu-1x", "250000ppm", "10240mi", "-to-", "1"])?;
            pod["spec"]["resourceClaims"] =
                json!([{ "name": "berth-gpu", "resourceClaimTemplateName": template }]);
        }
        _ => {}
    }
    Ok(pod)
}

/// The pod as it is admitted; none if it is refused.
fn admit(object: &Value) -> Option<Value> {
    let asked = json!({ "request": { "uid": "r", "object": object } }).to_string();
    let answer = berth_admission::review(asked.as_bytes(), &BTreeSet::from(["berth".to_owned()]));
    let response = answer.expect("an answer")["response"].take();
    assert_eq!(response["uid"], "r");
    if response["allowed"] != json!(true) {
        let message = response["status"]["message"].as_str().expect("words");
        assert!(message.contains("allowed"), "{message}");
        return None;
    }
    let mut patched = object.clone();
    let Some(patch) = response["patch"].as_str() else { return Some(patched) };
    let changes: Vec<Value> =
        serde_json::from_slice(&STANDARD.decode(patch).expect("base64")).expect("a patch");
    for change in &changes {
        assert_eq!(change["op"], "add");
        add(&mut patched, change["path"].as_str().expect("a path"), change["value"].clone());
    }
    Some(patched)
}

/// A change of a JSON patch, to a place that is there.
fn add(object: &mut Value, path: &str, value: Value) {
    let (parent, last) = path.rsplit_once('/').expect("a path");
    match object.pointer_mut(parent).unwrap_or_else(|| panic!("{path} is nowhere")) {
        Value::Object(fields) => _ = fields.insert(last.to_owned(), value),
        Value::Array(items) if last == "-" => items.push(value),
        other => panic!("{path} is in {other}"),
    }
}

/// The claim that Kubernetes' controller makes of the scheduler's template says what the annotations say.
fn as_claimed(object: &Value) {
    let mut pod: slim::Pod = serde_json::from_value(object.clone()).expect("a pod");
    let gpu = asked(&pod).expect("it was admitted").gpu.expect("it got a claim");
    let made = template("team-a", gpu).expect("a template");
    let name = template_name(gpu).expect("a name");
    assert!(name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
    assert_eq!(pod.spec.resource_claims[0].resource_claim_template_name.as_ref(), Some(&name));
    let claim = json!({
        "metadata": {
            "namespace": "team-a", "name": "p-gpu", "uid": "c",
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u" }],
        },
        "spec": made["spec"]["spec"],
    });
    let class = json!({
        "metadata": { "name": "gpu.berth.dev" },
        "spec": { "selectors": [{ "cel": { "expression": "device.driver == \"gpu.berth.dev\"" } }] },
    });
    let around =
        One(serde_json::from_value(claim).expect("a claim"), serde_json::from_value(class).expect("a class"));
    let status = json!({ "resourceClaimStatuses": [{ "name": "berth-gpu", "resourceClaimName": "p-gpu" }] });
    pod.status = serde_json::from_value(status).expect("a status");
    let found = claimed(&pod, &around).expect("it is understood").expect("there is one");
    assert_eq!(found.gpu, gpu);
    let uses = |list: &Value| list.as_array().is_some_and(|all| all.iter().any(uses_it));
    assert!(uses(&object["spec"]["containers"]) || uses(&object["spec"]["initContainers"]), "nobody uses it");
}

fn uses_it(container: &Value) -> bool {
    let claims = container["resources"]["claims"].as_array();
    claims.is_some_and(|claims| claims.iter().any(|claim| claim["name"] == "berth-gpu"))
}
