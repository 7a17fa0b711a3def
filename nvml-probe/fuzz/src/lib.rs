//! Fuzz targets: whatever nodes, agents and users say is read without a panic, and means what it must.
//!
//! * [`cgroup`]: the text of `/proc/<pid>/cgroup`, which processes can shape (S17);
//! * [`stream`]: what an agent sends to the scheduler, and what the scheduler makes of a sequence of it (S17 to S19);
//! * [`cdi`]: what is prepared for a claim, as a file for the container runtime;
//! * [`annotations`]: what users write on pods, through the webhook and to the claim that is made of it (S13, S14).
//!
//! Each takes bytes and panics where something is not as it must be. `.ci/fuzz` runs one under libFuzzer for as long as one
//! likes; the tests run each some thousand times, without it. A find is mended, and gets a case in the crate concerned: bytes
//! mean something else as soon as a target changes.

mod annotations;
mod cdi;
mod cgroup;
mod stream;

use arbitrary::{Result, Unstructured};

/// A cgroup's text.
pub fn cgroup(data: &[u8]) {
    ignore(cgroup::run(&mut Unstructured::new(data)));
}

/// Messages of the stream of live memory.
pub fn stream(data: &[u8]) {
    ignore(stream::run(&mut Unstructured::new(data)));
}

/// A claim's CDI file.
pub fn cdi(data: &[u8]) {
    ignore(cdi::run(&mut Unstructured::new(data)));
}

/// A pod's labels and annotations.
pub fn annotations(data: &[u8]) {
    ignore(annotations::run(&mut Unstructured::new(data)));
}

/// Too few bytes say nothing.
fn ignore(_: Result<()>) {}

/// A text: one of those that mean something, or any.
fn text(from: &mut Unstructured<'_>, known: &[&str]) -> Result<String> {
    let mut text = String::new();
    for _ in 0..from.int_in_range(1..=3)? {
        if !known.is_empty() && from.ratio(2, 3)? {
            text.push_str(from.choose(known)?);
        } else {
            text.push_str(<&str>::arbitrary_limited(from)?);
        }
    }
    Ok(text)
}

/// Short texts, so that a few bytes make several.
trait Limited<'a>: Sized {
    fn arbitrary_limited(from: &mut Unstructured<'a>) -> Result<Self>;
}

impl<'a> Limited<'a> for &'a str {
    fn arbitrary_limited(from: &mut Unstructured<'a>) -> Result<Self> {
        let length = from.int_in_range(0..=24)?.min(from.len());
        let bytes = from.bytes(length)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        })
    }
}
