//! Who speaks: the API server is asked (TokenReview).
//!
//! A token counts if it was made for our audience, belongs to the agents' ServiceAccount, and says on which node its pod runs,
//! as all tokens of pods do since Kubernetes 1.32: an agent speaks for its own node only. Answers are kept for
//! `KEPT_FOR`, by the token's hash, and at most `AT_ONCE` questions are asked at a time, so that ten thousand agents that
//! come back at once do not drown the API server.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use tokio::{sync::Semaphore, time::Instant};

use super::server::{Denied, Identify};

/// The audience that an agent's token must have been made for.
pub const AUDIENCE: &str = "berth-scheduler";
/// Says on which node the pod runs that the token was made for.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// How long an answer counts.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Answers that are kept.
const KEPT_MAX: usize = 20_000;
/// Questions at a time.
const AT_ONCE: usize = 32;

type Hash = [u8; 32];

/// Asks the API server.
pub struct Reviewer {
    api: Api<TokenReview>,
    user: String,
    kept: Mutex<HashMap<Hash, (Instant, String)>>,
    at_once: Semaphore,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Reviewer {
    /// Accepts the agents that run as this ServiceAccount.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::all(client),
            user: format!("system:serviceaccount:{namespace}:{name}"),
            kept: Mutex::new(HashMap::new()),
            at_once: Semaphore::new(AT_ONCE),
        }
    }

    fn kept(&self, hash: &Hash) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(hash).filter(|(until, _)| *until > Instant::now()).map(|(_, node)| node.clone())
    }

    fn keep(&self, hash: Hash, node: &str) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(hash, (now + KEPT_FOR, node.to_owned()));
        }
    }

    /// The node that an answer names.
    fn judge(&self, status: TokenReviewStatus) -> Result<String, Denied> {
        let denied = |why: String| Err(Denied::Unknown(why));
        if status.authenticated != Some(true) {
            return denied(status.error.unwrap_or_else(|| "the token is not valid".to_owned()));
        }
        if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
            return denied(format!("the token was not made for {AUDIENCE}"));
        }
        let user = status.user.unwrap_or_default();
        if user.username.as_deref() != Some(&self.user) {
            let name = user.username.unwrap_or_default();
            return Err(Denied::Forbidden(format!("{name} is not {}", self.user)));
        }
        let node = user.extra.and_then(|mut extra| extra.remove(NODE_NAME)?.into_iter().next());
        node.ok_or_else(|| Denied::Forbidden("the token does not say on which node its pod runs".to_owned()))
    }
}

impl Identify for Reviewer {
    async fn node(&self, token: &str) -> Result<String, Denied> {
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(node) = self.kept(&hash) {
            return Ok(node);
        }
        let unavailable = |why: String| Denied::NotNow(format!("the API server cannot be asked: {why}"));
        let _one = self.at_once.acquire().await.map_err(|error| unavailable(error.to_string()))?;
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| unavailable(error.to_string()))?.status.unwrap_or_default();
        let node = self.judge(status)?;
        self.keep(hash, &node);
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn answer(audience: &str, user: &str, node: Option<&str>) -> TokenReviewStatus {
        let extra = node.map(|node| [(NODE_NAME.to_owned(), vec![node.to_owned()])].into());
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo { username: Some(user.to_owned()), extra, ..UserInfo::default() }),
            error: None,
        }
    }

    #[tokio::test]
    async fn only_the_agents_own_tokens_count_and_name_their_node() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let reviewer = Reviewer::new(Client::try_from(config).unwrap(), "berth-agent", "nvml-probe");
        let ours = "system:serviceaccount:berth-agent:nvml-probe";
        assert_eq!(reviewer.judge(answer(AUDIENCE, ours, Some("n-1"))), Ok("n-1".to_owned()));
        assert!(matches!(reviewer.judge(answer("other", ours, Some("n-1"))), Err(Denied::Unknown(_))));
        let other = "system:serviceaccount:x:nvml-probe";
        assert!(matches!(reviewer.judge(answer(AUDIENCE, other, Some("n-1"))), Err(Denied::Forbidden(_))));
        assert!(matches!(reviewer.judge(answer(AUDIENCE, ours, None)), Err(Denied::Forbidden(_))));
        assert!(matches!(reviewer.judge(TokenReviewStatus::default()), Err(Denied::Unknown(_))));
    }
}
