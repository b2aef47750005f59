//! The binary: exit codes only.

use std::process::ExitCode;

/// Each request makes and frees some dozens of small pieces of memory, all on one thread: what this allocator is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::cli::run()
}
