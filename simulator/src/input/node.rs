//! Nodes made from a description, with the labels that every input gives them.

pub use berth_api::names::node::{GPU_PRODUCT as MODEL_LABEL, HOSTNAME as HOSTNAME_LABEL};
pub use berth_api::names::written::POOL as POOL_LABEL;
use berth_model::{Bytes, DeviceSpec, GpuMemoryMib, Labels, MilliCpu, NodeId, NodeSpec, Resources};

/// What equal nodes have in common.
pub struct Pattern<'a> {
    /// CPU to give out.
    pub cpu: MilliCpu,
    /// Memory to give out.
    pub memory: Bytes,
    /// Pods it takes.
    pub pods: u32,
    /// Devices.
    pub gpus: usize,
    /// Memory of each device to give out.
    pub gpu_memory: GpuMemoryMib,
    /// Model of the devices; empty = unknown.
    pub model: &'a str,
    /// Pool; none = the one that its labels select, else `default`.
    pub pool: Option<&'a str>,
    /// Further labels, which count before those made here; the pool's does not.
    pub labels: &'a Labels,
}

impl Pattern<'_> {
    /// A ready node of this pattern.
    pub fn node(&self, id: NodeId, name: String) -> NodeSpec {
        let mut labels = self.labels.clone();
        if self.gpus > 0 && !self.model.is_empty() {
            labels.entry(MODEL_LABEL.to_owned()).or_insert_with(|| self.model.to_owned());
        }
        labels.entry(HOSTNAME_LABEL.to_owned()).or_insert_with(|| name.clone());
        if let Some(pool) = self.pool {
            labels.insert(POOL_LABEL.to_owned(), pool.to_owned());
        }
        NodeSpec {
            id,
            name,
            labels,
            taints: Vec::new(),
            allocatable: Resources {
                cpu: self.cpu,
                memory: self.memory,
                pods: self.pods,
                ..Resources::default()
            },
            devices: vec![DeviceSpec::new(self.gpu_memory, self.model); self.gpus],
            volume_limits: Default::default(),
            ready: true,
            unschedulable: false,
        }
    }
}
