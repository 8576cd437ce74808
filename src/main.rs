//! The `holdfast` program.

use std::io;
use std::process::ExitCode;

use holdfast::cli;
use holdfast::clock::SystemClock;

/// A request makes and drops some dozens of small buffers, in threads that hand them to each other: what the system's
/// allocator takes for that is a twentieth of a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::parse(), &SystemClock, &mut io::stdout(), &mut io::stderr())
}
