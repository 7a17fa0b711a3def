//! Berth's simulator: the same engine as in a cluster, fed from traces in virtual time.
pub mod compare;
pub mod outcome;
pub mod plan;
pub mod report;
