//! The vocabulary of Berth: what a cluster is, what happens to it, what is decided, and why.
//!
//! Everything that the engine takes in ([`Event`]) and gives out ([`Decision`], [`Explanation`]) is
//! defined here, so that the live plumbing and the simulator speak to the engine without knowing it.
//! The independent checker ([`check`]) depends on these types alone and shares no code with the engine.
//!
//! Invariants: integers only; every amount is a newtype with its unit in the name; every
//! identifier is chosen by whoever feeds the events, is stable across restarts of the engine, and
//! breaks ties. Absent on purpose: matching of selectors (the engine and the checker each have their own),
//! clocks, I/O.
//!
//! Rules are cited by their number, `S1` to `S33`, see `docs/RULES.md`.

mod budget;
pub mod check;
mod decision;
mod event;
mod ids;
mod node;
mod organisation;
mod pod;
mod reason;
mod selector;
mod units;
pub mod words;
mod workload;

pub use budget::BudgetSpec;
pub use decision::{Budget, Cause, Decision, GpuGrant, Placement, Warning};
pub use event::{Event, EventError, PodOutcome, PodState};
pub use ids::{
    BudgetId, DepartmentId, DeviceIndex, DeviceMask, NodeId, PodId, PoolId, ProjectId, QueueId, WorkloadId,
};
pub use node::{DeviceHealth, DeviceSpec, Effect, NodeSpec, Taint};
pub use organisation::{
    Amounts, DepartmentSpec, DeviceStrategy, NodeTypeRule, OverLimit, PoolSelector, PoolSpec, ProjectSpec,
    QueueQuota, Quota, ResourceQuota, Strategy,
};
pub use pod::{
    GpuRequest, HostPort, PodAffinity, PodAffinityTerm, PodSpec, Protocol, Toleration, TolerationOperator,
    TopologySpread, Unsatisfiable, VolumeChoice, VolumeUse, WeightedPodTerm,
};
pub use reason::{
    Change, Constraint, Explanation, Missing, PolicyReason, PoolReason, PoolState, Reason, ReasonKind,
    Resource,
};
pub use selector::{LabelSelector, Labels, NodeSelector, NodeTerm, Operator, PreferredNodeTerm, Requirement};
pub use units::{Bytes, GpuMemoryMib, GpuShare, MilliCpu, Millis, Resources, Timestamp};
pub use workload::{Eviction, Priority, RoleSpec, TopologyRequest, WorkloadSpec};
