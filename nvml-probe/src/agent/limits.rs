//! What holds a pod to its limit of GPU memory here (S14, S19), and where that is said.
//!
//! Containers are always told by environment variables, which bind nobody. Some drivers have limits per cgroup of their own;
//! this agent does not set them yet, and says so. So everywhere going over a limit is watched and reported, not prevented.

use std::{fmt, sync::Arc, time::Duration};

use berth_api::names::driver::LIMITS_ENFORCED;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{Driver, agent::NodeState};

/// After a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// What holds pods to their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// Nothing: the driver has no limits of its own.
    WatchedOnly,
    /// Nothing: the driver has limits per cgroup, which are not set.
    WatchedThoughDriverCould,
}

impl Enforcement {
    /// By what the driver has.
    pub fn of(driver: &Driver) -> Self {
        if driver.memory_limit_symbols.is_empty() {
            Self::WatchedOnly
        } else {
            Self::WatchedThoughDriverCould
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::WatchedOnly => "DriverHasNoLimits",
            Self::WatchedThoughDriverCould => "DriverLimitsNotSet",
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = match self {
            Self::WatchedOnly => "this driver has no limits of its own",
            Self::WatchedThoughDriverCould => "this driver has limits per cgroup, which are not set",
        };
        write!(
            f,
            "watched only: told to containers by environment variables, going over is not prevented; {driver}"
        )
    }
}

/// Keeps the node's condition true, for ever, or until the states end.
pub(crate) async fn state(client: Client, node: String, mut state: watch::Receiver<Arc<NodeState>>) {
    let nodes: Api<Node> = Api::all(client);
    let enforced = |state: &NodeState| state.driver.up().map(Enforcement::of);
    let mut said = None;
    loop {
        // The driver may be another one when NVML went and came.
        let news = |state: &Arc<NodeState>| enforced(state).is_some_and(|now| said != Some(now));
        let Ok(now) = state.wait_for(news).await.map(|state| enforced(&state)) else { return };
        if let Some(now) = now {
            while let Err(error) = say(&nodes, &node, now).await {
                tracing::warn!(%error, "the node's condition {LIMITS_ENFORCED} is not written");
                sleep(AFTER_FAILURE).await;
            }
        }
        said = now;
    }
}

async fn say(nodes: &Api<Node>, node: &str, now: Enforcement) -> kube::Result<()> {
    let found = nodes.get(node).await?;
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let message = now.to_string();
    let known = conditions.iter().find(|condition| condition.type_ == LIMITS_ENFORCED);
    if known.is_some_and(|known| known.message.as_ref() == Some(&message) && known.status == "False") {
        return Ok(());
    }
    let time = Time(Timestamp::now());
    let condition = json!({
        "type": LIMITS_ENFORCED, "status": "False", "reason": now.reason(), "message": message,
        "lastHeartbeatTime": time, "lastTransitionTime": time,
    });
    // Merged by type: the others stay.
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    nodes.patch_status(node, &PatchParams::default(), &patch).await.map(drop)
}
