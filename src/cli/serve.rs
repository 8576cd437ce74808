//! `holdfast serve`: the daemon, in the foreground.

use std::process::ExitCode;

use clap::Args;

use crate::app;
use crate::cli::environment::ensure_environment;
use crate::cli::{ConfigFile, Outcome};
use crate::config::Config;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = Config::load(&arguments.config.path)?;
    ensure_environment(&config.environment())?;
    app::run(config)?;
    Ok(ExitCode::SUCCESS)
}
