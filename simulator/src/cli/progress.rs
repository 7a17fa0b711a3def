//! The progress bar of long runs: on standard error, and only if that is a terminal.

use berth_model::{Millis, Timestamp};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

const TEMPLATE: &str = "{bar:40} {pos}/{len} workloads, {msg}, {eta} left";

/// A bar for so many workloads; hidden where nobody sees it.
pub(super) fn bar(workloads: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(workloads), ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// So many workloads have been submitted by now.
pub(super) fn step(bar: &ProgressBar, submitted: u64, now: Timestamp) {
    if !bar.is_hidden() {
        bar.set_position(submitted);
        bar.set_message(format!("virtual time {}", Millis(now.0)));
    }
}
