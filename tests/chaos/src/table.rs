//! The table that a run ends with.

use std::time::Duration;

use crate::daemon::Resources;
use crate::evidence::Evidence;
use crate::load::record::{Summary, due_in};
use crate::site::Isolation;

const HEAD: &str = "\
| scenario | engine | API | requests | errors | p50 | p99 | p99.9 | max | back after | memory, threads, files: before → after | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// A line of the table.
pub struct Row {
    pub scenario: String,
    pub isolation: Isolation,
    pub api: &'static str,
    pub summary: Summary,
    pub back: String,
    pub resources: Option<(Resources, Resources)>,
    pub is_good: bool,
}

/// Of the requests since something went wrong.
pub fn rows(evidence: &Evidence) -> Vec<Row> {
    let loads = [
        ("XKS", evidence.xks.as_slice()),
        ("KMS", evidence.kms.as_slice()),
        ("none needed", evidence.control.as_slice()),
    ];
    let used = loads.into_iter().filter(|(_, records)| !records.is_empty());
    let row = |(api, records): (&'static str, &[_])| Row {
        scenario: evidence.name.to_owned(),
        isolation: evidence.isolation,
        api,
        summary: Summary::of(due_in(records, evidence.first_fault()..Duration::MAX)),
        back: evidence.back.map(milliseconds).unwrap_or_default(),
        resources: Some((evidence.before, evidence.after)),
        is_good: evidence.failures.is_empty(),
    };
    used.map(row).collect()
}

pub fn print(rows: &[Row]) {
    println!("{HEAD}");
    rows.iter().for_each(|row| println!("{}", row.line()));
}

impl Row {
    fn line(&self) -> String {
        let Self { scenario, isolation, api, summary, back, resources, is_good } = self;
        let engine = match isolation {
            Isolation::Thread => "thread",
            Isolation::Process => "process",
        };
        let resources = resources.map(|(before, after)| {
            format!(
                "{} → {} MB, {} → {}, {} → {}",
                before.memory_kb / 1024,
                after.memory_kb / 1024,
                before.threads,
                after.threads,
                before.files,
                after.files
            )
        });
        let [p50, p99, p999] = [500, 990, 999].map(|per_mille| milliseconds(summary.percentile(per_mille)));
        format!(
            "| {scenario} | {engine} | {api} | {} | {} | {p50} | {p99} | {p999} | {} | {back} | {} | {} |",
            summary.requests,
            summary.errors_text(),
            milliseconds(summary.max()),
            resources.unwrap_or_default(),
            if *is_good { "holds" } else { "FAILS" }
        )
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
