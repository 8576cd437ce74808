//! The environment as the command line takes it: an empty variable is none, and one that is set is not part of the usage.

use clap::Command;
use clap::builder::Resettable;

use crate::config::environment;

/// The command and all below it.
pub(super) fn settled(command: Command) -> Command {
    let mut command = without_empty(command);
    command.build();
    with_usage(command)
}

fn without_empty(command: Command) -> Command {
    let is_empty = |name: &str| environment::variable(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match argument.get_env().and_then(|name| name.to_str()) {
            Some(name) if is_empty(name) => argument.env(Resettable::Reset),
            Some(_) | None => argument,
        })
        .mut_subcommands(without_empty)
}

/// In its errors clap counts options that the environment gives among those that must be there.
fn with_usage(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command.override_usage(usage).mut_subcommands(with_usage)
}
