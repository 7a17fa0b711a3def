//! Where a report goes: standard output and files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Options that say what is written where.
#[derive(clap::Args, Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Write JSON to FILE; `-` or no FILE = standard output, in place of the summary.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Write one self-contained HTML report to FILE.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Width of the summary in columns.
    #[arg(long, value_name = "COLUMNS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(40..=400))]
    pub width: u16,
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be written: {source}", path.display())]
pub struct WriteError {
    /// The file, or `-` for standard output.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The three forms of a report; each is made only if it is asked for.
pub struct Forms<'a> {
    /// The summary.
    pub terminal: &'a dyn Fn() -> String,
    /// The JSON.
    pub json: &'a dyn Fn() -> String,
    /// The HTML page.
    pub html: &'a dyn Fn() -> String,
}

impl Output {
    /// Writes what is asked for: the files first, then to `out` the summary or the JSON. A file is complete or it is
    /// not there.
    ///
    /// # Errors
    ///
    /// Names the file that could not be written.
    pub fn write(&self, forms: &Forms<'_>, out: &mut dyn Write) -> Result<(), WriteError> {
        if let Some(path) = &self.html {
            replace(path, &(forms.html)())?;
        }
        let stdout = Path::new("-");
        let text = match self.json.as_deref() {
            Some(path) if path == stdout => (forms.json)(),
            Some(path) => {
                replace(path, &(forms.json)())?;
                (forms.terminal)()
            }
            None => (forms.terminal)(),
        };
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|source| WriteError { path: stdout.to_owned(), source })
    }
}

/// Writes beside the file, then renames.
fn replace(path: &Path, text: &str) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
        .map_err(|source| WriteError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &Output) -> Result<String, WriteError> {
        let mut out = Vec::new();
        let forms = Forms { terminal: &|| "T".into(), json: &|| "J".into(), html: &|| "H".into() };
        output.write(&forms, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn json_to_standard_output_replaces_the_summary() {
        let output = Output { json: Some("-".into()), ..Output::default() };
        assert_eq!(write(&output).unwrap(), "J");
    }

    #[test]
    fn files_are_written_beside_the_summary() {
        let folder = std::env::temp_dir().join(format!("berth-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (json, html) = (folder.join("r.json"), folder.join("r.html"));
        let output = Output { json: Some(json.clone()), html: Some(html.clone()), width: 80 };
        assert_eq!(write(&output).unwrap(), "T");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(json), read(html)), ("J".into(), "H".into()));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unwritable_file_is_named() {
        let output = Output { html: Some("/nonexistent/r.html".into()), ..Output::default() };
        assert!(
            write(&output).unwrap_err().to_string().starts_with("/nonexistent/r.html: cannot be written")
        );
    }
}
