//! Labels and annotations: what each means, which counts first, and what is refused.

use super::pod;
use berth_api::asked::asked;

const MAIN: &str = "{containers: [{name: main}, {name: log}]}";

/// What is asked for, as the fields that are set; or the error without the pod's name.
fn check(marks: &str, expected: &str) {
    let found = match asked(&pod(marks, MAIN)) {
        Ok(asked) => {
            let all = format!("{asked:?}");
            let fields = all.trim_start_matches("Asked { ").trim_end_matches(" }");
            let mut shown = Vec::new();
            let mut depth = 0;
            let mut start = 0;
            for (at, c) in fields.char_indices() {
                depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
                if c == ',' && depth == 0 {
                    shown.push(fields[start..at].trim());
                    start = at + 1;
                }
            }
            shown.push(fields[start..].trim());
            shown.retain(|field| !field.ends_with(": None") && !field.ends_with(": []"));
            shown.join(", ")
        }
        Err(error) => {
            let text = error.to_string();
            text.strip_prefix("Pod team-a/p: ").expect("the pod is named").to_owned()
        }
    };
    assert_eq!(found, expected, "{marks}");
}

#[test]
fn s5_workload_role_minimum() {
    check(
        "label berth.dev/workload=w | label berth.dev/role=worker | note berth.dev/min-members=3",
        "workload: Some(\"w\"), role: Some(\"worker\"), min_members: Some(3)",
    );
    check("label berth.dev/min-members=3 | note berth.dev/min-members=4", "min_members: Some(4)");
    check(
        "note pod-group-name=pg | label kai.scheduler/subgroup-name=ps",
        "role: Some(\"ps\"), pod_group: Some(\"pg\")",
    );
    check("label berth.dev/role=a | label kai.scheduler/subgroup-name=b", "role: Some(\"a\")");
    check(
        "note berth.dev/min-members=0",
        "metadata.annotations[berth.dev/min-members]: \"0\"; allowed: a whole number from 1 to 1000000",
    );
    check("label berth.dev/workload=", "metadata.labels[berth.dev/workload]: \"\"; allowed: a name");
}

#[test]
fn s13_fractions() {
    check(
        "note berth.dev/gpu-fraction=0.25",
        "gpu: Some(Share { share: GpuShare(250000), devices: 1, limit: None })",
    );
    check(
        "note berth.dev/gpu-memory=10Gi | note berth.dev/gpu-devices=2",
        "gpu: Some(Memory { memory: GpuMemoryMib(10240), devices: 2, limit: None })",
    );
    check(
        "note berth.dev/gpu-memory=1",
        "gpu: Some(Memory { memory: GpuMemoryMib(1), devices: 1, limit: None })",
    );
    check(
        "note berth.dev/gpu-memory=1048577",
        "gpu: Some(Memory { memory: GpuMemoryMib(2), devices: 1, limit: None })",
    );
    check(
        "note gpu-fraction=0.5 | note gpu-fraction-num-devices=4",
        "gpu: Some(Share { share: GpuShare(500000), devices: 4, limit: None })",
    );
    check(
        "note gpu-memory=2000",
        "gpu: Some(Memory { memory: GpuMemoryMib(2000), devices: 1, limit: None })",
    );
    check(
        "note gpu-fraction=0.5 | note berth.dev/gpu-fraction=0.25",
        "gpu: Some(Share { share: GpuShare(250000), devices: 1, limit: None })",
    );
    // Ours counts before KAI's whatever KAI's says, and KAI's MiB are no quantity.
    check(
        "note gpu-memory=lots | note berth.dev/gpu-fraction=0.25",
        "gpu: Some(Share { share: GpuShare(250000), devices: 1, limit: None })",
    );
    check(
        "note gpu-memory=2Gi",
        "metadata.annotations[gpu-memory]: \"2Gi\"; allowed: a whole number from 1 to 1073741824",
    );
    check(
        "note berth.dev/gpu-fraction=1",
        "metadata.annotations[berth.dev/gpu-fraction]: \"1\"; allowed: a multiple of 0.000001, more than 0 and less than 1",
    );
    check(
        "note berth.dev/gpu-fraction=0.3333333",
        "metadata.annotations[berth.dev/gpu-fraction]: \"0.3333333\"; allowed: a multiple of 0.000001, more than 0 and less than 1",
    );
    check(
        "note berth.dev/gpu-fraction=0.5 | note berth.dev/gpu-memory=1Gi",
        "metadata.annotations[berth.dev/gpu-memory]: \"1Gi\"; allowed: not beside berth.dev/gpu-fraction: one of them",
    );
    check(
        "note berth.dev/gpu-devices=2",
        "metadata.annotations[berth.dev/gpu-devices]: \"2\"; allowed: only beside a fraction or memory of a device; whole GPUs are asked for as resources",
    );
    check(
        "note berth.dev/gpu-fraction=0.5 | note berth.dev/gpu-devices=65",
        "metadata.annotations[berth.dev/gpu-devices]: \"65\"; allowed: a whole number from 1 to 64",
    );
}

#[test]
fn s14_limits() {
    check(
        "note berth.dev/gpu-memory=1Gi | note berth.dev/gpu-memory-limit=2Gi",
        "gpu: Some(Memory { memory: GpuMemoryMib(1024), devices: 1, limit: Some(GpuMemoryMib(2048)) })",
    );
    check(
        "note berth.dev/gpu-fraction=0.5 | note berth.dev/gpu-fraction-limit=1",
        "gpu: Some(Share { share: GpuShare(500000), devices: 1, limit: Some(GpuShare(1000000)) })",
    );
    check(
        "note berth.dev/gpu-memory=2Gi | note berth.dev/gpu-memory-limit=1Gi",
        "metadata.annotations[berth.dev/gpu-memory-limit]: \"1Gi\"; allowed: the request 2Gi or more",
    );
    check(
        "note berth.dev/gpu-fraction=0.5 | note berth.dev/gpu-fraction-limit=0.4",
        "metadata.annotations[berth.dev/gpu-fraction-limit]: \"0.4\"; allowed: from the request 0.5 to 1",
    );
    check(
        "note berth.dev/gpu-fraction=0.5 | note berth.dev/gpu-memory-limit=1Gi",
        "metadata.annotations[berth.dev/gpu-memory-limit]: \"1Gi\"; allowed: only beside berth.dev/gpu-memory",
    );
    check("note berth.dev/gpu-container=log", "gpu_container: Some(\"log\")");
    check(
        "note gpu-fraction-container-name=gpu",
        "metadata.annotations[gpu-fraction-container-name]: \"gpu\"; allowed: a container of the pod: main, log",
    );
}

#[test]
fn s4_priority_and_preemptibility() {
    check("label berth.dev/priority=high", "priority: Some(Value(Priority(125)))");
    check("note berth.dev/priority=-7", "priority: Some(Value(Priority(-7)))");
    check("label priorityClassName=train", "priority: Some(Class(\"train\"))");
    check(
        "label priorityClassName=low | label berth.dev/priority=high",
        "priority: Some(Value(Priority(125)))",
    );
    check(
        "label berth.dev/priority=urgent",
        "metadata.labels[berth.dev/priority]: \"urgent\"; allowed: very-low, low, medium-low, medium, medium-high, high, very-high, or a whole number",
    );
    check("label berth.dev/preemptible=false", "preemptible: Some(false)");
    check("label kai.scheduler/preemptibility=preemptible", "preemptible: Some(true)");
    check(
        "label kai.scheduler/preemptibility=non-preemptible | label berth.dev/preemptible=true",
        "preemptible: Some(true)",
    );
    check(
        "label berth.dev/preemptible=yes",
        "metadata.labels[berth.dev/preemptible]: \"yes\"; allowed: true, false",
    );
    check(
        "label kai.scheduler/preemptibility=semi-preemptible",
        "metadata.labels[kai.scheduler/preemptibility]: \"semi-preemptible\"; allowed: preemptible, non-preemptible",
    );
}

#[test]
fn s10_pools_s11_node_type_s31_topology_queue() {
    check("note berth.dev/pools=a100, h200", "pools: [\"a100\", \"h200\"]");
    check("label kai.scheduler/node-pool=a | label runai/node-pool=b", "pools: [\"a\"]");
    check(
        "note berth.dev/pools=a,,b",
        "metadata.annotations[berth.dev/pools]: \"a,,b\"; allowed: names of node pools separated by commas, each at most once",
    );
    check(
        "note berth.dev/pools=a,a",
        "metadata.annotations[berth.dev/pools]: \"a,a\"; allowed: names of node pools separated by commas, each at most once",
    );
    check("label berth.dev/node-type=a100", "node_type: Some(\"a100\")");
    check(
        "note berth.dev/topology-required=rack",
        "topology: Some(TopologyRequest { key: \"rack\", required: true })",
    );
    check(
        "note kai.scheduler/topology-required-placement=rack | note berth.dev/topology-preferred=zone",
        "topology: Some(TopologyRequest { key: \"zone\", required: false })",
    );
    check("label runai/queue=vision", "queue: Some(\"vision\")");
    check("label runai/queue=vision | label kai.scheduler/queue=audio", "queue: Some(\"audio\")");
}

#[test]
fn s23_s27_spans() {
    check("note berth.dev/grace=2m30s", "grace: Some(Millis(150000))");
    check("note berth.dev/grace=0s", "grace: Some(Millis(0))");
    check(
        "note berth.dev/grace=301s",
        "metadata.annotations[berth.dev/grace]: \"301s\"; allowed: 0s to 5m, as in 30s or 1h30m",
    );
    check(
        "note berth.dev/grace=-1s",
        "metadata.annotations[berth.dev/grace]: \"-1s\"; allowed: 0s to 5m, as in 30s or 1h30m",
    );
    check(
        "note berth.dev/grace=soon",
        "metadata.annotations[berth.dev/grace]: \"soon\"; allowed: 0s to 5m: a duration such as 500ms, 60s, -120s, 1h30m or 1d",
    );
    check("note berth.dev/stale-grace=-1s", "stale_grace: Some(Millis(-1000))");
    check("note berth.dev/expected-runtime=1d", "expected_runtime: Some(Millis(86400000))");
    check(
        "note berth.dev/start-timeout=0s",
        "metadata.annotations[berth.dev/start-timeout]: \"0s\"; allowed: more than 0s, as in 30s or 1h30m",
    );
}
