//! Berth's simulator: the same engine as in a cluster, fed from traces in virtual time.
//!
//! In reading order: a [`case`] is what is simulated, [`input`] makes cases from files and seeds, the
//! [`world`] runs one in virtual time, an [`outcome`] is what came of it, a [`verdict`] whether that was
//! expected; a [`log`] of a run can be replayed. A [`report`] shows outcomes, [`mod@compare`] sets them side by
//! side, [`plan`] searches for the cheapest cluster, [`whatif`] compares two futures of one. [`cli`] is the command line.

pub mod case;
pub mod checked;
pub mod cli;
pub mod compare;
pub mod input;
pub mod log;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod strategies;
pub mod verdict;
pub mod whatif;
pub mod world;
