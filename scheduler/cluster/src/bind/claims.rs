//! The claim of a pod: written before the pod is bound, and taken back if it is not.
//!
//! Two requests: the finalizer by which Kubernetes' controller gives devices back once nobody uses them, and then
//! allocation and reservation in one, which holds only if the claim is as the first answer showed it. So two who write at the
//! same time do not both succeed. A claim that shows what is wanted is left as it is: whatever is asked for twice, or after an
//! answer was lost, is done once.

use super::{End, Shared};
use crate::action::{Allocation, Bind};
use crate::answer::{Answer, ask};
use crate::pause::Pause;
use berth_api::convert::Parameters;
use berth_api::names::driver;
use berth_api::slim::{Consumer, ResourceClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use std::time::Duration;

/// The finalizer of claims that are in use, as kube-scheduler sets it.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// How a claim stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// As it is wanted.
    Done,
    /// Nobody has it.
    Free,
    /// It was given something else, or nobody uses it.
    Left,
    /// Somebody else uses it.
    Used,
}

impl Shared {
    /// Has the claim of a pod say what was decided; ends the bind if it cannot.
    pub(super) async fn allocate(&self, bind: &Bind, wanted: &Allocation) -> Result<(), End> {
        let mut pause = Pause::new(Duration::from_millis(100), Duration::from_secs(5));
        let ids: Vec<String> = wanted.devices.iter().map(|_| share_id()).collect();
        loop {
            let claim = match self.mark(bind, wanted).await? {
                Some(claim) => claim,
                None => {
                    pause.wait().await;
                    continue;
                }
            };
            let status = match stand(&claim, bind, wanted) {
                Stand::Done => return Ok(()),
                Stand::Used => {
                    return Err(End::Failed(format!("the claim {} is used by another", wanted.claim)));
                }
                Stand::Left => json!({ "allocation": null, "reservedFor": null }),
                Stand::Free => status(bind, wanted, &ids),
            };
            let free = status["allocation"].is_null();
            match self.write(bind, &claim, status).await? {
                true if free => {}
                true => return Ok(()),
                false => pause.wait().await,
            }
        }
    }

    /// Takes back what was written for a pod that is not bound; goes on until it is so, or the lease is lost.
    pub(super) async fn give_back(&self, bind: &Bind, wanted: &Allocation) {
        let mut pause = Pause::new(Duration::from_millis(100), Duration::from_secs(5));
        let claims = self.resource_claims(bind);
        while self.parts.lease.allows().await {
            let answer = ask(self.settings.timeout, claims.get(&wanted.claim)).await;
            self.parts.metrics.answer("claimLook", &answer);
            match answer {
                Answer::Absent => return,
                Answer::Done(claim) => {
                    let other = claim.metadata.uid.as_deref() != Some(&*wanted.uid);
                    if other || stand(&claim, bind, wanted) != Stand::Done {
                        return;
                    }
                    let status = json!({ "allocation": null, "reservedFor": null });
                    match self.write(bind, &claim, status).await {
                        Ok(true) | Err(End::Stopped) => return,
                        Ok(false) | Err(_) => {}
                    }
                }
                Answer::Refused(_, why) => {
                    tracing::warn!(pod = %bind.pod, why, "what was written for a pod cannot be looked at");
                }
                Answer::Busy(_) | Answer::Lost(_) => {}
            }
            pause.wait().await;
        }
    }

    fn resource_claims(&self, bind: &Bind) -> Api<ResourceClaim> {
        Api::namespaced(self.parts.client.clone(), &bind.pod.namespace)
    }

    /// Sets the finalizer; the claim as it is then, or none if that is to be tried again.
    async fn mark(&self, bind: &Bind, wanted: &Allocation) -> Result<Option<ResourceClaim>, End> {
        if !self.parts.lease.allows().await {
            return Err(End::Stopped);
        }
        let patch = json!({ "metadata": { "uid": wanted.uid, "finalizers": [FINALIZER] } });
        let claims = self.resource_claims(bind);
        let (options, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let answer = ask(self.settings.timeout, claims.patch(&wanted.claim, &options, &patch)).await;
        self.parts.metrics.answer("claimMark", &answer);
        match answer {
            Answer::Done(claim) => Ok(Some(claim)),
            Answer::Absent => Err(End::Failed(format!("the claim {} is gone", wanted.claim))),
            Answer::Refused(_, why) => Err(End::Failed(format!("the claim {}: {why}", wanted.claim))),
            Answer::Busy(_) | Answer::Lost(_) => Ok(None),
        }
    }

    /// Writes the status of a claim if it is still as it was seen; false if it is to be looked at again.
    async fn write(&self, bind: &Bind, seen: &ResourceClaim, status: Value) -> Result<bool, End> {
        if !self.parts.lease.allows().await {
            return Err(End::Stopped);
        }
        let name = seen.metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "metadata": { "uid": seen.metadata.uid, "resourceVersion": seen.metadata.resource_version },
            "status": status,
        });
        let claims = self.resource_claims(bind);
        let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let answer = ask(self.settings.timeout, claims.patch_status(name, &options, &patch)).await;
        self.parts.metrics.answer("claim", &answer);
        match answer {
            Answer::Done(_) => Ok(true),
            Answer::Absent => Err(End::Failed(format!("the claim {name} is gone"))),
            // Somebody has changed it meanwhile.
            Answer::Refused(409, _) | Answer::Busy(_) | Answer::Lost(_) => Ok(false),
            Answer::Refused(_, why) => Err(End::Failed(format!("the claim {name} cannot be written: {why}"))),
        }
    }
}

fn stand(claim: &ResourceClaim, bind: &Bind, wanted: &Allocation) -> Stand {
    let is_ours = |user: &Consumer| *user.uid == *bind.pod.uid;
    let users = &claim.status.reserved_for;
    if !users.iter().all(is_ours) {
        return Stand::Used;
    }
    let Some(allocation) = &claim.status.allocation else {
        return if users.is_empty() { Stand::Free } else { Stand::Left };
    };
    let results = &allocation.devices.results;
    let same = results.len() == wanted.devices.len()
        && results.iter().zip(&wanted.devices).all(|(result, given)| {
            *result.device == *given.name
                && *result.pool == *bind.node
                && result.driver == driver::NAME
                && *result.request == *given.request
        });
    if same && !users.is_empty() { Stand::Done } else { Stand::Left }
}

/// Allocation and reservation.
fn status(bind: &Bind, wanted: &Allocation, ids: &[String]) -> Value {
    let results = wanted.devices.iter().zip(ids).map(|(given, id)| {
        json!({
            "request": given.request,
            "driver": driver::NAME,
            "pool": &*bind.node,
            "device": given.name,
            "shareID": id,
            "consumedCapacity": { driver::MEMORY: format!("{}Mi", given.memory.0) },
        })
    });
    let config = wanted.limit.map(|limit| {
        let parameters = Parameters { limit: Some(format!("{}Mi", limit.0)), ..Parameters::new() };
        json!([{
            "source": "FromClaim",
            "opaque": { "driver": driver::NAME, "parameters": parameters },
        }])
    });
    json!({
        "allocation": {
            "devices": { "results": results.collect::<Vec<_>>(), "config": config },
            "nodeSelector": { "nodeSelectorTerms": [{
                "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [&*bind.node] }],
            }] },
        },
        "reservedFor": [{ "resource": "pods", "name": bind.pod.name, "uid": bind.pod.uid }],
    })
}

/// A random UUID: tells the share of a device from all others.
fn share_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness nothing secret is lost: the API server refuses what is not unique in a claim.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!("the system has no randomness");
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{GivenDevice, PodRef};
    use crate::trace::Trace;
    use berth_model::GpuMemoryMib;
    use serde_json::from_value;

    fn bind() -> Bind {
        let allocation = Allocation {
            claim: "c".into(),
            uid: "cu".into(),
            devices: vec![GivenDevice {
                request: "gpu".into(),
                name: "d".into(),
                memory: GpuMemoryMib(1024),
            }],
            limit: Some(GpuMemoryMib(2048)),
        };
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let allocation = Some(Box::new(allocation));
        Bind {
            pod,
            node: "n0".into(),
            allocation,
            claims: Vec::new(),
            open: Vec::new(),
            trace: Trace::default(),
        }
    }

    fn claim(status: Value) -> ResourceClaim {
        from_value(json!({ "metadata": { "name": "c", "uid": "cu" }, "status": status })).expect("a claim")
    }

    #[test]
    fn what_was_written_is_done_and_nothing_else_is() {
        let bind = bind();
        let wanted = bind.allocation.as_deref().expect("an allocation");
        let written = status(&bind, wanted, &[share_id()]);
        let judge = |status: &Value| stand(&claim(status.clone()), &bind, wanted);
        assert_eq!(judge(&written), Stand::Done);
        assert_eq!(judge(&json!({})), Stand::Free);
        let changed = |path: &str, value: Value| {
            let mut other = written.clone();
            *other.pointer_mut(path).expect("it is there") = value;
            judge(&other)
        };
        assert_eq!(changed("/reservedFor/0/uid", json!("v")), Stand::Used);
        assert_eq!(changed("/reservedFor", json!([])), Stand::Left);
        assert_eq!(changed("/allocation/devices/results/0/device", json!("e")), Stand::Left);
        assert_eq!(changed("/allocation/devices/results/0/pool", json!("n1")), Stand::Left);
        assert_eq!(changed("/allocation", Value::Null), Stand::Left);
        let parameters = &written["allocation"]["devices"]["config"][0]["opaque"]["parameters"];
        assert_eq!(parameters["limit"], "2048Mi");
    }

    #[test]
    fn share_ids_are_uuids_and_differ() {
        let (one, other) = (share_id(), share_id());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
    }
}
