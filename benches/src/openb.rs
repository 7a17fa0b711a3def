//! Nodes and pods as in the openb traces (Alibaba's 2023 GPU cluster, published with Weng et al., USENIX ATC'23).
//!
//! The published files are read where they are: in the folder that `BERTH_TRACES` names, else in
//! `../shared/traces/openb` beside the checkout. Without them the commonest shapes stand for the trace.

use crate::cluster::{self, MODEL_LABEL};
use crate::load::Seed;
use berth_model::{
    Bytes, GpuRequest, GpuShare, MilliCpu, NodeSelector, NodeSpec, NodeTerm, Operator, PodSpec, Requirement,
    Resources,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// MiB that each device gives out: the trace's thousand units of share.
pub const DEVICE_MIB: i64 = 1000;

type NodeRow = (i64, i64, u32, &'static str);
/// `Text` holds the allowed models.
type PodRow<Text> = (i64, i64, u32, i64, Text);

/// cpu_milli, memory_mib, GPUs, model; how many of the trace's 1,523 nodes.
const NODES: [(NodeRow, u64); 10] = [
    ((96_000, 393_216, 8, "G2"), 549),
    ((104_000, 524_288, 2, "T4"), 387),
    ((32_000, 262_144, 0, ""), 129),
    ((16_000, 122_880, 2, "P100"), 107),
    ((96_000, 524_288, 0, ""), 59),
    ((128_000, 786_432, 8, "G3"), 39),
    ((32_000, 131_072, 4, "V100M16"), 28),
    ((64_000, 262_144, 2, "P100"), 22),
    ((96_000, 786_432, 8, "V100M32"), 21),
    ((96_000, 393_216, 4, "T4"), 17),
];

/// cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec; how many of the 8,152 pods of the variant `gpuspec33`.
const PODS: [(PodRow<&str>, u64); 29] = [
    ((3_152, 5_600, 1, 810, ""), 756),
    ((11_300, 49_152, 1, 1000, ""), 524),
    ((12_500, 57_344, 0, 0, ""), 364),
    ((11_400, 48_128, 1, 1000, ""), 322),
    ((3_152, 5_600, 1, 1000, ""), 313),
    ((11_908, 47_104, 1, 470, ""), 287),
    ((32_000, 49_152, 0, 0, ""), 284),
    ((8_000, 30_517, 1, 470, ""), 254),
    ((3_152, 5_600, 1, 810, "T4"), 199),
    ((8_000, 30_517, 0, 0, ""), 163),
    ((11_908, 47_104, 1, 650, ""), 162),
    ((18_708, 64_512, 1, 1000, ""), 160),
    ((11_300, 49_152, 1, 1000, "T4"), 159),
    ((9_810, 41_560, 1, 1000, ""), 124),
    ((15_400, 51_200, 0, 0, ""), 120),
    ((15_700, 58_368, 1, 1000, ""), 106),
    ((11_400, 48_128, 1, 1000, "T4"), 102),
    ((12_000, 24_576, 1, 1000, ""), 101),
    ((16_500, 51_200, 0, 0, ""), 95),
    ((11_908, 47_104, 1, 1000, ""), 92),
    ((3_152, 5_600, 1, 810, "P100"), 88),
    ((4_000, 22_888, 1, 320, ""), 77),
    ((8_000, 30_517, 1, 470, "T4"), 69),
    ((11_300, 49_152, 1, 1000, "G2"), 69),
    ((11_300, 49_152, 1, 1000, "V100M16|V100M32"), 30),
    ((64_200, 263_168, 8, 1000, ""), 14),
    ((88_000, 327_680, 8, 1000, ""), 12),
    ((88_000, 327_680, 8, 1000, "G2"), 4),
    ((32_200, 132_096, 4, 1000, "G2"), 3),
];

/// Nodes to choose from, and pods to draw from.
#[derive(Clone, Debug)]
pub struct Openb {
    /// True if the published files were read.
    pub published: bool,
    nodes: Vec<NodeSpec>,
    pods: Vec<(Arc<PodSpec>, u64)>,
}

/// One published file that is there.
pub fn trace(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/openb");
    let folder = std::env::var_os("BERTH_TRACES").map_or_else(beside, PathBuf::from);
    Some(folder.join(file)).filter(|path| path.is_file())
}

impl Openb {
    /// All 1,523 nodes and the pods of the variant `gpuspec33`, if the published files are there, else [`Self::common`].
    ///
    /// # Panics
    /// If a file is not as published.
    pub fn load() -> Self {
        let files = (trace("openb_node_list_all_node.csv"), trace("openb_pod_list_gpuspec33.csv"));
        let (Some(nodes), Some(pods)) = files else { return Self::common() };
        let pods = read_pods(&pods).into_iter().fold(BTreeMap::new(), |mut all: BTreeMap<_, u64>, pod| {
            *all.entry(pod).or_default() += 1;
            all
        });
        let pods =
            pods.into_iter().map(|((c, m, n, g, spec), weight)| (pod(c, m, n, g, &spec), weight)).collect();
        Self { published: true, nodes: read_nodes(&nodes), pods }
    }

    /// The commonest shapes of the trace: the same on every machine.
    pub fn common() -> Self {
        let total: u64 = NODES.iter().map(|(_, count)| count).sum();
        let mut seed = Seed(7);
        let nodes = (0..total as u32).map(|id| {
            let (cpu, memory, gpus, model) = *seed.pick(&NODES);
            cluster::node(id, cpu, memory, gpus, model, DEVICE_MIB)
        });
        let pods =
            PODS.iter().map(|((c, m, n, g, spec), weight)| (pod(*c, *m, *n, *g, spec), *weight)).collect();
        Self { published: false, nodes: nodes.collect(), pods }
    }

    /// `count` nodes: those of the trace in order, again and again.
    pub fn nodes(&self, count: u32) -> Vec<NodeSpec> {
        let renamed = |(id, node): (u32, &NodeSpec)| NodeSpec {
            id: berth_model::NodeId(id),
            name: format!("node-{id}"),
            ..node.clone()
        };
        (0..count).zip(self.nodes.iter().cycle()).map(renamed).collect()
    }

    /// Pods drawn by their frequency until they ask for `percent` of the GPUs of `nodes`.
    pub fn pods(&self, nodes: &[NodeSpec], percent: i64, mut seed: Seed) -> Vec<Arc<PodSpec>> {
        let gpus: usize = nodes.iter().map(|n| n.devices.len()).sum();
        let wanted = gpus as i64 * GpuShare::DEVICE.0 / 100 * percent;
        let mut asked = 0;
        let mut pods = Vec::new();
        while asked < wanted {
            let pod = seed.pick(&self.pods);
            asked += match pod.gpu {
                GpuRequest::Share { share, devices, .. } => share.0 * i64::from(devices),
                gpu => GpuShare::devices(gpu.devices()).0,
            };
            pods.push(Arc::clone(pod));
        }
        pods
    }

    /// The GPU shapes and how often they occur, commonest first.
    pub fn kinds(&self, most: usize) -> Vec<(Arc<PodSpec>, u64)> {
        let mut kinds: Vec<_> =
            self.pods.iter().filter(|(pod, _)| pod.gpu != GpuRequest::None).cloned().collect();
        kinds.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        kinds.truncate(most);
        kinds
    }
}

/// The sequence of 10,866 pods that the paper's simulator was fed, and its 1,213 nodes, if the files are there.
///
/// # Panics
/// If a file is not as published.
pub fn inflated() -> Option<(Vec<NodeSpec>, Vec<Arc<PodSpec>>)> {
    let nodes = read_nodes(&trace("inflated_seed42_nodes.csv")?);
    let mut known: BTreeMap<PodRow<String>, Arc<PodSpec>> = BTreeMap::new();
    let mut intern = |row: PodRow<String>| {
        let new = || pod(row.0, row.1, row.2, row.3, &row.4);
        Arc::clone(known.entry(row.clone()).or_insert_with(new))
    };
    let pods = read_pods(&trace("inflated_seed42_pods.csv")?);
    Some((nodes, pods.into_iter().map(&mut intern).collect()))
}

fn read_pods(path: &Path) -> Vec<PodRow<String>> {
    let row = |cells: &dyn Fn(&str) -> String| {
        let number = |column| cells(column).parse::<i64>().unwrap_or_else(|e| panic!("{column}: {e}"));
        let gpus = number("num_gpu") as u32;
        (number("cpu_milli"), number("memory_mib"), gpus, number("gpu_milli"), cells("gpu_spec"))
    };
    read(path, row)
}

fn read_nodes(path: &Path) -> Vec<NodeSpec> {
    let mut id = 0;
    read(path, |cells| {
        let number = |column| cells(column).parse::<i64>().unwrap_or_else(|e| panic!("{column}: {e}"));
        let gpus = number("gpu") as u32;
        id += 1;
        cluster::node(id - 1, number("cpu_milli"), number("memory_mib"), gpus, &cells("model"), DEVICE_MIB)
    })
}

/// Reads a file of the trace: no cell of it is quoted.
fn read<T>(path: &Path, mut row: impl FnMut(&dyn Fn(&str) -> String) -> T) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            row(&|column| {
                let at = header.iter().position(|name| *name == column);
                let at = at.unwrap_or_else(|| panic!("{}: no column `{column}`", path.display()));
                cells.get(at).copied().unwrap_or_default().to_owned()
            })
        })
        .collect()
}

fn pod(cpu_milli: i64, memory_mib: i64, gpus: u32, gpu_milli: i64, models: &str) -> Arc<PodSpec> {
    let gpu = match (gpus, gpu_milli) {
        (0, _) => GpuRequest::None,
        (1, share) if share < 1000 => {
            GpuRequest::Share { share: GpuShare(share * 1000), devices: 1, limit: None }
        }
        (gpus, _) => GpuRequest::Whole(gpus),
    };
    let requests =
        Resources { cpu: MilliCpu(cpu_milli), memory: Bytes(memory_mib << 20), ..Resources::default() };
    let node_affinity = (!models.is_empty()).then(|| {
        let values = models.split('|').map(str::to_owned).collect();
        let requirement = Requirement { key: MODEL_LABEL.into(), operator: Operator::In, values };
        NodeSelector {
            node_selector_terms: vec![NodeTerm {
                match_expressions: vec![requirement],
                match_fields: Vec::new(),
            }],
        }
    });
    Arc::new(PodSpec { requests, gpu, node_affinity, ..PodSpec::default() })
}
