//! Claims of Berth's devices: S13, S14.

use super::{Around, object, pod};
use berth_api::convert::{self, Part, parts};
use berth_api::slim;
use berth_model::{GpuMemoryMib, GpuRequest, GpuShare};

/// Berth's class, and a claim of `team-a` with this for `exactly`, and these parameters.
fn around(name: &str, exactly: &str, parameters: &str) -> Around {
    let class = "metadata: {name: gpu.berth.dev}
spec: {selectors: [{cel: {expression: 'device.driver == \"gpu.berth.dev\"'}}]}";
    let config = match parameters {
        "" => String::new(),
        parameters => format!(
            ", config: [{{opaque: {{driver: gpu.berth.dev, parameters: \
             {{apiVersion: gpu.berth.dev/v1alpha1, kind: DeviceMemory, {parameters}}}}}}}]"
        ),
    };
    let claim = format!(
        "metadata: {{name: {name}, namespace: team-a, uid: cu}}
spec: {{devices: {{requests: [{{name: gpu, exactly: {{deviceClassName: gpu.berth.dev{exactly}}}}}]{config}}}}}"
    );
    Around { device_claims: vec![object(&claim)], device_classes: vec![object(class)], ..Around::default() }
}

/// A claim of this name for so much memory of one device.
pub(crate) fn claimed(name: &str, memory: &str) -> Around {
    around(name, &format!(", capacity: {{requests: {{memory: {memory}}}}}"), "")
}

const SPEC: &str = "{resourceClaims: [{name: gpu, resourceClaimName: c}]}";

fn gpu(marks: &str, around: &Around) -> Result<GpuRequest, String> {
    convert::pod(&pod(marks, SPEC), around).map(|spec| spec.gpu).map_err(|error| error.to_string())
}

#[test]
fn s13_s14_what_claims_ask_for() {
    let (memory, limit) = (GpuMemoryMib(10_240), Some(GpuMemoryMib(20_480)));
    let cases = [
        ("", "", GpuRequest::Whole(1)),
        (", count: 3", "", GpuRequest::Whole(3)),
        (
            ", capacity: {requests: {memory: 10Gi}}",
            "",
            GpuRequest::Memory { memory, devices: 1, limit: None },
        ),
        (
            ", count: 2, allocationMode: ExactCount, capacity: {requests: {memory: 10Gi}}",
            "limit: 20Gi",
            GpuRequest::Memory { memory, devices: 2, limit },
        ),
        (
            "",
            "fraction: '0.25', fractionLimit: '1'",
            GpuRequest::Share { share: GpuShare(250_000), devices: 1, limit: Some(GpuShare::DEVICE) },
        ),
    ];
    for (exactly, parameters, expected) in cases {
        assert_eq!(gpu("", &around("c", exactly, parameters)), Ok(expected), "{exactly} {parameters}");
    }
}

#[test]
fn what_annotations_and_the_claim_say_must_agree() {
    assert!(gpu("note berth.dev/gpu-memory=10Gi", &claimed("c", "10Gi")).is_ok());
    let error = gpu("note berth.dev/gpu-memory=1Gi", &claimed("c", "10Gi")).unwrap_err();
    assert!(
        error.contains("spec.resourceClaims[gpu]") && error.contains("what the annotations ask for"),
        "{error}"
    );
    let bare = convert::pod(&pod("note berth.dev/gpu-memory=1Gi", "{}"), &Around::default()).unwrap_err();
    assert!(bare.to_string().contains("which Berth's webhook adds"), "{bare}");
}

#[test]
fn what_is_not_understood_is_named_and_not_guessed() {
    let claim = "spec.resourceClaims[gpu].ResourceClaim team-a/c.spec.devices.requests[gpu].exactly";
    let cases = [
        (
            ", selectors: [{cel: {expression: x}}]",
            "",
            format!("{claim}.selectors[0].cel.expression: \"x\"; allowed: \"x\" is not known"),
        ),
        (", tolerations: [{operator: Exists}]", "", format!("{claim}.tolerations")),
        (", allocationMode: All", "", format!("{claim}.allocationMode: \"All\"; allowed: ExactCount")),
        (", adminAccess: true", "", format!("{claim}.adminAccess")),
        (", capacity: {requests: {cores: 1}}", "", format!("{claim}.capacity.requests: \"cores\"")),
        (", count: 65", "", "spec.devices.requests[gpu].exactly.count: \"65\"; allowed: 1 to 64".to_owned()),
        (
            ", capacity: {requests: {memory: 2Gi}}",
            "limit: 1Gi",
            "limit: \"1Gi\"; allowed: the request 2Gi or more".to_owned(),
        ),
        ("", "fraction: '2'", "fraction: \"2\"".to_owned()),
        ("", "much: 1", "opaque.parameters".to_owned()),
    ];
    for (exactly, parameters, expected) in cases {
        let error = gpu("", &around("c", exactly, parameters)).unwrap_err();
        assert!(error.contains(&expected), "{error}\n{expected}");
    }
    let mut other = claimed("c", "1Gi");
    other.device_classes[0].spec.selectors[0].cel.as_mut().unwrap().expression =
        "device.driver == \"gpu.nvidia.com\"".to_owned();
    let error = gpu("", &other).unwrap_err();
    assert!(error.contains("gpu.nvidia.com\\\")\"; allowed: selectors one of which"), "{error}");
}

#[test]
fn s33_what_a_claim_was_given_is_read_back() {
    let claim: slim::ResourceClaim = object(
        "metadata: {name: c, namespace: team-a}
status:
  allocation:
    devices:
      results:
        - {request: gpu, driver: gpu.berth.dev, pool: n1, device: a, consumedCapacity: {memory: 10Gi}, shareID: x}
        - {request: gpu, driver: other, pool: n1, device: b}
        - {request: gpu, driver: gpu.berth.dev, pool: n1, device: c}
      config:
        - source: FromClaim
          opaque:
            driver: gpu.berth.dev
            parameters: {apiVersion: gpu.berth.dev/v1alpha1, kind: DeviceMemory, limit: 20Gi}",
    );
    let limit = Some(GpuMemoryMib(20_480));
    let expected = [
        Part { node: "n1", device: "a", memory: Some(GpuMemoryMib(10_240)), limit },
        Part { node: "n1", device: "c", memory: None, limit },
    ];
    assert_eq!(parts(&claim), expected);
}
