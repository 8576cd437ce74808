//! `/dev/clock` and `/dev/reset`: a week in a second, and a fresh start, for tests and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::admin::routes::text;
use crate::http::{Incoming, Response};

pub type Developed<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What development may do to the KMS.
pub trait Development: Send + Sync {
    /// KMS time, in seconds since the Unix epoch.
    fn unix_seconds(&self) -> u64;

    /// Moves KMS time on, and returns when everything that became due is done.
    fn advance(&self, by: Duration) -> Developed<'_, ()>;

    /// Deletes all keys, aliases and grants.
    fn reset(&self) -> Developed<'_, ()>;
}

/// Longer than any waiting period.
const ADVANCE_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// The answer, if the path is one of these.
pub(super) async fn respond(development: &dyn Development, incoming: &Incoming) -> Option<Response> {
    let is_post = incoming.method == Method::POST;
    let is_get = incoming.method == Method::GET;
    Some(match incoming.uri.path() {
        "/dev/clock" if is_get => now(development),
        "/dev/clock" if is_post => advance(development, incoming.uri.query().unwrap_or_default()).await,
        "/dev/reset" if is_post => match development.reset().await {
            Ok(()) => text(StatusCode::OK, "reset\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
        },
        "/dev/clock" | "/dev/reset" => text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n"),
        _ => return None,
    })
}

fn now(development: &dyn Development) -> Response {
    text(StatusCode::OK, &format!("{}\n", development.unix_seconds()))
}

async fn advance(development: &dyn Development, query: &str) -> Response {
    let Some(by) = query.strip_prefix("advance=").and_then(parse_duration) else {
        let usage = "give ?advance= a number with s, m, h or d behind it, such as 8d; at most 100 years\n";
        return text(StatusCode::BAD_REQUEST, usage);
    };
    match development.advance(by).await {
        Ok(()) => now(development),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
    }
}

/// `90s`, `15m`, `36h`, `8d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds_per_unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| number.parse().ok()).flatten()?;
    let duration = Duration::from_secs(number.checked_mul(seconds_per_unit)?);
    (duration <= ADVANCE_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_duration;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("36h", 129_600), ("8d", 691_200)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "8", "-8d", "+8d", "8w", "8 d", "1.5d", "é", "99999999999d", "36601d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
