//! The kubelet of a node: its configuration and its start.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Inside, NodeOptions, Space, access, path, runtime};
use crate::error::{Error, Result};
use crate::pki::Certificate;
use crate::programs::Program;
use crate::supervise::Supervised;
use crate::testbed::Testbed;

pub(super) async fn start(
    testbed: &Testbed,
    options: &NodeOptions,
    space: &Space,
    supervised: &Supervised,
) -> Result<Inside> {
    let folder = supervised.folder();
    let address = space.network.node();
    let serving = testbed.certificate(&format!("kubelet-{}", options.name), &[&options.name, &address])?;
    let mut config = configuration(testbed, options, &serving, supervised);
    config["address"] = json!(address);
    if let (Value::Object(ours), Value::Object(theirs)) = (&mut config, &options.kubelet) {
        ours.extend(theirs.clone());
    }
    let file = folder.join("kubelet.json");
    fs::write(&file, config.to_string()).map_err(Error::io(format!("writing {}", file.display())))?;
    let access = access(testbed, &options.name, folder)?;
    let mut arguments = vec![
        format!("--config={}", path(&file)),
        format!("--kubeconfig={}", path(access.kubeconfig())),
        format!("--hostname-override={}", options.name),
        format!("--node-ip={address}"),
    ];
    if !options.labels.is_empty() {
        let labels: Vec<String> =
            options.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        arguments.push(format!("--node-labels={}", labels.join(",")));
    }
    space.start("kubelet", &Program::Kubelet.path().await?, arguments, supervised)
}

fn configuration(
    testbed: &Testbed,
    options: &NodeOptions,
    serving: &Certificate,
    supervised: &Supervised,
) -> Value {
    let folder: &Path = supervised.folder();
    let gates: Map<String, Value> =
        testbed.feature_gates().iter().map(|(name, on)| (name.clone(), json!(on))).collect();
    let taints: Vec<Value> = options
        .taints
        .iter()
        .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}))
        .collect();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": testbed.ca()}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "readOnlyPort": 0,
        "containerRuntimeEndpoint": format!("unix://{}", path(&runtime::socket(folder))),
        "featureGates": gates,
        "registerWithTaints": taints,
        // Whatever kind of control groups the machine has, the node's own are below one that is named after its folder,
        // and nothing is reserved or limited outside of it.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", supervised.name()),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "oomScoreAdj": 0,
        // The machine's own disk and memory may be nearly full.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                         "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "resolvConf": "",
        // Changes are seen sooner than in a large cluster.
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
    })
}
