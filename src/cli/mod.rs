//! The command line of `holdfast`: one file per command.

mod audit;
mod backup;
mod check;
mod cluster;
mod completion;
mod config;
mod credential;
mod daemon;
mod doctor;
pub mod environment;
mod help;
mod hsm_worker;
mod identity;
mod key;
mod kill_switch;
mod man;
mod output;
mod policy;
mod progress;
mod provision;
mod ready;
mod restore;
mod root_key;
mod serve;
mod store;
mod usage;

use std::error::Error;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::CommandFactory;
use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;

use crate::app::process;
use crate::cli::output::Output;
use crate::clock::Clock;

/// The AWS KMS API, and an AWS KMS External Key Store proxy, over PKCS#11 HSMs.
#[derive(Parser)]
#[command(name = "holdfast", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify the audit trail of the KMS front end, or show the key that signs it
    Audit(audit::Arguments),
    /// Copy the keys and identities of the KMS front end, wrapped as they are, to a new file
    Backup(backup::Arguments),
    /// Check an XKS proxy for conformance, or measure it; exit status 1 if it is not ready
    Check(Box<check::Arguments>),
    /// Compare the clusters of CloudHSM key stores with the keys in them
    Cluster(cluster::Arguments),
    /// Print what a shell needs to complete commands and options
    Completion(completion::Arguments),
    /// Check a configuration, or print the default one
    Config(config::Arguments),
    /// Make, list and remove the credentials of a key store
    Credential(credential::Arguments),
    /// Look for everything that can be wrong with an installation, and say what to do about it
    Doctor(Box<doctor::Arguments>),
    /// Work for a daemon that has started this
    #[command(hide = true)]
    HsmWorker(hsm_worker::Arguments),
    /// Make, show and delete users, roles, their policies and access keys at the KMS front end
    Identity(Box<identity::Arguments>),
    /// Make, rotate, disable, block and delete external keys
    Key(key::Arguments),
    /// Write the manual pages
    Man(man::Arguments),
    /// Check policies, and ask what they decide
    Policy(policy::Arguments),
    /// Make all that a first try needs: a SoftHSM token with keys, certificates, a configuration
    Provision(provision::Arguments),
    /// Ask the running daemon whether it can serve; exit status 1 if it cannot
    Ready(ready::Arguments),
    /// Bring a backup back into an installation that has no keys yet
    Restore(restore::Arguments),
    /// Show, rotate and retire the root key, which wraps all keys of the KMS front end
    RootKey(root_key::Arguments),
    /// Run the daemon in the foreground
    Serve(serve::Arguments),
    /// Show, block and unblock key stores
    Store(store::Arguments),
}

/// Which configuration a command works with.
#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        // Its own, since it is global: commands have a `path` too.
        id = "config_file",
        long = "config",
        env = "HOLDFAST_CONFIG",
        value_name = "FILE",
        default_value = "/etc/holdfast/holdfast.toml",
        global = true
    )]
    path: PathBuf,
}

/// How a command ends: with an exit status of its own, or with what stopped it.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// What a command may use of the world around it.
struct World<'a> {
    clock: &'a dyn Clock,
    out: &'a mut dyn Write,
}

/// The command line with its examples.
pub fn command() -> clap::Command {
    help::taught(Cli::command())
}

/// The command line of this process; ends it if there is nothing to run.
pub fn parse() -> Cli {
    let mut matches = usage::settled(command()).get_matches();
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

/// Runs a command; what it has to say goes to `out`, what stopped it to `errors`, one line each, unless that
/// is a reader of `out` who has seen enough.
pub fn run(cli: Cli, clock: &dyn Clock, out: &mut dyn Write, errors: &mut dyn Write) -> ExitCode {
    process::harden();
    let mut out = Output::new(out);
    let mut world = World { clock, out: &mut out };
    let outcome = match cli.command {
        Command::Audit(arguments) => audit::run(&arguments, &mut world),
        Command::Backup(arguments) => backup::run(&arguments, &mut world),
        Command::Check(arguments) => check::run(&arguments, &mut world),
        Command::Cluster(arguments) => cluster::run(&arguments, &mut world),
        Command::Completion(arguments) => completion::run(&arguments, &mut world),
        Command::Config(arguments) => config::run(&arguments, &mut world),
        Command::Credential(arguments) => credential::run(&arguments, &mut world),
        Command::Doctor(arguments) => doctor::run(&arguments, &mut world),
        Command::HsmWorker(arguments) => hsm_worker::run(&arguments),
        Command::Identity(arguments) => identity::run(&arguments, &mut world),
        Command::Key(arguments) => key::run(&arguments, &mut world),
        Command::Man(arguments) => man::run(&arguments, &mut world),
        Command::Policy(arguments) => policy::run(&arguments, &mut world),
        Command::Provision(arguments) => provision::run(arguments, &mut world),
        Command::Ready(arguments) => ready::run(&arguments, &mut world),
        Command::Restore(arguments) => restore::run(&arguments, &mut world),
        Command::RootKey(arguments) => root_key::run(&arguments, &mut world),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Store(arguments) => store::run(&arguments, &mut world),
    };
    outcome.unwrap_or_else(|error| {
        if out.is_closed {
            return ExitCode::FAILURE;
        }
        // Nobody is left to be told if standard error is closed.
        let _closed: io::Result<()> =
            error.to_string().lines().try_for_each(|line| writeln!(errors, "holdfast: {line}"));
        ExitCode::FAILURE
    })
}
