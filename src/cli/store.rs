//! `holdfast store`: key stores, and the kill switch of a whole one.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::admin::control::Change;
use crate::cli::daemon::tell_daemon;
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::kill_switch::{self, KillSwitch};

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
    Block {
        #[arg(value_name = "NAME")]
        store: String,
    },
    /// Show the key stores
    List,
    /// Give use of a key store back
    Unblock {
        #[arg(value_name = "NAME")]
        store: String,
    },
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    match &arguments.command {
        Command::Block { store } => set_blocked(&config, store, true, world)?,
        Command::List => list(&config, world)?,
        Command::Unblock { store } => set_blocked(&config, store, false, world)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn set_blocked(
    config: &Config,
    name: &str,
    blocked: bool,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    if !config.key_stores.iter().any(|store| store.name == name) {
        return Err(format!("no key store is named `{name}`; `holdfast store list` shows them").into());
    }
    kill_switch::change(&config.state_dir, |blocks| {
        if blocked {
            blocks.key_stores.insert(name.to_owned());
        } else {
            blocks.key_stores.remove(name);
        }
    })?;
    let what = format!("key store {name} is {}", if blocked { "blocked" } else { "not blocked" });
    tell_daemon(config, Change::Blocks, &what, world)
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
