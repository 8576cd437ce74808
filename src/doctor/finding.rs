//! What was found about one diagnosis of one thing.

use serde::Serialize;

use crate::doctor::Diagnosis;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Error,
    /// It could not be looked at.
    Unchecked,
}

/// A diagnosis of one thing: never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    pub diagnosis: &'static Diagnosis,
    /// A file, a listener, an HSM, an endpoint.
    pub looked_at: String,
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub seen: String,
}

/// Findings, as they come.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        (verdict, seen): (Verdict, impl Into<String>),
    ) {
        let (looked_at, seen) = (shown(&looked_at.into()), shown(&seen.into().replace('\n', "; ")));
        let seen = without_place(&seen, &looked_at).to_owned();
        self.0.push(Finding { diagnosis, looked_at, verdict, seen });
    }

    pub(super) fn ok(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        seen: impl Into<String>,
    ) {
        self.add(diagnosis, looked_at, (Verdict::Ok, seen));
    }

    pub(super) fn warning(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        seen: impl Into<String>,
    ) {
        self.add(diagnosis, looked_at, (Verdict::Warning, seen));
    }

    pub(super) fn error(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        seen: impl Into<String>,
    ) {
        self.add(diagnosis, looked_at, (Verdict::Error, seen));
    }

    pub(super) fn unchecked(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.add(diagnosis, looked_at, (Verdict::Unchecked, why));
    }

    /// None of these could be looked at, for one reason.
    pub(super) fn all_unchecked(&mut self, diagnoses: &[&'static Diagnosis], looked_at: &str, why: &str) {
        diagnoses.iter().for_each(|diagnosis| self.unchecked(diagnosis, looked_at, why));
    }

    /// `bad` if it is there, else well.
    pub(super) fn judge(
        &mut self,
        diagnosis: &'static Diagnosis,
        looked_at: impl Into<String>,
        (bad, good): (Option<(Verdict, String)>, impl Into<String>),
    ) {
        match bad {
            Some(bad) => self.add(diagnosis, looked_at, bad),
            None => self.ok(diagnosis, looked_at, good),
        }
    }
}

/// Errors begin with the file that they are about, or with one in the folder that is looked at: once is enough.
fn without_place<'a>(seen: &'a str, looked_at: &str) -> &'a str {
    let rest = seen.strip_prefix(looked_at);
    rest.and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix('/'))).unwrap_or(seen)
}

/// An endpoint or a token may say anything: what it says must not steer a terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
