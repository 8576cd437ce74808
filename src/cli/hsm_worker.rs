//! `holdfast hsm-worker`: what the daemon runs for an HSM with `isolation = "process"`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::cli::Outcome;
use crate::clock::SystemClock;
use crate::key_manager::pkcs11::WorkerSide;
use crate::logging::{self, LogSink};
use crate::metrics::Metrics;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The name of the HSM, for whoever looks at processes
    #[arg(value_name = "HSM")]
    _hsm: String,
}

pub(super) fn run(_: &Arguments) -> Outcome {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let jobs = io::stdout().as_fd().try_clone_to_owned()?;
    // What the library reads and prints, and what it starts, must not reach the sockets.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    let (worker, lines) = WorkerSide::accept(control, jobs)?;
    let metrics = Metrics::new()?;
    let (sink, guard) = LogSink::start(lines, metrics.log_lines_dropped_total.clone())?;
    logging::subscribe(sink, worker.log_filter(), None)?;
    worker.run(&metrics, Arc::new(SystemClock))?;
    drop(guard);
    // Libraries run code at the end of a process too, and one may hang; the daemon waits for this end.
    signal_hook::low_level::exit(0);
    #[expect(unreachable_code, reason = "it does not return, and its type does not say so")]
    Ok(ExitCode::SUCCESS)
}
