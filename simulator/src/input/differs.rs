//! The list of scenarios that differ by rule: what they expect is not what the rules say, and why.
//!
//! A YAML list. Each entry has `scenario` (folder and file name without its ending, `reclaim/it-015-...`), `rule` (`S20`)
//! and `why`, a sentence.

use super::error::InputError;
use super::yaml::{At, Document};
use std::path::Path;

/// A scenario that expects what a rule does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// Its folder and its file name without the ending.
    pub scenario: String,
    /// The rule's number.
    pub rule: String,
    /// In a sentence.
    pub why: String,
}

impl Differs {
    /// True if this entry is about the scenario in `file`.
    pub fn is_about(&self, file: &Path) -> bool {
        file.with_extension("").ends_with(&self.scenario)
    }
}

/// Reads a list.
pub fn read(path: &Path) -> Result<Vec<Differs>, InputError> {
    let file = path.display().to_string();
    let source = std::fs::read_to_string(path)
        .map_err(|error| InputError::file(&file, format_args!("cannot be read: {error}")))?;
    parse(&file, &source)
}

/// Parses a list; `file` is its name in errors.
pub fn parse(file: &str, source: &str) -> Result<Vec<Differs>, InputError> {
    let document = Document::parse(file, source)?;
    let mut list: Vec<Differs> = Vec::new();
    for at in document.root().list()? {
        let fields = at.fields(&["scenario", "rule", "why"])?;
        let scenario = fields.need("scenario")?;
        let name = scenario.name()?.to_owned();
        if list.iter().any(|differs| differs.scenario == name) {
            return Err(scenario.fail("a scenario that is not yet in the list"));
        }
        let (rule, why) = (rule(fields.need("rule")?)?, fields.need("why")?.name()?.to_owned());
        list.push(Differs { scenario: name, rule, why });
    }
    Ok(list)
}

fn rule(at: &At<'_>) -> Result<String, InputError> {
    const RULES: std::ops::RangeInclusive<u32> = 1..=33;
    let text = at.text()?;
    let number = text.strip_prefix('S').and_then(|number| number.parse().ok());
    match number.filter(|number| RULES.contains(number)) {
        Some(_) => Ok(text.to_owned()),
        None => Err(at.fail("a rule's number, S1 to S33")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_about_one_file() {
        let list = parse("l.yaml", "- {scenario: reclaim/it-015, rule: S20, why: One suffices.}").unwrap();
        let expected =
            Differs { scenario: "reclaim/it-015".into(), rule: "S20".into(), why: "One suffices.".into() };
        assert_eq!(list, [expected]);
        for (file, is) in [
            ("/x/reclaim/it-015.yaml", true),
            ("reclaim/it-015.yml", true),
            ("preempt/it-015.yaml", false),
            ("reclaim/it-0155.yaml", false),
            ("it-015.yaml", false),
        ] {
            assert_eq!(list[0].is_about(Path::new(file)), is, "{file}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        let error = |source| parse("l.yaml", source).unwrap_err().to_string();
        assert_eq!(
            error("- {scenario: a/b, rule: S34, why: x}"),
            "l.yaml:1: [0].rule: is `S34`; allowed: a rule's number, S1 to S33"
        );
        assert_eq!(
            error("- {scenario: a/b, rule: S1, why: x}\n- {scenario: a/b, rule: S2, why: x}"),
            "l.yaml:2: [1].scenario: is `a/b`; allowed: a scenario that is not yet in the list"
        );
        assert_eq!(error("- {scenario: a/b, rule: S1}"), "l.yaml:1: [0]: has no `why`, which is required");
        assert_eq!(error("scenario: a/b"), "l.yaml:1: is a map; allowed: a list");
    }
}
