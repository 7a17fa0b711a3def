//! A cluster in which Berth is installed as `deploy` says it, with its scheduler in this process and its agent on a real node.

use std::{fs, net::TcpListener, path::Path};

use berth_scheduler::{
    config::Config,
    run::{self, Running},
};
use berth_testbed::{ControllerManager, Options, Testbed};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Node, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::common::get;
use crate::world::{Hears, World, eventually, install};

pub(crate) struct Installed {
    pub(crate) world: World,
    config: Config,
    /// In a runtime of its own: with it all its connections end, as with a process.
    scheduler: Option<(Runtime, Running)>,
}

impl Installed {
    pub(crate) async fn start() -> Self {
        let options = Options::new().controller_manager(ControllerManager::new());
        let testbed = Testbed::start(options).await.unwrap();
        let client = testbed.client().await.unwrap();
        let account = scheduler(&testbed, &client).await;
        let certificate = testbed.certificate("telemetry", &["localhost"]).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "kubeconfig": account,
            "listen": "127.0.0.1:0",
            "lease": { "enabled": false },
            "evict": { "noneForSeconds": 0 },
            "telemetry": {
                "listen": format!("127.0.0.1:{port}"),
                "certificate": certificate.certificate,
                "key": certificate.key,
            },
        });
        let config = Config::parse(&config.to_string()).unwrap();
        let hears = Hears { port, ca: testbed.ca() };
        let world = World::begin(testbed, client.clone(), Some(hears)).await;
        fs::write(world.token(), token(&client).await).unwrap();
        let mut it = Self { world, config, scheduler: None };
        it.restart().await;
        it
    }

    /// Ends the scheduler, if one runs, and starts another, which knows nothing of what that one knew.
    pub(crate) async fn restart(&mut self) {
        self.end().await;
        let (runtime, config) = (Runtime::new().unwrap(), self.config.clone());
        let started = runtime.spawn(async move { run::start(&config, "test".to_owned()).await });
        let running = started.await.unwrap().unwrap();
        let address = running.address;
        self.scheduler = Some((runtime, running));
        eventually("the scheduler is ready", async || {
            tokio::task::spawn_blocking(move || get(address, "/readyz"))
                .await
                .unwrap()
                .filter(|it| it.0 == 200)
        })
        .await;
    }

    /// Ends the scheduler in order.
    pub(crate) async fn end(&mut self) {
        let Some((runtime, running)) = self.scheduler.take() else { return };
        runtime.spawn(running.stop()).await.unwrap();
        runtime.shutdown_background();
    }
}

impl Drop for Installed {
    /// A runtime must not be waited for in another.
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.scheduler.take() {
            runtime.shutdown_background();
        }
    }
}

/// The scheduler's objects and rights; the way in that they give.
async fn scheduler(testbed: &Testbed, client: &Client) -> std::path::PathBuf {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomization.yaml");
    let all: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(deploy).unwrap()).unwrap();
    let files = all["resources"].as_array().unwrap().iter().map(|file| file.as_str().unwrap());
    install(client, files).await;
    let access = testbed.service_account("berth-system", "berth-scheduler").await.unwrap();
    access.kubeconfig().to_owned()
}

/// A token as the agent's pod would have it.
async fn token(client: &Client) -> String {
    let node = Api::<Node>::all(client.clone()).get("gpu-0").await.unwrap();
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: node.metadata.name,
        uid: node.metadata.uid,
    };
    let spec = TokenRequestSpec {
        audiences: Some(vec!["berth-scheduler".to_owned()]),
        bound_object_ref: Some(bound),
        expiration_seconds: Some(3600),
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "berth-agent");
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request("nvml-probe", &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token.unwrap()
}
