//! A YAML document as a tree that knows its lines, and a cursor that knows its path.
//!
//! Reading typed values through the cursor makes every error name the file, the line, the path, the
//! value and what is allowed. Scalars keep the text as it was written, so that `0.1` stays exact.

mod tree;

use super::error::{InputError, shown};
use berth_api::quantity::{self, Allowed};
use berth_model::{GpuShare, Millis};
use serde_saphyr::Spanned;
use std::fmt;
use tree::{Node, Raw, Value};

/// The most nodes a document may have; a million workloads belong into a trace.
const NODES_MAX: usize = 20_000_000;

/// What is wrong with a document, in one line without the place.
fn problem(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("the field {} is there twice", shown(key));
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    format!("is not YAML: {}", line.rsplit_once(" at line ").map_or(line, |(what, _)| what))
}

/// A parsed document.
pub(crate) struct Document {
    file: String,
    root: Node,
}

impl Document {
    /// Parses one YAML document; `file` is its name in errors.
    pub(crate) fn parse(file: &str, source: &str) -> Result<Self, InputError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_nodes: NODES_MAX,
                max_events: 2 * NODES_MAX,
                max_total_scalar_bytes: 1 << 30,
                alias_anchor_ratio_multiplier: 10_000,
            },
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(source, options) {
            Ok(raw) => Ok(Self { file: file.to_owned(), root: Node::new(raw, source) }),
            Err(error) => Err(InputError {
                line: error.location().map(|l| l.line()),
                ..InputError::file(file, problem(error.without_snippet()))
            }),
        }
    }

    /// The cursor at the top.
    pub(crate) fn root(&self) -> At<'_> {
        At { file: &self.file, node: &self.root, path: String::new() }
    }
}

/// A place in a document.
#[derive(Clone)]
pub(crate) struct At<'a> {
    file: &'a str,
    node: &'a Node,
    path: String,
}

impl<'a> At<'a> {
    /// An error about this value: what it is, and what is allowed.
    pub(crate) fn fail(&self, allowed: impl fmt::Display) -> InputError {
        let problem = match &self.node.value {
            Value::Null => "is null".to_owned(),
            Value::Scalar(text) => format!("is {}", shown(text)),
            Value::List(items) => format!("is a list of {}", items.len()),
            Value::Map(_) => "is a map".to_owned(),
        };
        InputError { allowed: allowed.to_string(), ..self.problem(problem) }
    }

    /// An error about this place in words.
    pub(crate) fn problem(&self, problem: impl fmt::Display) -> InputError {
        InputError {
            file: self.file.to_owned(),
            line: Some(self.node.line),
            field: self.path.clone(),
            problem: problem.to_string(),
            allowed: String::new(),
        }
    }

    /// True for `null` and for an empty value.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// True for a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// The entries of a map, whatever their keys.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>, InputError> {
        match &self.node.value {
            Value::Map(entries) => {
                Ok(entries.iter().map(|(key, node)| (key.as_str(), self.key(key, node))).collect())
            }
            Value::Null => Ok(Vec::new()),
            _ => Err(self.fail("a map")),
        }
    }

    /// The map with these fields and no others.
    pub(crate) fn fields(&self, known: &'static [&'static str]) -> Result<Fields<'a>, InputError> {
        if !matches!(self.node.value, Value::Map(_)) {
            return Err(self.fail(format_args!("a map with {}", known.join(", "))));
        }
        let entries = self.entries()?;
        match entries.iter().find(|(key, _)| !known.contains(key)) {
            Some((_, at)) => {
                Err(InputError { allowed: known.join(", "), ..at.problem("is not a known field") })
            }
            None => Ok(Fields { at: self.clone(), entries }),
        }
    }

    /// The items of a list; none for null.
    pub(crate) fn list(&self) -> Result<Vec<At<'a>>, InputError> {
        match &self.node.value {
            Value::List(items) => Ok((0..)
                .zip(items)
                .map(|(i, node): (usize, _)| At {
                    file: self.file,
                    node,
                    path: format!("{}[{i}]", self.path),
                })
                .collect()),
            Value::Null => Ok(Vec::new()),
            _ => Err(self.fail("a list")),
        }
    }

    /// A scalar as written.
    pub(crate) fn text(&self) -> Result<&'a str, InputError> {
        match &self.node.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(self.fail("a scalar")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn name(&self) -> Result<&'a str, InputError> {
        let text = self.text()?;
        if text.is_empty() || text.len() > 253 || text.chars().any(char::is_control) {
            return Err(self.fail("a text of 1 to 253 bytes without control characters"));
        }
        Ok(text)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Result<bool, InputError> {
        match self.text()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.fail("true, false")),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer<T>(&self, least: T, most: T) -> Result<T, InputError>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display + Copy,
    {
        let parsed = self.text()?.parse().ok().filter(|n| (least..=most).contains(n));
        parsed.ok_or_else(|| self.fail(format_args!("a whole number from {least} to {most}")))
    }

    /// A quantity, 0 or more, in units of `1 / per_one`.
    pub(crate) fn quantity(&self, per_one: i64) -> Result<i64, InputError> {
        match self.parsed(|text| quantity::quantity(text, per_one))? {
            negative if negative < 0 => Err(self.fail("0 or more")),
            amount => Ok(amount),
        }
    }

    /// A number of devices, 0 or more, in millionths.
    pub(crate) fn devices(&self) -> Result<GpuShare, InputError> {
        self.quantity(GpuShare::DEVICE.0).map(GpuShare)
    }

    /// A duration; negative only where the caller allows it.
    pub(crate) fn duration(&self) -> Result<Millis, InputError> {
        self.parsed(quantity::duration)
    }

    /// A duration of 0 or more.
    pub(crate) fn span(&self) -> Result<Millis, InputError> {
        match self.duration()? {
            negative if negative < Millis::ZERO => Err(self.fail("a duration of 0s or more")),
            span => Ok(span),
        }
    }

    /// What a parser of texts makes of the scalar.
    pub(crate) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, Allowed>) -> Result<T, InputError> {
        parse(self.text()?).map_err(|allowed| self.fail(allowed))
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, InputError> {
        let text = self.text()?;
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| self.fail(words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")))
    }

    fn key(&self, key: &str, node: &'a Node) -> At<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        At { file: self.file, node, path }
    }
}

/// The fields of a map.
pub(crate) struct Fields<'a> {
    /// The map itself, for errors about it as a whole.
    pub(crate) at: At<'a>,
    entries: Vec<(&'a str, At<'a>)>,
}

impl<'a> Fields<'a> {
    /// The field, if it is there, even if it is null.
    pub(crate) fn raw(&self, key: &str) -> Option<&At<'a>> {
        self.entries.iter().find(|(k, _)| *k == key).map(|(_, at)| at)
    }

    /// The field, if it is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&At<'a>> {
        self.raw(key).filter(|at| !at.is_null())
    }

    /// The field, or an error that it is missing.
    pub(crate) fn need(&self, key: &str) -> Result<&At<'a>, InputError> {
        self.get(key).ok_or_else(|| self.at.problem(format_args!("has no `{key}`, which is required")))
    }

    /// What `read` makes of the field, if it is there.
    pub(crate) fn map<T>(
        &self,
        key: &str,
        read: impl FnOnce(&At<'a>) -> Result<T, InputError>,
    ) -> Result<Option<T>, InputError> {
        self.get(key).map(read).transpose()
    }

    /// What `read` makes of the field, or `default` if it is not there.
    pub(crate) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Result<T, InputError>,
    ) -> Result<T, InputError> {
        Ok(self.map(key, read)?.unwrap_or(default))
    }

    /// The items of a list field; none if it is not there.
    pub(crate) fn items(&self, key: &str) -> Result<Vec<At<'a>>, InputError> {
        self.get(key).map_or(Ok(Vec::new()), At::list)
    }
}

#[cfg(test)]
mod tests;
