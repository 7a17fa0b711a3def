//! What people and programs read after a simulation: JSON, a terminal summary and one HTML file.
//!
//! Everything here only reads [`Outcome`]s. Reports use floating point for averages and shares; no decision is
//! made from them. What is absent: no clock, no network, no file access except in [`output`].
//!
//! - [`figures`]: the numbers derived from an outcome, and how they are derived
//! - [`projects`]: what each project got of what it was due
//! - [`waits`]: waiting times of projects put together
//! - [`series`]: step functions over virtual time: averages, sums, thinning
//! - [`words`]: numbers and spans of time as people read them
//! - [`mod@json`], [`mod@terminal`], [`mod@html`]: the three forms

use crate::outcome::Outcome;

pub mod figures;
pub mod html;
pub mod json;
pub mod output;
pub mod projects;
pub mod series;
pub mod terminal;
pub mod waits;
pub mod words;

#[cfg(test)]
pub(crate) mod samples;

/// The outcomes as stable, pretty-printed JSON: one object for one outcome, else an array; see
/// `docs/SIMULATOR.md`.
pub fn json(outcomes: &[Outcome]) -> String {
    json::outcomes(outcomes)
}

/// A summary for the terminal, at most `width` columns wide; styled only if standard output is a terminal and
/// `NO_COLOR` is not set.
pub fn terminal(outcome: &Outcome, width: u16) -> String {
    terminal::summary(outcome, width, terminal::Style::detect())
}

/// One self-contained HTML page: one outcome in detail, or several side by side.
pub fn html(outcomes: &[Outcome]) -> String {
    html::report(outcomes)
}
