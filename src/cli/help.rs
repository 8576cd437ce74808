//! What `--help` teaches beyond the options: what for, when, examples, exit status, environment, files.

use clap::Command;

const EXAMPLES: &str = include_str!("help.txt");

/// What goes below the options of a command, by its words after `holdfast`.
fn lesson(path: &str) -> Option<&'static str> {
    EXAMPLES.split("\n=== ").find_map(|section| {
        let (name, text) = section.trim_start_matches("=== ").split_once('\n')?;
        (name.trim() == path).then(|| text.trim_end())
    })
}

/// The command and all below it with what they teach.
pub(super) fn taught(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, path: &str) -> Command {
    if let Some(text) = lesson(path) {
        command = command.after_long_help(text);
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}").trim_start().to_owned();
        command = command.mut_subcommand(name, |sub| below(sub, &path));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Command;

    fn paths(command: &Command, path: &str) -> Vec<String> {
        let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let below = visible.flat_map(|sub| paths(sub, format!("{path} {}", sub.get_name()).trim_start()));
        std::iter::once(path.to_owned()).chain(below).collect()
    }

    #[test]
    fn every_command_has_an_example() {
        for path in paths(&crate::cli::command(), "") {
            let text = super::lesson(&path).unwrap_or_else(|| panic!("nothing is taught about `{path}`"));
            assert!(text.contains("  holdfast"), "{path}");
        }
    }

    #[test]
    fn every_lesson_is_of_a_command() {
        let paths = paths(&crate::cli::command(), "");
        for section in super::EXAMPLES.split("\n=== ") {
            let name = section.trim_start_matches("=== ").lines().next().unwrap_or_default().trim();
            assert!(paths.iter().any(|path| path == name), "{name}");
        }
    }
}
