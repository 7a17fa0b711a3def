//! Reading the lines of a log.

use super::replay::ReplayError;
use super::{FORMAT, Header, Line};
use berth_engine::Settings;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The lines of a log after its header.
pub(super) struct Reader {
    file: String,
    lines: BufReader<File>,
    number: u64,
    buffer: Vec<u8>,
    header: Header,
}

impl Reader {
    /// Opens a log and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, ReplayError> {
        let file = path.display().to_string();
        let opened = File::open(path).map_err(|e| ReplayError::Line {
            file: file.clone(),
            line: 0,
            problem: format!("cannot be read: {e}"),
        })?;
        let header = Header { berth_log: 0, name: String::new(), foreign_allowance: Default::default() };
        let lines = BufReader::with_capacity(1 << 20, opened);
        let mut reader = Self { file, lines, number: 0, buffer: Vec::new(), header };
        reader.header = reader.parse()?.ok_or_else(|| reader.error("is empty; allowed: a log".into()))?;
        if reader.header.berth_log != FORMAT {
            let problem = format!(
                "berthLog: is `{}`, allowed: {FORMAT}, the version read here",
                reader.header.berth_log
            );
            return Err(reader.error(problem));
        }
        Ok(reader)
    }

    /// What was run.
    pub(super) fn name(&self) -> &str {
        &self.header.name
    }

    /// The settings of the engine that wrote it.
    pub(super) fn settings(&self) -> Settings {
        Settings { foreign_allowance: self.header.foreign_allowance }
    }

    /// The next line and its number; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Line)>, ReplayError> {
        Ok(self.parse()?.map(|line| (self.number, line)))
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, ReplayError> {
        self.buffer.clear();
        self.number += 1;
        match self.lines.read_until(b'\n', &mut self.buffer) {
            Ok(0) => Ok(None),
            Ok(_) => match serde_json::from_slice(&self.buffer) {
                Ok(line) => Ok(Some(line)),
                Err(error) => Err(self.error(format!("is not a line of a log: {error}"))),
            },
            Err(error) => Err(self.error(format!("cannot be read: {error}"))),
        }
    }

    /// An error about the line that was read last.
    pub(super) fn error(&self, problem: String) -> ReplayError {
        ReplayError::Line { file: self.file.clone(), line: self.number, problem }
    }
}
