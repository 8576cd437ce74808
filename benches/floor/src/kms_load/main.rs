//! Loads a KMS API: requests signed beforehand, written as they are, over connections that are kept.
//!
//! Prints one JSON object of what was answered and how long it took. In an open loop (`--rate`) a latency counts
//! from when its request was due, so that a server that stalls cannot hide the requests it held up.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a program to measure with, as bare as it can be"
)]

mod connection;
mod pace;
mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinSet;

use crate::connection::{Connection, Endpoint};
use crate::pace::Pace;
use crate::requests::Requests;

#[derive(Parser)]
struct Options {
    /// `https://localhost:8442` or `http://localhost:8443`
    #[arg(long)]
    url: String,
    #[arg(long, env = "AWS_CA_BUNDLE")]
    ca: PathBuf,
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key_id: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_access_key: String,
    #[arg(long, env = "AWS_DEFAULT_REGION")]
    region: String,
    /// What comes after `TrentService.`
    #[arg(long)]
    operation: String,
    /// A request body a line, taken in turn
    #[arg(long)]
    bodies: PathBuf,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests a second, sent when they are due; otherwise each connection sends as soon as it is answered
    #[arg(long)]
    rate: Option<u64>,
    /// Requests in all, however long they take
    #[arg(long, conflicts_with = "rate")]
    requests: Option<u64>,
    /// Write each answer to a file, a line each
    #[arg(long)]
    answers: Option<PathBuf>,
}

/// What requests came to.
#[derive(Default)]
struct Tally {
    /// Microseconds.
    latencies: Vec<u64>,
    errors: BTreeMap<String, u64>,
    answers: Vec<u8>,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut tally, elapsed) = runtime.block_on(load(&options));
    if let Some(path) = &options.answers {
        std::fs::write(path, &tally.answers).unwrap();
    }
    tally.latencies.sort_unstable();
    let answered = tally.latencies.len();
    let percentile = |share: f64| {
        let rank = (answered as f64 * share).ceil() as usize;
        tally.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    let report = serde_json::json!({
        "answered": answered,
        "answered_per_second": (answered as f64 / elapsed.as_secs_f64()).round(),
        "errors": tally.errors,
        "p50_us": percentile(0.5),
        "p90_us": percentile(0.9),
        "p99_us": percentile(0.99),
        "p999_us": percentile(0.999),
        "max_us": percentile(1.0),
    });
    println!("{report}");
}

async fn load(options: &Options) -> (Tally, Duration) {
    let requests = Arc::new(Requests::new(options));
    let endpoint = Endpoint::new(options);
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        connections.push(Connection::open(&endpoint).await);
    }
    let pace = Arc::new(Pace::start(options));
    let keeps_answers = options.answers.is_some();
    let mut lanes = JoinSet::new();
    for connection in connections {
        lanes.spawn(run(connection, Arc::clone(&requests), Arc::clone(&pace), keeps_answers));
    }
    let mut whole = Tally::default();
    while let Some(lane) = lanes.join_next().await {
        let lane = lane.unwrap();
        whole.latencies.extend(lane.latencies);
        whole.answers.extend(lane.answers);
        for (reason, count) in lane.errors {
            *whole.errors.entry(reason).or_default() += count;
        }
    }
    (whole, pace.started.elapsed())
}

async fn run(
    mut connection: Connection,
    requests: Arc<Requests>,
    pace: Arc<Pace>,
    keeps_answers: bool,
) -> Tally {
    let mut tally = Tally::default();
    while let Some((index, due)) = pace.next().await {
        let answer = connection.exchange(&requests.get(index)).await;
        let latency = Instant::now().saturating_duration_since(due);
        if answer.status == 200 {
            tally.latencies.push(latency.as_micros() as u64);
            if keeps_answers {
                tally.answers.extend_from_slice(answer.body);
                tally.answers.push(b'\n');
            }
        } else {
            let text: String = String::from_utf8_lossy(answer.body).chars().take(200).collect();
            *tally.errors.entry(format!("{} {text}", answer.status)).or_default() += 1;
        }
    }
    tally
}
