//! Pods that run: waiting for what becomes of them, and what they printed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{LogParams, PostParams};

use crate::error::{Error, Result};
use crate::process::until;

/// How long a pod may take to run and end.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// What became of a pod that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether all its containers ended well.
    pub succeeded: bool,
    /// The code that its first container ended with.
    pub exit_code: Option<i32>,
    /// What its first container printed.
    pub log: String,
}

/// Creates a pod, waits until it ended, and returns what it printed. It must be on a real node.
///
/// # Errors
/// If it is refused, does not end within two minutes, or its log cannot be read.
pub async fn run(pods: &Api<Pod>, pod: &Pod) -> Result<Ended> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    pods.create(&PostParams::default(), pod).await.map_err(Error::api(format!("creating the pod {name}")))?;
    let ended = wait(pods, &name, ENDS_WITHIN, |pod| matches!(phase(pod), "Succeeded" | "Failed")).await?;
    let log = pods
        .logs(&name, &LogParams::default())
        .await
        .map_err(Error::api(format!("the log of the pod {name}")))?;
    let containers = ended.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let state = containers.and_then(|all| all.first()).and_then(|container| container.state.as_ref());
    let exit_code = state.and_then(|state| state.terminated.as_ref()).map(|terminated| terminated.exit_code);
    Ok(Ended { succeeded: phase(&ended) == "Succeeded", exit_code, log })
}

/// Waits until a pod is as wanted, and returns it.
///
/// # Errors
/// If there is no such pod, or it is not so in time: the error shows its status.
pub async fn wait(
    pods: &Api<Pod>,
    name: &str,
    within: Duration,
    wanted: impl Fn(&Pod) -> bool + Send + Sync,
) -> Result<Pod> {
    let wanted = &wanted;
    let look = || async move {
        let pod = pods.get(name).await.map_err(Error::api(format!("the pod {name}")))?;
        Ok(if wanted(&pod) { Ok(pod) } else { Err(format!("its status is {}", said(&pod))) })
    };
    until(&format!("the pod {name} is not as wanted"), within, look, String::new).await
}

/// Waits until a pod is gone.
///
/// # Errors
/// If it is still there after that time.
pub async fn wait_gone(pods: &Api<Pod>, name: &str, within: Duration) -> Result<()> {
    let look = || async move {
        let pod = pods.get_opt(name).await.map_err(Error::api(format!("the pod {name}")))?;
        Ok(pod.map_or(Ok(()), |pod| Err(format!("its status is {}", said(&pod)))))
    };
    until(&format!("the pod {name} is still there"), within, look, String::new).await
}

/// The phase of a pod, empty if it has none.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The node that a pod is bound to.
#[must_use]
pub fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// The variables that a container printed with the step `env` of our own image.
#[must_use]
pub fn environment(log: &str) -> BTreeMap<String, String> {
    log.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn said(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| serde_json::to_string(status).ok()).unwrap_or_default()
}
