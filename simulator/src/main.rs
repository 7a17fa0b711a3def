//! The command `berth-sim`. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_sim::cli::main()
}
