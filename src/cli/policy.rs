//! `holdfast policy`: is a policy right, and what do policies decide.

mod check;
mod simulate;

use clap::{Args, Subcommand};

use crate::cli::{Outcome, World};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a policy as the daemon would, and say what is wrong; exit status 1 if it would be refused
    Check(check::Arguments),
    /// Say what would be decided about a request, and what makes the decision
    Simulate(Box<simulate::Arguments>),
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    match &arguments.command {
        Command::Check(arguments) => check::run(arguments, world),
        Command::Simulate(arguments) => simulate::run(arguments, world),
    }
}
