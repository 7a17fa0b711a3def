//! Images made from files: one layer, in the form that `docker save` writes, which containerd imports.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ring::digest;
use serde_json::json;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};
use crate::programs::Program;

/// The image of our own small program (`programs/box`), which every real node has. Its arguments are steps: `env`,
/// `print TEXT`, `file PATH`, `sleep SECONDS`, `pause`, `exit CODE`.
pub const BOX_IMAGE: &str = "berth.dev/testbed/box:own";

/// An image to be made from files of this machine.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    files: Vec<(String, PathBuf)>,
    entrypoint: Vec<String>,
    /// Files that were made for it.
    made: Vec<Arc<TempPath>>,
}

impl Image {
    /// An image of this full name, such as `berth.dev/probe:test`. Pods that use it need a pull policy other than `Always`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), files: Vec::new(), entrypoint: Vec::new(), made: Vec::new() }
    }

    /// With a file of this machine at a path in the image. A program must be static, or bring its libraries.
    #[must_use]
    pub fn file(mut self, in_image: &str, here: &Path) -> Self {
        self.files.push((in_image.trim_start_matches('/').to_owned(), here.to_owned()));
        self
    }

    /// An image of a program of this machine and what it is linked to, which it runs. What only debuggers read is left out
    /// where there is `strip`: a node takes its time for large images.
    ///
    /// # Errors
    /// If `ldd`, which comes with glibc, cannot say what that is.
    pub fn of_program(name: &str, program: &Path) -> Result<Self> {
        let output = Command::new("ldd").arg(program).output().map_err(Error::io("running ldd"))?;
        if !output.status.success() {
            let command = format!("ldd {}", program.display());
            let output_text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Command { command, status: output.status, output: output_text });
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let linked = said.split_whitespace().filter(|word| word.starts_with('/'));
        let image = linked.fold(Self::new(name), |image, path| image.file(path, Path::new(path)));
        let small = NamedTempFile::new().map_err(Error::io("creating a file"))?.into_temp_path();
        let strip = Command::new("strip").arg("-o").arg(&small).arg(program).output();
        let mut image = image.entrypoint(["/program"]);
        if strip.is_ok_and(|output| output.status.success()) {
            image = image.file("/program", &small);
            image.made.push(Arc::new(small));
            return Ok(image);
        }
        Ok(image.file("/program", program))
    }

    /// The program that runs, and its first arguments.
    #[must_use]
    pub fn entrypoint<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.entrypoint = words.into_iter().map(str::to_owned).collect();
        self
    }

    pub(super) async fn of_box() -> Result<Self> {
        Ok(Self::new(BOX_IMAGE).file("/box", &Program::Box.path().await?).entrypoint(["/box"]))
    }

    /// Writes it as an archive.
    pub(super) fn write(&self, to: &Path) -> Result<()> {
        let failed = || Error::io(format!("writing the image {}", self.name));
        let layer = self.layer()?;
        let hash: String = digest::digest(&digest::SHA256, &layer)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hash}")]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        let mut archive = tar::Builder::new(File::create(to).map_err(failed())?);
        append(&mut archive, "config.json", config.to_string().as_bytes(), 0o644).map_err(failed())?;
        append(&mut archive, "layer.tar", &layer, 0o644).map_err(failed())?;
        append(&mut archive, "manifest.json", manifest.to_string().as_bytes(), 0o644).map_err(failed())?;
        archive.into_inner().and_then(|mut file| file.flush()).map_err(failed())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for (name, here) in &self.files {
            let content = std::fs::read(here).map_err(Error::io(format!("reading {}", here.display())))?;
            append(&mut layer, name, &content, 0o755)
                .map_err(Error::io(format!("adding {name} to a layer")))?;
        }
        layer.into_inner().map_err(Error::io("ending a layer"))
    }
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    content: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
