//! `holdfast key`: external keys and their versions in the HSM, and the kill switch of one key.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::daemon::{require_daemon_user, tell_of_keys};
use crate::cli::environment::ensure_environment;
use crate::cli::kill_switch::{self, Daemon};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::{self, Config};
use crate::domain::{ExternalKeyId, KeyUsages};
use crate::key_manager::external_key::ExternalKey;
use crate::key_manager::pkcs11::{KeyAdmin, NewKey};
use crate::kill_switch::{Blockable, KillSwitch};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The HSM; may be left out if there is only one
    #[arg(long, value_name = "NAME", global = true)]
    hsm: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stop all use of a key at once, in every key store
    Block(Switch),
    /// Make an AES-256 key in the HSM, sensitive and never extractable
    Create {
        #[command(flatten)]
        key: Key,
        /// What it may be used for
        #[arg(long, value_delimiter = ',', default_value = "encrypt,decrypt", value_name = "USAGE")]
        usage: Vec<Usage>,
    },
    /// Destroy a key, or one old version of it; what it encrypted can never be read again
    Delete {
        #[command(flatten)]
        key: Key,
        /// Only this version, which must not be the newest
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
        /// The key id once more
        #[arg(long, value_name = "ID")]
        confirm: String,
    },
    /// Show a key and its versions
    Describe(Key),
    /// Disable a key in the HSM
    Disable(Key),
    /// Enable a key in the HSM
    Enable(Key),
    /// Show all keys
    List,
    /// Make a new version, which encrypts from now on; older ones go on decrypting
    Rotate(Key),
    /// Give use of a key back
    Unblock(Switch),
}

#[derive(Args, Debug)]
struct Switch {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    daemon: Daemon,
    /// Taken as it always was, and without effect: no HSM is needed.
    #[arg(id = "hsm", long = "hsm", hide = true)]
    _hsm: Option<String>,
}

#[derive(Args, Debug)]
struct Key {
    /// The external key id
    #[arg(value_name = "ID", value_parser = ExternalKeyId::parse)]
    id: ExternalKeyId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Usage {
    Decrypt,
    Encrypt,
    None,
}

impl Switch {
    fn blockable(&self) -> Blockable {
        Blockable::Key(self.key.id.as_str().to_owned())
    }
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let file = &arguments.config;
    match &arguments.command {
        Command::Block(switch) => kill_switch::block(&switch.daemon, file, &switch.blockable(), world)?,
        Command::Unblock(switch) => kill_switch::unblock(&switch.daemon, file, &switch.blockable(), world)?,
        Command::Create { .. }
        | Command::Delete { .. }
        | Command::Describe(_)
        | Command::Disable(_)
        | Command::Enable(_)
        | Command::List
        | Command::Rotate(_) => {
            let config = Config::load_without_files(&file.path)?;
            let hsm = find_hsm(&config, arguments.hsm.as_deref())?;
            ensure_environment(&config.environment_of(hsm))?;
            manage(&config, arguments, world)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What needs the HSM. One command at a time, so that two rotations do not make the same version twice.
fn manage(config: &Config, arguments: &Arguments, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    if !matches!(arguments.command, Command::Describe(_) | Command::List) {
        require_daemon_user(config)?;
    }
    let hsm = find_hsm(config, arguments.hsm.as_deref())?;
    let lock = std::fs::File::open(&config.path)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let admin = KeyAdmin::open(hsm, &hsm.read_pin()?.unwrap_or_default())?;
    let what = match &arguments.command {
        Command::Create { key, usage } => {
            let usages = KeyUsages {
                encrypt: usage.contains(&Usage::Encrypt),
                decrypt: usage.contains(&Usage::Decrypt),
            };
            let marker = admin.create(&NewKey { id: key.id.clone(), usages })?;
            format!("made key {} version {marker}", key.id)
        }
        Command::Delete { key, version, confirm } => delete(&admin, &key.id, *version, confirm)?,
        Command::Describe(key) => return describe(config, &*admin.find(&key.id)?, world),
        Command::Disable(key) => {
            admin.set_enabled(&key.id, false)?;
            format!("disabled key {}", key.id)
        }
        Command::Enable(key) => {
            admin.set_enabled(&key.id, true)?;
            format!("enabled key {}", key.id)
        }
        Command::List => return list(config, &admin, world),
        Command::Rotate(key) => {
            let marker = admin.rotate(&key.id)?;
            format!("made key {} version {marker}", key.id)
        }
        Command::Block(_) | Command::Unblock(_) => return Ok(()),
    };
    tell_of_keys(&config.admin.control_socket, &hsm.name, &what, world)
}

fn find_hsm<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a config::Hsm, String> {
    let names = || config.hsms.iter().map(|hsm| hsm.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, config.hsms.as_slice()) {
        (Some(name), hsms) => hsms
            .iter()
            .find(|hsm| hsm.name == name)
            .ok_or_else(|| format!("no HSM is named `{name}`; there are: {}", names())),
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("say which HSM with --hsm; there are: {}", names())),
    }
}

fn delete(
    admin: &KeyAdmin,
    id: &ExternalKeyId,
    version: Option<u32>,
    confirm: &str,
) -> Result<String, Box<dyn Error>> {
    if confirm != id.as_str() {
        return Err(format!("--confirm must repeat the key id `{id}`").into());
    }
    Ok(match version {
        Some(number) => {
            admin.delete_version(id, number)?;
            format!("deleted version {number} of key {id}")
        }
        None => {
            admin.delete(id)?;
            format!("deleted key {id}")
        }
    })
}

fn state_of(key: &ExternalKey, blocked: &BTreeSet<String>) -> &'static str {
    if blocked.contains(key.id.as_str()) {
        "blocked"
    } else if key.newest().is_some_and(|version| version.enabled) {
        "enabled"
    } else {
        "disabled"
    }
}

fn usages_of(usages: KeyUsages) -> &'static str {
    match (usages.encrypt, usages.decrypt) {
        (true, true) => "encrypt,decrypt",
        (true, false) => "encrypt",
        (false, true) => "decrypt",
        (false, false) => "none",
    }
}

fn list(config: &Config, admin: &KeyAdmin, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let blocked = KillSwitch::open(&config.state_dir)?.blocked().keys;
    let inventory = admin.inventory()?;
    let mut keys: Vec<_> = inventory.keys().collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    writeln!(world.out, "{:<40} {:<9} {:<16} {:<8} SPEC", "ID", "STATE", "USAGE", "VERSIONS")?;
    for key in keys {
        let Some(newest) = key.newest() else { continue };
        let (state, usages, spec) = (state_of(key, &blocked), usages_of(newest.usages), newest.spec.as_str());
        writeln!(
            world.out,
            "{:<40} {state:<9} {usages:<16} {:<8} {spec}",
            key.id.as_str(),
            key.versions().len()
        )?;
    }
    for id in inventory.ambiguous() {
        writeln!(world.out, "{:<40} ambiguous: several HSM keys answer to this id", id.as_str())?;
    }
    Ok(())
}

fn describe(config: &Config, key: &ExternalKey, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let blocked = KillSwitch::open(&config.state_dir)?.blocked().keys;
    writeln!(world.out, "id       {}\nstate    {}", key.id, state_of(key, &blocked))?;
    for version in key.versions().iter().rev() {
        let marker =
            version.marker.map_or_else(|| "0 (made by another tool)".to_owned(), |marker| marker.to_string());
        let state = if version.enabled { "enabled" } else { "disabled" };
        writeln!(
            world.out,
            "version  {marker:<26} {state:<9} {:<16} {}",
            usages_of(version.usages),
            version.spec.as_str()
        )?;
    }
    Ok(())
}
