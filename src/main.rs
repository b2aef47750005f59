//! The binary: exit codes only.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis::cli::run()
}
