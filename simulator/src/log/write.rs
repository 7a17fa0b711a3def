//! Writing a log.

use super::{FORMAT, Header};
use crate::world::{SimError, Witness};
use berth_engine::Settings;
use berth_model::{Budget, Decision, Event, Timestamp};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes what goes into the engine and comes out of it, line by line.
pub struct LogWriter {
    file: BufWriter<File>,
    name: String,
}

/// As [`super::Line`], of things that are only looked at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum LineRef<'a> {
    Event(&'a Event),
    Decide { now: Timestamp, budget: Budget, decisions: &'a [Decision] },
}

impl LogWriter {
    /// Creates the file and writes its header; `name` is what is run.
    pub fn create(path: &Path, name: &str, settings: &Settings) -> Result<Self, SimError> {
        let shown = path.display().to_string();
        let file =
            File::create(path).map_err(|e| SimError::Io(format!("{shown}: cannot be written: {e}")))?;
        let mut log = Self { file: BufWriter::with_capacity(1 << 20, file), name: shown };
        let header = Header {
            berth_log: FORMAT,
            name: name.to_owned(),
            foreign_allowance: settings.foreign_allowance,
        };
        log.line(&header)?;
        Ok(log)
    }

    /// Makes sure that everything is written.
    pub fn finish(mut self) -> Result<(), SimError> {
        self.file.flush().map_err(|e| SimError::Io(format!("{}: cannot be written: {e}", self.name)))
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), SimError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|e| SimError::Io(format!("{}: cannot be written: {e}", self.name)))
    }
}

impl Witness for LogWriter {
    fn event(&mut self, event: &Event) -> Result<(), SimError> {
        self.line(&LineRef::Event(event))
    }

    fn decided(&mut self, now: Timestamp, budget: Budget, decisions: &[Decision]) -> Result<(), SimError> {
        self.line(&LineRef::Decide { now, budget, decisions })
    }
}
