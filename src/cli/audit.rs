//! `holdfast audit`: is the audit trail as it was written, and which key signs it.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::{self, Break, Expected, PublicKey, Report};
use crate::cli::progress::{Progress, Quiet};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::key_manager::signing_key::SigningKey;
use crate::store::Setting;
use crate::store::sqlite;

/// Of `holdfast audit verify`, if the trail is not as it was written.
const BROKEN: u8 = 3;
const PEM_BYTES_MAX: u64 = 64 * 1024;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the public key that checkpoints are signed for, as PEM
    Key,
    /// Read the whole trail; exit status 0 if it is as it was written, 3 if not, 1 if it cannot be read
    Verify(Verify),
}

#[derive(Args, Debug)]
struct Verify {
    /// The folder of the trail, without a configuration: nobody knows then where it should end
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The key, as PEM, that must have signed it; default: what the database of the configuration knows, and with
    /// --dir what the trail says itself
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The first line that must be there, if you moved earlier files away
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    begins_at: u64,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    quiet: Quiet,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    match &arguments.command {
        Command::Key => key(&arguments.config.path, world),
        Command::Verify(verify) => verify.run(&arguments.config.path, world),
    }
}

/// What the database knows of the trail.
struct Known {
    dir: PathBuf,
    key: Option<SigningKey>,
    end: Option<Expected>,
}

impl Known {
    fn read(config: &Path) -> Result<Self, Box<dyn Error>> {
        let config = Config::load_without_files(config)?;
        let kms = config.kms.ok_or("there is no audit trail: the configuration has no `[kms]`")?;
        let read = |name| sqlite::read_setting(&config.state_dir, name);
        let key = read(Setting::TrailKey)?
            .map(|bytes| SigningKey::from_bytes(&bytes).ok_or("the database has no valid key for the trail"))
            .transpose()?;
        let end = read(Setting::TrailEnd)?
            .map(|bytes| Expected::parse(&bytes).ok_or("the database has no valid end of the trail"))
            .transpose()?;
        Ok(Self { dir: kms.audit.dir, key, end })
    }
}

fn key(config: &Path, world: &mut World<'_>) -> Outcome {
    let known = Known::read(config)?;
    let key = known.key.ok_or("there is no key yet: the daemon makes it when it runs for the first time")?;
    let key = PublicKey::new(key.id.to_string(), &key.public_key);
    world.out.write_all(key.pem().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl Verify {
    fn run(&self, config: &Path, world: &mut World<'_>) -> Outcome {
        // Before the trail is read: it goes on growing, and the database follows it.
        let known = match &self.dir {
            Some(dir) => Known { dir: dir.clone(), key: None, end: None },
            None => Known::read(config)?,
        };
        let key = match &self.public_key {
            Some(path) => Some(read_key(path)?),
            None => known.key.map(|key| PublicKey::new(String::new(), &key.public_key).public_key),
        };
        // The daemon that made its key signs soon, and the database knows of it from then on.
        let must_be_signed = self.public_key.is_some() || (key.is_some() && known.end.is_some());
        let given = audit::Known {
            key: key.as_deref(),
            end: known.end.as_ref(),
            must_be_signed,
            begins_at: self.begins_at,
        };
        let progress = Progress::of("reading the trail", self.quiet);
        let report = audit::verify_with(&known.dir, &given)
            .map_err(|error| format!("{}: {error}", known.dir.display()))?;
        drop(progress);
        if report.files == 0 && known.end.is_none() {
            return Err(format!("{}: there is no audit trail", known.dir.display()).into());
        }
        if self.json {
            writeln!(world.out, "{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            print(&report, (&known.dir, key.is_some()), world.out)?;
        }
        Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
    }
}

fn read_key(path: &Path) -> Result<String, Box<dyn Error>> {
    let fail = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let size = std::fs::metadata(path).map_err(|error| fail(&error))?.len();
    let not_a_key = || fail(&"it has no public key on P-256 as PEM");
    if size > PEM_BYTES_MAX {
        return Err(not_a_key().into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    Ok(PublicKey::base64_of_pem(&text).ok_or_else(not_a_key)?)
}

fn print(report: &Report, (dir, is_pinned): (&Path, bool), out: &mut dyn Write) -> std::io::Result<()> {
    let Report { files, lines, records, break_count, .. } = report;
    let verdict = if report.is_whole() { "is as it was written" } else { "was changed" };
    writeln!(out, "{} {verdict}: {files} files, {lines} lines, {records} records", dir.display())?;
    writeln!(out, "lines        {} to {}", report.first_sequence, report.last_sequence)?;
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "unknown".to_owned());
    writeln!(out, "records      {} to {}", time(&report.first_time), time(&report.last_time))?;
    match &report.last_checkpoint {
        Some(last) => writeln!(
            out,
            "checkpoints  {}; the last at {}, {} records are behind it",
            report.checkpoints, last.time, report.records_behind_last_checkpoint
        )?,
        None => writeln!(out, "checkpoints  none: nothing in it is signed")?,
    }
    if report.checkpoints > 0 && !is_pinned {
        writeln!(
            out,
            "key          as the trail says: compare it with `holdfast audit key`, or give --public-key"
        )?;
    }
    if report.torn_bytes > 0 {
        writeln!(out, "end          {} bytes of a line that is not whole yet", report.torn_bytes)?;
    }
    for found in &report.breaks {
        print_break(found, out)?;
    }
    let told = u64::try_from(report.breaks.len()).unwrap_or(u64::MAX);
    if *break_count > told {
        writeln!(out, "and {} more", break_count - told)?;
    }
    Ok(())
}

fn print_break(found: &Break, out: &mut dyn Write) -> std::io::Result<()> {
    let Break { file, line, sequence, event_id, event_name, reason } = found;
    write!(out, "{file}, line {line}")?;
    if let Some(sequence) = sequence {
        write!(out, ", sequence {sequence}")?;
    }
    if let Some(event_id) = event_id {
        let name = event_name.as_deref().unwrap_or("unknown").escape_debug();
        write!(out, ", {name} {}", event_id.escape_debug())?;
    }
    writeln!(out, ": {reason}")
}
