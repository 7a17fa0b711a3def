//! The mirror with a real engine behind it and an API server of maps before it.

mod budgets;
mod cases;
mod claims;
mod convergence;
mod namespaces;
mod selections;
mod slices;
mod starts;
mod status;
mod world;
