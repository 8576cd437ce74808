//! `holdfast doctor`: what is wrong here, and what to do about it.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::cli::environment::ensure_environment;
use crate::cli::progress::Progress;
use crate::cli::{ConfigFile, Outcome, World};
use crate::clock::SystemClock;
use crate::config::{Config, environment};
use crate::doctor::{self, Options};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    quiet: crate::cli::progress::Quiet,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    if let Ok(config) = Config::load_without_files(&arguments.config.path) {
        ensure_environment(&environment_of_all(&config))?;
    }
    let progress = Progress::start(arguments.quiet);
    let mut begins = |group: doctor::Group| progress.says(group.name());
    let report = doctor::run(&arguments.config.path, &arguments.options, Arc::new(SystemClock), &mut begins);
    drop(progress);
    if arguments.options.json {
        report.write_json(world.out)?;
    } else {
        let no_colour = environment::variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        report.write_text(std::io::stdout().is_terminal() && !no_colour, world.out)?;
    }
    Ok(if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the libraries need; where they disagree, as the first HSM has it.
fn environment_of_all(config: &Config) -> BTreeMap<String, String> {
    let members = config.clusters.iter().flat_map(|cluster| &cluster.members);
    let mut all = BTreeMap::new();
    for (name, value) in config.hsms.iter().chain(members).flat_map(|hsm| config.environment_of(hsm)) {
        all.entry(name).or_insert(value);
    }
    all
}
