//! Selectors of devices, as Kubernetes 1.36.3 answers them: `cel.txt` is what its own library said.

use super::object;
use berth_api::cel::{Environment, Selector};
use berth_api::slim::Device;

const DEVICE: &str = "
name: gpu-0
allowMultipleAllocations: true
attributes:
  productName: {string: NVIDIA H100}
  uuid: {string: GPU-1}
  numaNode: {int: 1}
  gpu.berth.dev/big: {bool: true}
  cudaComputeCapability: {version: 9.0.0}
  resource.kubernetes.io/pciBusID: {string: '0000:01:00.0'}
capacity: {memory: {value: 80Gi}, cores: {value: 1500m}}
";
const DRIVER: &str = "gpu.berth.dev";

/// What Kubernetes knows and this does not.
const NOT_UNDERSTOOD: [&str; 6] = ["substring", "type(", "find(", "sets.", "ip(", "hasValue"];

#[test]
fn selectors_answer_as_those_of_kubernetes() {
    let device: Device = object(DEVICE);
    let environment = Environment::new();
    let mut differ = Vec::new();
    for line in include_str!("cel.txt").lines() {
        let (expected, expression) = line.split_once('|').expect("verdict | expression");
        let (expected, expression) = (expected.trim(), &expression[1..]);
        let found = match Selector::compile(expression) {
            Err(why) if why.contains("not understood") => "not understood",
            Err(_) => "invalid",
            Ok(selector) => match selector.matches(&environment, DRIVER, &device) {
                Ok(true) => "true",
                Ok(false) => "false",
                Err(_) => "fails",
            },
        };
        // What the API server refuses never gets here. Types, unlike names, are only looked at when it is evaluated.
        let same = expected == "invalid" || found == expected;
        let refused = matches!(found, "not understood" | "invalid");
        let known = refused && NOT_UNDERSTOOD.iter().any(|it| expression.contains(it));
        if !same && !known {
            differ.push(format!("{expected} | {found} | {expression}"));
        }
    }
    assert!(differ.is_empty(), "Kubernetes | Berth | expression\n{}", differ.join("\n"));
}

#[test]
fn devices_that_look_the_same_to_an_expression_have_one_view() {
    let one: Device = object(DEVICE);
    let other: Device = object(&DEVICE.replace("GPU-1", "GPU-2"));
    let view = |expression: &str, device: &Device| Selector::compile(expression).unwrap().view(device);
    let same = |expression: &str| view(expression, &one) == view(expression, &other);
    assert!(same("device.attributes['gpu.berth.dev'].productName == 'x'"));
    assert!(same("device.capacity['gpu.berth.dev'].memory.isInteger()"));
    assert!(!same("device.attributes['gpu.berth.dev'].uuid == 'GPU-1'"));
    assert!(!same("device.attributes['gpu.berth.dev']['uuid'] == 'GPU-1'"));
    assert!(!same(
        "device.attributes['gpu.berth.dev'].exists(k, device.attributes['gpu.berth.dev'][k] == 'GPU-1')"
    ));
    assert!(!same("cel.bind(all, device.attributes, all['gpu.berth.dev'].uuid == 'GPU-1')"));
    assert!(!same("device.attributes['gpu.berth.dev'] == device.attributes['x']"));
    assert!(!same("['uuid'].exists(k, device.attributes['gpu.berth.dev'][k] == 'GPU-1')"));
}

#[test]
fn whose_devices_an_expression_means() {
    let demands = |expression: &str| Selector::compile(expression).unwrap().demands_driver(DRIVER);
    assert!(demands("device.driver == 'gpu.berth.dev'"));
    assert!(demands("\"gpu.berth.dev\" == device.driver && true && 1 == 1"));
    assert!(!demands("device.driver == 'gpu.berth.dev' || true"));
    assert!(!demands("device.driver == 'other.dev'"));
    assert!(!demands("device.driver != 'gpu.berth.dev'"));
}

#[test]
fn deep_and_long_expressions_are_refused_or_answered() {
    let deep = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    let (environment, device) = (Environment::new(), object(DEVICE));
    let long = |n: usize| format!("{}1 > 0", "1 + ".repeat(n));
    let wide = |n: usize| format!("{}true", "true && ".repeat(n));
    let not = |n: usize| format!("{}true", "!!".repeat(n));
    let of = |list: usize| format!("[{}1].exists(x, x == 1)", "2, ".repeat(list));
    let trimmed = |n: usize| format!("'a'{} == 'a'", ".trim()".repeat(n));
    let cases = |n: usize| format!("{}true{}", "true ? ".repeat(n), " : false".repeat(n));
    for n in [10, 25, 40, 60, 90, 1000, 2000, 5000] {
        for expression in [deep(n), long(n), wide(n), not(n), of(n), trimmed(n), cases(n)] {
            match Selector::compile(&expression) {
                Ok(selector) => {
                    assert_eq!(selector.matches(&environment, DRIVER, &device), Ok(true), "{expression}");
                }
                Err(why) => assert!(!why.is_empty()),
            }
        }
    }
    assert!(Selector::compile(&deep(40)).is_ok() && Selector::compile(&long(25)).is_ok());
    assert!(Selector::compile(&"x".repeat(20_000)).unwrap_err().contains("bytes long"));
}
