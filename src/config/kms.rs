//! `[kms]` and `[dev]`, checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::config::Attestation;
use crate::config::Cluster;
use crate::config::Dev;
use crate::config::Hsm;
use crate::config::Kms;
use crate::config::RequestQuotas;
use crate::config::ResourceQuotas;
use crate::config::audit;
use crate::config::events;
use crate::config::external_key_stores;
use crate::config::hsm;
use crate::config::hsm::is_softhsm;
use crate::config::listener;
use crate::config::listener::Sockets;
use crate::config::review::Review;
use crate::config::schema;
use crate::domain::kms::KeySpec;

const REQUESTS_PER_SECOND_MAX: f64 = 1e9;
const RESOURCES_MAX: u64 = 1_000_000_000;

pub(super) fn kms(
    review: &mut Review<'_>,
    raw: schema::Kms,
    (hsms, state_dir): (&[Hsm], &Path),
    sockets: &mut Sockets,
) -> Kms {
    const TABLE: &str = "kms";
    check_hsms(review, &raw.hsms, hsms);
    let (tls_listeners, http_listeners, networks) = listener::kms_listeners(review, &raw.listener, sockets);
    review.require(!raw.listener.is_empty(), "kms.listener", "there must be at least one");
    let deadline_ms = review.within(TABLE, "request_deadline_ms", raw.request_deadline_ms, 1..=60_000);
    let generation_ms =
        review.within(TABLE, "key_generation_deadline_ms", raw.key_generation_deadline_ms, 1..=300_000);
    check_software(review, &raw.software_provider.key_specs);
    Kms {
        hsms: raw.hsms,
        identities_file: raw.identities_file.map(|path| review.path(TABLE, "identities_file", &path)),
        request_deadline: Duration::from_millis(deadline_ms),
        key_generation_deadline: Duration::from_millis(generation_ms),
        software_key_specs: raw.software_provider.key_specs,
        known_keys_max: review.within(TABLE, "known_keys_max", raw.known_keys_max, 1..=10_000_000),
        known_grants_max: review.within(TABLE, "known_grants_max", raw.known_grants_max, 1..=100_000_000),
        tls_listeners,
        http_listeners,
        networks,
        request_quotas: request_quotas(review, raw.request_quotas),
        resource_quotas: resource_quotas(review, &raw.resource_quotas),
        external_key_stores: external_key_stores::external_key_stores(review, raw.external_key_stores),
        audit: audit::audit(review, raw.audit, state_dir),
        events: raw.events.and_then(|raw| events::events(review, raw)),
        attestation: raw.attestation.map(|raw| attestation(review, &raw)),
    }
}

fn attestation(review: &mut Review<'_>, raw: &schema::Attestation) -> Attestation {
    let file = review.path("kms.attestation", "root_certificates_file", &raw.root_certificates_file);
    Attestation { root_certificates_file: file, root_certificates: String::new() }
}

/// What HSMs do well they shall do.
fn check_software(review: &mut Review<'_>, specs: &[KeySpec]) {
    for spec in specs {
        let reason = format_args!("`key_specs`: the software provider has no keys of the spec {spec}");
        review.require(spec.may_be_software(), "kms.software_provider", reason);
    }
}

fn check_hsms(review: &mut Review<'_>, names: &[String], hsms: &[Hsm]) {
    const TABLE: &str = "kms";
    review.require(!names.is_empty(), TABLE, "`hsms` must name at least one hsm");
    let mut seen = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        let is_known = hsms.iter().any(|hsm| &hsm.name == name);
        review.require(is_known, TABLE, hsm::unknown(place, name, hsms));
        review.require(seen.insert(name), TABLE, format_args!("`hsms` entry {} is there twice", place + 1));
    }
}

fn request_quotas(review: &mut Review<'_>, raw: schema::RequestQuotas) -> RequestQuotas {
    for (name, rate) in &raw.per_second {
        let is_rate = *rate > 0.0 && *rate <= REQUESTS_PER_SECOND_MAX;
        let reason = format_args!("`{}` must be more than 0 requests a second", name.escape_debug());
        review.require(is_rate, "kms.request_quotas.per_second", reason);
    }
    RequestQuotas { enabled: raw.enabled, per_second: raw.per_second }
}

fn resource_quotas(review: &mut Review<'_>, raw: &schema::ResourceQuotas) -> ResourceQuotas {
    const TABLE: &str = "kms.resource_quotas";
    let mut within = |member, value| review.within(TABLE, member, value, 0..=RESOURCES_MAX);
    ResourceQuotas {
        keys: within("keys", raw.keys),
        aliases_per_key: within("aliases_per_key", raw.aliases_per_key),
        grants_per_key: within("grants_per_key", raw.grants_per_key),
        custom_key_stores: within("custom_key_stores", raw.custom_key_stores),
        on_demand_rotations_per_key: raw.on_demand_rotations_per_key,
    }
}

/// A clock that can be moved deletes keys before their time: never by mistake where keys matter.
pub(super) fn dev(review: &mut Review<'_>, raw: &schema::Dev, hsms: &[Hsm], clusters: &[Cluster]) -> Dev {
    let mut tokens = hsms.iter().chain(clusters.iter().flat_map(|cluster| &cluster.members));
    let is_safe = raw.with_any_module || tokens.all(|token| is_softhsm(&token.module));
    let reason = "`clock_control` is for SoftHSM only; `with_any_module = true` allows it nevertheless";
    review.require(!raw.clock_control || is_safe, "dev", reason);
    Dev { clock_control: raw.clock_control }
}
