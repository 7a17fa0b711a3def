//! Everything that can be simulated, read or made: scenario files, traces, generated loads.
//!
//! Each reader checks its whole input before anything is used of it; an error names file, line, field,
//! value and what is allowed.

pub mod differs;
mod error;
pub mod node;
pub mod openb;
pub mod scenario;
mod streams;
mod synthetic;
mod yaml;

pub use error::InputError;
pub use synthetic::Synthetic;

use berth_api::quantity;
use berth_model::{Millis, PodSpec, ProjectId, ProjectSpec, QueueQuota, Timestamp};

/// A duration as users write it; else what is allowed.
pub fn duration(text: &str) -> Result<Millis, String> {
    match quantity::duration(text) {
        Ok(span) if span >= Millis::ZERO => Ok(span),
        Ok(_) => Err(format!("is {}; allowed: a duration of 0s or more", error::shown(text))),
        Err(allowed) => Err(format!("is {}; allowed: {allowed}", error::shown(text))),
    }
}

/// A factor more than 0, in millionths; else what is allowed.
pub fn factor(text: &str) -> Result<i64, String> {
    quantity::factor(text).map_err(|allowed| format!("is {}; allowed: {allowed}", error::shown(text)))
}

/// A share from 0 to 1, in millionths; else what is allowed.
pub fn share(text: &str) -> Result<i64, String> {
    match quantity::quantity(text, 1_000_000) {
        Ok(share) if (0..=1_000_000).contains(&share) => Ok(share),
        _ => Err(format!("is {}; allowed: a number from 0 to 1, a multiple of 0.000001", error::shown(text))),
    }
}

/// The project of inputs that know none: without bounds, in the only department.
fn only_project(id: u32, name: String, quota: QueueQuota) -> ProjectSpec {
    ProjectSpec {
        hold_after: None,
        id: ProjectId(id),
        name,
        department: berth_model::DepartmentId(0),
        created: Timestamp(i64::from(id)),
        rank: 100,
        quotas: vec![(berth_model::PoolId(0), quota)],
        pools: Vec::new(),
        node_types: None,
    }
}

/// A pod with these requests and nothing else.
fn plain_pod(cpu_milli: i64, memory_mib: i64, gpu: berth_model::GpuRequest) -> PodSpec {
    PodSpec {
        requests: berth_model::Resources {
            cpu: berth_model::MilliCpu(cpu_milli),
            memory: berth_model::Bytes(memory_mib << 20),
            ..Default::default()
        },
        gpu,
        ..PodSpec::default()
    }
}
