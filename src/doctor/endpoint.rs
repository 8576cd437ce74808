//! The proxy as AWS KMS sees it, at each endpoint that is given.

use std::sync::Arc;
use std::time::Duration;

use proxy_api::client::{Answer, Failure, Signer};
use serde_json::Value;

use crate::config::{Config, KeyStore};
use crate::doctor::Patient;
use crate::doctor::certificates::{self, Standing};
use crate::doctor::diagnoses::outside::certificates as certificate_diagnosis;
use crate::doctor::diagnoses::outside::endpoint as diagnosis;
use crate::doctor::diagnosis::Diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::probe::{Address, Greeting, Obstacle, Prober};

/// AWS KMS gives up then (XKS v1, GetKeyMetadata).
const BUDGET: Duration = Duration::from_millis(250);
const ROUND_TRIP_MAX: Duration = Duration::from_millis(35);
const HTTPS: u16 = 443;
const REGION: &str = "us-east-1";

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    /// What stands before `/kms/xks/v1`, if the URL says so.
    pub(super) prefix: Option<String>,
}

pub(super) fn parse(url: &str) -> Result<Target, &'static str> {
    let rest = url.strip_prefix("https://").ok_or("AWS KMS takes `https://` alone")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| "the port is no number")?),
        None => (host, HTTPS),
    };
    if host.is_empty() {
        return Err("there is no host");
    }
    let path = path.trim_matches('/');
    let prefix = path.strip_suffix("kms/xks/v1").unwrap_or(path).trim_matches('/');
    let prefix = (!path.is_empty()).then(|| prefix.to_owned());
    Ok(Target { address: Address { host: host.to_owned(), port }, prefix })
}

pub(super) fn examine(patient: &Patient<'_>, findings: &mut Findings) {
    if patient.options.endpoints.is_empty() {
        let why = "give --endpoint https://HOST, the XksProxyUriEndpoint of the key store";
        return findings.all_unchecked(diagnosis::ALL, "-", why);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let prober = Prober::new(patient.options, Arc::clone(&patient.clock));
    let (Ok(runtime), Ok(prober)) = (runtime, prober.as_ref()) else {
        let why = prober.err().unwrap_or_else(|| "no sockets can be opened".to_owned());
        return findings.all_unchecked(diagnosis::ALL, "-", &why);
    };
    for url in &patient.options.endpoints {
        runtime.block_on(examine_one(patient, (url, prober), findings));
    }
}

async fn examine_one(patient: &Patient<'_>, (url, prober): (&str, &Prober), findings: &mut Findings) {
    let target = match parse(url) {
        Ok(target) => target,
        Err(reason) => return findings.error(&diagnosis::URL, url, reason),
    };
    let port = target.address.port;
    let bad =
        (port != HTTPS).then(|| (Verdict::Warning, format!("port {port}: AWS KMS calls {HTTPS} alone")));
    findings.judge(&diagnosis::URL, url, (bad, "https on port 443"));
    match prober.greet(&target.address).await {
        Ok(greeting) => {
            judge_greeting(patient, (url, &target), &greeting, findings);
            examine_stores(patient, (url, &target, prober), &greeting, findings).await;
        }
        Err(obstacle) => judge_obstacle(url, obstacle, findings),
    }
}

fn judge_obstacle(url: &str, obstacle: Obstacle, findings: &mut Findings) {
    let (diagnosis, reason): (&'static Diagnosis, String) = match obstacle {
        Obstacle::Name(reason) => (&diagnosis::DNS, reason),
        Obstacle::Tcp(reason) => (&diagnosis::TCP, reason),
        Obstacle::Tls(reason) => (&diagnosis::TLS, reason),
    };
    findings.error(diagnosis, url, reason);
    let after = diagnosis::ALL.iter().copied().skip_while(|other| **other != *diagnosis).skip(1);
    let after: Vec<_> = after.collect();
    findings.all_unchecked(&after, url, "it was not reached");
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn judge_greeting(
    patient: &Patient<'_>,
    (url, target): (&str, &Target),
    greeting: &Greeting,
    findings: &mut Findings,
) {
    let Greeting { has_ipv4, dns, tcp, tls, chain, verified, takes_aes_256_gcm } = greeting;
    let bad = (!has_ipv4).then(|| (Verdict::Error, "IPv6 alone: AWS KMS uses IPv4".to_owned()));
    findings.judge(&diagnosis::DNS, url, (bad, ms(*dns)));
    findings.ok(&diagnosis::TCP, url, ms(*tcp));
    let bad = verified.as_ref().err().map(|reason| (Verdict::Error, reason.clone()));
    findings.judge(&diagnosis::TLS, url, (bad, ms(*tls)));
    // The answer to the first packet of TCP is one round trip.
    let bad = (*tcp > ROUND_TRIP_MAX).then(|| (Verdict::Warning, ms(*tcp)));
    findings.judge(&diagnosis::DISTANCE, url, (bad, format!("{} from here", ms(*tcp))));
    let bad = (!takes_aes_256_gcm).then(|| (Verdict::Error, "it does not take AES-256-GCM".to_owned()));
    findings.judge(&certificate_diagnosis::SUITES, url, (bad, "it takes AES-256-GCM"));
    match certificates::parse_chain(chain) {
        Ok(chain) => {
            certificates::judge_chain(&chain, (url, patient.now(), Standing::Endpoint), findings);
            certificates::judge_name(&chain, (url, &target.address.host), findings);
        }
        Err(reason) => findings.error(&certificate_diagnosis::CHAIN, url, reason),
    }
}

/// The key stores that are asked for: the one whose prefix the URL has, else all.
fn stores<'a>(config: &'a Config, target: &Target) -> Vec<&'a KeyStore> {
    let is_meant =
        |store: &&KeyStore| target.prefix.as_ref().is_none_or(|prefix| *prefix == store.uri_path_prefix);
    config.key_stores.iter().filter(is_meant).collect()
}

async fn examine_stores(
    patient: &Patient<'_>,
    (url, target, prober): (&str, &Target, &Prober),
    greeting: &Greeting,
    findings: &mut Findings,
) {
    let stores = patient.config.as_ref().map(|config| stores(config, target)).unwrap_or_default();
    if stores.is_empty() {
        let prefix = target.prefix.clone().unwrap_or_default();
        // Unsigned as good as: nobody knows this id. A path that leads nowhere is told before that.
        let signer = Signer::new("AAAAAAAAAAAAAAAAAAAA", &"A".repeat(43), REGION);
        let reached = ask((url, target, prober), &prefix, &signer).await;
        if judge_mutual_tls(url, (&reached, prober), findings) {
            return;
        }
        judge_path(url, &reached, findings);
        judge_time((url, greeting), &reached, findings);
        let why =
            "the configuration has no key store with this prefix, so there is no credential to sign with";
        return findings.all_unchecked(&[&diagnosis::SIGNATURE, &diagnosis::HEALTH], url, why);
    }
    for store in stores {
        let looked_at = format!("{url}, key store {}", store.name);
        let Some(credential) = store.credentials.first() else {
            findings.unchecked(&diagnosis::SIGNATURE, looked_at, "the key store has no credential");
            continue;
        };
        let secret = str::from_utf8(credential.secret_access_key.expose()).unwrap_or_default();
        let region = store.regions.iter().find(|region| !region.contains('*')).map_or(REGION, String::as_str);
        let signer = Signer::new(&credential.access_key_id, secret, region);
        let reached = ask((url, target, prober), &store.uri_path_prefix, &signer).await;
        if judge_mutual_tls(&looked_at, (&reached, prober), findings) {
            continue;
        }
        judge_path(&looked_at, &reached, findings);
        judge_time((&looked_at, greeting), &reached, findings);
        let is_refused = reached.answer.as_ref().is_ok_and(|answer| answer.status.as_u16() == 401);
        let direct =
            if is_refused { ask_listener(patient, (target, prober), store, &signer).await } else { None };
        judge_signature((&looked_at, &credential.access_key_id), &reached, direct, findings);
        judge_health(&looked_at, &reached, findings);
    }
}

struct Reached {
    answer: Result<Answer, Failure>,
    took: Duration,
    path: String,
}

async fn ask((_, target, prober): (&str, &Target, &Prober), prefix: &str, signer: &Signer) -> Reached {
    let Address { host, port } = &target.address;
    let host = if *port == HTTPS { host.clone() } else { format!("{host}:{port}") };
    let path = health_path(prefix);
    let (answer, took) = prober.health((&host, &host), &path, signer).await;
    Reached { answer, took, path }
}

fn health_path(prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{slash}{prefix}/kms/xks/v1/health")
}

/// The status of the same request at the listener itself, with nothing in between; nothing if it cannot be asked.
async fn ask_listener(
    patient: &Patient<'_>,
    (target, prober): (&Target, &Prober),
    store: &KeyStore,
    signer: &Signer,
) -> Option<u16> {
    let config = patient.config.as_ref()?;
    let listener = config.listeners.iter().find(|listener| listener.client_auth.is_none())?;
    let ip = if listener.listen.ip().is_unspecified() {
        "127.0.0.1".to_owned()
    } else {
        listener.listen.ip().to_string()
    };
    let at = format!("{ip}:{}", listener.listen.port());
    let path = health_path(&store.uri_path_prefix);
    let (answer, _) = prober.health((&at, &target.address.host), &path, signer).await;
    Some(answer.ok()?.status.as_u16())
}

/// True if nothing more can be asked without a certificate.
fn judge_mutual_tls(
    looked_at: &str,
    (reached, prober): (&Reached, &Prober),
    findings: &mut Findings,
) -> bool {
    match (&reached.answer, prober.has_identity()) {
        (Err(Failure::Tls(reason)), false) => {
            findings.ok(&diagnosis::MTLS, looked_at, format!("refused without a certificate: {reason}"));
            let rest = [&diagnosis::TIME, &diagnosis::PATH, &diagnosis::SIGNATURE, &diagnosis::HEALTH];
            findings.all_unchecked(
                &rest,
                looked_at,
                "it wants a client certificate: --client-cert and --client-key",
            );
            true
        }
        (Ok(_), false) => {
            findings.warning(&diagnosis::MTLS, looked_at, "answers who has no client certificate");
            false
        }
        (Ok(_) | Err(_), _) => {
            findings.unchecked(
                &diagnosis::MTLS,
                looked_at,
                "a client certificate was given, or there was no answer",
            );
            false
        }
    }
}

fn judge_path(looked_at: &str, reached: &Reached, findings: &mut Findings) {
    match &reached.answer {
        Ok(answer) => {
            let bad =
                (answer.status.as_u16() == 404).then(|| (Verdict::Error, format!("{} is 404", reached.path)));
            findings.judge(&diagnosis::PATH, looked_at, (bad, reached.path.clone()));
        }
        Err(failure) => findings.error(&diagnosis::HEALTH, looked_at, failure.to_string()),
    }
}

fn judge_time((looked_at, greeting): (&str, &Greeting), reached: &Reached, findings: &mut Findings) {
    let Greeting { dns, tcp, tls, .. } = greeting;
    let request = reached.took.saturating_sub(*dns + *tcp + *tls);
    let seen = format!(
        "{} altogether; first DNS {}, TCP {}, TLS {}, then the request {}",
        ms(reached.took),
        ms(*dns),
        ms(*tcp),
        ms(*tls),
        ms(request)
    );
    let bad = (reached.took > BUDGET).then(|| (Verdict::Warning, seen.clone()));
    findings.judge(&diagnosis::TIME, looked_at, (bad, seen));
}

fn judge_signature(
    (looked_at, id): (&str, &str),
    reached: &Reached,
    direct: Option<u16>,
    findings: &mut Findings,
) {
    let Ok(answer) = &reached.answer else { return };
    let status = answer.status.as_u16();
    let bad = (status == 401).then(|| {
        let seen = match direct {
            Some(200) => format!(
                "{id} is refused here and accepted at the listener: something in between rewrites the request"
            ),
            Some(_) => format!("{id} is refused here and at the listener: id, secret or clock are wrong"),
            None => format!("{id} is refused"),
        };
        (Verdict::Error, seen)
    });
    findings.judge(&diagnosis::SIGNATURE, looked_at, (bad, format!("{id} is accepted")));
}

fn judge_health(looked_at: &str, reached: &Reached, findings: &mut Findings) {
    let Ok(answer) = &reached.answer else { return };
    let status = answer.status.as_u16();
    if status != 200 {
        return findings.unchecked(&diagnosis::HEALTH, looked_at, format!("the answer is {status}"));
    }
    findings.add(&diagnosis::HEALTH, looked_at, health_of(&answer.body));
}

pub(super) fn health_of(body: &[u8]) -> (Verdict, String) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let details =
        body.get("ekmFleetDetails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let states: Vec<_> =
        details.iter().filter_map(|detail| detail.get("healthStatus").and_then(Value::as_str)).collect();
    let count = |wanted: &str| states.iter().filter(|state| **state == wanted).count();
    let (active, unavailable) = (count("ACTIVE"), count("UNAVAILABLE"));
    let seen = format!("{} key managers: {active} active, {unavailable} unavailable", states.len());
    let verdict = if states.is_empty() || states.len() == unavailable {
        Verdict::Error
    } else if active == states.len() {
        Verdict::Ok
    } else {
        Verdict::Warning
    };
    (verdict, seen)
}
