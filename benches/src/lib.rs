//! What the benchmarks of Berth measure, and with what they compare it.
//!
//! | module | what it holds |
//! |---|---|
//! | `cluster` | clusters to measure on |
//! | `load` | pods to place: whole GPUs in mixed sizes |
//! | `openb` | nodes and pods as in the openb traces: the published files where they are, else their commonest shapes |
//! | `cases` | each measured case: how it is set up, what is timed |
//! | `contention` | clusters in which room must be taken back, and organisations in which it is shared |
//! | `taking_back` | the rows of the table about those |
//! | `plain` | plain programs that look at every node for every pod, to compare with |
//! | `process` | whole runs of the `berth-sim` program |
//! | `table` | the targets, and whether they are met |
//!
//! Everything is made from fixed seeds: two runs measure the same work. Absent on purpose: decisions. The crate feeds
//! events to the engine and takes the time.

pub mod cases;
pub mod cluster;
pub mod contention;
pub mod load;
pub mod openb;
pub mod plain;
pub mod process;
pub mod table;
pub mod taking_back;
