//! A `libnvidia-ml.so.1` for tests: the double of hardware, scripted by a file that may change while it runs.
//!
//! Build it as a cdylib, copy it, write `nvml-fake.json` ([`script::Script`]) beside the copy or name a script in
//! `$NVML_FAKE_SCRIPT`, and load the copy as the driver's library. Each copy is a machine of its own.
//!
//! It has the functions that Berth's agent calls; any other is missing, which loaders must bear as with an old driver.
//! It does what the real library was seen or is documented to do, and nothing that the script does not say.
//!
//! Every exported function trusts the pointers that its caller passes, as NVML does: each must be null or point to room
//! for what NVML's header declares. Null is answered with "invalid argument".

mod api;
pub mod script;
mod state;
