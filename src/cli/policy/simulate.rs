//! `holdfast policy simulate`: what would be decided about a request, and what makes the decision.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::{Outcome, World};
use crate::simulation;

/// The longest case: some policies of the greatest length.
const CASE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Decide from documents, without a daemon: JSON objects, one a line; `-` for standard input
    #[arg(long, value_name = "FILE")]
    case: PathBuf,
    /// Print each answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    if arguments.case == Path::new("-") {
        answer_all(std::io::stdin().lock(), arguments.json, world)?;
    } else {
        let file = File::open(&arguments.case);
        let file = file.map_err(|error| format!("{}: {error}", arguments.case.display()))?;
        answer_all(BufReader::new(file), arguments.json, world)?;
    }
    Ok(ExitCode::SUCCESS)
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
