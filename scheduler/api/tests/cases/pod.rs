//! Pods: S11, S13. What kube-scheduler 1.36 reads of a pod.

use super::claims::claimed;
use super::{Around, object, pod};
use berth_api::convert::{self, depends_on};
use berth_api::names::node::FRACTIONS;
use berth_api::slim;
use berth_model::{GpuRequest, Operator, PodSpec, TolerationOperator, Unsatisfiable};

fn read_with(marks: &str, spec: &str, around: &Around) -> Result<PodSpec, String> {
    convert::pod(&pod(marks, spec), around).map_err(|error| error.to_string())
}

fn read(spec: &str) -> PodSpec {
    read_with("", spec, &Around::default()).unwrap()
}

/// CPU, memory, storage, GPUs and extended resources of a pod.
fn check_requests(spec: &str, expected: &str) {
    let found = read(spec);
    let r = &found.requests;
    let extended: Vec<_> = r.extended.iter().map(|(name, n)| format!(" {name}={n}")).collect();
    let text = format!(
        "cpu {} memory {} ephemeral {} gpu {}{}",
        r.cpu.0,
        r.memory.0,
        r.ephemeral.0,
        found.gpu.devices(),
        extended.concat()
    );
    assert_eq!(text, expected, "{spec}");
}

#[test]
fn s11_requests_of_containers_are_added_and_rounded_once() {
    check_requests(
        "{containers: [{name: a, resources: {requests: {cpu: 500u, memory: 1Ki, example.com/nic: 1}}}, \
         {name: b, resources: {requests: {cpu: 500u, memory: '0.5', ephemeral-storage: 1Gi, example.com/nic: 2}}}]}",
        "cpu 1 memory 1025 ephemeral 1073741824 gpu 0 example.com/nic=3",
    );
    check_requests(
        "{containers: [{name: a, resources: {requests: {nvidia.com/gpu: 2, hugepages-2Mi: 4Mi, storage: 1, other: 3}}}]}",
        "cpu 0 memory 0 ephemeral 0 gpu 2 hugepages-2Mi=4194304",
    );
    check_requests("{containers: [{name: a}]}", "cpu 0 memory 0 ephemeral 0 gpu 0");
}

#[test]
fn s11_init_containers_run_before_and_sidecars_beside() {
    // The init container needs more than the containers do together.
    check_requests(
        "{initContainers: [{name: i, resources: {requests: {cpu: 3}}}], \
         containers: [{name: a, resources: {requests: {cpu: 1, memory: 5}}}, {name: b, resources: {requests: {cpu: 1}}}]}",
        "cpu 3000 memory 5 ephemeral 0 gpu 0",
    );
    // A sidecar counts beside the containers, and beside the init containers that come after it, not before.
    check_requests(
        "{initContainers: [{name: i, resources: {requests: {cpu: 4}}}, \
         {name: s, restartPolicy: Always, resources: {requests: {cpu: 1}}}, \
         {name: j, resources: {requests: {cpu: 4}}}], containers: [{name: a, resources: {requests: {cpu: 2}}}]}",
        "cpu 5000 memory 0 ephemeral 0 gpu 0",
    );
    check_requests(
        "{initContainers: [{name: s, restartPolicy: Always, resources: {requests: {cpu: 1}}}], \
         containers: [{name: a, resources: {requests: {cpu: 2}}}]}",
        "cpu 3000 memory 0 ephemeral 0 gpu 0",
    );
}

#[test]
fn s11_the_pod_as_a_whole_and_its_overhead() {
    // What is asked for by the pod replaces the sum, for CPU, memory and huge pages only; overhead comes on top.
    check_requests(
        "{resources: {requests: {cpu: 4, nvidia.com/gpu: 8}}, overhead: {cpu: 250m, memory: 10}, \
         containers: [{name: a, resources: {requests: {cpu: 1, memory: 1, nvidia.com/gpu: 1}}}]}",
        "cpu 4250 memory 11 ephemeral 0 gpu 1",
    );
}

#[test]
fn s11_a_pod_that_is_resized_counts_the_most() {
    let mut running = pod("", "{containers: [{name: a, resources: {requests: {cpu: 2}}}]}");
    running.status = object(
        "containerStatuses: [{name: a, allocatedResources: {cpu: 3}, resources: {requests: {cpu: 1}}}]",
    );
    let cpu = |pod: &slim::Pod| convert::pod(pod, &Around::default()).unwrap().requests.cpu.0;
    assert_eq!(cpu(&running), 3000);
    running.spec.containers[0].resources.requests = object("{cpu: 8}");
    assert_eq!(cpu(&running), 8000);
    running.status.conditions = object("[{type: PodResizePending, status: 'True', reason: Infeasible}]");
    assert_eq!(cpu(&running), 3000);
}

#[test]
fn s11_tolerations_and_ports() {
    let found = read(
        "{tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute}, {key: c, operator: Equal, effect: ''}], \
         containers: [{name: a, ports: [{containerPort: 1}, {hostPort: 80, hostIP: 0.0.0.0}, {hostPort: 53, protocol: UDP, hostIP: 10.0.0.1}]}], \
         initContainers: [{name: i, ports: [{hostPort: 81}]}, {name: s, restartPolicy: Always, ports: [{hostPort: 82}]}]}",
    );
    let all = &found.tolerations;
    assert_eq!((all[0].operator, all[0].key.as_str(), all[0].effect), (TolerationOperator::Exists, "", None));
    assert_eq!((all[1].operator, all[1].value.as_str()), (TolerationOperator::Equal, "b"));
    assert_eq!(all[2].effect, None);
    let ports: Vec<_> =
        found.host_ports.iter().map(|p| format!("{}{:?}{}", p.port, p.protocol, p.host_ip)).collect();
    assert_eq!(ports, ["82Tcp", "80Tcp", "53Udp10.0.0.1"]);
}

#[test]
fn s11_node_affinity() {
    let found = read(
        "{nodeSelector: {disk: ssd}, schedulingGates: [{name: g}], affinity: {nodeAffinity: {\
         requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [\
         {matchExpressions: [{key: n, operator: Gt, values: ['3']}], matchFields: [{key: metadata.name, operator: In, values: [n1]}]}, {}]}, \
         preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, preference: {matchExpressions: [{key: z, operator: Exists}]}}]}}}",
    );
    assert_eq!(found.node_selector["disk"], "ssd");
    assert_eq!(found.scheduling_gates, ["g"]);
    let terms = found.node_affinity.unwrap().node_selector_terms;
    assert_eq!(terms[0].match_expressions[0].operator, Operator::Gt);
    assert_eq!(terms[0].match_fields[0].values, ["n1"]);
    assert!(terms[1].match_expressions.is_empty(), "an empty term stays, and matches nothing");
    assert_eq!(found.preferred_nodes[0].weight, 5);
}

fn around_namespaces() -> Around {
    let namespace =
        |name: &str, team: &str| object(&format!("metadata: {{name: {name}, labels: {{team: {team}}}}}"));
    Around {
        namespaces: vec![namespace("a1", "a"), namespace("a2", "a"), namespace("b1", "b")],
        ..Around::default()
    }
}

/// Namespaces of the one anti-affinity term with this tail; `*` = all, `-` = the term matches no pod.
fn check_namespaces(term: &str, expected: &str) {
    let spec = format!(
        "{{affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [\
         {{topologyKey: rack, labelSelector: {{matchLabels: {{app: x}}}}{term}}}]}}}}}}"
    );
    let found = read_with("", &spec, &around_namespaces()).unwrap();
    let term = &found.pod_anti_affinity.required[0];
    let text = match (&term.label_selector, term.all_namespaces) {
        (None, _) => "-".to_owned(),
        (_, true) => "*".to_owned(),
        _ => term.namespaces.join(","),
    };
    assert_eq!(text, expected, "{spec}");
}

#[test]
fn s11_namespaces_of_affinity_terms() {
    check_namespaces("", "");
    check_namespaces(", namespaces: [z, y]", "y,z");
    check_namespaces(", namespaceSelector: {}", "*");
    check_namespaces(", namespaceSelector: {matchLabels: {team: a}}", "a1,a2");
    check_namespaces(
        ", namespaces: [b1], namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [b]}]}",
        "a1,a2,b1",
    );
    check_namespaces(", namespaceSelector: {matchLabels: {team: c}}", "-");
    let with = pod(
        "",
        "{affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [\
        {weight: 1, podAffinityTerm: {topologyKey: a, namespaceSelector: {}}}]}}}",
    );
    assert!(depends_on(&with).namespaces);
}

#[test]
fn s11_a_spread_selector_that_says_nothing_selects_no_pod() {
    let spread = |more: &str| {
        let spec = format!(
            "{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, \
            labelSelector: {{}}{more}}}]}}"
        );
        let found = convert::pod(&pod("label rev=a", &spec), &Around::default()).unwrap();
        found.topology_spread[0].label_selector.clone()
    };
    assert_eq!(spread(""), None);
    assert!(spread(", matchLabelKeys: [rev]").is_some());
}

#[test]
fn s11_spread_has_the_defaults_of_kube_scheduler() {
    let found = read(
        "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}",
    );
    let spread = &found.topology_spread[0];
    assert_eq!((spread.min_domains, spread.honor_affinity, spread.honor_taints), (None, true, false));
    assert_eq!((&spread.label_selector, spread.when_unsatisfiable), (&None, Unsatisfiable::DoNotSchedule));
    let found = read_with(
        "label app=x | label pod-template-hash=h1",
        "{topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 3, \
         nodeAffinityPolicy: Ignore, nodeTaintsPolicy: Honor, labelSelector: {matchLabels: {app: x}}, \
         matchLabelKeys: [pod-template-hash, absent]}]}",
        &Around::default(),
    );
    let spread = &found.unwrap().topology_spread[0];
    assert_eq!((spread.min_domains, spread.honor_affinity, spread.honor_taints), (Some(3), false, true));
    let labels: Vec<_> = spread.label_selector.as_ref().unwrap().match_labels.iter().collect();
    assert_eq!(format!("{labels:?}"), r#"[("app", "x"), ("pod-template-hash", "h1")]"#);
}

#[test]
fn s13_each_way_of_handing_devices_out_has_nodes_of_its_own() {
    let spec = "{resourceClaims: [{name: gpu, resourceClaimName: c}], affinity: {nodeAffinity: \
         {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [\
         {matchExpressions: [{key: a, operator: Exists}]}, {}]}}}}";
    let found = read_with("note berth.dev/gpu-memory=10Gi", spec, &claimed("c", "10Gi")).unwrap();
    assert!(found.gpu.is_fraction());
    let terms = found.node_affinity.unwrap().node_selector_terms;
    let keys = |at: usize| terms[at].match_expressions.iter().map(|r| r.key.as_str()).collect::<Vec<_>>();
    assert_eq!((keys(0), keys(1)), (vec!["a", FRACTIONS], vec![]));
    let found = read("{containers: [{name: a, resources: {requests: {nvidia.com/gpu: 1}}}]}");
    assert_eq!(found.gpu, GpuRequest::Whole(1));
    let term = &found.node_affinity.unwrap().node_selector_terms[0].match_expressions[0];
    assert_eq!((term.key.as_str(), term.operator), (FRACTIONS, Operator::DoesNotExist));
    assert_eq!(read("{containers: [{name: a}]}").node_affinity, None);
}

#[test]
fn malformed_pods_are_named() {
    let cases = [
        (
            "",
            "{resourceClaims: [{name: gpu, resourceClaimName: x}]}",
            "spec.resourceClaims[gpu].resourceClaimName: \"x\"; allowed: a ResourceClaim that exists",
        ),
        (
            "",
            "{containers: [{name: a, resources: {requests: {cpu: 1x}}}]}",
            "spec.containers[0].resources.requests[cpu]: \"1x\"; allowed: a Kubernetes quantity",
        ),
        (
            "",
            "{containers: [{name: a, resources: {requests: {nvidia.com/gpu: 65}}}]}",
            "spec[nvidia.com/gpu]: \"65\"; allowed: 0 to 64 devices on one node",
        ),
        (
            "note gpu-fraction=0.5",
            "{containers: [{name: a, resources: {requests: {nvidia.com/gpu: 1}}}]}",
            "spec.containers.resources: \"nvidia.com/gpu: 1\"; allowed: either whole GPUs of the device plugin, or a fraction by annotation or a claim, not both",
        ),
        (
            "",
            "{tolerations: [{operator: Like}]}",
            "spec.tolerations[0].operator: \"Like\"; allowed: Equal, Exists",
        ),
        (
            "",
            "{containers: [{name: a, ports: [{hostPort: 70000}]}]}",
            "spec.containers[a].ports.hostPort: \"70000\"; allowed: 1 to 65535",
        ),
        (
            "",
            "{topologySpreadConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}",
            "spec.topologySpreadConstraints[0].maxSkew: \"0\"; allowed: 1 or more",
        ),
        (
            "",
            "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: n, operator: Gt, values: [x]}]}]}}}}",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions.[n].values: \"x\"; allowed: one value, a whole number",
        ),
    ];
    for (marks, spec, expected) in cases {
        let error = read_with(marks, spec, &Around::default()).unwrap_err();
        assert!(error.starts_with(&format!("Pod team-a/p: {expected}")), "{error}");
    }
}
