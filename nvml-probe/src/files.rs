//! Files that are whole or not there.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// The end of the name of a file that is not finished. What bears it after a crash is of no use to anybody.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Writes a file as a whole: whoever reads it sees the old content or the new, also after a crash.
///
/// # Errors
/// If it cannot be written; then the old content stands.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file without a folder"))?;
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::other("a file without a name"))?);
    name.push(UNFINISHED);
    let unfinished = folder.join(name);
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

/// Removes a file; that it is not there is as good.
///
/// # Errors
/// If it is there and cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
