//! The `holdfast` program.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use holdfast::cli;
use holdfast::cli::Cli;
use holdfast::clock::SystemClock;

fn main() -> ExitCode {
    cli::run(Cli::parse(), &SystemClock, &mut io::stdout(), &mut io::stderr())
}
