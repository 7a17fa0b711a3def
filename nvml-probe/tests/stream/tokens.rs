//! TLS, and tokens that a real API server made and judges.

use super::*;
use berth_cluster::telemetry::{Reviewer, review::AUDIENCE};
use berth_testbed::{Options, Testbed, fake::NodeTemplate};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Node, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};

async fn token(client: &Client, account: &str, node: Option<&Node>, audience: &str) -> String {
    let bound = node.map(|node| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: node.metadata.name.clone(),
        uid: node.metadata.uid.clone(),
    });
    let spec = TokenRequestSpec {
        audiences: Some(vec![audience.to_owned()]),
        bound_object_ref: bound,
        expiration_seconds: Some(600),
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "berth-agent");
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token.unwrap()
}

async fn account(client: &Client, name: &str) {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(name.to_owned());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "berth-agent");
    accounts.create(&PostParams::default(), &account).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_agent_of_a_node_speaks_for_it() {
    let testbed = Testbed::start(Options::new()).await.unwrap();
    let client = testbed.client().await.unwrap();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("berth-agent".to_owned());
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    account(&client, "nvml-probe").await;
    account(&client, "other").await;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = |name: &str| {
        let node = NodeTemplate::new(name).node(1);
        let nodes = nodes.clone();
        async move { nodes.create(&PostParams::default(), &node).await.unwrap() }
    };
    let (here, elsewhere) = (node("n").await, node("m").await);
    assert_ne!(here.metadata.name, elsewhere.metadata.name);

    let certificate = testbed.certificate("telemetry", &["localhost"]).unwrap();
    let pem = |path| std::fs::read(path).unwrap();
    let tls = Some((pem(&certificate.certificate), pem(&certificate.key)));
    let reviewer = Reviewer::new(client.clone(), "berth-agent", "nvml-probe");
    let settings = Settings { tls, ..Settings::default() };
    let replica = Replica::start("127.0.0.1:0", true, settings, reviewer);
    let port = replica.address.rsplit_once(':').unwrap().1.to_owned();

    let mut script = sound(1);
    used(&mut script, 700);
    let machine = Machine::new(script);
    let mut settings = scheduler(&machine, &format!("localhost:{port}"), "none");
    settings.ca = Some(testbed.ca());
    let file = settings.token.clone();
    let running = agent(&machine, settings).await;
    let refused = [
        token(&client, "other", Some(&here), AUDIENCE).await,
        token(&client, "nvml-probe", Some(&here), "somebody-else").await,
        token(&client, "nvml-probe", None, AUDIENCE).await,
        token(&client, "nvml-probe", Some(&elsewhere), AUDIENCE).await,
    ];
    for token in refused {
        std::fs::write(&file, token).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(replica.board.lock().events(&Model, Timestamp(0)), []);
    }
    std::fs::write(&file, token(&client, "nvml-probe", Some(&here), AUDIENCE).await).unwrap();
    replica.until(foreign(700)).await;
    drop(running);
}
