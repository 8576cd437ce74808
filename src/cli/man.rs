//! `holdfast man`: the manual pages, one a command.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::cli::completion::written;
use crate::cli::{self, Outcome, World};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder for all pages, such as /usr/share/man/man1; made if absent. Without it, the page of `holdfast` is
    /// printed
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let mut holdfast = cli::command().disable_help_subcommand(true);
    holdfast.build();
    match &arguments.dir {
        None => written(world.out.write_all(&page(holdfast)?))?,
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let count = write_pages(&holdfast, dir)?;
            writeln!(world.out, "{} has {count} pages", dir.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and those of all below it; returns how many.
fn write_pages(command: &Command, dir: &Path) -> Result<usize, Box<dyn Error>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command.clone())?).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += write_pages(below, dir)?;
    }
    Ok(count)
}

/// Pages are the same whenever they are made: they have no date.
fn page(command: Command) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut text = Vec::new();
    let source = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
    Man::new(command).date("").source(source).manual("Holdfast").render(&mut text)?;
    Ok(text)
}
