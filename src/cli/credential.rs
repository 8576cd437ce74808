//! `holdfast credential`: the SigV4 credentials with which AWS KMS signs for a key store.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;
use proxy_api::wire::ProxyConfiguration;
use zeroize::Zeroizing;

use crate::admin::control::Change;
use crate::cli::ConfigFile;
use crate::cli::Outcome;
use crate::cli::World;
use crate::cli::daemon::tell_daemon;
use crate::config::Config;
use crate::config::Credential;
use crate::config::KeyStore;
use crate::config::credentials;
use crate::config::private_file::Staged;

const SECONDS_PER_DAY: u64 = 86_400;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a credential and write the proxy configuration file that the AWS KMS console takes
    Create(Create),
    /// Show the access key ids, never the secrets
    List {
        /// The key store
        #[arg(long, value_name = "NAME")]
        store: String,
    },
    /// Remove a credential, once AWS KMS no longer uses it
    Remove {
        /// The key store
        #[arg(long, value_name = "NAME")]
        store: String,
        /// The access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        access_key_id: String,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// The key store
    #[arg(long, value_name = "NAME")]
    store: String,
    /// Where the proxy configuration goes; default: NAME-xks-proxy-configuration.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    match &arguments.command {
        Command::Create(arguments) => create(&config, arguments, world)?,
        Command::List { store } => list(find(&config, store)?, world)?,
        Command::Remove { store, access_key_id } => remove(&config, store, access_key_id, world)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a KeyStore, String> {
    config.key_stores.iter().find(|store| store.name == name).ok_or_else(|| {
        let names: Vec<_> = config.key_stores.iter().map(|store| store.name.as_str()).collect();
        format!("no key store has this name; there are: {}", names.join(", "))
    })
}

fn create(config: &Config, arguments: &Create, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let store = find(config, &arguments.store)?;
    let default = || PathBuf::from(format!("{}-xks-proxy-configuration.json", store.name));
    let path = arguments.out.clone().unwrap_or_else(default);
    let name_it = |error: io::Error| format!("{}: {error}", path.display());
    if path.try_exists()? && !arguments.force {
        return Err(format!("{} exists; `--force` replaces it", path.display()).into());
    }
    let credential = Credential::generate(world.clock.unix_seconds())?;
    let access_key_id = credential.access_key_id.clone();
    // What can fail of writing the file comes first, so that no credential is live which nobody holds.
    let staged = Staged::new(&path, &proxy_configuration(store, &credential)?).map_err(name_it)?;
    credentials::append(&store.credentials_file, credential)?;
    let written = if arguments.force { staged.replace() } else { staged.create() };
    written.map_err(name_it)?;
    let what = format!(
        "made credential {access_key_id} of key store {}\nwrote {}: it holds the secret",
        store.name,
        path.display()
    );
    tell_daemon(&config.admin.control_socket, Change::Configuration, &what, world)
}

fn proxy_configuration(
    store: &KeyStore,
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, Box<dyn Error>> {
    let secret = str::from_utf8(credential.secret_access_key.expose())?;
    let configuration = ProxyConfiguration::new(&store.uri_path_prefix, &credential.access_key_id, secret)?;
    // Room for all of it: a vector that grows leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer_pretty(&mut *json, &configuration)?;
    json.push(b'\n');
    Ok(json)
}

fn list(store: &KeyStore, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let now = world.clock.unix_seconds();
    writeln!(world.out, "{:30} {:20} AGE", "ACCESS KEY ID", "CREATED")?;
    for credential in credentials::read(&store.credentials_file)? {
        let created = credential.created_unix_seconds;
        let days = now.saturating_sub(created) / SECONDS_PER_DAY;
        writeln!(world.out, "{:30} {:20} {days} d", credential.access_key_id, credentials::rfc3339(created))?;
    }
    Ok(())
}

fn remove(
    config: &Config,
    store: &str,
    access_key_id: &str,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    let store = find(config, store)?;
    credentials::remove(&store.credentials_file, access_key_id)?;
    let what = format!("removed credential {access_key_id} of key store {}", store.name);
    tell_daemon(&config.admin.control_socket, Change::Configuration, &what, world)
}
