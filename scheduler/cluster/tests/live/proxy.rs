//! A proxy between a scheduler and its API server that loses binds and namespaces to be made, or their answers.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use kube::Client;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is done and answered.
    None,
    /// It is done, and the answer is replaced by one from something in between.
    AnswerLost,
    /// It is done, and no answer ever comes.
    AnswerNever,
    /// It arrives twice, and the second answer is given: what is to be made is there already.
    Twice,
    /// It does not arrive, and something in between answers.
    RequestLost,
}

/// By pod, the node and the fault of every request, in order; by namespace, its project.
pub(crate) type Asked = BTreeMap<String, Vec<(String, Fault)>>;

/// The proxy; its requests are made as the administrator.
pub(crate) struct Proxy {
    kubeconfig: PathBuf,
    shared: Arc<Shared>,
    _folder: tempfile::TempDir,
}

struct Shared {
    client: Client,
    faults: Vec<Fault>,
    asked: Mutex<Asked>,
}

impl Proxy {
    /// Starts it; the faults are dealt to the requests in turn.
    pub(crate) async fn start(client: Client, faults: &[Fault]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { client, faults: faults.to_vec(), asked: Mutex::default() });
        let routes = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: p, \
             clusters: [{{name: p, cluster: {{server: 'http://{address}'}}}}], \
             contexts: [{{name: p, context: {{cluster: p, user: p}}}}], users: [{{name: p, user: {{}}}}]}}"
        );
        std::fs::write(&kubeconfig, text).expect("it is written");
        Self { kubeconfig, shared, _folder: folder }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn asked(&self) -> Asked {
        self.shared.asked.lock().expect("no panic").clone()
    }
}

async fn pass(State(it): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.expect("a body").to_vec();
    let fault = match (head.uri.path().strip_suffix("/binding"), head.uri.path()) {
        (Some(pod), _) => it.fault(pod, &body, "/target/name"),
        (None, "/api/v1/namespaces") if head.method == http::Method::POST => {
            it.fault("", &body, "/metadata/labels/berth.dev~1project")
        }
        _ => Fault::None,
    };
    let lost = |why: &'static str| {
        Response::builder().status(StatusCode::GATEWAY_TIMEOUT).body(Body::from(why)).expect("a response")
    };
    if fault == Fault::RequestLost {
        return lost("lost on the way");
    }
    let forward = || {
        let mut forward = http::Request::builder().method(head.method.clone()).uri(head.uri.clone());
        for name in ["content-type", "accept"] {
            if let Some(value) = head.headers.get(name) {
                forward = forward.header(name, value);
            }
        }
        forward.body(kube::client::Body::from(body.clone())).expect("a request")
    };
    let mut answer = it.client.send(forward()).await;
    if fault == Fault::Twice {
        answer = it.client.send(forward()).await;
    }
    match (fault, answer) {
        (Fault::AnswerLost, _) => lost("lost on the way back"),
        (Fault::AnswerNever, _) => std::future::pending().await,
        (_, Ok(answer)) => answer.map(Body::new),
        (_, Err(_)) => lost("the API server does not answer"),
    }
}

impl Shared {
    /// Deals a fault to a request about a pod, or about the namespace that its body names, for what is said there.
    fn fault(&self, pod: &str, body: &[u8], said: &str) -> Fault {
        let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let text = |at: &str| body.pointer(at).and_then(|it| it.as_str()).expect("a text").to_owned();
        let about = if pod.is_empty() { text("/metadata/name") } else { pod.to_owned() };
        let mut asked = self.asked.lock().expect("no panic");
        let count: usize = asked.values().map(Vec::len).sum();
        let fault = self.faults[count % self.faults.len()];
        asked.entry(about).or_default().push((text(said), fault));
        fault
    }
}
