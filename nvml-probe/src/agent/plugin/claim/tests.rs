//! Allocations as the API has them -> grants, or an error in words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    DeviceInfo, Failure, Reading,
    agent::{DeviceName, DeviceState, DriverState, Fitness, PodIndex},
};

/// A node with the devices `gpu-a` and `gpu-b` of 1000 MiB.
fn node() -> NodeState {
    let device = |uuid: &str, minor| {
        let mut info = DeviceInfo::failed(0, &Failure::Lost);
        (info.uuid, info.minor) = (Reading::Known(uuid.to_owned()), Reading::Known(minor));
        DeviceState {
            name: DeviceName::of_uuid(uuid),
            info: Arc::new(info),
            grantable_mib: 1000,
            reserved_mib: 0,
            fitness: Fitness::Healthy,
            sample: None,
            health: None,
            last_xid: None,
            shares: None,
        }
    };
    let devices = vec![device("GPU-A", 0), device("GPU-B", 5)];
    NodeState { tick: 1, driver: DriverState::Starting, devices, pods: Arc::new(PodIndex::default()) }
}

fn read(results: Value, config: Value) -> Result<Vec<Grant>, String> {
    let claim = json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
        "spec": {},
        "status": {"allocation": {"devices": {"results": results, "config": config}}},
    });
    grants(&serde_json::from_value(claim).unwrap(), "n", &node())
}

fn result(request: &str, device: &str, memory: Option<&str>) -> Value {
    let consumed = memory.map(|memory| json!({"memory": memory}));
    json!({"driver": "gpu.berth.dev", "pool": "n", "request": request, "device": device, "consumedCapacity": consumed})
}

fn limited(requests: &[&str], limit: &str) -> Value {
    let parameters = json!({"apiVersion": "gpu.berth.dev/v1alpha1", "kind": "DeviceMemory", "limit": limit});
    json!({"source": "FromClaim", "requests": requests,
        "opaque": {"driver": "gpu.berth.dev", "parameters": parameters}})
}

#[test]
fn a_part_a_whole_device_and_what_is_of_others() {
    let other = json!({"driver": "nic.example.com", "pool": "x", "request": "r", "device": "eth0"});
    let all = json!([result("a", "gpu-a", Some("100Mi")), other, result("b/first", "gpu-b", None)]);
    let found = read(all, json!([])).unwrap();
    let shown: Vec<_> = found.iter().map(|it| (it.minor, it.request_mib, it.limit_mib)).collect();
    assert_eq!(shown, [(0, 100, 100), (5, 1000, 1000)]);
    assert_eq!(by_request(&found).keys().collect::<Vec<_>>(), ["a", "b.first"]);
}

#[test]
fn the_last_limit_that_fits_counts() {
    let results = json!([result("a", "gpu-a", Some("100Mi")), result("b/first", "gpu-b", Some("100Mi"))]);
    let config = json!([limited(&[], "200Mi"), limited(&["b"], "300Mi"), limited(&["c"], "400Mi"),
        {"source": "FromClass", "opaque": {"driver": "other.example.com", "parameters": {"limit": 1}}}]);
    let limits: Vec<u64> = read(results, config).unwrap().iter().map(|it| it.limit_mib).collect();
    assert_eq!(limits, [200, 300]);
}

#[test]
fn what_may_not_be_is_refused_by_name() {
    let one = |memory| json!([result("a", "gpu-a", Some(memory))]);
    let refused = |results: Value, config: Value| read(results, config).unwrap_err();
    let at = "status.allocation.devices.results[0].";
    assert_eq!(
        refused(one("2000Mi"), json!([])),
        format!("{at}consumedCapacity[memory]: is 2000Mi, allowed: 1Mi to 1000Mi")
    );
    let limit = "status.allocation.devices.config[0].opaque.parameters";
    assert_eq!(
        refused(one("100Mi"), json!([limited(&[], "50Mi")])),
        format!("{limit}.limit: is 50Mi, allowed: 100Mi to 1000Mi")
    );
    let mut odd = limited(&[], "200Mi");
    odd["opaque"]["parameters"]["kind"] = json!("Memory");
    assert_eq!(refused(one("1Mi"), json!([odd])), format!("{limit}.kind: is Memory, allowed: DeviceMemory"));
    let mut odd = limited(&[], "200Mi");
    odd["opaque"]["parameters"]["most"] = json!(1);
    assert!(refused(one("1Mi"), json!([odd])).contains("unknown field `most`"));
    assert!(
        refused(json!([result("a", "gpu-x", None)]), json!([])).contains("device: gpu-x is not on this node")
    );
    let mut elsewhere = result("a", "gpu-a", None);
    elsewhere["pool"] = json!("m");
    assert_eq!(refused(json!([elsewhere]), json!([])), format!("{at}pool: is m, allowed on this node: n"));
}
