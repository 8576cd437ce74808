//! `holdfast store`: key stores, and the kill switch of a whole one.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::kill_switch::{self, Daemon};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::kill_switch::{Blockable, KillSwitch};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stop all use of a key store at once
    Block(Switch),
    /// Show the key stores
    List,
    /// Give use of a key store back
    Unblock(Switch),
}

#[derive(Args, Debug)]
struct Switch {
    #[arg(value_name = "NAME")]
    store: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let file = &arguments.config;
    match &arguments.command {
        Command::Block(Switch { store, daemon }) => kill_switch::block(daemon, file, &named(store), world)?,
        Command::List => list(&Config::load_without_files(&file.path)?, world)?,
        Command::Unblock(Switch { store, daemon }) => {
            kill_switch::unblock(daemon, file, &named(store), world)?
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn named(store: &str) -> Blockable {
    Blockable::KeyStore(store.to_owned())
}

fn list(config: &Config, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let switch = KillSwitch::open(&config.state_dir)?;
    writeln!(world.out, "{:<20} {:<8} {:<40} HSMS", "NAME", "STATE", "URI PATH")?;
    for store in &config.key_stores {
        let state = if switch.is_key_store_blocked(&store.name) { "blocked" } else { "open" };
        writeln!(
            world.out,
            "{:<20} {state:<8} {:<40} {}",
            store.name,
            store.uri_path(),
            store.hsms.join(",")
        )?;
    }
    Ok(())
}
