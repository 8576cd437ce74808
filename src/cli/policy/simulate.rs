//! `holdfast policy simulate`: what would be decided about a request, and what makes the decision.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::admin::control::{self, Topic};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::simulation::{self, Answer, Asked, SimulationRequest};

/// The longest case: some policies of the greatest length.
const CASE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Decide from documents, without a daemon: JSON objects, one a line; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "caller", required_unless_present = "caller")]
    case: Option<PathBuf>,
    /// The ARN of the user, role, role session or root user that would call the daemon
    #[arg(long, value_name = "ARN")]
    caller: Option<String>,
    /// The action, such as `kms:Encrypt`
    #[arg(long, value_name = "ACTION", conflicts_with = "operation", required_unless_present_any = ["operation", "case"])]
    action: Option<String>,
    /// The operation, such as `ReEncrypt`: every permission that it needs
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// The key, by id, ARN or alias
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The key that ReEncrypt encrypts under, if it is another one
    #[arg(long, value_name = "KEY")]
    destination_key: Option<String>,
    /// The alias that the operation is about
    #[arg(long, value_name = "alias/NAME")]
    alias: Option<String>,
    /// The id of the grant that RetireGrant is about
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// A condition key of the request, in place of what it would be; a key may be repeated to have several values
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    context: Vec<(String, String)>,
    /// A pair of the encryption context; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    encryption_context: Vec<(String, String)>,
    /// Where the request comes from
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
    /// The Region that is called; that of the key's ARN if it is one
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The account whose key an id or alias means; the caller's if it is not said
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Print each answer as JSON
    #[arg(long)]
    json: bool,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "it is not KEY=VALUE".to_owned())
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    match &arguments.case {
        None => ask_daemon(arguments, world)?,
        Some(file) if file == Path::new("-") => answer_all(std::io::stdin().lock(), arguments.json, world)?,
        Some(file) => {
            let cases = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
            answer_all(BufReader::new(cases), arguments.json, world)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask_daemon(arguments: &Arguments, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let request = serde_json::to_string(&request(arguments))?;
    let config = Config::load_without_files(&arguments.config.path)?;
    let text = match control::ask(&config.admin.control_socket, Topic::Simulation, &request)? {
        control::Asked::Answered(text) => text,
        control::Asked::NotRunning => {
            return Err("no daemon runs, which alone knows its keys and callers; or use `--case`".into());
        }
        control::Asked::Refused(reason) => return Err(reason.into()),
    };
    for answer in serde_json::from_str::<Vec<Answer>>(&text)? {
        if arguments.json {
            writeln!(world.out, "{}", serde_json::to_string(&answer)?)?;
        } else {
            writeln!(world.out, "{answer}")?;
        }
    }
    Ok(())
}

fn request(arguments: &Arguments) -> SimulationRequest {
    let mut context: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in &arguments.context {
        context.entry(key.clone()).or_default().push(value.clone());
    }
    let operation = || Asked::Operation(arguments.operation.clone().unwrap_or_default());
    let pairs = &arguments.encryption_context;
    SimulationRequest {
        caller: arguments.caller.clone().unwrap_or_default(),
        ask: arguments.action.clone().map_or_else(operation, Asked::Action),
        key: arguments.key.clone(),
        destination_key: arguments.destination_key.clone(),
        alias: arguments.alias.clone(),
        grant: arguments.grant.clone(),
        context,
        encryption_context: (!pairs.is_empty()).then(|| pairs.iter().cloned().collect()),
        source_ip: arguments.source_ip.clone(),
        region: arguments.region.clone(),
        account: arguments.account.clone(),
    }
}

fn answer_all(mut cases: impl BufRead, json: bool, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(&mut *world.out);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        if cases.by_ref().take(CASE_BYTES_MAX).read_line(&mut line)? == 0 {
            break;
        }
        if !line.ends_with('\n') && line.len() as u64 == CASE_BYTES_MAX {
            return Err(format!("line {number} is longer than {CASE_BYTES_MAX} bytes").into());
        }
        if line.trim().is_empty() {
            continue;
        }
        let reply = simulation::answer(&line);
        if json {
            serde_json::to_writer(&mut out, &reply)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{reply}")?;
        }
    }
    Ok(out.flush()?)
}
