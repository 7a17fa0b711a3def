//! NodePools, Departments, Projects: S1, S2.

use super::object;
use berth_api::convert;
use berth_api::objects::{Department, NodePool, Project, crds};
use berth_model::{
    DepartmentId, DeviceStrategy, Millis, OverLimit, PoolId, ProjectId, QueueQuota, Quota, Strategy,
};

fn head(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: berth.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}")
}

#[test]
fn s1_a_pool_has_the_defaults_of_the_rules() {
    let read = |name: &str, spec: &str| {
        let pool: NodePool = object(&head("NodePool", name, spec));
        convert::node_pool(&pool, PoolId(1)).map_err(|error| error.to_string())
    };
    let found = read("a100", "{selector: {key: gpu, value: a100}}").unwrap();
    let selector = found.selector.clone().unwrap();
    assert_eq!(found, berth_model::PoolSpec::new(PoolId(1), "a100", Some(selector)));
    let found = read("default", "{gpuStrategy: Spread, deviceStrategy: Spread, minRuntime: 5m, staleGrace: '-1s', consolidation: {enabled: false}, overLimit: EvictPreemptible}").unwrap();
    assert_eq!(
        (found.gpu, found.cpu, found.device),
        (Strategy::Spread, Strategy::Binpack, DeviceStrategy::Spread)
    );
    assert_eq!((found.min_runtime, found.stale_grace), (Millis(300_000), Millis(-1000)));
    assert_eq!((found.consolidation, found.max_moves), (false, 16));
    assert_eq!(found.over_limit, OverLimit::EvictPreemptible);
    let errors = [
        (
            "a",
            "{}",
            "NodePool a: spec.selector: \"not set\"; allowed: set in every pool but `default`, and not set there (S1)",
        ),
        (
            "default",
            "{selector: {key: a, value: b}}",
            "NodePool default: spec.selector: \"set\"; allowed: set in every pool but `default`, and not set there (S1)",
        ),
        (
            "default",
            "{minRuntime: '-5s'}",
            "NodePool default: spec.minRuntime: \"-5s\"; allowed: a duration of 0s or more",
        ),
        (
            "default",
            "{staleGrace: soon}",
            "NodePool default: spec.staleGrace: \"soon\"; allowed: a duration such as 0s, 90s, 1h30m or 1d, units largest first",
        ),
    ];
    for (name, spec, expected) in errors {
        assert_eq!(read(name, spec).unwrap_err(), expected);
    }
}

#[test]
fn a_project_says_after_how_long_room_is_held() {
    let read = |spec: &str| {
        let project: Project = object(&head("Project", "vision", &format!("{{department: d{spec}}}")));
        let read = convert::project(&project, ProjectId(1), DepartmentId(2), |_| Some(PoolId(0)));
        read.map(|project| project.hold_after).map_err(|error| error.to_string())
    };
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read(", holdAfter: 6h").unwrap(), Some(Millis(6 * 3_600_000)));
    assert_eq!(read(", holdAfter: '-1s'").unwrap(), Some(Millis(-1000)), "never");
    let error = read(", holdAfter: soon").unwrap_err();
    assert!(error.starts_with("Project vision: spec.holdAfter: \"soon\"; allowed: a duration"), "{error}");
}

/// What a project has in its one pool.
fn quota(pool: &str) -> Result<QueueQuota, String> {
    let project: Project =
        object(&head("Project", "vision", &format!("{{department: d, pools: [{{name: a100{pool}}}]}}")));
    let read = convert::project(&project, ProjectId(1), DepartmentId(2), |_| Some(PoolId(0)));
    read.map(|project| project.quotas[0].1).map_err(|error| error.to_string())
}

#[test]
fn s2_quotas_are_exact_and_have_defaults() {
    assert_eq!(quota("").unwrap(), QueueQuota::default());
    let found =
        quota(", gpu: {quota: '1.5', limit: 4}, cpu: {quota: 500m}, memory: {limit: 1.5Gi}, weight: 0")
            .unwrap();
    assert_eq!((found.gpu.quota, found.gpu.limit), (Quota::Of(1_500_000), Some(4_000_000)));
    assert_eq!((found.cpu.quota, found.cpu.limit), (Quota::Of(500), None));
    assert_eq!((found.memory.quota, found.memory.limit), (Quota::Unmanaged, Some(3 << 29)));
    assert_eq!(found.weight, Some(0));
    let found = quota(", gpu: {quota: unlimited, limit: unlimited}").unwrap();
    assert_eq!((found.gpu.quota, found.gpu.limit), (Quota::Unlimited, None));
    let at = "Project vision: spec.pools[a100].";
    for (text, expected) in [
        (", gpu: {quota: '0.1234567'}", "gpu.quota: \"0.1234567\"; allowed: a number of GPU devices"),
        (
            ", gpu: {quota: 2, limit: 1}",
            "gpu.limit: \"less than the quota\"; allowed: the quota or more, or none",
        ),
        (", cpu: {limit: -1}", "cpu.limit: \"-1\"; allowed: CPU cores from 0"),
        (", memory: {quota: '0.5'}", "memory.quota: \"0.5\"; allowed: memory in whole bytes"),
        (", weight: -1", "weight: \"-1\"; allowed: 0 or more"),
    ] {
        let error = quota(text).unwrap_err();
        assert!(error.starts_with(&format!("{at}{expected}")), "{error}");
    }
}

#[test]
fn s2_departments_and_projects() {
    let pools = |name: &str| ["default", "a100"].iter().position(|n| *n == name).map(|at| PoolId(at as u32));
    let department: Department = object(&head(
        "Department",
        "research",
        "{pools: [{name: a100, gpu: {quota: 8}}, {name: gone}], nodeTypes: {key: gpu, values: [a, b]}}",
    ));
    let found = convert::department(&department, DepartmentId(4), pools).unwrap();
    assert_eq!((found.rank, found.quotas.len(), found.quotas[0].0), (100, 1, PoolId(1)));
    assert_eq!(found.node_types.unwrap().values, ["a", "b"]);
    let project: Project = object(&head(
        "Project",
        "vision",
        "{department: research, namespace: team-vision, rank: 5, poolOrder: [a100, gone, default]}",
    ));
    let found = convert::project(&project, ProjectId(1), DepartmentId(4), pools).unwrap();
    assert_eq!((found.name.as_str(), found.rank), ("team-vision", 5));
    assert_eq!(found.pools, [PoolId(1), PoolId(0)]);
    let bad: Project = object(&head("Project", "vision", "{department: d, workloadDefaults: {grace: long}}"));
    let error = convert::project(&bad, ProjectId(1), DepartmentId(4), pools).unwrap_err().to_string();
    assert!(
        error.starts_with("Project vision: spec.workloadDefaults.grace: \"long\"; allowed: a duration"),
        "{error}"
    );
}

/// Every field of every object is described, and every list and string is bounded, which keeps the rules cheap.
#[test]
fn every_field_is_described_and_bounded() {
    fn walk(path: &str, schema: &serde_json::Value) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, field) in properties {
                let path = format!("{path}.{name}");
                let ours = !path.contains(".conditions") && path != ".metadata";
                assert!(!ours || field["description"].is_string(), "{path} has no description");
                let bounded = match field["type"].as_str() {
                    Some("array") => field["maxItems"].is_u64(),
                    Some("string") => field["maxLength"].is_u64() || field["enum"].is_array(),
                    _ => true,
                };
                assert!(bounded || !path.starts_with(".spec"), "{path} has no bound");
                walk(&path, field);
            }
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"]);
        }
    }
    for crd in crds() {
        let crd = serde_json::to_value(crd).unwrap();
        assert_eq!(crd["spec"]["scope"], "Cluster");
        assert_eq!(crd["spec"]["group"], "berth.dev");
        let version = &crd["spec"]["versions"][0];
        assert!(version["subresources"]["status"].is_object());
        assert!(version["additionalPrinterColumns"].as_array().unwrap().len() >= 6);
        walk("", &version["schema"]["openAPIV3Schema"]);
    }
}

/// The cases that a real API server is asked about: what it takes can be read, and what is wrong with an amount, a duration
/// or a selector is seen here too, should an older server let it through.
#[test]
fn what_an_api_server_takes_can_be_read() {
    #[derive(serde::Deserialize)]
    struct Case {
        object: serde_json::Value,
        #[serde(default)]
        refused: String,
        then: Option<serde_json::Value>,
    }
    let cases: Vec<Case> = object(include_str!("../data/objects.yaml"));
    let (mut read, mut refused) = (0, 0);
    for case in cases.iter().filter(|case| case.then.is_none()) {
        let mut object = case.object.clone();
        object["apiVersion"] = "berth.dev/v1alpha1".into();
        let result = convert_any(object);
        match (case.refused.as_str(), result) {
            ("", result) => {
                result.unwrap_or_else(|error| panic!("{}: {error}", case.object));
                read += 1;
            }
            (_, Err(_)) => refused += 1,
            // Names, ranges and order are for the server alone.
            (message, Ok(())) => {
                let here =
                    ["GPU devices", "CPU cores", "whole bytes", "is less than", "units largest", "selector:"];
                assert!(!here.iter().any(|part| message.contains(part)), "{} is read", case.object);
            }
        }
    }
    assert!(read >= 5 && refused >= 15, "{read} {refused}");
}

fn convert_any(object: serde_json::Value) -> Result<(), String> {
    let text = |error: serde_json::Error| error.to_string();
    let shown = |error: berth_api::Malformed| error.to_string();
    let pool = |_: &str| Some(PoolId(0));
    match object["kind"].as_str() {
        Some("NodePool") => {
            let object = serde_json::from_value(object).map_err(text)?;
            convert::node_pool(&object, PoolId(0)).map(drop).map_err(shown)
        }
        Some("Department") => {
            let object = serde_json::from_value(object).map_err(text)?;
            convert::department(&object, DepartmentId(0), pool).map(drop).map_err(shown)
        }
        _ => {
            let object = serde_json::from_value(object).map_err(text)?;
            convert::project(&object, ProjectId(0), DepartmentId(0), pool).map(drop).map_err(shown)
        }
    }
}
