//! Load: a rate kept whatever the proxy does, or as fast as it answers, and how long the answers took.

mod histogram;
mod report;
mod requests;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use proxy_api::client::HttpVersions;
pub use report::LoadReport;

use crate::check::finding::Finding;
use crate::check::load::requests::Requests;
use crate::check::load::worker::{Pace, Worker};
use crate::check::session::{InvalidOptions, Session};

/// What to send, how fast and for how long.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Requests a second, sent when they are due, whether or not earlier ones have been answered.
    #[arg(long, conflicts_with = "closed_loop", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// As fast as the proxy answers: each connection sends its next request when the last one is answered.
    #[arg(long)]
    pub closed_loop: bool,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Threads that share the connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    #[arg(long, value_enum, default_value_t = LoadOperation::Encrypt)]
    pub operation: LoadOperation,
    /// External key ids to spread over, instead of `--key-id`.
    #[arg(long, value_delimiter = ',', conflicts_with = "key_id_pattern")]
    pub key_ids: Vec<String>,
    /// External key ids to spread over: `{}` in it becomes 0, 1, 2 and so on.
    #[arg(long, requires = "key_count")]
    pub key_id_pattern: Option<String>,
    /// How many ids the pattern makes.
    #[arg(long, requires = "key_id_pattern", value_parser = clap::value_parser!(u32).range(1..))]
    pub key_count: Option<u32>,
    #[arg(long, default_value_t = 32)]
    pub plaintext_bytes: usize,
    /// Ask for the data integrity value.
    #[arg(long)]
    pub cdiv: bool,
    /// Offer HTTP/2 as well.
    #[arg(long)]
    pub http2: bool,
}

/// What each request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadOperation {
    Decrypt,
    Encrypt,
    Health,
    Metadata,
    /// Encrypt and Decrypt in turn.
    Mixed,
}

/// Why there was no load.
#[derive(Debug)]
pub enum LoadFault {
    Endpoint(InvalidOptions),
    /// The requests to repeat could not be made: the proxy does not do even one.
    Prepare(Finding),
    Thread(io::Error),
}

impl LoadOptions {
    pub(super) const fn is_wanted(&self) -> bool {
        self.rate.is_some() || self.closed_loop
    }

    const fn http_versions(&self) -> HttpVersions {
        if self.http2 { HttpVersions::Both } else { HttpVersions::Http1 }
    }
}

pub(super) async fn run(session: Session, options: &LoadOptions) -> Result<LoadReport, LoadFault> {
    let requests = Arc::new(Requests::prepare(&session, options).await.map_err(LoadFault::Prepare)?);
    let endpoint = session.endpoint(options.http_versions()).map_err(LoadFault::Endpoint)?;
    let duration = Duration::from_secs(options.seconds.into());
    let pace = Arc::new(Pace::new(options.rate, duration, Arc::clone(&session.clock)));
    let threads = options.threads.min(options.connections);
    let workers = (0..threads).map(|thread| Worker {
        connections: connections_of(thread, threads, options.connections),
        endpoint: endpoint.clone(),
        deadline: session.deadline(),
        pace: Arc::clone(&pace),
        requests: Arc::clone(&requests),
    });
    let tally = worker::run_all(workers.collect(), &pace).await.map_err(LoadFault::Thread)?;
    Ok(LoadReport::new(&tally, options))
}

/// The share of a thread in all connections.
const fn connections_of(thread: u16, threads: u16, connections: u16) -> u16 {
    connections / threads + if thread < connections % threads { 1 } else { 0 }
}

impl fmt::Display for LoadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "{error}"),
            Self::Prepare(Finding::Mismatch { expected, got }) => {
                write!(f, "the proxy does not serve the requests to repeat: expected {expected}, got {got}")
            }
            Self::Prepare(Finding::Skipped(reason)) => write!(f, "no load: {reason}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for LoadFault {}
