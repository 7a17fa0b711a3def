//! What an answer of the API server, or none, means for what was asked.

use std::time::Duration;

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer<T> {
    /// It was done.
    Done(T),
    /// It was not looked at, for there are too many; ask again after this time, if that was said.
    Busy(Option<Duration>),
    /// There is no such object.
    Absent,
    /// It was refused, for good, in these words.
    Refused(u16, String),
    /// Nobody knows: no answer came, or one from something in between that broke, or one from an API server that does not know yet
    /// who may do what.
    Lost(String),
}

impl<T> Answer<T> {
    /// For metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Busy(_) => "busy",
            Self::Absent => "absent",
            Self::Refused(..) => "refused",
            Self::Lost(_) => "lost",
        }
    }
}

/// Waits at most `within` for an answer, and says what it means.
pub(crate) async fn ask<T>(within: Duration, request: impl Future<Output = kube::Result<T>>) -> Answer<T> {
    match tokio::time::timeout(within, request).await {
        Ok(Ok(it)) => Answer::Done(it),
        Ok(Err(error)) => judge(error),
        Err(_) => Answer::Lost(format!("no answer within {} ms", within.as_millis())),
    }
}

fn judge<T>(error: kube::Error) -> Answer<T> {
    let kube::Error::Api(status) = error else { return Answer::Lost(error.to_string()) };
    match status.code {
        404 => Answer::Absent,
        429 => {
            let after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Answer::Busy((after > 0).then(|| Duration::from_secs(u64::from(after))))
        }
        403 if is_no_right(&status.message) => Answer::Lost(format!("403: {}", status.message)),
        code @ 400..500 => Answer::Refused(code, status.message.clone()),
        code => Answer::Lost(format!("{code}: {}", status.message)),
    }
}

/// True if somebody has no right to do what he asked for. An API server that has just started says so of everybody, until it has
/// read the roles: it is no answer for good. What admission forbids is said in other words.
fn is_no_right(message: &str) -> bool {
    message.split_once("forbidden: User \"").is_some_and(|(_, rest)| rest.contains("\" cannot "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn said(code: u16, message: &str) -> &'static str {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        judge::<()>(kube::Error::Api(Box::new(status))).word()
    }

    fn of(code: u16) -> &'static str {
        said(code, "so")
    }

    #[test]
    fn only_what_is_surely_not_done_is_refused() {
        assert_eq!([400, 403, 409, 422].map(of), ["refused"; 4]);
        assert_eq!([500, 502, 503, 504].map(of), ["lost"; 4]);
        assert_eq!((of(404), of(429)), ("absent", "busy"));
    }

    #[test]
    fn that_there_is_no_right_is_not_for_good_and_what_admission_forbids_is() {
        let right = "pods \"a\" is forbidden: User \"system:serviceaccount:s:b\" cannot patch resource \"pods/status\" \
                     in API group \"\" in the namespace \"n\": RBAC: clusterrole.rbac.authorization.k8s.io \"b\" not found";
        assert_eq!(said(403, right), "lost");
        let quota =
            "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
        assert_eq!(said(403, quota), "refused");
    }
}
