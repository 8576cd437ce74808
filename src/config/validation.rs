//! From the file as TOML to a `Config` that is right in itself; no other file is opened.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proxy_api::wire::AAD_BYTES_MAX_EXPRESSIBLE;
use proxy_api::wire::AAD_BYTES_MIN_SUPPORTED;
use proxy_api::wire::PLAINTEXT_BYTES_MIN_SUPPORTED;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use crate::config::ADMIN_LISTEN;
use crate::config::Admin;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Health;
use crate::config::Limits;
use crate::config::Log;
use crate::config::cluster;
use crate::config::hedging;
use crate::config::hsm;
use crate::config::hsm::Declared;
use crate::config::key_store;
use crate::config::kms;
use crate::config::listener;
use crate::config::listener::Sockets;
use crate::config::review::Review;
use crate::config::schema;
use crate::config::syntax;
use crate::config::syntax::Malformed;
use crate::config::traces;

/// More than any configuration needs; a wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

const PLAINTEXT_BYTES_MAX: usize = 65536;

/// GetHealthStatus answers from a probe that is at most this old (XKS v1, GetHealthStatus).
const HEALTH_AGE_MAX: Duration = Duration::from_secs(60);

/// The longest path a Unix socket can have on every system.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Of a file that may be wrong: where the daemon is.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    admin: AdminPlaces,
}

#[derive(Default, Deserialize)]
struct AdminPlaces {
    listen: Option<String>,
}

pub(super) fn load(path: &Path, log_filter: Option<String>) -> Result<Config, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|error| Review::new(path).fail("file", error))?;
    let text = read_text(&absolute)?;
    parse(&absolute, &text, log_filter)
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let fail = |reason: &dyn std::fmt::Display| Review::new(path).fail("file", reason);
    let size = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if !size.is_file() || size.len() > FILE_BYTES_MAX {
        return Err(fail(&"not a regular file of at most 1 MiB"));
    }
    std::fs::read_to_string(path).map_err(|error| fail(&error))
}

pub(super) fn parse(path: &Path, text: &str, log_filter: Option<String>) -> Result<Config, ConfigError> {
    let file: schema::File = read_tables(path, text)?;
    let mut review = Review::new(path);
    let state_dir = review.path("top", "state_dir", &file.state_dir);
    let admin = admin(&mut review, &file.admin, &state_dir);
    let mut sockets = Sockets::taken_by(&admin);
    // Either face may be absent, not both.
    let has_proxy = !file.listener.is_empty() || !file.key_store.is_empty();
    if has_proxy || file.kms.is_none() {
        review.require(!file.listener.is_empty(), "listener", "there must be at least one");
        review.require(!file.key_store.is_empty(), "key_store", "there must be at least one");
    }
    let listeners = listener::listeners(&mut review, &file.listener, &mut sockets);
    let mut declared = Declared::default();
    let hsms = hsm::hsms(&mut review, file.hsm, &state_dir, &mut declared);
    let clusters = cluster::clusters(&mut review, file.cluster, &hsms, &mut declared);
    let key_stores = key_store::key_stores(&mut review, file.key_store, &hsms);
    let kms = file.kms.map(|raw| kms::kms(&mut review, raw, (&hsms, &state_dir), &mut sockets));
    let dev = kms::dev(&mut review, &file.dev, &hsms, &clusters);
    let config = Config {
        path: path.to_owned(),
        state_dir,
        admin,
        listeners,
        hsms,
        clusters,
        key_stores,
        kms,
        dev,
        limits: limits(&mut review, &file.limits),
        health: health(&mut review, &file.health),
        hedging: hedging::hedging(&mut review, &file.hedging),
        log: log(&mut review, file.log, log_filter),
        traces: file.traces.and_then(|raw| traces::traces(&mut review, raw)),
    };
    review.finish(config)
}

fn read_tables<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    syntax::read(text)
        .map_err(|Malformed { line, reason }| Review::new(path).fail(&format!("line {line}"), reason))
}

/// Where the daemon tells of itself. Nothing else in the file is looked at.
pub(super) fn admin_listen(path: &Path) -> Result<(SocketAddr, Option<ConfigError>), ConfigError> {
    let absolute = std::path::absolute(path).map_err(|error| Review::new(path).fail("file", error))?;
    let malformed = |Malformed { line, reason }| Review::new(&absolute).fail(&format!("line {line}"), reason);
    let (places, error): (Places, _) = syntax::recover(&read_text(&absolute)?).map_err(malformed)?;
    let mut review = Review::new(&absolute);
    let listen = places.admin.listen.as_deref().unwrap_or(ADMIN_LISTEN);
    let address = review.socket_address("admin", "listen", listen);
    let address = review.finish(address.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)))?;
    Ok((address, error.map(malformed)))
}

fn admin(review: &mut Review<'_>, raw: &schema::Admin, state_dir: &Path) -> Admin {
    const TABLE: &str = "admin";
    let listen = review.socket_address(TABLE, "listen", &raw.listen);
    let listen = listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let reason = "`listen` must be a loopback address: what it serves has no authentication";
    review.require(listen.ip().is_loopback(), TABLE, reason);
    let mut optional = |member, text: &Option<String>| {
        text.as_ref().and_then(|text| review.socket_address(TABLE, member, text))
    };
    let probe_listen = optional("probe_listen", &raw.probe_listen);
    let metrics_listen = optional("metrics_listen", &raw.metrics_listen);
    let control_socket = match &raw.control_socket {
        Some(path) => review.path(TABLE, "control_socket", path),
        None => state_dir.join("control.sock"),
    };
    let is_short = control_socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
    let reason = format_args!("`control_socket` must be a path of at most {SOCKET_PATH_BYTES_MAX} bytes");
    review.require(is_short, TABLE, reason);
    Admin { listen, probe_listen, metrics_listen, control_socket }
}

fn limits(review: &mut Review<'_>, raw: &schema::Limits) -> Limits {
    const TABLE: &str = "limits";
    let plaintext_bytes = PLAINTEXT_BYTES_MIN_SUPPORTED..=PLAINTEXT_BYTES_MAX;
    let aad_bytes = AAD_BYTES_MIN_SUPPORTED..=AAD_BYTES_MAX_EXPRESSIBLE;
    let deadline_ms = review.within(TABLE, "request_deadline_ms", raw.request_deadline_ms, 1..=60_000);
    let plaintext_bytes_max =
        review.within(TABLE, "plaintext_bytes_max", raw.plaintext_bytes_max, plaintext_bytes);
    let aad_bytes_max = review.within(TABLE, "aad_bytes_max", raw.aad_bytes_max, aad_bytes);
    let connections_max = review.within(TABLE, "connections_max", raw.connections_max, 1..=1_000_000);
    let mut seconds = |member, value, max| Duration::from_secs(review.within(TABLE, member, value, 1..=max));
    Limits {
        request_deadline: Duration::from_millis(deadline_ms),
        plaintext_bytes_max,
        aad_bytes_max,
        connections_max,
        tls_handshake_timeout: seconds(
            "tls_handshake_timeout_seconds",
            raw.tls_handshake_timeout_seconds,
            300,
        ),
        header_read_timeout: seconds("header_read_timeout_seconds", raw.header_read_timeout_seconds, 300),
        body_read_timeout: seconds("body_read_timeout_seconds", raw.body_read_timeout_seconds, 300),
        idle_timeout: seconds("idle_timeout_seconds", raw.idle_timeout_seconds, 86_400),
        shutdown_timeout: seconds("shutdown_timeout_seconds", raw.shutdown_timeout_seconds, 3600),
    }
}

fn health(review: &mut Review<'_>, raw: &schema::Health) -> Health {
    const TABLE: &str = "health";
    let age_max = HEALTH_AGE_MAX.as_secs();
    let interval = review.within(TABLE, "probe_interval_seconds", raw.probe_interval_seconds, 1..=age_max);
    let timeout = review.within(TABLE, "probe_timeout_ms", raw.probe_timeout_ms, 1..=age_max * 1000);
    let fleet_size = review.within(TABLE, "fleet_size", raw.fleet_size, 1..=u32::MAX);
    let (probe_interval, probe_timeout) = (Duration::from_secs(interval), Duration::from_millis(timeout));
    let is_fresh = probe_interval.saturating_add(probe_timeout) <= HEALTH_AGE_MAX;
    let reason = format_args!("`probe_interval_seconds` and `probe_timeout_ms` together exceed {age_max} s");
    review.require(is_fresh, TABLE, reason);
    Health { probe_interval, probe_timeout, fleet_size }
}

fn log(review: &mut Review<'_>, raw: schema::Log, overlay: Option<String>) -> Log {
    let place = if overlay.is_some() { "environment variable HOLDFAST_LOG" } else { "log" };
    let filter = overlay.unwrap_or(raw.filter);
    let reason = "`filter` must be a filter such as `info` or `warn,holdfast=debug`";
    review.require(EnvFilter::builder().parse(&filter).is_ok(), place, reason);
    Log { filter, requests: raw.requests }
}
