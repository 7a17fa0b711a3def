//! Which claims of volumes are bound: what binds that wait for their volumes ask (S11).

use crate::change::{Change, Kind, Name, Object};
use berth_api::convert::SELECTED_NODE;
use berth_api::slim::{PersistentVolumeClaim, named};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How a claim stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Claim {
    pub(crate) bound: bool,
    pub(crate) selected_node: Option<String>,
}

/// Claims as last seen; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    claims: Mutex<BTreeMap<Name, Claim>>,
    changed: Notify,
}

impl Claims {
    /// Takes in a change. Claims that vanish during a lost watch stay as they were; who waits for one times out.
    pub(crate) fn see(&self, change: &Change) {
        match change {
            Change::Set(Object::Claim(claim)) => self.set(claim),
            Change::Gone(Kind::Claim, name, _) => {
                self.lock().remove(name);
                self.inner.changed.notify_waiters();
            }
            _ => {}
        }
    }

    fn set(&self, claim: &PersistentVolumeClaim) {
        let meta = &claim.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return tracing::error!(claim = named(claim), "a claim without a name");
        };
        let selected = meta.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE)).cloned();
        let bound = claim.status.phase.as_deref() == Some("Bound");
        let seen = Claim { bound, selected_node: selected };
        self.lock().insert(Name::new(namespace, name), seen);
        self.inner.changed.notify_waiters();
    }

    /// How a claim stands; none if it is not known.
    pub(crate) fn get(&self, name: &Name) -> Option<Claim> {
        self.lock().get(name).cloned()
    }

    /// Waits for something to be so with a claim, at most so long; true if it came about.
    pub(crate) async fn wait(
        &self,
        name: &Name,
        within: Duration,
        so: impl Fn(Option<&Claim>) -> bool,
    ) -> bool {
        let seen = async {
            loop {
                // Made before the look, so that a change in between is not missed.
                let changed = self.inner.changed.notified();
                if so(self.get(name).as_ref()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(within, seen).await.is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Claim>> {
        self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(phase: &str) -> Change {
        let mut claim = PersistentVolumeClaim::default();
        (claim.metadata.namespace, claim.metadata.name) = (Some("n".into()), Some("c".into()));
        claim.status.phase = Some(phase.to_owned());
        Change::Set(Object::Claim(Box::new(claim)))
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_or_gives_up() {
        let claims = Claims::default();
        let bound = |claim: Option<&Claim>| claim.is_some_and(|claim| claim.bound);
        claims.see(&claim("Pending"));
        let name = Name::new("n", "c");
        assert!(!claims.wait(&name, Duration::from_secs(1), bound).await);
        let (there, ()) = tokio::join!(claims.wait(&name, Duration::from_secs(1), bound), async {
            claims.see(&claim("Bound"));
        });
        assert!(there);
    }
}
