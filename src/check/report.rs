//! The result of the cases, for people and for machines.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::case::{Case, Severity};
use crate::check::finding::{Finding, Judged};

const THROTTLED: &str = "the key store has a quota that this check exceeds (429): raise it for the check, such as with \
                         `requests_per_second`, and check again";

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Fail,
    Pass,
    Skip,
    /// Failed, but only recommended.
    Warn,
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct CaseResult {
    pub group: &'static str,
    /// Numbers of these cases in the official client's list; empty for others.
    pub rows: &'static str,
    pub name: &'static str,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
}

/// What was found about one proxy.
#[derive(Debug)]
pub struct Report {
    pub host: String,
    pub prefix: String,
    pub results: Vec<CaseResult>,
    /// A quota of the proxy made cases fail.
    pub is_throttled: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    host: &'a str,
    prefix: &'a str,
    conforming: bool,
    passed: usize,
    warned: usize,
    failed: usize,
    skipped: usize,
    throttled: bool,
    cases: &'a [CaseResult],
}

impl CaseResult {
    pub(super) fn new(group: &'static str, case: &Case, judged: Judged) -> Self {
        let mut result = Self {
            group,
            rows: case.rows,
            name: case.name,
            verdict: Verdict::Pass,
            expected: None,
            got: None,
            skipped: None,
        };
        match judged {
            Ok(()) => {}
            Err(Finding::Skipped(reason)) => {
                result.verdict = Verdict::Skip;
                result.skipped = Some(reason);
            }
            Err(Finding::Mismatch { expected, got }) => {
                result.verdict = match case.severity {
                    Severity::Must => Verdict::Fail,
                    Severity::Should => Verdict::Warn,
                };
                result.expected = Some(expected);
                result.got = Some(got);
            }
        }
        result
    }

    fn write_row(&self, widths: (usize, usize), out: &mut dyn Write) -> io::Result<()> {
        let Self { group, rows, name, .. } = self;
        let (group_width, name_width) = widths;
        let verdict = self.verdict.text();
        write!(out, "{verdict:<4}  {group:<group_width$}  {rows:<6}  ")?;
        match (self.skipped, &self.expected, &self.got) {
            (Some(reason), ..) => writeln!(out, "{name:<name_width$}  {reason}"),
            (None, Some(expected), Some(got)) => {
                writeln!(out, "{name:<name_width$}  expected {expected}, got {got}")
            }
            (None, ..) => writeln!(out, "{name}"),
        }
    }
}

impl Report {
    /// No case failed. Warnings are allowed, and so is a case that could not run.
    pub fn is_conforming(&self) -> bool {
        self.count(Verdict::Fail) == 0 && self.count(Verdict::Pass) > 0
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }

    /// A table, or one JSON object.
    pub fn write(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json { self.write_json(out) } else { self.write_table(out) }
    }

    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |text: fn(&CaseResult) -> &str| {
            self.results.iter().map(|result| text(result).len()).max().unwrap_or_default()
        };
        let widths = (width(|result| result.group), width(|result| result.name));
        for result in &self.results {
            result.write_row(widths, out)?;
        }
        let [passed, warned, failed, skipped] = self.counts();
        writeln!(out, "\n{passed} passed, {warned} warnings, {failed} failed, {skipped} skipped")?;
        if self.is_throttled {
            writeln!(out, "{THROTTLED}")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let [passed, warned, failed, skipped] = self.counts();
        let json = Json {
            host: &self.host,
            prefix: &self.prefix,
            conforming: self.is_conforming(),
            passed,
            warned,
            failed,
            skipped,
            throttled: self.is_throttled,
            cases: &self.results,
        };
        serde_json::to_writer(&mut *out, &json)?;
        writeln!(out)
    }

    fn counts(&self) -> [usize; 4] {
        [Verdict::Pass, Verdict::Warn, Verdict::Fail, Verdict::Skip].map(|verdict| self.count(verdict))
    }
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
        }
    }
}
