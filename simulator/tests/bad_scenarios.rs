//! What is said about scenarios that are wrong: file, line, path, value, and what is allowed.

use berth_sim::input::scenario;

/// Compares with the stored text; what was evaluated is not stored with it.
macro_rules! snapshot {
    ($($argument:expr),+) => {
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!($($argument),+) })
    };
}

/// What is wrong with a scenario that ends in `lines`.
fn error(lines: &str) -> String {
    let start =
        "nodes: [{name: n, cpu: 4, memory: 8Gi, gpus: {count: 2, memory: 16Gi}}]\nprojects: [{name: p}]\n";
    let source = format!("{start}{lines}");
    match scenario::parse("s.yaml", &source) {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn errors(cases: &[&str]) -> String {
    cases.iter().map(|lines| format!("{}\n  {}\n", lines.trim_end(), error(lines))).collect()
}

#[test]
fn clusters() {
    snapshot!(errors(&[
        "node: []",
        "pools: [{name: a}, {name: a}]",
        "pools: [{name: a, gpu: tight}]",
        "pools: [{name: a, minRuntime: -5s}]",
        "nodes: []",
        "departments: [{name: d, rank: high}]",
        "departments: [{name: d, quota: {b200: {gpu: 4}}}]",
        "departments: [{name: d, quota: {default: {gpu: -1}}}]",
        "departments: [{name: d, quota: {default: {gpu: 0.0000001}}}]",
        "departments: [{name: d}, {name: e}]",
        "until: soon",
    ]));
}

#[test]
fn workloads() {
    snapshot!(errors(&[
        "workloads:\n- {project: p, roles: [{gpus: 1}]}",
        "workloads:\n- {name: w, project: q, roles: [{gpus: 1}]}",
        "workloads:\n- {name: w, roles: [{gpus: 1}]}\n- {name: w, roles: [{gpus: 1}]}",
        "workloads:\n- {name: w, roles: []}",
        "workloads:\n- {name: w, priority: urgent, roles: [{gpus: 1}]}",
        "workloads:\n- {name: w, grace: 10m, roles: [{gpus: 1}]}",
        "workloads:\n- {name: w, pools: [a100], roles: [{gpus: 1}]}",
        "workloads:\n- name: w\n  roles:\n  - {gpus: -1}",
        "workloads:\n- {name: w, roles: [{gpus: 1.5}]}",
        "workloads:\n- {name: w, roles: [{gpuFraction: 1.5}]}",
        "workloads:\n- {name: w, roles: [{gpuFraction: 0.3333333}]}",
        "workloads:\n- {name: w, roles: [{gpus: 1, gpuMemory: 4Gi}]}",
        "workloads:\n- {name: w, roles: [{gpuMemory: 4Gi, gpuMemoryLimit: 2Gi}]}",
        "workloads:\n- {name: w, roles: [{gpuMemoryLimit: 2Gi}]}",
        "workloads:\n- {name: w, roles: [{cpu: 1 core}]}",
        "workloads:\n- {name: w, roles: [{memory: -1Gi}]}",
        "workloads:\n- {name: w, roles: [{count: 2, min: 3}]}",
        "workloads:\n- {name: w, roles: [{cpus: 2}]}",
    ]));
}

#[test]
fn constraints() {
    snapshot!(errors(&[
        "workloads:\n- {name: w, roles: [{tolerations: [{operator: Equals}]}]}",
        "workloads:\n- {name: w, roles: [{tolerations: [{value: x}]}]}",
        "workloads:\n- {name: w, roles: [{hostPorts: [0]}]}",
        "workloads:\n- {name: w, roles: [{volumes: [{name: v, floppy: {}}]}]}",
        "workloads:\n- {name: w, roles: [{topologySpread: [{topologyKey: zone}]}]}",
        "workloads:\n- name: w\n  roles:\n  - affinity:\n      nodeAffinity: {required: []}",
        "workloads:\n- {name: w, roles: [{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}}]}",
        "workloads:\n- {name: w, roles: [{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}}]}",
    ]));
}

#[test]
fn running_pods_events_and_expectations() {
    let w = "workloads: [{name: w, roles: [{gpus: 1}]}]\n";
    let with_w = |lines: &str| format!("{w}{lines}");
    let cases = [
        "workloads:\n- {name: w, roles: [{gpus: 1, running: [{node: m}]}]}".to_owned(),
        "workloads:\n- {name: w, roles: [{gpus: 1, running: [{node: n, devices: [2]}]}]}".to_owned(),
        "workloads:\n- {name: w, roles: [{gpus: 1, running: [{node: n, devices: [0, 1]}]}]}".to_owned(),
        "workloads:\n- {name: w, roles: [{gpus: 2, count: 2, running: [{node: n}, {node: n}]}]}".to_owned(),
        "workloads:\n- {name: w, roles: [{gpus: 1, running: [{node: n}, {node: n}]}]}".to_owned(),
        with_w("events: [{at: 1m, delete: v}]"),
        with_w("events: [{at: 1m}]"),
        with_w("events: [{at: 2m, nodeUp: n}, {at: 1m, nodeDown: n}]"),
        with_w("events: [{at: 2m, device: {node: n, index: 2, health: lost}}]"),
        with_w("events: [{at: 2m, device: {node: n, index: 1, health: ill}}]"),
        with_w("expect: [{workload: v, running: 1}]"),
        with_w("expect: [{running: 1}]"),
        with_w("expect: [{workload: w, reason: bad luck}]"),
        with_w("expect: [{workload: w, nodes: {m: 1}}]"),
    ];
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    snapshot!(errors(&cases));
}
