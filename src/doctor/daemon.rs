//! The running daemon, by what it says of itself on the admin listener.

use std::net::SocketAddr;

use http::Method;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::doctor::Patient;
use crate::doctor::diagnoses::machine::daemon as diagnosis;
use crate::doctor::diagnosis::Diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::plain_http;
use crate::doctor::requests;
use crate::doctor::samples::{Sample, Samples};
use crate::kill_switch::KillSwitch;

const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Of the budget of AWS KMS, 250 ms.
const COMFORTABLE_SECONDS: f64 = 0.1;
const GCM_LIMIT: f64 = 4_294_967_296.0;
const MEBIBYTE: f64 = 1_048_576.0;
/// Times what the audit trail must have free: the disk is nearly full.
const NEAR: f64 = 4.0;

/// Status and body of a plain GET; nothing if nobody answers.
fn get(address: SocketAddr, path: &str, clock: &dyn Clock) -> Option<(u16, String)> {
    let answer = plain_http::exchange(address, (Method::GET, "localhost", path), ANSWER_BYTES_MAX, clock)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub(super) fn metrics(address: SocketAddr, clock: &dyn Clock) -> Option<Samples> {
    let (status, body) = get(address, "/metrics", clock)?;
    (status == 200 && body.contains("holdfast_build_info")).then(|| Samples::parse(&body))
}

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    examine_blocks(config, findings);
    let Some(samples) = &patient.samples else {
        let address = config.admin.listen.to_string();
        let diagnoses: Vec<_> =
            diagnosis::ALL.iter().copied().filter(|other| **other != diagnosis::BLOCKED).collect();
        return findings.all_unchecked(&diagnoses, &address, "no daemon answers");
    };
    let obstacles = obstacles(patient, config, findings);
    judge_states(samples, (config, &obstacles), findings);
    judge_hsms(samples, findings);
    let key_stores: Vec<_> = config.key_stores.iter().map(|store| store.name.as_str()).collect();
    requests::judge(samples, &key_stores, findings);
    judge_invocations(samples, findings);
    judge_itself(samples, config, findings);
}

/// What keeps the daemon from being ready, in its own words.
fn obstacles(patient: &Patient<'_>, config: &Config, findings: &mut Findings) -> Vec<String> {
    match get(config.admin.listen, "/readyz", &*patient.clock) {
        Some((200, _)) => findings.ok(&diagnosis::READY, "/readyz", "ready"),
        Some((_, reasons)) => {
            for reason in reasons.lines() {
                findings.error(&diagnosis::READY, "/readyz", reason);
            }
            return reasons.lines().map(ToOwned::to_owned).collect();
        }
        None => findings.error(&diagnosis::READY, "/readyz", "no answer"),
    }
    Vec::new()
}

fn examine_blocks(config: &Config, findings: &mut Findings) {
    let looked_at = config.state_dir.display().to_string();
    match KillSwitch::open(&config.state_dir) {
        Ok(switch) => {
            let blocked = switch.blocked();
            let names: Vec<_> =
                blocked.key_stores.iter().chain(&blocked.keys).map(String::as_str).take(10).collect();
            let bad =
                (!names.is_empty()).then(|| (Verdict::Warning, format!("blocked: {}", names.join(", "))));
            findings.judge(&diagnosis::BLOCKED, looked_at, (bad, "nothing is blocked"));
        }
        Err(error) => findings.error(&diagnosis::BLOCKED, looked_at, error.to_string()),
    }
}

/// Those that are 1 of a metric with a label for the state.
fn states<'a>(
    samples: &'a Samples,
    metric: &'static str,
    wanted: &'static [&'static str],
) -> impl Iterator<Item = &'a Sample> {
    samples.named(metric).filter(move |sample| sample.value >= 1.0 && wanted.contains(&sample.label("state")))
}

fn judge_states(samples: &Samples, (config, obstacles): (&Config, &[String]), findings: &mut Findings) {
    let all = &["ACTIVE", "DEGRADED", "UNAVAILABLE"];
    let taken_out = &["open", "half_open"];
    // Members of a cluster are out of service while its key store is not connected: `kms` judges them.
    for hsm in &config.hsms {
        let of_hsm = |sample: &&Sample| sample.label("hsm") == hsm.name;
        let looked_at = format!("HSM {}", hsm.name);
        let prefix = format!("{looked_at}: ");
        let reason = obstacles.iter().find_map(|obstacle| obstacle.strip_prefix(&prefix));
        let is_pin_rejected =
            samples.named("holdfast_hsm_pin_rejected").filter(of_hsm).any(|of| of.value >= 1.0);
        if let Some((diagnosis, seen)) = cause(hsm, reason, is_pin_rejected) {
            findings.error(diagnosis, looked_at, seen);
            continue;
        }
        for sample in states(samples, "holdfast_hsm_state", all).filter(of_hsm) {
            let bad = match sample.label("state") {
                "ACTIVE" => None,
                "DEGRADED" => Some((Verdict::Warning, "degraded".to_owned())),
                state => {
                    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    Some((Verdict::Error, format!("{}{why}", state.to_ascii_lowercase())))
                }
            };
            findings.judge(&diagnosis::HSM_STATE, &looked_at, (bad, "active"));
        }
        for sample in states(samples, "holdfast_hsm_breaker_state", taken_out).filter(of_hsm) {
            let seen = format!("taken out of service: the circuit breaker is {}", sample.label("state"));
            findings.warning(&diagnosis::HSM_STATE, &looked_at, seen);
        }
    }
    for diagnosis in [&diagnosis::HEALTH_KEY, &diagnosis::PIN, &diagnosis::TOKEN] {
        if !findings.0.iter().any(|finding| finding.diagnosis == diagnosis) {
            findings.ok(diagnosis, "/readyz", "no HSM is out of service for it");
        }
    }
}

/// Why this HSM does not serve, if that is nothing of the HSM or its link; the daemon's words are its only sign.
fn cause(
    hsm: &config::Hsm,
    reason: Option<&str>,
    is_pin_rejected: bool,
) -> Option<(&'static Diagnosis, String)> {
    let config::Hsm { name, health_key, .. } = hsm;
    if is_pin_rejected {
        return Some((&diagnosis::PIN, reason.unwrap_or("the PIN is refused or locked").to_owned()));
    }
    let reason = reason?;
    if reason.starts_with("the health key `") {
        return Some((
            &diagnosis::HEALTH_KEY,
            format!("`holdfast key create --hsm {name} {health_key}` makes it"),
        ));
    }
    let is_of_label = ["no token is labelled", "several tokens are labelled"];
    is_of_label.iter().any(|words| reason.starts_with(words)).then(|| (&diagnosis::TOKEN, reason.to_owned()))
}

fn judge_hsms(samples: &Samples, findings: &mut Findings) {
    let quarantined: Vec<_> = states(samples, "holdfast_hsm_breaker_state", &["quarantined"])
        .map(|sample| sample.label("hsm"))
        .collect();
    let corrupt = samples.sum("holdfast_hsm_corruptions_total", |_| true);
    let bad = (!quarantined.is_empty() || corrupt > 0.0).then(|| {
        (Verdict::Error, format!("in quarantine: {}; wrong ciphertexts: {corrupt}", quarantined.join(", ")))
    });
    findings.judge(&diagnosis::QUARANTINE, "metrics", (bad, "no wrong ciphertext"));
    let stuck = samples.sum("holdfast_hsm_sessions_stuck", |_| true);
    let restarts = samples.sum("holdfast_hsm_worker_restarts_total", |_| true);
    let bad = if stuck > 0.0 {
        Some((Verdict::Error, format!("{stuck} sessions hang")))
    } else {
        (restarts > 0.0).then(|| (Verdict::Warning, format!("{restarts} worker processes were replaced")))
    };
    findings.judge(&diagnosis::HUNG, "metrics", (bad, "no call hangs"));
    judge_budget(samples, findings);
}

fn judge_budget(samples: &Samples, findings: &mut Findings) {
    let is_crypto = |operation: &str| {
        matches!(operation, "encrypt" | "decrypt" | "encrypt_under" | "decrypt_under" | "data_key")
    };
    let hsm = samples.quantile("holdfast_hsm_operation_duration_seconds", 0.99, |sample| {
        is_crypto(sample.label("operation"))
    });
    let queue = samples.quantile("holdfast_hsm_queue_wait_seconds", 0.99, |_| true);
    let Some(hsm) = hsm else {
        return findings.unchecked(&diagnosis::BUDGET, "metrics", "nothing was encrypted or decrypted yet");
    };
    let queue = queue.unwrap_or_default();
    let seen = format!("p99 at most: {:.0} ms in the HSM, {:.0} ms waiting", hsm * 1000.0, queue * 1000.0);
    let bad =
        (hsm > COMFORTABLE_SECONDS || queue > COMFORTABLE_SECONDS).then(|| (Verdict::Warning, seen.clone()));
    findings.judge(&diagnosis::BUDGET, "metrics", (bad, seen));
}

fn judge_invocations(samples: &Samples, findings: &mut Findings) {
    let most = samples.named("holdfast_key_gcm_invocations_total").max_by(|a, b| a.value.total_cmp(&b.value));
    let bad = most.filter(|sample| sample.value > GCM_LIMIT / 2.0).map(|sample| {
        let verdict = if sample.value > GCM_LIMIT * 0.75 { Verdict::Error } else { Verdict::Warning };
        (verdict, format!("key {} has encrypted {} times", sample.label("external_key_id"), sample.value))
    });
    findings.judge(&diagnosis::GCM, "metrics", (bad, "every version is below half of it"));
}

fn judge_itself(samples: &Samples, config: &Config, findings: &mut Findings) {
    let is_refused = samples.named("holdfast_config_last_reload_successful").any(|sample| sample.value < 1.0);
    let bad = is_refused
        .then(|| (Verdict::Error, "the last reload was refused: the old one is in force".to_owned()));
    findings.judge(&diagnosis::RELOAD, "metrics", (bad, "the last reload was taken"));
    let dropped = samples.sum("holdfast_audit_records_dropped_total", |_| true);
    let bad = if samples.sum("holdfast_audit_failing", |_| true) > 0.0 {
        Some((Verdict::Error, "it cannot be written: changes are refused".to_owned()))
    } else {
        let given_up =
            || (dropped > 0.0).then(|| (Verdict::Error, format!("{dropped} records were given up")));
        judge_room(samples, config).or_else(given_up)
    };
    findings.judge(&diagnosis::AUDIT, "metrics", (bad, "it is written"));
}

/// Of the disk of the audit trail, as the daemon sees it.
fn judge_room(samples: &Samples, config: &Config) -> Option<(Verdict, String)> {
    let audit = config.kms.as_ref().map(|kms| &kms.audit).filter(|audit| audit.enabled)?;
    // Before there is a record nobody has looked at the disk.
    samples.named("holdfast_audit_records_total").find(|sample| sample.value > 0.0)?;
    let free = samples.named("holdfast_audit_free_bytes").next()?;
    judge_free(free.value, audit.limits.free_bytes_min)
}

#[expect(clippy::cast_precision_loss, reason = "a size that is compared and printed in MiB")]
pub(super) fn judge_free(free: f64, free_min: u64) -> Option<(Verdict, String)> {
    let free_min = free_min as f64;
    let seen = |then: &str| {
        let [free, free_min] = [free, free_min].map(|bytes| bytes / MEBIBYTE);
        format!("{free:.0} MiB free on its disk, and `free_bytes_min` is {free_min:.0} MiB: {then}")
    };
    if free < free_min {
        Some((Verdict::Error, seen("changes are refused")))
    } else {
        let is_near = free < free_min * NEAR;
        is_near.then(|| (Verdict::Warning, seen("below it changes are refused")))
    }
}
