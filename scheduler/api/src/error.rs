//! What is wrong with an object.

use std::fmt;

/// A field of an object has a value that is not allowed. Nothing of the object has been used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{object}: {field}: {value}; allowed: {allowed}")]
pub struct Malformed {
    /// The object, as in `Pod team-a/train-0`.
    pub object: String,
    /// The field, as in `metadata.annotations[berth.dev/gpu-fraction]`.
    pub field: String,
    /// The value, in quotes, at most 80 characters of it.
    pub value: String,
    /// What would be right.
    pub allowed: String,
}

/// The longest part of a value that is shown.
const SHOWN_MAX: usize = 80;

/// A field with a bad value, before it is known whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bad {
    field: String,
    value: String,
    allowed: String,
}

impl Bad {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        let text = value.to_string();
        let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN_MAX).is_some() {
            shown.push('…');
        }
        Self { field: field.into(), value: format!("\"{shown}\""), allowed: allowed.into() }
    }

    /// The same, below `field`.
    pub(crate) fn under(mut self, field: impl fmt::Display) -> Self {
        self.field = format!("{field}.{}", self.field);
        self
    }

    /// The error, now that it is known whose field it is.
    pub(crate) fn of(self, object: impl Into<String>) -> Malformed {
        Malformed { object: object.into(), field: self.field, value: self.value, allowed: self.allowed }
    }
}
