//! `holdfast root-key`: the key of the HSM that wraps all others: shown, rotated, retired.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::admin::control::{self, Asked, Topic};
use crate::app::{RootKeyAnswer, RootKeyRequest, RootKeysInHsm, ShownRootKey};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the root keys in each HSM
    List,
    /// Make another root key the current one; what is under the former one comes under it in the background
    Rotate {
        /// A root key that is in every HSM already; without it a new one is made
        #[arg(long, value_name = "ID")]
        to: Option<String>,
    },
    /// Destroy a former root key that nothing is under any more; backups made before can then never be restored
    Retire {
        #[arg(value_name = "ID")]
        id: String,
        /// The id once more
        #[arg(long, value_name = "ID")]
        confirm: String,
        /// Only forget it: leave it in the HSM, for old backups
        #[arg(long)]
        keep_in_hsm: bool,
        /// Destroy one that this store does not know, and another installation may need
        #[arg(long, conflicts_with = "keep_in_hsm")]
        unknown: bool,
    },
    /// Show the current and the former root key, and how much is under each; exit status 1 while a rotation goes on
    Status,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    let request = request(&arguments.command)?;
    let request = serde_json::to_string(&request)?;
    let text = match control::ask(&config.admin.control_socket, Topic::RootKey, &request)? {
        Asked::Answered(text) => text,
        Asked::NotRunning => return Err("no daemon runs, which alone changes root keys: start it".into()),
        Asked::Refused(reason) => return Err(reason.into()),
    };
    let answer: RootKeyAnswer = serde_json::from_str(&text)?;
    if arguments.json {
        writeln!(world.out, "{}", *text)?;
    } else {
        show(&answer, world)?;
    }
    Ok(status(&answer))
}

fn request(command: &Command) -> Result<RootKeyRequest, Box<dyn Error>> {
    Ok(match command {
        Command::List => RootKeyRequest::List,
        Command::Rotate { to } => RootKeyRequest::Rotate { to: to.clone() },
        Command::Retire { id, confirm, .. } if id != confirm => {
            return Err("`--confirm` has to be the id of the root key once more".into());
        }
        Command::Retire { id, keep_in_hsm, unknown, .. } => {
            RootKeyRequest::Retire { id: id.clone(), keep_in_hsm: *keep_in_hsm, unknown: *unknown }
        }
        Command::Status => RootKeyRequest::Status,
    })
}

fn status(answer: &RootKeyAnswer) -> ExitCode {
    let is_over = match answer {
        RootKeyAnswer::Listed(members) => members.iter().all(|member| member.failure.is_none()),
        RootKeyAnswer::Made { .. } => false,
        RootKeyAnswer::Retired { failures, .. } => failures.is_empty(),
        RootKeyAnswer::Rotated { .. } => true,
        RootKeyAnswer::Status { former, failure, .. } => {
            failure.is_none() && former.as_ref().is_none_or(|former| former.uses == 0)
        }
    };
    if is_over { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(answer: &RootKeyAnswer, world: &mut World<'_>) -> std::io::Result<()> {
    let out = &mut world.out;
    match answer {
        RootKeyAnswer::Listed(members) => members.iter().try_for_each(|member| list(member, world)),
        RootKeyAnswer::Made { id, missing_in } => {
            writeln!(out, "made root key {id}, which nothing uses yet")?;
            writeln!(out, "it is not in HSM {}", missing_in.join(", "))?;
            writeln!(
                out,
                "copy the keys `holdfast-root` (CKA_ID {id}) and `holdfast-seal` (CKA_ID {id}01) there"
            )?;
            writeln!(out, "with the HSM maker's tool, then: holdfast root-key rotate --to {id}")
        }
        RootKeyAnswer::Retired { id, destroyed_in, failures } => {
            match destroyed_in.as_slice() {
                [] => writeln!(out, "root key {id} is forgotten; no HSM was asked to destroy it")?,
                hsms => writeln!(out, "root key {id} is destroyed in HSM {}", hsms.join(", "))?,
            }
            failures.iter().try_for_each(|failure| writeln!(out, "{failure}"))?;
            writeln!(
                out,
                "backups made before the end of the rotation need it; make a new one now: holdfast backup FILE"
            )
        }
        RootKeyAnswer::Rotated { from, to } => {
            writeln!(out, "root key {to} is the current one; what is under {from} comes under it now")?;
            writeln!(out, "holdfast root-key status shows how far that is")
        }
        RootKeyAnswer::Status { current, former, failure } => {
            show_one("current", current, world)?;
            if let Some(former) = former {
                show_one("former", former, world)?;
            }
            if let Some(failure) = failure {
                writeln!(world.out, "cannot go on: {failure}")?;
            }
            match former {
                None => writeln!(world.out, "no rotation goes on"),
                Some(former) if former.uses > 0 => {
                    writeln!(world.out, "{} are still to come under the current root key", former.uses)
                }
                Some(former) => {
                    writeln!(
                        world.out,
                        "make a backup, then: holdfast root-key retire {0} --confirm {0}",
                        former.id
                    )
                }
            }
        }
    }
}

fn show_one(role: &str, key: &ShownRootKey, world: &mut World<'_>) -> std::io::Result<()> {
    writeln!(world.out, "{role} {}: {} keys and secrets under it", key.id, key.uses)?;
    if key.missing_in.is_empty() {
        return Ok(());
    }
    writeln!(world.out, "  not found in HSM {}", key.missing_in.join(", "))
}

fn list(member: &RootKeysInHsm, world: &mut World<'_>) -> std::io::Result<()> {
    let hsm = &member.hsm;
    for id in &member.ids {
        let role = if *id == member.current {
            "current"
        } else if member.former.as_ref() == Some(id) {
            "former"
        } else {
            "not of this store"
        };
        writeln!(world.out, "HSM {hsm}: {id} {role}")?;
    }
    match &member.failure {
        Some(failure) => writeln!(world.out, "HSM {hsm}: {failure}"),
        None => Ok(()),
    }
}
