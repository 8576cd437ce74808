//! How far a long command is, on standard error, for people: nothing where nobody looks.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TICK: Duration = Duration::from_millis(100);

/// Whether somebody wants to see it.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Quiet {
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// A line that goes when it is dropped. indicatif draws nothing where standard error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of work whose end is not known.
    pub(super) fn start(quiet: Quiet) -> Self {
        let target = if quiet.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        // Without a terminal there is nothing to draw, and no thread to draw it.
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// The same, with what is done.
    pub(super) fn of(what: &str, quiet: Quiet) -> Self {
        let progress = Self::start(quiet);
        progress.says(what);
        progress
    }

    /// What is done now.
    pub(super) fn says(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
