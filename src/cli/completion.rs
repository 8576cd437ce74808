//! `holdfast completion`: what a shell needs to complete commands and options.

use std::io;
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::cli::{self, Outcome, World};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::command(), "holdfast", &mut script);
    written(world.out.write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough is no failure.
pub(super) fn written(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
