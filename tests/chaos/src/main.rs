//! Breaks HSMs under load, and judges what clients notice of it.
//!
//! Starts the real daemon over two tokens of SoftHSM, each behind a copy of the shim that injects faults, sends signed
//! requests over TLS when they are due, checks every answer, and prints a table. `tests/chaos/run.sh` builds what it
//! needs.

#![expect(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a program that measures, in real time, and prints what it found"
)]

mod clock;
mod daemon;
mod load;
mod member;
mod scenarios;
mod site;
mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::scenarios::SCENARIOS;
use crate::site::{Isolation, Programs, Template};
use crate::stage::{Bench, Evidence, Plan};

#[derive(Parser)]
#[command(about = "Breaks HSMs under load, and judges what clients notice of it")]
struct Options {
    #[arg(long, env = "HOLDFAST_BINARY")]
    holdfast: PathBuf,
    /// The fault-injecting module
    #[arg(long)]
    shim: PathBuf,
    /// Of each scenario
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// XKS requests a second
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// KMS requests a second
    #[arg(long, default_value_t = 100)]
    kms_rate: u64,
    /// Where the library of an HSM runs; default: in worker processes if the daemon can do that
    #[arg(long)]
    isolation: Option<Engine>,
    /// Bounds as they stand; otherwise three times the undisturbed p99 of the same run is added to each
    #[arg(long)]
    strict: bool,
    /// How often a scenario that failed is tried again
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// All, if none is named
    scenarios: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Thread,
    Process,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let template =
        Template::make(Programs { holdfast: options.holdfast.clone(), shim: options.shim.clone() });
    let isolation = match options.isolation {
        Some(Engine::Thread) => Isolation::Thread,
        Some(Engine::Process) => Isolation::Process,
        None if template.can("isolation") => Isolation::Process,
        None => Isolation::Thread,
    };
    let bench = Bench {
        template,
        isolation,
        seconds: options.seconds,
        xks_rate: options.rate,
        kms_rate: options.kms_rate,
        is_strict: options.strict,
    };
    let is_wanted =
        |plan: &&Plan| options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == plan.name);
    let (mut rows, mut failed) = (Vec::new(), 0);
    for plan in SCENARIOS.iter().filter(is_wanted) {
        if !plan.can_be_played(&bench) {
            eprintln!("{}: this daemon cannot do what it needs", plan.name);
            continue;
        }
        let evidence = play(plan, &bench, options.retries);
        failed += usize::from(!evidence.failures.is_empty());
        rows.extend(table::rows(&evidence));
    }
    table::print(&rows);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(plan: &Plan, bench: &Bench, retries: u32) -> Evidence {
    let mut tries = 0;
    loop {
        eprintln!("{} …", plan.name);
        let evidence = plan.play(bench);
        evidence.failures.iter().for_each(|failure| eprintln!("{}: {failure}", plan.name));
        if evidence.failures.is_empty() || tries == retries {
            return evidence;
        }
        tries += 1;
        eprintln!("{}: once more", plan.name);
    }
}
