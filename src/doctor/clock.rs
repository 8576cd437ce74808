//! The clock, against whatever else tells the time.

use std::net::ToSocketAddrs;
use std::path::Path;

use http::Method;
use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::macros::format_description;

use crate::clock::Clock;
use crate::doctor::Patient;
use crate::doctor::diagnoses::outside::clock as diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::plain_http;

/// What systemd-timesyncd touches, and what chronyd has when it runs.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
const CHRONY: [&str; 2] = ["/run/chrony/chronyd.pid", "/run/chronyd.pid"];
const HEAD_BYTES_MAX: u64 = 16 * 1024;
const COMFORTABLE_SECONDS: u64 = 60;
/// SigV4 allows five minutes.
const ALLOWED_SECONDS: u64 = 300;

pub(super) fn examine(patient: &Patient<'_>, findings: &mut Findings) {
    if Path::new(SYNCHRONISED).exists() {
        findings.ok(&diagnosis::SYNCHRONISED, SYNCHRONISED, "systemd-timesyncd has set the clock");
    } else if let Some(path) = CHRONY.into_iter().find(|path| Path::new(path).exists()) {
        findings.ok(&diagnosis::SYNCHRONISED, path, "chronyd runs");
    } else {
        let why =
            "neither systemd-timesyncd nor chronyd is seen; a virtual machine may have its host's clock";
        findings.unchecked(&diagnosis::SYNCHRONISED, "/run", why);
    }
    let mut seen = 0;
    for sample in patient.samples.iter().flat_map(|samples| samples.named("holdfast_xks_clock_skew_seconds"))
    {
        seen += 1;
        let store = format!("callers of key store {}", sample.label("key_store"));
        let skew = format!("{:.0}", sample.value.abs()).parse().unwrap_or(u64::MAX);
        findings.judge(&diagnosis::SKEW, store, (judge_skew(skew), format!("{skew} s")));
    }
    if let Some(url) = &patient.options.time_source {
        seen += 1;
        match date_of(url, &*patient.clock) {
            Some(date) => {
                let skew = date.abs_diff(patient.now());
                findings.judge(&diagnosis::SKEW, url, (judge_skew(skew), format!("{skew} s")));
            }
            None => {
                findings.unchecked(&diagnosis::SKEW, url, "it gives no Date; it must be `http://HOST[:PORT]`")
            }
        }
    }
    if seen == 0 {
        findings.unchecked(
            &diagnosis::SKEW,
            "-",
            "nobody has called yet; --time-source URL compares with another machine",
        );
    }
}

pub(super) fn judge_skew(seconds: u64) -> Option<(Verdict, String)> {
    let seen = format!("{seconds} s");
    if seconds >= ALLOWED_SECONDS {
        Some((Verdict::Error, seen))
    } else {
        (seconds >= COMFORTABLE_SECONDS).then_some((Verdict::Warning, seen))
    }
}

/// The Date of the answer to a HEAD, as Unix time.
fn date_of(url: &str, clock: &dyn Clock) -> Option<u64> {
    let host = url.strip_prefix("http://")?.split('/').next()?;
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = address.to_socket_addrs().ok()?.next()?;
    let head = plain_http::exchange(address, (Method::HEAD, host, "/"), HEAD_BYTES_MAX, clock)?;
    let date = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim().to_owned())
    })?;
    parse_date(&date)
}

/// RFC 9110, IMF-fixdate.
pub(super) fn parse_date(text: &str) -> Option<u64> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let time: OffsetDateTime = PrimitiveDateTime::parse(text, &format).ok()?.assume_utc();
    u64::try_from(time.unix_timestamp()).ok()
}
