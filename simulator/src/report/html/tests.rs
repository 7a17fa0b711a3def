//! The page is well-formed, fetches nothing, is the same every time, and its colours can be told apart.

use super::page::HUES;
use crate::outcome::Outcome;
use crate::report::{html, samples};

const VOID: [&str; 4] = ["meta", "br", "link", "!doctype"];

/// Panics unless every tag is closed in order. Scripts and styles are skipped.
fn assert_balanced(name: &str, html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').unwrap_or_else(|| panic!("{name}: a tag without end"));
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{name}: quotes in <{tag}>");
        let word = tag.trim_end_matches('/').split_whitespace().next().unwrap_or_default();
        if let Some(closed) = word.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}: </{closed}> closes");
        } else if !tag.ends_with('/') && !VOID.contains(&word) {
            open.push(word);
        }
        if word == "script" || word == "style" {
            let close = format!("</{word}>");
            rest = &rest[rest.find(&close).unwrap_or_else(|| panic!("{name}: {word} without end"))..];
        }
    }
    assert!(open.is_empty(), "{name}: left open {open:?}");
}

fn assert_sound(name: &str, page: &str) {
    assert_balanced(name, page);
    for bad in ["NaN", "http", "//www", "@import", "src=", "Infinity", "inf\"", "<b>&"] {
        assert!(!page.contains(bad), "{name} contains {bad:?}");
    }
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|s| s.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{name}: an id is used twice");
}

fn trio() -> Vec<Outcome> {
    let pools = [("a100", 256.0), ("h100", 64.0)];
    ["binpack", "fgd", "spread"].iter().zip(3..).map(|(v, seed)| samples::rich(v, seed, &pools, 6)).collect()
}

#[test]
fn every_page_is_well_formed_and_fetches_nothing() {
    for (name, outcome) in samples::odd() {
        assert_sound(name, &html(std::slice::from_ref(&outcome)));
        assert_sound(&format!("{name} twice"), &html(&[outcome.clone(), outcome]));
    }
    assert_sound("nothing", &html(&[]));
    assert_sound("three", &html(&trio()));
    let many: Vec<Outcome> =
        (0..9).map(|i| Outcome { variant: format!("v{i}"), ..samples::small() }).collect();
    assert_sound("nine", &html(&many));
}

#[test]
fn the_same_outcomes_give_the_same_page() {
    assert_eq!(html(&trio()), html(&trio()));
}

#[test]
fn a_page_of_200_projects_stays_small() {
    let (_, many) = samples::odd().pop().unwrap();
    let page = html(&[many]);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    assert!(page.contains("189 others together"));
}

fn colours(style: &str, name: &str) -> Vec<[f64; 3]> {
    let marker = format!("--{name}: #");
    let hex = style.split(&marker).skip(1).map(|s| &s[..6]);
    let part = |hex: &str, i: usize| f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
    hex.map(|h| [part(h, 0), part(h, 2), part(h, 4)]).collect()
}

/// Relative luminance (WCAG 2).
fn luminance(colour: [f64; 3]) -> f64 {
    let [r, g, b] = colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055f64).powf(2.4) });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_stand_out_in_light_and_dark() {
    let style = include_str!("style.css");
    let card = colours(style, "card");
    let least = |name: &str| if ["ink", "soft", "bad", "good"].contains(&name) { 4.5 } else { 3.0 };
    for name in HUES.into_iter().chain(["rest", "ink", "soft", "bad", "good"]) {
        let both = colours(style, name);
        assert_eq!(both.len(), 2, "--{name} has a light and a dark value");
        for (colour, card) in both.iter().zip(&card) {
            let contrast = contrast(*colour, *card);
            assert!(contrast >= least(name), "--{name}: contrast {contrast:.2}");
        }
    }
}

/// Writes pages to look at: `cargo test -p berth-sim gallery`, then open `$TMPDIR/berth-gallery/`.
#[test]
fn gallery() {
    let folder = std::env::temp_dir().join("berth-gallery");
    std::fs::create_dir_all(&folder).unwrap();
    let pools = [("a100", 256.0), ("h100", 64.0)];
    let mut pages = vec![
        ("one".to_owned(), html(&[samples::rich("binpack", 3, &pools, 6)])),
        ("compare".to_owned(), html(&trio())),
    ];
    pages.extend(samples::odd().into_iter().map(|(name, o)| (format!("odd-{name}"), html(&[o]))));
    for (name, page) in pages {
        std::fs::write(folder.join(name + ".html"), page).unwrap();
    }
}
