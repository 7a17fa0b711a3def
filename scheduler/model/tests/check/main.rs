//! The judge, judged: for every rule a decision that breaks it is reported with the rule's number, and the right
//! decision passes.

mod capacity;
mod devices;
mod dsl;
mod events;
mod evictions;
mod gangs;
mod neighbours;
mod nodes;
mod queues;
mod random;
mod reclaims;
mod reservations;
mod victims;
