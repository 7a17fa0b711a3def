//! The openb traces (Alibaba's 2023 GPU cluster, published with Weng et al., USENIX ATC'23), as published.
//!
//! A device has 1,000 MiB, the trace's thousand units of share. Pods with times arrive at their creation and
//! run from the moment they are placed for as long as they ran in the trace; pods without times arrive in
//! the order of the file, one a second, never leave, and are dropped if they do not fit at their turn; as
//! where each goes is what such a list asks, none is moved for another either (S26 is off in its pool).

mod table;

use super::error::InputError;
use super::node::{MODEL_LABEL, Pattern};
use super::scenario::only_department;
use super::{only_project, plain_pod};
use crate::case::{Arrival, Case, Cluster, Life, Load, Until};
use berth_model::{
    Bytes, GpuMemoryMib, GpuRequest, GpuShare, Labels, MilliCpu, Millis, NodeId, NodeSelector, NodeSpec,
    NodeTerm, Operator, PodSpec, PoolId, PoolSpec, Priority, ProjectId, QueueQuota, Requirement, RoleSpec,
    Timestamp, WorkloadId, WorkloadSpec,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::path::Path;
use std::sync::Arc;
use table::{Row, Table};

/// MiB of a device: the trace's units of share.
const DEVICE_MEMORY: GpuMemoryMib = GpuMemoryMib(1000);
/// The trace's finest share of a device, in millionths.
const SHARE_UNIT: i64 = 1000;
const PODS_PER_NODE: u32 = 1000;
const CPU_MILLI_MAX: i64 = 1_000_000_000;
const MEMORY_MIB_MAX: i64 = 1 << 40;
const SECONDS_MAX: i64 = 1 << 40;
const PROJECT: &str = "openb";
/// The column that lists of pods with times have.
const CREATED: &str = "creation_time";

/// How a trace is changed when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Arrivals come this much faster, in millionths.
    pub load: i64,
    /// Pods run this much longer, in millionths.
    pub stretch: i64,
    /// Number the nodes in the order of their `sim_name`, where there is one: ties between nodes then go as
    /// they did in the paper's simulator.
    pub sim_name_order: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { load: 1_000_000, stretch: 1_000_000, sim_name_order: false }
    }
}

/// Reads a trace: its nodes and its pods.
pub fn read(nodes: &Path, pods: &Path, settings: Settings) -> Result<Case, InputError> {
    let list = Table::open(pods)?;
    let cluster = Cluster {
        pools: vec![pool_for(&list)],
        departments: vec![only_department(1)],
        projects: vec![only_project(0, PROJECT.to_owned(), QueueQuota::unlimited())],
        nodes: read_nodes(&Table::open(nodes)?, settings.sim_name_order)?,
        budgets: Vec::new(),
    };
    let arrivals = read_pods(&list, settings)?;
    let name = pods.file_stem().map_or_else(|| PROJECT.to_owned(), |s| s.to_string_lossy().into_owned());
    Ok(Case {
        name,
        cluster,
        load: Load::Listed(arrivals),
        happenings: Vec::new(),
        until: Until::Idle,
        expect: Vec::new(),
    })
}

/// The pool: where pods have no times, none is moved.
fn pool_for(pods: &Table) -> PoolSpec {
    let consolidation = pods.optional(CREATED).is_some();
    PoolSpec { consolidation, ..PoolSpec::new(PoolId(0), PoolSpec::DEFAULT_NAME, None) }
}

/// The nodes in the order of the file, or of their `sim_name`.
fn read_nodes(table: &Table, sim_name_order: bool) -> Result<Vec<NodeSpec>, InputError> {
    let name = table.one_of(&["sn", "node"])?;
    let (cpu, memory) = (table.column("cpu_milli")?, table.column("memory_mib")?);
    let (gpus, model) = (table.column("gpu")?, table.column("model")?);
    let sim_name = table.optional("sim_name");
    let mut nodes: Vec<(String, NodeSpec)> = Vec::new();
    let mut seen = FxHashSet::default();
    table.each(|row| {
        let node_name = row.text(name)?;
        if !seen.insert(node_name.to_owned()) {
            return Err(row.fail(name, "a name that is not taken"));
        }
        let pattern = Pattern {
            cpu: MilliCpu(row.integer(cpu, 0, CPU_MILLI_MAX)?),
            memory: Bytes(row.integer(memory, 0, MEMORY_MIB_MAX)? << 20),
            pods: PODS_PER_NODE,
            gpus: row.integer(gpus, 0, 64)? as usize,
            gpu_memory: DEVICE_MEMORY,
            model: row.text(model)?,
            pool: None,
            labels: &Labels::new(),
        };
        let node = pattern.node(NodeId(0), node_name.to_owned());
        nodes.push((sim_name.map_or(Ok(""), |column| row.text(column))?.to_owned(), node));
        Ok(())
    })?;
    if sim_name_order {
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let number =
        |(index, (_, node)): (usize, (String, NodeSpec))| NodeSpec { id: NodeId(index as u32), ..node };
    Ok(nodes.into_iter().enumerate().map(number).collect())
}

/// Where the columns of a list of pods are.
struct Columns {
    name: usize,
    cpu: usize,
    memory: usize,
    gpus: usize,
    share: usize,
    models: Option<usize>,
    times: Option<Times>,
}

#[derive(Clone, Copy)]
struct Times {
    created: usize,
    deleted: usize,
    scheduled: usize,
}

fn read_pods(table: &Table, settings: Settings) -> Result<Vec<Arrival>, InputError> {
    let times = match table.optional(CREATED) {
        None => None,
        Some(created) => Some(Times {
            created,
            deleted: table.column("deletion_time")?,
            scheduled: table.column("scheduled_time")?,
        }),
    };
    let columns = Columns {
        name: table.one_of(&["name", "pod"])?,
        cpu: table.column("cpu_milli")?,
        memory: table.column("memory_mib")?,
        gpus: table.column("num_gpu")?,
        share: table.column("gpu_milli")?,
        models: table.optional("gpu_spec"),
        times,
    };
    let mut shapes = Shapes::default();
    let mut seen = FxHashSet::default();
    let mut arrivals = Vec::new();
    table.each(|row| {
        let name = row.text(columns.name)?;
        if !seen.insert(name.to_owned()) {
            return Err(row.fail(columns.name, "a name that is not taken"));
        }
        let pod = shapes.read(row, &columns)?;
        let (submitted, life) = life(row, columns.times, arrivals.len(), settings)?;
        arrivals.push(Arrival { spec: workload(name, pod, submitted), life, found: Vec::new() });
        Ok(())
    })?;
    arrivals.sort_by_key(|a| a.spec.submitted);
    for (id, arrival) in (0..).zip(&mut arrivals) {
        arrival.spec.id = WorkloadId(id);
    }
    Ok(arrivals)
}

/// When a pod arrives, and how it goes on.
fn life(
    row: &Row<'_>,
    times: Option<Times>,
    position: usize,
    settings: Settings,
) -> Result<(Timestamp, Life), InputError> {
    let Some(times) = times else {
        let submitted = Timestamp(position as i64 * 1000);
        return Ok((submitted, Life { runtime: None, exits_after: None, impatient: true }));
    };
    let created = row.integer(times.created, 0, SECONDS_MAX)?;
    let started = row.maybe(times.scheduled, created, SECONDS_MAX)?.unwrap_or(created);
    let ended = row.maybe(times.deleted, started, SECONDS_MAX)?;
    let submitted = i128::from(created) * 1000 * 1_000_000 / i128::from(settings.load);
    let runtime = ended.map(|ended| {
        let millis = i128::from(ended - started) * 1000 * i128::from(settings.stretch) / 1_000_000;
        Millis(i64::try_from(millis).unwrap_or(i64::MAX))
    });
    let submitted = Timestamp(i64::try_from(submitted).unwrap_or(i64::MAX));
    Ok((submitted, Life { runtime, exits_after: None, impatient: false }))
}

fn workload(name: &str, pod: Arc<PodSpec>, submitted: Timestamp) -> WorkloadSpec {
    let role = RoleSpec { name: String::new(), count: 1, min: 1, labels: Arc::default(), pod };
    WorkloadSpec {
        name: name.to_owned(),
        priority: Priority(40),
        ..WorkloadSpec::new(WorkloadId(0), Some(ProjectId(0)), submitted, vec![role])
    }
}

/// Pods that ask for the same share one specification.
#[derive(Default)]
struct Shapes {
    known: FxHashMap<(i64, i64, GpuRequest, String), Arc<PodSpec>>,
}

impl Shapes {
    fn read(&mut self, row: &Row<'_>, columns: &Columns) -> Result<Arc<PodSpec>, InputError> {
        let cpu = row.integer(columns.cpu, 0, CPU_MILLI_MAX)?;
        let memory = row.integer(columns.memory, 0, MEMORY_MIB_MAX)?;
        let devices = row.integer(columns.gpus, 0, 64)? as u32;
        let gpu = match devices {
            0 => {
                row.integer(columns.share, 0, 1000)?;
                GpuRequest::None
            }
            _ => match row.integer(columns.share, 1, 1000)? {
                1000 => GpuRequest::Whole(devices),
                share => GpuRequest::Share { share: GpuShare(share * SHARE_UNIT), devices, limit: None },
            },
        };
        let models = columns.models.map_or(Ok(""), |column| row.text(column))?;
        let key = (cpu, memory, gpu, models.to_owned());
        let made = self.known.entry(key).or_insert_with(|| {
            let node_affinity = (!models.is_empty()).then(|| one_of_models(models));
            Arc::new(PodSpec { node_affinity, ..plain_pod(cpu, memory, gpu) })
        });
        Ok(Arc::clone(made))
    }
}

/// The node affinity that `gpu_spec` means: allowed models joined by `|`.
fn one_of_models(models: &str) -> NodeSelector {
    let mut values: Vec<String> = models.split('|').map(str::to_owned).collect();
    values.sort();
    values.dedup();
    let requirement = Requirement { key: MODEL_LABEL.to_owned(), operator: Operator::In, values };
    NodeSelector {
        node_selector_terms: vec![NodeTerm { match_expressions: vec![requirement], match_fields: vec![] }],
    }
}

#[cfg(test)]
mod tests;
