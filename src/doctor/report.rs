//! The report of `holdfast doctor`, for people and for machines.

use std::io::{self, Write};

use serde::Serialize;

use crate::doctor::{Finding, Group, Verdict};

/// All that was found.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Json<'a> {
    healthy: bool,
    errors: usize,
    warnings: usize,
    ok: usize,
    unchecked: usize,
    findings: &'a [Finding],
}

impl Report {
    /// Nothing is wrong; warnings are allowed, and so is what could not be looked at.
    pub fn is_healthy(&self) -> bool {
        self.count(Verdict::Error) == 0
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let json = Json {
            healthy: self.is_healthy(),
            errors: self.count(Verdict::Error),
            warnings: self.count(Verdict::Warning),
            ok: self.count(Verdict::Ok),
            unchecked: self.count(Verdict::Unchecked),
            findings: &self.findings,
        };
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)
    }

    /// A block a group; what is not well has its fix below it.
    pub fn write_text(&self, coloured: bool, out: &mut dyn Write) -> io::Result<()> {
        for group in Group::ALL {
            let findings: Vec<_> =
                self.findings.iter().filter(|finding| finding.diagnosis.group == group).collect();
            if findings.is_empty() {
                continue;
            }
            writeln!(out, "{}", painted(coloured, BOLD, group.name()))?;
            for finding in findings.iter().filter(|finding| finding.verdict != Verdict::Unchecked) {
                write_finding(finding, coloured, out)?;
            }
            write_unchecked(&findings, coloured, out)?;
            writeln!(out)?;
        }
        let [errors, warnings, ok, unchecked] =
            [Verdict::Error, Verdict::Warning, Verdict::Ok, Verdict::Unchecked]
                .map(|verdict| self.count(verdict));
        writeln!(out, "{errors} errors, {warnings} warnings, {ok} ok, {unchecked} not checked")
    }
}

fn write_finding(finding: &Finding, coloured: bool, out: &mut dyn Write) -> io::Result<()> {
    let Finding { diagnosis, looked_at, verdict, seen } = finding;
    let (word, colour) = match verdict {
        Verdict::Ok => ("ok     ", GREEN),
        Verdict::Warning => ("warning", YELLOW),
        Verdict::Error => ("ERROR  ", RED),
        Verdict::Unchecked => ("not checked", DIM),
    };
    let word = painted(coloured, colour, word);
    writeln!(out, "  {word}  {:<27} {looked_at}: {seen}", diagnosis.id)?;
    match verdict {
        Verdict::Error | Verdict::Warning => {
            writeln!(out, "           {:<27} fix: {}", "", diagnosis.fix)
        }
        Verdict::Ok | Verdict::Unchecked => Ok(()),
    }
}

/// One line for all that one reason kept from being looked at.
fn write_unchecked(findings: &[&Finding], coloured: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut reasons: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Unchecked) {
        let (looked_at, seen) = (finding.looked_at.as_str(), finding.seen.as_str());
        match reasons.iter_mut().find(|(place, reason, _)| (*place, *reason) == (looked_at, seen)) {
            Some((_, _, ids)) => ids.push(finding.diagnosis.id),
            None => reasons.push((looked_at, seen, vec![finding.diagnosis.id])),
        }
    }
    let word = painted(coloured, DIM, "not checked");
    for (looked_at, reason, ids) in reasons {
        writeln!(out, "  {word}  {looked_at}: {reason} ({})", ids.join(", "))?;
    }
    Ok(())
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

fn painted(coloured: bool, code: &str, text: &str) -> String {
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
