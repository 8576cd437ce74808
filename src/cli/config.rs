//! `holdfast config`: is a configuration right, and what does a complete one look like.

use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;

use crate::app;
use crate::cli::ConfigFile;
use crate::cli::Outcome;
use crate::cli::World;
use crate::config;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration and every file it names, and say what is wrong
    Check,
    /// Print a configuration with every member and its default
    #[command(alias = "default")]
    PrintDefault,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    match arguments.command {
        Command::Check => check(&arguments.config, world)?,
        Command::PrintDefault => world.out.write_all(config::DEFAULT.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &ConfigFile, world: &mut World<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let config = app::check(&file.path)?;
    for warning in app::warnings(&config, world.clock) {
        writeln!(world.out, "warning: {warning}")?;
    }
    writeln!(
        world.out,
        "{} is right: listeners {}, HSMs {}, key stores {}",
        config.path.display(),
        config.listener_count(),
        config.hsms.len(),
        config.key_stores.len()
    )?;
    Ok(())
}
