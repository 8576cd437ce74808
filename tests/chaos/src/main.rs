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
mod evidence;
mod load;
mod member;
mod overload;
mod scenarios;
mod site;
mod soak;
mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::scenarios::SCENARIOS;
use crate::site::{Isolation, PROCESS, Programs, Template};
use crate::stage::{Bench, Verdict};
use crate::table::Row;

#[derive(Parser)]
#[command(about = "Breaks HSMs under load, and judges what clients notice of it")]
struct Options {
    #[command(subcommand)]
    command: Command,
    #[arg(long, env = "HOLDFAST_BINARY", global = true)]
    holdfast: Option<PathBuf>,
    /// The fault-injecting module
    #[arg(long, global = true)]
    shim: Option<PathBuf>,
    /// XKS requests a second
    #[arg(long, default_value_t = 500, global = true)]
    rate: u64,
    /// KMS requests a second
    #[arg(long, default_value_t = 100, global = true)]
    kms_rate: u64,
    /// Where the library of an HSM runs; default: in worker processes if the daemon can do that
    #[arg(long, global = true)]
    isolation: Option<Engine>,
}

#[derive(Subcommand)]
enum Command {
    /// One scenario after another
    Run {
        /// Of each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Bounds as they stand; otherwise three times what undisturbed requests of the same run take is added to each
        #[arg(long)]
        strict: bool,
        /// How often a scenario that failed is tried again
        #[arg(long, default_value_t = 0)]
        retries: u32,
        /// All, if none is named
        scenarios: Vec<String>,
    },
    /// Load and trouble for a long time: memory and descriptors must stay flat
    Soak {
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Thread,
    Process,
}

/// A scenario by name.
type Play<'p> = (&'static str, Box<dyn Fn(&Bench) -> Option<Verdict> + 'p>);

fn main() -> ExitCode {
    let options = Options::parse();
    let (Some(holdfast), Some(shim)) = (options.holdfast.clone(), options.shim.clone()) else {
        eprintln!("--holdfast and --shim are needed");
        return ExitCode::FAILURE;
    };
    let template = Template::make(Programs { holdfast, shim });
    let isolation = match options.isolation {
        Some(Engine::Thread) => Isolation::Thread,
        Some(Engine::Process) => Isolation::Process,
        None if template.can(PROCESS) => Isolation::Process,
        None => Isolation::Thread,
    };
    let (xks_rate, kms_rate) = (options.rate, options.kms_rate);
    let mut bench = Bench { template, isolation, seconds: 0, xks_rate, kms_rate, is_strict: false };
    let (rows, failures) = match options.command {
        Command::Run { seconds, strict, retries, scenarios } => {
            (bench.seconds, bench.is_strict) = (seconds, strict);
            run(&bench, retries, &scenarios)
        }
        Command::Soak { minutes } => {
            let verdict = soak::soak(&bench, minutes);
            verdict.failures.iter().for_each(|failure| eprintln!("soak: {failure}"));
            (verdict.rows, verdict.failures.len())
        }
    };
    table::print(&rows);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The table, and how many scenarios failed.
fn run(bench: &Bench, retries: u32, names: &[String]) -> (Vec<Row>, usize) {
    let plans = SCENARIOS.iter().map(|plan| -> Play<'_> {
        (plan.name, Box::new(|bench| plan.can_be_played(bench).then(|| plan.play(bench))))
    });
    let others: [Play<'_>; 2] = [
        ("overload", Box::new(|bench| Some(overload::twice_the_capacity(bench)))),
        ("fairness", Box::new(|bench| Some(overload::one_store_floods(bench)))),
    ];
    let is_wanted = |(name, _): &Play<'_>| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let (mut rows, mut failed) = (Vec::new(), 0);
    for (name, play) in plans.chain(others).filter(is_wanted) {
        let mut tries_left = retries;
        loop {
            eprintln!("{name} …");
            let Some(verdict) = play(bench) else {
                eprintln!("{name}: not with this daemon and engine");
                break;
            };
            verdict.failures.iter().for_each(|failure| eprintln!("{name}: {failure}"));
            if verdict.failures.is_empty() || tries_left == 0 {
                failed += usize::from(!verdict.failures.is_empty());
                rows.extend(verdict.rows);
                break;
            }
            tries_left -= 1;
            eprintln!("{name}: once more");
        }
    }
    (rows, failed)
}
