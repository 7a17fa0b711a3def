//! The node's pods, as the API server has them: needed for names, for static pods, and where the kubelet keeps no cgroups
//! for pods. Everything goes on without it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use crate::agent::PodIndex;

/// Changes are taken together for so long.
const TOGETHER: Duration = Duration::from_millis(200);

/// Keeps the index up to date, for ever.
pub(crate) async fn pods(client: Client, node: String, index: watch::Sender<Arc<PodIndex>>) {
    let wanted = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = watcher(Api::<Pod>::all(client), wanted).default_backoff().boxed();
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let mut listed: Option<BTreeMap<String, Pod>> = None;
    let mut complete = false;
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    loop {
        let mut next = events.next().await;
        let until = tokio::time::Instant::now() + TOGETHER;
        loop {
            match next {
                None => return,
                Some(Ok(watcher::Event::Init)) => listed = Some(BTreeMap::new()),
                Some(Ok(watcher::Event::InitApply(pod))) => {
                    listed.get_or_insert_default().insert(uid(&pod), cut(pod));
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    (pods, complete) = (listed.take().unwrap_or_default(), true);
                }
                Some(Ok(watcher::Event::Apply(pod))) => drop(pods.insert(uid(&pod), cut(pod))),
                Some(Ok(watcher::Event::Delete(pod))) => drop(pods.remove(&uid(&pod))),
                Some(Err(error)) => tracing::warn!(%error, "the node's pods cannot be watched"),
            }
            match tokio::time::timeout_at(until, events.next()).await {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        let mut now = PodIndex::default();
        now.complete = complete;
        pods.values().for_each(|pod| now.add(pod));
        index.send_if_modified(|known| {
            let different = **known != now;
            if different {
                *known = Arc::new(now);
            }
            different
        });
    }
}

/// Only what the index reads is kept.
fn cut(mut pod: Pod) -> Pod {
    pod.spec = None;
    pod.metadata.managed_fields = None;
    pod.metadata.labels = None;
    pod
}
