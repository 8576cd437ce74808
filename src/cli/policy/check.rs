//! `holdfast policy check`: a policy, read as the daemon would.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::{Outcome, World};
use crate::policy::{Kind, POLICY_BYTES_MAX};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The policy document; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the policy is for
    #[arg(long, value_enum, default_value_t = PolicyKind::Key)]
    kind: PolicyKind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyKind {
    /// The policy of a KMS key
    Key,
    /// A policy of a user or role, a boundary, a session policy, a service control policy
    Identity,
    /// The trust policy of a role
    Trust,
    /// The policy of a VPC endpoint
    Endpoint,
}

impl From<PolicyKind> for Kind {
    fn from(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Key => Self::Key,
            PolicyKind::Identity => Self::Identity,
            PolicyKind::Trust => Self::Trust,
            PolicyKind::Endpoint => Self::Endpoint,
        }
    }
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let kind = Kind::from(arguments.kind);
    let text = read(&arguments.file).map_err(|error| format!("{}: {error}", arguments.file.display()))?;
    match kind.read(&text) {
        Ok(document) => {
            for warning in kind.warnings(&document) {
                writeln!(world.out, "warning: {warning}")?;
            }
            writeln!(world.out, "{} is right", arguments.file.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => {
            writeln!(world.out, "{} is refused: {reason}", arguments.file.display())?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Enough of a file to see that it is too long.
fn read(file: &Path) -> std::io::Result<String> {
    let limit = POLICY_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)?;
    } else {
        File::open(file)?.take(limit).read_to_string(&mut text)?;
    }
    Ok(text)
}
