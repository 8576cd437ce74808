//! What a load showed, against the 250 ms that AWS KMS waits.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::check::load::worker::Tally;
use crate::check::load::{LoadOperation, LoadOptions};

/// What AWS KMS waits for an answer (XKS v1, GetKeyMetadata, KMS considerations).
const BUDGET: Duration = Duration::from_millis(250);
/// A rate that was kept to this share of a thousand was kept.
const KEPT_PER_MILLE: u64 = 990;

/// Latencies are in microseconds.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    operation: &'static str,
    /// Absent in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_asked: Option<u32>,
    connections: u16,
    answered: u64,
    errors: BTreeMap<String, u64>,
    elapsed_ms: u64,
    answered_per_second: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    over_budget: u64,
}

impl LoadReport {
    pub(super) fn new(tally: &Tally, options: &LoadOptions) -> Self {
        let latencies = &tally.latencies;
        let percentile = |per_mille| micros(latencies.percentile(per_mille));
        let elapsed_ms = u64::try_from(tally.elapsed.as_millis()).unwrap_or(u64::MAX);
        Self {
            operation: options.operation.name(),
            rate_asked: options.rate,
            connections: options.connections,
            answered: latencies.total(),
            errors: tally.errors.clone(),
            elapsed_ms,
            answered_per_second: latencies
                .total()
                .saturating_mul(1000)
                .checked_div(elapsed_ms)
                .unwrap_or_default(),
            p50_us: percentile(500),
            p90_us: percentile(900),
            p99_us: percentile(990),
            p999_us: percentile(999),
            max_us: micros(latencies.max()),
            over_budget: latencies.above(BUDGET),
        }
    }

    /// Everything was answered well, 999 of 1000 in time, and at the rate that was asked for.
    pub fn is_acceptable(&self) -> bool {
        let is_rate_kept = self.rate_asked.is_none_or(|rate| {
            self.answered_per_second.saturating_mul(1000) >= u64::from(rate).saturating_mul(KEPT_PER_MILLE)
        });
        self.answered > 0 && self.errors.is_empty() && self.p999_us <= micros(BUDGET) && is_rate_kept
    }

    pub fn write(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            serde_json::to_writer(&mut *out, self)?;
            return writeln!(out);
        }
        let Self { operation, connections, answered, answered_per_second, .. } = self;
        let seconds = Duration::from_millis(self.elapsed_ms).as_secs_f64();
        match self.rate_asked {
            Some(rate) => writeln!(out, "{operation} at {rate} a second over {connections} connections")?,
            None => writeln!(out, "{operation} in a closed loop over {connections} connections")?,
        }
        writeln!(out, "{answered} answers in {seconds:.1} s: {answered_per_second} a second")?;
        for (name, us) in [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("max", self.max_us),
        ] {
            writeln!(out, "{name:<6}{:>12}", milliseconds(us))?;
        }
        let share = share_percent(self.over_budget, self.answered);
        writeln!(out, "over 250 ms: {} ({share} %)", self.over_budget)?;
        for (reason, count) in &self.errors {
            writeln!(out, "failed: {count} times {reason}")?;
        }
        Ok(())
    }
}

impl LoadOperation {
    const fn name(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt",
            Self::Health => "health",
            Self::Metadata => "metadata",
            Self::Mixed => "mixed",
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

/// With three digits after the point.
fn share_percent(part: u64, whole: u64) -> String {
    let thousandths = part.saturating_mul(100_000).checked_div(whole).unwrap_or_default();
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::LoadReport;
    use crate::check::load::LoadOptions;
    use crate::check::load::worker::Tally;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        load: LoadOptions,
    }

    fn report(latencies_ms: &[u64], elapsed: Duration, rate: &str) -> LoadReport {
        let mut tally = Tally { elapsed, ..Tally::default() };
        latencies_ms.iter().for_each(|&ms| tally.latencies.record(Duration::from_millis(ms)));
        LoadReport::new(&tally, &Command::parse_from(["check", "--rate", rate]).load)
    }

    #[test]
    fn a_kept_rate_within_the_budget_is_acceptable() {
        assert!(report(&[1; 1000], Duration::from_secs(10), "100").is_acceptable());
        assert!(!report(&[1; 1000], Duration::from_secs(10), "110").is_acceptable());
        assert!(!report(&[260; 1000], Duration::from_secs(10), "100").is_acceptable());
        assert!(!report(&[], Duration::from_secs(10), "1").is_acceptable());
        let mut failed = report(&[1; 1000], Duration::from_secs(10), "100");
        failed.errors.insert("500 InternalException".into(), 1);
        assert!(!failed.is_acceptable());
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let report = report(&[1, 2, 3, 300], Duration::from_secs(4), "1");
        let (mut table, mut json) = (Vec::new(), Vec::new());
        report.write(false, &mut table).unwrap();
        report.write(true, &mut json).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("4 answers in 4.0 s: 1 a second"), "{table}");
        assert!(table.contains("over 250 ms: 1 (25.000 %)"), "{table}");
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((json["over_budget"].as_u64(), json["max_us"].as_u64()), (Some(1), Some(300_000)));
    }
}
