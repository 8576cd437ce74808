//! Each HSM: reached, named, willing, and fast enough.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use crate::config::{self, Config, environment};
use crate::doctor::Patient;
use crate::doctor::diagnoses::inside::hsm as diagnosis;
use crate::doctor::diagnoses::inside::keys as key_diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::keys;
use crate::key_manager::backing_key::RootKeyId;
use crate::key_manager::pkcs11::{self, Examined, Inside, Look, Unreachable};
use crate::secret::SecretBytes;
use crate::store::Setting;
use crate::store::sqlite;

/// A library that is silent for longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of AWS KMS.
const BUDGET: Duration = Duration::from_millis(250);
const COMFORTABLE: Duration = Duration::from_millis(50);
const DEMANDED_PER_SECOND: f64 = 1800.0;
const DAEMON_RUNS: &str = "the daemon runs and is logged in; --log-in looks at the HSM beside it";

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    let log_in = patient.samples.is_none() || patient.options.log_in;
    for hsm in &config.hsms {
        let name = format!("HSM {}", hsm.name);
        examine_one(patient, (config, hsm, log_in), &name, findings);
    }
    // Their PIN is the password of a key store, which only the daemon has.
    for member in config.clusters.iter().flat_map(|cluster| &cluster.members) {
        examine_one(patient, (config, member, false), &format!("cluster member {}", member.name), findings);
    }
}

fn examine_one(
    patient: &Patient<'_>,
    (config, hsm, log_in): (&Config, &config::Hsm, bool),
    name: &str,
    findings: &mut Findings,
) {
    if let Some(variable) = missing_variable(&config.environment_of(hsm)) {
        let why = format!("its library needs {variable}, which another HSM has otherwise: look at it alone");
        return findings.all_unchecked(diagnosis::ALL, name, &why);
    }
    let root_key = root_key(config, hsm);
    let pin = if log_in { hsm.read_pin() } else { Ok(None) };
    let (pin, unreadable) = match pin {
        Ok(pin) => (pin, None),
        Err(error) => (None, Some(error.to_string())),
    };
    match look(patient, hsm, (pin, root_key)) {
        None => findings.error(
            &diagnosis::LIBRARY,
            name,
            format!("a call has not returned for {} s", PATIENCE.as_secs()),
        ),
        Some(Err(Unreachable::Library(reason))) => {
            findings.error(&diagnosis::LIBRARY, name, reason);
            let rest: Vec<_> = diagnosis::ALL.iter().copied().skip(1).collect();
            findings.all_unchecked(&rest, name, "the library does not work");
        }
        Some(Err(Unreachable::Token(reason))) => {
            findings.ok(&diagnosis::LIBRARY, name, "loaded and initialized");
            findings.error(&diagnosis::TOKEN, name, reason);
            let rest: Vec<_> = diagnosis::ALL.iter().copied().skip(2).collect();
            findings.all_unchecked(&rest, name, "the token is not there");
        }
        Some(Ok(examined)) => judge(&examined, (hsm, name, unreadable), findings),
    }
}

/// The first variable that this process does not have as the library needs it.
fn missing_variable(variables: &BTreeMap<String, String>) -> Option<&str> {
    let is_missing = |(name, value): &(&String, &String)| {
        environment::variable(name).as_deref() != Some(OsStr::new(value.as_str()))
    };
    variables.iter().find(is_missing).map(|(name, _)| name.as_str())
}

fn root_key(config: &Config, hsm: &config::Hsm) -> Option<RootKeyId> {
    config.kms.as_ref().filter(|kms| kms.hsms.contains(&hsm.name))?;
    let id = sqlite::read_setting(&config.state_dir, Setting::RootKeyId).ok().flatten()?;
    id.as_slice().try_into().ok().map(RootKeyId)
}

/// What comes of a look, while it goes on and at its end.
enum Heard {
    Answer,
    End(Box<Result<Examined, Unreachable>>),
}

/// In a thread of its own, which is left alone if the library hangs: a slow HSM with many keys may take long, but not long
/// for one answer.
fn look(
    patient: &Patient<'_>,
    hsm: &config::Hsm,
    (pin, root_key): (Option<SecretBytes>, Option<RootKeyId>),
) -> Option<Result<Examined, Unreachable>> {
    let (sender, receiver) = mpsc::channel();
    let (hsm, samples, clock) = (hsm.clone(), patient.options.samples, Arc::clone(&patient.clock));
    std::thread::spawn(move || {
        let now = || clock.instant();
        // Nobody may be waiting any more.
        let answered = || drop(sender.send(Heard::Answer));
        let look = Look { pin: pin.as_ref(), root_key, samples, now: &now, answered: &answered };
        drop(sender.send(Heard::End(Box::new(pkcs11::examine(&hsm, &look)))));
    });
    loop {
        match receiver.recv_timeout(PATIENCE).ok()? {
            Heard::Answer => {}
            Heard::End(examined) => return Some(*examined),
        }
    }
}

fn judge(
    examined: &Examined,
    (hsm, name, unreadable): (&config::Hsm, &str, Option<String>),
    findings: &mut Findings,
) {
    let Examined { product, pin_trouble, missing_mechanisms, inside, may_log_in } = examined;
    findings.ok(&diagnosis::LIBRARY, name, "loaded and initialized");
    findings.ok(&diagnosis::TOKEN, name, product.clone());
    let bad = pin_trouble.map(|words| {
        let verdict = if *may_log_in { Verdict::Warning } else { Verdict::Error };
        (verdict, words.to_owned())
    });
    findings.judge(&diagnosis::PIN, name, (bad, "no wrong PIN was counted"));
    let bad = (!missing_mechanisms.is_empty())
        .then(|| (Verdict::Error, format!("it has no {}", missing_mechanisms.join(", "))));
    findings.judge(&diagnosis::MECHANISMS, name, (bad, "it has both"));
    let rest = [&diagnosis::SELF_TEST, &diagnosis::LATENCY, &diagnosis::CAPACITY];
    match inside {
        None if unreadable.is_some() => {
            findings.error(&diagnosis::LOGIN, name, unreadable.unwrap_or_default());
            findings.all_unchecked(&rest, name, "the PIN file cannot be read");
            findings.all_unchecked(key_diagnosis::ALL, name, "the PIN file cannot be read");
        }
        None => {
            let why = if !*may_log_in {
                "no PIN is tried while the token counts wrong ones, or one was refused"
            } else if hsm.pin_file.is_none() {
                "its PIN is the password of a key store, which the daemon has"
            } else {
                DAEMON_RUNS
            };
            findings.unchecked(&diagnosis::LOGIN, name, why);
            findings.all_unchecked(&rest, name, why);
            // What is in a cluster is of KMS keys: `kms` looks at it.
            if hsm.pin_file.is_some() {
                findings.all_unchecked(key_diagnosis::ALL, name, why);
            }
        }
        Some(Err(reason)) => {
            findings.error(&diagnosis::LOGIN, name, reason);
            findings.all_unchecked(&rest, name, "nobody could log in");
            findings.all_unchecked(key_diagnosis::ALL, name, "nobody could log in");
        }
        Some(Ok(inside)) => {
            findings.ok(&diagnosis::LOGIN, name, "the PIN is right");
            judge_work(inside, (hsm, name), findings);
            keys::judge(inside, name, findings);
        }
    }
}

fn judge_work(inside: &Inside, (hsm, name): (&config::Hsm, &str), findings: &mut Findings) {
    let bad = inside.self_test.as_ref().err().map(|reason| (Verdict::Error, reason.clone()));
    findings.judge(&diagnosis::SELF_TEST, name, (bad, format!("passed with `iv_mode` {:?}", hsm.iv_mode)));
    let at = |share: f64| quantile(&inside.times, share);
    let (Some(half), Some(most)) = (at(0.5), at(0.99)) else {
        return findings.all_unchecked(
            &[&diagnosis::LATENCY, &diagnosis::CAPACITY],
            name,
            "the self-test failed",
        );
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let seen =
        format!("p50 {:.2} ms, p99 {:.2} ms of {} operations", ms(half), ms(most), inside.times.len() * 2);
    findings.judge(&diagnosis::LATENCY, name, (judge_time(most, &seen), seen.clone()));
    let sessions = u32::try_from(hsm.sessions).unwrap_or(u32::MAX);
    let possible = f64::from(sessions) / half.as_secs_f64().max(1e-6);
    let seen = format!(
        "{sessions} sessions could do about {possible:.0} operations a second, if the HSM does not mind"
    );
    let bad = (possible < DEMANDED_PER_SECOND).then(|| (Verdict::Warning, seen.clone()));
    findings.judge(&diagnosis::CAPACITY, name, (bad, seen));
}

pub(super) fn judge_time(most: Duration, seen: &str) -> Option<(Verdict, String)> {
    if most >= BUDGET {
        Some((Verdict::Error, seen.to_owned()))
    } else {
        (most > COMFORTABLE).then(|| (Verdict::Warning, seen.to_owned()))
    }
}

/// Of sorted times, the one that this share is not above.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list of at most ten thousand"
)]
fn quantile(times: &[Duration], share: f64) -> Option<Duration> {
    let place = (times.len().saturating_sub(1) as f64 * share).round() as usize;
    times.get(place).copied()
}
