//! What NVML sees of a node's GPUs, and which pod each GPU process belongs to.
//!
//! * [`Probe`] opens the driver's library, keeps it open, closes and opens it again. Three ways lead through it, by what
//!   they cost: [`Probe::sample`] each second (memory, processes, load), [`Probe::health`] each some seconds (ECC,
//!   remapped rows), [`Probe::inventory`] when something changed (identity, MIG instances, links). [`Probe::events`]
//!   takes XID and other critical events out of the driver's queue.
//! * [`Reading`] is what a call gave: a value, or why there is none. Missing is never 0.
//! * [`proc`] finds the container and the pod behind a process from its cgroup; what belongs to none is foreign (S17).
//! * [`agent`] is the daemon: all of this over time, for Prometheus, the scheduler, the API server and the kubelet.
//!
//! Invariants: no state of driver or device ends the program or panics; a node without a driver, a driver that is
//! replaced, and a device that is lost are values ([`Down`], [`Failure`]). Outside of [`agent`] nothing reads a clock,
//! starts a thread, or writes anywhere. Unsafe code is in `raw.rs` alone.

pub mod agent;
mod events;
mod files;
mod health;
mod inventory;
mod probe;
pub mod proc;
mod raw;
mod reading;
pub mod report;
mod sample;
mod session;
mod units;

pub use events::{DeviceEvent, EventKind};
pub use health::{DeviceHealth, EccErrors, RecoveryAction, RemappedRows};
pub use inventory::{DeviceInfo, Inventory, Link, MigInstance, MigMode, NvLinks, Pci, PciPath};
pub use probe::{Config, Down, Probe};
pub use reading::{Failure, Reading};
pub use sample::{
    DeviceSample, GpuProcess, Memory, MissingList, ProcessKinds, Processes, Sample, Utilisation,
};
pub use session::Driver;
pub use units::{Bytes, Celsius, Milliwatts, Percent, Pid};
