//! Claims that wait for their first consumer (S11): each gets the volume that was chosen for it, or the node is written on it
//! and its volume is made there; then the pod is bound. If that takes too long, or whoever makes volumes gives the node back,
//! the node is taken off again and the bind has failed. A volume stays with the claim that it was given to, as with
//! kube-scheduler: the claim finds it the next time.

use super::{End, Shared};
use crate::action::Bind;
use crate::answer::{Answer, ask};
use crate::change::Name;
use crate::pause::Pause;
use crate::watch::Claim;
use berth_api::convert::{OpenClaim, SELECTED_NODE};
use berth_api::slim::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How long a claim may take to show the node that was written on it.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

impl Shared {
    /// Has the volumes of a pod made; ends the bind if they are not.
    pub(super) async fn volumes(&self, bind: &Bind) -> Result<(), End> {
        let until = Instant::now() + self.settings.volumes_within;
        let open: Vec<&String> = bind.claims.iter().filter(|claim| !self.is_bound(bind, claim)).collect();
        for claim in &open {
            let chosen = bind.open.iter().find(|chosen| chosen.claim == **claim);
            match chosen.and_then(|chosen| Some((chosen, chosen.volume.as_ref()?))) {
                Some((chosen, volume)) => self.give(bind, chosen, volume).await?,
                None => self.select(bind, claim, Some(&bind.node)).await?,
            }
        }
        let given = |claim: &str| bind.open.iter().any(|open| open.claim == claim && open.volume.is_some());
        for claim in &open {
            let left = until.saturating_duration_since(Instant::now());
            let Err(why) = self.wait_bound(bind, claim, given(claim), left).await else { continue };
            for claim in &open {
                if !self.is_bound(bind, claim) && !given(claim) {
                    self.select(bind, claim, None).await?;
                }
            }
            return Err(End::Failed(why));
        }
        Ok(())
    }

    fn is_bound(&self, bind: &Bind, claim: &str) -> bool {
        let claim = self.parts.claims.get(&Name::new(&bind.pod.namespace, claim));
        claim.is_some_and(|claim| claim.bound)
    }

    async fn wait_bound(
        &self,
        bind: &Bind,
        claim: &str,
        given: bool,
        within: Duration,
    ) -> Result<(), String> {
        let name = Name::new(&bind.pod.namespace, claim);
        let ours = |seen: &Claim| given || seen.selected_node.as_deref() == Some(&*bind.node);
        let shown = |seen: Option<&Claim>| seen.is_none_or(|seen| seen.bound || ours(seen));
        let claims = &self.parts.claims;
        if !claims.wait(&name, SHOWN_WITHIN.min(within), shown).await {
            return Err(format!("the node that was chosen for the claim {claim} does not show on it"));
        }
        let decided = |seen: Option<&Claim>| seen.is_none_or(|seen| seen.bound || !ours(seen));
        let in_time = claims.wait(&name, within, decided).await;
        match claims.get(&name) {
            Some(seen) if seen.bound => Ok(()),
            None => Err(format!("the claim {claim} is gone")),
            Some(_) if in_time => {
                Err(format!("no volume can be made for the claim {claim} on {}", bind.node))
            }
            Some(_) => {
                Err(format!("the volume of the claim {claim} was not made within {} s", within.as_secs()))
            }
        }
    }

    /// Gives a volume to a claim, which the volumes' controller completes. One that somebody else has been given is left alone.
    async fn give(&self, bind: &Bind, open: &OpenClaim, volume: &str) -> Result<(), End> {
        let mut pause = Pause::new(Duration::from_millis(200), Duration::from_secs(5));
        let volumes: Api<PersistentVolume> = Api::all(self.parts.client.clone());
        let whose = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": bind.pod.namespace, "name": open.claim, "uid": open.uid,
        });
        let failed = |why: String| {
            End::Failed(format!("the volume {volume} cannot be given to the claim {}: {why}", open.claim))
        };
        loop {
            if !self.parts.lease.allows().await {
                return Err(End::Stopped);
            }
            let seen = ask(self.settings.timeout, volumes.get(volume)).await;
            self.parts.metrics.answer("volume", &seen);
            let seen = match seen {
                Answer::Done(seen) => seen,
                Answer::Busy(_) | Answer::Lost(_) => {
                    pause.wait().await;
                    continue;
                }
                Answer::Absent => return Err(failed("it is gone".to_owned())),
                Answer::Refused(_, why) => return Err(failed(why)),
            };
            if let Some(other) = &seen.spec.claim_ref {
                let mine = other.name.as_ref() == Some(&open.claim)
                    && other.namespace.as_deref() == Some(&*bind.pod.namespace);
                match (mine, other.uid.as_deref()) {
                    (true, Some(uid)) if uid == open.uid => return Ok(()),
                    (true, None) => {}
                    _ => return Err(failed("another claim has it".to_owned())),
                }
            }
            // The version says that nobody has given it away since.
            let patch = json!({
                "metadata": {
                    "resourceVersion": seen.metadata.resource_version,
                    "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
                },
                "spec": {"claimRef": whose},
            });
            let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let answer = ask(self.settings.timeout, volumes.patch(volume, &options, &patch)).await;
            self.parts.metrics.answer("volume", &answer);
            match answer {
                Answer::Done(_) => return Ok(()),
                // It is looked at again.
                Answer::Busy(_) | Answer::Lost(_) => pause.wait().await,
                Answer::Refused(409, _) => {}
                Answer::Absent => return Err(failed("it is gone".to_owned())),
                Answer::Refused(_, why) => return Err(failed(why)),
            }
        }
    }

    /// Writes the node on a claim, or takes it off.
    async fn select(&self, bind: &Bind, claim: &str, node: Option<&str>) -> Result<(), End> {
        let mut pause = Pause::new(Duration::from_millis(200), Duration::from_secs(5));
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.parts.client.clone(), &bind.pod.namespace);
        let patch = json!({ "metadata": { "annotations": { SELECTED_NODE: node } } });
        loop {
            if !self.parts.lease.allows().await {
                return Err(End::Stopped);
            }
            let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let answer = ask(self.settings.timeout, claims.patch_metadata(claim, &options, &patch)).await;
            self.parts.metrics.answer("claim", &answer);
            match answer {
                Answer::Done(_) => return Ok(()),
                // Writing the same again changes nothing: a lost answer needs no look.
                Answer::Busy(_) | Answer::Lost(_) => pause.wait().await,
                Answer::Absent => return Err(End::Failed(format!("the claim {claim} is gone"))),
                Answer::Refused(_, why) => {
                    return Err(End::Failed(format!(
                        "the node cannot be written on the claim {claim}: {why}"
                    )));
                }
            }
        }
    }
}
