//! The control plane, as tests of other crates use it. The first run builds the programs.

use std::time::Duration;

use berth_testbed::fake::{AT_ONCE, NodeTemplate, PodTemplate, create_all};
use berth_testbed::pods::{self, phase};
use berth_testbed::{Component, ControllerManager, Error, Kwok, Options, Scheduler, Testbed};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// How long anything may take that takes a moment on a machine that does nothing else.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_alone_keeps_what_it_was_given_through_the_death_of_every_part() {
    let testbed = Testbed::start(Options::new()).await.unwrap();
    let client = testbed.client().await.unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(
        (version.git_version.as_str(), version.major.as_str(), version.minor.as_str()),
        ("v1.36.3", "1", "36")
    );

    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let template = NodeTemplate::new("node").gpus(8).label("rack", "rack-{index}");
    assert_eq!(create_all(&nodes, template.nodes(0..50), AT_ONCE).await.unwrap(), 50);
    let node = nodes.get("node-7").await.unwrap();
    assert_eq!(node.metadata.labels.as_ref().unwrap()["rack"], "rack-7");
    assert!(node.spec.as_ref().unwrap().taints.is_none(), "usable at once: {:?}", node.spec);
    assert_eq!(node.status.as_ref().unwrap().allocatable.as_ref().unwrap()["nvidia.com/gpu"].0, "8");
    pods.create(&PostParams::default(), &PodTemplate::new("kept").gpus(1).pod(0)).await.unwrap();

    let port = testbed.port(Component::ApiServer).unwrap();
    for component in [Component::ApiServer, Component::Etcd] {
        let before = testbed.pid(component).unwrap();
        testbed.kill(component).unwrap();
        assert_eq!(testbed.pid(component), None);
        let refused = testbed.kill(component).unwrap_err();
        assert_eq!(refused.to_string(), format!("{component} does not run"));
        testbed.start_again(component).await.unwrap();
        assert_ne!(testbed.pid(component), Some(before));
    }
    testbed.stop(Component::ApiServer).await.unwrap();
    assert!(pods.get("kept-0").await.is_err());
    testbed.start_again(Component::ApiServer).await.unwrap();
    assert_eq!(testbed.port(Component::ApiServer).unwrap(), port);

    // The client from before, too.
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 50);
    assert_eq!(phase(&pods.get("kept-0").await.unwrap()), "Pending");
    let log = std::fs::read_to_string(testbed.log(Component::ApiServer).unwrap()).unwrap();
    assert!(log.contains("Serving securely"), "{log}");
    assert!(matches!(testbed.kill(Component::Kwok), Err(Error::Absent(Component::Kwok))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_control_plane_schedules_runs_and_ends_pods() {
    let options = Options::new()
        .for_load()
        .controller_manager(ControllerManager::new())
        .scheduler(Scheduler::new().named("theirs").limits(500, 500))
        .kwok(Kwok::new());
    let testbed = Testbed::start(options).await.unwrap();
    let client = testbed.client().await.unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    create_all(&nodes, NodeTemplate::new("node").gpus(8).nodes(0..3), AT_ONCE).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let template =
        PodTemplate::new("job").gpus(8).scheduler("theirs").annotation("berth.dev/testbed-run-for", "1s");
    create_all(&pods, template.pods(0..3), AT_ONCE).await.unwrap();
    let mut used = Vec::new();
    for index in 0..3 {
        let pod =
            pods::wait(&pods, &format!("job-{index}"), SOON, |pod| phase(pod) == "Succeeded").await.unwrap();
        used.push(pods::node(&pod).unwrap().to_owned());
    }
    used.sort();
    assert_eq!(used, ["node-0", "node-1", "node-2"]);

    let fails = PodTemplate::new("fails").scheduler("theirs").annotation("berth.dev/testbed-run-for", "0.1s");
    let fails = fails.annotation("berth.dev/testbed-fail", "true").pod(0);
    pods.create(&PostParams::default(), &fails).await.unwrap();
    pods::wait(&pods, "fails-0", SOON, |pod| phase(pod) == "Failed").await.unwrap();

    // One that has no time to run stays until it is deleted.
    let stays = PodTemplate::new("stays").on_node("node-1").pod(0);
    pods.create(&PostParams::default(), &stays).await.unwrap();
    let pod = pods::wait(&pods, "stays-0", SOON, |pod| phase(pod) == "Running").await.unwrap();
    assert!(pod.status.unwrap().pod_ip.is_some());
    pods.delete("stays-0", &DeleteParams::default()).await.unwrap();
    pods::wait_gone(&pods, "stays-0", SOON).await.unwrap();

    // Another scheduler in its place, on the same objects.
    testbed.stop(Component::Scheduler).await.unwrap();
    testbed.start_scheduler(&Scheduler::new()).await.unwrap();
    pods.create(&PostParams::default(), &PodTemplate::new("next").gpus(1).pod(0)).await.unwrap();
    pods::wait(&pods, "next-0", SOON, |pod| pods::node(pod).is_some()).await.unwrap();
    let again = testbed.start_scheduler(&Scheduler::new()).await.unwrap_err();
    assert_eq!(again.to_string(), "kube-scheduler runs already");
}

async fn may_list_pods(client: &Client) -> Result<usize, u16> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    match pods.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items.len()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_do_what_its_role_says_and_nothing_else() {
    let testbed = Testbed::start(Options::new()).await.unwrap();
    let admin = testbed.client().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(admin.clone());
    let absent = testbed.service_account("default", "reader").await.unwrap_err();
    assert!(absent.to_string().contains("default/reader"), "{absent}");
    let apply = PatchParams::apply("test");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}});
    accounts.patch("reader", &apply, &Patch::Apply(account)).await.unwrap();
    let reader = testbed.service_account("default", "reader").await.unwrap();
    let client = reader.client().await.unwrap();
    assert_eq!(may_list_pods(&client).await, Err(403));

    let rules = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    });
    Api::<Role>::default_namespaced(admin.clone())
        .patch("reader", &apply, &Patch::Apply(rules))
        .await
        .unwrap();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "reader", "namespace": "default"},
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"},
        ],
    });
    Api::<RoleBinding>::default_namespaced(admin.clone())
        .patch("reader", &apply, &Patch::Apply(binding))
        .await
        .unwrap();
    let in_time = async |client: &Client| {
        for _ in 0..100 {
            if may_list_pods(client).await == Ok(0) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    };
    assert!(in_time(&client).await, "the role holds");
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    assert!(
        matches!(secrets.list(&ListParams::default()).await, Err(kube::Error::Api(status)) if status.code == 403)
    );

    // A user of a group, and one of none.
    let ann = testbed.user("ann", &["readers"]).unwrap().client().await.unwrap();
    assert!(in_time(&ann).await, "the group's role holds");
    let bob = testbed.user("bob", &[]).unwrap().client().await.unwrap();
    assert_eq!(may_list_pods(&bob).await, Err(403));

    // Whoever is not signed by the testbed's authority is not believed.
    let mut config = testbed.admin().config().await.unwrap();
    config.root_cert = None;
    config.default_retry = false;
    let wary = Client::try_from(config).unwrap();
    assert!(matches!(wary.apiserver_version().await, Err(error) if !matches!(error, kube::Error::Api(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn testbeds_run_side_by_side_and_know_nothing_of_each_other() {
    let (one, other) = tokio::join!(Testbed::start(Options::new()), Testbed::start(Options::new()));
    let (one, other) = (one.unwrap(), other.unwrap());
    let namespaces = |client| Api::<Namespace>::all(client);
    let mine = namespaces(one.client().await.unwrap());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}});
    mine.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    assert!(mine.get_opt("mine").await.unwrap().is_some());
    drop(one);
    assert!(namespaces(other.client().await.unwrap()).get_opt("mine").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_ends_is_said_with_its_last_words() {
    let error = Testbed::start(Options::new().api_server_flag("--no-such-flag")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("kube-apiserver ended (exit status: 1)"), "{text}");
    assert!(text.contains("unknown flag: --no-such-flag"), "{text}");
}
