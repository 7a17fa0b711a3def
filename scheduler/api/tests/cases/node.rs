//! Nodes: S1, S11, S13.

use super::object;
use berth_api::convert::{NodeFacts, node};
use berth_api::names::node::FRACTIONS;
use berth_api::slim;
use berth_model::{DeviceSpec, GpuMemoryMib, NodeId};

fn read(yaml: &str, facts: NodeFacts<'_>) -> Result<berth_model::NodeSpec, String> {
    node(&object(yaml), facts).map_err(|error| error.to_string())
}

const PLAIN: NodeFacts<'_> = NodeFacts { id: NodeId(7), csi: None, devices: None, selected: &[] };

const NODE: &str = "
metadata:
  name: n1
  labels: {nvidia.com/gpu.product: NVIDIA-H200, nvidia.com/gpu.memory: '143771', rack: r1}
spec:
  unschedulable: true
  taints: [{key: nvidia.com/gpu, effect: NoSchedule}, {key: team, value: a, effect: NoExecute}]
status:
  allocatable:
    cpu: 191500m
    memory: 2113928Mi
    ephemeral-storage: '1000500m'
    pods: '110'
    hugepages-2Mi: '0'
    nvidia.com/gpu: '2'
    example.com/nic: '8'
    storage: 5Gi
  conditions: [{type: MemoryPressure, status: 'False'}, {type: Ready, status: 'True'}]
";

#[test]
fn s11_a_node_with_a_device_plugin() {
    let found = read(NODE, PLAIN).unwrap();
    assert_eq!(
        (found.id, found.name.as_str(), found.ready, found.unschedulable),
        (NodeId(7), "n1", true, true)
    );
    let given = found.allocatable;
    assert_eq!((given.cpu.0, given.memory.0, given.ephemeral.0), (191_500, 2_113_928 << 20, 1001));
    assert_eq!(given.pods, 110);
    assert_eq!(given.extended.into_iter().collect::<Vec<_>>(), [("example.com/nic".to_owned(), 8)]);
    assert_eq!(found.devices, vec![DeviceSpec::new(GpuMemoryMib(143_771), "NVIDIA-H200"); 2]);
    let taints: Vec<_> =
        found.taints.iter().map(|t| format!("{}={}:{:?}", t.key, t.value, t.effect)).collect();
    assert_eq!(taints, ["nvidia.com/gpu=:NoSchedule", "team=a:NoExecute"]);
    assert!(!found.labels.contains_key(FRACTIONS));
}

#[test]
fn s13_only_our_driver_shares_devices() {
    let devices = vec![DeviceSpec::new(GpuMemoryMib(80_000), "A100"); 4];
    let facts = NodeFacts { devices: Some(&devices), ..PLAIN };
    let pretends = NODE.replace("rack: r1", &format!("{FRACTIONS}: 'true'"));
    assert!(!read(&pretends, PLAIN).unwrap().labels.contains_key(FRACTIONS));
    let own = NODE.replace("    nvidia.com/gpu: '2'\n", "");
    let found = read(&own, facts).unwrap();
    assert_eq!(found.devices, devices);
    assert_eq!(found.labels[FRACTIONS], "true");
    assert_eq!(
        read(NODE, facts).unwrap_err(),
        "Node n1: status.allocatable[nvidia.com/gpu]: \"2 beside 4 devices\"; allowed: 0 where gpu.berth.dev hands out \
         the devices: stop the device plugin on this node"
    );
}

#[test]
fn s11_how_many_volumes_a_node_attaches() {
    let csi: slim::CsiNode = object(
        "metadata: {name: n1}\nspec: {drivers: [{name: a, allocatable: {count: 24}}, {name: b}, {name: c, allocatable: {}}]}",
    );
    let found = read(NODE, NodeFacts { csi: Some(&csi), ..PLAIN }).unwrap();
    assert_eq!(found.volume_limits.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 24)]);
}

#[test]
fn malformed_nodes_are_named() {
    let cases = [
        (
            "cpu: 191500m",
            "cpu: many",
            "Node n1: status.allocatable[cpu]: \"many\"; allowed: a Kubernetes quantity",
        ),
        ("cpu: 191500m", "cpu: -1", "Node n1: status.allocatable[cpu]: \"-1\"; allowed: 0 or more"),
        (
            "cpu: 191500m",
            "cpu: 9E",
            "Node n1: status.allocatable[cpu]: \"9000000000000000000\"; allowed: at most 2^50",
        ),
        (
            "gpu: '2'",
            "gpu: '65'",
            "Node n1: status.allocatable[nvidia.com/gpu]: \"65\"; allowed: 0 to 64 devices",
        ),
        ("'143771'", "'0'", "Node n1: metadata.labels[nvidia.com/gpu.memory]: \"0\"; allowed: MiB of memory"),
        (
            "NoExecute",
            "Never",
            "Node n1: spec.taints[1].effect: \"Never\"; allowed: NoSchedule, PreferNoSchedule, NoExecute",
        ),
    ];
    for (from, to, expected) in cases {
        let error = read(&NODE.replace(from, to), PLAIN).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn heartbeats_make_no_difference() {
    let with = |time: &str| {
        let status =
            format!("status: {{conditions: [{{type: Ready, status: 'True', lastHeartbeatTime: '{time}'}}]}}");
        object::<slim::Node>(&format!("metadata: {{name: n1}}\n{status}"))
    };
    assert_eq!(with("2026-11-20T10:00:00Z"), with("2026-11-20T10:00:10Z"));
}
