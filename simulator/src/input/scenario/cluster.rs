//! Node pools and nodes.

use super::names::{Names, unique};
use crate::input::error::InputError;
use crate::input::node::{HOSTNAME_LABEL, MODEL_LABEL, POOL_LABEL};
use crate::input::yaml::{At, Fields};
use crate::strategies::STRATEGIES;
use berth_model::{
    Bytes, DeviceSpec, DeviceStrategy, Effect, GpuMemoryMib, Labels, MilliCpu, NodeId, NodeSpec, OverLimit,
    PoolId, PoolSelector, PoolSpec, Resources, Taint,
};
use rustc_hash::FxHashMap;

/// What a device can give out if the file does not say: 80 GiB.
const DEVICE_MEMORY: GpuMemoryMib = GpuMemoryMib(80 * 1024);
const NODES_MAX: u32 = 1_000_000;
const MIB: i64 = 1 << 20;

/// The node pools in the order of the file; `default` is added at the end if it is not among them.
pub(super) fn pools(top: &Fields<'_>) -> Result<Vec<PoolSpec>, InputError> {
    let mut pools = Vec::new();
    let mut seen = FxHashMap::default();
    for at in top.items("pools")? {
        let id = PoolId(pools.len() as u32);
        pools.push(pool(&at, id, &mut seen)?);
    }
    if !seen.contains_key(PoolSpec::DEFAULT_NAME) {
        pools.push(PoolSpec::new(PoolId(pools.len() as u32), PoolSpec::DEFAULT_NAME, None));
    }
    Ok(pools)
}

fn pool(at: &At<'_>, id: PoolId, seen: &mut FxHashMap<String, ()>) -> Result<PoolSpec, InputError> {
    let fields = at.fields(&[
        "name",
        "gpu",
        "cpu",
        "device",
        "minRuntime",
        "staleGrace",
        "consolidation",
        "maxMoves",
        "overLimit",
    ])?;
    let name = fields.need("name")?;
    let name = unique(seen, "pool", name.name()?, name)?;
    let selector = (name != PoolSpec::DEFAULT_NAME)
        .then(|| PoolSelector { key: POOL_LABEL.to_owned(), value: name.clone() });
    let mut pool = PoolSpec::new(id, name, selector);
    pool.gpu = fields.or("gpu", pool.gpu, |at| at.word(&STRATEGIES))?;
    pool.cpu = fields.or("cpu", pool.cpu, |at| at.word(&STRATEGIES))?;
    pool.device = fields.or("device", pool.device, |at| {
        at.word(&[("binpack", DeviceStrategy::Binpack), ("spread", DeviceStrategy::Spread)])
    })?;
    pool.min_runtime = fields.or("minRuntime", pool.min_runtime, At::span)?;
    pool.stale_grace = fields.or("staleGrace", pool.stale_grace, At::duration)?;
    pool.consolidation = fields.or("consolidation", pool.consolidation, At::boolean)?;
    pool.max_moves = fields.or("maxMoves", pool.max_moves, |at| at.integer(0, 10_000))?;
    pool.over_limit = fields.or("overLimit", pool.over_limit, |at| at.word(OVER_LIMIT))?;
    Ok(pool)
}

const OVER_LIMIT: &[(&str, OverLimit)] = &[
    ("report", OverLimit::Report),
    ("evictPreemptible", OverLimit::EvictPreemptible),
    ("evict", OverLimit::Evict),
];

/// The nodes; ids in the order of the file.
pub(super) fn nodes(top: &Fields<'_>, pools: &[PoolSpec]) -> Result<Vec<NodeSpec>, InputError> {
    list(&top.items("nodes")?, pools, &mut FxHashMap::default(), NodeId(0))
}

/// The nodes of a list, with ids from `first` on; `seen` are names that are taken.
pub(super) fn list(
    items: &[At<'_>],
    pools: &[PoolSpec],
    seen: &mut FxHashMap<String, ()>,
    first: NodeId,
) -> Result<Vec<NodeSpec>, InputError> {
    let pools = Names::new(pools.iter().map(|p| p.name.as_str()));
    let mut nodes = Vec::new();
    for at in items {
        let fields = at.fields(&[
            "name",
            "count",
            "pool",
            "cpu",
            "memory",
            "ephemeral",
            "pods",
            "gpus",
            "labels",
            "taints",
            "ready",
            "unschedulable",
            "resources",
        ])?;
        let name_at = fields.need("name")?;
        let name = name_at.name()?;
        let count = fields.map("count", |at| at.integer(1, NODES_MAX))?;
        let pattern = node(&fields, &pools)?;
        let names: Vec<String> = match count {
            None => vec![name.to_owned()],
            Some(count) => (0..count).map(|i| format!("{name}-{i}")).collect(),
        };
        for name in names {
            let name = unique(seen, "node", &name, name_at)?;
            let mut node = pattern.clone();
            node.id = NodeId(first.0 + nodes.len() as u32);
            node.labels.entry(HOSTNAME_LABEL.to_owned()).or_insert_with(|| name.clone());
            node.name = name;
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// A node without its name and id.
fn node(fields: &Fields<'_>, pools: &Names) -> Result<NodeSpec, InputError> {
    let devices = fields.or("gpus", Vec::new(), devices)?;
    let mut labels = Labels::new();
    if let Some(device) = devices.first().filter(|d| !d.model.is_empty()) {
        labels.insert(MODEL_LABEL.to_owned(), device.model.clone());
    }
    labels.extend(fields.or("labels", Labels::new(), text_map)?);
    if let Some(at) = fields.get("pool") {
        pools.find("pool", at)?;
        labels.insert(POOL_LABEL.to_owned(), at.text()?.to_owned());
    }
    Ok(NodeSpec {
        id: NodeId(0),
        name: String::new(),
        labels,
        taints: fields.items("taints")?.iter().map(taint).collect::<Result<_, _>>()?,
        allocatable: Resources {
            cpu: MilliCpu(fields.need("cpu")?.quantity(1000)?),
            memory: Bytes(fields.need("memory")?.quantity(1)?),
            ephemeral: Bytes(fields.or("ephemeral", 0, |at| at.quantity(1))?),
            pods: fields.or("pods", 110, |at| at.integer(0, 100_000))?,
            extended: fields.or("resources", Default::default(), extended)?,
        },
        devices,
        volume_limits: Default::default(),
        ready: fields.or("ready", true, At::boolean)?,
        unschedulable: fields.or("unschedulable", false, At::boolean)?,
    })
}

fn devices(at: &At<'_>) -> Result<Vec<DeviceSpec>, InputError> {
    let fields = at.fields(&["count", "memory", "model"])?;
    let count: usize = fields.need("count")?.integer(0, 64)?;
    let memory = fields.or("memory", DEVICE_MEMORY, |at| {
        // A part of a MiB cannot be given out.
        match at.quantity(1)? / MIB {
            0 => Err(at.fail("1Mi or more")),
            mib => Ok(GpuMemoryMib(mib)),
        }
    })?;
    let model = fields.or("model", "", At::name)?;
    Ok(vec![DeviceSpec::new(memory, model); count])
}

fn taint(at: &At<'_>) -> Result<Taint, InputError> {
    let fields = at.fields(&["key", "value", "effect"])?;
    Ok(Taint {
        key: fields.need("key")?.name()?.to_owned(),
        value: fields.or("value", "", At::text)?.to_owned(),
        effect: fields.need("effect")?.word(EFFECTS)?,
    })
}

/// The effects of taints, by name.
pub(super) const EFFECTS: &[(&str, Effect)] = &[
    ("NoSchedule", Effect::NoSchedule),
    ("PreferNoSchedule", Effect::PreferNoSchedule),
    ("NoExecute", Effect::NoExecute),
];

/// A map of texts: labels, selectors.
pub(super) fn text_map(at: &At<'_>) -> Result<Labels, InputError> {
    at.entries()?.iter().map(|(key, at)| Ok(((*key).to_owned(), at.text()?.to_owned()))).collect()
}

/// Extended resources by name.
pub(super) fn extended(at: &At<'_>) -> Result<std::collections::BTreeMap<String, i64>, InputError> {
    at.entries()?.iter().map(|(key, at)| Ok(((*key).to_owned(), at.quantity(1)?))).collect()
}
