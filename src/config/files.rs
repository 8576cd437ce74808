//! The files that the configuration names: credentials, policies and trust anchors are read, the others are checked.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use x509_parser::pem::parse_x509_pem;

use crate::config::Attestation;
use crate::config::Cluster;
use crate::config::Config;
use crate::config::Hsm;
use crate::config::KeyStore;
use crate::config::Network;
use crate::config::Problem;
use crate::config::ProxyTls;
use crate::config::TlsListener;
use crate::config::Traces;
use crate::config::credentials;
use crate::config::private_file;
use crate::config::review::Review;

const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with them.
pub(super) fn read(config: &mut Config) -> Vec<Problem> {
    let path = config.path.clone();
    let mut review = Review::new(&path);
    for listener in config.tls_listeners() {
        check_listener(&mut review, listener);
    }
    for hsm in &config.hsms {
        check_hsm(&mut review, hsm);
    }
    if let Some(traces) = &config.traces {
        check_traces(&mut review, traces);
    }
    if let Some(kms) = &config.kms {
        check_proxy_tls(&mut review, &kms.external_key_stores.tls);
    }
    if let Some(attestation) = config.kms.as_mut().and_then(|kms| kms.attestation.as_mut()) {
        read_root_certificates(&mut review, attestation);
    }
    for (name, network) in config.kms.iter_mut().flat_map(|kms| &mut kms.networks) {
        read_endpoint_policy(&mut review, name, network);
    }
    for cluster in &mut config.clusters {
        read_cluster(&mut review, cluster);
    }
    for key_store in &mut config.key_stores {
        read_key_store(&mut review, key_store);
    }
    review.into_problems()
}

fn check_listener(review: &mut Review<'_>, listener: &TlsListener) {
    let table = format!("listener `{}`", listener.name);
    check_readable(review, &table, "certificate_file", &listener.certificate_file);
    if let Err(error) = private_file::read(&listener.private_key_file) {
        review.refuse(&table, format_args!("`private_key_file` {error}"));
    }
    if let Some(auth) = &listener.client_auth {
        check_readable(review, &format!("{table} client_auth"), "ca_file", &auth.ca_file);
    }
}

fn check_proxy_tls(review: &mut Review<'_>, tls: &ProxyTls) {
    const TABLE: &str = "kms.external_key_stores";
    if let Some(path) = &tls.ca_file {
        check_readable(review, TABLE, "ca_file", path);
    }
    if let Some((certificate, key)) = &tls.client_files {
        check_readable(review, TABLE, "client_certificate_file", certificate);
        if let Err(error) = private_file::read(key) {
            review.refuse(TABLE, format_args!("`client_private_key_file` {error}"));
        }
    }
}

fn read_root_certificates(review: &mut Review<'_>, attestation: &mut Attestation) {
    let path = &attestation.root_certificates_file;
    match read_text(path) {
        Ok(text) => attestation.root_certificates = text,
        Err(error) => {
            let reason = format_args!("`root_certificates_file` {}: {error}", path.display());
            review.refuse("kms.attestation", reason);
        }
    }
}

fn read_endpoint_policy(review: &mut Review<'_>, name: &str, network: &mut Network) {
    let Some(path) = &network.endpoint_policy_file else { return };
    match read_text(path) {
        Ok(policy) => network.endpoint_policy = Some(policy),
        Err(error) => {
            let table = format!("kms.listener `{name}`");
            review.refuse(&table, format_args!("`endpoint_policy_file` {}: {error}", path.display()));
        }
    }
}

fn check_hsm(review: &mut Review<'_>, hsm: &Hsm) {
    let table = format!("hsm `{}`", hsm.name);
    check_readable(review, &table, "module", &hsm.module);
    match hsm.read_pin() {
        Ok(pin) => review.require(pin.is_some_and(|pin| !pin.is_empty()), &table, "`pin_file` is empty"),
        Err(error) => review.refuse(&table, format_args!("`pin_file` {error}")),
    }
}

fn read_cluster(review: &mut Review<'_>, cluster: &mut Cluster) {
    let table = format!("cluster `{}`", cluster.id);
    for member in &cluster.members {
        check_readable(review, &format!("cluster.member `{}`", member.name), "module", &member.module);
    }
    let path = &cluster.trust_anchor_file;
    let pem = read_text(path).and_then(|text| {
        let is_certificate = parse_x509_pem(text.as_bytes()).is_ok_and(|(_, pem)| pem.parse_x509().is_ok());
        if is_certificate { Ok(text) } else { Err(io::Error::other("not a certificate as PEM")) }
    });
    match pem {
        Ok(text) => cluster.trust_anchor = text,
        Err(error) => {
            review.refuse(&table, format_args!("`trust_anchor_file` {}: {error}", path.display()));
        }
    }
}

fn read_key_store(review: &mut Review<'_>, key_store: &mut KeyStore) {
    let table = format!("key_store `{}`", key_store.name);
    match credentials::read(&key_store.credentials_file) {
        Ok(credentials) => {
            let reason = "`credentials_file` has no credential: make one with `holdfast credential create`";
            review.require(!credentials.is_empty(), &table, reason);
            key_store.credentials = credentials;
        }
        Err(error) => review.refuse(&table, format_args!("`credentials_file` {error}")),
    }
    if let Some(path) = &key_store.policy_file {
        match read_text(path) {
            Ok(policy) => key_store.policy = Some(policy),
            Err(error) => review.refuse(&table, format_args!("`policy_file` {}: {error}", path.display())),
        }
    }
}

fn check_traces(review: &mut Review<'_>, traces: &Traces) {
    if let Some(path) = &traces.destination.ca_file {
        check_readable(review, "traces", "ca_file", path);
    }
    if let Some(Err(error)) = traces.headers_file.as_deref().map(private_file::read) {
        review.refuse("traces", format_args!("`headers_file` {error}"));
    }
}

fn check_readable(review: &mut Review<'_>, table: &str, member: &str, path: &Path) {
    if let Err(error) = open(path) {
        review.refuse(table, format_args!("`{member}` {}: {error}", path.display()));
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(io::Error::other("bigger than 1 MiB"));
    }
    Ok(text)
}

fn open(path: &Path) -> io::Result<File> {
    // Asked before opening, because opening a named pipe waits for a writer.
    if std::fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}
