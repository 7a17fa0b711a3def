//! The scheduler's program.

fn main() -> std::process::ExitCode {
    berth_scheduler::cli::run(std::env::args_os())
}
