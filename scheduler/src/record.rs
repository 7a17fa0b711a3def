//! The event log: JSON lines as `docs/SIMULATOR.md` describes them, read by `berth-sim replay`.
//!
//! What the engine refused is left out: it changed nothing. A log that cannot be written any more, or is as long as it may be, is
//! closed and said so; what is in it can still be replayed.

use berth_engine::Settings;
use berth_model::{Budget, Decision, Event, GpuMemoryMib, Timestamp};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The version of the format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    berth_log: u32,
    name: &'a str,
    foreign_allowance: GpuMemoryMib,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Line<'a> {
    Event(&'a Event),
    Decide { now: Timestamp, budget: Budget, decisions: &'a [Decision] },
}

/// Writes the log.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    written: u64,
    bytes_max: u64,
}

impl Record {
    /// Creates the file.
    pub(crate) fn create(path: &Path, mib_max: u32, settings: &Settings) -> io::Result<Self> {
        let file = Some(BufWriter::with_capacity(1 << 20, File::create(path)?));
        let bytes_max = if mib_max == 0 { u64::MAX } else { u64::from(mib_max) << 20 };
        let mut it = Self { path: path.to_owned(), file, written: 0, bytes_max };
        let foreign_allowance = settings.foreign_allowance;
        it.line(&Header { berth_log: FORMAT, name: "live", foreign_allowance });
        it.flush();
        Ok(it)
    }

    /// An event that the engine took.
    pub(crate) fn event(&mut self, event: &Event) {
        self.line(&Line::Event(event));
    }

    /// A call of `decide`.
    pub(crate) fn decided(&mut self, now: Timestamp, budget: Budget, decisions: &[Decision]) {
        self.line(&Line::Decide { now, budget, decisions });
    }

    /// Makes sure that everything is in the file.
    pub(crate) fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(BufWriter::flush) {
            self.close(&error.to_string());
        }
    }

    fn line(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let mut text = match serde_json::to_vec(line) {
            Ok(text) => text,
            Err(error) => return self.close(&error.to_string()),
        };
        text.push(b'\n');
        if self.written + text.len() as u64 > self.bytes_max {
            return self.close("it is as long as it may be");
        }
        self.written += text.len() as u64;
        if let Err(error) = file.write_all(&text) {
            self.close(&error.to_string());
        }
    }

    fn close(&mut self, why: &str) {
        tracing::warn!(path = %self.path.display(), why, "the event log ends here");
        if let Some(mut file) = self.file.take() {
            // What is still to be written may fail for the same reason.
            let _ = file.flush();
        }
    }
}
