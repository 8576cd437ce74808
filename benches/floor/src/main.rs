//! What Holdfast is measured against.
//!
//! `floor serve` is a bare hyper and rustls server that verifies SigV4, parses the JSON and makes the same two
//! PKCS#11 calls through worker threads: no logs, metrics, policy, limits, deadlines, versions or second key.
//! `floor serve --session-key` does so for the KMS API, on a session key. `floor serve --without-hsm` answers after
//! SigV4. `floor loop` is the PKCS#11 library alone.

#![expect(
    clippy::disallowed_methods,
    clippy::too_many_arguments,
    reason = "a program to measure against, as bare as it can be"
)]

mod gcm;
mod kms;
mod server;
mod signing;
mod workers;
mod xks;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::gcm::Token;

#[derive(Parser)]
enum Command {
    /// Make keys `bench-0`, `bench-1` and so on, up to a number, in the token
    Fill {
        #[command(flatten)]
        token: TokenOptions,
        #[arg(long)]
        keys: usize,
    },
    /// Serve one key
    Serve(server::Options),
    /// Encrypt in a loop, one session a thread, and print operations a second
    Loop {
        #[command(flatten)]
        token: TokenOptions,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Sign a digest instead, with a session key
        #[arg(long, requires = "session_key")]
        sign: Option<signing::Algorithm>,
    },
}

#[derive(clap::Args, Clone)]
struct TokenOptions {
    #[arg(long, default_value = "/usr/lib/softhsm/libsofthsm2.so")]
    module: PathBuf,
    #[arg(long, default_value = "holdfast")]
    token_label: String,
    #[arg(long)]
    pin_file: PathBuf,
    #[arg(long, default_value = "foo")]
    key: String,
    /// A key that is made for this run, and the KMS API, instead of a key in the token and the XKS API
    #[arg(long)]
    session_key: bool,
    /// Threads, each with a session
    #[arg(long, default_value_t = 4)]
    sessions: usize,
}

fn main() {
    match Command::parse() {
        Command::Fill { token, keys } => gcm::fill(&token, keys),
        Command::Serve(options) => server::run(&options),
        Command::Loop { token, seconds, sign } => run_loop(&token, Duration::from_secs(seconds), sign),
    }
}

fn run_loop(options: &TokenOptions, duration: Duration, sign: Option<signing::Algorithm>) {
    let token = Token::open(options);
    let (operations, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..options.sessions {
            let session = token.session();
            let (operations, stop) = (&operations, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match sign {
                        Some(algorithm) => drop(session.sign(algorithm, &[7; 32])),
                        None => drop(session.encrypt(&[7; 32], &[0, 0, 0])),
                    }
                    operations.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
    });
    let per_second = operations.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!("{{\"operationsPerSecond\":{per_second:.0},\"sessions\":{}}}", options.sessions);
}
