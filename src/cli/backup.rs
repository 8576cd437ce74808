//! `holdfast backup`: a consistent copy of what the KMS front end keeps, also while the daemon runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::admin::control::{self, Notified};
use crate::cli::progress::{Progress, Quiet};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::store::sqlite;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The new file; nothing is ever overwritten
    #[arg(value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    quiet: Quiet,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    if config.kms.is_none() {
        return Err("there is nothing to back up: the configuration has no `[kms]`".into());
    }
    let to = std::path::absolute(&arguments.to)?;
    let progress = Progress::of("copying the database", arguments.quiet);
    match control::back_up(&config.admin.control_socket, &to)? {
        Notified::Done => {}
        Notified::NotRunning => sqlite::copy_unused(&config.state_dir, &to)?,
        Notified::Refused(reason) => return Err(reason.into()),
    }
    // What cannot be read back is no backup.
    progress.says("reading the copy back");
    let facts = sqlite::inspect(&to)?;
    drop(progress);
    let root_keys: Vec<_> = facts.root_keys.iter().map(ToString::to_string).collect();
    let (file, keys) = (to.display(), facts.keys);
    match root_keys.as_slice() {
        [] => writeln!(world.out, "{file} has {keys} keys; there is no root key yet")?,
        ids => writeln!(world.out, "{file} has {keys} keys; restore needs root key {}", ids.join(" and "))?,
    }
    Ok(ExitCode::SUCCESS)
}
