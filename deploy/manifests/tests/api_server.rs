//! The written CRDs on a real API server: it takes them, takes what is right, and refuses what is wrong in our words.

use berth_testbed::{Options, Testbed};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// An object, perhaps what it is changed to afterwards, and a part of what is said if it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    object: Value,
    then: Option<Value>,
    refused: Option<String>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Our API of a kind.
fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("berth.dev", "v1alpha1", kind));
    Api::all_with(client.clone(), &resource)
}

async fn install(client: &Client) {
    let crds: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        )),
    );
    for file in std::fs::read_dir(root().join("deploy/crds")).expect("deploy/crds") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a CRD");
        let crd: DynamicObject = serde_saphyr::from_str(&text).expect("YAML");
        let name = crds.create(&PostParams::default(), &crd).await.expect("it takes our CRDs").name_any();
        let established = |crd: &DynamicObject| {
            let conditions = crd.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        };
        while !established(&crds.get(&name).await.expect("a CRD")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What the API server says to an object: nothing if it takes it.
async fn said(client: &Client, mut value: Value, version: Option<String>) -> Result<DynamicObject, String> {
    value["apiVersion"] = "berth.dev/v1alpha1".into();
    let object: DynamicObject = serde_json::from_value(value.clone()).expect("an object");
    let api = api(client, value["kind"].as_str().expect("a kind"));
    let name = object.name_any();
    let mut last = String::new();
    // An API that has just been established may not be served for a moment yet.
    for _ in 0..100 {
        let answer = match &version {
            None => api.create(&PostParams::default(), &object).await,
            Some(version) => {
                let mut changed = object.clone();
                changed.metadata.resource_version = Some(version.clone());
                api.replace(&name, &PostParams::default(), &changed).await
            }
        };
        match answer {
            Ok(object) => return Ok(object),
            Err(kube::Error::Api(status)) if status.code == 404 => last = status.message.clone(),
            Err(kube::Error::Api(status)) => return Err(status.message.clone()),
            Err(other) => panic!("{name}: {other}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name}: {last}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_what_is_right_and_refuses_what_is_wrong_in_our_words() {
    let testbed = Testbed::start(Options::new()).await.expect("an API server");
    let client = testbed.client().await.expect("a client");
    install(&client).await;
    let file = root().join("scheduler/api/tests/data/objects.yaml");
    let cases: Vec<Case> =
        serde_saphyr::from_str(&std::fs::read_to_string(file).expect("the cases")).expect("YAML");
    let mut failed = Vec::new();
    let count = cases.len();
    for case in cases {
        let what = format!("{} {}", case.object["kind"], case.object["metadata"]["name"]);
        let mut answer = said(&client, case.object, None).await;
        if let Some(then) = case.then {
            let version = answer.expect("the first of two").metadata.resource_version;
            answer = said(&client, then, version).await;
        }
        match (answer, case.refused) {
            (Ok(_), None) => {}
            (Err(said), Some(expected)) if said.contains(&expected) => {}
            (Ok(_), Some(expected)) => failed.push(format!("{what}: taken, expected: {expected}")),
            (Err(said), expected) => {
                failed.push(format!("{what}: refused: {said}\n  expected: {expected:?}"))
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} cases:\n{}", failed.len(), failed.join("\n"));
}
