//! ResourceSlices: S13, S18.

use super::object;
use berth_api::convert::devices;
use berth_model::DeviceHealth;

const SLICE: &str = "
metadata: {name: n1-gpu.berth.dev}
spec:
  driver: gpu.berth.dev
  nodeName: n1
  pool: {name: n1, generation: 3, resourceSliceCount: 1}
  devices:
    - name: gpu-a
      attributes: {productName: {string: NVIDIA H200}, numaNode: {int: 1}, cudaDriverVersion: {version: 13.0.0}}
      capacity: {memory: {value: 81408Mi, requestPolicy: {default: 81408Mi}}}
    - name: gpu-b
      capacity: {memory: {value: '1048577'}}
      taints: [{key: gpu.berth.dev/unhealthy, value: xid-79, effect: NoSchedule}]
";

#[test]
fn s13_s18_devices_with_what_can_be_given_out_and_whether() {
    let found = devices(&object(SLICE)).unwrap();
    let first = &found[0];
    assert_eq!(
        (&*first.name, first.spec.memory.0, first.spec.model.as_str()),
        ("gpu-a", 81_408, "NVIDIA H200")
    );
    assert_eq!((first.spec.link_group, first.spec.health), (1, DeviceHealth::Healthy));
    // A part of a MiB cannot be given out.
    assert_eq!((found[1].spec.memory.0, found[1].spec.health), (1, DeviceHealth::Unhealthy));
}

#[test]
fn s18_any_taint_keeps_pods_away() {
    let health = |taint: &str| {
        let text = SLICE
            .replace("{key: gpu.berth.dev/unhealthy, value: xid-79, effect: NoSchedule}", taint)
            .replace("'1048577'", "1Gi");
        devices(&object(&text)).unwrap()[1].spec.health
    };
    assert_eq!(health("{key: gpu.berth.dev/unhealthy, value: lost, effect: NoSchedule}"), DeviceHealth::Lost);
    assert_eq!(health("{key: gpu.berth.dev/mig, effect: NoSchedule}"), DeviceHealth::Unhealthy);
    assert_eq!(health("{key: somebody/s, value: lost, effect: NoExecute}"), DeviceHealth::Unhealthy);
    assert_eq!(health("{key: somebody/s, effect: None}"), DeviceHealth::Healthy);
}

#[test]
fn a_device_of_unknown_size_is_of_no_use_and_a_malformed_one_is_named() {
    let with = |value: &str| devices(&object(&SLICE.replace("81408Mi, r", &format!("{value}, r"))));
    assert_eq!(with("'0'").unwrap()[0].spec.health, DeviceHealth::Unhealthy);
    let error = with("much").unwrap_err().to_string();
    assert!(
        error.starts_with(
            "ResourceSlice n1-gpu.berth.dev: spec.devices[0].capacity[memory].value: \"much\"; allowed: memory"
        ),
        "{error}"
    );
}
