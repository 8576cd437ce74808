//! Certificates of listeners, and what is asked of clients; the same judging serves what an endpoint presents.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::config::{ClientAuth, Config, TlsListener};
use crate::doctor::Patient;
use crate::doctor::diagnoses::outside::certificates as diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::doctor::trusted;
use crate::http::{TlsError, TlsFiles, TlsSettings};

const DAY: u64 = 86_400;
/// AWS KMS recommends an alarm at ten days; a month leaves time to act.
const COMFORTABLE_DAYS: u64 = 30;

/// What judging needs of a chain, the certificate itself first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) links: Vec<Link>,
    pub(super) names: Vec<String>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) key: KeyType,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// The last name in it: common name, else unit, else organization.
    pub(super) issuer_name: String,
    pub(super) fingerprint: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum KeyType {
    Ecdsa(usize),
    Rsa(usize),
    #[default]
    Other,
}

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    let hosts: Vec<_> = patient.options.endpoints.iter().filter_map(|url| host_of(url)).collect();
    for listener in config.tls_listeners() {
        let name = format!("listener {}", listener.name);
        examine_listener(patient, (config, listener, &name), &hosts, findings);
    }
    for listener in &config.listeners {
        judge_client_auth(listener, findings);
    }
    if config.tls_listeners().next().is_none() {
        findings.all_unchecked(diagnosis::ALL, "-", "there is no listener with TLS");
    }
}

fn host_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let host = rest.split('/').next()?;
    Some(host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned())
}

fn examine_listener(
    patient: &Patient<'_>,
    (config, listener, name): (&Config, &TlsListener, &str),
    hosts: &[String],
    findings: &mut Findings,
) {
    match TlsSettings::load(&TlsFiles::from(listener), Arc::clone(&patient.clock)) {
        Ok(_) => findings.ok(&diagnosis::KEY, name, "they belong together"),
        Err(error @ TlsError::KeyMismatch { .. }) => findings.error(&diagnosis::KEY, name, error.to_string()),
        Err(error @ TlsError::ChainOrder { .. }) => {
            findings.error(&diagnosis::CHAIN, name, error.to_string())
        }
        Err(error) => findings.error(&diagnosis::KEY, name, error.to_string()),
    }
    // What this daemon offers is fixed (http/tls.rs).
    findings.ok(&diagnosis::SUITES, name, "TLS 1.3 and 1.2 with AES-256-GCM");
    match read_chain(&listener.certificate_file) {
        Ok(chain) => {
            let is_proxy = config.listeners.contains(listener);
            let standing = if is_proxy { Standing::Listener } else { Standing::OwnClients };
            judge_chain(&chain, (name, patient.now(), standing), findings);
            for host in hosts {
                judge_name(&chain, (name, host), findings);
            }
            if hosts.is_empty() {
                let seen = format!("it is for {}; give --endpoint to compare", chain.names.join(", "));
                findings.unchecked(&diagnosis::NAME, name, seen);
            }
        }
        Err(reason) => findings.error(&diagnosis::CHAIN, name, reason),
    }
}

pub(super) fn read_chain(file: &Path) -> Result<Chain, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    parse_chain(&certificates)
}

pub(super) fn parse_chain(certificates: &[CertificateDer<'_>]) -> Result<Chain, String> {
    let mut chain = Chain::default();
    for (index, der) in certificates.iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Err(format!("certificate {} is not X.509", index + 1));
        };
        if index == 0 {
            chain.names = names(&certificate);
            chain.not_before = seconds(certificate.validity().not_before.timestamp());
            chain.not_after = seconds(certificate.validity().not_after.timestamp());
            chain.key = key_type(&certificate);
        }
        let issuer = certificate.issuer();
        let last = issuer
            .iter_common_name()
            .chain(issuer.iter_organizational_unit())
            .chain(issuer.iter_organization())
            .find_map(|name| name.as_str().ok());
        chain.links.push(Link {
            subject: certificate.subject().to_string(),
            issuer: issuer.to_string(),
            issuer_name: last.unwrap_or_default().to_owned(),
            fingerprint: fingerprint(der),
        });
    }
    if chain.links.is_empty() { Err("there is no certificate".to_owned()) } else { Ok(chain) }
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or_default()
}

fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let alternatives = alternatives
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    let mut names: Vec<_> = common.chain(alternatives).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

fn key_type(certificate: &X509Certificate<'_>) -> KeyType {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => KeyType::Rsa(key.key_size()),
        Ok(PublicKey::EC(point)) => KeyType::Ecdsa(point.key_size()),
        Ok(_) | Err(_) => KeyType::Other,
    }
}

/// Whose certificate it is: only what AWS KMS calls must be from an authority that it trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Endpoint,
    Listener,
    /// A listener of the KMS API.
    OwnClients,
}

pub(super) fn judge_chain(
    chain: &Chain,
    (name, now, standing): (&str, u64, Standing),
    findings: &mut Findings,
) {
    let broken = chain.links.windows(2).position(|pair| match pair {
        [link, next] => link.issuer != next.subject,
        _ => false,
    });
    let ends = chain
        .links
        .last()
        .is_some_and(|last| last.subject == last.issuer || trusted::is_named(&last.issuer_name));
    let bad = match broken {
        Some(at) => {
            Some((Verdict::Error, format!("certificate {} did not issue certificate {}", at + 2, at + 1)))
        }
        None if !ends => {
            let issuer = chain.links.last().map_or("", |last| last.issuer.as_str());
            Some((
                Verdict::Warning,
                format!(
                    "it ends at {issuer}, which is neither there nor on the list: an intermediate may be missing"
                ),
            ))
        }
        None => None,
    };
    findings.judge(&diagnosis::CHAIN, name, (bad, format!("{} certificates in order", chain.links.len())));
    findings.judge(&diagnosis::DATES, name, (judge_dates(chain, now), days_left(chain, now)));
    let bad = match chain.key {
        KeyType::Rsa(2048..) | KeyType::Ecdsa(256 | 384) => None,
        KeyType::Rsa(_) | KeyType::Ecdsa(_) | KeyType::Other => {
            Some((Verdict::Error, format!("{:?}", chain.key)))
        }
    };
    findings.judge(&diagnosis::KEY_TYPE, name, (bad, format!("{:?}", chain.key)));
    judge_authority(chain, (name, standing), findings);
}

fn days_left(chain: &Chain, now: u64) -> String {
    format!("{} days are left", chain.not_after.saturating_sub(now) / DAY)
}

pub(super) fn judge_dates(chain: &Chain, now: u64) -> Option<(Verdict, String)> {
    if now < chain.not_before {
        Some((Verdict::Error, "it is not valid yet".to_owned()))
    } else if now > chain.not_after {
        Some((Verdict::Error, format!("it expired {} days ago", (now - chain.not_after) / DAY)))
    } else {
        let is_late = chain.not_after.saturating_sub(now) < COMFORTABLE_DAYS * DAY;
        is_late.then(|| (Verdict::Warning, days_left(chain, now)))
    }
}

fn judge_authority(chain: &Chain, (name, standing): (&str, Standing), findings: &mut Findings) {
    if standing == Standing::OwnClients {
        return findings.unchecked(&diagnosis::AUTHORITY, name, "AWS KMS does not call it");
    }
    let listed = chain.links.iter().find_map(|link| trusted::by_fingerprint(&link.fingerprint));
    let last = chain.links.last().map_or("", |last| last.issuer_name.as_str());
    let bad = (listed.is_none() && !trusted::is_named(last)).then(|| {
        let verdict = if standing == Standing::Endpoint { Verdict::Error } else { Verdict::Warning };
        (verdict, format!("issued by {last}, which is not on the list: AWS KMS would refuse it"))
    });
    findings.judge(&diagnosis::AUTHORITY, name, (bad, format!("{} is on the list", listed.unwrap_or(last))));
}

pub(super) fn judge_name(chain: &Chain, (name, host): (&str, &str), findings: &mut Findings) {
    let seen = format!("it is for {}, and the host is {host}", chain.names.join(", "));
    let is_right = chain.names.iter().any(|pattern| names_host(pattern, host));
    let bad = (!is_right).then(|| (Verdict::Error, seen.clone()));
    findings.judge(&diagnosis::NAME, name, (bad, seen));
}

/// The same, or a wildcard for one label.
pub(super) fn names_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

fn judge_client_auth(listener: &TlsListener, findings: &mut Findings) {
    let name = format!("listener {}", listener.name);
    let Some(ClientAuth { ca_file, subjects }) = &listener.client_auth else {
        return findings.warning(&diagnosis::CLIENT_AUTH, name, "anybody can connect, and has to sign only");
    };
    findings.ok(&diagnosis::CLIENT_AUTH, &name, "required");
    match read_chain(ca_file) {
        Ok(authorities) => {
            let foreign: Vec<_> = authorities
                .links
                .iter()
                .filter(|link| !trusted::is_amazon(&link.fingerprint))
                .map(|link| link.subject.as_str())
                .collect();
            let bad = (!foreign.is_empty())
                .then(|| (Verdict::Warning, format!("not of Amazon: {}", foreign.join("; "))));
            findings.judge(&diagnosis::CLIENT_CA, &name, (bad, "Amazon's roots alone"));
        }
        Err(reason) => findings.error(&diagnosis::CLIENT_CA, &name, reason),
    }
    let foreign: Vec<_> = subjects.iter().filter(|subject| !is_kms(subject)).map(String::as_str).collect();
    let bad =
        (!foreign.is_empty()).then(|| (Verdict::Warning, format!("not of AWS KMS: {}", foreign.join(", "))));
    findings.judge(&diagnosis::CLIENT_SUBJECT, &name, (bad, subjects.join(", ")));
}

pub(super) fn is_kms(subject: &str) -> bool {
    let region = subject.strip_prefix("cks.kms.").and_then(|rest| {
        rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))
    });
    region.is_some_and(|region| region.contains('-') && !region.contains('.'))
}
