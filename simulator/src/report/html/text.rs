//! Text made safe for HTML.

use std::fmt::Write as _;

/// `text` with everything that HTML gives a meaning escaped; for content and for attributes in double quotes.
/// Control characters become spaces.
pub(crate) fn esc(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A coordinate with at most two decimals.
pub(crate) fn xy(value: f64) -> String {
    debug_assert!(value.is_finite(), "a coordinate must be finite");
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A table; the cells of the columns in `numbers` are aligned to the right. Cells are text, not HTML.
pub(crate) fn table(header: &[&str], numbers: std::ops::Range<usize>, rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr>");
    let class = |i: usize| if numbers.contains(&i) { " class=\"n\"" } else { "" };
    for (i, name) in header.iter().enumerate() {
        let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(i), esc(name));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(i), esc(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Something that unfolds.
pub(crate) fn details(summary: &str, inner: &str) -> String {
    format!("<details><summary>{}</summary>\n{inner}</details>\n", esc(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_html_survives_escaping() {
        assert_eq!(esc("<b a=\"x\" b='y'>&\n"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp; ");
        assert!(table(&["<h>"], 0..0, &[vec!["<c>".into()]]).contains("<td>&lt;c&gt;</td>"));
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([xy(1.0), xy(0.126), xy(-0.001), xy(100.5)], ["1", "0.13", "0", "100.5"]);
    }
}
