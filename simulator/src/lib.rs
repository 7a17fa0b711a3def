//! Berth's simulator: the same engine as in a cluster, fed from traces in virtual time.

pub mod case;
pub mod input;
pub mod outcome;
