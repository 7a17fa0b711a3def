//! One HTML file: charts as inline SVG, its own style, a few lines of script for read-outs, nothing fetched.
//!
//! Colours: five hues and grey, the same series always in the same hue, never more; what is beyond is put together.
//! Every hue has at least 3:1 contrast against the card it is drawn on, in light and dark (tested), and series are
//! also told apart by labels on the lines. Every chart has a title, a description and a table that unfolds.

mod axis;
mod chart;
mod evictions;
mod overview;
mod page;
mod pending;
mod pools;
mod readout;
mod shares;
mod text;
mod waits;

#[cfg(test)]
mod tests;

pub(crate) use axis::Axis;
pub(crate) use chart::{Chart, Layer, Mark};
pub(crate) use page::{Page, Tile, figure};
pub(crate) use text::{esc, table};

use super::words;
use crate::outcome::Outcome;

/// The page for one outcome, or for several side by side.
pub fn report(outcomes: &[Outcome]) -> String {
    match outcomes {
        [] => Page::new("Nothing was simulated", "").finish(),
        [one] => overview::one(one),
        many => overview::several(many),
    }
}

/// The name of an outcome among others: its variant, its name, or its number.
pub(crate) fn variant(outcomes: &[Outcome], i: usize) -> String {
    let outcome = &outcomes[i];
    let one_variant = outcomes.iter().all(|o| o.variant == outcome.variant);
    let one_name = outcomes.iter().all(|o| o.name == outcome.name);
    match (outcome.variant.as_str(), outcome.name.as_str()) {
        ("", "") => format!("run {}", i + 1),
        ("", name) => name.to_owned(),
        (variant, name) if one_variant && !one_name => {
            if name.is_empty() { variant } else { name }.to_owned()
        }
        (variant, name) if !one_name => format!("{name}, {variant}"),
        (variant, _) => variant.to_owned(),
    }
}

/// What stands where a chart would be empty.
fn nothing(why: &str) -> String {
    format!("<p class=\"plain\">{}</p>\n", text::esc(why))
}

/// `html` with a heading in front of it.
fn titled(heading: &str, html: &str) -> String {
    html.replacen(
        "<figcaption></figcaption>",
        &format!("<figcaption><h3>{}</h3></figcaption>", text::esc(heading)),
        1,
    )
}

/// The title of an outcome's page.
fn title(outcome: &Outcome) -> String {
    if outcome.name.is_empty() { "Simulation".into() } else { words::clip(&outcome.name, 200) }
}
