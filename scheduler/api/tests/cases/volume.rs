//! Volumes: S11.

use super::{Around, object, pod};
use berth_api::convert;
use berth_model::{NodeTerm, VolumeUse};

const SPEC: &str = "{volumes: [{name: v, persistentVolumeClaim: {claimName: c}}, {name: tmp}]}";

fn term(term: &NodeTerm) -> String {
    let all = term.match_expressions.iter().chain(&term.match_fields);
    let text: Vec<_> = all.map(|r| format!("{} {:?} {}", r.key, r.operator, r.values.join("/"))).collect();
    text.join(" & ")
}

fn show(used: &VolumeUse) -> String {
    if !used.unusable.is_empty() {
        return used.unusable.clone();
    }
    let reach = match &used.reachable_from {
        None => "everywhere".to_owned(),
        Some(selector) => selector.node_selector_terms.iter().map(term).collect::<Vec<_>>().join(" | "),
    };
    let exclusive = if used.exclusive { " exclusive" } else { "" };
    format!("{} [{}]{exclusive} at {reach}", used.handle, used.driver)
}

/// Claims, volumes and classes as YAML lists, and what the volume of the pod comes to.
fn check(claims: &str, volumes: &str, classes: &str, expected: &str) {
    let around = Around {
        claims: object(claims),
        volumes: object(volumes),
        classes: object(classes),
        ..Around::default()
    };
    let found = convert::pod(&pod("", SPEC), &around).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.volumes.iter().map(show).collect::<Vec<_>>().join(" + "), expected);
}

const BOUND: &str = "[{metadata: {name: c, namespace: team-a, annotations: {pv.kubernetes.io/bind-completed: 'yes'}}, \
    spec: {volumeName: pv1, accessModes: [ReadWriteOncePod]}, status: {phase: Bound}}]";

/// A claim for one pod alone, whatever storage it leads to.
const ALONE: &str = "claim:team-a/c [] exclusive at everywhere";

#[test]
fn s11_a_bound_claim_is_where_its_volume_is() {
    check(
        BOUND,
        "[{metadata: {name: pv1}, spec: {csi: {driver: d, volumeHandle: h}, nodeAffinity: {required: \
        {nodeSelectorTerms: [{matchExpressions: [{key: host, operator: In, values: [n1]}]}]}}}}]",
        "[]",
        &format!("{ALONE} + d^h [d] at host In n1"),
    );
    check(
        BOUND,
        "[{metadata: {name: pv1}, spec: {}}]",
        "[]",
        &format!("{ALONE} + volume:pv1 [] at everywhere"),
    );
    check(BOUND, "[]", "[]", "PersistentVolume pv1 does not exist");
}

#[test]
fn s11_a_volume_with_a_zone_is_for_nodes_there_or_without_zones() {
    let none = "topology.kubernetes.io/zone DoesNotExist  & failure-domain.beta.kubernetes.io/zone DoesNotExist  & \
        topology.kubernetes.io/region DoesNotExist  & failure-domain.beta.kubernetes.io/region DoesNotExist ";
    check(
        BOUND,
        "[{metadata: {name: pv1, labels: {topology.kubernetes.io/zone: z1__z2}}, spec: {}}]",
        "[]",
        &format!("{ALONE} + volume:pv1 [] at topology.kubernetes.io/zone In z1/z2 | {none}"),
    );
    let older = "failure-domain.beta.kubernetes.io/zone";
    check(
        BOUND,
        &format!("[{{metadata: {{name: pv1, labels: {{{older}: z1}}}}, spec: {{}}}}]"),
        "[]",
        &format!(
            "{ALONE} + volume:pv1 [] at {older} In z1 | {older} DoesNotExist  & topology.kubernetes.io/zone In z1 | {none}"
        ),
    );
}

#[test]
fn s11_claims_that_cannot_be_used_say_why() {
    let claim = |rest: &str| format!("[{{metadata: {{name: c, namespace: team-a{rest}}}]");
    check("[]", "[]", "[]", "PersistentVolumeClaim c does not exist");
    check(
        &claim("}, status: {phase: Lost}"),
        "[]",
        "[]",
        "PersistentVolumeClaim c is bound to a volume that does not exist",
    );
    check(
        &claim(", deletionTimestamp: '2026-11-20T10:00:00Z'}"),
        "[]",
        "[]",
        "PersistentVolumeClaim c is being deleted",
    );
    check(
        &claim("}, spec: {volumeName: pv1}"),
        "[{metadata: {name: pv1}}]",
        "[]",
        "PersistentVolumeClaim c is not bound yet",
    );
    check(
        &claim("}, spec: {storageClassName: s}"),
        "[]",
        "[]",
        "StorageClass s of PersistentVolumeClaim c does not exist",
    );
    check(
        &claim("}, spec: {storageClassName: s}"),
        "[]",
        "[{metadata: {name: s}, provisioner: d, volumeBindingMode: Immediate}]",
        "PersistentVolumeClaim c is not bound yet",
    );
    check(
        &claim("}, spec: {storageClassName: s}"),
        "[]",
        "[{metadata: {name: s}, provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer}]",
        "no free PersistentVolume would do for PersistentVolumeClaim c, and none can be made",
    );
}

const WAITS: &str = "[{metadata: {name: c, namespace: team-a}, spec: {storageClassName: s, accessModes: [ReadWriteOnce], \
    resources: {requests: {storage: 10Gi}}}}]";

#[test]
fn s11_a_claim_that_waits_for_its_first_consumer() {
    let local = LOCAL;
    let volume = |name: &str, size: &str, phase: &str| {
        format!(
            "{{metadata: {{name: {name}}}, status: {{phase: {phase}}}, spec: {{storageClassName: s, accessModes: [ReadWriteOnce], \
            capacity: {{storage: {size}}}, nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [\
            {{key: host, operator: In, values: [{name}]}}]}}]}}}}}}}}"
        )
    };
    let volumes = format!(
        "[{}, {}, {}, {}]",
        volume("a", "10Gi", "Available"),
        volume("b", "9Gi", "Available"),
        volume("c", "20Gi", "Available"),
        volume("d", "20Gi", "Released")
    );
    check(WAITS, &volumes, local, "claim:team-a/c [] at host In a | host In c");
    let made = "[{metadata: {name: s}, provisioner: csi.d, volumeBindingMode: WaitForFirstConsumer, allowedTopologies: \
        [{matchLabelExpressions: [{key: zone, values: [z1, z2]}]}]}]";
    check(WAITS, "[]", made, "claim:team-a/c [csi.d] at zone In z1/z2");
    let anywhere = "[{metadata: {name: s}, provisioner: csi.d, volumeBindingMode: WaitForFirstConsumer}]";
    check(WAITS, &volumes, anywhere, "claim:team-a/c [csi.d] at everywhere");
    let selected = WAITS.replace(
        "namespace: team-a",
        "namespace: team-a, annotations: {volume.kubernetes.io/selected-node: n7}",
    );
    check(&selected, "[]", made, "claim:team-a/c [csi.d] at zone In z1/z2 & metadata.name In n7");
    check(&selected, "[]", anywhere, "claim:team-a/c [csi.d] at metadata.name In n7");
}

const LOCAL: &str = "[{metadata: {name: s}, provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer}]";

/// A free volume that nodes with its name as `host` reach; `more` is said of it too.
fn free(name: &str, size: &str, more: &str) -> String {
    format!(
        "{{metadata: {{name: {name}}}, status: {{phase: Available}}, spec: {{storageClassName: s, accessModes: [ReadWriteOnce], \
        capacity: {{storage: {size}}}, nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [\
        {{key: host, operator: In, values: [{name}]}}]}}]}}}}{more}}}}}"
    )
}

#[test]
fn s11_a_volume_that_is_meant_for_a_claim_is_the_only_one_for_it_if_it_would_do() {
    let meant = ", claimRef: {namespace: team-a, name: c}";
    let volumes = |size: &str, more: &str| format!("[{}, {}]", free("a", "10Gi", ""), free("b", size, more));
    check(WAITS, &volumes("20Gi", meant), LOCAL, "claim:team-a/c [] at host In b");
    check(WAITS, &volumes("5Gi", meant), LOCAL, "claim:team-a/c [] at host In a");
    let block = format!("{meant}, volumeMode: Block");
    check(WAITS, &volumes("20Gi", &block), LOCAL, "claim:team-a/c [] at host In a");
    let fast = format!("{meant}, volumeAttributesClassName: fast");
    check(WAITS, &volumes("20Gi", &fast), LOCAL, "claim:team-a/c [] at host In a");
    let other = ", claimRef: {namespace: team-b, name: c}";
    check(WAITS, &volumes("20Gi", other), LOCAL, "claim:team-a/c [] at host In a");
}

#[test]
fn s11_zones_count_under_both_names_where_a_volume_has_both() {
    let (zone, older) = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    let volume = format!("[{{metadata: {{name: pv1, labels: {{{zone}: z1, {older}: z2}}}}, spec: {{}}}}]");
    let around = Around { claims: object(BOUND), volumes: object(&volume), ..Around::default() };
    let found = convert::pod(&pod("", SPEC), &around).unwrap();
    let text = show(&found.volumes[1]);
    let both =
        format!("{zone} In z1 & {older} In z2 | {zone} In z1 & {older} DoesNotExist  & {zone} In z2 | ");
    assert!(text.contains(&both), "{text}");
}

#[test]
fn s11_claims_of_one_pod_become_different_volumes() {
    let claim = |name: &str, size: &str| {
        format!(
            "{{metadata: {{name: {name}, namespace: team-a, uid: u-{name}}}, spec: {{storageClassName: s, \
            accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}}}"
        )
    };
    let around = Around {
        claims: object(&format!("[{}, {}]", claim("big", "3Gi"), claim("small", "1Gi"))),
        volumes: object(&format!("[{}, {}]", free("a", "10Gi", ""), free("b", "2Gi", ""))),
        classes: object(LOCAL),
        ..Around::default()
    };
    let spec = "{volumes: [{name: v, persistentVolumeClaim: {claimName: big}}, \
        {name: w, persistentVolumeClaim: {claimName: small}}]}";
    let found = convert::pod(&pod("", spec), &around).unwrap();
    let names = |used: &VolumeUse| {
        let names = used.choices.iter().map(|choice| choice.volume.clone());
        format!("{} {}", used.handle, names.collect::<Vec<_>>().join(" "))
    };
    let found: Vec<_> = found.volumes.iter().map(names).collect();
    assert_eq!(found, ["claim:team-a/small b a", "claim:team-a/big a"], "who asks for least chooses first");

    let on = |host: &str, claims: &[&str]| {
        let claims: Vec<String> = claims.iter().map(|name| (*name).to_owned()).collect();
        let labels = [("host".to_owned(), host.to_owned())].into();
        convert::open_claims("team-a", &claims, ("n1", &labels), &around)
    };
    let volumes = on("a", &["small"]).unwrap();
    assert_eq!(volumes[0].volume.as_deref(), Some("a"));
    let why = on("a", &["big", "small"]).unwrap_err();
    assert_eq!(why, "no volume for the claim big is left on n1");
}

#[test]
fn s11_an_ephemeral_claim_must_be_the_pods_own() {
    let spec = "{volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {}}}}]}";
    let check = |claims: &str, expected: &str| {
        let around = Around { claims: object(claims), ..Around::default() };
        let found = convert::pod(&pod("", spec), &around).unwrap();
        assert_eq!(show(&found.volumes[0]), expected);
    };
    check("[]", "waiting for the controller to make the PersistentVolumeClaim p-v");
    check(
        "[{metadata: {name: p-v, namespace: team-a}}]",
        "PersistentVolumeClaim p-v was not made for this pod",
    );
    check(
        "[{metadata: {name: p-v, namespace: team-a, ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u1, controller: true}]}}]",
        "PersistentVolumeClaim p-v is not bound yet",
    );
}
