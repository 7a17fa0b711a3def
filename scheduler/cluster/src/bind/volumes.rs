//! Claims that wait for their first consumer (S11): the node is written on them, their volumes are made there, and then the
//! pod is bound. If that takes too long, or whoever makes volumes gives the node back, the node is taken off again and the
//! bind has failed.

use super::{End, Shared};
use crate::action::Bind;
use crate::answer::{Answer, ask};
use crate::change::Name;
use crate::pause::Pause;
use crate::watch::{Claim, SELECTED_NODE};
use berth_api::slim::PersistentVolumeClaim;
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
            self.select(bind, claim, Some(&bind.node)).await?;
        }
        for claim in &open {
            let left = until.saturating_duration_since(Instant::now());
            let Err(why) = self.wait_bound(bind, claim, left).await else { continue };
            for claim in &open {
                if !self.is_bound(bind, claim) {
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

    async fn wait_bound(&self, bind: &Bind, claim: &str, within: Duration) -> Result<(), String> {
        let name = Name::new(&bind.pod.namespace, claim);
        let ours = |seen: &Claim| seen.selected_node.as_deref() == Some(&*bind.node);
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
