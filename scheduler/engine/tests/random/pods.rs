//! Random pods: what they ask for and where they may run. Values come from small sets, so that pods meet.

use berth_model::{
    Bytes, Effect, GpuMemoryMib, GpuRequest, GpuShare, HostPort, LabelSelector, Labels, MilliCpu,
    NodeSelector, NodeTerm, Operator, PodAffinityTerm, PodSpec, PreferredNodeTerm, Protocol, Requirement,
    Resources, Toleration, TolerationOperator, TopologySpread, Unsatisfiable, VolumeUse, WeightedPodTerm,
};
use proptest::prelude::*;
use proptest::sample::select;

/// The label that names the node.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
/// 1 GiB.
pub(crate) const GIB: i64 = 1 << 30;

/// Labels from pairs.
pub(crate) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// A pod.
pub(crate) fn pod() -> BoxedStrategy<PodSpec> {
    let extras = prop_oneof![
        5 => Just(Vec::new()),
        3 => prop::collection::vec(extra(), 1..=1),
        2 => prop::collection::vec(extra(), 2..=3),
    ];
    (resources(), gpu(), extras)
        .prop_map(|(requests, gpu, extras)| {
            let mut pod = PodSpec { requests, gpu, ..PodSpec::default() };
            extras.into_iter().for_each(|extra| extra.enter(&mut pod));
            pod
        })
        .boxed()
}

/// A pod that seldom wants anything beyond room.
pub(crate) fn plain_pod() -> BoxedStrategy<PodSpec> {
    let extra = prop_oneof![7 => Just(None), 1 => extra().prop_map(Some)];
    let cpu = select(vec![0, 500, 500, 1000, 2000]).prop_map(MilliCpu);
    let requests = (cpu, select(vec![1, 2, 4])).prop_map(|(cpu, memory)| Resources {
        cpu,
        memory: Bytes(memory * GIB),
        ..Resources::default()
    });
    let share = |share| GpuRequest::Share { share: GpuShare(share), devices: 1, limit: None };
    let gpu = prop_oneof![
        1 => Just(GpuRequest::None),
        6 => select(vec![1, 1, 1, 2]).prop_map(GpuRequest::Whole),
        3 => select(vec![250_000, 500_000, 700_000]).prop_map(share),
        1 => gpu(),
    ];
    (requests, gpu, extra)
        .prop_map(|(requests, gpu, extra)| {
            let mut pod = PodSpec { requests, gpu, ..PodSpec::default() };
            extra.into_iter().for_each(|extra| extra.enter(&mut pod));
            pod
        })
        .boxed()
}

fn resources() -> BoxedStrategy<Resources> {
    let cpu = select(vec![0, 500, 1000, 1000, 2000, 3000]);
    let memory = select(vec![0, 1, 2, 2, 4, 8]);
    (cpu, memory, prop::bool::weighted(0.1), prop::bool::weighted(0.1))
        .prop_map(|(cpu, memory, disk, nic)| Resources {
            cpu: MilliCpu(cpu),
            memory: Bytes(memory * GIB),
            ephemeral: Bytes(if disk { 5 * GIB } else { 0 }),
            pods: 0,
            extended: if nic { [("example.com/nic".to_owned(), 1)].into() } else { Default::default() },
        })
        .boxed()
}

fn gpu() -> BoxedStrategy<GpuRequest> {
    let share = (select(vec![100_000, 250_000, 333_333, 500_000, 700_000]), 1..=2u32, any::<bool>());
    let memory = (select(vec![100, 300, 500, 900, 1500]), 1..=2u32, any::<bool>());
    prop_oneof![
        3 => Just(GpuRequest::None),
        5 => (1..=3u32).prop_map(GpuRequest::Whole),
        4 => share.prop_map(|(share, devices, burst)| GpuRequest::Share {
            share: GpuShare(share),
            devices,
            limit: burst.then_some(GpuShare(900_000)),
        }),
        2 => memory.prop_map(|(memory, devices, burst)| GpuRequest::Memory {
            memory: GpuMemoryMib(memory),
            devices,
            limit: burst.then_some(GpuMemoryMib(1600)),
        }),
    ]
    .boxed()
}

/// Something a pod wants beyond room.
#[derive(Clone, Debug)]
enum Extra {
    Selector(Labels),
    Affinity(NodeTerm),
    Preferred(i32, NodeTerm),
    Toleration(Toleration),
    Near { required: bool, apart: bool, term: PodAffinityTerm },
    Spread(TopologySpread),
    Port(HostPort),
    Volume(usize),
    Gate,
}

impl Extra {
    fn enter(self, pod: &mut PodSpec) {
        match self {
            Self::Selector(labels) => pod.node_selector.extend(labels),
            Self::Affinity(term) => {
                pod.node_affinity.get_or_insert_default().node_selector_terms.push(term);
            }
            Self::Preferred(weight, preference) => {
                pod.preferred_nodes.push(PreferredNodeTerm { weight, preference });
            }
            Self::Toleration(toleration) => pod.tolerations.push(toleration),
            Self::Near { required, apart, term } => {
                let side = if apart { &mut pod.pod_anti_affinity } else { &mut pod.pod_affinity };
                if required {
                    side.required.push(term);
                } else {
                    side.preferred.push(WeightedPodTerm { weight: 7, pod_affinity_term: term });
                }
            }
            Self::Spread(spread) => {
                if pod.topology_spread.iter().all(|s| s.topology_key != spread.topology_key) {
                    pod.topology_spread.push(spread);
                }
            }
            Self::Port(port) => pod.host_ports = vec![port],
            Self::Volume(which) => {
                let volume = volume(which);
                if !pod.volumes.contains(&volume) {
                    pod.volumes.push(volume);
                }
            }
            Self::Gate => pod.scheduling_gates = vec!["example.com/wait".to_owned()],
        }
    }
}

fn extra() -> BoxedStrategy<Extra> {
    let toleration =
        (select(vec!["", "dedicated", "old", "node.kubernetes.io/unschedulable"]), any::<bool>()).prop_map(
            |(key, all)| Toleration {
                key: key.to_owned(),
                operator: TolerationOperator::Exists,
                value: String::new(),
                effect: (!all).then_some(Effect::NoSchedule),
            },
        );
    let port = (select(vec![80, 81]), select(vec!["", "10.0.0.1", "10.0.0.2"]))
        .prop_map(|(port, ip)| HostPort { port, protocol: Protocol::Tcp, host_ip: ip.to_owned() });
    prop_oneof![
        3 => select(vec![labels([("zone", "a")]), labels([("rack", "r1")]), labels([(HOSTNAME, "n2")])])
            .prop_map(Extra::Selector),
        3 => term().prop_map(Extra::Affinity),
        2 => (select(vec![1, 50, 100]), term()).prop_map(|(weight, term)| Extra::Preferred(weight, term)),
        3 => toleration.prop_map(Extra::Toleration),
        4 => (any::<bool>(), any::<bool>(), pod_term())
            .prop_map(|(required, apart, term)| Extra::Near { required, apart, term }),
        3 => spread().prop_map(Extra::Spread),
        2 => port.prop_map(Extra::Port),
        3 => (0..VOLUMES).prop_map(Extra::Volume),
        1 => Just(Extra::Gate),
    ]
    .boxed()
}

/// A term about a node's labels or its name.
pub(crate) fn term() -> BoxedStrategy<NodeTerm> {
    let requirement = |key: &str, operator, values: &[&str]| Requirement {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let by_label = select(vec![
        requirement("zone", Operator::In, &["b", "c"]),
        requirement("zone", Operator::NotIn, &["a"]),
        requirement("rack", Operator::Exists, &[]),
        requirement("rack", Operator::DoesNotExist, &[]),
        requirement("gen", Operator::Gt, &["5"]),
        requirement("gen", Operator::Lt, &["7"]),
        requirement(HOSTNAME, Operator::In, &["n1", "n3", "other"]),
        requirement(HOSTNAME, Operator::NotIn, &["n0"]),
    ]);
    let by_name = select(vec![
        requirement("metadata.name", Operator::In, &["n0"]),
        requirement("metadata.name", Operator::NotIn, &["n1"]),
    ]);
    prop_oneof![
        4 => by_label.prop_map(|r| NodeTerm { match_expressions: vec![r], match_fields: Vec::new() }),
        1 => by_name.prop_map(|r| NodeTerm { match_expressions: Vec::new(), match_fields: vec![r] }),
    ]
    .boxed()
}

fn selector() -> BoxedStrategy<Option<LabelSelector>> {
    let app =
        |value: &str| Some(LabelSelector { match_labels: labels([("app", value)]), ..Default::default() });
    select(vec![app("a"), app("a"), app("b"), Some(LabelSelector::default()), None]).boxed()
}

fn pod_term() -> BoxedStrategy<PodAffinityTerm> {
    let key = select(vec![HOSTNAME, "zone", "rack"]);
    (selector(), key, prop::bool::weighted(0.3))
        .prop_map(|(label_selector, key, all_namespaces)| PodAffinityTerm {
            label_selector,
            namespaces: Vec::new(),
            all_namespaces,
            topology_key: key.to_owned(),
        })
        .boxed()
}

fn spread() -> BoxedStrategy<TopologySpread> {
    let key = select(vec![HOSTNAME, "zone", "rack"]);
    let flags = (prop::bool::weighted(0.7), any::<bool>(), any::<bool>());
    (1..=2u32, key, selector(), prop::option::of(1..=3u32), flags)
        .prop_map(|(max_skew, key, label_selector, min_domains, (hard, honor_affinity, honor_taints))| {
            TopologySpread {
                max_skew,
                topology_key: key.to_owned(),
                when_unsatisfiable: if hard {
                    Unsatisfiable::DoNotSchedule
                } else {
                    Unsatisfiable::ScheduleAnyway
                },
                label_selector,
                min_domains: min_domains.filter(|_| hard),
                honor_affinity,
                honor_taints,
            }
        })
        .boxed()
}

const VOLUMES: usize = 6;

/// One of a few volumes; what a volume is depends on its handle alone.
fn volume(which: usize) -> VolumeUse {
    let reachable = |key: &str, value: &str| {
        let requirement =
            Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] };
        let term = NodeTerm { match_expressions: vec![requirement], match_fields: Vec::new() };
        Some(NodeSelector { node_selector_terms: vec![term] })
    };
    VolumeUse {
        handle: format!("v{which}"),
        driver: if which < 3 { "csi" } else { "" }.to_owned(),
        reachable_from: match which {
            3 => reachable("zone", "a"),
            4 => reachable(HOSTNAME, "n1"),
            _ => None,
        },
        exclusive: which == 2,
        unusable: if which == 5 { "claim not bound" } else { "" }.to_owned(),
        choices: Vec::new(),
    }
}
