//! What a start would refuse, short of the HSM and the ports: all of it at once.

use std::path::Path;
use std::sync::Arc;

use crate::app::attestation::attestation_roots;
use crate::app::build::{authorizer, load_listener};
use crate::app::declared_change::read_identities;
use crate::app::kms::{load_proxy_trust, request_quotas};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::http::{CertificateFacts, Validity};
use crate::identity::kms::Networks;

/// Reads the configuration at `path`, as `serve` would; what is wrong is one line each.
pub fn check(path: &Path) -> Result<Config, String> {
    let (config, refused) = Config::load_reviewed(path).map_err(|error| error.to_string())?;
    // A file that cannot be read is told of once, not again by whoever needs what is in it.
    let is_readable = |table: &str| !refused.iter().any(|problem| problem.table().starts_with(table));
    let unreadable = refused.iter().map(ToString::to_string);
    let problems: Vec<_> = unreadable.chain(contents(&config, is_readable)).collect();
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// What is wrong in the files of the tables that `is_readable` says yes to.
fn contents(config: &Config, is_readable: impl Fn(&str) -> bool) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let listeners = config
        .tls_listeners()
        .filter(|listener| is_readable(&format!("listener `{}`", listener.name)))
        .filter_map(|listener| load_listener(listener, &clock).err());
    let policies = config
        .key_stores
        .iter()
        .filter(|store| is_readable(&format!("key_store `{}`", store.name)))
        .filter_map(|store| authorizer(store).err());
    let mut problems: Vec<_> = listeners.chain(policies).collect();
    if let Some(kms) = &config.kms {
        problems.extend(request_quotas(&kms.request_quotas).err());
        problems.extend(read_identities(kms).err());
        problems.extend(contents_of_kms(config, kms, is_readable));
    }
    problems
}

fn contents_of_kms(config: &Config, kms: &config::Kms, is_readable: impl Fn(&str) -> bool) -> Vec<String> {
    let trust = is_readable("kms.external_key_stores").then(|| load_proxy_trust(config).err());
    let roots = is_readable("kms.attestation").then(|| attestation_roots(kms).err());
    let networks = is_readable("kms.listener").then(|| Networks::read(&kms.networks).err());
    [trust, roots, networks].into_iter().flatten().flatten().collect()
}

/// What is allowed and probably not meant, one line each.
pub fn warnings(config: &Config, clock: &dyn Clock) -> Vec<String> {
    let system: Arc<dyn Clock> = Arc::new(SystemClock);
    let certificates = config.tls_listeners().filter_map(|listener| {
        let settings = load_listener(listener, &system).ok()?;
        let reason = out_of_time(settings.certificate(), clock.unix_seconds())?;
        Some(format!("listener `{}`: {reason}", listener.name))
    });
    config.warnings().into_iter().chain(certificates).collect()
}

/// An expired certificate cuts off all keys, and is still better than no listener.
pub(super) fn out_of_time(certificate: &CertificateFacts, now_unix_seconds: u64) -> Option<String> {
    let file = certificate.file.display();
    match certificate.validity(now_unix_seconds) {
        Validity::Valid => None,
        Validity::Expired => Some(format!("the certificate in {file} has expired")),
        Validity::NotYetValid => Some(format!("the certificate in {file} is not valid yet")),
    }
}
