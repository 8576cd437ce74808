//! `holdfast identity`: users, roles, their policies and access keys at the KMS front end.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use crate::admin::control::{self, Asked, Topic};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::config::credentials::rfc3339;
use crate::identity::kms::{AdminAnswer, AdminRequest, Holder, HolderKind, Shown, ShownAccessKey};

const POLICY_BYTES_MAX: u64 = 1 << 16;

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
    /// Make, show and delete users
    #[command(subcommand)]
    User(UserCommand),
    /// Make, show and delete roles
    #[command(subcommand)]
    Role(RoleCommand),
    /// Make, switch off and delete access keys
    #[command(subcommand)]
    AccessKey(AccessKeyCommand),
    /// Put and delete the policies of users and roles
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Put and delete the permissions boundaries of users and roles
    #[command(subcommand)]
    Boundary(BoundaryCommand),
    /// Make and delete the devices for a second factor of users
    #[command(subcommand)]
    Mfa(MfaCommand),
}

#[derive(Args, Debug)]
struct Name {
    /// The account id
    #[arg(long, value_name = "ACCOUNT")]
    account: String,
    /// The name of the user or role
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Args, Debug)]
struct New {
    #[command(flatten)]
    name: Name,
    /// The path in its ARN
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user, without permissions and access keys
    Create(New),
    /// Delete a user that has no access keys any more
    Delete(Name),
    /// Show the users
    List {
        /// Only those of this account
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
    /// Show a user with its policies
    Show(Name),
}

#[derive(Debug, Subcommand)]
enum RoleCommand {
    /// Make a role, without permissions
    Create {
        #[command(flatten)]
        new: New,
        /// Who may assume it: a policy document; `-` for standard input
        #[arg(long, value_name = "FILE")]
        trust_policy: PathBuf,
        /// How long a session may be
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        max_session_duration: u32,
    },
    /// Delete a role; its sessions end at once
    Delete(Name),
    /// Show the roles
    List {
        /// Only those of this account
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
    /// Replace the trust policy
    PutTrustPolicy {
        #[command(flatten)]
        name: Name,
        /// A policy document; `-` for standard input
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
    },
    /// Show a role with its policies
    Show(Name),
}

#[derive(Debug, Subcommand)]
enum AccessKeyCommand {
    /// Switch an access key on again
    Activate {
        /// The access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
    },
    /// Make an access key; its secret is shown this once
    Create {
        /// The account id
        #[arg(long, value_name = "ACCOUNT")]
        account: String,
        /// Whose it is
        #[arg(long, value_name = "NAME", required_unless_present = "root", conflicts_with = "root")]
        user: Option<String>,
        /// Make it one of the root user of the account
        #[arg(long)]
        root: bool,
    },
    /// Switch an access key off
    Deactivate {
        /// The access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
    },
    /// Delete an access key
    Delete {
        /// The access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
    },
    /// Show the access keys, never their secrets
    List {
        /// Only those of this account
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
}

#[derive(Args, Debug)]
struct OfHolder {
    /// Whose policy
    #[arg(long, value_enum)]
    of: Kind,
    #[command(flatten)]
    holder: Name,
    /// The name of the policy
    #[arg(long, value_name = "NAME")]
    policy: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Role,
    User,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Delete a policy of a user or role
    Delete(OfHolder),
    /// Add a policy or replace it
    Put {
        #[command(flatten)]
        of: OfHolder,
        /// A policy document; `-` for standard input
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
    },
}

#[derive(Args, Debug)]
struct OfBoundary {
    /// Whose boundary
    #[arg(long, value_enum)]
    of: Kind,
    #[command(flatten)]
    holder: Name,
}

#[derive(Debug, Subcommand)]
enum BoundaryCommand {
    /// Take the boundary away
    Delete(OfBoundary),
    /// Set the most that its policies can allow
    Put {
        #[command(flatten)]
        of: OfBoundary,
        /// A policy document; `-` for standard input
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum MfaCommand {
    /// Make a device in place of the one that the user has; its secret is shown this once
    Create(Name),
    /// Delete the device of a user
    Delete(Name),
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    let request = match &arguments.command {
        Command::User(command) => user(command),
        Command::Role(command) => role(command)?,
        Command::AccessKey(command) => access_key(command),
        Command::Policy(command) => policy(command)?,
        Command::Boundary(command) => boundary(command)?,
        Command::Mfa(command) => mfa(command),
    };
    let json = ask(&config, &request)?;
    if arguments.json {
        writeln!(world.out, "{}", *json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = serde_json::from_str(&json).map_err(|_| "the daemon is of another version")?;
    print(&answer, world)?;
    Ok(ExitCode::SUCCESS)
}

fn ask(config: &Config, request: &AdminRequest) -> Result<Zeroizing<String>, Box<dyn Error>> {
    let socket = &config.admin.control_socket;
    let asked = control::ask(socket, Topic::Identity, &serde_json::to_string(request)?);
    match asked
        .map_err(|error| format!("the running daemon cannot be asked ({}): {error}", socket.display()))?
    {
        Asked::Answered(json) => Ok(json),
        Asked::NotRunning => Err("no daemon is running: identities are kept by the running one".into()),
        Asked::Refused(reason) => Err(reason.into()),
    }
}

fn holder(kind: HolderKind, Name { account, name }: &Name) -> Holder {
    Holder { account: account.clone(), kind, name: name.clone() }
}

fn tags(new: &New) -> BTreeMap<String, String> {
    new.tags.iter().cloned().collect()
}

fn user(command: &UserCommand) -> AdminRequest {
    match command {
        UserCommand::Create(new) => AdminRequest::CreateUser {
            user: holder(HolderKind::User, &new.name),
            path: new.path.clone(),
            tags: tags(new),
        },
        UserCommand::Delete(name) => AdminRequest::Delete(holder(HolderKind::User, name)),
        UserCommand::List { account } => {
            AdminRequest::List { account: account.clone(), kind: HolderKind::User }
        }
        UserCommand::Show(name) => AdminRequest::Show(holder(HolderKind::User, name)),
    }
}

fn role(command: &RoleCommand) -> Result<AdminRequest, Box<dyn Error>> {
    Ok(match command {
        RoleCommand::Create { new, trust_policy, max_session_duration } => AdminRequest::CreateRole {
            role: holder(HolderKind::Role, &new.name),
            path: new.path.clone(),
            tags: tags(new),
            trust_policy: read(trust_policy)?,
            max_session_duration_seconds: *max_session_duration,
        },
        RoleCommand::Delete(name) => AdminRequest::Delete(holder(HolderKind::Role, name)),
        RoleCommand::List { account } => {
            AdminRequest::List { account: account.clone(), kind: HolderKind::Role }
        }
        RoleCommand::PutTrustPolicy { name, document } => {
            AdminRequest::PutTrustPolicy { role: holder(HolderKind::Role, name), document: read(document)? }
        }
        RoleCommand::Show(name) => AdminRequest::Show(holder(HolderKind::Role, name)),
    })
}

fn access_key(command: &AccessKeyCommand) -> AdminRequest {
    let set = |id: &String, active| AdminRequest::SetAccessKeyActive { access_key_id: id.clone(), active };
    match command {
        AccessKeyCommand::Activate { id } => set(id, true),
        AccessKeyCommand::Create { account, user, root: _ } => {
            AdminRequest::CreateAccessKey { account: account.clone(), user: user.clone() }
        }
        AccessKeyCommand::Deactivate { id } => set(id, false),
        AccessKeyCommand::Delete { id } => AdminRequest::DeleteAccessKey { access_key_id: id.clone() },
        AccessKeyCommand::List { account } => AdminRequest::ListAccessKeys { account: account.clone() },
    }
}

fn policy(command: &PolicyCommand) -> Result<AdminRequest, Box<dyn Error>> {
    let whose = |of: &OfHolder| (holder(of.of.into(), &of.holder), of.policy.clone());
    Ok(match command {
        PolicyCommand::Delete(of) => {
            let (of, name) = whose(of);
            AdminRequest::DeletePolicy { of, name }
        }
        PolicyCommand::Put { of, document } => {
            let (of, name) = whose(of);
            AdminRequest::PutPolicy { of, name, document: read(document)? }
        }
    })
}

fn boundary(command: &BoundaryCommand) -> Result<AdminRequest, Box<dyn Error>> {
    let whose = |of: &OfBoundary| holder(of.of.into(), &of.holder);
    Ok(match command {
        BoundaryCommand::Delete(of) => AdminRequest::DeleteBoundary { of: whose(of) },
        BoundaryCommand::Put { of, document } => {
            AdminRequest::PutBoundary { of: whose(of), document: read(document)? }
        }
    })
}

fn mfa(command: &MfaCommand) -> AdminRequest {
    match command {
        MfaCommand::Create(name) => AdminRequest::CreateMfaDevice { user: holder(HolderKind::User, name) },
        MfaCommand::Delete(name) => AdminRequest::DeleteMfaDevice { user: holder(HolderKind::User, name) },
    }
}

impl From<Kind> for HolderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Role => Self::Role,
            Kind::User => Self::User,
        }
    }
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    let name_it = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(name_it)?)
    };
    source.take(POLICY_BYTES_MAX + 1).read_to_string(&mut text).map_err(name_it)?;
    if text.len() as u64 > POLICY_BYTES_MAX {
        return Err(format!("{}: bigger than 64 KiB", path.display()).into());
    }
    Ok(text)
}

fn print(answer: &AdminAnswer, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    match answer {
        AdminAnswer::Done => writeln!(world.out, "done, and in force")?,
        AdminAnswer::Identities(identities) => {
            writeln!(world.out, "{:<70} {:<20} ORIGIN", "ARN", "CREATED")?;
            for Shown { arn, created_unix_seconds, declared, .. } in identities {
                let (created, origin) = origin(*created_unix_seconds, *declared);
                writeln!(world.out, "{arn:<70} {created:<20} {origin}")?;
            }
        }
        AdminAnswer::Identity(identity) => {
            writeln!(world.out, "{}", serde_json::to_string_pretty(identity)?)?;
        }
        AdminAnswer::AccessKeys(keys) => {
            writeln!(
                world.out,
                "{:<22} {:<13} {:<20} {:<9} {:<20} ORIGIN",
                "ACCESS KEY ID", "ACCOUNT", "USER", "STATE", "CREATED"
            )?;
            keys.iter().try_for_each(|key| print_access_key(key, world))?;
        }
        AdminAnswer::NewAccessKey(key) => {
            writeln!(world.out, "access key id:     {}", key.access_key_id)?;
            write!(world.out, "secret access key: ")?;
            world.out.write_all(key.secret_access_key.expose())?;
            writeln!(world.out, "\nthe secret is not shown again")?;
        }
        AdminAnswer::NewMfaDevice(device) => {
            writeln!(world.out, "serial number: {}", device.serial_number)?;
            write!(world.out, "authenticator: ")?;
            world.out.write_all(device.otpauth_uri.expose())?;
            writeln!(world.out, "\nthe secret is not shown again")?;
        }
    }
    Ok(())
}

fn print_access_key(key: &ShownAccessKey, world: &mut World<'_>) -> std::io::Result<()> {
    let ShownAccessKey { access_key_id, account, user, active, created_unix_seconds, declared } = key;
    let (created, origin) = origin(*created_unix_seconds, *declared);
    let state = if *active { "active" } else { "inactive" };
    let user = user.as_deref().unwrap_or("(root)");
    writeln!(world.out, "{access_key_id:<22} {account:<13} {user:<20} {state:<9} {created:<20} {origin}")
}

/// When it was made, which a file does not say, and where it is kept.
fn origin(created_unix_seconds: u64, declared: bool) -> (String, &'static str) {
    if declared { ("-".to_owned(), "file") } else { (rfc3339(created_unix_seconds), "store") }
}
