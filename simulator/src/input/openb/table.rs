//! A CSV file with a header, read line by line; errors name file, line, column, value and range.

use crate::input::error::{InputError, shown};
use csv::ByteRecord;
use std::path::Path;

/// An opened file and its columns.
pub(super) struct Table {
    file: String,
    columns: Vec<String>,
    bytes: Vec<u8>,
}

impl Table {
    /// Reads the file and its header.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let file = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|e| InputError::file(&file, format_args!("cannot be read: {e}")))?;
        Self::new(file, bytes)
    }

    /// A table from what was read.
    pub(super) fn new(file: String, bytes: Vec<u8>) -> Result<Self, InputError> {
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let header = reader.byte_headers().map_err(|e| csv_error(&file, &e))?;
        let columns = header
            .iter()
            .map(|name| String::from_utf8(name.to_vec()).map(|name| name.trim().to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InputError { line: Some(1), ..InputError::file(&file, "is not UTF-8") })?;
        Ok(Self { file, columns, bytes })
    }

    /// The column with this name, if there is one.
    pub(super) fn optional(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The column with this name, which must be there.
    pub(super) fn column(&self, name: &str) -> Result<usize, InputError> {
        self.one_of(&[name])
    }

    /// The column with one of these names, which must be there.
    pub(super) fn one_of(&self, names: &[&str]) -> Result<usize, InputError> {
        names.iter().find_map(|name| self.optional(name)).ok_or_else(|| InputError {
            line: Some(1),
            allowed: format!("a column {} beside {}", names.join(" or "), self.columns.join(", ")),
            ..InputError::file(&self.file, format_args!("has no column `{}`", names.join("` or `")))
        })
    }

    /// Gives every line after the header to `read`.
    pub(super) fn each(
        &self,
        mut read: impl FnMut(&Row<'_>) -> Result<(), InputError>,
    ) -> Result<(), InputError> {
        let mut reader = csv::Reader::from_reader(self.bytes.as_slice());
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|e| csv_error(&self.file, &e))? {
            let line = record.position().map_or(0, csv::Position::line);
            read(&Row { table: self, record: &record, line })?;
        }
        Ok(())
    }
}

/// One line.
pub(super) struct Row<'a> {
    table: &'a Table,
    record: &'a ByteRecord,
    line: u64,
}

impl<'a> Row<'a> {
    /// The text in a column.
    pub(super) fn text(&self, column: usize) -> Result<&'a str, InputError> {
        let bytes = self.record.get(column).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| {
            let value = String::from_utf8_lossy(bytes);
            self.error(column, format!("is {}, which is not UTF-8", shown(&value)), "UTF-8 text")
        })
    }

    /// The whole number in a column, from `least` to `most`.
    pub(super) fn integer(&self, column: usize, least: i64, most: i64) -> Result<i64, InputError> {
        let parsed = self.text(column)?.trim().parse().ok().filter(|n| (least..=most).contains(n));
        parsed.ok_or_else(|| self.fail(column, &format!("a whole number from {least} to {most}")))
    }

    /// As [`Row::integer`], but nothing may be there.
    pub(super) fn maybe(&self, column: usize, least: i64, most: i64) -> Result<Option<i64>, InputError> {
        if self.text(column)?.trim().is_empty() {
            return Ok(None);
        }
        self.integer(column, least, most).map(Some)
    }

    /// An error about the value in a column.
    pub(super) fn fail(&self, column: usize, allowed: &str) -> InputError {
        let value = String::from_utf8_lossy(self.record.get(column).unwrap_or_default());
        self.error(column, format!("is {}", shown(&value)), allowed)
    }

    fn error(&self, column: usize, problem: String, allowed: &str) -> InputError {
        InputError {
            file: self.table.file.clone(),
            line: Some(self.line),
            field: format!("column {}", self.table.columns.get(column).map_or("", String::as_str)),
            problem,
            allowed: allowed.to_owned(),
        }
    }
}

fn csv_error(file: &str, error: &csv::Error) -> InputError {
    let line = error.position().map(csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, the header has {expected_len}")
        }
        _ => format!("is not CSV: {error}"),
    };
    InputError { line, ..InputError::file(file, problem) }
}
