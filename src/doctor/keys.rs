//! External keys and the root key, as an HSM shows them to whoever is logged in.

use crate::config::Config;
use crate::doctor::Patient;
use crate::doctor::diagnoses::inside::keys as diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::{Group, hsm};
use crate::key_manager::pkcs11::{Inside, KeyFacts};

/// So many are named.
const NAMED_MAX: usize = 10;

/// HSMs are looked at once, for both groups.
pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    if !patient.options.wants(Group::Hsm) {
        hsm::examine(patient, config, findings);
    }
}

pub(super) fn judge(inside: &Inside, name: &str, findings: &mut Findings) {
    let Inside { keys, ambiguous, same, root_key, .. } = inside;
    let bad = if !ambiguous.is_empty() {
        Some((Verdict::Error, format!("several keys answer to {}", ambiguous.join(", "))))
    } else {
        keys.is_empty().then(|| (Verdict::Warning, "there is no external key".to_owned()))
    };
    findings.judge(&diagnosis::FOUND, name, (bad, format!("{} external keys", keys.len())));
    judge_each(keys, name, findings);
    let pairs: Vec<_> = same.iter().map(|(one, other)| format!("{one} and {other}")).collect();
    let bad = (!pairs.is_empty()).then(|| (Verdict::Warning, format!("one key: {}", pairs.join("; "))));
    findings.judge(&diagnosis::DISTINCT, name, (bad, "none of those whose check value the token tells"));
    match root_key {
        Some(Ok(())) => findings.ok(&diagnosis::ROOT, name, "both are there, wrap and seal"),
        Some(Err(reason)) => findings.error(&diagnosis::ROOT, name, reason.clone()),
        None => findings.unchecked(
            &diagnosis::ROOT,
            name,
            "this HSM is not in `[kms]`, or there is no root key yet",
        ),
    }
}

pub(super) fn judge_each(keys: &[KeyFacts], name: &str, findings: &mut Findings) {
    let named = |holds: fn(&KeyFacts) -> bool| {
        let mut ids: Vec<_> = keys.iter().filter(|key| holds(key)).map(|key| key.id.as_str()).collect();
        let more = ids.len().saturating_sub(NAMED_MAX);
        ids.truncate(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!ids.is_empty()).then(|| format!("{}{rest}", ids.join(", ")))
    };
    let bad = named(|key| key.spec != "AES_256").map(|ids| (Verdict::Error, format!("not AES_256: {ids}")));
    findings.judge(&diagnosis::SPEC, name, (bad, "AES_256"));
    let disabled = named(|key| !key.enabled).map(|ids| format!("disabled: {ids}"));
    let partial = named(|key| !(key.usages.encrypt && key.usages.decrypt))
        .map(|ids| format!("cannot both encrypt and decrypt: {ids}"));
    let reasons: Vec<_> = [disabled, partial].into_iter().flatten().collect();
    let bad = (!reasons.is_empty()).then(|| (Verdict::Warning, reasons.join("; ")));
    findings.judge(&diagnosis::USABLE, name, (bad, "enabled, and both"));
    let bad = named(|key| key.sensitive == Some(false) || key.extractable == Some(true))
        .map(|ids| (Verdict::Warning, format!("not sensitive, or extractable: {ids}")));
    findings.judge(&diagnosis::PROTECTED, name, (bad, "sensitive, not extractable"));
    let bad =
        named(|key| !key.versioned).map(|ids| (Verdict::Warning, format!("made by another tool: {ids}")));
    findings.judge(&diagnosis::VERSIONS, name, (bad, "each has versions"));
}
