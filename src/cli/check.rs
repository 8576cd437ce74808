//! `holdfast check`: is an XKS proxy, ours or a vendor's, ready for AWS KMS?

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::check::{self, Conclusion, Options};
use crate::cli::progress::{Progress, Quiet};
use crate::cli::{Outcome, World};
use crate::clock::SystemClock;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    quiet: Quiet,
}

pub(super) fn run(Arguments { options, quiet }: &Arguments, world: &mut World<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Written when the progress is gone from the terminal.
    let mut report = Vec::new();
    let progress = Progress::of("asking the proxy", *quiet);
    let conclusion = runtime.block_on(check::run(options, Arc::new(SystemClock), &mut report));
    drop(progress);
    world.out.write_all(&report)?;
    Ok(match conclusion? {
        Conclusion::Passed => ExitCode::SUCCESS,
        Conclusion::Failed => ExitCode::FAILURE,
    })
}
