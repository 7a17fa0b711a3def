//! The answer for a terminal.

use super::{Answer, Evicted, Shift, Submitted};
use crate::report::figures::gpu_hours;
use crate::report::terminal::{Style, table};
use crate::report::words::{count, gpus, plural, span};
use berth_model::{Cause, Timestamp};
use std::fmt::Write as _;

/// Rows shown of one table, and pods of one workload.
const ROWS_MAX: usize = 24;

/// The answer, at most `width` columns wide.
pub fn terminal(answer: &Answer, width: u16, style: Style) -> String {
    let mut text = String::new();
    let title = format!("{} at {}", answer.name, time(answer.at));
    let _ = writeln!(text, "{}: what if we {}", style.heading(&title), answer.changes.join(", and "));
    let led = format!("Compared with the same cluster unchanged, both until {}", time(answer.until));
    let _ = writeln!(text, "{}", style.aside(&led));
    for submitted in &answer.submitted {
        say_submitted(&mut text, submitted, answer.at, style);
    }
    evictions(&mut text, answer, width, style);
    displaced(&mut text, answer, width, style);
    shifts(&mut text, "Start sooner", &answer.sooner, answer.at, width, style);
    shifts(&mut text, "Wait instead", &answer.later, answer.at, width, style);
    if answer.sooner.is_empty() && answer.later.is_empty() {
        text.push_str("\nNobody else starts at another time.\n");
    }
    text
}

fn time(at: Timestamp) -> String {
    span(at.since(Timestamp(0)))
}

/// How long after the change.
fn after(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => "not by then".to_owned(),
        Some(at) if at == now => "at once".to_owned(),
        Some(at) => format!("after {}", span(at.since(now))),
    }
}

fn say_submitted(text: &mut String, submitted: &Submitted, now: Timestamp, style: Style) {
    let name = style.heading(&submitted.workload);
    let Some(start) = submitted.start else {
        let _ = writeln!(text, "\n{name} does not start by then: {}", submitted.reason);
        if !submitted.change.is_empty() {
            let _ = writeln!(text, "  it would start if {}", submitted.change);
        }
        return;
    };
    let pods = plural(submitted.pods.len() as u64, "pod");
    if start == now {
        let _ = writeln!(text, "\n{name} starts at once with {pods}");
    } else {
        let wait = span(start.since(now));
        let _ = writeln!(text, "\n{name} starts at {}, after {wait}, with {pods}", time(start));
        if !submitted.reason.is_empty() {
            let _ = writeln!(text, "  until then: {}", submitted.reason);
        }
    }
    for pod in submitted.pods.iter().take(ROWS_MAX) {
        let devices: Vec<String> = pod.devices.iter().map(u8::to_string).collect();
        let devices = match devices.len() {
            0 => String::new(),
            1 => format!(", GPU {}", devices[0]),
            _ => format!(", GPUs {}", devices.join(" ")),
        };
        let _ = writeln!(text, "  {} on {}{devices}", pod.pod, pod.node);
    }
    if submitted.pods.len() > ROWS_MAX {
        let _ = writeln!(text, "  and {} more", submitted.pods.len() - ROWS_MAX);
    }
}

fn evictions(text: &mut String, answer: &Answer, width: u16, style: Style) {
    if answer.evicted.is_empty() {
        text.push_str("\nNobody is evicted for it.\n");
    } else {
        let workloads = plural(answer.evicted.len() as u64, "workload");
        let lost = gpus(gpu_hours(answer.lost_share_millis));
        let title = format!("{workloads} evicted, {lost} GPU-hours of work lost");
        evicted(text, &title, &answer.evicted, answer.at, width, style);
    }
    if !answer.spared.is_empty() {
        evicted(text, "Not evicted any more", &answer.spared, answer.at, width, style);
    }
}

fn evicted(text: &mut String, title: &str, list: &[Evicted], now: Timestamp, width: u16, style: Style) {
    let header = ["workload", "project", "pods", "when", "by rule", "for", "placed again"];
    let mut rows = table(style, width, &header, 2..3);
    for one in list.iter().take(ROWS_MAX) {
        rows.add_row(vec![
            one.workload.clone(),
            one.project.clone(),
            count(one.pods.into()),
            after(Some(one.at), now),
            format!("{}, {}", one.rule, cause(one.cause)),
            one.beneficiary.clone().unwrap_or_default(),
            after(one.again, now),
        ]);
    }
    let _ = writeln!(text, "\n{}\n{rows}", style.heading(title));
    more(text, list.len());
}

fn displaced(text: &mut String, answer: &Answer, width: u16, style: Style) {
    if answer.displaced.is_empty() {
        return;
    }
    let mut rows = table(style, width, &["workload", "project", "placed again"], 0..0);
    for shift in answer.displaced.iter().take(ROWS_MAX) {
        rows.add_row([shift.workload.clone(), shift.project.clone(), after(shift.with, answer.at)]);
    }
    let _ = writeln!(text, "\n{}\n{rows}", style.heading("Lose their place with their node"));
    more(text, answer.displaced.len());
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Reclaim => "reclaim",
        Cause::Preempt => "preempt",
        Cause::Consolidate => "consolidate",
        Cause::Stale => "stale",
        Cause::OverLimit => "over limit",
        Cause::NotStarted => "not started",
    }
}

fn shifts(text: &mut String, title: &str, list: &[Shift], now: Timestamp, width: u16, style: Style) {
    if list.is_empty() {
        return;
    }
    let header = ["workload", "project", "starts without it", "starts with it", "difference"];
    let mut rows = table(style, width, &header, 4..5);
    for shift in list.iter().take(ROWS_MAX) {
        let difference = shift.with.zip(shift.without).map(|(with, without)| span(with.since(without)));
        rows.add_row(vec![
            shift.workload.clone(),
            shift.project.clone(),
            after(shift.without, now),
            after(shift.with, now),
            difference.unwrap_or_default(),
        ]);
    }
    let _ = writeln!(text, "\n{}\n{rows}", style.heading(title));
    more(text, list.len());
}

fn more(text: &mut String, all: usize) {
    if let Some(more) = all.checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more; --json has all");
    }
}
