//! The node's devices in the API: one ResourceSlice of driver `gpu.berth.dev`, with a taint on each device that takes no new
//! pods (S18).
//!
//! What is wanted follows from the state; it is compared with the object as it was last seen, and written when it differs, with
//! the pool's next generation. The object is watched: one that somebody deleted or changed is put right. The kubelet deletes the
//! slices of a driver that was away for long. The slice belongs to the Node and goes with it; it stays when the agent ends,
//! as the devices do.

mod devices;

use std::{sync::Arc, time::Duration};

use berth_api::names::driver;
use futures::StreamExt;
use k8s_openapi::{
    api::{
        core::v1::Node,
        resource::v1::{Device, ResourcePool, ResourceSlice, ResourceSliceSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::PostParams, runtime::watcher::watch_object};
use tokio::{sync::watch, time::sleep};

use crate::agent::{DriverState, NodeState};

/// Between two writes; what changes meanwhile is written together.
const BETWEEN_WRITES: Duration = Duration::from_millis(500);
/// After a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The name of a node's slice.
pub fn slice_name(node: &str) -> String {
    format!("{node}-{}", driver::NAME)
}

/// Keeps the slice as it is wanted, for ever, or until the states end.
pub(crate) async fn publish(client: Client, node: String, mut state: watch::Receiver<Arc<NodeState>>) {
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    let name = slice_name(&node);
    let mut seen = watch_object(slices.clone(), &name).boxed();
    let mut found: Option<Option<ResourceSlice>> = None;
    loop {
        tokio::select! {
            event = seen.next() => match event {
                Some(Ok(now)) => found = Some(now),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the ResourceSlice cannot be watched");
                    sleep(AFTER_FAILURE).await;
                }
                None => return,
            },
            changed = state.changed() => if changed.is_err() { return },
        }
        let (Some(now), Some(wanted)) = (&found, wanted(&state.borrow())) else { continue };
        let Some(spec) = next(&node, now.as_ref(), wanted) else { continue };
        match write(&client, &node, now.clone(), spec).await {
            Ok(written) => {
                tracing::info!(generation = written.spec.pool.generation, "the ResourceSlice is written");
                found = Some(Some(written));
                sleep(BETWEEN_WRITES).await;
            }
            // Somebody else has changed it: the watch says how it is now.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                sleep(BETWEEN_WRITES).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the ResourceSlice is not written");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// The devices to publish; none while it is not known what there is.
fn wanted(state: &NodeState) -> Option<Vec<Device>> {
    match &state.driver {
        DriverState::Starting => None,
        // Before the driver worked once, there may be devices that nobody knows; a slice from before stands.
        DriverState::Down(_) if state.devices.is_empty() => None,
        DriverState::Down(_) | DriverState::Up(_) => Some(devices::of(state)),
    }
}

/// What the slice must be, if it is not.
fn next(node: &str, found: Option<&ResourceSlice>, mut devices: Vec<Device>) -> Option<ResourceSliceSpec> {
    let old = found.map(|slice| &slice.spec);
    let known = old.and_then(|spec| spec.devices.as_ref()).into_iter().flatten();
    for known in known {
        if let Some(device) = devices.iter_mut().find(|device| device.name == known.name) {
            devices::keep_times(device, known);
        }
    }
    let generation = old.map_or(1, |old| old.pool.generation);
    let mut spec = ResourceSliceSpec {
        driver: driver::NAME.to_owned(),
        node_name: Some(node.to_owned()),
        pool: ResourcePool { name: node.to_owned(), generation, resource_slice_count: 1 },
        devices: Some(devices),
        ..ResourceSliceSpec::default()
    };
    if let Some(old) = old {
        let nothing = |devices: &Option<Vec<Device>>| devices.as_ref().is_none_or(Vec::is_empty);
        let both_empty = nothing(&old.devices) && nothing(&spec.devices);
        if *old == spec || (both_empty && old.node_name == spec.node_name && old.pool == spec.pool) {
            return None;
        }
        spec.pool.generation += 1;
    }
    Some(spec)
}

async fn write(
    client: &Client,
    node: &str,
    found: Option<ResourceSlice>,
    spec: ResourceSliceSpec,
) -> kube::Result<ResourceSlice> {
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    let name = slice_name(node);
    if let Some(found) = found {
        let slice = ResourceSlice { metadata: found.metadata, spec };
        return slices.replace(&name, &PostParams::default(), &slice).await;
    }
    let owner = Api::<Node>::all(client.clone()).get(node).await?;
    let metadata = ObjectMeta {
        name: Some(name),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.to_owned(),
            uid: owner.metadata.uid.unwrap_or_default(),
            controller: Some(true),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    slices.create(&PostParams::default(), &ResourceSlice { metadata, spec }).await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::resource::v1::DeviceTaint, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp,
    };

    use super::*;

    fn device(name: &str, taint: Option<&str>) -> Device {
        let taint = taint.map(|value| DeviceTaint {
            key: driver::UNHEALTHY.to_owned(),
            value: Some(value.to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        });
        Device { name: name.to_owned(), taints: taint.map(|taint| vec![taint]), ..Device::default() }
    }

    #[test]
    fn it_is_written_when_it_differs_and_only_then() {
        let spec = next("n", None, vec![device("a", None)]).unwrap();
        assert_eq!(spec.pool.generation, 1);
        let found = ResourceSlice { spec, ..ResourceSlice::default() };
        assert_eq!(next("n", Some(&found), vec![device("a", None)]), None);
        let mut spec = next("n", Some(&found), vec![device("a", Some("lost"))]).unwrap();
        assert_eq!(spec.pool.generation, 2);
        // The API server adds the time, which is kept and is no difference.
        let time = Time(Timestamp::UNIX_EPOCH);
        spec.devices.as_mut().unwrap()[0].taints.as_mut().unwrap()[0].time_added = Some(time.clone());
        let found = ResourceSlice { spec, ..ResourceSlice::default() };
        assert_eq!(next("n", Some(&found), vec![device("a", Some("lost"))]), None);
        let more = next("n", Some(&found), vec![device("a", Some("lost")), device("b", None)]).unwrap();
        assert_eq!(more.devices.unwrap()[0].taints.as_ref().unwrap()[0].time_added, Some(time));
        let other = next("n", Some(&found), vec![device("a", Some("xid-79"))]).unwrap();
        assert_eq!(other.devices.unwrap()[0].taints.as_ref().unwrap()[0].time_added, None);
    }

    #[test]
    fn no_devices_are_a_slice_without_devices_however_it_is_written() {
        let found = ResourceSlice {
            spec: ResourceSliceSpec { devices: None, ..next("n", None, vec![]).unwrap() },
            ..ResourceSlice::default()
        };
        assert_eq!(next("n", Some(&found), vec![]), None);
    }
}
