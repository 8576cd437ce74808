//! `holdfast ready`: asks the running daemon whether it can serve, where nothing else on the machine could.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;

/// The reasons of hundreds of HSMs have room in it.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const SERVES: &str = "HTTP/1.1 200 ";

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Where the daemon tells of itself, an IP address and a port; with it no configuration is read
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// Ask only whether the daemon lives, as a supervisor does that would start it anew
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let (address, doubt) = match arguments.address {
        Some(address) => (address, None),
        None => Config::admin_listen(&arguments.config.path)
            .map_err(|error| format!("{error}\nwith `--address` the configuration is not read"))?,
    };
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let answer = ask(address, path, Duration::from_secs(arguments.timeout)).map_err(|error| {
        let doubt = doubt.map(|doubt| format!("\n{doubt}\nwith `--address` the configuration is not read"));
        format!("no daemon answers at {address}: {error}{}", doubt.unwrap_or_default())
    })?;
    let text = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    writeln!(world.out, "{}", text.trim_end())?;
    Ok(if answer.starts_with(SERVES) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(address: SocketAddr, path: &str, patience: Duration) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
