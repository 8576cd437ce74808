//! The credentials with which AWS KMS signs: how many, how old, whether they are used.

use crate::config::{Config, KeyStore, credentials};
use crate::doctor::Patient;
use crate::doctor::diagnoses::outside::credentials as diagnosis;
use crate::doctor::finding::{Findings, Verdict};

const DAY: u64 = 86_400;
const COMFORTABLE_DAYS: u64 = 365;

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    for store in &config.key_stores {
        examine_store(patient, store, findings);
    }
    if config.key_stores.is_empty() {
        findings.all_unchecked(diagnosis::ALL, "-", "there is no `[[key_store]]`");
    }
}

fn examine_store(patient: &Patient<'_>, store: &KeyStore, findings: &mut Findings) {
    let name = format!("key store {}", store.name);
    let mut known = store.credentials.clone();
    if known.is_empty() {
        // Perhaps for another file that is wrong: then none of them was taken.
        match credentials::read(&store.credentials_file) {
            Ok(read) => known = read,
            Err(_) => {
                let reason = "the file cannot be read: `configuration-content` says why";
                findings.all_unchecked(diagnosis::ALL, &name, reason);
                return;
            }
        }
    }
    let bad = match known.len() {
        0 => Some((Verdict::Error, "there is none".to_owned())),
        1 | 2 => None,
        count => Some((Verdict::Warning, format!("{count} credentials"))),
    };
    findings.judge(&diagnosis::COUNT, &name, (bad, format!("{}", known.len())));
    for credential in &known {
        let looked_at = format!("{name}, {}", credential.access_key_id);
        let days = patient.now().saturating_sub(credential.created_unix_seconds) / DAY;
        let bad = (days > COMFORTABLE_DAYS).then(|| (Verdict::Warning, format!("{days} days old")));
        findings.judge(&diagnosis::AGE, &looked_at, (bad, format!("{days} days old")));
        let Some(samples) = &patient.samples else {
            findings.unchecked(&diagnosis::USED, &looked_at, "no daemon answers");
            continue;
        };
        let of_store = |sample: &crate::doctor::samples::Sample| sample.label("key_store") == store.name;
        let all = samples.sum("holdfast_credential_requests_total", of_store);
        let own = samples.sum("holdfast_credential_requests_total", |sample| {
            of_store(sample) && sample.label("access_key_id") == credential.access_key_id
        });
        if all < 1.0 {
            findings.unchecked(&diagnosis::USED, &looked_at, "nobody has called since the daemon started");
        } else {
            let seen = format!("{own} of {all} requests since the daemon started");
            let bad = (own < 1.0).then(|| (Verdict::Warning, seen.clone()));
            findings.judge(&diagnosis::USED, &looked_at, (bad, seen));
        }
    }
}
