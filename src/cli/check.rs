//! `holdfast check`: is an XKS proxy, ours or a vendor's, ready for AWS KMS?

use std::process::ExitCode;
use std::sync::Arc;

use crate::check::{self, Conclusion, Options};
use crate::cli::{Outcome, World};
use crate::clock::SystemClock;

pub(super) fn run(options: &Options, world: &mut World<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Written at the end: the future that writes may move between threads, our output may not.
    let mut text = Vec::new();
    let conclusion = runtime.block_on(check::run(options, Arc::new(SystemClock), &mut text));
    world.out.write_all(&text)?;
    Ok(match conclusion? {
        Conclusion::Passed => ExitCode::SUCCESS,
        Conclusion::Failed => ExitCode::FAILURE,
    })
}
