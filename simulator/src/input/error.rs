//! What is wrong with an input, said so that it can be mended: file, line, field, value, allowed range.

use std::fmt;

/// Why an input was refused. Nothing of it has been used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// The field: a path (`workloads[3].roles[0].gpus`) or a column; empty for the file as a whole.
    pub field: String,
    /// What is wrong with it, with the value.
    pub problem: String,
    /// What would be right; empty if the problem says so already.
    pub allowed: String,
}

impl InputError {
    /// An error about a file as a whole.
    pub fn file(file: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            file: file.into(),
            line: None,
            field: String::new(),
            problem: problem.to_string(),
            allowed: String::new(),
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)?;
        if self.allowed.is_empty() { Ok(()) } else { write!(f, "; allowed: {}", self.allowed) }
    }
}

impl std::error::Error for InputError {}

/// A value as it is shown in an error: at most 60 characters, on one line.
pub(crate) fn shown(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = value.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if value.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_line_field_problem_and_range() {
        let error = InputError {
            file: "a.yaml".into(),
            line: Some(7),
            field: "nodes[0].count".into(),
            problem: "is `-1`".into(),
            allowed: "1 to 1000000".into(),
        };
        assert_eq!(error.to_string(), "a.yaml:7: nodes[0].count: is `-1`; allowed: 1 to 1000000");
        assert_eq!(InputError::file("b.yaml", "is empty").to_string(), "b.yaml: is empty");
    }

    #[test]
    fn long_values_are_cut_and_stay_on_one_line() {
        assert_eq!(shown("a\nb"), "`a\\nb`");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 63);
    }
}
