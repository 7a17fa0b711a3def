//! The command `berth-testbed`. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_testbed::cli::main()
}
