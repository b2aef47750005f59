//! The binary: exit codes, and where memory comes from.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Each request makes and frees some dozens of small pieces of memory, all on one thread: what this allocator is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory that nobody uses is given back to the system. What the allocator has kept for a second is due.
const GIVE_BACK: Duration = Duration::from_secs(1);
/// More than the allocator takes from any page that it shares out.
const LARGE: usize = 1 << 20;

fn main() -> ExitCode {
    // Without it the process only keeps more than it needs. The thread ends with the process.
    let _ = thread::Builder::new().name("memory".to_owned()).spawn(give_back);
    portcullis::cli::run()
}

/// The allocator gives memory back when a whole page of its own is freed, and only then looks whether any is due; a
/// process whose connections rest frees none for hours. So here one is freed, which nobody has written to. The system is
/// called on this thread, and not between requests on theirs.
fn give_back() {
    loop {
        thread::sleep(GIVE_BACK);
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
