//! What the daemon has refused, key store by key store, and what that is a sign of.

use std::collections::BTreeSet;

use crate::doctor::diagnoses::machine::daemon as diagnosis;
use crate::doctor::diagnosis::Diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::samples::{Sample, Samples};

const REQUESTS: &str = "holdfast_xks_requests_total";
/// Of the requests of a key store; with no more of them a success is an accident, such as the first one after a start.
const SUCCEEDING_MIN: f64 = 0.01;

/// Errors that the proxy has given, and what they are a sign of.
static ERRORS: [(&str, &Diagnosis); 7] = [
    ("InvalidUriPathException", &diagnosis::PATH),
    ("AuthenticationFailedException", &diagnosis::AUTHENTICATION),
    ("AccessDeniedException", &diagnosis::POLICY),
    ("KeyNotFoundException", &diagnosis::UNKNOWN_KEY),
    ("InvalidCiphertextException", &diagnosis::CIPHERTEXT),
    ("ThrottlingException", &diagnosis::THROTTLING),
    ("DependencyTimeoutException", &diagnosis::TIMEOUT),
];

/// Judges each of these key stores by itself: others that work do not help its callers.
pub(super) fn judge(samples: &Samples, key_stores: &[&str], findings: &mut Findings) {
    let all = samples.sum(REQUESTS, |_| true);
    let names: BTreeSet<_> = samples.named(REQUESTS).map(|sample| sample.label("key_store")).collect();
    for (error, diagnosis) in ERRORS {
        let mut is_well = true;
        for name in &names {
            let is_ours = key_stores.contains(name);
            let Some(bad) = refused(samples, (name, is_ours), error) else { continue };
            let looked_at = if is_ours { format!("key store {name}") } else { "metrics".to_owned() };
            findings.add(diagnosis, looked_at, bad);
            is_well = false;
        }
        if is_well {
            findings.ok(diagnosis, "metrics", format!("0 of {all} requests since the start got {error}"));
        }
    }
}

/// An error if it is why nobody is served.
fn refused(samples: &Samples, (store, is_ours): (&str, bool), error: &str) -> Option<(Verdict, String)> {
    let sum = |holds: &dyn Fn(&str) -> bool| {
        let of_store = |sample: &Sample| sample.label("key_store") == store && holds(sample.label("error"));
        samples.sum(REQUESTS, of_store)
    };
    let count = sum(&|other| other == error);
    if count < 1.0 {
        return None;
    }
    let (all, served) = (sum(&|_| true), sum(&|other| other == "none"));
    let seen = format!("{count} of {all} requests since the start got {error}");
    let is_most_frequent = ERRORS.iter().all(|(other, _)| sum(&|found| found == *other) <= count);
    if is_ours && is_most_frequent && served <= all * SUCCEEDING_MIN {
        return Some((Verdict::Error, format!("{seen}, and {served} succeeded")));
    }
    Some((Verdict::Warning, seen))
}
