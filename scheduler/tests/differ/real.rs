//! The API server, and kube-scheduler, which is asked.
//!
//! A question is a pod that is created. kube-scheduler filters all nodes and calls its extender, which is [`answer`], with
//! those that pass; the extender lets none pass, so that nothing is bound. If none passes the filters, the extender is not
//! called, and the pod's condition says why. Both are noted on the [`Board`] under the pod's uid.
//!
//! Nodes come to kube-scheduler by another watch than pods. After a change of anything but pods a *beacon* is waited for: a
//! node whose label is changed last, and a pod that only a node with that label can take.

use crate::case::{Key, What};
use axum::Router;
use axum::extract::State;
use berth_testbed::{Options, Scheduler, Testbed};
use http::{Method, Request};
use kube::Client;
use kube::api::{Api, WatchEvent, WatchParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The longest that an answer may take.
const SOON: Duration = Duration::from_secs(30);
/// The node whose label says how much kube-scheduler has seen.
pub(crate) const BEACON: &str = "beacon";
const TURN: &str = "example.com/turn";

/// What kube-scheduler says of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Every node that it accepts.
    Accepts(Vec<String>),
    /// None; why.
    Refuses(String),
    /// It has bound the pod to this node.
    Bound(String),
}

/// Answers, by the uids of pods.
#[derive(Default)]
struct Board {
    answers: Mutex<HashMap<String, Answer>>,
    changed: Notify,
    /// Nodes pass the extender, and pods are bound.
    lets_pass: Mutex<bool>,
}

/// The API server and kube-scheduler.
pub(crate) struct Real {
    _testbed: Testbed,
    client: Client,
    board: Arc<Board>,
    turn: u64,
    /// Objects as the API server has them.
    pub(crate) api: BTreeMap<Key, Value>,
    pub(crate) questions: u64,
}

impl Board {
    /// Notes an answer. What the extender was asked comes before the condition that follows from it.
    fn note(&self, uid: &str, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Answer::Bound(_) => _ = answers.insert(uid.to_owned(), answer),
            _ => _ = answers.entry(uid.to_owned()).or_insert(answer),
        }
        self.changed.notify_waiters();
    }

    fn lets_pass(&self) -> bool {
        *self.lets_pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, uid: &str) -> Option<Answer> {
        let begun = Instant::now();
        loop {
            let changed = self.changed.notified();
            let found = self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
            if found.is_some() || begun.elapsed() > SOON {
                return found;
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    }
}

/// The extender: notes which nodes have passed kube-scheduler's filters.
async fn answer(State(board): State<Arc<Board>>, body: String) -> String {
    let asked: Value = serde_json::from_str(&body).expect("JSON");
    // The outer object is Go's own, without names for JSON.
    let names: Vec<String> = serde_json::from_value(asked["NodeNames"].clone()).expect("names of nodes");
    if board.lets_pass() {
        return json!({"NodeNames": names}).to_string();
    }
    let uid = asked["Pod"]["metadata"]["uid"].as_str().expect("a uid");
    let failed: BTreeMap<&String, &str> = names.iter().map(|name| (name, "it would be accepted")).collect();
    let reply = json!({"NodeNames": [], "FailedNodes": failed}).to_string();
    board.note(uid, Answer::Accepts(names));
    reply
}

/// Follows the pods: what is said of them, and where they are bound.
async fn follow(client: Client, board: Arc<Board>) {
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client);
    let mut version = "0".to_owned();
    loop {
        let Ok(stream) = pods.watch(&WatchParams::default(), &version).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = futures::StreamExt::next(&mut stream).await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
            version = pod.metadata.resource_version.clone().unwrap_or_default();
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                if board.lets_pass() {
                    board.note(uid, Answer::Bound(node));
                }
                continue;
            }
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
            let mut said = conditions.unwrap_or_default().iter().filter(|c| c.type_ == "PodScheduled");
            if let Some(said) = said.find(|condition| condition.status == "False") {
                let reason = said.reason.as_deref().unwrap_or_default();
                let message = said.message.as_deref().unwrap_or_default();
                board.note(uid, Answer::Refuses(format!("{reason}: {message}")));
            }
        }
    }
}

/// kube-scheduler as it comes, but that it preempts nobody, looks at every node, and calls the extender.
fn config(port: u16) -> Value {
    json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": 100,
        "clientConnection": {"qps": 5000, "burst": 5000, "contentType": "application/vnd.kubernetes.protobuf"},
        "profiles": [{"schedulerName": "berth", "plugins": {"postFilter": {"disabled": [{"name": "*"}]}}}],
        "extenders": [{
            "urlPrefix": format!("http://127.0.0.1:{port}"), "filterVerb": "filter", "nodeCacheCapable": true,
            "weight": 1, "httpTimeout": "30s",
        }],
    })
}

impl Real {
    pub(crate) async fn start() -> Self {
        let board = Arc::new(Board::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let extender = Router::new().route("/filter", axum::routing::post(answer)).with_state(board.clone());
        tokio::spawn(async move { axum::serve(listener, extender).await });
        // Finalizers of claims and volumes would be for a controller to take off.
        let options = Options::new()
            .for_load()
            .disable_admission(["StorageObjectInUseProtection"])
            .scheduler(Scheduler::new().config(config(port)));
        let testbed = Testbed::start(options).await.expect("a control plane");
        let client = testbed.client().await.expect("a client");
        tokio::spawn(follow(client.clone(), board.clone()));
        let mut real = Self { _testbed: testbed, client, board, turn: 0, api: BTreeMap::new(), questions: 0 };
        for (what, object) in crate::random::fixed() {
            real.make(what, &object).await.unwrap_or_else(|why| panic!("{object}: {why}"));
        }
        real
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(serde_json::to_vec(body).expect("JSON"))
            .expect("a request");
        self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => status.message,
            other => other.to_string(),
        })
    }

    /// Makes an object; the error is that of the API server, which may find it malformed.
    pub(crate) async fn make(&mut self, what: What, object: &Value) -> Result<Value, String> {
        let path = what.path(&what.key(object).1);
        let made = self.request(Method::POST, &path, "application/json", &what.typed(object)).await?;
        self.api.insert(what.key(&made), made.clone());
        Ok(made)
    }

    /// Changes an object by a merge patch. Of a status the patch says nothing else.
    pub(crate) async fn change(&mut self, key: &Key, patch: &Value) -> Result<Value, String> {
        let status = if patch["status"].is_null() { "" } else { "/status" };
        let path = format!("{}{status}", key.path());
        let changed = self.request(Method::PATCH, &path, "application/merge-patch+json", patch).await?;
        self.api.insert(key.clone(), changed.clone());
        Ok(changed)
    }

    /// Deletes an object; with a grace in seconds a pod on a node stays, and is given back.
    pub(crate) async fn delete(&mut self, key: &Key, grace: u32) -> Option<Value> {
        let options = json!({"gracePeriodSeconds": grace});
        let left = self.request(Method::DELETE, &key.path(), "application/json", &options).await;
        let left = left.ok().filter(|left| grace > 0 && left["metadata"]["deletionTimestamp"].is_string());
        match &left {
            Some(left) => self.api.insert(key.clone(), left.clone()),
            None => self.api.remove(key),
        };
        left
    }

    /// Deletes a pod that was asked about, if it is still there.
    pub(crate) async fn delete_if_there(&mut self, key: &Key) {
        if self.api.contains_key(key) {
            self.delete(key, 0).await;
        }
    }

    /// Deletes all that a cluster consists of.
    pub(crate) async fn clear(&mut self) {
        for what in What::OF_A_CLUSTER {
            let mut paths: Vec<String> =
                self.api.keys().filter(|key| key.0 == what).map(|key| what.path(&key.1)).collect();
            paths.dedup();
            for path in paths {
                let options = json!({"gracePeriodSeconds": 0});
                let gone = self.request(Method::DELETE, &path, "application/json", &options).await;
                gone.unwrap_or_else(|why| panic!("{path}: {why}"));
            }
        }
        self.api.retain(|key, _| !What::OF_A_CLUSTER.contains(&key.0));
        for namespace in crate::random::NAMESPACES {
            let key = Key::cluster(What::Namespace, namespace);
            let labelled = self
                .api
                .get(&key)
                .is_some_and(|seen| seen["metadata"]["labels"].as_object().is_some_and(|l| l.len() > 1));
            if labelled {
                let labels = json!({"metadata": {"labels": {"team": null, "env": null}}});
                self.change(&key, &labels).await.expect("a namespace");
            }
        }
    }

    /// Asks where a pod may go. The pod is there afterwards, and bound nowhere.
    pub(crate) async fn ask(&mut self, pod: &Value) -> Result<Answer, String> {
        self.questions += 1;
        let made = self.make(What::Pod, pod).await?;
        let answer = self.board.answer(made["metadata"]["uid"].as_str().expect("a uid")).await;
        if answer.is_none() {
            let now = self
                .request(Method::GET, &What::Pod.key(&made).path(), "application/json", &Value::Null)
                .await;
            panic!("kube-scheduler does not answer about {now:?}");
        }
        Ok(answer.expect("an answer"))
    }

    /// Binds a pod that was asked about.
    pub(crate) async fn bind(&mut self, key: &Key, node: &str) {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": key.2}, "target": target,
        });
        let path = format!("{}/binding", key.path());
        let done = self.request(Method::POST, &path, "application/json", &binding).await;
        done.unwrap_or_else(|why| panic!("{key} cannot be bound: {why}"));
        if let Some(pod) = self.api.get_mut(key) {
            pod["spec"]["nodeName"] = json!(node);
        }
    }

    /// Has kube-scheduler bind a pod, all nodes but one cordoned, and says what came of it.
    pub(crate) async fn ask_literally(&mut self, pod: &Value, node: &str) -> Answer {
        let open = |(key, value): &(&Key, &Value)| {
            key.0 == What::Node && key.2 != node && value["spec"]["unschedulable"] != json!(true)
        };
        let others: Vec<Key> = self.api.iter().filter(open).map(|(key, _)| key.clone()).collect();
        for other in &others {
            self.change(other, &json!({"spec": {"unschedulable": true}})).await.expect("a node");
        }
        self.settle().await;
        self.set_lets_pass(true);
        let answer = self.ask(pod).await.expect("it was taken before");
        self.set_lets_pass(false);
        for other in &others {
            self.change(other, &json!({"spec": {"unschedulable": false}})).await.expect("a node");
        }
        self.settle().await;
        answer
    }

    fn set_lets_pass(&self, lets_pass: bool) {
        *self.board.lets_pass.lock().unwrap_or_else(PoisonError::into_inner) = lets_pass;
    }

    /// The beacon, as it is made at first.
    pub(crate) fn beacon() -> Value {
        json!({
            "metadata": {"name": BEACON, "labels": {TURN: "none"}},
            "spec": {"taints": [{"key": TURN, "effect": "NoSchedule"}]},
            "status": {"allocatable": {"pods": "500"}, "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    /// Waits until kube-scheduler has seen all that was changed so far.
    pub(crate) async fn settle(&mut self) -> Value {
        self.turn += 1;
        let turn = self.turn.to_string();
        let beacon = Key::cluster(What::Node, BEACON);
        let patch = json!({"metadata": {"labels": {TURN: turn}}, "spec": {"unschedulable": false}});
        let seen = self.change(&beacon, &patch).await.expect("the beacon");
        let mut probe = json!({
            "metadata": {"namespace": "default"},
            "spec": {
                "schedulerName": "berth", "nodeSelector": {TURN: turn}, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "none"}],
            },
        });
        let begun = Instant::now();
        for at in 0.. {
            probe["metadata"]["name"] = json!(format!("probe-{turn}-{at}"));
            let answer = self.ask(&probe).await.expect("a pod");
            self.questions -= 1;
            self.delete(&What::Pod.key(&probe), 0).await;
            if matches!(answer, Answer::Accepts(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(begun.elapsed() < SOON, "kube-scheduler does not see what is changed: {answer:?}");
        }
        seen
    }
}
