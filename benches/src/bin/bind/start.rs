//! How long Berth takes from its start to its first bind in a cluster in which much runs, beside how long the API server
//! takes to list it all.

use crate::Flags;
use crate::cluster::{Cluster, ended, text, used};
use crate::measured::round;
use berth_testbed::fake::{AT_ONCE, PodTemplate, create_all};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use std::time::Instant;

/// Pods of a page, as Berth asks for them where lists cannot be streamed.
const PAGE: usize = 500;

pub(crate) async fn measure(cluster: &Cluster, flags: &Flags) -> Result<Value, String> {
    eprintln!("creating {} pods that run", flags.running);
    for node in 0..flags.nodes {
        let each = flags.running / flags.nodes + usize::from(node < flags.running % flags.nodes);
        let template = PodTemplate::new(&format!("on-{node}")).request("cpu", "10m");
        let template = template.on_node(&format!("node-{node}")).label("app", &format!("a-{}", node % 200));
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
        create_all(&pods, template.pods(0..each), AT_ONCE).await.map_err(text)?;
    }
    let waiting = PodTemplate::new("first").gpus(1).scheduler("berth").label("run", "first");
    cluster.create(&waiting, 1).await?;
    let listed = list(cluster).await?;
    let watch = cluster.watch("first", 1);
    let begun = Instant::now();
    let berth = cluster.start_berth()?;
    let (first, _) = ended(watch).await?;
    let (cpu, rss_kib) = used(berth.pid())?;
    let took = first - begun;
    Ok(json!({
        "running_pods": flags.running,
        "list_seconds": round(listed),
        "start_to_first_bind_seconds": round(took.as_secs_f64()),
        "ratio_to_list": round(took.as_secs_f64() / listed),
        "cpu_seconds": round(cpu.as_secs_f64()),
        "rss_mib": rss_kib / 1024,
    }))
}

/// How long all pods take to be listed, page by page, without reading what they say.
async fn list(cluster: &Cluster) -> Result<f64, String> {
    let begun = Instant::now();
    let mut next = String::new();
    loop {
        let path = format!("/api/v1/pods?limit={PAGE}&continue={next}");
        let request = http_get(&path)?;
        let page = cluster.client.request_text(request).await.map_err(text)?;
        // It stands in the metadata, at the beginning.
        let head = page.get(..1000.min(page.len())).unwrap_or_default();
        let token = head.split("\"continue\":\"").nth(1).and_then(|rest| rest.split('"').next());
        match token.filter(|token| !token.is_empty()) {
            Some(token) => token.clone_into(&mut next),
            None => return Ok(begun.elapsed().as_secs_f64()),
        }
    }
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>, String> {
    http::Request::get(path).body(Vec::new()).map_err(text)
}
