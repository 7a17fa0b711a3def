//! Berth's simulator: the same engine as in a cluster, fed from traces in virtual time.
pub mod outcome;
pub mod report;
pub mod compare;
