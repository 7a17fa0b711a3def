//! A control plane in which Berth is installed, and schedulers in it.

use berth_testbed::fake::{AT_ONCE, NodeTemplate, PodTemplate, create_all};
use berth_testbed::{Options, Testbed, manifests};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that takes a moment on a machine that does nothing else.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// How long is waited for what should not happen.
pub(crate) const A_WHILE: Duration = Duration::from_secs(3);

/// Pods for Berth with so many GPUs each.
pub(crate) fn ours(prefix: &str, gpus: u32) -> PodTemplate {
    PodTemplate::new(prefix).gpus(gpus).scheduler("berth")
}

/// A control plane in which Berth is installed as `kubectl apply -k deploy` does it.
pub(crate) struct World {
    pub(crate) testbed: Testbed,
    /// The administrator's.
    pub(crate) client: Client,
    /// The deployed service account's: schedulers have exactly its rights.
    kubeconfig: PathBuf,
    folder: tempfile::TempDir,
}

/// A scheduler's process; killed when dropped.
pub(crate) struct Scheduler {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    /// The API server has started anew meanwhile: until it knows the roles it denies everything.
    pub(crate) may_be_denied: bool,
}

impl World {
    pub(crate) async fn start(options: Options) -> Self {
        let testbed = Testbed::start(options).await.expect("a control plane");
        let client = testbed.client().await.expect("a client");
        apply(&client, manifests::kustomized(&deploy(""))).await;
        let account = testbed.service_account("berth-system", "berth-scheduler").await.expect("its account");
        let kubeconfig = account.kubeconfig().to_owned();
        Self { testbed, client, kubeconfig, folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) async fn nodes(&self, count: usize, gpus: u32) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        create_all(&nodes, NodeTemplate::new("node").gpus(gpus).nodes(0..count), AT_ONCE)
            .await
            .expect("nodes");
    }

    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn create(&self, template: &PodTemplate, count: usize) {
        self.create_in("default", template, count).await;
    }

    pub(crate) async fn create_in(&self, namespace: &str, template: &PodTemplate, count: usize) {
        let template = template.clone().namespace(namespace);
        create_all(&self.pods(namespace), template.pods(0..count), AT_ONCE).await.expect("pods");
    }

    /// Objects of any kind, from JSON; tried until their kind is served.
    pub(crate) async fn object(&self, path: &str, object: Value) {
        let body = serde_json::to_vec(&object).expect("JSON");
        let begun = Instant::now();
        loop {
            let request = http::Request::post(path)
                .header("content-type", "application/json")
                .body(body.clone())
                .expect("a request");
            match self.client.request::<Value>(request).await {
                Ok(_) => return,
                Err(error) if begun.elapsed() > SOON => panic!("{path}: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Changes an object, by a merge patch.
    pub(crate) async fn patch(&self, path: &str, change: Value) {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&change).expect("JSON"))
            .expect("a request");
        self.client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// An object of ours.
    pub(crate) async fn berth(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        self.object(&format!("/apis/berth.dev/v1alpha1/{}s", kind.to_lowercase()), object).await;
    }

    /// A namespace, with these labels.
    pub(crate) async fn namespace(&self, name: &str, labels: Value) {
        let metadata = json!({ "name": name, "labels": labels });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        self.object("/api/v1/namespaces", namespace).await;
    }

    /// Waits until an object is so, or is not there any more.
    pub(crate) async fn until(&self, path: &str, what: &str, so: impl Fn(Option<&Value>) -> bool) {
        let begun = Instant::now();
        loop {
            let found = self.found(path).await;
            if so(found.as_ref()) {
                return;
            }
            assert!(begun.elapsed() < SOON, "{path}: {what}: {found:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// An object, if it is there.
    pub(crate) async fn found(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(found) => Some(found),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// A project with its namespace and a GPU quota in the default pool, in a department that has as much.
    pub(crate) async fn project(&self, name: &str, gpus: u32) {
        let pools = json!([{ "name": "default", "gpu": { "quota": gpus } }]);
        // There before any scheduler makes it: pods come at once.
        self.namespace(name, json!({ "berth.dev/project": name })).await;
        self.berth("Department", "research", json!({ "pools": pools })).await;
        self.berth("Project", name, json!({ "department": "research", "pools": pools })).await;
    }

    /// A policy of the API server, which holds some time after this.
    pub(crate) async fn policy(&self, name: &str, rules: Value, validations: Value) {
        let apis = "admissionregistration.k8s.io/v1";
        let policy = json!({
            "apiVersion": apis, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
            "spec": { "matchConstraints": { "resourceRules": rules }, "validations": validations },
        });
        let binding = json!({
            "apiVersion": apis, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        self.object(&format!("/apis/{apis}/validatingadmissionpolicies"), policy).await;
        self.object(&format!("/apis/{apis}/validatingadmissionpolicybindings"), binding).await;
    }

    /// Takes a policy back.
    pub(crate) async fn delete_policy(&self, name: &str) {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        policies.delete(name, &DeleteParams::default()).await.expect("it is deleted");
    }

    /// Binds of a pod are refused for good, by a policy of the API server; returns once it is so.
    pub(crate) async fn refuse_binds_of(&self, name: &str) {
        let rules = json!([
            { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding"] },
        ]);
        let expression = format!("request.name != '{name}' && request.name != 'probe'");
        let validations = json!([{ "expression": expression, "message": "nothing today" }]);
        self.policy("refuse-binds", rules, validations).await;
        let begun = Instant::now();
        loop {
            // There is no such pod: the policy answers, or else that does.
            let bind = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "probe" },
                "target": { "kind": "Node", "name": "node-0" },
            });
            let (pods, options) = (self.pods("default"), PostParams::default());
            match pods.create_subresource::<_, Value>("binding", "probe", &options, &bind).await {
                Err(error) if error.to_string().contains("nothing today") => return,
                other => assert!(begun.elapsed() < SOON, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where pods are: by name, the node or none.
    pub(crate) async fn places(&self, namespace: &str) -> BTreeMap<String, Option<String>> {
        let pods = self.pods(namespace).list(&ListParams::default()).await.expect("a list");
        let place =
            |pod: Pod| (pod.metadata.name.unwrap_or_default(), pod.spec.and_then(|spec| spec.node_name));
        pods.items.into_iter().map(place).collect()
    }

    /// Waits until so many pods whose names begin so are bound.
    pub(crate) async fn bound(&self, prefix: &str, count: usize) {
        let begun = Instant::now();
        loop {
            let places = self.places("default").await;
            let bound =
                places.iter().filter(|(name, node)| name.starts_with(prefix) && node.is_some()).count();
            if bound >= count {
                assert_eq!(bound, count, "more are bound than there should be: {places:?}");
                return;
            }
            assert!(begun.elapsed() < SOON, "{bound} of {count} pods {prefix} are bound: {places:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// No node has more pods of one GPU than it has GPUs.
    pub(crate) async fn nothing_is_promised_twice(&self, gpus: usize) {
        let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
        for node in self.places("default").await.into_values().flatten() {
            *by_node.entry(node).or_default() += 1;
        }
        assert!(by_node.values().all(|pods| *pods <= gpus), "{by_node:?}");
    }

    /// Starts a scheduler on an address of its own; `change` is merged into its configuration.
    pub(crate) fn scheduler(&self, name: &str, change: Value) -> Scheduler {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut config = json!({
            "kubeconfig": self.kubeconfig,
            "listen": address.to_string(),
            "lease": { "enabled": false },
            "evict": { "noneForSeconds": 0 },
            "eventLog": { "path": self.event_log(name) },
        });
        merge(&mut config, change);
        let (file, log) =
            (self.folder.path().join(format!("{name}.yaml")), self.folder.path().join(format!("{name}.log")));
        std::fs::write(&file, config.to_string()).expect("the configuration is written");
        let errors = std::fs::File::create(&log).expect("a log");
        let child =
            crate::program(&file).stdout(Stdio::null()).stderr(errors).spawn().expect("the program starts");
        Scheduler { child, address, log, may_be_denied: false }
    }

    pub(crate) fn event_log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.jsonl"))
    }
}

impl Scheduler {
    /// Waits until every first list is in.
    pub(crate) async fn ready(&self) {
        let begun = Instant::now();
        while self.get("/readyz").is_none_or(|(code, _)| code != 200) {
            assert!(begun.elapsed() < SOON, "not ready:\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks it over HTTP; none if it does not answer.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: berth\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let code = text.split(' ').nth(1)?.parse().ok()?;
        let body = text.split_once("\r\n\r\n")?.1.to_owned();
        Some((code, body))
    }

    /// Ends it in order, and waits for that.
    pub(crate) fn stop(mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().expect("it ends").success()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let said = self.said();
        if std::thread::panicking() {
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("the scheduler said last:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Just after the start the roles may not be known yet; of what is watched a missing right shows at once.
        let mine =
            |line: &&str| line.contains("system:serviceaccount:berth-system") && !line.contains("watch");
        let refused = said.lines().find(mine);
        if let (Some(line), false) = (refused, self.may_be_denied || std::thread::panicking()) {
            panic!("it has too few rights: {line}");
        }
    }
}

/// A file or folder under `deploy`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

async fn apply(client: &Client, objects: berth_testbed::Result<Vec<DynamicObject>>) {
    for object in objects.expect("manifests") {
        manifests::apply(client, &object).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Applies every object of a file under `deploy`, as `kubectl` does, and takes no unknown field.
pub(crate) async fn apply_file(client: &Client, file: &str) {
    apply(client, manifests::objects(&deploy(file))).await;
}

/// True if an object of ours says this in a condition.
pub(crate) fn says(object: Option<&Value>, type_: &str, status: &str, part: &str) -> bool {
    let all = object.and_then(|object| object["status"]["conditions"].as_array());
    all.into_iter().flatten().any(|it| {
        it["type"] == type_
            && it["status"] == status
            && it["message"].as_str().is_some_and(|message| message.contains(part))
    })
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
