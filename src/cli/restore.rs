//! `holdfast restore`: brings a backup back, if the HSM has the root key that its keys are wrapped by.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app;
use crate::cli::environment::ensure_environment;
use crate::cli::progress::{Progress, Quiet};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::store::sqlite;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// A file that `holdfast backup` made
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    quiet: Quiet,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load(&arguments.config.path)?;
    ensure_environment(&config.environment())?;
    let progress = Progress::of("reading the backup", arguments.quiet);
    let facts = sqlite::inspect(&arguments.from)?;
    // Before anything is written: keys that nobody can unwrap are no keys.
    progress.says("looking for the root key in the HSM");
    app::find_root_keys(&config, &facts.root_keys)?;
    std::fs::create_dir_all(&config.state_dir)?;
    progress.says("copying the keys");
    sqlite::restore(&arguments.from, &config.state_dir)?;
    drop(progress);
    let state_dir = config.state_dir.display();
    writeln!(world.out, "{state_dir} has {} keys again; start the daemon", facts.keys)?;
    if facts.root_keys.len() > 1 {
        writeln!(world.out, "a rotation of the root key was going on: the daemon goes on with it")?;
    }
    Ok(ExitCode::SUCCESS)
}
