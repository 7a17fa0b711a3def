//! Berth's simulator: the same engine as in a cluster, fed from traces in virtual time.
//!
//! In reading order: a [`case`] is what is simulated, [`input`] makes cases from files and seeds, the
//! [`world`] runs one in virtual time, and an [`outcome`] is what came of it.

pub mod case;
pub mod input;
pub mod outcome;
pub mod words;
pub mod world;
