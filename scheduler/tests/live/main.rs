//! The scheduler's program against a real API server (`docs/TESTBED.md`): what is bound, what is left alone, and what survives.
//!
//! Every test starts a control plane of its own and the program as it is shipped, as a process that can be killed.

mod admission;
mod adoption;
mod binding;
mod claims;
mod failing;
mod load;
mod namespaces;
mod otlp;
mod proxy;
mod replicas;
mod status;
mod traces;
mod volumes;
mod world;
