//! Pods that ask by annotation get a claim from the webhook, a template from the scheduler, and a device (S13).

use crate::claims::{given, published_in, until_bound};
use crate::world::{World, ours};
use berth_testbed::{ControllerManager, Options};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::net::TcpListener;

/// The pod's claims, as `claim`.
async fn claim_of(world: &World, name: &str) -> String {
    let pod = world.pods("default").get(name).await.expect("a pod");
    let made = pod.status.and_then(|status| status.resource_claim_statuses).unwrap_or_default();
    made.into_iter().next().and_then(|it| it.resource_claim_name).expect("a claim was made for it")
}

async fn create(world: &World, name: &str, annotation: Option<(&str, &str)>) -> Result<Pod, String> {
    let mut pod = ours(name, 0).pod(0);
    pod.metadata.name = Some(name.to_owned());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.extend(annotation.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let created = world.pods("default").create(&PostParams::default(), &pod).await;
    created.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_pods_that_ask_by_annotation_get_a_claim_and_a_device() {
    let world = published_in(Options::new().controller_manager(ControllerManager::new())).await;
    let certificate = world.testbed.certificate("webhook", &["localhost"]).expect("a certificate");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let config = json!({ "admission": {
        "listen": format!("127.0.0.1:{port}"), "certificate": certificate.certificate, "key": certificate.key,
    } });
    let scheduler = world.scheduler("only", config);
    scheduler.ready().await;
    // As it is deployed, but for where it is.
    let text = include_str!("../../../../deploy/webhook/webhook.yaml");
    let mut webhook: Value = serde_saphyr::from_str(text).expect("YAML");
    let ca = std::fs::read(world.testbed.ca()).expect("the authority");
    let ca = k8s_openapi::ByteString(ca);
    webhook["webhooks"][0]["clientConfig"] =
        json!({ "url": format!("https://localhost:{port}/admit/pods"), "caBundle": ca });
    world.object("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", webhook).await;
    // The API server takes a moment to know of it: a malformed pod tells.
    let wrong = Some(("berth.dev/gpu-fraction", "2"));
    let said = loop {
        match create(&world, "wrong", wrong).await {
            Err(said) => break said,
            Ok(_) => {
                let options = kube::api::DeleteParams::default().grace_period(0);
                world.pods("default").delete("wrong", &options).await.expect("it is deleted");
            }
        }
    };
    assert!(said.contains("metadata.annotations[berth.dev/gpu-fraction]"), "{said}");

    create(&world, "memory", Some(("berth.dev/gpu-memory", "30Gi"))).await.expect("it is admitted");
    until_bound(&world, "memory").await;
    let claim = claim_of(&world, "memory").await;
    assert_eq!(given(&world, &claim).await, (Some("a 30Gi".to_owned()), 1));
    create(&world, "share", Some(("berth.dev/gpu-fraction", "0.25"))).await.expect("it is admitted");
    until_bound(&world, "share").await;
    let claim = claim_of(&world, "share").await;
    assert_eq!(given(&world, &claim).await, (Some("a 10Gi".to_owned()), 1));

    // It fails closed, and for nobody else.
    assert!(scheduler.stop(), "it ends in order");
    let said =
        create(&world, "late", Some(("berth.dev/gpu-memory", "1Gi"))).await.expect_err("nobody answers");
    assert!(said.contains("failed calling webhook"), "{said}");
    create(&world, "plain", None).await.expect("it asks for no GPU");
}
